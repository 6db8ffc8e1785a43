// Which backend takes a request: an immutable value, matched over bytes without allocation, swapped whole.
//
//   port  -> its listeners, those of the address before those of no address; of them the one with the most specific name
//   host  -> exact name, else `*.` + everything behind the first label, else the rules without a host
//   path  -> Exact, else a pattern, else the longest prefix; of one path the rule that asks for most and gets it
//   else  -> the default backend, else 404

import Addresses

/// Where requests of one Ingress path go.
public struct RouteBackend: Sendable, Hashable {
  /// Labels of metrics and of what people read.
  public var namespace: String
  public var ingress: String
  public var service: String
  public var servicePort: String
  /// Stands beside another backend for some of its requests.
  public var isCanary = false
  /// Empty: 503.
  public var endpoints: [SocketEndpoint]
  /// How requests reach them.
  public var policy = BackendPolicy()

  /// Bytes of a label: the longest name that an object may have. What is longer is cut, so that nobody's page of metrics is one name.
  static let labelBytesMax = 253

  public init(
    namespace: String, ingress: String, service: String, servicePort: String, endpoints: [SocketEndpoint]
  ) {
    func label(_ text: String) -> String {
      text.utf8.count <= Self.labelBytesMax
        ? text : String(decoding: text.utf8.prefix(Self.labelBytesMax), as: UTF8.self)
    }
    self.namespace = label(namespace)
    self.ingress = label(ingress)
    self.service = label(service)
    self.servicePort = label(servicePort)
    self.endpoints = endpoints
  }
}

/// All routes of one ingress controller at one moment.
public struct RouteTable: Sendable {
  public private(set) var backends: [RouteBackend]
  /// What rules do besides sending a request to a backend.
  public private(set) var actions: [RouteAction]
  public private(set) var listeners: [RouteListener]
  /// Hosts of all listeners, one after the other.
  public private(set) var hosts: [RouteHost]
  /// Value of the Strict-Transport-Security field of hosts that are secured (RFC 6797); empty for none.
  public private(set) var strictTransportSecurity: [UInt8]
  private var index: RouteIndex
  private var slots: [ListenerSlot]
  private var ports: [PortSlot]
  /// Whether it matters which address a connection came to.
  let namesAddresses: Bool

  /// A listener as matching needs it.
  private struct ListenerSlot: Sendable {
    var names: HostIndex
    /// Its first host in `hosts`.
    var first: Int
    var overlaps: Bool
    var defaultBackend: Int
    var defaultAction: Int
  }
  /// The listeners of a port and its addresses, by their names.
  private struct PortSlot: PlacedListener, Sendable {
    var port: UInt16
    var addresses: [IPAddress]
    var names: HostIndex
    /// In the order of `names`.
    var listeners: [Int]
    /// The one listener, when it takes every host.
    var only: Int?
  }

  /// What a request met.
  public struct Match: Sendable, Hashable {
    public var backend: Int
    /// Index into `hosts` and its paths; -1 for the default backend.
    public var host: Int
    public var path: Int
    /// Index into `actions`; -1 for none.
    public var action = -1
    /// Over plain HTTP the answer is a redirect to https.
    public var redirectsToHTTPS = false
  }

  /// Ingress's table: one listener that takes everything.
  /// - Precondition: every index lies in `backends` or `actions`; host names are distinct.
  public init(
    backends: [RouteBackend] = [], actions: [RouteAction] = [], hosts: [RouteHost] = [],
    defaultBackend: Int? = nil, defaultAction: Int = -1, strictTransportSecurity: [UInt8] = []
  ) {
    self.init(
      backends: backends, actions: actions,
      listeners: [RouteListener(hosts: hosts, defaultBackend: defaultBackend, defaultAction: defaultAction)],
      strictTransportSecurity: strictTransportSecurity)
  }

  /// - Precondition: every index lies in `backends` or `actions`; host names of a listener are distinct, and so are the
  ///   host names of listeners of one port and address.
  public init(
    backends: [RouteBackend], actions: [RouteAction], listeners: [RouteListener],
    strictTransportSecurity: [UInt8] = []
  ) {
    self.strictTransportSecurity = strictTransportSecurity
    self.backends = backends
    self.actions = actions
    self.listeners = listeners
    hosts = listeners.flatMap(\.hosts)
    index = RouteIndex(hosts)
    slots = []
    var first = 0
    for listener in listeners {
      slots.append(
        ListenerSlot(
          names: HostIndex(listener.hosts.map(\.name), isDeep: listener.hostsOverlap), first: first,
          overlaps: listener.hostsOverlap, defaultBackend: listener.defaultBackend ?? -1,
          defaultAction: listener.defaultAction))
      first += listener.hosts.count
    }
    namesAddresses = listeners.nameAddresses
    ports = Dictionary(grouping: listeners.indices) { listeners[$0].reach }.sorted { $0.key < $1.key }.map {
      reach, own in
      PortSlot(
        port: reach.port, addresses: reach.addresses,
        names: HostIndex(own.map { listeners[$0].hostname }, isDeep: true), listeners: own,
        only: own.count == 1 && listeners[own[0]].hostname.isEmpty ? own[0] : nil)
    }
    precondition(isSound(self))
  }

