// ClusterNetworkPolicy's tiers with truth tables by hand: what each action does, in which order, and who has the last word.
import ClusterObjects
import ClusterView

extension PolicyLab {
  /// - Parameter subject: a namespace; nil: all.
  func cluster(
    _ name: String, _ tier: String = "Admin", priority: Int = 10, subject: String? = "x", pod: String? = nil,
    ingress: JSON = [], egress: JSON = [], isAudit: Bool = false
  ) {
    let namespaces: JSON = subject.map { ["matchLabels": ["ns": JSON($0)]] } ?? [:]
    view.apply([
      "kind": "ClusterNetworkPolicy",
      "metadata": ["name": JSON(name), "annotations": isAudit ? ["weft.dev/audit": "true"] : [:]],
      "spec": [
        "tier": JSON(tier), "priority": JSON(priority), "ingress": ingress, "egress": egress,
        "subject": pod.map {
          ["pods": ["namespaceSelector": namespaces, "podSelector": ["matchLabels": ["pod": JSON($0)]]]]
        } ?? ["namespaces": namespaces],
      ],
    ])
  }
}

private func rule(_ action: String, _ peers: JSON..., at key: String = "from", protocols: JSON? = nil) -> JSON
{
  var rule: JSON = ["action": JSON(action), key: .array(peers)]
  if let protocols { rule["protocols"] = protocols }
  return rule
}
private let everyone: JSON = ["namespaces": [:]]
private func namespace(_ name: String) -> JSON { ["namespaces": ["matchLabels": ["ns": JSON(name)]]] }
private func pod(_ namespace: String, _ name: String) -> JSON {
  [
    "pods": [
      "namespaceSelector": ["matchLabels": ["ns": JSON(namespace)]],
      "podSelector": ["matchLabels": ["pod": JSON(name)]],
    ]
  ]
}
private func number(_ port: Int) -> JSON { ["destinationPort": ["number": JSON(port)]] }

func tierScenarios() -> [Scenario] {
  actionScenarios + orderScenarios + portScenarios + closedScenarios + auditScenarios
}

/// In both tiers and both directions, as long as no NetworkPolicy is there.
private let actionScenarios: [Scenario] = ["Admin", "Baseline"].flatMap { tier -> [Scenario] in
  [
    Scenario(
      name: "\(tier): Deny keeps a namespace out, and a later Accept does not bring it back",
      steps: [
        .init(["- y > x"]) {
          $0.cluster("c", tier, ingress: [rule("Deny", namespace("y")), rule("Accept", everyone)])
        },
        .init([]) {
          $0.cluster("c", tier, ingress: [rule("Accept", everyone), rule("Deny", namespace("y"))])
        },
      ]),
    Scenario(
      name: "\(tier): nobody is isolated by a rule that does not speak of them",
      steps: [.init([]) { $0.cluster("c", tier, ingress: [rule("Accept", pod("y", "a"))]) }]),
    Scenario(
      name: "\(tier): Pass goes past the Deny behind it",
      steps: [
        .init(["- * > x", "+ y/b > x"]) {
          $0.cluster("c", tier, ingress: [rule("Pass", pod("y", "b")), rule("Deny", everyone)])
        }
      ]),
    Scenario(
      name: "\(tier): egress to namespaces, pods, networks and nodes",
      steps: [
        .init(["- x > *", "+ x > y/a", "+ x > z"]) {
          $0.cluster(
            "c", tier,
            egress: [
              rule("Accept", pod("y", "a"), at: "to"), rule("Accept", namespace("z"), at: "to"),
              rule("Deny", ["networks": ["10.42.0.0/24", "fd00:42::/64"]], at: "to"),
            ])
        },
        .init([]) { $0.cluster("c", tier, egress: [rule("Deny", ["nodes": [:]], at: "to")]) },
      ]),
    Scenario(
      name: "\(tier): one subject of many",
      steps: [
        .init(["- * > x/b", "- x/b > *"]) {
          $0.cluster(
            "c", tier, pod: "b", ingress: [rule("Deny", everyone)], egress: [rule("Deny", everyone, at: "to")]
          )
        },
        .init(["- * > x/b", "- * > y/b", "- * > z/b"]) {
          $0.cluster("c", tier, subject: nil, pod: "b", ingress: [rule("Deny", everyone)])
        },
      ]),
  ]
}

