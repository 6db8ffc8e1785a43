// The thread that copies the write-ahead log beside the writer: its failures are the store's, and the log stays bounded.

import ClusterStore
import Diagnostics
import Glibc
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct CheckpointTests {
  @Test(arguments: [("fdatasync", "EIO"), ("pwrite64", "EIO")])
  func
    `when the log cannot be copied nothing acknowledged is lost, writes are refused, reads go on, writes resume`(
      call: String, error: String
    ) async throws
  {
    try await withScratch { folder in
      // A store that is there: opening it writes nothing into its database.
      let made = try Program.run(Faults.program, ["load", "\(folder)/store", "4", "1", "5"])
      try #require(made.status == 0, "\(made.output)")
      let output = "\(folder)/said"
      // Only calls on the database itself are looked at, and only copies of the log make these; commits write the log.
      // strace counts each thread's for itself: the copier fails first, then the writer's first two repairs.
      let result = try Program.run(
        "/bin/sh",
        [
          "-c",
          "exec strace -f -qq -P \(folder)/store/store.db -e trace=\(call) "
            + "-e inject=\(call):error=\(error):when=1..2 -o \(folder)/trace "
            + "\"$0\" load \(folder)/store 5 4 80 read abort pause=30 checkpoint=40 >\(output) 2>&1",
          Faults.program,
        ])
      let said = try Program.contents(of: output)
      #expect(result.status == 0, "\(said.suffix(300))")
      let injected = try Program.contents(of: "\(folder)/trace").split(separator: "\n").filter {
        $0.hasSuffix("(INJECTED)")
      }
      #expect(
        Set(injected.map { $0.prefix { $0 != " " } }).count == 2, "the copier and the writer: \(injected)")
      #expect(said.contains("could not be copied"))
      let refused = said.split(separator: "\n").drop { $0 != "F STO0008" }
      #expect(!refused.isEmpty, "writes are refused")
      #expect(refused.contains { $0.hasPrefix("L ") }, "reads go on")
      #expect(!refused.contains { $0.hasPrefix("X ") }, "reads go on")
      #expect(refused.contains { $0.hasPrefix("A ") }, "writes resume")
      // The program ended without shutting down: what it was promised is on the disk or nowhere.
      var history = History()
      history.read(made.output)
      try await Faults.verify("\(folder)/store", &history, output: output, "\(call) \(error)")
    }
  }

  @Test func `beside writers that never rest the log is copied and begins anew`() async throws {
    try await withScratch { folder in
      var settings = SQLiteStoreSettings(folder: folder)
      settings.checkpointPages = 50
      let store = try SQLiteStore(settings: settings, metrics: Metrics())
      let value = [UInt8](repeating: 65, count: 1000)
      var biggest = 0
      try await withThrowingTaskGroup(of: Int.self) { group in
        for writer in 0..<16 {
          group.addTask {
            var biggest = 0
            for number in 0..<150 {
              _ = try await store.create("/k/\(writer)/\(number)", value)
              var log = stat()
              if stat(folder + "/store.db-wal", &log) == 0 { biggest = max(biggest, Int(log.st_size)) }
            }
            return biggest
          }
        }
        for try await one in group { biggest = max(biggest, one) }
      }
      // Eight times the measure, and the commit that went past it: 16 writes of a few pages each.
      #expect(biggest > 50 * 4120)
      #expect(biggest <= (400 + 200) * 4120, "\(biggest) bytes")
      let page = try await store.list(prefix: "/k/", limit: 0, after: nil, at: nil)
      #expect(page.values.count == 16 * 150)
      await store.shutdown()
      var database = stat()
      #expect(stat(folder + "/store.db", &database) == 0 && database.st_size > 16 * 150 * 1000)
    }
  }
}
