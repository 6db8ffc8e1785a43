// Which backend takes a request: an immutable value, matched over bytes without allocation, swapped whole.
//
//   host  -> exact name, else `*.` + everything behind the first label, else the rules without a host
//   path  -> the longest rule that matches, Exact before Prefix of the same length
//   else  -> the default backend, else 404

import Addresses

/// Where requests of one Ingress path go.
public struct RouteBackend: Sendable, Hashable {
  /// Labels of metrics and of what people read.
  public var namespace: String
  public var ingress: String
  public var service: String
  public var servicePort: String
  /// Empty: 503.
  public var endpoints: [SocketEndpoint]
  /// How requests reach them.
  public var policy = BackendPolicy()

  public init(
    namespace: String, ingress: String, service: String, servicePort: String, endpoints: [SocketEndpoint]
  ) {
    self.namespace = namespace
    self.ingress = ingress
    self.service = service
    self.servicePort = servicePort
    self.endpoints = endpoints
  }
}

/// One rule of a host.
public struct RoutePath: Sendable, Hashable {
  /// For a prefix without the slash at its end; the root prefix is empty.
  public var path: [UInt8]
  public var isExact: Bool
  /// Index into `RouteTable.backends`.
  public var backend: Int
  /// A request over plain HTTP is answered with a redirect to https.
  public var redirectsToHTTPS: Bool

  public init(path: some StringProtocol, isExact: Bool, backend: Int, redirectsToHTTPS: Bool = false) {
    self.init(path: Array(path.utf8), isExact: isExact, backend: backend, redirectsToHTTPS: redirectsToHTTPS)
  }

  init(path: [UInt8], isExact: Bool, backend: Int, redirectsToHTTPS: Bool = false) {
    self.redirectsToHTTPS = redirectsToHTTPS
    var path = path
    if !isExact { while path.last == UInt8(ascii: "/") { path.removeLast() } }
    self.path = path
    self.isExact = isExact
    self.backend = backend
  }

  /// Whether a request path (without query) falls under this rule; a prefix covers whole elements only.
  func matches(_ request: UnsafeRawBufferPointer) -> Bool {
    let count = path.count
    guard request.count >= count, !isExact || request.count == count else { return false }
    let isEqual = path.withUnsafeBytes { own in
      for index in 0..<count where own[index] != request[index] { return false }
      return true
    }
    return isEqual && (isExact || request.count == count || request[count] == UInt8(ascii: "/"))
  }
}

/// The rules of one host name.
public struct RouteHost: Sendable, Hashable {
  /// Lower case. Empty: every host. Begins with `*.`: one label in front.
  public var name: String
  /// Longest first, exact before prefix.
  public var paths: [RoutePath]
  /// Answers over TLS carry the table's Strict-Transport-Security: the host has a certificate of its own.
  public var isSecured: Bool

  public init(name: String, paths: [RoutePath], isSecured: Bool = false) {
    self.name = name
    self.isSecured = isSecured
    self.paths = paths.enumerated().sorted { a, b in
      if a.element.path.count != b.element.path.count { return a.element.path.count > b.element.path.count }
      if a.element.isExact != b.element.isExact { return a.element.isExact }
      return a.offset < b.offset
    }.map(\.element)
  }
}

/// All routes of one ingress controller at one moment.
public struct RouteTable: Sendable, Hashable {
  public private(set) var backends: [RouteBackend]
  public private(set) var hosts: [RouteHost]
  /// Backend of requests that no rule takes.
  public private(set) var defaultBackend: Int?
  /// Value of the Strict-Transport-Security field of hosts that are secured (RFC 6797); empty for none.
  public private(set) var strictTransportSecurity: [UInt8]
  private var index: HostIndex

  /// What a request met.
  public struct Match: Sendable, Hashable {
    public var backend: Int
    /// Index into `hosts` and its paths; -1 for the default backend.
    public var host: Int
    public var path: Int
  }

  /// - Precondition: every index lies in `backends`; host names are distinct.
  public init(
    backends: [RouteBackend] = [], hosts: [RouteHost] = [], defaultBackend: Int? = nil,
    strictTransportSecurity: [UInt8] = []
  ) {
    self.strictTransportSecurity = strictTransportSecurity
    self.backends = backends
    self.hosts = hosts
    self.defaultBackend = defaultBackend
    index = HostIndex(hosts.map(\.name))
    precondition(
      hosts.allSatisfy { host in host.paths.allSatisfy { backends.indices.contains($0.backend) } })
    precondition(defaultBackend.map(backends.indices.contains) ?? true)
  }

  /// The backend for a request. Constant in the number of hosts, linear in the rules of one host; no
  /// allocation.
  /// - Parameters:
  ///   - host: the Host header; a port and a dot at its end are passed over, case does not matter.
  ///   - path: the request path without query.
  public func match(host: UnsafeRawBufferPointer, path: UnsafeRawBufferPointer) -> Match? {
    if let index = index.find(host: host) {
      let paths = hosts[index].paths
      for (at, rule) in paths.enumerated() where rule.matches(path) {
        return Match(backend: rule.backend, host: index, path: at)
      }
    }
    return defaultBackend.map { Match(backend: $0, host: -1, path: -1) }
  }

  /// Text for tests and people.
  public func match(host: String, path: String) -> Match? {
    Array(host.utf8).withUnsafeBytes { host in
      Array(path.utf8).withUnsafeBytes { match(host: host, path: $0) }
    }
  }
}