private let orderScenarios: [Scenario] = [
  Scenario(
    name: "the lower priority goes first, and a change of priority turns it round",
    steps: [
      .init(["- * > x"]) {
        $0.cluster("deny", priority: 5, ingress: [rule("Deny", everyone)])
        $0.cluster("accept", priority: 6, ingress: [rule("Accept", everyone)])
      },
      .init([]) { $0.cluster("accept", priority: 4, ingress: [rule("Accept", everyone)]) },
      .init(["- * > x"]) { $0.view.remove(kind: "ClusterNetworkPolicy", ObjectKey("", "accept")) },
    ]),
  Scenario(
    name: "Admin goes before NetworkPolicy, NetworkPolicy before Baseline",
    steps: [
      .init(["- * > x"]) { $0.cluster("b", "Baseline", ingress: [rule("Deny", everyone)]) },
      // A NetworkPolicy is final for the pods it selects.
      .init(["- * > x", "+ * > x/a"]) { $0.policy("p", ingress: [[:]]) },
      .init(["- * > x", "+ * > x/a", "- y > x/a"]) {
        $0.cluster("a", ingress: [rule("Deny", namespace("y"))])
      },
      .init(["- * > x", "+ y > x"]) {
        $0.removePolicies()
        $0.cluster("a", ingress: [rule("Accept", namespace("y"))])
      },
      .init(["- * > x/a", "+ y > x/a"]) {
        $0.view.remove(kind: "ClusterNetworkPolicy", ObjectKey("", "b"))
        $0.policy("p", ingress: [])
      },
    ]),
  Scenario(
    name: "Pass of the Admin tier hands on to NetworkPolicies, and to Baseline where there are none",
    steps: [
      .init(["- y > x", "- z > x", "+ y/b > x"]) {
        $0.cluster("a", ingress: [rule("Pass", pod("y", "b")), rule("Deny", namespace("y"), namespace("z"))])
      },
      .init(["- y > x", "- z > x"]) { $0.cluster("b", "Baseline", ingress: [rule("Deny", pod("y", "b"))]) },
      .init(["- y > x", "- z > x", "+ y/b > x/a", "- x > x/a"]) {
        $0.policy("p", ingress: [["from": [["namespaceSelector": ["matchLabels": ["ns": "y"]]]]]])
      },
    ]),
  Scenario(
    name: "an egress that is accepted still has to be let in",
    steps: [
      .init(["- * > y/a"]) {
        $0.cluster("a", egress: [rule("Accept", everyone, at: "to")])
        $0.policy("p", in: "y", ingress: [])
      },
      .init(["- * > y/a", "+ x > y/a"]) {
        $0.cluster("in", subject: "y", ingress: [rule("Accept", namespace("x"))])
      },
    ]),
  Scenario(
    name: "subjects come and go with the labels of pods and namespaces",
    steps: [
      .init([]) {
        $0.view.apply([
          "kind": "ClusterNetworkPolicy", "metadata": ["name": "c"],
          "spec": [
            "tier": "Admin", "priority": 1,
            "subject": [
              "pods": [
                "namespaceSelector": ["matchLabels": ["closed": "yes"]],
                "podSelector": ["matchLabels": ["team": "red"]],
              ]
            ], "ingress": [rule("Deny", everyone)],
          ],
        ])
      },
      .init([]) { $0.label(namespace: "y", ["closed": "yes"]) },
      .init(["- * > y/c"]) { $0.put(ObjectKey("y", "c"), ["team": "red"]) },
      .init([]) { $0.label(namespace: "y", [:]) },
      .init(["- * > y/c"]) { $0.label(namespace: "y", ["closed": "yes"]) },
      .init([]) { $0.put(ObjectKey("y", "c")) },
    ]),
]

