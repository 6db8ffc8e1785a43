// Planning again after a change against planning from nothing: random edits of a cluster, one after the other, must give the same plan
// and the same route table both ways, and a route's edit must not cost a whole plan.

import ClusterObjects
import ClusterView
import FuzzLab
import GatewayAPI
import Ingress
import Testing

@Suite struct PlanningTests {
  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func `random edits give what planning from nothing gives`(seed: UInt64) throws {
    var world = World(seed: seed)
    var planning = GatewayPlanning()
    var memory = GatewayRouteMemory()
    for step in 0..<120 {
      let edit = world.edit()
      let plan = planning.plan(view: world.view, settings: world.settings)
      // Compared first: what differs is too much to be printed.
      let isSame = plan == planGateways(view: world.view, settings: world.settings)
      let table = plan.routeTable(
        view: world.view, input: GatewayInput(), beside: RouteTable(), shared: [80], near: nil,
        memory: &memory)
      let whole = plan.routeTable(view: world.view, input: GatewayInput(), shared: [80])
      let isSameTable = table == whole
      try #require(isSame && isSameTable, "seed \(seed), step \(step), \(edit): \(isSame) \(isSameTable)")
    }
  }

  @Test func `a route's edit, birth and end plan that route alone, and a Service's those that name it`()
    throws
  {
    var world = World(seed: 9, kinds: [.http])
    for number in 0..<40 { world.put(.http, number) }
    var planning = GatewayPlanning()
    var memory = GatewayRouteMemory()
    func table(_ plan: GatewayPlan) -> RouteTable {
      plan.routeTable(
        view: world.view, input: GatewayInput(), beside: RouteTable(), shared: [], near: nil,
        memory: &memory)
    }
    let first = table(planning.plan(view: world.view, settings: world.settings))
    #expect(planning.takeWholePlans() == 1)
    #expect(memory.made == 40)
    _ = table(planning.plan(view: world.view, settings: world.settings))
    #expect(memory.made == 0)
    world.put(.http, 7, path: "/new")
    let edited = table(planning.plan(view: world.view, settings: world.settings))
    #expect(memory.made <= 1)
    let isNew = edited != first
    #expect(isNew)
    world.put(.http, 99)
    _ = table(planning.plan(view: world.view, settings: world.settings))
    #expect(memory.made == 1)
    world.view.remove(kind: "HTTPRoute", ObjectKey("infra", "route-99"))
    _ = table(planning.plan(view: world.view, settings: world.settings))
    #expect(memory.made == 0)
    world.putSlice(0, endpoints: 7)
    let moved = table(planning.plan(view: world.view, settings: world.settings))
    #expect(memory.made == 40)
    #expect(moved.backends.contains { $0.endpoints.count == 7 })
    #expect(planning.takeWholePlans() == 0)
    // A Gateway has a say in all.
    world.putGateway(ports: [80, 8080])
    _ = planning.plan(view: world.view, settings: world.settings)
    #expect(planning.takeWholePlans() == 1)
  }

  @Test func `more changes than are followed one by one are planned as a whole`() {
    var world = World(seed: 5, kinds: [.http])
    var planning = GatewayPlanning()
    _ = planning.plan(view: world.view, settings: world.settings)
    for number in 0...GatewayPlanning.changesMax { world.put(.http, number) }
    let plan = planning.plan(view: world.view, settings: world.settings)
    #expect(planning.takeWholePlans() == 2)
    let isSame = plan == planGateways(view: world.view, settings: world.settings)
    #expect(isSame)
  }
}

/// A small cluster in which names, Services and listeners meet often.
private struct World {
  var view = ClusterView()
  var settings = GatewaySettings(addresses: ["192.0.2.1"])
  private var numbers: SeededNumbers
  private let kinds: [GatewayRoute.Kind]
  private var ports: [Int] = [80, 443, 9000]

  init(seed: UInt64, kinds: [GatewayRoute.Kind] = [.http, .http, .http, .http, .grpc, .tcp, .tls]) {
    numbers = SeededNumbers(seed)
    self.kinds = kinds
    view.apply([
      "kind": "GatewayClass", "metadata": ["name": "weft"], "spec": ["controllerName": "weft.dev/gateway"],
    ])
    for name in ["infra", "web"] {
      view.apply(["kind": "Namespace", "metadata": ["name": JSON(name), "labels": ["team": JSON(name)]]])
    }
    putGateway(ports: [80, 9000])
    for number in 0..<4 {
      putService(number)
      putSlice(number, endpoints: 2)
    }
    // Services of another name, so that a route always has one that is there.
    putService(0)
  }

