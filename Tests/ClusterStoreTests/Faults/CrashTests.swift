// A process that dies at any moment: while 64 writers write, at each system call that writes, while history is compacted.

import ClusterStore
import Diagnostics
import Glibc
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 60 : 10))) struct CrashTests {
  /// Kills the writing program `rounds` times on one store; each time everything promised must be there.
  private func killAtRandom(rounds: Int, writers: Int, words: [String] = [], seed: UInt64) async throws {
    try await withScratch { folder in
      var random = SeededGenerator(seed: seed)
      var history = History()
      for round in 0..<rounds {
        let output = "\(folder)/said-\(round)"
        let program = try Program(
          Faults.program, ["load", "\(folder)/store", "\(seed)\(round)", "\(writers)", "0"] + words,
          output: output)
        let isWriting = try await until { Faults.said(output).contains("\nA ") }
        try #require(isWriting, "round \(round)")
        try await Faults.pause(Int.random(in: 0..<120, using: &random))
        program.stop()
        try await Faults.verify("\(folder)/store", &history, output: output, "round \(round)")
      }
      Soak.report(
        "killed \(rounds) times under \(writers) writers: \(history.acknowledged.count) writes acknowledged, all there"
      )
      #expect(history.acknowledged.count > rounds * writers / 4)
      #expect(history.opened == history.opened.sorted())
    }
  }

  @Test func `killed while sixty-four write, the store holds every acknowledged write and goes on counting`()
    async throws
  {
    try await killAtRandom(rounds: Soak.rounds(25, long: 200), writers: 64, seed: Soak.seed)
  }

  @Test func `killed while history is compacted, nothing acknowledged is lost and no revision comes twice`()
    async throws
  {
    try await killAtRandom(
      rounds: Soak.rounds(15, long: 100), writers: 8, words: ["compact"], seed: Soak.seed + 1)
  }

  @Test(arguments: ["pwrite64", "fdatasync", "ftruncate"])
  func `killed at each call that writes, the store holds every acknowledged write`(call: String) async throws
  {
    try await withScratch { folder in
      let load = ["load", "\(folder)/0/store", "7", "2", "25", "compact"]
      let counted = try Program.run(
        "/usr/bin/strace",
        ["-f", "-qq", "--seccomp-bpf", "-e", "trace=\(call)", "-o", "\(folder)/trace", Faults.program] + load)
      try #require(counted.status == 0, "\(counted.output)")
      // strace counts the calls of each thread for itself. The kill comes with the first thread that gets so far.
      var byThread: [Substring: Int] = [:]
      for line in try Program.contents(of: "\(folder)/trace").split(separator: "\n")
      where line.contains("\(call)(") {
        byThread[line.prefix { $0 != " " }, default: 0] += 1
      }
      let calls = byThread.values.max() ?? 0
      // Every call of a small run, thinned out to what time allows.
      let step = Soak.isLong ? 1 : max(1, calls / 10)
      var (tried, killed) = (0, 0)
      for number in stride(from: 1, through: max(1, calls), by: step) {
        let output = "\(folder)/said-\(number)"
        let run = "\(folder)/\(number)"
        // Without --seccomp-bpf: with it strace 6.1 injects a signal at the first call alone.
        let result = try Program.run(
          "/bin/sh",
          [
            "-c",
            "exec strace -f -qq -e trace=\(call) -e inject=\(call):signal=KILL:when=\(number) -o /dev/null "
              + "\"$0\" load \(run)/store 7 2 25 compact >\(output) 2>&1", Faults.program,
          ])
        tried += 1
        if result.status == 128 + SIGKILL { killed += 1 }
        var history = History()
        try await Faults.verify("\(run)/store", &history, output: output, "\(call) \(number)")
      }
      Soak.report("\(call): killed at \(killed) of \(calls) calls of one thread")
      // Runs differ a little: the last numbers may not come.
      #expect(killed >= max(1, tried / 2), "killed \(killed) of \(tried) times")
    }
  }
}
