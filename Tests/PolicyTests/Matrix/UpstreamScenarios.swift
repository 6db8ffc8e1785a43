// The 48 end-to-end cases of Kubernetes for NetworkPolicy by their names, each with a truth table written by hand that speaks of all
// pods, both ports and all protocols, not only of those that upstream asks.
import Addresses
import ClusterObjects
import ClusterView

/// What is done to the cluster, and what shall arrive afterwards.
struct ScenarioStep: Sendable {
  var change: @Sendable (PolicyLab) -> Void
  var table: [String]
  init(_ table: [String], _ change: @escaping @Sendable (PolicyLab) -> Void) {
    self.change = change
    self.table = table
  }
}

struct Scenario: Sendable {
  var name: String
  var steps: [ScenarioStep]
}

extension PolicyLab {
  /// - Parameters:
  ///   - pods: label `pod` of those selected; nil: all of the namespace.
  ///   - types: as the default has it when nil.
  func policy(
    _ name: String, in namespace: String = "x", pods: String? = "a", types: [String]? = nil,
    ingress: JSON? = nil,
    egress: JSON? = nil, annotations: JSON = [:]
  ) {
    var spec: JSON = ["podSelector": pods.map { ["matchLabels": ["pod": JSON($0)]] } ?? [:]]
    if let types { spec["policyTypes"] = JSON(types) }
    if let ingress { spec["ingress"] = ingress }
    if let egress { spec["egress"] = egress }
    view.apply([
      "kind": "NetworkPolicy",
      "metadata": ["name": JSON(name), "namespace": JSON(namespace), "annotations": annotations],
      "spec": spec,
    ])
  }

  func removePolicies() { for key in view.networkPolicies.keys { view.remove(kind: "NetworkPolicy", key) } }
}

private func pods(_ names: String...) -> JSON {
  names.count == 1
    ? ["matchLabels": ["pod": JSON(names[0])]]
    : ["matchExpressions": [["key": "pod", "operator": "In", "values": JSON(names)]]]
}
private func namespace(_ name: String) -> JSON { ["matchLabels": ["ns": JSON(name)]] }
private func namespaces(_ operation: String, _ name: String, key: String = "ns") -> JSON {
  ["matchExpressions": [["key": JSON(key), "operator": JSON(operation), "values": [JSON(name)]]]]
}
private func one(_ name: String, _ step: ScenarioStep) -> Scenario { Scenario(name: name, steps: [step]) }
private func port(_ number: Int, _ transport: String = "TCP") -> JSON {
  ["port": JSON(number), "protocol": JSON(transport)]
}
private let nowhere = "- * > x/a"

/// By section as upstream has them: TCP, UDP, SCTP.
func upstreamScenarios(_ lab: PolicyLab) -> [Scenario] {
  tcpScenarios + selectorScenarios + portScenarios + updateScenarios + egressScenarios + blockScenarios(lab)
    + protocolScenarios + otherTransports("UDP") + otherTransports("SCTP")
}

private let tcpScenarios: [Scenario] = [
  one(
    "should support a 'default-deny-ingress' policy",
    .init(["- * > x"]) { $0.policy("deny-ingress", pods: nil, ingress: []) }),
  one(
    "should support a 'default-deny-all' policy",
    .init(["- * > x", "- x > *"]) { $0.policy("deny-all", pods: nil, types: ["Ingress", "Egress"]) }),
  one(
    "should enforce policy to allow traffic from pods within server namespace based on PodSelector",
    .init([nowhere, "+ x/b > x/a"]) { $0.policy("p", ingress: [["from": [["podSelector": pods("b")]]]]) }),
  one(
    "should enforce policy to allow ingress traffic for a target",
    .init(["- * > x", "+ * > x/a"]) {
      $0.policy("deny-all", pods: nil, ingress: [])
      $0.policy("allow-all-to-a", ingress: [["from": [["podSelector": [:], "namespaceSelector": [:]]]]])
    }),
  one(
    "should enforce policy to allow ingress traffic from pods in all namespaces",
    .init([]) { $0.policy("p", ingress: [["from": [["namespaceSelector": ["matchLabels": [:]]]]]]) }),
  one(
    "should enforce policy to allow traffic only from a different namespace, based on NamespaceSelector",
    .init([nowhere, "+ y > x/a"]) {
      $0.policy("p", ingress: [["from": [["namespaceSelector": namespace("y")]]]])
    }),
]

