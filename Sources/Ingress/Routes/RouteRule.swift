// One rule of a host: what a request has to be like, and where it goes then.

import Addresses
import Patterns

/// How a rule's path is compared. Bytes of the request's path are compared as they are: nothing is decoded.
public enum RoutePathKind: UInt8, Sendable, Hashable {
  /// The whole path.
  case exact
  /// A regular expression, tried from the path's beginning.
  case pattern
  /// Whole elements from the beginning.
  case prefix
}

/// What a value has to be like.
public enum ValueMatch: Sendable, Hashable {
  /// There is one, whatever it is.
  case present
  case exact([UInt8])
  /// Found anywhere in the value, unless the pattern has anchors.
  case pattern(BytePattern)

  public static func exact(_ text: String) -> ValueMatch { .exact(Array(text.utf8)) }
}

/// A field, query parameter or cookie by name and value.
public struct FieldMatch: Sendable, Hashable {
  /// Lower case for fields; as it is for the others.
  public var name: [UInt8]
  public var value: ValueMatch

  public init(_ name: String, _ value: ValueMatch) {
    self.name = Array(name.utf8)
    self.value = value
  }
}

/// What else a request has to be like, besides host and path. All of it has to hold.
///
/// A field that came more than once has the values of its lines, joined by commas (RFC 9110 section 5.3). Of a query parameter
/// that came more than once the first counts; parameters are compared as they were sent.
public struct RouteConditions: Sendable, Hashable {
  /// As it is written, `GET`; empty: every method.
  public var method: [UInt8] = []
  public var fields: [FieldMatch] = []
  public var query: [FieldMatch] = []
  public var cookies: [FieldMatch] = []

  public init(
    method: String = "", fields: [FieldMatch] = [], query: [FieldMatch] = [], cookies: [FieldMatch] = []
  ) {
    self.method = Array(method.utf8)
    self.fields = fields.map {
      FieldMatch(String(decoding: $0.name.map(lowercase), as: UTF8.self), $0.value)
    }
    self.query = query
    self.cookies = cookies
  }

  /// Nothing is asked for.
  public var isEmpty: Bool { method.isEmpty && fields.isEmpty && query.isEmpty && cookies.isEmpty }

  /// More conditions come first: method, then number of fields, then of query parameters (HTTPRouteRule.matches).
  var rank: (Int, Int, Int, Int) { (method.isEmpty ? 0 : 1, fields.count, query.count, cookies.count) }
}

/// One rule of a host.
public struct RoutePath: Sendable, Hashable {
  /// For a prefix without the slash at its end; the root prefix is empty. For a pattern its text, for labels.
  public var path: [UInt8]
  public var kind: RoutePathKind
  /// Nil unless the kind is `pattern`.
  public var pattern: BytePattern?
  /// Nil for most rules.
  public var conditions: RouteConditions?
  /// Index into `RouteTable.backends`.
  public var backend: Int
  /// Index into `RouteTable.actions`: what is done with the request besides; -1 for nothing.
  public var action: Int
  /// A request over plain HTTP is answered with a redirect to https.
  public var redirectsToHTTPS: Bool

  public init(
    path: some StringProtocol, kind: RoutePathKind, backend: Int, action: Int = -1,
    conditions: RouteConditions? = nil, redirectsToHTTPS: Bool = false
  ) {
    self.init(
      path: Array(path.utf8), kind: kind, backend: backend, action: action, conditions: conditions,
      redirectsToHTTPS: redirectsToHTTPS)
  }

  public init(path: some StringProtocol, isExact: Bool, backend: Int, redirectsToHTTPS: Bool = false) {
    self.init(
      path: Array(path.utf8), kind: isExact ? .exact : .prefix, backend: backend,
      redirectsToHTTPS: redirectsToHTTPS)
  }

  /// - Parameter pattern: tried from the path's beginning: it should begin with `^`.
  public init(
    pattern: BytePattern, backend: Int, action: Int = -1, conditions: RouteConditions? = nil,
    redirectsToHTTPS: Bool = false
  ) {
    self.init(
      path: Array(pattern.text.utf8), kind: .pattern, backend: backend, action: action,
      conditions: conditions, redirectsToHTTPS: redirectsToHTTPS)
    self.pattern = pattern
  }

  init(
    path: [UInt8], kind: RoutePathKind, backend: Int, action: Int = -1, conditions: RouteConditions? = nil,
    redirectsToHTTPS: Bool = false
  ) {
    self.redirectsToHTTPS = redirectsToHTTPS
    var path = path
    if kind == .prefix { while path.last == UInt8(ascii: "/") { path.removeLast() } }
    self.path = path
    self.kind = kind
    self.backend = backend
    self.action = action
    self.conditions = conditions.flatMap { $0.isEmpty ? nil : $0 }
  }

