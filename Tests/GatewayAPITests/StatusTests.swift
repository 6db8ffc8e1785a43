// Planned statuses in objects: what stays, what moves, and when nothing is written.

import ClusterObjects
import ClusterView
import GatewayAPI
import Testing

@Suite struct StatusTests {
  private let early = "2026-01-01T00:00:00Z"
  private let late = "2026-06-01T00:00:00Z"

  private func plan() throws -> GatewayPlan {
    try Lab(
      gateway("gw", "name: http, port: 80, protocol: HTTP"), route("a", to: "{name: gw}"),
      route("stranger", to: "{name: elsewhere}")
    ).plan()
  }

  private let gatewayTree: JSON = [
    "kind": "Gateway", "metadata": ["name": "gw", "namespace": "infra"],
    "status": [
      "conditions": [
        [
          "type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
          "lastTransitionTime": "1970-01-01T00:00:00Z",
        ],
        [
          "type": "example.com/Known", "status": "True", "reason": "Mine", "message": "",
          "lastTransitionTime": "x",
        ],
      ]
    ],
  ]

  @Test func `a status that is there already is not written again, and time moves with the status alone`()
    throws
  {
    let plan = try plan()
    let subject = GatewayPlan.Subject.gateway(ObjectKey("infra", "gw"))
    let first = try #require(plan.updated(gatewayTree, of: subject, now: early))
    #expect(plan.updated(first, of: subject, now: late) == nil)
    let conditions = first.at("status", "conditions")?.elements ?? []
    #expect(
      conditions.compactMap { $0["type"]?.string } == [
        "Accepted", "example.com/Known", "Programmed", "ResolvedRefs",
      ])
    #expect(first.at("status", "addresses") == [["type": "IPAddress", "value": "192.0.2.1"]])
    #expect(first.at("status", "listeners")?.elements.first?["attachedRoutes"] == 1)
    // A reason of its own is news, and no transition.
    var other = first
    var changed = conditions
    changed[0]["reason"] = "Otherwise"
    other.set(.array(changed), at: "status", "conditions")
    let second = try #require(plan.updated(other, of: subject, now: late))
    #expect(second == first)
  }

  @Test func `a condition that no longer holds goes`() throws {
    let subject = GatewayPlan.Subject.gateway(ObjectKey("infra", "gw"))
    var tree = gatewayTree
    tree.set(
      [
        [
          "type": "InsecureFrontendValidationMode", "status": "True", "reason": "ConfigurationChanged",
          "message": "", "lastTransitionTime": "x",
        ]
      ],
      at: "status", "conditions")
    let new = try #require(try plan().updated(tree, of: subject, now: early))
    #expect(
      new.at("status", "conditions")?.elements.contains { $0["type"] == "InsecureFrontendValidationMode" }
        == false)
  }

  @Test func `entries of other controllers stay, ours go with the parent`() throws {
    let plan = try plan()
    let foreign: JSON = [
      "parentRef": ["name": "gw"], "controllerName": "example.com/other",
      "conditions": [["type": "Accepted", "status": "False"]],
    ]
    let tree: JSON = ["kind": "HTTPRoute", "metadata": ["name": "a"], "status": ["parents": [foreign]]]
    let route = GatewayPlan.Subject.route(GatewayRoute.Name(.http, ObjectKey("infra", "a")))
    let new = try #require(plan.updated(tree, of: route, now: early))
    let parents = new.at("status", "parents")?.elements ?? []
    #expect(parents.first == foreign && parents.count == 2)
    #expect(parents.last?["parentRef"] == ["name": "gw"])
    #expect(parents.last?["controllerName"]?.string == gatewayControllerName)
    #expect(plan.updated(new, of: route, now: late) == nil)
    let stranger = GatewayPlan.Subject.route(GatewayRoute.Name(.http, ObjectKey("infra", "stranger")))
    let left = try #require(plan.updated(new, of: stranger, now: late))
    #expect(left.at("status", "parents") == [foreign])
    #expect(plan.updated(["metadata": ["name": "stranger"]], of: stranger, now: late) == nil)
  }

  @Test func `planning twice gives the same plan`() throws {
    #expect(try plan() == plan())
  }
}