private let selectorScenarios: [Scenario] = [
  one(
    "should enforce policy based on PodSelector with MatchExpressions",
    .init([nowhere, "+ x/b > x/a"]) {
      $0.policy(
        "p",
        ingress: [
          [
            "from": [
              ["podSelector": ["matchExpressions": [["key": "pod", "operator": "In", "values": ["b"]]]]]
            ]
          ]
        ])
    }),
  one(
    "should enforce policy based on NamespaceSelector with MatchExpressions",
    .init([nowhere, "+ y > x/a"]) {
      $0.policy("p", ingress: [["from": [["namespaceSelector": namespaces("In", "y")]]]])
    }),
  one(
    "should enforce policy based on PodSelector or NamespaceSelector",
    .init(["- x/c > x/a"]) {
      $0.policy(
        "p",
        ingress: [["from": [["namespaceSelector": namespaces("NotIn", "x")], ["podSelector": pods("b")]]]])
    }),
  one(
    "should enforce policy based on PodSelector and NamespaceSelector",
    .init([nowhere, "+ y/b > x/a", "+ z/b > x/a"]) {
      $0.policy(
        "p", ingress: [["from": [["namespaceSelector": namespaces("NotIn", "x"), "podSelector": pods("b")]]]])
    }),
  one(
    "should enforce policy based on Multiple PodSelectors and NamespaceSelectors",
    .init(["- x > x/a", "- y/a > x/a", "- z/a > x/a"]) {
      $0.policy(
        "p",
        ingress: [["from": [["namespaceSelector": namespaces("NotIn", "x"), "podSelector": pods("b", "c")]]]])
    }),
  one(
    "should enforce policy based on any PodSelectors",
    .init([nowhere, "+ x/b > x/a", "+ x/c > x/a"]) {
      $0.policy("p", ingress: [["from": [["podSelector": pods("b")], ["podSelector": pods("c")]]]])
    }),
  one(
    "should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector",
    .init([nowhere, "+ y/a > x/a"]) {
      $0.policy("p", ingress: [["from": [["namespaceSelector": namespace("y"), "podSelector": pods("a")]]]])
    }),
  one(
    "should enforce policy to allow traffic based on NamespaceSelector with MatchLabels using default ns label",
    .init([nowhere, "+ y > x/a"]) {
      $0.policy(
        "p",
        ingress: [["from": [["namespaceSelector": ["matchLabels": ["kubernetes.io/metadata.name": "y"]]]]]])
    }),
  one(
    "should enforce policy based on NamespaceSelector with MatchExpressions using default ns label",
    .init(["- x/a > y"]) {
      $0.policy(
        "p", types: ["Egress"],
        egress: [
          ["to": [["namespaceSelector": namespaces("NotIn", "y", key: "kubernetes.io/metadata.name")]]]
        ])
    }),
]

private let portScenarios: [Scenario] = [
  one(
    "should enforce policy based on Ports",
    .init([nowhere, "+ y > x/a:81/TCP"]) {
      $0.policy("p", ingress: [["from": [["namespaceSelector": namespace("y")]], "ports": [port(81)]]])
    }),
  Scenario(
    name: "should enforce multiple, stacked policies with overlapping podSelectors",
    steps: [
      .init([nowhere, "+ y > x/a:81/TCP"]) {
        $0.policy("p81", ingress: [["from": [["namespaceSelector": namespace("y")]], "ports": [port(81)]]])
      },
      .init([nowhere, "+ y > x/a:81/TCP", "+ y > x/a:80/TCP"]) {
        $0.policy("p80", ingress: [["from": [["namespaceSelector": namespace("y")]], "ports": [port(80)]]])
      },
    ]),
  one("should support allow-all policy", .init([]) { $0.policy("allow-all", pods: nil, ingress: [[:]]) }),
  one(
    "should allow ingress access on one named port",
    .init(["- * > x", "+ * > x:81/TCP"]) {
      $0.policy("p", pods: nil, ingress: [["ports": [["port": "serve-81-tcp"]]]])
    }),
  one(
    "should allow ingress access from namespace on one named port",
    .init([nowhere, "+ y > x/a:80/TCP"]) {
      $0.policy(
        "p",
        ingress: [
          [
            "from": [["namespaceSelector": namespace("y")]],
            "ports": [["port": "serve-80-tcp", "protocol": "TCP"]],
          ]
        ])
    }),
  one(
    "should allow egress access on one named port",
    .init(["- x > *", "+ x > *:80/TCP"]) {
      $0.policy("p", pods: nil, types: ["Egress"], egress: [["ports": [["port": "serve-80-tcp"]]]])
    }),
]

