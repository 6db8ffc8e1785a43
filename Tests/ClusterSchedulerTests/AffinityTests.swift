// Pods near and away from others, spread over domains: rules one by one, and an oracle that counts anew for
// every node on random small clusters.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterScheduler

@Suite struct AffinityTests {
  private let hostname = "kubernetes.io/hostname"

  private func term(_ app: String, _ key: String, _ more: [String: JSON] = [:]) -> JSON {
    var term: JSON = ["labelSelector": ["matchLabels": ["app": JSON(app)]], "topologyKey": JSON(key)]
    for (name, value) in more { term[name] = value }
    return term
  }
  private func affine(
    _ name: String, _ kind: String, _ terms: [JSON], labels: [String: String] = [:],
    namespace: String = "demo"
  ) -> JSON {
    makePod(
      name, namespace: namespace, labels: labels,
      spec: ["affinity": [kind: ["requiredDuringSchedulingIgnoredDuringExecution": .array(terms)]]])
  }
  private func preferring(
    _ name: String, _ kind: String, _ term: JSON, _ weight: Int, _ labels: [String: String] = [:]
  )
    -> JSON
  {
    makePod(
      name, labels: labels,
      spec: [
        "affinity": [
          kind: [
            "preferredDuringSchedulingIgnoredDuringExecution": [
              ["weight": JSON(weight), "podAffinityTerm": term]
            ]
          ]
        ]
      ])
  }
  private func zones(_ pods: [String: [JSON]] = [:]) -> [NodeInfo] {
    [("n1", "east"), ("n2", "east"), ("n3", "west")].map { name, zone in
      info(makeNode(name, labels: ["zone": zone]), pods[name] ?? [])
    }
  }

  @Test func `required affinity: only domains that hold such a pod`() throws {
    let nodes = zones(["n1": [makePod("db", labels: ["app": "db"])]])
    let pod = affine("p", "podAffinity", [term("db", "zone")])
    #expect(passing(pod, nodes, .init(), InterPodAffinity()) == ["n1", "n2"])
    #expect(
      try decide(affine("p", "podAffinity", [term("none", "zone")]), nodes)
        == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.")
  }

  @Test func `the first of a group that wants its own kind near is placed`() {
    let pod = affine("p", "podAffinity", [term("web", "zone")], labels: ["app": "web"])
    #expect(passing(pod, zones(), .init(), InterPodAffinity()).count == 3)
    let unlabelled = [info(makeNode("n4"))]
    #expect(passing(pod, unlabelled, .init(), InterPodAffinity()).isEmpty)
  }

