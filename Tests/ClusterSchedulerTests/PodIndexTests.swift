// The index of pods against looking at all of them, while nodes and pods come, change and go.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterScheduler

@Suite struct PodIndexTests {
  private static let apps = ["a", "b", "c"]

  private func randomPod(_ number: Int, _ random: inout Dice) -> JSON {
    var labels: [String: String] = [:]
    if Bool.random(using: &random) { labels["app"] = Self.apps.randomElement(using: &random) }
    if Bool.random(using: &random) { labels["tier"] = ["x", "y"].randomElement(using: &random) }
    var spec: [String: JSON] = [:]
    if Int.random(in: 0..<3, using: &random) == 0 {
      let terms: [JSON] = (0..<Int.random(in: 1...2, using: &random)).map { _ in randomTerm(&random) }
      spec["affinity"] = [
        "podAntiAffinity": ["requiredDuringSchedulingIgnoredDuringExecution": .array(terms)]
      ]
    }
    return makePod(
      "p\(number)", namespace: ["one", "two"].randomElement(using: &random) ?? "one", labels: labels,
      spec: spec)
  }

  private func randomTerm(_ random: inout Dice) -> JSON {
    var term: JSON = ["topologyKey": "zone", "labelSelector": randomSelector(&random)]
    switch Int.random(in: 0..<4, using: &random) {
    case 0: term["namespaces"] = ["one", "two"]
    case 1: term["namespaceSelector"] = [:]
    default: break
    }
    return term
  }

  private func randomSelector(_ random: inout Dice) -> JSON {
    let app = JSON(Self.apps.randomElement(using: &random) ?? "a")
    return switch Int.random(in: 0..<6, using: &random) {
    case 0: ["matchLabels": ["app": app]]
    case 1: ["matchLabels": ["app": app, "tier": "x"]]
    case 2: ["matchExpressions": [["key": "app", "operator": "In", "values": ["a", "c"]]]]
    case 3: ["matchExpressions": [["key": "tier", "operator": "Exists"]]]
    case 4:
      [
        "matchLabels": ["tier": "y"],
        "matchExpressions": [["key": "app", "operator": "NotIn", "values": [app]]],
      ]
    default: [:]
    }
  }

  @Test(arguments: 0..<100) func `whatever happens, a selector finds the pods that looking at all finds`(
    seed: Int
  ) throws {
    var random = Dice(seed: UInt64(seed) &+ 5)
    var cluster = ClusterState()
    var pods: [ObjectKey: (pod: PodInfo, node: String)] = [:]
    for step in 0..<80 {
      let name = "n\(Int.random(in: 0..<4, using: &random))"
      switch Int.random(in: 0..<8, using: &random) {
      case 0 where cluster[name] != nil:
        // A heartbeat.
        if let old = cluster[name] { cluster.put(old.with(NodeFacts(makeNode(name, labels: ["zone": "z"])))) }
      case 1:
        cluster.remove(name)
        pods = pods.filter { $0.value.node != name }
      case 2:
        if let (key, held) = pods.min(by: { $0.key.name < $1.key.name }) {
          cluster.remove(held.pod, from: held.node)
          pods[key] = nil
        }
      case 3:
        if let (key, held) = pods.max(by: { $0.key.name < $1.key.name }) {
          var changed = held.pod.object
          changed.set(JSON(Self.apps.randomElement(using: &random) ?? "a"), at: "metadata", "labels", "app")
          let pod = PodInfo(changed)
          cluster.replace(pod, on: held.node)
          pods[key] = (pod, held.node)
        }
      default:
        if cluster[name] == nil { cluster.put(NodeInfo(NodeFacts(makeNode(name, labels: ["zone": "z"])))) }
        let pod = PodInfo(randomPod(step, &random))
        cluster.add(pod, to: name)
        pods[pod.key] = (pod, name)
      }
      // A copy of before is left as it was: what a scheduling cycle looks at.
      let copy = cluster
      try agree(copy, pods.mapValues(\.node), &random, "seed \(seed), step \(step)")
    }
  }

  private func agree(
    _ cluster: ClusterState, _ nodes: [ObjectKey: String], _ random: inout Dice, _ place: Comment
  ) throws {
    let asking = PodInfo(randomPod(9_999, &random))
    let term = PodTerm(randomTerm(&random), namespace: asking.namespace, labels: asking.labels)
    let all = cluster.nodes.flatMap { node in node.pods.map { ($0, node.name) } }
    #expect(all.count == nodes.count, place)
    if let found = cluster.candidates(term) {
      let keys = found.filter { term.matches($0.pod, cluster) }.map(\.pod.key)
      #expect(Set(keys).count == keys.count, place)
      #expect(Set(keys) == Set(all.filter { term.matches($0.0, cluster) }.map(\.0.key)), place)
      #expect(found.allSatisfy { nodes[$0.pod.key] == $0.node }, place)
    }
    let opponents = try #require(cluster.opponents(of: asking)).filter { entry in
      entry.pod.antiAffinity.contains { $0.matches(asking, cluster) }
    }.map(\.pod.key)
    #expect(Set(opponents).count == opponents.count, place)
    #expect(
      Set(opponents)
        == Set(
          all.filter { $0.0.antiAffinity.contains { $0.matches(asking, cluster) } }.map(\.0.key)), place)
    let constraint = SpreadConstraint(
      ["topologyKey": "zone", "labelSelector": randomSelector(&random)], labels: [:])
    var counts: [String: Int64] = [:]
    for (pod, node) in all where constraint.matches(pod, namespace: "one") { counts[node, default: 0] += 1 }
    #expect(cluster.count(constraint, namespace: "one") == counts, place)
  }

  @Test func `a label of too many pods is given up, and taken again when none has it any more`() {
    var index = PodIndex()
    let pods = (0...PodIndex.keyPodsMax).map {
      PodInfo(makePod("p\($0)", labels: ["app": "a", "number": "\($0)"]))
    }
    for pod in pods { index.add(PodIndex.Entry(pod: pod, node: "n"), pod.labelKeys) }
    let namespaces: Set = [pods[0].namespace]
    let common = LabelSelector(matchLabels: ["app": "a"])
    #expect(index.candidates(common, namespaces: namespaces) == nil)
    // Another label of the same selector is as good as ever.
    let narrow = LabelSelector(matchLabels: ["app": "a", "number": "7"])
    #expect(index.candidates(narrow, namespaces: namespaces)?.map(\.pod.name) == ["p7"])
    for pod in pods { index.remove(pod, pod.labelKeys) }
    #expect(index.candidates(common, namespaces: namespaces)?.isEmpty == true)
    index.add(PodIndex.Entry(pod: pods[0], node: "n"), pods[0].labelKeys)
    #expect(index.candidates(common, namespaces: namespaces)?.count == 1)
    #expect(index.candidates(.nothing, namespaces: namespaces)?.isEmpty == true)
    #expect(index.candidates(.everything, namespaces: namespaces) == nil)
  }
}
