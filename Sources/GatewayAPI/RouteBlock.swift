// What a route's rules amount to in a route table, numbered for itself: its backends, and for each rule where requests go.

import Addresses
import ClusterObjects
import ClusterView
import Ingress

extension GatewayPlan.Rule {
  /// Whether what becomes of a request is the same, whatever it has to be like.
  func leads(as other: GatewayPlan.Rule) -> Bool {
    index == other.index && backends == other.backends && filters == other.filters
      && mirrors == other.mirrors && requestMilliseconds == other.requestMilliseconds
      && backendMilliseconds == other.backendMilliseconds && retry == other.retry
  }
}

/// Of one route.
struct RouteBlock: Sendable {
  struct Target: Sendable {
    /// Among `backends`.
    var backend: Int
    /// Its targets name places in `backends` and `actions`.
    var action = RouteAction()
    /// Somebody is asked; else it is answered with 500.
    var isOpen = true
  }

  let route: GatewayRoute.Name
  /// Rules that lead elsewhere than the others, in the order in which the plan has them.
  private(set) var rules: [GatewayPlan.Rule] = []
  private(set) var backends: [RouteBackend] = []
  /// For each of `rules`.
  private(set) var targets: [Target] = []
  private(set) var actions: [RouteAction] = []
  /// Services that were looked at.
  private(set) var services: Set<ObjectKey> = []
  var isMade = false
  /// The first of its backends in the table.
  var base = 0
  /// The table that it was noted for last.
  var stamp = 0
  /// Rules noted for this table so far.
  private var noted = 0

  init(_ route: GatewayRoute.Name) { self.route = route }

  mutating func begin(_ stamp: Int) {
    self.stamp = stamp
    noted = 0
  }

  /// The rule's place among `rules`.
  mutating func note(_ rule: GatewayPlan.Rule) -> Int {
    if noted < rules.count, rules[noted].leads(as: rule) {
      noted += 1
      return noted - 1
    }
    for place in 0..<noted where rules[place].leads(as: rule) { return place }
    rules.removeSubrange(noted...)
    rules.append(rule)
    isMade = false
    noted += 1
    return noted - 1
  }

  mutating func finish() {
    guard noted < rules.count else { return }
    rules.removeSubrange(noted...)
    isMade = false
  }

  mutating func make(_ source: inout RouteSource) {
    var maker = RouteBlockMaker(route: route)
    targets = rules.map { maker.target($0, &source) }
    (backends, actions, services) = (maker.backends, maker.actions, maker.services)
    isMade = true
  }
}

/// Where backends and endpoints are looked up.
struct RouteSource {
  struct Port: Hashable {
    var service: ObjectKey
    var number: UInt16
  }
  let view: ClusterView
  let input: GatewayInput
  let place: NodePlace?
  /// Routes to one Service's port find the same.
  private var found: [Port: (targets: [SocketEndpoint], traits: [EndpointTraits])] = [:]

  init(view: ClusterView, input: GatewayInput, place: NodePlace?) {
    self.view = view
    self.input = input
    self.place = place
  }

  mutating func reach(_ port: Port) -> (targets: [SocketEndpoint], traits: [EndpointTraits]) {
    if let known = found[port] { return known }
    let reach = view.reach(port.service, number: port.number, .tcp, near: place)
    found[port] = reach
    return reach
  }
}

private struct RouteBlockMaker {
  private struct Key: Hashable {
    var port: RouteSource.Port
    var policy: BackendPolicy
  }
  let route: GatewayRoute.Name
  private(set) var backends: [RouteBackend] = []
  private(set) var actions: [RouteAction] = []
  private(set) var services: Set<ObjectKey> = []
  private var known: [Key: Int] = [:]

  init(route: GatewayRoute.Name) { self.route = route }

