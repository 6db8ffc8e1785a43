// One bit of the disk turns. It is noticed when the store is opened, or it does no harm; never is something else read.

import ClusterStore
import Diagnostics
import Glibc
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 60 : 10))) struct FlipTests {
  private func write(_ bytes: [UInt8], to path: String) throws {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    defer { close(file) }
    guard file >= 0, Glibc.write(file, bytes, bytes.count) == bytes.count else {
      throw Failed(text: "\(path): \(errno)")
    }
  }

  /// Every change that the store tells of, present and past, as text; or the error.
  private func everything(_ folder: String) async throws -> Result<[String], WeftError> {
    let store: SQLiteStore
    do throws(WeftError) { store = try Faults.open(folder) } catch { return .failure(error) }
    var lines: [String] = []
    do {
      let page = try await store.list(prefix: "/", limit: 0, after: nil, at: nil)
      lines = page.values.map { "\($0.key) \($0.revision) \($0.createRevision) \($0.value)" }
      if page.revision > 0 {
        let watch = try await store.watch(prefix: "/k/", after: 0, queueMax: 100_000)
        var latest: Revision = 0
        let newest = page.values.filter { $0.key.hasPrefix("/k/") }.map(\.revision).max() ?? 0
        let waiting = Waiting("the history through revision \(newest)")
        while latest < newest, let events = try await waiting.next(watch) {
          for event in events { lines.append("\(event.kind) \(event.key) \(event.revision) \(event.value)") }
          latest = events.last?.revision ?? latest
        }
      }
    } catch {
      await store.shutdown()
      if case StoreError.failed(let cause) = error { return .failure(cause) }
      throw error
    }
    await store.shutdown()
    return .success(lines)
  }

  @Test(arguments: ["store.db", "store.db-wal"])
  func `a bit that turned is noticed or harmless`(file: String) async throws {
    try await withScratch { folder in
      // A store whose log still holds its last commits: the writer ended without shutting down.
      let output = "\(folder)/said"
      let first = try Program.run(Faults.program, ["load", "\(folder)/a", "1", "8", "12"])
      try #require(first.status == 0, "\(first.output)")
      let second = try Program.run(Faults.program, ["load", "\(folder)/a", "2", "4", "6", "abort"])
      try #require(second.status == 0, "\(second.output)")
      _ = output
      let parts = ["store.db", "store.db-wal"]
      let whole = try parts.map { try Program.bytes(of: "\(folder)/a/\($0)") }
      let index = try #require(parts.firstIndex(of: file))
      mkdir("\(folder)/b", 0o700)
      func lay(_ files: [[UInt8]]) throws {
        unlink("\(folder)/b/store.db-shm")
        for (name, bytes) in zip(parts, files) { try write(bytes, to: "\(folder)/b/\(name)") }
      }
      try lay(whole)
      let expected = try await everything("\(folder)/b").get()
      #expect(expected.count > 50)
      var random = SeededGenerator(seed: 5)
      var noticed = 0
      var harmless = 0
      var torn = 0
      let size = whole[index].count
      let flips = Soak.rounds(100, long: 5000)
      for flip in 0..<flips {
        // Every block has its turn.
        let blocks = (size + 4095) / 4096
        let block = flip % blocks
        let at = block * 4096 + Int.random(in: 0..<min(4096, size - block * 4096), using: &random)
        let bit = UInt8(1) << UInt8.random(in: 0..<8, using: &random)
        var files = whole
        files[index][at] ^= bit
        try lay(files)
        switch try await everything("\(folder)/b") {
        case .failure(let error):
          noticed += 1
          #expect(["STO0003", "STO0006", "STO0007"].contains(error.code), "\(error)")
        case .success(let lines):
          if lines == expected {
            harmless += 1
          } else if file == "store.db-wal",
            lines.count <= expected.count
          {
            // The last commit cannot be told from one that the power tore; it alone may be missing.
            torn += 1
            #expect(at >= lastCommit(whole[index]), "byte \(at) of the log")
          } else {
            Issue.record("byte \(at) bit \(bit) of \(file): other data was read")
          }
        }
      }
      #expect(noticed > 0)
      Soak.report(
        "\(file): \(flips) bits, \(noticed) noticed, \(harmless) harmless, \(torn) in the last commit")
    }
  }

  /// Where the last commit of a log begins.
  private func lastCommit(_ log: [UInt8]) -> Int {
    let frame = 24 + 4096
    var commits: [Int] = []
    var number = 0
    while 32 + (number + 1) * frame <= log.count {
      let at = 32 + number * frame
      if log[(at + 4)..<(at + 8)].contains(where: { $0 != 0 }), log[(at + 8)..<(at + 16)] == log[16..<24] {
        commits.append(number)
      }
      number += 1
    }
    guard commits.count > 1 else { return 32 }
    return 32 + (commits[commits.count - 2] + 1) * frame
  }
}
