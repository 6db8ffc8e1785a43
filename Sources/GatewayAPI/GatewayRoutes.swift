// Listeners of a plan as the ingress's route table has them. HTTP and HTTPS; what the table cannot say is closed, not left out.

import Addresses
import ClusterObjects
import ClusterView
import Ingress
import Patterns

extension GatewayPlan {
  /// The table of Ingresses with this plan's listeners before it. On a port that has listeners of Gateways a request meets them by its
  /// name, and Ingresses only where no listener is for the name.
  ///
  /// Listeners that ask for clients' certificates are left out: the table does not say so, and they must not be open.
  /// - Parameters:
  ///   - input: authorities and certificates for backends by TLS.
  ///   - ingress: a table with one listener for every port.
  public func routeTable(view: ClusterView, input: GatewayInput, beside ingress: RouteTable = RouteTable())
    -> RouteTable
  {
    var filler = RouteFiller(view: view, input: input, ingress: ingress)
    var ports: [UInt16: [String: [String: [RoutePath]]]] = [:]
    for listener in listeners where listener.protocol == .http || listener.protocol == .https {
      if case .terminate(_, .some)? = listener.tls { continue }
      // Gateways share the machine's ports: listeners of one name are one.
      var hosts = ports[listener.port]?[listener.hostname ?? ""] ?? [:]
      for host in listener.hosts {
        hosts[host.name, default: []] += host.rules.compactMap { filler.path($0) }
      }
      ports[listener.port, default: [:]][listener.hostname ?? ""] = hosts
    }
    let everywhere = ingress.listeners.first
    var listeners = everywhere.map { [$0] } ?? []
    for (port, names) in ports.sorted(by: { $0.key < $1.key }) {
      for (name, hosts) in names.sorted(by: { $0.key < $1.key }) {
        var all = hosts.sorted { $0.key < $1.key }.map { RouteHost(name: $0.key, paths: $0.value) }
        if name.isEmpty { all += (everywhere?.hosts ?? []).filter { hosts[$0.name] == nil } }
        listeners.append(
          RouteListener(
            port: port, hostname: name, hosts: all, hostsOverlap: true,
            defaultBackend: name.isEmpty ? everywhere?.defaultBackend : nil,
            defaultAction: name.isEmpty ? everywhere?.defaultAction ?? -1 : -1))
      }
      if names[""] == nil, var rest = everywhere {
        rest.port = port
        listeners.append(rest)
      }
    }
    return RouteTable(
      backends: filler.backends, actions: filler.actions, listeners: listeners,
      strictTransportSecurity: ingress.strictTransportSecurity)
  }
}

private struct RouteFiller {
  private struct BackendKey: Hashable {
    var service: ObjectKey
    var port: UInt16
    var route: GatewayRoute.Name
    var policy: BackendPolicy
  }
  let view: ClusterView
  let input: GatewayInput
  private(set) var backends: [RouteBackend]
  private(set) var actions: [RouteAction]
  private var known: [BackendKey: Int] = [:]
  private var knownActions: [RouteAction: Int] = [:]

  init(view: ClusterView, input: GatewayInput, ingress: RouteTable) {
    self.view = view
    self.input = input
    backends = ingress.backends
    actions = ingress.actions
  }

