// Goal: connections are shared out as a Service asks: by weight, by client, for a time, and ended when their endpoint leaves.
// Method: real connections by TCP and UDP over IPv4 and IPv6.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import KernelNftables
import Logging
import NamespaceLab
import Proxy
import Ruleset
import Testing

@Suite(.serialized, .timeLimit(.minutes(3))) struct BalancingTests {
  @Test func `weights share connections out`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try #require(node.settle(), "the node's network does not carry packets")
      func weighted(_ number: Int, _ weights: String) -> [JSON] {
        feature(number, [End("a"), End("b")], annotations: ["weft.dev/endpoint-weights": weights])
      }
      let view = ClusterView(objects: weighted(40, "pod-a=3") + weighted(41, "pod-b=0"))
      _ = try RulesetSyncer(owned: ProxyTables.all).sync(planProxy(view, featureConfiguration).tables)
      let ways = everyWay.map { way in
        (40...41).map { word(way.transport, way.family, from: "c", to: "vip \($0)", 80, count: 200) }
      }
      let answers = node.attempt("c", ways.flatMap(\.self))
      for way in ways {
        let shares = (answers[way[0]] ?? []).filter { $0.hasPrefix("a ") }.count
        // 150 of 200 are expected; this far away is as likely as seven deviations.
        #expect((107...193).contains(shares), "\(way[0]): \(shares)")
        #expect(podFate(of: answers[way[1]] ?? []) == .answered(["a"]))
      }
    }
  }

  @Test func `Maglev gives a client the same endpoint on every node, and few move when one comes`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try #require(node.settle(), "the node's network does not carry packets")
      let sources = (100..<124).flatMap { ["10.42.0.\($0)", "fd00:42::\($0)"] }
      let adding = sources.map {
        "ip addr add \($0)/\($0.contains(":") ? "64 nodad" : "24") dev eth0"
      }
      node.execute(in: "c", "sh \(node.file("addresses", adding.joined(separator: "\n")))")
      /// Endpoints by word, in a table that begins with other Services, so that its numbers differ.
      func mapping(after others: Int, _ ends: [End]) throws -> [String: String] {
        let syncer = try RulesetSyncer(owned: ProxyTables.all)
        var view = ClusterView(objects: (0..<others).flatMap { feature(50 + $0, [End("a")]) })
        let first = planProxy(view, featureConfiguration)
        for object in feature(40, ends, annotations: ["weft.dev/balancing": "maglev"]) { view.apply(object) }
        _ = try syncer.sync(planProxy(view, featureConfiguration, previous: first.allocation).tables)
        defer { try? syncer.removeAll() }
        let words = sources.flatMap { source in
          let target = address("vip 40", source.contains(":") ? .v6 : .v4)
          return ["TCP", "UDP"].map { "\($0),\(target),80,3,\(source)@0" }
        }
        return node.attempt("c", words).mapValues { got in
          let pods = Set(got.compactMap { $0.split(separator: " ").first.map(String.init) })
          return got.count == 3 && pods.count == 1 ? pods.first ?? "" : "\(got)"
        }
      }
      let two = try mapping(after: 0, [End("a"), End("b")])
      #expect(two.count == 96)
      #expect(Set(two.values) == ["a", "b"])
      #expect(two == (try mapping(after: 3, [End("b"), End("a")])))
      let three = try mapping(after: 0, [End("a"), End("b"), End("out")])
      #expect(Set(three.values) == ["a", "b", "out"])
      let others = three.filter { $0.value != "out" }
      #expect(others.filter { two[$0.key] != $0.value }.count * 8 < others.count, "\(others)")
    }
  }

  @Test func `affinity binds a client for the Service's time and no longer`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try #require(node.settle(), "the node's network does not carry packets")
      func bound(_ number: Int, _ seconds: Int) -> [JSON] {
        feature(
          number, [End("a"), End("b")],
          [
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": ["clientIP": ["timeoutSeconds": JSON(seconds)]],
          ])
      }
      let view = ClusterView(objects: bound(40, 10800) + bound(41, 1))
      _ = try RulesetSyncer(owned: ProxyTables.all).sync(planProxy(view, featureConfiguration).tables)
      let hosts = [41, 40].flatMap { number in [.v4, .v6].map { address("vip \(number)", $0) } }
      // Each client asks again and again with pauses longer than the short time, until it has met both endpoints.
      let output = node.execute(
        in: "c", script: "affinity.py",
        """
        import socket, sys, time
        def ask(kind, host):
            s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind); s.settimeout(20)
            s.connect((host, 80))
            if kind == socket.SOCK_DGRAM: s.send(b"x")
            answer = s.recv(64).decode().split()[0]; s.close(); return answer
        short = {(k, h): set() for k in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for h in sys.argv[1:3]}
        long = {(k, h): set() for k in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for h in sys.argv[3:5]}
        for round in range(50):
            for met in (short, long):
                for way in met: met[way].add(ask(*way))
            if all(len(met) == 2 for met in short.values()): break
            time.sleep(1.2)
        for way in long:
            for _ in range(20): long[way].add(ask(*way))
        print(sorted(map(len, short.values())), sorted(map(len, long.values())))
        """, hosts)
      #expect(output == "[2, 2, 2, 2] [1, 1, 1, 1]\n")
    }
  }

  @Test func `connections to an endpoint that left are reset where asked, and live on elsewhere`()
    async throws
  {
    let (madeNode, worker) = try inFreshNamespace { (try Node(), try RulesetWorker(owned: ProxyTables.all)) }
    // Used by this test and by the worker's thread, which is in the node's namespace, in turns.
    nonisolated(unsafe) let node = madeNode
    defer {
      worker.stop()
      node.tearDown()
    }
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let syncer = ProxySyncer(
      worker: worker, configuration: featureConfiguration, logger: logger, metrics: Metrics())
    func services(_ pods: String...) -> [JSON] {
      feature(40, pods.map { End($0) }, annotations: ["weft.dev/reset-connections": "true"])
        + feature(41, [End(pods[0])])
    }
    var view = ClusterView(objects: services("a", "b"))
    _ = try await syncer.sync(view)
    let hosts = [40, 41].flatMap { number in [IPFamily.v4, .v6].map { address("vip \(number)", $0) } }
    try await worker.perform { _ in
      #expect(node.settle(), "the node's network does not carry packets")
      let script = node.file(
        "held.py",
        """
        import os, socket, sys, time
        folder = sys.argv[1]
        held = []
        for host in sys.argv[2:]:
          for _ in range(30):
            s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET); s.settimeout(20)
            s.connect((host, 90)); s.sendall(b"x"); held.append((host, s.recv(1).decode(), s))
        open(folder + "/held", "w").close()
        for _ in range(1200):
            if os.path.exists(folder + "/left"): break
            time.sleep(0.05)
        result = set()
        for host, pod, s in held:
            try: s.sendall(b"x"); fate = "lives" if s.recv(1) else "closed"
            except ConnectionResetError: fate = "reset"
            except OSError as e: fate = str(e)
            result.add(f"{host} {pod} {fate}")
        open(folder + "/result", "w").write(", ".join(sorted(result)))
        os.rename(folder + "/result", folder + "/done")
        """)
      let folder = script.split(separator: "/").dropLast().joined(separator: "/")
      node.execute(
        in: "c",
        "\(Node.python) \(script) /\(folder) \(hosts.joined(separator: " ")) > /dev/null 2>&1 < /dev/null &"
      )
      #expect(becomesTrue { run("test -e /\(folder)/held").status == 0 })
    }
    for object in services("b") { view.apply(object) }
    _ = try await syncer.sync(view)
    let result = try await worker.perform { _ in
      let folder = node.file("left", "").split(separator: "/").dropLast().joined(separator: "/")
      #expect(becomesTrue { run("test -e /\(folder)/done").status == 0 })
      return run("cat /\(folder)/done").output
    }
    // Of two in thirty connections each; those to the endpoint that stays are not touched.
    #expect(
      result == "10.43.0.40 a reset, 10.43.0.40 b lives, 10.43.0.41 a lives, "
        + "fd00:43::40 a reset, fd00:43::40 b lives, fd00:43::41 a lives")
    // New connections go to the endpoint that came.
    let words = hosts.map { "TCP,\($0),80,3,0" }
    let answers = try await worker.perform { _ in node.attempt("c", words) }
    for word in words { #expect(podFate(of: answers[word] ?? []) == .answered(["b"])) }
  }

  @Test func `stale UDP flows of both families go when their endpoint leaves`() async throws {
    let (madeNode, worker) = try inFreshNamespace { (try Node(), try RulesetWorker(owned: ProxyTables.all)) }
    nonisolated(unsafe) let node = madeNode
    defer {
      worker.stop()
      node.tearDown()
    }
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let syncer = ProxySyncer(
      worker: worker, configuration: featureConfiguration, logger: logger, metrics: Metrics())
    let words: [String] = [IPFamily.v4, .v6].flatMap { family in
      let port = family == .v4 ? 45000 : 45001
      return [
        word("UDP", family, from: "c", to: "vip 40", 80, count: 1, sourcePort: port),
        word("UDP", family, from: "out", to: "node", 30040, count: 1, sourcePort: port),
      ]
    }
    func ask() async throws -> [String] {
      try await worker.perform { _ in
        let inside = node.attempt("c", [words[0], words[2]])
        let outside = node.attempt("out", [words[1], words[3]])
        return words.map { String((inside[$0] ?? outside[$0])?.first?.split(separator: " ").first ?? "") }
      }
    }
    var view = ClusterView(objects: feature(40, [End("a")], as: "NodePort"))
    _ = try await syncer.sync(view)
    try await worker.perform { _ in #expect(node.settle()) }
    let everyone = { (pod: String) in [String](repeating: pod, count: 4) }
    let first = try await ask()
    #expect(first == everyone("a"))
    for object in feature(40, [End("b")], as: "NodePort") { view.apply(object) }
    _ = try await syncer.sync(view)
    let second = try await ask()
    #expect(second == everyone("b"))
  }
}