private let updateScenarios: [Scenario] = [
  Scenario(
    name: "should enforce updated policy",
    steps: [
      .init([]) { $0.policy("p", pods: nil, ingress: [[:]]) },
      .init(["- * > x"]) { $0.policy("p", pods: nil, ingress: []) },
    ]),
  Scenario(
    name: "should allow ingress access from updated namespace",
    steps: [
      .init([nowhere]) {
        $0.policy("p", ingress: [["from": [["namespaceSelector": ["matchLabels": ["ns2": "updated"]]]]]])
      },
      .init([nowhere, "+ y > x/a"]) { $0.label(namespace: "y", ["ns2": "updated"]) },
    ]),
  Scenario(
    name: "should allow ingress access from updated pod",
    steps: [
      .init([nowhere]) {
        $0.policy(
          "p", ingress: [["from": [["podSelector": ["matchLabels": ["pod": "b", "pod2": "updated"]]]]]])
      },
      .init([nowhere, "+ x/b > x/a"]) { $0.put(ObjectKey("x", "b"), ["pod2": "updated"]) },
    ]),
  one(
    "should deny ingress from pods on other namespaces",
    .init(["- y > x", "- z > x"]) {
      $0.policy("p", pods: nil, ingress: [["from": [["podSelector": ["matchLabels": [:]]]]]])
    }),
  Scenario(
    name: "should deny ingress access to updated pod",
    steps: [
      .init([]) {
        $0.view.apply([
          "kind": "NetworkPolicy", "metadata": ["name": "p", "namespace": "x"],
          "spec": ["podSelector": ["matchLabels": ["target": "isolated"]], "ingress": []],
        ])
      },
      .init([nowhere]) { $0.put(ObjectKey("x", "a"), ["target": "isolated"]) },
    ]),
]

private let egressScenarios: [Scenario] = [
  one(
    "should deny egress from pods based on PodSelector",
    .init(["- x/a > *"]) { $0.policy("p", types: ["Egress"], egress: []) }),
  one(
    "should deny egress from all pods in a namespace",
    .init(["- x > *"]) { $0.policy("p", pods: nil, types: ["Egress"], egress: []) }),
  one(
    "should work with Ingress, Egress specified together",
    .init([nowhere, "+ x/b > x/a", "- x/a > *", "+ x/a > *:80/TCP"]) {
      $0.policy(
        "p", types: ["Egress", "Ingress"], ingress: [["from": [["podSelector": pods("b")]]]],
        egress: [["ports": [["port": 80]]]])
    }),
  one(
    "should support denying of egress traffic on the client side (even if the server explicitly allows this traffic)",
    .init(["- x/a > *", "- * > y/a", "- * > y/b", "+ x/a > y/a"]) { lab in
      lab.policy(
        "to-y-a", types: ["Egress"],
        egress: [["to": [["namespaceSelector": namespace("y"), "podSelector": pods("a")]]]])
      for pod in ["a", "b"] {
        lab.policy(
          "from-x-a-\(pod)", in: "y", pods: pod,
          ingress: [["from": [["namespaceSelector": namespace("x"), "podSelector": pods("a")]]]])
      }
    }),
  one(
    "should enforce egress policy allowing traffic to a server in a different namespace based on PodSelector and NamespaceSelector",
    .init(["- x/a > *", "+ x/a > y/a"]) {
      $0.policy(
        "p", types: ["Egress"],
        egress: [["to": [["namespaceSelector": namespace("y"), "podSelector": pods("a")]]]])
    }),
  Scenario(
    name: "should enforce multiple ingress policies with ingress allow-all policy taking precedence",
    steps: [
      .init(["- * > x", "+ * > x:80/TCP"]) {
        $0.policy("p80", pods: nil, ingress: [["ports": [["port": 80]]]])
      },
      .init([]) { $0.policy("all", pods: nil, ingress: [[:]]) },
    ]),
  Scenario(
    name: "should enforce multiple egress policies with egress allow-all policy taking precedence",
    steps: [
      .init(["- x > *", "+ x > *:80/TCP"]) {
        $0.policy("p80", pods: nil, types: ["Egress"], egress: [["ports": [["port": 80]]]])
      },
      .init([]) { $0.policy("all", pods: nil, types: ["Egress"], egress: [[:]]) },
    ]),
  Scenario(
    name: "should stop enforcing policies after they are deleted",
    steps: [
      .init(["- * > x", "- x > *"]) {
        $0.policy("deny-all", pods: nil, types: ["Ingress", "Egress"], ingress: [], egress: [])
      },
      .init([]) { $0.removePolicies() },
    ]),
  Scenario(
    name:
      "should enforce policies to check ingress and egress policies can be controlled independently based on PodSelector",
    steps: [
      .init([]) { $0.policy("allow-egress", types: ["Egress"], egress: [[:]]) },
      .init([nowhere]) { $0.policy("deny-ingress", ingress: []) },
    ]),
]