  /// The backend of requests that no rule takes, of a table for Ingress.
  public var defaultBackend: Int? { listeners.first?.defaultBackend }

  /// The backend for a request. Constant in the number of hosts and rules; linear in the path's length, in the rules that have
  /// the same path and in a host's regular expressions. No allocation.
  func match(_ request: RouteRequest, at place: ListenerPlace, _ space: MatchSpace) -> Match? {
    guard let listener = listener(place, request.host) else { return nil }
    let slot = slots[listener]
    var found: Match?
    slot.names.forEach(host: request.host) { at in
      if let entry = index.find(request, host: slot.first + at, space) {
        found = match(entry, host: slot.first + at)
      }
      return found == nil && slot.overlaps
    }
    if found != nil { return found }
    if slot.defaultBackend < 0 { return nil }
    return Match(backend: slot.defaultBackend, host: -1, path: -1, action: slot.defaultAction)
  }

  private func match(_ entry: Int, host: Int) -> Match {
    let found = index.entries[entry]
    return Match(
      backend: Int(found.backend), host: host, path: entry - index.start(ofHost: host),
      action: Int(found.action),
      redirectsToHTTPS: found.redirects)
  }

  /// Whether a host is another listener's than the one that a connection was made for: what may be said over it is not what
  /// was agreed on (421, RFC 9110 section 15.5.20). A host that is nobody's is not.
  /// - Parameter name: that the client asked for (SNI).
  func isMisdirected(
    at place: ListenerPlace, name: UnsafeRawBufferPointer, host: UnsafeRawBufferPointer
  ) -> Bool {
    guard let wanted = listener(place, host) else { return false }
    return listener(place, name) != wanted
  }

  /// Whether the listeners there differ by name.
  func hasNames(at place: ListenerPlace) -> Bool {
    let found = slot(place)
    return found >= 0 && ports[found].port == place.port && ports[found].only == nil
  }

  /// Listeners of a port and address; without some for it, those of the port that name no address; without such, those for every port.
  /// -1: none.
  private func slot(_ place: ListenerPlace) -> Int {
    var found = -1
    for index in ports.indices {
      if ports[index].port == place.port, ports[index].addresses.isEmpty || ports[index].covers(place) {
        return index
      }
      if ports[index].port == 0 { found = index }
    }
    return found
  }

  /// The most specific listener there for a host.
  private func listener(_ place: ListenerPlace, _ host: UnsafeRawBufferPointer) -> Int? {
    let found = slot(place)
    guard found >= 0 else { return nil }
    if let only = ports[found].only { return only }
    return ports[found].names.find(host: host).map { ports[found].listeners[$0] }
  }

  /// Text for tests and people: a request with these fields, read as one from a client is. Nil also when it cannot be read.
  public func match(
    host: String, path: String, method: String = "GET", fields: [(String, String)] = [], port: UInt16 = 0,
    address: IPAddress? = nil
  ) -> Match? {
    let lines = fields.map { "\($0.0): \($0.1)\r\n" }.joined()
    let head = Array("\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\n\(lines)\r\n".utf8)
    let reader = HeadReader()
    return head.withUnsafeBytes { head in
      guard (try? reader.readRequest(head)) != nil else { return nil }
      return match(RouteRequest(head, reader), at: ListenerPlace(port, address), MatchSpace())
    }
  }
}

extension RouteTable: Hashable {
  public static func == (a: RouteTable, b: RouteTable) -> Bool {
    a.backends == b.backends && a.actions == b.actions && a.listeners == b.listeners
      && a.strictTransportSecurity == b.strictTransportSecurity
  }
  public func hash(into hasher: inout Hasher) {
    hasher.combine(backends)
    hasher.combine(listeners)
  }
}

/// Whether every number in a table names something.
private func isSound(_ table: RouteTable) -> Bool {
  var ledger = PlaceLedger()
  func isBackend(_ index: Int) -> Bool { table.backends.indices.contains(index) }
  func isAction(_ index: Int) -> Bool { index == -1 || table.actions.indices.contains(index) }
  return table.hosts.allSatisfy { host in
    host.paths.allSatisfy {
      isBackend($0.backend) && isAction($0.action) && ($0.kind == .pattern) == ($0.pattern != nil)
    }
  }
    && table.listeners.allSatisfy {
      ($0.defaultBackend.map(isBackend) ?? true) && isAction($0.defaultAction)
    }
    && table.actions.allSatisfy { action in
      action.targets.allSatisfy { ($0.backend == -1 || isBackend($0.backend)) && isAction($0.action) }
        && (action.authorization.map { isBackend($0.backend) } ?? true)
    }
    && table.listeners.allSatisfy { ledger.problem(of: $0, isAlone: false) == nil }
}
