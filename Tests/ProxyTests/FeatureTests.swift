// Goal: each feature of a Service does to real packets what kube-proxy's users expect. Method: one node with every Service at
// once; each row is tried by TCP and UDP over IPv4 and IPv6. README.md says which feature is shown where.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import NamespaceLab
import Proxy
import Ruleset
import Testing

/// What a client of a Service meets.
private struct Row {
  enum Seen { case own, masqueraded, any }
  var feature: String
  var from: String
  var to: String
  var port = 80
  var fate: Fate
  var seen = Seen.any

  init(
    _ feature: String, _ from: String, _ to: String, _ fate: Fate, _ seen: Seen = .any, port: Int = 80
  ) {
    self.feature = feature
    self.from = from
    self.to = to
    self.port = port
    self.fate = fate
    self.seen = seen
  }
}

private func answers(_ pods: String...) -> Fate { .answered(Set(pods)) }

private let services: [JSON] =
  feature(20, [End("a"), End("b")], as: "NodePort") + feature(21, [], as: "NodePort")
  + feature(22, [End("a", zones: ["zone-a"]), End("b", zones: ["zone-b"])])
  + feature(
    23, [End("a", zones: ["zone-a"], nodes: ["n2"]), End("b", zones: ["zone-b"], nodes: ["n1"])])
  + feature(24, [End("a", zones: ["zone-x"]), End("b", zones: ["zone-y"])])
  + feature(25, [End("a", zones: ["zone-a"]), End("b")])
  + feature(26, [End("a"), End("b", ready: false, terminating: true)])
  + feature(
    27,
    [End("a", ready: false, terminating: true), End("b", ready: false, serving: false, terminating: true)])
  + feature(28, [End("a"), End("b", ready: false, serving: false)])
  + feature(
    29, [End("a"), End("b")], as: "LoadBalancer",
    ["loadBalancerSourceRanges": ["192.168.50.0/30", "fd00:50::/126"]], lb: 29)
  + feature(
    30, [End("a"), End("b")], as: "LoadBalancer",
    ["loadBalancerSourceRanges": ["172.16.0.0/12", "2001:db8:ffff::/48"]], lb: 30)
  + feature(31, [End("a")], as: "LoadBalancer", lb: 31, ipMode: "VIP")
  + feature(33, [End("a"), End("b")], ["externalIPs": ["203.0.113.33", "2001:db8::33"]])
  + feature(34, [End("a"), End("out")], as: "LoadBalancer", ["externalTrafficPolicy": "Local"], lb: 34)
  + feature(35, [End("out")], as: "NodePort", ["externalTrafficPolicy": "Local"])
  + feature(
    36, [End("a"), End("out")], as: "LoadBalancer",
    [
      "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["192.168.50.0/30", "fd00:50::/126"],
    ], lb: 36)
  + feature(37, [End("a"), End("out")], ["internalTrafficPolicy": "Local"])
  + feature(38, [End("out")], ["internalTrafficPolicy": "Local"])
  + feature(39, [End("a")], as: "NodePort")

/// Port 8080 for what answers without a Service.
private let proxied = feature(
  32, [End("a")], as: "LoadBalancer", ["ports": [["name": "http", "protocol": "TCP", "port": 8080]]], lb: 32,
  ipMode: "Proxy")

private let rows: [Row] = [
  Row("ClusterIP", "c", "vip 20", answers("a", "b"), .own),
  Row("ClusterIP", "node", "vip 20", answers("a", "b")),
  Row("NodePort", "out", "node", answers("a", "b"), .masqueraded, port: 30020),
  Row("NodePort", "c", "node", answers("a", "b"), .masqueraded, port: 30020),
  Row("NodePort", "node", "node", answers("a", "b"), port: 30020),
  Row("nodePortAddresses", "c", "bridge", .refused, port: 30020),
  Row("unknown node port", "out", "node", .refused, port: 30999),
  Row("no endpoints", "c", "vip 21", .refused),
  Row("no endpoints", "out", "node", .refused, port: 30021),
  Row("no endpoints", "node", "vip 21", .refused),
  Row("wrong port", "c", "vip 20", .refused, port: 81),
  Row("wrong port", "node", "vip 20", .refused, port: 81),
  Row("unallocated", "c", "vip 250", .silent),
  Row("hints of zones", "c", "vip 22", answers("a")),
  Row("hints of nodes win", "c", "vip 23", answers("b")),
  Row("hints of zones elsewhere", "c", "vip 24", answers("a", "b")),
  Row("hints that not all have", "c", "vip 25", answers("a", "b")),
  Row("a ready endpoint before a terminating one", "c", "vip 26", answers("a")),
  Row("terminating endpoints that serve", "c", "vip 27", answers("a")),
  Row("an endpoint that is not ready", "c", "vip 28", answers("a")),
  Row("source ranges", "out", "lb 29", answers("a", "b"), .masqueraded),
  Row("source ranges", "far", "lb 29", .silent),
  Row("source ranges", "out", "lb 30", .silent),
  Row("source ranges spare the ClusterIP", "c", "vip 30", answers("a", "b"), .own),
  Row("source ranges spare the node port", "out", "node", answers("a", "b"), .masqueraded, port: 30030),
  Row("ipMode VIP", "c", "lb 31", answers("a")),
  Row("ipMode Proxy", "c", "lb 32", answers("out"), port: 8080),
  Row("externalIPs", "out", "lb 33", answers("a", "b"), .masqueraded),
  Row("externalIPs", "c", "lb 33", answers("a", "b")),
  Row("externalTrafficPolicy Local", "out", "node", answers("a"), .own, port: 30034),
  Row("externalTrafficPolicy Local", "out", "lb 34", answers("a"), .own),
  Row("externalTrafficPolicy Local from a pod", "c", "lb 34", answers("a", "out")),
  Row("externalTrafficPolicy Local from the node", "node", "node", answers("a", "out"), port: 30034),
  Row("externalTrafficPolicy Local, none here", "out", "node", .silent, port: 30035),
  Row("externalTrafficPolicy Local, none here, from a pod", "c", "node", answers("out"), port: 30035),
  Row("externalTrafficPolicy Local and source ranges", "out", "lb 36", answers("a"), .own),
  Row("externalTrafficPolicy Local and source ranges", "far", "lb 36", .silent),
  Row("internalTrafficPolicy Local", "c", "vip 37", answers("a"), .own),
  Row("internalTrafficPolicy Local, none here", "c", "vip 38", .silent),
  Row("hairpin", "a", "vip 39", answers("a"), .masqueraded),
  Row("hairpin by the node port", "a", "node", answers("a"), .masqueraded, port: 30039),
]