private func blockScenarios(_ lab: PolicyLab) -> [Scenario] {
  let known = Dictionary(uniqueKeysWithValues: lab.members.map { ($0.name, $0.addresses.values.sorted()) })
  /// Rules for the address of a pod in each family.
  @Sendable func blocks(_ name: String, except: Bool = false) -> JSON {
    let addresses = known[name] ?? []
    return [
      [
        "to": .array(
          addresses.map { address in
            let own = JSON("\(address)/\(address.family.width)")
            let wide: JSON = address.family == .v4 ? "10.42.0.0/16" : "fd00:42::/48"
            return ["ipBlock": except ? ["cidr": wide, "except": [own]] : ["cidr": own]]
          })
      ]
    ]
  }
  return [
    one(
      "should allow egress access to server in CIDR block",
      .init(["- x/a > *", "+ x/a > y/b"]) { $0.policy("p", types: ["Egress"], egress: blocks("y/b")) }),
    one(
      "should enforce except clause while egress access to server in CIDR block",
      .init(["- x/a > x/b"]) { $0.policy("p", types: ["Egress"], egress: blocks("x/b", except: true)) }),
    Scenario(
      name: "should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed",
      steps: [
        .init(["- x/a > x/b"]) { $0.policy("p", types: ["Egress"], egress: blocks("x/b", except: true)) },
        .init(["- x/a > *", "+ x/a > x/b"]) { $0.policy("p", types: ["Egress"], egress: blocks("x/b")) },
        // Both at once: what either allows.
        .init([]) { $0.policy("p2", types: ["Egress"], egress: blocks("x/b", except: true)) },
      ]),
  ]
}

private let protocolScenarios: [Scenario] = [
  one(
    "should enforce ingress policy allowing any port traffic to a server on a specific protocol",
    .init([nowhere, "+ * > x/a/TCP"]) { $0.policy("p", ingress: [["ports": [["protocol": "TCP"]]]]) }),
  one(
    "should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP', even if the plugin doesn't support SCTP",
    .init(["- * > x", "+ * > x/a:81/SCTP"]) {
      $0.policy("deny-ingress", pods: nil, ingress: [])
      $0.policy("sctp-81", ingress: [["ports": [port(81, "SCTP")]]])
    }),
  one(
    "should properly isolate pods that are selected by a policy allowing SCTP, even if the plugin doesn't support SCTP",
    .init([nowhere, "+ * > x/a:80/SCTP"]) { $0.policy("sctp-80", ingress: [["ports": [port(80, "SCTP")]]]) }),
  one(
    "should not allow access by TCP when a policy specifies only UDP",
    .init([nowhere, "+ * > x/a:81/UDP"]) { $0.policy("udp-81", ingress: [["ports": [port(81, "UDP")]]]) }),
]

/// The three that upstream has for UDP, and for SCTP.
private func otherTransports(_ transport: String) -> [Scenario] {
  [
    one(
      "\(transport): should support a 'default-deny-ingress' policy",
      .init(["- * > x"]) { $0.policy("deny-ingress", pods: nil, ingress: []) }),
    one(
      "\(transport): should enforce policy based on Ports",
      .init([nowhere, "+ y > x/a:81/\(transport)"]) {
        $0.policy(
          "p", ingress: [["from": [["namespaceSelector": namespace("y")]], "ports": [port(81, transport)]]])
      }),
    one(
      "\(transport): should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector",
      .init([nowhere, "+ y/a > x/a"]) {
        $0.policy(
          "p", ingress: [["from": [["namespaceSelector": namespace("y"), "podSelector": pods("a")]]]])
      }),
  ]
}
