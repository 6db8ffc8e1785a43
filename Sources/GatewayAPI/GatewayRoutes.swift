// Listeners of a plan as the ingress's route table has them: HTTP and HTTPS. What the table cannot say is closed, not left out.
//
//   port, address -> listeners by name, those of several Gateways together -> hosts -> rules
//        -> Ingresses, on the ports that they are served on, for names that no listener has

import Addresses
import ClusterObjects
import ClusterView
import Ingress
import Patterns

extension GatewayPlan {
  /// The table of Ingresses with this plan's listeners before it. On a port that has listeners of Gateways a request meets those of its
  /// address by its name, and Ingresses only on ports of theirs where no listener is for the name.
  ///
  /// Cost: every rule once for each of its names, and endpoints once for each backend that the memory has not got.
  /// - Parameters:
  ///   - input: authorities and certificates for backends by TLS.
  ///   - ingress: a table with one listener for every port.
  ///   - shared: ports that Ingresses are served on.
  ///   - place: where the data plane stands.
  public func routeTable(
    view: ClusterView, input: GatewayInput, beside ingress: RouteTable = RouteTable(),
    shared: Set<UInt16> = [], near place: NodePlace? = nil
  ) -> RouteTable {
    var memory = GatewayRouteMemory()
    return routeTable(
      view: view, input: input, beside: ingress, shared: shared, near: place, memory: &memory)
  }

  /// The same table, with what the one before was made of.
  public func routeTable(
    view: ClusterView, input: GatewayInput, beside ingress: RouteTable, shared: Set<UInt16>,
    near place: NodePlace?, memory: inout GatewayRouteMemory
  ) -> RouteTable {
    let ports = Set(listeners.filter { $0.protocol.isOfRequests }.map(\.port))
    let here = listeners.filter { $0.protocol.transport == .tcp && ports.contains($0.port) }.places
    // In the order in which hosts are filled: backends are numbered as they are met.
    let sorted = here.map { here in
      (
        reach: here.reach,
        names: Self.hosts(of: here.listeners, input).sorted { $0.key < $1.key }.map { name, hosts in
          (name: name, hosts: hosts.sorted { $0.key < $1.key })
        }
      )
    }
    memory.begin(view, input, place)
    for (_, names) in sorted {
      for name in names {
        for host in name.hosts { for rule in host.value.rules { memory.note(rule) } }
      }
    }
    var filler = RouteFiller(ingress: ingress)
    memory.finish(view, input, place, &filler.backends)
    filler.memory = memory
    let everywhere = ingress.listeners.first
    var listeners = everywhere.map { [$0] } ?? []
    for (reach, names) in sorted {
      let rest = shared.contains(reach.port) ? everywhere : nil
      for (name, hosts) in names {
        var all = hosts.map { filler.host($0.key, $0.value) }
        if name.isEmpty {
          let own = Set(hosts.map(\.key))
          all += (rest?.hosts ?? []).filter { !own.contains($0.name) }
        }
        listeners.append(
          RouteListener(
            port: reach.port, addresses: reach.addresses, hostname: name, hosts: all, hostsOverlap: true,
            defaultBackend: name.isEmpty ? rest?.defaultBackend : nil,
            defaultAction: name.isEmpty ? rest?.defaultAction ?? -1 : -1))
      }
      if names.first?.name != "", var rest {
        (rest.port, rest.addresses) = (reach.port, reach.addresses)
        listeners.append(rest)
      } else if names.isEmpty {
        // Names that are passed on unopened, beside requests at other addresses: those are not for here.
        listeners.append(
          RouteListener(port: reach.port, addresses: reach.addresses, hosts: [], hostsOverlap: true))
      }
    }
    return RouteTable(
      backends: filler.backends, actions: filler.actions, listeners: listeners,
      strictTransportSecurity: ingress.strictTransportSecurity)
  }

  /// By name of listener and of host. Gateways share the machine's ports: listeners of one name are one.
  private static func hosts(of listeners: [Listener], _ input: GatewayInput) -> [String: [String: HostRules]]
  {
    var names: [String: [String: HostRules]] = [:]
    for listener in listeners where listener.protocol.isOfRequests {
      var hosts = names[listener.hostname ?? ""] ?? [:]
      // What the handshake asked for is looked at for each request too: a connection for another listener's name has shown nothing.
      let asked = listener.authority(input).map {
        RouteClientCertificate(authority: $0.id, need: $0.isRequired ? .required : .nothing)
      }
      for host in listener.hosts { hosts[host.name, default: HostRules(asked: asked)].add(host.rules) }
      names[listener.hostname ?? ""] = hosts
    }
    return names
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
    // Those of one listener are not copied.
    if rules.isEmpty { rules = new } else { rules += new }
    hasBareMethods =
      hasBareMethods
      || new.contains { $0.match.call.map { $0.service.isEmpty && !$0.method.isEmpty } ?? false }
  }
}

private struct RouteFiller {
  var memory = GatewayRouteMemory()
  var backends: [RouteBackend]
  private(set) var actions: [RouteAction]
  private var knownActions: [RouteAction: Int] = [:]
  /// Of the rules noted.
  private var next = 0

  init(ingress: RouteTable) {
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
    let (backend, action) = target(asked)
    guard let conditions = Self.conditions(rule.match) else { return nil }
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
    if match.method == nil, match.headers.isEmpty, match.query.isEmpty { return RouteConditions() }
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

  /// Of the rule that is next, of those that were noted.
  private mutating func target(_ asked: RouteClientCertificate?) -> (backend: Int, action: Int) {
    defer { next += 1 }
    let target = memory.target(next)
    let base = memory.base(next)
    if target.action.isEmpty, asked == nil { return (base + target.backend, -1) }
    var action = target.action
    if target.isOpen { action.clientCertificate = asked }
    for index in action.targets.indices {
      if action.targets[index].backend >= 0 { action.targets[index].backend += base }
      let own = action.targets[index].action
      if own >= 0 { action.targets[index].action = self.index(memory.action(next, own)) }
    }
    return (base + target.backend, index(action))
  }

  private mutating func index(_ action: RouteAction) -> Int {
    if action.isEmpty { return -1 }
    if let found = knownActions[action] { return found }
    actions.append(action)
    knownActions[action] = actions.count - 1
    return actions.count - 1
  }
}
