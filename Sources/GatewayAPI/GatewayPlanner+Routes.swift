// Where a route is attached, and what its parents say to it.

import Addresses
import ClusterObjects
import ClusterView
import Ingress
import Patterns

extension GatewayPlanner {
  /// A route while it is planned.
  struct RouteState {
    var route: GatewayRoute
    /// Rules that are left out, by their place, and why.
    var dropped: [Int: Finding] = [:]
    /// Backends of all rules and mirrors, by rule.
    var backends: [Int: [GatewayPlan.Backend]] = [:]
    var mirrors: [Int: [GatewayPlan.Mirror]] = [:]
    /// Places of the listeners that have it.
    var listeners: Set<Int> = []
    /// Parents, by their place, that do not have it, and why.
    var refusals: [Int: Finding] = [:]

    /// No rule of it can be served.
    var isEmpty: Bool { !route.rules.isEmpty && dropped.count == route.rules.count }
  }

  /// - Parameter former: the route before its rules changed: it is attached where it was.
  mutating func planRoute(_ route: GatewayRoute, in former: RouteState? = nil) -> RouteState {
    var state = RouteState(route: route)
    result.routes[route.name] = []
    let owners = route.parents.map { owner(of: $0, route) }
    // Nothing of a route that names none of ours is looked at.
    guard owners.contains(where: { $0 != nil }) else { return state }
    for (index, rule) in route.rules.enumerated() { state.dropped[index] = problem(of: rule) }
    let unresolved = resolve(&state)
    if let former {
      (state.listeners, state.refusals) = (former.listeners, former.refusals)
    } else {
      for (place, (parent, owner)) in zip(route.parents, owners).enumerated() {
        if let owner { state.refusals[place] = attach(&state, to: parent, of: owner) }
      }
    }
    var statuses: [GatewayPlan.ParentStatus] = []
    for (place, (parent, owner)) in zip(route.parents, owners).enumerated() where owner != nil {
      let refusal = state.refusals[place]
      statuses.append(
        GatewayPlan.ParentStatus(
          parent: parent.tree, conditions: conditions(state, refusal, unresolved)))
    }
    result.routes[route.name] = statuses
    return state
  }

  /// Whose listeners a parent means; nil: nobody's of ours.
  private func owner(of parent: GatewayRoute.Parent, _ route: GatewayRoute) -> Owner? {
    guard parent.reference.group == GatewayObjects.group else { return nil }
    let owner = Owner(kind: parent.reference.kind, key: parent.reference.key(in: route.key.namespace))
    return listenersOf[owner] != nil || refusedSets[owner.key] != nil && owner.kind == "ListenerSet"
      ? owner : nil
  }

  private func conditions(_ state: RouteState, _ refusal: Finding?, _ unresolved: Finding?) -> [Condition] {
    let generation = state.route.generation
    var conditions = [
      Self.condition(
        "Accepted", refusal, else: Finding("Accepted", "the route is attached"), generation),
      Self.condition(
        "ResolvedRefs", unresolved, else: Finding("ResolvedRefs", "all that is named is there"), generation),
    ]
    if refusal == nil, let (index, finding) = state.dropped.min(by: { $0.key < $1.key }) {
      conditions.append(
        Condition(
          type: "PartiallyInvalid", isTrue: true, reason: finding.reason,
          message: "Dropped Rule(s) \(state.dropped.keys.sorted().map(String.init).joined(separator: ", ")): "
            + "rule \(index): \(finding.message)", generation: generation))
    }
    return conditions
  }

  // MARK: Attaching