/// The fate that a client's answers show.
func podFate(of answers: [String]) -> Fate {
  let pods = Set(answers.compactMap { $0.split(separator: " ").first.map(String.init) })
  if !pods.isEmpty, pods.isSubset(of: ["a", "b", "out", "node"]) { return .answered(pods) }
  return pods == ["silent"] ? .silent : .refused
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct FeatureTests {
  @Test func `every feature of a Service holds for TCP and UDP over IPv4 and IPv6`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try #require(node.settle(), "the node's network does not carry packets")
      let view = ClusterView(objects: [featureNode] + services + proxied)
      let plan = planProxy(view, featureConfiguration)
      #expect(plan.quarantined.isEmpty)
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      #expect(try syncer.sync(plan.tables).quarantined.isEmpty)
      for place in ["c", "a", "out", ""] {
        var words: [(word: String, row: Row, family: IPFamily)] = []
        for row in rows where Node.host(of: row.from) == place {
          for (transport, family) in everyWay where row.to != "lb 32" || transport == "TCP" {
            // Two endpoints by chance: one in 2^39 runs meets one of them only.
            let count = if case .answered(let pods) = row.fate { pods.count > 1 ? 40 : 5 } else { 2 }
            words.append(
              (
                word(transport, family, from: row.from, to: row.to, row.port, count: count), row, family
              ))
          }
        }
        let answers = node.attempt(place, words.map(\.word))
        for (word, row, family) in words {
          let got = answers[word] ?? []
          #expect(podFate(of: got) == row.fate, "\(row.feature): \(word) from \(row.from): \(got.prefix(3))")
          guard row.seen != .any, case .answered = row.fate else { continue }
          let own = " " + address(row.from, family)
          let isOwn = got.allSatisfy { $0.hasSuffix(own) }
          #expect(isOwn == (row.seen == .own), "\(row.feature): \(word) from \(row.from): \(got.prefix(3))")
        }
      }
    }
  }

  @Test func `masquerading towards ClusterIPs follows each way of telling local sources`() throws {
    let cases: [(LocalDetection?, all: Bool, masqueraded: Set<String>)] = [
      (nil, false, []), (.clusterCIDR, false, ["out"]), (.nodeCIDR, false, ["out", "far"]),
      (.bridgeInterface("cni0"), false, ["out", "far"]),
      (.interfaceNamePrefix("cn"), false, ["out", "far"]),
      (.interfaceNamePrefix("ext"), false, ["c"]), (.clusterCIDR, true, ["c", "out", "far"]),
    ]
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try #require(node.settle(), "the node's network does not carry packets")
      let view = ClusterView(objects: [featureNode] + feature(20, [End("a"), End("b")]))
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      for (index, (mode, all, masqueraded)) in cases.enumerated() {
        var configuration = featureConfiguration
        configuration.localDetection = mode
        configuration.masqueradesAll = all
        _ = try syncer.sync(planProxy(view, configuration).tables)
        for host in ["c", "out"] {
          var words: [(word: String, place: String, family: IPFamily)] = []
          for place in host == "c" ? ["c"] : ["out", "far"] {
            for (transport, family) in everyWay {
              // A port of its own for each: a UDP flow is remembered with the translation it once got.
              let port = 41000 + index * 10 + words.count
              words.append(
                (
                  word(transport, family, from: place, to: "vip 20", 80, count: 1, sourcePort: port), place,
                  family
                ))
            }
          }
          let answers = node.attempt(host, words.map(\.word))
          for (word, place, family) in words {
            let got = answers[word]?.first ?? ""
            #expect(got.hasPrefix("a ") || got.hasPrefix("b "), "\(word): \(got)")
            let isOwn = got.hasSuffix(" " + address(place, family))
            #expect(isOwn == !masqueraded.contains(place), "case \(index), \(place), \(word): \(got)")
          }
        }
      }
    }
  }
}
