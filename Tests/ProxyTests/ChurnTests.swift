// Goal: a Service whose endpoints are replaced one after the other, as a rolling restart does it, refuses nobody. Method: endpoints that
// really go: an endpoint that has left the rules closes its socket, one that comes opens it before it is made ready; clients connect all
// the while. `make soak` makes 50,000 connects to 250 endpoints.

import Addresses
import ClusterObjects
import ClusterView
import Glibc
import KernelNftables
import NamespaceLab
import Proxy
import Ruleset
import SoakLab
import Testing

/// Listeners on as many addresses of pod a, opened and closed on request.
private final class ManyEndpoints {
  private let commands: UnsafeMutablePointer<FILE>
  private let answers: String
  private var asked = 0

  init(_ node: Node) throws {
    // Every address of the block is pod a's own.
    _ = run("ip route add 10.42.7.0/24 via 10.42.0.11")
    node.execute(in: "a", "ip route add local 10.42.7.0/24 dev lo")
    let script = node.file(
      "many.py",
      """
      import select, socket, sys
      open_, poll = {}, select.epoll()
      poll.register(sys.stdin, select.EPOLLIN)
      log = open(sys.argv[1], "w")
      def connections(fd):
          while True:
              try: c, _ = by_number[fd].accept()
              except BlockingIOError: return
              except OSError: return
              try: c.sendall(b"+")
              except OSError: pass
              c.close()
      by_number = {}
      while True:
          for fd, _ in poll.poll():
              if fd in by_number: connections(fd); continue
              if fd != sys.stdin.fileno(): continue
              line = sys.stdin.readline()
              if not line: sys.exit()
              word, address = line.split()
              if word == "open":
                  s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                  s.bind((address, 8088)); s.listen(128); s.setblocking(False)
                  open_[address] = s; by_number[s.fileno()] = s; poll.register(s, select.EPOLLIN)
              else:
                  # Who is in the queue already is served.
                  s = open_.pop(address); connections(s.fileno()); poll.unregister(s)
                  del by_number[s.fileno()]; s.close()
              log.write("x"); log.flush()
      """)
    answers = node.file("answers", "")
    commands = try #require(popen(node.command(in: "a", "\(Node.python) -u \(script) \(answers)"), "w"))
  }

  /// Returns when it is done.
  func ask(_ word: String, _ address: String) -> Bool {
    asked += 1
    fputs("\(word) \(address)\n", commands)
    fflush(commands)
    var status = stat()
    for _ in 0..<20_000 {
      if stat(answers, &status) == 0, status.st_size >= asked { return true }
      usleep(500)
    }
    return false
  }

  func end() { pclose(commands) }
}

@Suite(.serialized, .timeLimit(.minutes(30))) struct ChurnTests {
  private static let away = 20
  /// How long an endpoint that has left the rules goes on answering: a pod has half a minute for it.
  private static let grace = Duration.milliseconds(500)

  @Test func `no connect is refused while endpoints are replaced one after the other`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      let endpoints = Soak.rounds(40, long: 250)
      let connects = Soak.rounds(2000, long: 50_000)
      let server = try ManyEndpoints(node)
      defer { server.end() }
      func address(_ number: Int) -> String { "10.42.7.\(number + 1)" }
      func slice(_ members: [Int]) -> JSON {
        endpointSlice("rolling", members.map { (address($0), "n1") }, port: 8088)
      }
      // Some are always away: the next to come.
      var members = Array(0..<endpoints - Self.away)
      var away = Array(endpoints - Self.away..<endpoints)
      for member in members { try #require(server.ask("open", address(member))) }
      var view = ClusterView(objects: [service("rolling", "10.43.0.77"), slice(members)])
      var planner = ProxyPlanner(clusterConfiguration)
      _ = planner.apply(view.takeChanges())
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      _ = try syncer.sync(planner.tables)
      func inForce(_ now: [Int]) throws {
        view.apply(slice(now))
        _ = try syncer.sync([], deltas: planner.apply(view.takeChanges()).tables)
      }
      let clients = Soak.rounds(2, long: 4)
      let script = node.file(
        "connect.py",
        """
        import collections, os, socket, sys, threading
        fates, lock = collections.Counter(), threading.Lock()
        def connect(count):
            mine = collections.Counter()
            # So many, and until enough has changed: a fast machine has connected before.
            while mine.total() < count or not os.path.exists(sys.argv[4]):
                s = socket.socket(); s.settimeout(20)
                try: s.connect(("10.43.0.77", 80)); fate = s.recv(1).decode() or "closed"
                except OSError as e: fate = str(e)
                s.close(); mine[fate] += 1
            with lock: fates.update(mine)
        threads = [threading.Thread(target=connect, args=(int(sys.argv[2]),)) for _ in range(int(sys.argv[3]))]
        for t in threads: t.start()
        for t in threads: t.join()
        open(sys.argv[1] + ".part", "w").write(", ".join(f"{n} {f}" for f, n in sorted(fates.items())))
        os.rename(sys.argv[1] + ".part", sys.argv[1])
        """)
      let result = node.file("fates", "")
      let enough = node.file("enough", "")
      for path in [result, enough] { unlink(path) }
      node.execute(
        in: "c",
        "\(Node.python) \(script) \(result) \(connects / clients) \(clients) \(enough) > /dev/null 2>&1 < /dev/null &"
      )
      var replaced = 0
      // Out of the rules, and still answering who has come already.
      var leaving: [(endpoint: Int, since: ContinuousClock.Instant)] = []
      let clock = ContinuousClock()
      for round in 0..<1_000_000 where access(result, F_OK) != 0 {
        while let first = leaving.first, clock.now - first.since > Self.grace {
          try #require(server.ask("close", address(first.endpoint)))
          away.append(first.endpoint)
          leaving.removeFirst()
        }
        guard let coming = away.first else {
          usleep(5000)
          continue
        }
        away.removeFirst()
        try #require(server.ask("open", address(coming)))
        let gone = members.remove(at: round * 7 % members.count)
        members.append(coming)
        try inForce(members)
        leaving.append((gone, clock.now))
        replaced += 1
        if replaced == Self.away { _ = node.file("enough", "") }
      }
      let fates = run("cat \(result)").output
      let words = fates.split(separator: " ")
      #expect(words.count == 2 && words.last == "+", "\(fates)")
      #expect((words.first.flatMap { Int($0) } ?? 0) >= connects, "\(fates)")
      #expect(replaced >= Self.away)
      Soak.report(
        "proxy: \(connects) connects while \(replaced) of \(endpoints) endpoints were replaced: \(fates)")
    }
  }
}