private let portScenarios: [Scenario] = [
  Scenario(
    name: "ports by number, range and name, protocols alone",
    steps: [
      .init(["- * > x:80/TCP"]) {
        $0.cluster("c", ingress: [rule("Deny", everyone, protocols: [["tcp": number(80)]])])
      },
      .init(["- * > x/UDP"]) {
        $0.cluster("c", ingress: [rule("Deny", everyone, protocols: [["udp": [:]]])])
      },
      .init(["- * > x/SCTP", "- * > x:81/TCP"]) {
        $0.cluster(
          "c",
          ingress: [
            rule(
              "Deny", everyone,
              protocols: [
                ["sctp": ["destinationPort": ["range": ["start": 80, "end": 81]]]],
                ["tcp": ["destinationPort": ["range": ["start": 81, "end": 90]]]],
              ])
          ])
      },
      .init(["- * > x:80/UDP"]) {
        $0.cluster(
          "c", ingress: [rule("Deny", everyone, protocols: [["destinationNamedPort": "serve-80-udp"]])])
      },
      .init(["- x > *:81/TCP", "+ x > x:81/TCP", "+ x > z:81/TCP"]) {
        $0.cluster(
          "c",
          egress: [
            rule("Deny", namespace("y"), at: "to", protocols: [["destinationNamedPort": "serve-81-tcp"]])
          ])
      },
    ])
]

/// What an older CRD let through, or a newer one.
private let closedScenarios: [Scenario] = [
  Scenario(
    name: "a rule that is not understood is closed: Accept accepts nothing, Deny and Pass deny all",
    steps: [
      .init(["- * > x"]) {
        $0.cluster("c", ingress: [rule("Accept", ["planets": ["mars"]]), rule("Deny", everyone)])
      },
      .init(["- * > x"]) {
        $0.cluster("c", ingress: [rule("Deny", ["planets": ["mars"]], protocols: [["tcp": number(80)]])])
      },
      .init(["- x > *"]) { $0.cluster("c", egress: [rule("Pass", ["planets": ["mars"]], at: "to")]) },
      .init(["- * > x"]) {
        $0.cluster("c", ingress: [rule("Deny", everyone, protocols: [["quic": number(80)]])])
      },
      // Networks are peers of egress alone.
      .init(["- * > x"]) { $0.cluster("c", ingress: [rule("Deny", ["networks": ["192.0.2.0/24"]])]) },
      .init(["- x > *"]) {
        $0.cluster("c", egress: [rule("Deny", ["domainNames": ["example.org"]], at: "to")])
      },
    ])
]

private let auditScenarios: [Scenario] = [
  Scenario(
    name: "what a policy in audit mode would deny is let through, what another denies is not",
    steps: [
      .init([]) {
        $0.policy("p", ingress: [], annotations: ["weft.dev/audit": "true"])
        $0.cluster("c", ingress: [rule("Deny", everyone)], isAudit: true)
      },
      .init(["- * > x/a"]) { $0.policy("q", ingress: []) },
      .init(["- * > x/a", "+ x/b > x/a"]) {
        $0.policy(
          "p", ingress: [["from": [["podSelector": ["matchLabels": ["pod": "b"]]]]]],
          annotations: ["weft.dev/audit": "true"])
      },
      .init(["- * > x"]) { $0.cluster("c", ingress: [rule("Deny", everyone)]) },
      .init(["- z > x"]) {
        $0.cluster("c", ingress: [rule("Deny", everyone)], isAudit: true)
        $0.removePolicies()
        $0.policy("p", ingress: [], annotations: ["weft.dev/audit": "true"])
        $0.cluster("b", "Baseline", ingress: [rule("Deny", namespace("z"))])
      },
    ])
]