  mutating func target(_ rule: GatewayPlan.Rule, _ source: inout RouteSource) -> RouteBlock.Target {
    guard var action = routeAction(rule.filters) else { return closed(&source) }
    if action.redirect != nil { return RouteBlock.Target(backend: nobody(&source), action: action) }
    var targets: [RouteTarget] = []
    for backend in rule.backends {
      let place = self.place(backend, rule, &source)
      let own = routeAction(backend.filters)
      targets.append(
        RouteTarget(
          backend: own == nil ? -1 : place, weight: UInt32(backend.weight),
          action: own.map { $0.isEmpty ? -1 : index($0) } ?? -1))
    }
    guard targets.contains(where: { $0.weight > 0 }) else { return closed(&source) }
    if targets.count == 1, targets[0].backend >= 0, targets[0].action < 0 {
      return RouteBlock.Target(backend: targets[0].backend, action: action)
    }
    action.targets = targets
    let first = targets.first { $0.backend >= 0 }?.backend
    return RouteBlock.Target(backend: first ?? nobody(&source), action: action)
  }

  private mutating func closed(_ source: inout RouteSource) -> RouteBlock.Target {
    var action = RouteAction()
    action.targets = [RouteTarget(backend: -1)]
    return RouteBlock.Target(backend: nobody(&source), action: action, isOpen: false)
  }

  private mutating func index(_ action: RouteAction) -> Int {
    if let found = actions.firstIndex(of: action) { return found }
    actions.append(action)
    return actions.count - 1
  }

  /// For rules that need none.
  private mutating func nobody(_ source: inout RouteSource) -> Int {
    let none = RouteSource.Port(service: ObjectKey(route.key.namespace, ""), number: 0)
    return index(Key(port: none, policy: BackendPolicy()), &source)
  }

  /// -1: nobody.
  private mutating func place(
    _ backend: GatewayPlan.Backend, _ rule: GatewayPlan.Rule, _ source: inout RouteSource
  ) -> Int {
    guard case .service(let service, let port) = backend.target, var policy = policy(backend, source)
    else { return -1 }
    policy.timeouts.request = UInt32(clamping: rule.requestMilliseconds ?? 0)
    policy.timeouts.backendRequest = UInt32(clamping: rule.backendMilliseconds ?? 0)
    if let retry = rule.retry {
      // The first try is none of the attempts; without a number there is one more.
      policy.retry = RetryPolicy(
        tries: UInt8(clamping: 1 + max(1, min(254, retry.attempts ?? 1))), statuses: retry.codes,
        backoff: UInt32(clamping: retry.backoffMilliseconds ?? 0))
    }
    for mirror in rule.mirrors + backend.mirrors {
      guard case .service(let service, let port) = mirror.backend.target,
        let own = self.policy(mirror.backend, source)
      else { continue }
      let place = index(
        Key(port: RouteSource.Port(service: service, number: port), policy: own), &source)
      policy.mirrors.append(
        BackendMirror(
          backend: place, numerator: UInt32(clamping: mirror.numerator),
          denominator: UInt32(clamping: mirror.denominator)))
    }
    return index(Key(port: RouteSource.Port(service: service, number: port), policy: policy), &source)
  }

  private mutating func policy(_ backend: GatewayPlan.Backend, _ source: RouteSource) -> BackendPolicy? {
    if case .service(let service, _) = backend.target { services.insert(service) }
    return backend.policy(route.kind, view: source.view, input: source.input)
  }

  private mutating func index(_ key: Key, _ source: inout RouteSource) -> Int {
    if let found = known[key] { return found }
    let (targets, traits) = key.port.number == 0 ? ([], []) : source.reach(key.port)
    var backend = RouteBackend(
      namespace: route.key.namespace, ingress: route.key.name, service: key.port.service.name,
      servicePort: key.port.number == 0 ? "" : "\(key.port.number)", endpoints: targets)
    backend.policy = key.policy
    backend.policy.endpoints = traits
    backends.append(backend)
    known[key] = backends.count - 1
    return backends.count - 1
  }
}
