// Goal: whoever kills the proxy, whenever, finds the old rules or the new ones in force, those of Services and those of policies, and no connection cut. Method: another process
// syncs (ProxyFaults) and is killed at each of its messages to the kernel, then at random moments; connections through a Service are
// used all the while. `make soak` does it with 10,000 Services.

import Glibc
import NamespaceLab
import SoakLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(60))) struct ProxyKillTests {
  private static let program: String = {
    var path = [UInt8](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &path, path.count)
    let own = String(decoding: path.prefix(max(0, count)), as: UTF8.self)
    return own.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
      + "/ProxyFaults"
  }()

  /// Connections of pod c through the Service that both versions have.
  private struct HeldConnections {
    let node: Node
    let folder: String

    /// Opens them; each is used every few milliseconds until `end`.
    init(_ node: Node) throws {
      self.node = node
      let script = node.file(
        "held.py",
        """
        import os, socket, sys, time
        folder = sys.argv[1]
        held = []
        for _ in range(24):
            s = socket.socket(); s.settimeout(20); s.connect(("10.43.255.1", 90))
            s.sendall(b"x"); s.recv(1); held.append(s)
        open(folder + "/held", "w").close()
        rounds, lost = 0, []
        while not lost and not os.path.exists(folder + "/left"):
            for s in held:
                try:
                    s.sendall(b"x")
                    if s.recv(1) != b"a": lost.append("closed")
                except OSError as e: lost.append(str(e))
            rounds += 1
            time.sleep(0.01)
        open(folder + "/result", "w").write("all live" if rounds and not lost else f"{rounds} rounds, {len(lost)} lost {set(lost)}")
        os.rename(folder + "/result", folder + "/done")
        """)
      folder = "/" + script.split(separator: "/").dropLast().joined(separator: "/")
      node.execute(in: "c", "\(Node.python) \(script) \(folder) > /dev/null 2>&1 < /dev/null &")
      let folder = folder
      try #require(becomesTrue { access("\(folder)/held", F_OK) == 0 }, "no connections through the Service")
    }

    func end() -> String {
      _ = node.file("left", "")
      _ = becomesTrue { access("\(folder)/done", F_OK) == 0 }
      return run("cat \(folder)/done").output
    }
  }

  @Test func `killed at each message to the kernel, the old rules or the new ones are in force`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      let count = Soak.rounds(60, long: 10_000)
      func inForce() -> String {
        run("\(Self.program) which \(count)").output.trimmed
      }
      let first = run("\(Self.program) once 0 \(count)")
      try #require(first.status == 0, "\(first.output)")
      try #require(inForce() == "0")
      let held = try HeldConnections(node)
      let trace = node.file("trace", "")
      _ = run("strace -f -qq -e trace=sendto -o \(trace) \(Self.program) once 1 \(count)")
      let calls = run("grep -c 'sendto(' \(trace)").output.trimmed
      let messages = try #require(Int(calls), "\(calls)")
      #expect(messages > 8 && inForce() == "1")
      var (old, new) = (0, 0)
      // The transaction and what is around it come last; of the messages that only read every third is tried.
      let step = Soak.rounds(3, long: 1)
      let numbers = (1...messages).filter { $0 > messages - 4 || $0 % step == 0 }
      for number in numbers {
        let before = inForce()
        try #require(before == "0" || before == "1")
        let wanted = before == "0" ? "1" : "0"
        let killed = run(
          "strace -f -qq -e trace=sendto -e inject=sendto:signal=KILL:when=\(number) -o /dev/null "
            + "\(Self.program) once \(wanted) \(count)")
        // Numbers of messages differ a little with what is to be changed.
        #expect(killed.status != 1, "message \(number): \(killed.output)")
        let after = inForce()
        #expect(after == "0" || after == "1", "killed at message \(number) of \(messages): \(after)")
        if after == before { old += 1 } else { new += 1 }
      }
      #expect(old > 0 && new > 0, "the old rules \(old) times, the new ones \(new) times")
      let result = held.end()
      #expect(result == "all live")
      Soak.report("proxy: killed at \(numbers.count) of \(messages) messages, \(count) Services: \(result)")
    }
  }

  @Test
  func `killed at random moments, the old rules or the new ones are in force and the next start goes on`()
    throws
  {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      let count = Soak.rounds(100, long: 10_000)
      let rounds = Soak.rounds(6, long: 200)
      var random = SeededGenerator(seed: Soak.seed)
      let first = run("\(Self.program) once 0 \(count)")
      try #require(first.status == 0, "\(first.output)")
      let held = try HeldConnections(node)
      var seen: Set<String> = []
      for round in 1...rounds {
        guard let output = popen("exec \(Self.program) turns \(count)", "r") else { break }
        var line = [CChar](repeating: 0, count: 256)
        try #require(fgets(&line, 256, output) != nil)
        let id = line.withUnsafeBufferPointer { $0.baseAddress.map(atoi) ?? 0 }
        try #require(id > 1)
        // At least one version is in force; the next transaction is on its way.
        _ = fgets(&line, 256, output)
        usleep(UInt32.random(in: 0...UInt32(count) * 600, using: &random))
        kill(id, SIGKILL)
        pclose(output)
        let after = run("\(Self.program) which \(count)").output.trimmed
        #expect(after == "0" || after == "1", "round \(round): \(after)")
        seen.insert(after)
      }
      let last = run("\(Self.program) once 0 \(count)")
      #expect(last.status == 0, "\(last.output)")
      #expect(run("\(Self.program) which \(count)").output.trimmed == "0")
      let result = held.end()
      #expect(result == "all live")
      Soak.report("proxy: killed \(rounds) times in turns of \(count) Services (\(seen.sorted())): \(result)")
    }
  }

  @Test func `without rights the rules in force stay, and the error says what was refused`() throws {
    try inFreshNamespace {
      _ = run("\(Self.program) once 0 20")
      let listing = run("nft list ruleset").output
      let refused = run("setpriv --bounding-set=-net_admin \(Self.program) once 1 20")
      #expect(refused.status == 1)
      #expect(refused.output.contains("Operation not permitted"), "\(refused.output)")
      #expect(!listing.isEmpty && run("nft list ruleset").output == listing)
    }
  }
}

extension String {
  fileprivate var trimmed: String { split(whereSeparator: \.isNewline).joined(separator: " ") }
}