  public var isExact: Bool { kind == .exact }

  /// Exact paths, then patterns, then prefixes, the longer first; of one path the one that asks for more; else the order
  /// they were given in. Gateway API's order of matches, and Ingress's where there is nothing but paths.
  /// - Parameter keepsPatterns: patterns stay in the order they were given in.
  static func sorted(_ paths: [RoutePath], keepsPatterns: Bool) -> [RoutePath] {
    // Numbers decide nearly always: what the bytes behind the beginning that all have in common say.
    let common = Self.common(paths)
    let keys = paths.map { path -> (UInt64, UInt64) in
      let isInPlace = keepsPatterns && path.kind == .pattern
      let length = UInt64(UInt32.max - UInt32(clamping: isInPlace ? 0 : path.path.count))
      var bytes: UInt64 = 0
      if path.kind != .pattern {
        for offset in 0..<8 {
          let at = common + offset
          bytes = bytes << 8 | (at < path.path.count ? UInt64(path.path[at]) : 0)
        }
      }
      return (UInt64(path.kind.rawValue) << 32 | length, bytes)
    }
    let ranks = paths.map { $0.conditions?.rank ?? (0, 0, 0, 0) }
    let order = paths.indices.sorted { a, b in
      if keys[a] != keys[b] { return keys[a] < keys[b] }
      let (first, second) = (paths[a], paths[b])
      if keepsPatterns, first.kind == .pattern { return a < b }
      // Rules of one path lie together: they are found as one. Patterns keep the order they were given in.
      if first.kind != .pattern, first.path != second.path {
        return first.path.lexicographicallyPrecedes(second.path)
      }
      if ranks[a] != ranks[b] { return ranks[a] > ranks[b] }
      return a < b
    }
    return order.map { paths[$0] }
  }

  /// Bytes that all paths begin with.
  private static func common(_ paths: [RoutePath]) -> Int {
    guard let first = paths.first?.path else { return 0 }
    return paths.reduce(first.count) { common, path in
      path.kind == .pattern
        ? common : zip(first.prefix(common), path.path).prefix { $0 == $1 }.count
    }
  }
}

/// The rules of one host name.
public struct RouteHost: Sendable, Hashable {
  /// Lower case. Empty: every host. Begins with `*.`: labels in front, one or as many as the listener says.
  public var name: String
  /// In the order of their precedence: exact, patterns, prefixes; the longest first.
  public var paths: [RoutePath]
  /// Answers over TLS carry the table's Strict-Transport-Security: the host has a certificate of its own.
  public var isSecured: Bool
  /// Patterns are tried in the order they were given in, and not the longer ones first.
  public var keepsPatterns: Bool

  public init(name: String, paths: [RoutePath], isSecured: Bool = false, keepsPatterns: Bool = false) {
    self.name = name
    self.isSecured = isSecured
    self.keepsPatterns = keepsPatterns
    self.paths = RoutePath.sorted(paths, keepsPatterns: keepsPatterns)
  }
}

/// Where requests of some connections are looked up: those that came to a port, for a name. Ingress has one that takes all.
public struct RouteListener: PlacedListener, Sendable, Hashable {
  /// Port of the listening socket; 0: every port.
  public var port: UInt16
  /// Addresses of this machine that it is for; empty: all that no other listener of the port names. Sorted; of two listeners of a port they
  /// are the same or have none in common.
  public var addresses: [IPAddress]
  /// Host names that it is for: empty for all; `*.` in front for any number of labels (Gateway API). Of several listeners of
  /// one port and address the most specific takes a request, and no other (listener isolation).
  public var hostname: String
  /// Distinct names.
  public var hosts: [RouteHost]
  /// `*.example.com` covers several labels, and a request that no rule of a more specific host takes is offered to the less
  /// specific ones: Gateway API. Else one label, and the most specific host decides alone: Ingress.
  public var hostsOverlap: Bool
  /// Backend of requests that no rule takes.
  public var defaultBackend: Int?
  public var defaultAction: Int

  public init(
    port: UInt16 = 0, addresses: [IPAddress] = [], hostname: String = "", hosts: [RouteHost],
    hostsOverlap: Bool = false, defaultBackend: Int? = nil, defaultAction: Int = -1
  ) {
    self.port = port
    self.addresses = addresses
    self.hostname = hostname
    self.hosts = hosts
    self.hostsOverlap = hostsOverlap
    self.defaultBackend = defaultBackend
    self.defaultAction = defaultAction
  }
}
