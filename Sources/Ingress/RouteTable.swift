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

  public init(path: some StringProtocol, isExact: Bool, backend: Int) {
    self.init(path: Array(path.utf8), isExact: isExact, backend: backend)
  }

  init(path: [UInt8], isExact: Bool, backend: Int) {
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

  public init(name: String, paths: [RoutePath]) {
    self.name = name
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
  /// Open addressing over the hash of the lower-case name: index into `hosts` plus one, 0 for free.
  private var buckets: [UInt32]
  private var names: [[UInt8]]
  private var anyHost: Int?

  /// What a request met.
  public struct Match: Sendable, Hashable {
    public var backend: Int
    /// Index into `hosts` and its paths; -1 for the default backend.
    public var host: Int
    public var path: Int
  }

  /// - Precondition: every index lies in `backends`; host names are distinct.
  public init(backends: [RouteBackend] = [], hosts: [RouteHost] = [], defaultBackend: Int? = nil) {
    self.backends = backends
    self.hosts = hosts
    self.defaultBackend = defaultBackend
    names = hosts.map { Array(($0.name.hasPrefix("*.") ? $0.name.dropFirst(1) : $0.name[...]).utf8) }
    var size = 8
    while size < hosts.count * 2 { size *= 2 }
    buckets = Array(repeating: 0, count: size)
    for (index, host) in hosts.enumerated() {
      precondition(host.paths.allSatisfy { backends.indices.contains($0.backend) })
      if host.name.isEmpty {
        anyHost = index
        continue
      }
      var at = names[index].withUnsafeBytes { Self.hash($0) } & (size - 1)
      while buckets[at] != 0 { at = (at + 1) & (size - 1) }
      buckets[at] = UInt32(index + 1)
    }
    precondition(defaultBackend.map(backends.indices.contains) ?? true)
  }

  /// The backend for a request. Constant in the number of hosts, linear in the rules of one host; no allocation.
  /// - Parameters:
  ///   - host: the Host header; a port and a dot at its end are passed over, case does not matter.
  ///   - path: the request path without query.
  public func match(host: UnsafeRawBufferPointer, path: UnsafeRawBufferPointer) -> Match? {
    let name = Self.withoutPort(host)
    var found = lookUp(name)
    if found == nil, let dot = name.firstIndex(of: UInt8(ascii: ".")), dot > 0 {
      found = lookUp(UnsafeRawBufferPointer(rebasing: name[dot...]))
    }
    if let index = found ?? anyHost {
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

  private func lookUp(_ name: UnsafeRawBufferPointer) -> Int? {
    if name.isEmpty { return nil }
    let mask = buckets.count - 1
    var at = Self.hash(name) & mask
    while buckets[at] != 0 {
      let index = Int(buckets[at] - 1)
      if Self.isEqual(names[index], name) { return index }
      at = (at + 1) & mask
    }
    return nil
  }

  private static func withoutPort(_ host: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    var end = host.count
    if let colon = host.lastIndex(of: UInt8(ascii: ":")), !host[colon...].contains(UInt8(ascii: "]")) {
      end = colon
    }
    if end > 0, host[end - 1] == UInt8(ascii: ".") { end -= 1 }
    return UnsafeRawBufferPointer(rebasing: host[..<end])
  }

  /// FNV-1a over lower-case bytes. An attacker's collisions cost probes only among hosts that the cluster's owners wrote.
  private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(lowercase(byte))) &* 0x100_0000_01b3 }
    return Int(truncatingIfNeeded: hash ^ hash >> 32) & Int.max
  }

  private static func isEqual(_ name: [UInt8], _ bytes: UnsafeRawBufferPointer) -> Bool {
    guard name.count == bytes.count else { return false }
    for index in name.indices where name[index] != lowercase(bytes[index]) { return false }
    return true
  }
}

@inline(__always) func lowercase(_ byte: UInt8) -> UInt8 { byte &- 65 < 26 ? byte | 0x20 : byte }
