// Rules in the order in which they are to be tried: the most specific first, of equal ones that of the older route.

import ClusterObjects
import ClusterView

extension GatewayPlanner {
  static func rank(_ match: GatewayRoute.Match, _ kind: GatewayRoute.Kind) -> RuleRank {
    if kind == .grpc {
      guard let call = match.call else { return RuleRank(form: 1, length: 0, further: 0, match) }
      let isExact = call.comparison == .exact && !call.service.isEmpty && !call.method.isEmpty
      let form = isExact ? 3 : call.comparison == .regex ? 2 : 1
      return RuleRank(form: form, length: call.service.utf8.count, further: call.method.utf8.count, match)
    }
    let path = match.path ?? GatewayRoute.Path(.prefix, "/")
    let form =
      switch path.comparison {
      case .exact: 3
      case .regex: 2
      case .prefix: 1
      }
    var length = path.value.utf8.count
    if path.comparison == .prefix, path.value.utf8.last == UInt8(ascii: "/") { length -= 1 }
    return RuleRank(form: form, length: length, further: 0, match)
  }

  /// The rules of every listener, from all routes.
  mutating func planRules() {
    var places: [Int: [Int]] = [:]
    for (place, state) in routes.enumerated() {
      for listener in state.listeners { places[listener, default: []].append(place) }
    }
    let shown = backendCertificates
    ruled = listeners.indices.map { index in
      isServed(listeners[index]) ? ordered(index, places[index] ?? [], shown) : nil
    }
    planServed()
  }

  private func isServed(_ listener: ListenerState) -> Bool {
    listener.isUsable && refusedGateways[listener.gateway] == nil
      && boundAddresses(of: listener.gateway) != nil
  }

  /// - Parameter places: of its routes, the oldest first.
  func ordered(_ index: Int, _ places: [Int], _ shown: [ObjectKey: ObjectKey]) -> RuledListener {
    let listener = listeners[index]
    let isOfRequests = listener.protocol == .http || listener.protocol == .https
    var hosts: [String: RuledHost] = [:]
    for place in places {
      let state = routes[place]
      let rules = rules(of: state, shown: shown[listener.gateway])
      for name in listener.attached[state.route.name] ?? [] {
        // Of connections nothing but the name is known: the oldest route has them.
        if !isOfRequests, hosts[name] != nil { continue }
        hosts[name, default: RuledHost(name)].append(rules)
      }
    }
    for name in hosts.keys { hosts[name]?.sort() }
    return RuledListener(hosts: hosts.values.sorted { RuledHost.isMoreSpecific($0.name, $1.name) })
  }

  /// Listeners for the data plane, of the rules that they have now.
  mutating func planServed() {
    result.listeners = []
    for (listener, ruled) in zip(listeners, ruled) {
      guard let ruled, let spoken = listener.protocol, let addresses = boundAddresses(of: listener.gateway)
      else { continue }
      result.listeners.append(
        GatewayPlan.Listener(
          gateway: listener.gateway,
          listenerSet: listener.owner.kind == "ListenerSet" ? listener.owner.key : nil,
          name: listener.spec.name, port: listener.spec.port, protocol: spoken,
          hostname: listener.spec.hostname, tls: tls(of: listener),
          hosts: ruled.hosts.map { GatewayPlan.Host(name: $0.name, rules: $0.rules) }, addresses: addresses))
    }
  }

  private func tls(of listener: ListenerState) -> GatewayPlan.TLS? {
    if listener.needsCertificate {
      return .terminate(certificates: listener.certificates, clients: listener.clients)
    }
    return listener.protocol == .tls ? .passthrough : nil
  }

  /// What Gateways show to backends, where it can be had.
  var backendCertificates: [ObjectKey: ObjectKey] {
    objects.gateways.values.reduce(into: [:]) { found, gateway in
      let namespace = gateway.key.namespace
      guard let reference = gateway.backendCertificate else { return }
      let key = reference.key(in: namespace)
      let finding = problem(
        ofCertificate: reference, at: key, for: "Gateway", in: namespace, "InvalidClientCertificateRef")
      if finding == nil { found[gateway.key] = key }
    }
  }

  /// - Parameter certificate: what backends by TLS are shown.
  func rules(of state: RouteState, shown certificate: ObjectKey?) -> [RankedRule] {
    func shown(_ backend: GatewayPlan.Backend) -> GatewayPlan.Backend {
      var backend = backend
      backend.tls?.certificate = certificate
      if !backend.mirrors.isEmpty { backend.mirrors = backend.mirrors.map(shown) }
      return backend
    }
    func shown(_ mirror: GatewayPlan.Mirror) -> GatewayPlan.Mirror {
      GatewayPlan.Mirror(
        backend: shown(mirror.backend), numerator: mirror.numerator, denominator: mirror.denominator)
    }
    var rules: [RankedRule] = []
    for (index, rule) in state.route.rules.enumerated() where state.dropped[index] == nil {
      let filters = rule.filters.filter { if case .mirror = $0 { false } else { true } }
      for match in rule.matches.isEmpty ? [GatewayRoute.Match()] : rule.matches {
        rules.append(
          RankedRule(
            rank: Self.rank(match, state.route.kind),
            rule: GatewayPlan.Rule(
              route: state.route.name, index: index, name: rule.name, match: match, filters: filters,
              backends: (state.backends[index] ?? []).map(shown),
              mirrors: (state.mirrors[index] ?? []).map(shown),
              requestMilliseconds: rule.requestMilliseconds.flatMap { $0 == 0 ? nil : $0 },
              backendMilliseconds: rule.backendMilliseconds.flatMap { $0 == 0 ? nil : $0 },
              retry: rule.retry)
          ))
      }
    }
    return rules
  }
}
