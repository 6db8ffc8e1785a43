// Listeners of a plan as the ingress's route table has them: HTTP and HTTPS. What the table cannot say is closed, not left out.
//
//   port -> listeners by name, those of several Gateways together -> hosts -> rules
//        -> Ingresses, on the ports that they are served on, for names that no listener has

import Addresses
import ClusterObjects
import ClusterView
import Ingress
import Patterns

extension GatewayPlan {
  /// The table of Ingresses with this plan's listeners before it. On a port that has listeners of Gateways a request meets them by its
  /// name, and Ingresses only on ports of theirs where no listener is for the name.
  ///
  /// Cost: every rule once for each of its names, and endpoints once for each backend.
  /// - Parameters:
  ///   - input: authorities and certificates for backends by TLS.
  ///   - ingress: a table with one listener for every port.
  ///   - shared: ports that Ingresses are served on.
  ///   - node: where the data plane stands.
  public func routeTable(
    view: ClusterView, input: GatewayInput, beside ingress: RouteTable = RouteTable(),
    shared: Set<UInt16> = [], near node: String? = nil
  ) -> RouteTable {
    var filler = RouteFiller(view: view, input: input, ingress: ingress, node: node)
    var ports: [UInt16: [String: [String: HostRules]]] = [:]
    for listener in servedListeners {
      // Gateways share the machine's ports: listeners of one name are one.
      var hosts = ports[listener.port]?[listener.hostname ?? ""] ?? [:]
      // What the handshake asked for is looked at for each request too: a connection for another listener's name has shown nothing.
      let asked = listener.authority(input).map {
        RouteClientCertificate(authority: $0.id, need: $0.isRequired ? .required : .nothing)
      }
      for host in listener.hosts { hosts[host.name, default: HostRules(asked: asked)].add(host.rules) }
      ports[listener.port, default: [:]][listener.hostname ?? ""] = hosts
    }
    let everywhere = ingress.listeners.first
    var listeners = everywhere.map { [$0] } ?? []
    for (port, names) in ports.sorted(by: { $0.key < $1.key }) {
      let rest = shared.contains(port) ? everywhere : nil
      for (name, hosts) in names.sorted(by: { $0.key < $1.key }) {
        var all = hosts.sorted { $0.key < $1.key }.map { filler.host($0.key, $0.value) }
        if name.isEmpty { all += (rest?.hosts ?? []).filter { hosts[$0.name] == nil } }
        listeners.append(
          RouteListener(
            port: port, hostname: name, hosts: all, hostsOverlap: true,
            defaultBackend: name.isEmpty ? rest?.defaultBackend : nil,
            defaultAction: name.isEmpty ? rest?.defaultAction ?? -1 : -1))
      }
      if names[""] == nil, var rest {
        rest.port = port
        listeners.append(rest)
      }
    }
    return RouteTable(
      backends: filler.backends, actions: filler.actions, listeners: listeners,
      strictTransportSecurity: ingress.strictTransportSecurity)
  }

  /// Listeners that are served as routes of HTTP.
  var servedListeners: [Listener] { listeners.filter { $0.protocol == .http || $0.protocol == .https } }

  /// Ports that these listeners need open, and what is served there.
  public var servedPorts: [UInt16: IngressListener.Service] {
    var ports: [UInt16: IngressListener.Service] = [:]
    for listener in servedListeners where ports[listener.port] == nil {
      ports[listener.port] = listener.protocol == .https ? .https : .http
    }
    return ports
  }
}

/// The rules of one name, of all listeners of a port's name.
private struct HostRules {
  /// What clients have to show; nil: nothing.
  var asked: RouteClientCertificate?
  private(set) var rules: [GatewayPlan.Rule] = []
  /// A call is asked for by its method alone.
  private(set) var hasBareMethods = false

  mutating func add(_ new: [GatewayPlan.Rule]) {
    rules += new
    hasBareMethods =
      hasBareMethods
      || new.contains { $0.match.call.map { $0.service.isEmpty && !$0.method.isEmpty } ?? false }
  }
}

