// Goal: what reaches itself through a Service is answered, whatever way it takes; what reaches itself without one is left alone.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import NamespaceLab
import Proxy
import Testing

@Suite(.serialized, .timeLimit(.minutes(3))) struct HairpinTests {
  /// Pod a and the node itself, each behind a Service with every kind of address.
  private static let services: [JSON] = [(39, "a"), (40, "node")].flatMap { number, end in
    feature(
      number, [End(end)], as: "LoadBalancer",
      [
        "externalIPs": [
          JSON(address("lb \(number + 100)", .v4)), JSON(address("lb \(number + 100)", .v6)),
        ]
      ],
      lb: number)
  }

  @Test func `pods and the node reach themselves through every address of a Service`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try node.serve()
      try #require(node.settle(), "the node's network does not carry packets")
      let plan = planProxy(ClusterView(objects: [featureNode] + Self.services), featureConfiguration)
      _ = try RulesetSyncer(owned: ProxyTables.all).sync(plan.tables)
      for (place, number, pod) in [("a", 39, "a"), ("self", 40, "node"), ("node", 40, "node")] {
        for way in everyWay {
          let words = [
            ("vip \(number)", 80), ("node", 30000 + number), ("lb \(number)", 80), ("lb \(number + 100)", 80),
          ]
          .map { word(way.transport, way.family, from: place, to: $0.0, $0.1, count: 5) }
          let answers = node.attempt(Node.host(of: place), words)
          for word in words {
            let got = answers[word] ?? []
            #expect(podFate(of: got) == .answered([pod]), "\(word) from \(place): \(got.prefix(3))")
            // Else its answer would never meet the translation back.
            guard place == "a" else { continue }
            let isOwn = got.contains { $0.hasSuffix(" " + address(place, way.family)) }
            #expect(!isOwn, "\(word) from \(place): \(got.prefix(3))")
          }
        }
      }
      // Without a Service nothing is translated.
      for way in everyWay {
        let port = way.transport == "TCP" ? 8080 : 5353
        let direct = word(way.transport, way.family, from: "self", to: "node", port, count: 5)
        let own = "node " + address("node", way.family)
        #expect(node.attempt("", [direct])[direct] == [String](repeating: own, count: 5), "\(direct)")
      }
    }
  }

  /// As a proxy's to the API server beside it. The first rules begin to track connections: those that are open look like new ones.
  @Test func `a connection of the node to its own address lives on when the first rules come`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try node.serve()
      try #require(node.settle(), "the node's network does not carry packets")
      let script = node.file(
        "talk.py",
        """
        import os, socket, sys, time
        folder, talks = sys.argv[1], []
        for host in sys.argv[2:]:
            s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET); s.settimeout(10)
            s.bind((host, 0)); s.connect((host, 9090)); s.sendall(b"x"); s.recv(1); talks.append(s)
        open(folder + "/open", "w").close()
        for _ in range(1200):
            if os.path.exists(folder + "/changed"): break
            time.sleep(0.05)
        result = []
        for s in talks:
            try:
                for _ in range(3): s.sendall(b"x"); result.append(s.recv(1).decode())
            except OSError as e: result.append(str(e))
        open(folder + "/result", "w").write(" ".join(result))
        os.rename(folder + "/result", folder + "/done")
        """)
      let folder = "/" + script.split(separator: "/").dropLast().joined(separator: "/")
      _ = run(
        "\(Node.python) \(script) \(folder) \(address("node", .v4)) \(address("node", .v6)) > /dev/null 2>&1 < /dev/null &"
      )
      try #require(becomesTrue { run("test -e \(folder)/open").status == 0 })
      let view = ClusterView(objects: [featureNode] + Self.services)
      _ = try RulesetSyncer(owned: ProxyTables.all).sync(planProxy(view, featureConfiguration).tables)
      _ = run("touch \(folder)/changed")
      #expect((0..<4).contains { _ in becomesTrue { run("test -e \(folder)/done").status == 0 } })
      let result = run("cat \(folder)/done").output
      #expect(result == "n n n n n n", "\(result)")
    }
  }
}