  /// Nil: it is attached to one listener at least.
  private mutating func attach(_ state: inout RouteState, to parent: GatewayRoute.Parent, of owner: Owner)
    -> Finding?
  {
    let route = state.route
    var chosen = Array(listenersOf[owner] ?? 0..<0)
    if !parent.section.isEmpty { chosen.removeAll { listeners[$0].spec.name != parent.section } }
    if let port = parent.port { chosen.removeAll { listeners[$0].spec.port != port } }
    guard !chosen.isEmpty else {
      let what = [
        parent.section.isEmpty ? nil : "name \(parent.section)", parent.port.map { "port \($0)" },
      ].compactMap(\.self).joined(separator: " and ")
      return Finding(
        "NoMatchingParent",
        "\(owner.kind) \(owner.key) has no listener" + (what.isEmpty ? "" : " of \(what)"))
    }
    let kind = GatewayListener.RouteKind(kind: route.kind.rawValue)
    chosen.removeAll { index in
      let listener = listeners[index]
      return !listener.supportedKinds.contains(kind)
        || !isAllowed(
          route.key.namespace, by: listener.spec.routeNamespaces, own: listener.owner.key.namespace)
    }
    guard !chosen.isEmpty else {
      return Finding(
        "NotAllowedByListeners",
        "no listener of \(owner.kind) \(owner.key) takes \(route.kind.rawValue)s of namespace "
          + route.key.namespace)
    }
    var names: [Int: [String]] = [:]
    for index in chosen {
      let listener = listeners[index].spec
      let shared =
        route.kind == .tcp || route.kind == .udp
        ? [""] : Self.intersection(listener.hostname, route.hostnames)
      if !shared.isEmpty { names[index] = shared }
    }
    guard !names.isEmpty else {
      return Finding(
        "NoMatchingListenerHostname",
        "no listener of \(owner.kind) \(owner.key) is for \(route.hostnames.joined(separator: ", "))")
    }
    var rival: Finding?
    // In order: of several conflicts always the same is told.
    for (index, shared) in names.sorted(by: { $0.key < $1.key }) {
      guard let finding = self.rival(of: route, at: index, shared) else { continue }
      rival = rival ?? finding
      names[index] = nil
    }
    if names.isEmpty, let rival { return rival }
    if state.isEmpty, let first = state.dropped.min(by: { $0.key < $1.key })?.value {
      return first
    }
    for (index, shared) in names {
      listeners[index].attach(route.name, shared)
      state.listeners.insert(index)
    }
    return nil
  }

  /// The names that a listener and a route share, the more specific of each pair; empty: none, one empty name: every name.
  static func intersection(_ listener: String?, _ route: [String]) -> [String] {
    guard let listener else { return route.isEmpty ? [""] : unique(route) }
    if route.isEmpty { return [listener] }
    return unique(
      route.compactMap { name in
        if name == listener { return name }
        // A wildcard is for any number of labels.
        if listener.hasPrefix("*."), name.hasSuffix(listener.dropFirst()) { return name }
        if name.hasPrefix("*."), listener.hasSuffix(name.dropFirst()) { return listener }
        return nil
      })
  }

  /// Of HTTPRoutes and GRPCRoutes whose names at a listener meet the older has them (GRPCRouteSpec.hostnames). Nil: nobody is before.
  private func rival(of route: GatewayRoute, at index: Int, _ names: [String]) -> Finding? {
    guard route.kind == .http || route.kind == .grpc else { return nil }
    return listeners[index].rival(ofKind: route.kind, names).map {
      Finding(
        "HostnameConflict",
        "\($0) is older and has the same name at listener \(listeners[index].spec.name)")
    }
  }

  /// The names that an exact name falls under: itself, wildcards over its labels, every name.
  static func wider(_ name: String) -> [String] {
    var wider = [name, ""]
    var rest = name[...]
    while let dot = rest.firstIndex(of: ".") {
      rest = rest[rest.index(after: dot)...]
      wider.append("*." + rest)
    }
    return wider
  }

  /// Whether a host can be of both names.
  static func meet(_ a: String, _ b: String) -> Bool {
    if a.isEmpty || b.isEmpty || a == b { return true }
    func covers(_ wildcard: String, _ name: String) -> Bool {
      wildcard.hasPrefix("*.") && name.hasSuffix(wildcard.dropFirst())
    }
    return covers(a, b) || covers(b, a)
  }

