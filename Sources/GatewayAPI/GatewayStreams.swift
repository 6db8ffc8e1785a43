// Listeners for TLS, TCP and UDP as the data plane's table of streams has them. What the table cannot say is closed, not left out.

import Addresses
import ClusterObjects
import ClusterView
import Ingress

extension GatewayPlan {
  /// The table of Ingresses with this plan's listeners before it. Gateways share the machine's ports: of two that are for one port and
  /// name the first has it. On a port with listeners for HTTPS too the more specific name decides.
  /// - Parameters:
  ///   - input: authorities and certificates for backends by TLS.
  ///   - ingress: hosts with `ssl-passthrough`, and ports of Services.
  ///   - place: where the data plane stands.
  public func streamTable(
    view: ClusterView, input: GatewayInput, beside ingress: StreamTable = StreamTable(),
    near place: NodePlace? = nil
  ) -> StreamTable {
    var filler = StreamFiller(view: view, input: input, ingress: ingress, place: place)
    for listener in servedStreams {
      switch listener.protocol {
      case .tls: filler.addNames(listener)
      case .tcp: filler.addOnly(listener, .tcp)
      case .udp: filler.addOnly(listener, .udp)
      case .http, .https: break
      }
    }
    for listener in servedListeners where listener.protocol == .https {
      filler.reserve(listener.port, listener.hostname ?? "")
    }
    return filler.table
  }

  /// Listeners that are served as streams.
  var servedStreams: [Listener] { listeners.filter { [.tls, .tcp, .udp].contains($0.protocol) } }

  /// Where a socket is to be listened on: the addresses that its Gateways ask for (`spec.addresses`); empty: on all there are, as soon as
  /// one of them asks for none.
  public func addresses(of socket: GatewaySocket) -> Set<IPAddress> {
    var found: Set<IPAddress> = []
    for listener in listeners
    where listener.port == socket.port && listener.protocol.transport == socket.transport {
      if listener.addresses.isEmpty { return [] }
      found.formUnion(listener.addresses)
    }
    return found
  }

  /// Sockets that these listeners need, and what is served there. Names by TLS share a port with HTTPS.
  public var servedSockets: [GatewaySocket: IngressListener.Service] {
    var sockets: [GatewaySocket: IngressListener.Service] = [:]
    for (port, serves) in servedPorts { sockets[GatewaySocket(.tcp, port)] = serves }
    for listener in servedStreams {
      let socket = GatewaySocket(listener.protocol.transport, listener.port)
      sockets[socket] = sockets[socket] ?? .streams
    }
    return sockets
  }
}

private struct StreamFiller {
  private struct Place: Hashable {
    var port: UInt16
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
      let place = Place(port: listener.port, isUDP: listener.kind == .udp)
      var merged = all[place] ?? Listener(kind: listener.kind, rules: [])
      guard merged.kind == listener.kind else { continue }
      merged.rules += listener.rules.filter { rule in !merged.rules.contains { $0.name == rule.name } }
      all[place] = merged
    }
    return StreamTable(
      backends: backends,
      listeners: all.sorted { ($0.key.port, $0.value.kind) < ($1.key.port, $1.value.kind) }.map {
        place, listener in
        StreamListener(port: place.port, kind: listener.kind, rules: listener.rules)
      })
  }

  // MARK: Listeners

  mutating func addOnly(_ listener: GatewayPlan.Listener, _ kind: StreamKind) {
    let rule = StreamRule(targets: targets(listener.hosts.first?.rules.first, opening: .passthrough))
    add(rule, to: Place(port: listener.port, isUDP: kind == .udp), kind)
  }

  mutating func addNames(_ listener: GatewayPlan.Listener) {
    let place = Place(port: listener.port, isUDP: false)
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
  mutating func reserve(_ port: UInt16, _ name: String) {
    let place = Place(port: port, isUDP: false)
    guard listeners[place]?.kind == .tls else { return }
    add(StreamRule(name: name, opening: .http), to: place, .tls)
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
