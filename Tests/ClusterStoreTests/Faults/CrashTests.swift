// A process that dies at any moment: while 64 writers write, at each system call that writes, while history is compacted.

import ClusterStore
import Diagnostics
import Glibc
import StoreLab
import Testing

@Suite(.serialized) struct CrashTests {
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
      #expect(history.acknowledged.count > rounds * writers / 4)
      #expect(history.opened == history.opened.sorted())
    }
  }

  @Test func `killed while sixty-four write, the store holds every acknowledged write and goes on counting`()
    async throws
  {
    try await killAtRandom(rounds: 25, writers: 64, seed: 1)
  }

  @Test func `killed while history is compacted, nothing acknowledged is lost and no revision comes twice`()
    async throws
  {
    try await killAtRandom(rounds: 15, writers: 8, words: ["compact"], seed: 2)
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
      let calls = try Program.contents(of: "\(folder)/trace").split(separator: "\n").filter {
        $0.contains(call)
      }.count
      // Every call of a small run, thinned out to what time allows.
      let step = max(1, calls / 20)
      var killed = 0
      for number in stride(from: 1, through: max(1, calls), by: step) {
        let output = "\(folder)/said-\(number)"
        let run = "\(folder)/\(number)"
        let result = try Program.run(
          "/bin/sh",
          [
            "-c",
            "exec strace -f -qq --seccomp-bpf -e trace=\(call) -e inject=\(call):signal=KILL:when=\(number) -o /dev/null "
              + "\"$0\" load \(run)/store 7 2 25 compact >\(output) 2>&1", Faults.program,
          ])
        if result.status != 0 { killed += 1 }
        var history = History()
        try await Faults.verify("\(run)/store", &history, output: output, "\(call) \(number)")
      }
      #expect(killed > 0 || calls == 0)
    }
  }
}