  private static func unique(_ names: [String]) -> [String] {
    var seen: Set<String> = []
    return names.filter { seen.insert($0).inserted }
  }

  // MARK: Rules

  /// What the API's definitions say by CEL, and filters that nobody here knows. Nil: the rule can be served.
  private func problem(of rule: GatewayRoute.Rule) -> Finding? {
    if let field = rule.unreadable.first { return Finding("UnsupportedValue", "\(field) is no duration") }
    if let request = rule.requestMilliseconds, request > 0, let backend = rule.backendMilliseconds,
      backend > request
    {
      return Finding("UnsupportedValue", "timeouts.backendRequest is longer than timeouts.request")
    }
    if let retry = rule.retry, retry.codes.count > BackendPolicy.statusesMax {
      return Finding("UnsupportedValue", "retry.codes has more than \(BackendPolicy.statusesMax) statuses")
    }
    for match in rule.matches { if let finding = problem(of: match) { return finding } }
    if let finding = problem(of: rule.filters, rule) { return finding }
    for backend in rule.backends {
      if let finding = problem(of: backend.filters, rule) { return finding }
    }
    return nil
  }

  /// An expression that cannot be matched in linear time, or is none.
  private func problem(of match: GatewayRoute.Match) -> Finding? {
    var patterns: [(String, String)] = []
    if let path = match.path, path.comparison == .regex { patterns.append(("path", path.value)) }
    if let call = match.call, call.comparison == .regex {
      patterns += [("method.service", call.service), ("method.method", call.method)]
    }
    for (kind, values) in [("header", match.headers), ("query parameter", match.query)] {
      for value in values where value.comparison == .regex {
        patterns.append(("\(kind) \(value.name)", value.value))
      }
    }
    for (field, text) in patterns {
      do throws(BytePatternError) { _ = try BytePattern("^(\(text))$") } catch {
        return Finding("UnsupportedValue", "the expression of \(field) cannot be used: \(error)")
      }
    }
    return nil
  }

  private func problem(of filters: [GatewayRoute.Filter], _ rule: GatewayRoute.Rule) -> Finding? {
    var seen: Set<String> = []
    for filter in filters {
      var change: GatewayRoute.PathChange?
      switch filter {
      case .unknown(let type):
        return Finding("UnsupportedValue", "filter \(type) is nothing that this controller knows")
      case .mirror(let mirror):
        if mirror.numerator > mirror.denominator {
          return Finding("UnsupportedValue", "a mirror's numerator is above its denominator")
        }
        continue
      case .redirect(let redirect): change = redirect.path
      case .rewrite(_, let path): change = path
      default: break
      }
      guard seen.insert(filter.type).inserted else {
        return Finding("IncompatibleFilters", "filter \(filter.type) is there twice")
      }
      if case .prefix = change {
        let isPrefix = rule.matches.count == 1 && (rule.matches[0].path?.comparison ?? .prefix) == .prefix
        guard isPrefix || rule.matches.isEmpty else {
          return Finding("UnsupportedValue", "ReplacePrefixMatch needs exactly one match, a PathPrefix")
        }
      }
    }
    if seen.contains("RequestRedirect"), seen.contains("URLRewrite") {
      return Finding("IncompatibleFilters", "RequestRedirect and URLRewrite exclude each other")
    }
    if routeAction(filters) == nil {
      return Finding(
        "UnsupportedValue",
        "a filter has a text that no message can hold, or changes a field that frames or routes it")
    }
    return nil
  }

  // MARK: Backends

  private static let messagesMax = 4

