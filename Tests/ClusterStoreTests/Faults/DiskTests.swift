// A disk that loses its power, fails, or is full. Each test has a small ext4 file system of its own in a file.

import ClusterStore
import Diagnostics
import Glibc
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 60 : 5))) struct DiskTests {
  @Test func `when the power goes every acknowledged write is on the disk`() async throws {
    try await withScratch { scratch in
      let disk = try SmallDisk(scratch, mebibytes: 64)
      var random = SeededGenerator(seed: 11)
      var history = History()
      let rounds = Soak.rounds(15, long: 500)
      for round in 0..<rounds {
        let output = "\(scratch)/said-\(round)"
        let words = round % 3 == 2 ? ["compact"] : []
        let program = try Program(
          Faults.program, ["load", "\(disk.folder)/store", "3\(round)", "32", "0"] + words, output: output)
        let isWriting = try await until { Faults.said(output).contains("\nA ") }
        try #require(isWriting, "round \(round)")
        try await Faults.pause(Int.random(in: 0..<150, using: &random))
        let promised = Faults.said(output).utf8.count
        try disk.cutPower()
        program.stop()
        try disk.unmount()
        try disk.mount()
        try await Faults.verify(
          "\(disk.folder)/store", &history, output: output, promised: promised, "power cut \(round)")
      }
      try disk.unmount()
      Soak.report(
        "the power cut \(rounds) times: \(history.acknowledged.count) writes acknowledged, all there")
      #expect(history.acknowledged.count > rounds * 30)
    }
  }

  @Test(arguments: [
    ("fdatasync", "EIO"), ("fdatasync", "ENOSPC"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"),
  ])
  func `after a failed write or sync nothing unsure is acknowledged, and writes go on by themselves`(
    call: String, error: String
  ) async throws {
    try await withScratch { folder in
      // Four writers of so many writes: each makes a commit of its own at worst, so that the failure comes early enough for
      // them to see its end. Writes are refused for a second: half a second after each failed repair.
      let first = call == "fdatasync" ? 12 : 40
      for number in stride(from: first, through: first + Soak.rounds(0, long: 60), by: 3) {
        let output = "\(folder)/said-\(number)"
        let result = try Program.run(
          "/bin/sh",
          [
            "-c",
            "exec strace -f -qq --seccomp-bpf -e trace=\(call) -e inject=\(call):error=\(error):when=\(number)..\(number + 2) "
              + "-o /dev/null \"$0\" load \(folder)/\(number)/store 5 4 \(Soak.rounds(60, long: 120)) abort pause=30 >\(output) 2>&1",
            Faults.program,
          ])
        let said = try Program.contents(of: output)
        #expect(result.status == 0, "\(said.suffix(300))")
        #expect(said.contains("\nF STO00"), "\(call) \(error) \(number): a failure is told")
        let after = said.split(separator: "\n").drop { !$0.hasPrefix("F ") }
        #expect(after.contains { $0.hasPrefix("A ") }, "\(call) \(error) \(number): writes go on")
        // The program ended without shutting down: what it was promised is on the disk or nowhere.
        var history = History()
        try await Faults.verify(
          "\(folder)/\(number)/store", &history, output: output, "\(call) \(error) \(number)")
      }
    }
  }

  @Test
  func
    `on a full disk writes are refused, reads and watches go on, and writes come back by themselves`()
    async throws
  {
    try await withScratch { scratch in
      let disk = try SmallDisk(scratch, mebibytes: 24)
      let store = try Faults.open("\(disk.folder)/store")
      let first = try await store.create("/k/first", [UInt8](text: "here"))
      let watch = try await store.watch(prefix: "/k/", after: first, queueMax: 100_000)
      let filler = try Program.run(
        "/bin/sh", ["-c", "dd if=/dev/zero of=\(disk.folder)/filler bs=64k 2>/dev/null; sync"])
      _ = filler
      let value = [UInt8](repeating: 65, count: 100_000)
      var made: [Revision] = []
      var refusal: WeftError?
      for index in 0..<400 where refusal == nil {
        do throws(StoreError) { made.append(try await store.create("/k/\(index)", value)) } catch {
          if case .failed(let cause) = error { refusal = cause }
        }
      }
      #expect(refusal?.code == "STO0005")
      #expect(refusal?.isRetryable == true)
      for _ in 0..<20 {
        await #expect(throws: StoreError.self) { try await store.create("/k/more", value) }
        #expect(try await store.get("/k/first")?.value == [UInt8](text: "here"))
      }
      let page = try await store.list(prefix: "/k/", limit: 0, after: nil, at: nil)
      #expect(page.values.count == made.count + 1)
      unlink("\(disk.folder)/filler")
      let freed = ContinuousClock.now
      let isBack = try await until(.seconds(30)) {
        do throws(StoreError) {
          made.append(try await store.create("/k/back", value))
          return true
        } catch { return false }
      }
      #expect(isBack)
      let took = ContinuousClock.now - freed
      Soak.report("a full disk: writes came back \(took) after there was room")
      if Soak.isLong { #expect(took < .seconds(5)) }
      var told: [Revision] = []
      let waiting = Waiting("the \(made.count) writes on the watch that was open all the time")
      while told.count < made.count, let events = try await waiting.next(watch) {
        told += events.map(\.revision)
      }
      #expect(told == made)
      await store.shutdown()
      let again = try Faults.open("\(disk.folder)/store")
      #expect(
        try await again.list(prefix: "/k/", limit: 0, after: nil, at: nil).values.count == made.count + 1)
      await again.shutdown()
      try disk.unmount()
    }
  }
}
