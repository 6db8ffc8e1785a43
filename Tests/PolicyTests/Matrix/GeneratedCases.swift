// Cases made by putting parts together: peers, ports and protocols, directions, targets, conflicts, and what changes afterwards.
// What shall arrive is what the evaluator says; the tables by hand are in UpstreamScenarios and TierScenarios.
import Addresses
import ClusterObjects
import ClusterView
import SoakLab

struct GeneratedCase {
  var name: String
  /// One after the other, each followed by a round of probes.
  var changes: [(PolicyLab) -> Void]
}

private typealias Part = (name: String, tree: JSON)

private let selectors: [Part] = [
  ("all", [:]),
  ("one label", ["matchLabels": ["pod": "b"]]),
  ("in two", ["matchExpressions": [["key": "pod", "operator": "In", "values": ["b", "c"]]]]),
  ("not in", ["matchExpressions": [["key": "pod", "operator": "NotIn", "values": ["b"]]]]),
  ("has label", ["matchExpressions": [["key": "pod", "operator": "Exists"]]]),
  ("lacks label", ["matchExpressions": [["key": "pod", "operator": "DoesNotExist"]]]),
  (
    "label and expression",
    [
      "matchLabels": ["pod": "c"],
      "matchExpressions": [["key": "pod", "operator": "NotIn", "values": ["a"]]],
    ]
  ),
]

private let namespaceSelectors: [Part] = [
  ("all", [:]),
  ("own", ["matchLabels": ["ns": "x"]]),
  ("other", ["matchLabels": ["ns": "y"]]),
  ("in two", ["matchExpressions": [["key": "ns", "operator": "In", "values": ["y", "z"]]]]),
  ("not own", ["matchExpressions": [["key": "ns", "operator": "NotIn", "values": ["x"]]]]),
  ("none", ["matchLabels": ["ns": "nowhere"]]),
]

private let blocks: [Part] = [
  ("all of IPv4", ["cidr": "0.0.0.0/0"]), ("all of IPv6", ["cidr": "::/0"]),
  ("some of IPv4", ["cidr": "10.42.0.4/30"]), ("some of IPv6", ["cidr": "fd00:42::4/126"]),
  ("with a hole", ["cidr": "10.42.0.0/24", "except": ["10.42.0.4/30"]]),
  ("with two holes", ["cidr": "10.42.0.0/24", "except": ["10.42.0.2/31", "10.42.0.8/30"]]),
  ("with a hole in IPv6", ["cidr": "fd00:42::/64", "except": ["fd00:42::4/126"]]),
  ("all but all", ["cidr": "10.42.0.0/24", "except": ["10.42.0.0/25", "10.42.0.128/25"]]),
  ("elsewhere", ["cidr": "192.0.2.0/24"]),
]

private let peers: [Part] =
  selectors.map { ("pods \($0.name)", ["podSelector": $0.tree]) }
  + namespaceSelectors.map { ("namespaces \($0.name)", ["namespaceSelector": $0.tree]) }
  + blocks.map { ("block \($0.name)", ["ipBlock": $0.tree]) }
  + namespaceSelectors.flatMap { namespace in
    selectors.map {
      (
        "namespaces \(namespace.name), pods \($0.name)",
        ["namespaceSelector": namespace.tree, "podSelector": $0.tree]
      )
    }
  }