  /// Nil for a pattern that is none; the planner has told it.
  mutating func path(_ rule: GatewayPlan.Rule) -> RoutePath? {
    guard let conditions = Self.conditions(rule.match) else { return nil }
    let (backend, action) = target(rule)
    func plain(_ path: String, _ kind: RoutePathKind) -> RoutePath {
      RoutePath(path: path, kind: kind, backend: backend, action: action, conditions: conditions)
    }
    func pattern(_ text: String) -> RoutePath? {
      guard let pattern = try? BytePattern(text) else { return nil }
      return RoutePath(pattern: pattern, backend: backend, action: action, conditions: conditions)
    }
    if rule.route.kind == .grpc {
      guard let call = rule.match.call else { return plain("/", .prefix) }
      if call.comparison == .exact, !call.service.isEmpty {
        return call.method.isEmpty
          ? plain("/\(call.service)", .prefix) : plain("/\(call.service)/\(call.method)", .exact)
      }
      let parts = [call.service, call.method].map { $0.isEmpty ? "[^/]+" : $0 }
      return pattern("^/(\(parts[0]))/(\(parts[1]))$")
    }
    let path = rule.match.path ?? GatewayRoute.Path(.prefix, "/")
    return switch path.comparison {
    case .exact: plain(path.value, .exact)
    case .prefix: plain(path.value, .prefix)
    case .regex: pattern("^(\(path.value))$")
    }
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

  private mutating func target(_ rule: GatewayPlan.Rule) -> (backend: Int, action: Int) {
    guard var action = Self.action(rule.filters) else { return (nobody(rule), closed) }
    if action.redirect != nil { return (nobody(rule), index(action)) }
    var targets: [RouteTarget] = []
    for backend in rule.backends {
      let place = self.place(backend, rule)
      let own = Self.action(backend.filters)
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
    index(
      BackendKey(
        service: ObjectKey(rule.route.key.namespace, ""), port: 0, route: rule.route, policy: BackendPolicy()),
      endpoints: [])
  }

  /// -1: nobody.
  private mutating func place(_ backend: GatewayPlan.Backend, _ rule: GatewayPlan.Rule) -> Int {
    guard case .service(let service, let port) = backend.target, var policy = policy(backend, rule.route.kind)
    else {
      return -1
    }
    policy.timeouts.request = UInt32(clamping: rule.requestMilliseconds ?? 0)
    policy.timeouts.backendRequest = UInt32(clamping: rule.backendMilliseconds ?? 0)
    for mirror in rule.mirrors {
      guard case .service(let service, let port) = mirror.backend.target,
        let own = self.policy(mirror.backend, rule.route.kind)
      else { continue }
      let endpoints = endpoints(service, port)
      let place = index(
        BackendKey(service: service, port: port, route: rule.route, policy: own), endpoints: endpoints)
      policy.mirrors.append(
        BackendMirror(
          backend: place, numerator: UInt32(clamping: mirror.numerator),
          denominator: UInt32(clamping: mirror.denominator)))
    }
    let endpoints = endpoints(service, port)
    return index(
      BackendKey(service: service, port: port, route: rule.route, policy: policy), endpoints: endpoints)
  }

  private mutating func index(_ key: BackendKey, endpoints: @autoclosure () -> [SocketEndpoint]) -> Int {
    if let found = known[key] { return found }
    var backend = RouteBackend(
      namespace: key.route.key.namespace, ingress: key.route.key.name, service: key.service.name,
      servicePort: key.port == 0 ? "" : "\(key.port)", endpoints: endpoints())
    backend.policy = key.policy
    backends.append(backend)
    known[key] = backends.count - 1
    return backends.count - 1
  }

  private func policy(_ backend: GatewayPlan.Backend, _ kind: GatewayRoute.Kind) -> BackendPolicy? {
    backend.policy(kind, view: view, input: input)
  }

  private func endpoints(_ service: ObjectKey, _ number: UInt16) -> [SocketEndpoint] {
    view.targets(of: service, number: number, .tcp)
  }

  // MARK: Filters

  /// Nil for texts that a message cannot hold.
  private static func action(_ filters: [GatewayRoute.Filter]) -> RouteAction? {
    var action = RouteAction()
    for filter in filters {
      switch filter {
      case .requestHeaders(let change):
        guard let edit = edit(change) else { return nil }
        action.request = edit
      case .responseHeaders(let change):
        guard let edit = edit(change) else { return nil }
        action.response = edit
      case .redirect(let redirect):
        var path: RoutePathRewrite?
        if let change = redirect.path {
          path = rewrite(change)
          if path == nil { return nil }
        }
        let known: [String: UInt16] = ["http": 80, "https": 443]
        action.redirect = RouteRedirect(
          status: UInt16(clamping: redirect.status),
          place: .parts(
            scheme: redirect.scheme, host: redirect.hostname,
            port: redirect.port ?? redirect.scheme.flatMap { known[$0] } ?? 0, path: path))
      case .rewrite(let hostname, let change):
        var changed = RouteRewrite()
        if let hostname {
          changed.host = RouteTemplate(literal: hostname)
          if changed.host == nil { return nil }
        }
        if let change {
          changed.path = rewrite(change)
          if changed.path == nil { return nil }
        }
        action.rewrite = changed
      case .cors(let cors):
        action.cors = RouteCORS(
          origins: cors.origins, methods: cors.methods.joined(separator: ", "),
          headers: cors.headers.joined(separator: ", "), exposed: cors.exposed.joined(separator: ", "),
          maxAge: UInt32(clamping: cors.maxAgeSeconds), allowsCredentials: cors.allowsCredentials)
      case .mirror: break
      case .unknown: return nil
      }
    }
    return action
  }

  private static func edit(_ change: GatewayRoute.HeaderChange) -> HeaderEdit? {
    func fields(_ fields: [GatewayRoute.Field]) -> [HeaderField]? {
      let found = fields.compactMap { HeaderField($0.name, $0.value) }
      return found.count == fields.count ? found : nil
    }
    guard let set = fields(change.set), let add = fields(change.add) else { return nil }
    return HeaderEdit(remove: change.remove, set: set, add: add)
  }

  private static func rewrite(_ change: GatewayRoute.PathChange) -> RoutePathRewrite? {
    switch change {
    case .full(let text): RouteTemplate(literal: text).map { .whole($0) }
    case .prefix(let text): RouteRewrite.prefix(text)
    }
  }
}