  @Test func `required anti-affinity works in both directions`() throws {
    let lonely = affine("lonely", "podAntiAffinity", [term("web", "zone")], labels: ["app": "db"])
    let nodes = zones(["n1": [makePod("w", labels: ["app": "web"])]])
    #expect(passing(lonely, nodes, .init(), InterPodAffinity()) == ["n3"])
    let others = zones(["n3": [lonely]])
    let web = makePod("w", labels: ["app": "web"])
    #expect(passing(web, others, .init(), InterPodAffinity()) == ["n1", "n2"])
    #expect(
      try decide(web, [others[2]])
        == "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.")
    #expect(
      try decide(lonely, [nodes[0]])
        == "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.")
  }

  @Test func `namespaces: one's own, those named, those selected`() {
    let nodes = zones(["n1": [makePod("db", namespace: "data", labels: ["app": "db"])]])
    var objects = ClusterObjectsView()
    objects.namespaces = ObjectSnapshot([["metadata": ["name": "data", "labels": ["team": "a"]]]])
    func places(_ more: [String: JSON]) -> [String] {
      passing(affine("p", "podAffinity", [term("db", hostname, more)]), nodes, objects, InterPodAffinity())
    }
    #expect(places([:]).isEmpty)
    #expect(places(["namespaces": ["data"]]) == ["n1"])
    #expect(places(["namespaceSelector": ["matchLabels": ["team": "a"]]]) == ["n1"])
    #expect(places(["namespaceSelector": ["matchLabels": ["team": "b"]]]).isEmpty)
    #expect(places(["namespaceSelector": .object([:])]) == ["n1"])
  }

  @Test func `matchLabelKeys and mismatchLabelKeys take the pod's own values`() {
    let nodes = zones([
      "n1": [makePod("a", labels: ["app": "web", "hash": "1"])],
      "n3": [makePod("b", labels: ["app": "web", "hash": "2"])],
    ])
    func places(_ field: String) -> [String] {
      let pod = affine(
        "p", "podAffinity", [term("web", hostname, [field: ["hash"]])], labels: ["app": "web", "hash": "2"])
      return passing(pod, nodes, .init(), InterPodAffinity())
    }
    #expect(places("matchLabelKeys") == ["n3"])
    #expect(places("mismatchLabelKeys") == ["n1"])
  }

  @Test func `preferred terms attract and repel, also those of pods already there`() {
    let nodes = zones(["n3": [makePod("db", labels: ["app": "db"])]])
    #expect(
      scores(preferring("p", "podAffinity", term("db", "zone"), 5), nodes, InterPodAffinity()) == [0, 0, 100])
    #expect(
      scores(preferring("p", "podAntiAffinity", term("db", "zone"), 5), nodes, InterPodAffinity())
        == [100, 100, 0])
    let inviting = zones(["n1": [preferring("x", "podAffinity", term("web", hostname), 3)]])
    let web = makePod("w", labels: ["app": "web"])
    #expect(scores(web, inviting, InterPodAffinity()) == [100, 0, 0])
    // A required term of a pod there is a little invitation too.
    let required = zones(["n2": [affine("x", "podAffinity", [term("web", hostname)])]])
    #expect(scores(web, required, InterPodAffinity()) == [0, 100, 0])
    var deaf = InterPodAffinity()
    deaf.ignorePreferredTermsOfExistingPods = true
    #expect(scores(web, inviting, deaf) == [0, 0, 0])
  }

  // MARK: Spread

  private func spreading(
    _ constraint: JSON, labels: [String: String] = ["app": "web"], spec: [String: JSON] = [:]
  )
    -> JSON
  {
    var spec = spec
    spec["topologySpreadConstraints"] = [constraint]
    return makePod("p", labels: labels, spec: spec)
  }
  private func constraint(_ more: [String: JSON] = [:]) -> JSON {
    var constraint: JSON = [
      "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
      "labelSelector": ["matchLabels": ["app": "web"]],
    ]
    for (name, value) in more { constraint[name] = value }
    return constraint
  }
  private func web(_ name: String) -> JSON { makePod(name, labels: ["app": "web"]) }

  @Test func `maxSkew holds pods back from the fuller domain`() throws {
    let nodes = zones(["n1": [web("a")]])
    #expect(passing(spreading(constraint()), nodes, .init(), PodTopologySpread()) == ["n3"])
    #expect(passing(spreading(constraint(["maxSkew": 2])), nodes, .init(), PodTopologySpread()).count == 3)
    let unlabelled = [info(makeNode("x"))]
    #expect(
      try decide(spreading(constraint()), unlabelled)
        == "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints "
        + "(missing required label).")
  }

  @Test func `with fewer domains than minDomains the emptiest counts as empty`() {
    let nodes = zones(["n1": [web("a")], "n3": [web("b")]])
    #expect(passing(spreading(constraint()), nodes, .init(), PodTopologySpread()).count == 3)
    #expect(passing(spreading(constraint(["minDomains": 3])), nodes, .init(), PodTopologySpread()).isEmpty)
  }

  @Test func `nodes that the pod could not take do not count, unless it is said`() {
    let nodes = zones(["n1": [web("a")]])
    let bound: [String: JSON] = ["nodeSelector": ["zone": "east"]]
    #expect(
      passing(spreading(constraint(), spec: bound), nodes, .init(), PodTopologySpread()).contains("n2"))
    let ignoring = spreading(constraint(["nodeAffinityPolicy": "Ignore"]), spec: bound)
    #expect(!passing(ignoring, nodes, .init(), PodTopologySpread()).contains("n2"))
    let tainted = [
      info(makeNode("n1", labels: ["zone": "east"]), [web("a")]),
      info(makeNode("n3", labels: ["zone": "west"], taints: [["key": "k", "effect": "NoSchedule"]])),
    ]
    #expect(passing(spreading(constraint()), tainted, .init(), PodTopologySpread()) == ["n3"])
    let honoring = spreading(constraint(["nodeTaintsPolicy": "Honor"]))
    #expect(passing(honoring, tainted, .init(), PodTopologySpread()).contains("n1"))
  }

  @Test func `pods that are going and pods of other namespaces do not count`() {
    var going = web("a")
    going.set("2026-01-01T00:00:00Z", at: "metadata", "deletionTimestamp")
    let nodes = zones(["n1": [going, makePod("b", namespace: "other", labels: ["app": "web"])]])
    #expect(passing(spreading(constraint()), nodes, .init(), PodTopologySpread()).count == 3)
  }

  @Test func `ScheduleAnyway prefers the emptier domain`() {
    let nodes = zones(["n1": [web("a")], "n2": [web("b")]])
    let gentle = spreading(constraint(["whenUnsatisfiable": "ScheduleAnyway"]))
    #expect(passing(gentle, nodes, .init(), PodTopologySpread()).count == 3)
    let ranks = scores(gentle, nodes, PodTopologySpread())
    #expect(ranks[2] == 100 && ranks[0] == ranks[1] && ranks[0] < 100)
  }

  @Test func `by default the replicas of a controller and of a Service spread`() throws {
    var objects = ClusterObjectsView()
    objects.replicaSets = ObjectSnapshot([
      [
        "metadata": ["namespace": "demo", "name": "rs"],
        "spec": ["selector": ["matchLabels": ["app": "web"]]],
      ]
    ])
    func replica(_ name: String) -> JSON {
      var pod = web(name)
      pod.set(
        [["kind": "ReplicaSet", "name": "rs", "uid": "u", "controller": true]], at: "metadata",
        "ownerReferences")
      return pod
    }
    let nodes = [info(makeNode("n1"), [replica("a")]), info(makeNode("n2"))]
    #expect(scores(replica("b"), nodes, PodTopologySpread(), objects)[1] == 100)
    #expect(scores(replica("b"), nodes, PodTopologySpread(), objects)[0] < 100)
    #expect(try decide(replica("b"), nodes, objects) == "n2")
    var services = ClusterObjectsView()
    services.services = ObjectSnapshot([
      ["metadata": ["namespace": "demo", "name": "s"], "spec": ["selector": ["app": "web"]]]
    ])
    #expect(
      scores(web("b"), [info(makeNode("n1"), [web("a")]), nodes[1]], PodTopologySpread(), services)[1] == 100)
  }

  // MARK: Oracles

  private struct World {
    var nodes: [JSON] = []
    var pods: [(pod: JSON, node: Int)] = []
    var incoming: JSON = .null
    var infos: [NodeInfo] {
      nodes.indices.map { index in
        info(nodes[index], pods.filter { $0.node == index }.map(\.pod))
      }
    }
    func label(_ node: Int, _ key: String) -> String? { nodes[node].labels[key] }
  }

  private func world(_ seed: Int) -> World {
    var random = Dice(seed: UInt64(seed) &* 104_729 &+ 3)
    var world = World()
    for index in 0..<Int.random(in: 2...6, using: &random) {
      var labels: [String: String] = [:]
      if Int.random(in: 0..<5, using: &random) > 0 {
        labels["zone"] = ["a", "b", "c"].randomElement(using: &random)
      }
      world.nodes.append(makeNode("n\(index)", labels: labels))
    }
    func randomPod(_ name: String) -> JSON {
      let app = ["x", "y"].randomElement(using: &random) ?? "x"
      var affinity: [String: JSON] = [:]
      for kind in ["podAffinity", "podAntiAffinity"] where Int.random(in: 0..<3, using: &random) == 0 {
        var terms: [JSON] = []
        for _ in 0..<Int.random(in: 1...2, using: &random) {
          let key = ["zone", hostname].randomElement(using: &random) ?? "zone"
          terms.append(term(["x", "y"].randomElement(using: &random) ?? "x", key))
        }
        affinity[kind] = ["requiredDuringSchedulingIgnoredDuringExecution": .array(terms)]
      }
      return makePod(
        name, labels: ["app": app],
        spec: ["affinity": .object(JSONObject(affinity.map { ($0.key, $0.value) }))])
    }
    for index in 0..<Int.random(in: 0...7, using: &random) {
      world.pods.append((randomPod("p\(index)"), Int.random(in: 0..<world.nodes.count, using: &random)))
    }
    world.incoming = randomPod("new")
    return world
  }

  private func terms(_ pod: JSON, _ kind: String) -> [(app: String, key: String)] {
    let path = ["spec", "affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"]
    return (pod.at(path)?.elements ?? []).map {
      ($0.at("labelSelector", "matchLabels", "app")?.string ?? "", $0["topologyKey"]?.string ?? "")
    }
  }

  @Test(arguments: 0..<200) func `pod affinity agrees with an oracle that looks at every pair`(seed: Int) {
    let world = world(seed)
    let app = world.incoming.labels["app"]
    let near = terms(world.incoming, "podAffinity")
    let away = terms(world.incoming, "podAntiAffinity")
    func together(_ a: Int, _ b: Int, _ key: String) -> Bool {
      world.label(a, key) != nil && world.label(a, key) == world.label(b, key)
    }
    // "Nobody like that anywhere" is judged over all terms at once and over pods whose node has the key.
    let isFirst = !world.pods.contains { other in
      near.allSatisfy { $0.app == other.pod.labels["app"] }
        && near.contains { world.label(other.node, $0.key) != nil }
    }
    let expected = world.nodes.indices.filter { node in
      for term in away
      where world.pods.contains(where: {
        $0.pod.labels["app"] == term.app && together(node, $0.node, term.key)
      }) {
        return false
      }
      for other in world.pods {
        for term in terms(other.pod, "podAntiAffinity")
        where term.app == app && together(node, other.node, term.key) {
          return false
        }
      }
      if near.isEmpty { return true }
      if near.contains(where: { world.label(node, $0.key) == nil }) { return false }
      let isNear = near.allSatisfy { term in
        world.pods.contains { other in
          near.allSatisfy { $0.app == other.pod.labels["app"] } && together(node, other.node, term.key)
        }
      }
      return isNear || (isFirst && near.allSatisfy { $0.app == app })
    }
    #expect(
      passing(world.incoming, world.infos, .init(), InterPodAffinity()) == expected.map { "n\($0)" },
      "seed \(seed)")
  }

  @Test(arguments: 0..<200) func `spread agrees with an oracle that counts anew for every node`(seed: Int) {
    var world = world(seed)
    var random = Dice(seed: UInt64(seed) &+ 77)
    let skew = Int.random(in: 1...2, using: &random)
    let domains = Int.random(in: 1...3, using: &random)
    world.incoming = spreading(
      constraint([
        "maxSkew": JSON(skew), "minDomains": JSON(domains),
        "labelSelector": ["matchLabels": ["app": "x"]],
      ]), labels: ["app": ["x", "y"].randomElement(using: &random) ?? "x"])
    let itself = world.incoming.labels["app"] == "x" ? 1 : 0
    let zones = Set(world.nodes.indices.compactMap { world.label($0, "zone") })
    func count(_ zone: String) -> Int {
      world.pods.count { world.label($0.node, "zone") == zone && $0.pod.labels["app"] == "x" }
    }
    let least = zones.count < domains ? 0 : zones.map(count).min() ?? 0
    let expected = world.nodes.indices.filter { node in
      guard let zone = world.label(node, "zone") else { return false }
      return count(zone) + itself - least <= skew
    }
    #expect(
      passing(world.incoming, world.infos, .init(), PodTopologySpread()) == expected.map { "n\($0)" },
      "seed \(seed)")
  }

  @Test(arguments: 0..<100)
  func `a filter told of one pod more and one less is the filter made anew`(seed: Int) {
    var world = world(seed)
    guard let moved = world.pods.popLast() else { return }
    let before = ClusterState(world.infos)
    let pod = PodInfo(world.incoming)
    let plugins = profile(InterPodAffinity(), PodTopologySpread())
    var told = planFeasible(pod, before, plugins).filters
    if told.isEmpty { return }
    let node = world.infos[moved.node]
    told.add(PodInfo(moved.pod), to: node)
    world.pods.append(moved)
    let after = ClusterState(world.infos)
    let anew = planFeasible(pod, after, plugins).filters
    for node in after.nodes { #expect(told.reject(node) == anew.reject(node), "seed \(seed)") }
    told.remove(PodInfo(moved.pod), from: node)
    let original = planFeasible(pod, before, plugins).filters
    for node in before.nodes { #expect(told.reject(node) == original.reject(node), "seed \(seed)") }
  }
}