  /// Finds the Services of every rule. Nil: all are there.
  private func resolve(_ state: inout RouteState) -> Finding? {
    var findings: [Finding] = []
    let route = state.route
    for (index, rule) in route.rules.enumerated() {
      state.backends[index] = rule.backends.map { backend in
        var found = resolve(backend, route, &findings)
        found.mirrors = mirrors(of: backend.filters, route, &findings)
        return found
      }
      state.mirrors[index] = mirrors(of: rule.filters, route, &findings)
    }
    guard let first = findings.first else { return nil }
    var messages: [String] = []
    for finding in findings where !messages.contains(finding.message) && messages.count < Self.messagesMax {
      messages.append(finding.message)
    }
    return Finding(first.reason, messages.joined(separator: "; "))
  }

  private func mirrors(
    of filters: [GatewayRoute.Filter], _ route: GatewayRoute, _ findings: inout [Finding]
  ) -> [GatewayPlan.Mirror] {
    var found: [GatewayPlan.Mirror] = []
    for case .mirror(let mirror) in filters {
      found.append(
        GatewayPlan.Mirror(
          backend: resolve(mirror.backend, route, &findings), numerator: mirror.numerator,
          denominator: mirror.denominator))
    }
    return found
  }

  private func resolve(
    _ backend: GatewayRoute.Backend, _ route: GatewayRoute, _ findings: inout [Finding]
  ) -> GatewayPlan.Backend {
    var found = GatewayPlan.Backend(
      target: .refused, weight: backend.weight, filters: backend.filters)
    let key = backend.reference.key(in: route.key.namespace)
    if let finding = problem(of: backend, at: key, route) {
      findings.append(finding)
      return found
    }
    guard let number = backend.port, let port = port(number, of: key, route.kind) else { return found }
    if let name = port.appProtocol, !Self.knows(name) {
      findings.append(Finding("UnsupportedProtocol", "service \(key): \(name) is not spoken here"))
      return found
    }
    switch policies.choice(for: key, port: port.name) {
    case .none: break
    case .unusable: return found
    case .some(let tls): found.tls = tls
    }
    if port.appProtocol == "kubernetes.io/wss", found.tls == nil {
      findings.append(
        Finding("UnsupportedProtocol", "service \(key): kubernetes.io/wss needs a BackendTLSPolicy"))
      return found
    }
    found.appProtocol = port.appProtocol
    found.target = .service(key, port: number)
    return found
  }

  /// What is spoken to backends. A name that nobody registered says nothing to us.
  private static func knows(_ appProtocol: String) -> Bool {
    guard appProtocol.hasPrefix("kubernetes.io/") else { return true }
    return ["kubernetes.io/h2c", "kubernetes.io/ws", "kubernetes.io/wss"].contains(appProtocol)
  }

  private func port(_ number: UInt16, of service: ObjectKey, _ kind: GatewayRoute.Kind) -> Service.Port? {
    view.services[service]?.ports.first {
      $0.port == number && $0.transport == (kind == .udp ? .udp : .tcp)
    }
  }

  private func problem(of backend: GatewayRoute.Backend, at key: ObjectKey, _ route: GatewayRoute) -> Finding?
  {
    let reference = backend.reference
    guard reference.group.isEmpty, reference.kind == "Service" else {
      return Finding("InvalidKind", "\(reference) is no Service")
    }
    guard objects.permits(route.kind.rawValue, in: route.key.namespace, to: reference, at: key) else {
      return Finding("RefNotPermitted", "no ReferenceGrant in \(key.namespace) allows service \(key)")
    }
    guard let service = view.services[key] else {
      return Finding("BackendNotFound", "service \(key) does not exist")
    }
    guard service.kind != .externalName else {
      return Finding("UnsupportedProtocol", "service \(key) is an ExternalName, which has no endpoints")
    }
    guard let number = backend.port, port(number, of: key, route.kind) != nil else {
      let transport = route.kind == .udp ? "UDP" : "TCP"
      return Finding(
        "BackendNotFound", "service \(key) has no \(transport) port \(backend.port.map { "\($0)" } ?? "")")
    }
    return nil
  }
}
