// Rules in the order in which they are to be tried: the most specific first, of equal ones that of the older route.

import ClusterObjects
import ClusterView

extension GatewayPlanner {
  /// What a rule's place is decided by, the first that differs; larger goes first. Sixteen bits each: longer paths than that are
  /// none, more fields neither.
  private struct Rank: Comparable {
    private var upper: UInt64
    private var lower: UInt64
    /// - Parameter form: of the path or the call; `length` and `further` of what it says.
    init(form: Int, length: Int, further: Int, _ match: GatewayRoute.Match) {
      upper = Self.joined(form, length, further, match.method == nil ? 0 : 1)
      lower = Self.joined(match.headers.count, match.query.count, 0, 0)
    }
    private static func joined(_ a: Int, _ b: Int, _ c: Int, _ d: Int) -> UInt64 {
      func part(_ value: Int) -> UInt64 { UInt64(UInt16(clamping: value)) }
      return part(a) << 48 | part(b) << 32 | part(c) << 16 | part(d)
    }
    static func < (a: Rank, b: Rank) -> Bool { (a.upper, a.lower) < (b.upper, b.lower) }
  }

  private static func rank(_ match: GatewayRoute.Match, _ kind: GatewayRoute.Kind) -> Rank {
    if kind == .grpc {
      guard let call = match.call else { return Rank(form: 1, length: 0, further: 0, match) }
      let isExact = call.comparison == .exact && !call.service.isEmpty && !call.method.isEmpty
      let form = isExact ? 3 : call.comparison == .regex ? 2 : 1
      return Rank(form: form, length: call.service.utf8.count, further: call.method.utf8.count, match)
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
    return Rank(form: form, length: length, further: 0, match)
  }

  /// - Parameter routes: the oldest first.
  mutating func planRules(_ routes: [RouteState]) {
    var places: [Int: [Int]] = [:]
    for (place, state) in routes.enumerated() {
      for listener in state.listeners { places[listener, default: []].append(place) }
      noteServices(state)
    }
    let certificates = backendCertificates
    let bound = Dictionary(
      uniqueKeysWithValues: Set(listeners.map(\.gateway)).map { ($0, boundAddresses(of: $0)) }
    ).compactMapValues(\.self)
    for (index, listener) in listeners.enumerated() where listener.isUsable {
      guard refusedGateways[listener.gateway] == nil, let spoken = listener.protocol,
        let addresses = bound[listener.gateway]
      else { continue }
      var hosts: [String: [(rank: Rank, rule: GatewayPlan.Rule)]] = [:]
      for place in places[index] ?? [] {
        let state = routes[place]
        let rules = rules(of: state, shown: certificates[listener.gateway])
        for name in listener.attached[state.route.name] ?? [] {
          // Of connections nothing but the name is known: the oldest route has them.
          if spoken != .http, spoken != .https, hosts[name] != nil { continue }
          hosts[name, default: []] += rules
        }
      }
      let ordered = hosts.map { name, rules in
        // Of equal ones the older route's is first, then the one written first. Numbers are sorted: rules are large.
        let order = rules.indices.map { (rank: rules[$0].rank, index: $0) }.sorted {
          ($1.rank, $0.index) < ($0.rank, $1.index)
        }
        return GatewayPlan.Host(name: name, rules: order.map { rules[$0.index].rule })
      }
      result.listeners.append(
        GatewayPlan.Listener(
          gateway: listener.gateway,
          listenerSet: listener.owner.kind == "ListenerSet" ? listener.owner.key : nil,
          name: listener.spec.name, port: listener.spec.port, protocol: spoken,
          hostname: listener.spec.hostname, tls: tls(of: listener),
          hosts: ordered.sorted { Self.isMoreSpecific($0.name, $1.name) }, addresses: addresses))
    }
  }

  /// Exact names before wildcards, of wildcards the longer, every name last.
  private static func isMoreSpecific(_ a: String, _ b: String) -> Bool {
    func form(_ name: String) -> Int { name.isEmpty ? 2 : name.hasPrefix("*.") ? 1 : 0 }
    return (form(a), -a.utf8.count, a) < (form(b), -b.utf8.count, b)
  }

  private func tls(of listener: ListenerState) -> GatewayPlan.TLS? {
    if listener.needsCertificate {
      return .terminate(certificates: listener.certificates, clients: listener.clients)
    }
    return listener.protocol == .tls ? .passthrough : nil
  }

  /// What Gateways show to backends, where it can be had.
  private var backendCertificates: [ObjectKey: ObjectKey] {
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
  private func rules(of state: RouteState, shown certificate: ObjectKey?) -> [(
    rank: Rank, rule: GatewayPlan.Rule
  )] {
    func shown(_ backend: GatewayPlan.Backend) -> GatewayPlan.Backend {
      var backend = backend
      backend.tls?.certificate = certificate
      return backend
    }
    var rules: [(rank: Rank, rule: GatewayPlan.Rule)] = []
    for (index, rule) in state.route.rules.enumerated() where state.dropped[index] == nil {
      let filters = rule.filters.filter { if case .mirror = $0 { false } else { true } }
      for match in rule.matches.isEmpty ? [GatewayRoute.Match()] : rule.matches {
        rules.append(
          (
            Self.rank(match, state.route.kind),
            GatewayPlan.Rule(
              route: state.route.name, index: index, name: rule.name, match: match, filters: filters,
              backends: (state.backends[index] ?? []).map(shown),
              mirrors: (state.mirrors[index] ?? []).map {
                GatewayPlan.Mirror(
                  backend: shown($0.backend), numerator: $0.numerator, denominator: $0.denominator)
              },
              requestMilliseconds: rule.requestMilliseconds.flatMap { $0 == 0 ? nil : $0 },
              backendMilliseconds: rule.backendMilliseconds.flatMap { $0 == 0 ? nil : $0 },
              retry: rule.retry)
          ))
      }
    }
    return rules
  }

  /// Policies are told of the Gateways through which their Services are reached, whether they are usable or not.
  private mutating func noteServices(_ state: RouteState) {
    let gateways = Set(state.listeners.map { listeners[$0].gateway })
    guard !gateways.isEmpty else { return }
    for backend in state.route.rules.flatMap(\.backends) where backend.reference.kind == "Service" {
      gatewaysOfServices[backend.reference.key(in: state.route.key.namespace), default: []]
        .formUnion(gateways)
    }
  }
}