private struct RouteFiller {
  private struct BackendKey: Hashable {
    var service: ObjectKey
    var port: UInt16
    var route: GatewayRoute.Name
    var policy: BackendPolicy
  }
  private let view: ClusterView
  private let input: GatewayInput
  private(set) var backends: [RouteBackend]
  private(set) var actions: [RouteAction]
  private let node: String?
  private var known: [BackendKey: Int] = [:]
  private var knownActions: [RouteAction: Int] = [:]

  init(view: ClusterView, input: GatewayInput, ingress: RouteTable, node: String?) {
    self.node = node
    self.view = view
    self.input = input
    backends = ingress.backends
    actions = ingress.actions
  }

  mutating func host(_ name: String, _ rules: HostRules) -> RouteHost {
    var paths: [RoutePath] = []
    for rule in rules.rules {
      let found = path(rule, callsAreTried: rules.hasBareMethods, asked: rules.asked)
      if let found { paths.append(found) }
    }
    return RouteHost(name: name, paths: paths, keepsPatterns: true)
  }

  /// Nil for a pattern that is none; the planner has told it.
  /// - Parameter callsAreTried: a service is a pattern too: it has to be tried before a method that is asked for alone.
  private mutating func path(
    _ rule: GatewayPlan.Rule, callsAreTried: Bool, asked: RouteClientCertificate?
  ) -> RoutePath? {
    guard let conditions = Self.conditions(rule.match) else { return nil }
    let (backend, action) = target(rule, asked)
    func plain(_ path: String, _ kind: RoutePathKind) -> RoutePath {
      RoutePath(path: path, kind: kind, backend: backend, action: action, conditions: conditions)
    }
    func pattern(_ text: String) -> RoutePath? {
      guard let pattern = try? BytePattern(text) else { return nil }
      return RoutePath(pattern: pattern, backend: backend, action: action, conditions: conditions)
    }
    if rule.route.kind == .grpc {
      guard let call = rule.match.call else { return plain("/", .prefix) }
      let isExact = call.comparison == .exact
      if isExact, !call.service.isEmpty, !call.method.isEmpty {
        return plain("/\(call.service)/\(call.method)", .exact)
      }
      if isExact, !call.service.isEmpty, !callsAreTried { return plain("/\(call.service)", .prefix) }
      let parts = [call.service, call.method].map { text in
        text.isEmpty ? "[^/]+" : isExact ? Self.quoted(text) : text
      }
      return pattern("^/(\(parts[0]))/(\(parts[1]))$")
    }
    let path = rule.match.path ?? GatewayRoute.Path(.prefix, "/")
    return switch path.comparison {
    case .exact: plain(path.value, .exact)
    case .prefix: plain(path.value, .prefix)
    case .regex: pattern("^(\(path.value))$")
    }
  }

  /// Text that stands for itself in a pattern.
  private static func quoted(_ text: String) -> String {
    var quoted = ""
    for character in text {
      if !(character.isLetter || character.isNumber || character == "_") { quoted.append("\\") }
      quoted.append(character)
    }
    return quoted
  }

  private static func conditions(_ match: GatewayRoute.Match) -> RouteConditions? {
    func fields(_ values: [GatewayRoute.Value]) -> [FieldMatch]? {
      var fields: [FieldMatch] = []
      for value in values {
        switch value.comparison {
        case .exact: fields.append(FieldMatch(value.name, .exact(value.value)))
        case .regex:
          guard let pattern = try? BytePattern("^(\(value.value))$") else { return nil }
          fields.append(FieldMatch(value.name, .pattern(pattern)))
        }
      }
      return fields
    }
    guard let headers = fields(match.headers), let query = fields(match.query) else { return nil }
    return RouteConditions(method: match.method ?? "", fields: headers, query: query)
  }

  // MARK: Where requests go