private let portLists: [Part] =
  TransportProtocol.allCases.flatMap { transport -> [Part] in
    let name = JSON(transport.rawValue)
    let lower = transport.rawValue.lowercased()
    return [
      ("any \(lower)", [["protocol": name]]),
      ("80 \(lower)", [["protocol": name, "port": 80]]),
      ("81 \(lower)", [["protocol": name, "port": 81]]),
      ("both \(lower)", [["protocol": name, "port": 80], ["protocol": name, "port": 81]]),
      ("range \(lower)", [["protocol": name, "port": 80, "endPort": 81]]),
      ("range of one \(lower)", [["protocol": name, "port": 81, "endPort": 81]]),
      ("range below \(lower)", [["protocol": name, "port": 1, "endPort": 80]]),
      ("range beside \(lower)", [["protocol": name, "port": 82, "endPort": 65535]]),
      ("named \(lower)", [["protocol": name, "port": JSON("serve-80-\(lower)")]]),
    ]
  } + [
    ("number alone", [["port": 80]]),
    ("name alone", [["port": "serve-81-tcp"]]),
    ("name of another protocol", [["protocol": "UDP", "port": "serve-81-tcp"]]),
    ("unknown name", [["port": "nobody"]]),
    ("tcp 80 and udp 81", [["port": 80], ["protocol": "UDP", "port": 81]]),
    ("all three", [["protocol": "TCP"], ["protocol": "UDP"], ["protocol": "SCTP"]]),
    ("name and number", [["port": "serve-81-tcp"], ["protocol": "SCTP", "port": 80]]),
  ]

private let directions: [(type: String, key: String)] = [("ingress", "from"), ("egress", "to")]

extension PolicyLab {
  /// A policy of one direction on pod x/a, or what `spec` says.
  fileprivate func generated(
    _ name: String, _ direction: String, _ rules: JSON, pods: JSON = ["matchLabels": ["pod": "a"]]
  ) {
    view.apply([
      "kind": "NetworkPolicy", "metadata": ["name": JSON(name), "namespace": "x"],
      "spec": [
        "podSelector": pods, "policyTypes": [direction == "ingress" ? "Ingress" : "Egress"], direction: rules,
      ],
    ])
  }
}

/// All of them in the long form; in the short one the simple ones, which stand in front, and every so many of the others.
private func sampled<Element>(_ parts: [Element], every step: Int, besides simple: Int = 0) -> [Element] {
  parts.enumerated().filter { Soak.isLong || $0.offset < simple || $0.offset % step == 0 }.map(\.element)
}

func generatedCases() -> [GeneratedCase] {
  var cases: [GeneratedCase] = []
  func add(_ name: String, _ changes: ((PolicyLab) -> Void)...) {
    cases.append(GeneratedCase(name: name, changes: changes))
  }
  for (direction, key) in directions {
    add("\(direction), no rule") { $0.generated("p", direction, []) }
    add("\(direction), a rule of everything") { $0.generated("p", direction, [[:]]) }
    add("\(direction), no peers and no ports") { $0.generated("p", direction, [[key: [], "ports": []]]) }
    for peer in sampled(peers, every: 3, besides: 22) {
      add("\(direction), \(peer.name)") { $0.generated("p", direction, [[key: [peer.tree]]]) }
    }
    for ports in portLists {
      add("\(direction), ports \(ports.name)") { $0.generated("p", direction, [["ports": ports.tree]]) }
    }
    for (peer, ports) in sampled(Array(zip(peers, portLists)), every: 2) {
      add("\(direction), \(peer.name), ports \(ports.name)") {
        $0.generated("p", direction, [[key: [peer.tree], "ports": ports.tree]])
      }
    }
    for (one, other) in sampled(Array(zip(peers, peers.dropFirst(9))), every: 8) {
      add("\(direction), \(one.name) or \(other.name)") {
        $0.generated("p", direction, [[key: [one.tree, other.tree]]])
      }
    }
    for target in selectors {
      add("\(direction), of pods \(target.name)") {
        $0.generated(
          "p", direction, [[key: [["podSelector": ["matchLabels": ["pod": "c"]]]]]], pods: target.tree)
      }
    }
    conflicts(direction, key, add)
  }
  changes(add)
  return cases
}