  private mutating func below(_ count: Int) -> Int { Int.random(in: 0..<count, using: &numbers) }
  private mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }

  mutating func putGateway(ports: [Int]) {
    let listeners = ports.flatMap { port -> [JSON] in
      let routes: JSON = ["namespaces": ["from": "All"]]
      switch port {
      case 9000: return [["name": "tcp", "port": 9000, "protocol": "TCP", "allowedRoutes": routes]]
      case 443:
        return [
          [
            "name": "tls", "port": 443, "protocol": "TLS", "tls": ["mode": "Passthrough"],
            "allowedRoutes": routes,
          ]
        ]
      default:
        return [
          ["name": JSON("http-\(port)"), "port": JSON(port), "protocol": "HTTP", "allowedRoutes": routes],
          [
            "name": JSON("org-\(port)"), "port": JSON(port), "protocol": "HTTP", "hostname": "*.example.org",
            "allowedRoutes": routes,
          ],
        ]
      }
    }
    view.apply([
      "kind": "Gateway", "metadata": ["name": "gw", "namespace": "infra", "generation": 1],
      "spec": ["gatewayClassName": "weft", "listeners": .array(listeners)],
    ])
  }

  mutating func putService(_ number: Int, annotations: JSON = [:], port: Int = 8080) {
    view.apply([
      "kind": "Service",
      "metadata": ["name": JSON("web-\(number)"), "namespace": "infra", "annotations": annotations],
      "spec": ["clusterIP": JSON("10.43.0.\(number + 1)"), "ports": [["name": "http", "port": JSON(port)]]],
    ])
  }

  mutating func putSlice(_ number: Int, endpoints: Int) {
    let all = (0..<endpoints).map { index -> JSON in
      ["addresses": [JSON("10.42.\(number).\(index + 1)")], "conditions": ["ready": true]]
    }
    view.apply([
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": JSON("web-\(number)-a"), "namespace": "infra",
        "labels": ["kubernetes.io/service-name": JSON("web-\(number)")],
      ],
      "ports": [["name": "http", "port": 8080, "protocol": "TCP"]], "endpoints": .array(all),
    ])
  }

  mutating func put(_ kind: GatewayRoute.Kind, _ number: Int, path: String? = nil) {
    let isPlain = kinds == [.http]
    func backend(_ service: Int, _ more: JSON? = nil) -> JSON {
      var tree: JSON = ["name": JSON("web-\(service)"), "port": 8080]
      if let more { tree["filters"] = more }
      return tree
    }
    var rules: [JSON] = []
    for _ in 0..<(isPlain ? 1 : 1 + below(3)) {
      var rule: JSON = [:]
      var backends = [backend(isPlain ? 0 : below(5))]
      if kind == .http {
        let value = path ?? "/\(pick(["a", "b", "a/b", "long/path", ""]))"
        var match: JSON = ["path": ["type": JSON(pick(["PathPrefix", "Exact"])), "value": JSON(value)]]
        if below(4) == 0 { match["method"] = "POST" }
        if below(5) == 0 { match["headers"] = [["name": "X-Kind", "value": JSON("\(below(3))")]] }
        rule["matches"] = .array(
          below(6) == 0 ? [match, ["path": ["type": "Exact", "value": "/x"]]] : [match])
        if !isPlain, below(5) == 0 { rule["timeouts"] = ["request": "2s"] }
        if !isPlain, below(9) == 0 { rule["timeouts"] = ["request": "2s", "backendRequest": "5s"] }
        if !isPlain, below(5) == 0 {
          rule["filters"] = [
            ["type": "RequestMirror", "requestMirror": ["backendRef": backend(below(4))]],
            ["type": "RequestHeaderModifier", "requestHeaderModifier": ["remove": [JSON("x-\(below(3))")]]],
          ]
        }
        if !isPlain, below(5) == 0 {
          backends.append(
            backend(
              below(4),
              [
                ["type": "RequestMirror", "requestMirror": ["backendRef": backend(below(4))]],
                ["type": "ResponseHeaderModifier", "responseHeaderModifier": ["remove": ["x-own"]]],
              ]))
        }
      }
      rule["backendRefs"] = .array(backends)
      rules.append(rule)
    }
    var spec: JSON = ["parentRefs": [["name": "gw"]], "rules": .array(rules)]
    if kind != .tcp {
      let names = ["one.example.org", "*.example.org", "two.example.com", "three.example.org"]
      spec["hostnames"] = below(4) == 0 && kind != .tls ? [] : [JSON(pick(names)), JSON(pick(names))]
    }
    if below(8) == 0, !isPlain { spec["parentRefs"] = [["name": "gw", "sectionName": "http-80"]] }
    view.apply([
      "kind": JSON(kind.rawValue),
      "metadata": [
        "name": JSON("route-\(number)"), "namespace": "infra", "generation": JSON(below(1000)),
        "creationTimestamp": JSON("2026-01-01T00:00:\(10 + (isPlain ? number % 50 : below(3)))Z"),
      ], "spec": spec,
    ])
  }

  /// Changes something. - Returns: what.
  mutating func edit() -> String {
    let (kind, number) = (pick(kinds), below(14))
    switch below(20) {
    case 0:
      view.remove(kind: kind.rawValue, ObjectKey("infra", "route-\(number)"))
      return "\(kind) \(number) ends"
    case 1:
      putSlice(below(4), endpoints: below(4))
      return "endpoints"
    case 2:
      putService(below(5), annotations: ["weft.dev/balancing": JSON(pick(["source", "round-robin"]))])
      return "service's annotation"
    case 3:
      view.remove(kind: "Service", ObjectKey("infra", "web-\(below(5))"))
      return "service ends"
    case 4:
      putService(below(5), port: pick([8080, 81]))
      return "service's port"
    case 5 where below(3) == 0:
      putGateway(ports: pick([[80], [80, 9000], [80, 443, 9000], [8080, 443]]))
      return "gateway"
    case 6 where below(3) == 0:
      settings.isServing.toggle()
      return "settings"
    case 7:
      for number in 0..<5 { put(pick(kinds), number) }
      for number in 5..<8 { view.remove(kind: "HTTPRoute", ObjectKey("infra", "route-\(number)")) }
      return "several at a time"
    case 8:
      for number in 0..<14 where below(2) == 0 {
        view.remove(kind: "GRPCRoute", ObjectKey("infra", "route-\(number)"))
      }
      return "GRPCRoutes end"
    default:
      put(kind, number)
      return "\(kind) \(number)"
    }
  }
}
