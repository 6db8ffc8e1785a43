// How a Service's owner says that its endpoints are reached, and what becomes of it in the routes of Ingresses.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import Ingress

@Suite struct ServicePolicyTests {
  private func service(_ annotations: [String: String]) -> JSON {
    var values: JSON = [:]
    for (name, value) in annotations { values["weft.dev/\(name)"] = JSON(value) }
    return [
      "apiVersion": "v1", "kind": "Service",
      "metadata": ["namespace": "demo", "name": "web", "annotations": values],
      "spec": ["clusterIP": "10.0.0.1", "ports": [["name": "http", "port": 80]]],
    ]
  }

  private func policy(_ annotations: [String: String]) throws -> (policy: BackendPolicy, problems: [String]) {
    var policy = BackendPolicy()
    let problems = policy.take(try Service(service(annotations)))
    return (policy, problems)
  }

  @Test func `each setting has its annotation`() throws {
    let (policy, problems) = try policy([
      "balancing": "header=X-User", "slow-start": "30s", "max-failures": "5", "ejection": "1m",
      "max-ejected-percent": "30", "health-check-path": "/healthz", "health-check-interval": "500ms",
      "health-check-timeout": "100ms", "max-connections": "7", "max-requests": "8",
      "max-pending-requests": "9", "retry-budget-percent": "20",
    ])
    var expected = BackendPolicy()
    expected.balancing = .consistentHash(.header("X-User"))
    expected.slowStart = 30_000
    expected.health = HealthPolicy(
      failures: 5, ejection: 60_000, ejectedPercentMax: 30,
      check: .init(path: "/healthz", interval: 500, timeout: 100))
    expected.circuit = CircuitPolicy(connections: 7, pending: 9, requests: 8)
    expected.retry.budgetPercent = 20
    #expect(policy == expected && problems.isEmpty)
    #expect(try self.policy([:]).policy.isPlain)
  }

  @Test(arguments: [
    ("least-requests", Balancing.leastRequests), ("round-robin", .roundRobin),
    ("source", .consistentHash(.source)), ("target", .consistentHash(.target)),
    ("cookie=a", .consistentHash(.cookie("a"))),
  ]) func `each way of balancing has its word`(word: String, way: Balancing) throws {
    #expect(try policy(["balancing": word]).policy.balancing == way)
  }

  @Test func `what cannot be read is told and has no effect`() throws {
    for (name, value) in [
      ("balancing", "random"), ("balancing", "header="), ("balancing", "header=a b"),
      ("balancing", "source=x"), ("slow-start", "soon"), ("slow-start", "0s"), ("ejection", "48h"),
      ("max-failures", "0"), ("max-failures", "-1"), ("max-ejected-percent", "101"),
      ("health-check-path", "healthz"), ("health-check-path", "/a b"), ("max-connections", "many"),
      ("retry-budget-percent", "0"),
    ] {
      let (policy, problems) = try policy([name: value])
      #expect(policy.isPlain, "\(name): \(value)")
      #expect(problems.count == 1 && problems[0].contains("ING0023") && problems[0].contains(name))
    }
  }

  @Test func `routes of Ingresses follow their Service, and their own annotations before it`() throws {
    func plan(_ annotations: [String: String], _ own: [String: String] = [:]) -> RoutePlan {
      planRoutesExplained(
        view: ClusterView(objects: [
          [
            "kind": "IngressClass", "metadata": ["name": "nginx"], "spec": ["controller": "weft.dev/ingress"],
          ],
          service(annotations), nginxIngress("a", own),
        ]))
    }
    let found = plan(["balancing": "round-robin", "slow-start": "5s", "max-requests": "x"])
    #expect(found.table.backends[0].policy.balancing == .roundRobin)
    #expect(found.table.backends[0].policy.slowStart == 5000)
    #expect(found.problems.map(\.topic) == [.annotation])
    let chosen = plan(["balancing": "round-robin"], ["upstream-hash-by": "$remote_addr"])
    #expect(chosen.table.backends[0].policy.balancing == .consistentHash(.source))
  }

  @Test func `endpoints that are meant for this node's zone are near, others only a way out`() throws {
    func endpoint(_ last: Int64, _ zone: String) -> JSON {
      [
        "addresses": [JSON("10.1.0.\(last)")], "conditions": ["ready": true], "zone": JSON(zone),
        "hints": ["forZones": [["name": JSON(zone)]]],
      ]
    }
    var objects: [JSON] = [
      ["kind": "IngressClass", "metadata": ["name": "nginx"], "spec": ["controller": "weft.dev/ingress"]],
      service([:]), nginxIngress("a"),
      [
        "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": [
          "name": "web-1", "namespace": "demo", "labels": ["kubernetes.io/service-name": "web"],
        ],
        "ports": [["name": "http", "port": 80, "protocol": "TCP"]],
        "endpoints": [endpoint(1, "a"), endpoint(2, "b"), endpoint(3, "a")],
      ],
    ]
    for (name, zone) in [("n1", "a"), ("n2", "c")] {
      objects.append([
        "kind": "Node",
        "metadata": ["name": JSON(name), "labels": ["topology.kubernetes.io/zone": JSON(zone)]],
      ])
    }
    func backend(_ node: String?) -> RouteBackend {
      let view = ClusterView(objects: objects)
      return planRoutesExplained(view: view, near: node.map { view.place(of: $0) }).table.backends[0]
    }
    let near = backend("n1")
    #expect(near.endpoints.count == 3)
    #expect(near.policy.endpoints.map(\.isDistant) == [false, true, false])
    // Nobody is meant for the other zone, and without a node there is none: all are alike.
    #expect(backend("n2").policy.endpoints.isEmpty && backend(nil).policy.endpoints.isEmpty)
    #expect(backend("n2").endpoints.count == 3)
    // A zone is enough, where the view has no such node.
    let told = planRoutesExplained(
      view: ClusterView(objects: objects), near: NodePlace(name: "elsewhere", zone: "a")
    ).table.backends[0]
    #expect(told.policy.endpoints.map(\.isDistant) == [false, true, false])
  }
}
