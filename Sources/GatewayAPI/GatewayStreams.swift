// Listeners for TLS, TCP and UDP as the data plane's table of streams has them. What the table cannot say is closed, not left out.

import Addresses
import ClusterObjects
import ClusterView
import Ingress

extension GatewayPlan {
  /// The table of Ingresses with this plan's listeners before it. Gateways share the machine's ports: of two that are for one port and
  /// name the first has it, unless they ask for different addresses. On a port with listeners for HTTPS too the more specific name decides.
  /// - Parameters:
  ///   - input: authorities and certificates for backends by TLS.
  ///   - ingress: hosts with `ssl-passthrough`, and ports of Services.
  ///   - shared: ports that Ingresses are served on.
  ///   - place: where the data plane stands.
  public func streamTable(
    view: ClusterView, input: GatewayInput, beside ingress: StreamTable = StreamTable(),
    shared: Set<UInt16> = [], near place: NodePlace? = nil
  ) -> StreamTable {
    var filler = StreamFiller(view: view, input: input, ingress: ingress, place: place)
    for here in listeners.filter({ $0.protocol == .udp }).places {
      for listener in here.listeners { filler.addOnly(listener, at: here.reach, .udp) }
    }
    let ports = Set(listeners.filter { [.tls, .tcp].contains($0.protocol) }.map(\.port))
    // Of ports with one socket for all addresses: HTTPS is opened somewhere; names are asked for where nobody asks for an address.
    let general = listeners.filter(\.addresses.isEmpty)
    let mixed = Set(listeners.filter { $0.protocol == .https }.map(\.port)).intersection(general.map(\.port))
    let named = Set(general.filter { $0.protocol == .tls }.map(\.port))
    for here in listeners.filter({ $0.protocol.transport == .tcp && ports.contains($0.port) }).places {
      let isNamed = here.listeners.contains { $0.protocol == .tls }
      for listener in here.listeners {
        switch listener.protocol {
        case .tls: filler.addNames(listener, at: here.reach)
        case .tcp: filler.addOnly(listener, at: here.reach, .tcp)
        case .http, .https, .udp: break
        }
      }
      let opened = here.listeners.filter { $0.protocol == .https }
      // Names of other addresses are none of this one's.
      if !isNamed, !opened.isEmpty, named.contains(here.reach.port) { filler.reserve("", at: here.reach) }
      for listener in opened where isNamed { filler.reserve(listener.hostname ?? "", at: here.reach) }
      if opened.isEmpty, mixed.contains(here.reach.port), !shared.contains(here.reach.port) {
        filler.close(here.reach)
      }
    }
    return filler.table
  }
}

private struct StreamFiller {
  private struct Place: Hashable {
    var reach: ListenerReach
    var isUDP: Bool
  }
  private struct Listener {
    var kind: StreamKind
    var rules: [StreamRule]
  }
  private struct BackendKey: Hashable {
    var route: GatewayRoute.Name
    var service: ObjectKey
    var port: UInt16
    var policy: BackendPolicy
  }
  private let view: ClusterView
  private let input: GatewayInput
  private let ingress: StreamTable
  private let place: NodePlace?
  private var backends: [RouteBackend]
  private var known: [BackendKey: Int] = [:]
  private var listeners: [Place: Listener] = [:]

  init(view: ClusterView, input: GatewayInput, ingress: StreamTable, place: NodePlace?) {
    self.place = place
    self.view = view
    self.input = input
    self.ingress = ingress
    backends = ingress.backends
  }