  private mutating func target(
    _ rule: GatewayPlan.Rule, _ asked: RouteClientCertificate?
  ) -> (backend: Int, action: Int) {
    guard var action = routeAction(rule.filters) else { return (nobody(rule), closed) }
    action.clientCertificate = asked
    if action.redirect != nil { return (nobody(rule), index(action)) }
    var targets: [RouteTarget] = []
    for backend in rule.backends {
      let place = self.place(backend, rule)
      let own = routeAction(backend.filters)
      targets.append(
        RouteTarget(
          backend: own == nil ? -1 : place, weight: UInt32(backend.weight),
          action: own.map { $0.isEmpty ? -1 : index($0) } ?? -1))
    }
    guard targets.contains(where: { $0.weight > 0 }) else { return (nobody(rule), closed) }
    if targets.count == 1, targets[0].backend >= 0, targets[0].action < 0 {
      return (targets[0].backend, index(action))
    }
    action.targets = targets
    return (targets.first { $0.backend >= 0 }?.backend ?? nobody(rule), index(action))
  }

  /// Answered with 500.
  private var closed: Int {
    mutating get {
      var action = RouteAction()
      action.targets = [RouteTarget(backend: -1)]
      return index(action)
    }
  }

  private mutating func index(_ action: RouteAction) -> Int {
    if action.isEmpty { return -1 }
    if let found = knownActions[action] { return found }
    actions.append(action)
    knownActions[action] = actions.count - 1
    return actions.count - 1
  }

  /// For rules that need none.
  private mutating func nobody(_ rule: GatewayPlan.Rule) -> Int {
    let none = ObjectKey(rule.route.key.namespace, "")
    return index(BackendKey(service: none, port: 0, route: rule.route, policy: BackendPolicy()))
  }

  /// -1: nobody.
  private mutating func place(_ backend: GatewayPlan.Backend, _ rule: GatewayPlan.Rule) -> Int {
    guard case .service(let service, let port) = backend.target, var policy = policy(backend, rule.route.kind)
    else { return -1 }
    policy.timeouts.request = UInt32(clamping: rule.requestMilliseconds ?? 0)
    policy.timeouts.backendRequest = UInt32(clamping: rule.backendMilliseconds ?? 0)
    if let retry = rule.retry {
      // The first try is none of the attempts; without a number there is one more.
      policy.retry = RetryPolicy(
        tries: UInt8(clamping: 1 + max(1, min(254, retry.attempts ?? 1))), statuses: retry.codes,
        backoff: UInt32(clamping: retry.backoffMilliseconds ?? 0))
    }
    for mirror in rule.mirrors {
      guard case .service(let service, let port) = mirror.backend.target,
        let own = self.policy(mirror.backend, rule.route.kind)
      else { continue }
      let place = index(BackendKey(service: service, port: port, route: rule.route, policy: own))
      policy.mirrors.append(
        BackendMirror(
          backend: place, numerator: UInt32(clamping: mirror.numerator),
          denominator: UInt32(clamping: mirror.denominator)))
    }
    return index(BackendKey(service: service, port: port, route: rule.route, policy: policy))
  }

  private mutating func index(_ key: BackendKey) -> Int {
    if let found = known[key] { return found }
    let (targets, traits) =
      key.port == 0 ? ([], []) : view.reach(key.service, number: key.port, .tcp, near: node)
    var backend = RouteBackend(
      namespace: key.route.key.namespace, ingress: key.route.key.name, service: key.service.name,
      servicePort: key.port == 0 ? "" : "\(key.port)", endpoints: targets)
    backend.policy = key.policy
    backend.policy.endpoints = traits
    backends.append(backend)
    known[key] = backends.count - 1
    return backends.count - 1
  }

  private func policy(_ backend: GatewayPlan.Backend, _ kind: GatewayRoute.Kind) -> BackendPolicy? {
    backend.policy(kind, view: view, input: input)
  }
}