/// Two policies that do not agree.
private func conflicts(
  _ direction: String, _ key: String, _ add: (String, ((PolicyLab) -> Void)...) -> Void
) {
  let everything: JSON = [[:]]
  let tcp: JSON = [["ports": [["port": 80]]]]
  let fromB: JSON = [[key: [["podSelector": ["matchLabels": ["pod": "b"]]]]]]
  let fromY: JSON = [[key: [["namespaceSelector": ["matchLabels": ["ns": "y"]]]]]]
  for (name, one, other) in [
    ("nothing and everything", JSON.array([]), everything), ("a port and a peer", tcp, fromB),
    ("two peers", fromB, fromY), ("nothing and a port", JSON.array([]), tcp), ("a port twice", tcp, tcp),
  ] {
    add("\(direction), conflict: \(name)") {
      $0.generated("one", direction, one)
      $0.generated("other", direction, other)
    }
    add("\(direction), conflict of wide and narrow: \(name)") {
      $0.generated("one", direction, one, pods: [:])
      $0.generated("other", direction, other)
    }
  }
  add("\(direction), both ends") {
    $0.generated("one", "ingress", fromB.renamed(key, "from"), pods: [:])
    $0.generated("other", "egress", fromY.renamed(key, "to"), pods: [:])
  }
}

extension JSON {
  /// Rules for the other direction.
  fileprivate func renamed(_ key: String, _ new: String) -> JSON {
    .array(elements.map { rule in rule[key].map { [new: $0] } ?? rule })
  }
}

/// What happens to a policy, to labels, to pods and to namespaces while rules are in force.
private func changes(_ add: (String, ((PolicyLab) -> Void)...) -> Void) {
  let team: JSON = ["matchLabels": ["team": "red"]]
  for (direction, key) in directions {
    add(
      "\(direction), a policy comes, changes and goes", { $0.generated("p", direction, []) },
      { $0.generated("p", direction, [[key: [["podSelector": [:]]]]]) },
      { $0.generated("p", direction, [["ports": [["port": 81]]]]) }, { $0.removePolicies() })
    add(
      "\(direction), a policy takes other pods", { $0.generated("p", direction, []) },
      { $0.generated("p", direction, [], pods: ["matchLabels": ["pod": "b"]]) })
    add(
      "\(direction), a policy takes the other direction", { $0.generated("p", direction, []) },
      { $0.generated("p", direction == "ingress" ? "egress" : "ingress", []) })
    add(
      "\(direction), a peer's label comes and goes",
      { $0.generated("p", direction, [[key: [["podSelector": team]]]]) },
      { $0.put(ObjectKey("x", "b"), ["team": "red"]) }, { $0.put(ObjectKey("x", "b")) })
    add(
      "\(direction), a target's label comes and goes", { $0.generated("p", direction, [], pods: team) },
      { $0.put(ObjectKey("x", "c"), ["team": "red"]) }, { $0.put(ObjectKey("x", "c")) })
    add(
      "\(direction), a namespace's label comes and goes",
      { $0.generated("p", direction, [[key: [["namespaceSelector": team]]]]) },
      { $0.label(namespace: "z", ["team": "red"]) }, { $0.label(namespace: "z", [:]) })
    add(
      "\(direction), a peer is deleted and made anew",
      { $0.generated("p", direction, [[key: [["podSelector": ["matchLabels": ["pod": "b"]]]]]]) },
      { $0.put(ObjectKey("x", "b"), ["pod": "elsewhere"]) }, { $0.put(ObjectKey("x", "b")) })
    add(
      "\(direction), a namespace is deleted and made anew",
      { $0.generated("p", direction, [[key: [["namespaceSelector": ["matchLabels": ["ns": "y"]]]]]]) },
      { $0.view.remove(kind: "Namespace", ObjectKey("", "y")) }, { $0.label(namespace: "y", [:]) })
    add(
      "\(direction), many policies at once",
      { lab in
        for index in 0..<20 {
          lab.generated("p\(index)", direction, [["ports": [["port": JSON(60 + index)]]]])
        }
      },
      { lab in
        for index in 0..<20 {
          lab.generated("p\(index)", direction, [["ports": [["port": JSON(62 + index)]]]])
        }
      })
  }
}