  var table: StreamTable {
    var all = listeners
    for listener in ingress.listeners {
      let isUDP = listener.kind == .udp
      // Every address has those of Ingresses, also where a Gateway asks for it.
      let reaches = listeners.keys.filter { $0.reach.port == listener.port && $0.isUDP == isUDP }.map(\.reach)
      for reach in Set(reaches).union([ListenerReach(listener.port)]) {
        let place = Place(reach: reach, isUDP: isUDP)
        var merged = all[place] ?? Listener(kind: listener.kind, rules: [])
        guard merged.kind == listener.kind else { continue }
        merged.rules += listener.rules.filter { rule in !merged.rules.contains { $0.name == rule.name } }
        all[place] = merged
      }
    }
    return StreamTable(
      backends: backends,
      listeners: all.sorted { ($0.key.reach, $0.value.kind) < ($1.key.reach, $1.value.kind) }.map {
        place, listener in
        StreamListener(
          port: place.reach.port, addresses: place.reach.addresses, kind: listener.kind, rules: listener.rules
        )
      })
  }

  // MARK: Listeners

  mutating func addOnly(_ listener: GatewayPlan.Listener, at reach: ListenerReach, _ kind: StreamKind) {
    let rule = StreamRule(targets: targets(listener.hosts.first?.rules.first, opening: .passthrough))
    add(rule, to: Place(reach: reach, isUDP: kind == .udp), kind)
  }

  mutating func addNames(_ listener: GatewayPlan.Listener, at reach: ListenerReach) {
    let place = Place(reach: reach, isUDP: false)
    var opening = StreamOpening.passthrough
    if case .terminate? = listener.tls { opening = .terminate }
    for host in listener.hosts {
      let targets = targets(host.rules.first, opening: opening)
      add(StreamRule(name: host.name, opening: opening, targets: targets), to: place, .tls)
    }
    // Names of the listener that no route has: nobody else is to answer for them. One for every name leaves them to Ingresses.
    if let name = listener.hostname, !listener.hosts.contains(where: { $0.name == name }) {
      add(StreamRule(name: name, opening: .passthrough), to: place, .tls)
    }
  }

  /// A name is an HTTPS listener's, where others of its port are not.
  mutating func reserve(_ name: String, at reach: ListenerReach) {
    add(StreamRule(name: name, opening: .http), to: Place(reach: reach, isUDP: false), .tls)
  }

  /// Names that nobody has are not left to HTTPS listeners of other addresses.
  mutating func close(_ reach: ListenerReach) {
    add(StreamRule(), to: Place(reach: reach, isUDP: false), .tls)
  }

  private mutating func add(_ rule: StreamRule, to place: Place, _ kind: StreamKind) {
    var listener = listeners[place] ?? Listener(kind: kind, rules: [])
    guard listener.kind == kind, !listener.rules.contains(where: { $0.name == rule.name }) else { return }
    listener.rules.append(rule)
    listeners[place] = listener
  }

  // MARK: Where connections go

  private mutating func targets(_ rule: GatewayPlan.Rule?, opening: StreamOpening) -> [StreamTarget] {
    guard let rule else { return [] }
    return rule.backends.map { backend in
      StreamTarget(backend: place(backend, rule.route, opening), weight: UInt32(clamping: backend.weight))
    }
  }

  /// -1: nobody.
  private mutating func place(
    _ backend: GatewayPlan.Backend, _ route: GatewayRoute.Name, _ opening: StreamOpening
  ) -> Int {
    guard case .service(let service, let port) = backend.target,
      var policy = backend.policy(route.kind, view: view, input: input)
    else { return -1 }
    // Requests are not seen; what is not opened cannot be sealed again.
    policy.speech = .http1
    if opening == .passthrough, route.kind == .tls { policy.tls = nil }
    let key = BackendKey(route: route, service: service, port: port, policy: policy)
    if let found = known[key] { return found }
    let (targets, traits) = view.reach(
      service, number: port, route.kind == .udp ? .udp : .tcp, near: self.place)
    var made = RouteBackend(
      namespace: route.key.namespace, ingress: route.key.name, service: service.name, servicePort: "\(port)",
      endpoints: targets)
    made.policy = policy
    made.policy.endpoints = traits
    backends.append(made)
    known[key] = backends.count - 1
    return backends.count - 1
  }
}
