// What is done with a request besides sending it on: values that a route names by number. Rules without any have none, and
// then nothing of this is looked at.
//
//   backend by weight -> answer, client certificate, redirect -> CORS -> limits -> sources -> credentials -> authorization -> rewrite, fields
//   answer: fields, CORS, cookie

import Addresses

/// A field line that cannot be anything else: its name is a token, its value has no control characters, and it does not touch
/// how a message is framed or what is for one hop only.
public struct HeaderField: Sendable, Hashable {
  public let name: String
  public let value: String

  /// Nil for names and values that could be read as something else.
  public init?(_ name: String, _ value: String) {
    guard Self.isAllowed(name: name), Self.isAllowed(value: value) else { return nil }
    self.name = name
    self.value = value
  }

  /// Names that belong to the connection, to framing or to routing: nobody's to set.
  static let reserved: Set<String> = [
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
  ]
  public static let nameBytesMax = 256
  public static let valueBytesMax = 4096

  public static func isAllowed(name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= nameBytesMax && name.utf8.allSatisfy(isToken)
      && !reserved.contains(name.lowercased())
  }
  public static func isAllowed(value: String) -> Bool {
    value.utf8.count <= valueBytesMax && value.utf8.allSatisfy { ($0 >= 32 || $0 == 9) && $0 != 127 }
  }
}

/// Changes of a message's fields (HTTPHeaderFilter): first away, then set, then added.
public struct HeaderEdit: Sendable, Hashable {
  /// Lower case.
  public var remove: [String]
  /// In place of what is there.
  public var set: [HeaderField]
  /// Besides what is there.
  public var add: [HeaderField]

  public init(remove: [String] = [], set: [HeaderField] = [], add: [HeaderField] = []) {
    self.remove = remove.map { $0.lowercased() }.filter(HeaderField.isAllowed(name:))
    self.set = set
    self.add = add
  }

  public var isEmpty: Bool { remove.isEmpty && set.isEmpty && add.isEmpty }
}

/// A text with places that a request fills: ingress-nginx's variables and the groups of the rule's pattern. No place can bring
/// a byte that the request's own head could not have held.
public struct RouteTemplate: Sendable, Hashable {
  public enum Piece: Sendable, Hashable {
    case text([UInt8])
    /// `$1` to `$9`: a group of the rule's pattern.
    case group(UInt8)
    /// `$host`: without port, lower case.
    case host
    /// `$request_uri`: path and query as they came.
    case target
    /// `$escaped_request_uri`: the same, percent-encoded to be a query parameter's value.
    case escapedTarget
    /// `$uri`: the path.
    case path
    /// `$args`: the query.
    case query
    /// `$scheme`.
    case scheme
    /// `$request_method`.
    case method
    /// `$remote_addr`.
    case source
  }
  public private(set) var pieces: [Piece]

  static let names: [(name: String, piece: Piece)] = [
    ("escaped_request_uri", .escapedTarget), ("request_uri", .target), ("request_method", .method),
    ("remote_addr", .source), ("best_http_host", .host), ("http_host", .host), ("host", .host),
    ("scheme", .scheme),
    ("uri", .path), ("args", .query), ("query_string", .query),
  ]
  public static let bytesMax = 2048

  /// Reads text with `$name`, `${name}` and `$1`.
  /// - Returns: nil for a variable that is not known, for control characters and for text beyond `bytesMax`.
  public init?(_ text: String) {
    let bytes = Array(text.utf8)
    guard Self.isAllowed(bytes) else { return nil }
    pieces = []
    var plain: [UInt8] = []
    var at = 0
    while at < bytes.count {
      guard bytes[at] == UInt8(ascii: "$") else {
        plain.append(bytes[at])
        at += 1
        continue
      }
      guard let (piece, end) = Self.variable(bytes, at + 1) else { return nil }
      if !plain.isEmpty { pieces.append(.text(plain)) }
      plain = []
      pieces.append(piece)
      at = end
    }
    if !plain.isEmpty { pieces.append(.text(plain)) }
  }

  /// Text without places.
  public init?(literal: String) {
    let bytes = Array(literal.utf8)
    guard Self.isAllowed(bytes) else { return nil }
    pieces = bytes.isEmpty ? [] : [.text(bytes)]
  }

  init(pieces: [Piece]) { self.pieces = pieces }

  static func isAllowed(_ bytes: [UInt8]) -> Bool {
    bytes.count <= bytesMax && bytes.allSatisfy { $0 > 32 && $0 != 127 }
  }

  private static func variable(_ bytes: [UInt8], _ start: Int) -> (Piece, Int)? {
    var at = start
    if at < bytes.count, bytes[at] &- 49 < 9 { return (.group(bytes[at] - 48), at + 1) }
    let isBraced = at < bytes.count && bytes[at] == UInt8(ascii: "{")
    if isBraced { at += 1 }
    let begin = at
    while at < bytes.count, bytes[at] | 0x20 &- 97 < 26 || bytes[at] == UInt8(ascii: "_") { at += 1 }
    let name = String(decoding: bytes[begin..<at], as: UTF8.self)
    if isBraced {
      guard at < bytes.count, bytes[at] == UInt8(ascii: "}") else { return nil }
      at += 1
    }
    return names.first { $0.name == name }.map { ($0.piece, at) }
  }
}

/// What becomes of a request's path. The query stays unless the new text has one of its own.
public enum RoutePathRewrite: Sendable, Hashable {
  /// In place of the whole path.
  case whole(RouteTemplate)
  /// In place of the rule's prefix; no slash at its end.
  case prefix([UInt8])
}

/// What the endpoint gets to see in place of what the client asked for (HTTPURLRewriteFilter, `rewrite-target`,
/// `upstream-vhost`).
public struct RouteRewrite: Sendable, Hashable {
  /// The Host field.
  public var host: RouteTemplate?
  public var path: RoutePathRewrite?
  public init(host: RouteTemplate? = nil, path: RoutePathRewrite? = nil) {
    self.host = host
    self.path = path
  }
  /// With a prefix as Gateway API writes it: a slash at its end does not matter.
  public static func prefix(_ text: String) -> RoutePathRewrite? {
    var bytes = Array(text.utf8)
    while bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
    return RouteTemplate.isAllowed(bytes) ? .prefix(bytes) : nil
  }
}

/// An answer that sends the client elsewhere.
public struct RouteRedirect: Sendable, Hashable {
  public enum Place: Sendable, Hashable {
    /// A whole address, or a path on the same host.
    case location(RouteTemplate)
    /// The request's own address with parts changed; nil and 0 leave a part as it is (HTTPRequestRedirectFilter).
    case parts(scheme: String?, host: String?, port: UInt16, path: RoutePathRewrite?)
  }
  public var status: UInt16
  public var place: Place
  public init(status: UInt16, place: Place) {
    self.status = status
    self.place = place
  }
  static let statuses: ClosedRange<UInt16> = 300...399
}

/// One of several backends of a rule.
public struct RouteTarget: Sendable, Hashable {
  /// Index into `RouteTable.backends`; -1: nobody, the request is answered 500 (a reference that is not valid).
  public var backend: Int
  public var weight: UInt32
  /// What this backend adds to the rule's action; -1 for nothing.
  public var action: Int
  public init(backend: Int, weight: UInt32 = 1, action: Int = -1) {
    self.backend = backend
    self.weight = weight
    self.action = action
  }
}

/// Who may read answers in scripts of other origins (Fetch standard; HTTPCORSFilter, `enable-cors`).
public struct RouteCORS: Sendable, Hashable {
  /// `*`, an origin, or one with `*` for the first label or the port.
  public var origins: [String]
  /// Values of the fields as they are sent. `*` means what the request asked for when credentials are allowed.
  public var methods: String
  public var headers: String
  public var exposed: String
  public var maxAge: UInt32
  public var allowsCredentials: Bool
  /// Every OPTIONS of an allowed origin is answered, as ingress-nginx does; else only a preflight.
  public var answersEveryOptions: Bool

  public init(
    origins: [String], methods: String = "", headers: String = "", exposed: String = "", maxAge: UInt32 = 5,
    allowsCredentials: Bool = false, answersEveryOptions: Bool = false
  ) {
    self.origins = origins
    self.methods = methods
    self.headers = headers
    self.exposed = exposed
    self.maxAge = maxAge
    self.allowsCredentials = allowsCredentials
    self.answersEveryOptions = answersEveryOptions
  }

  /// Every text can be a field's value.
  var isAllowed: Bool { (origins + [methods, headers, exposed]).allSatisfy(HeaderField.isAllowed(value:)) }
}

/// Which clients may come, by address; denied ones are answered 403.
public struct RouteSources: Sendable, Hashable {
  /// Empty: everybody.
  public var allowed: [IPPrefix]
  public var denied: [IPPrefix]
  public init(allowed: [IPPrefix] = [], denied: [IPPrefix] = []) {
    self.allowed = allowed
    self.denied = denied
  }
  public func admits(_ address: IPAddress) -> Bool {
    if denied.contains(where: { $0.contains(address) }) { return false }
    return allowed.isEmpty || allowed.contains { $0.contains(address) }
  }
}

/// How much one client address may ask for; beyond it the answer is 503, as ingress-nginx's.
public struct RouteLimit: Sendable, Hashable {
  /// Routes with the same name share the count: namespace and name of an Ingress.
  public var name: String
  /// Requests a minute; 0: any number.
  public var perMinute: UInt32
  /// Requests that may come at once beyond the rate.
  public var burst: UInt32
  /// Requests at the same time; 0: any number.
  public var atOnce: UInt32
  /// Clients that are not counted.
  public var exempt: [IPPrefix]
  public init(
    name: String, perMinute: UInt32 = 0, burst: UInt32 = 0, atOnce: UInt32 = 0, exempt: [IPPrefix] = []
  ) {
    self.name = name
    self.perMinute = perMinute
    self.burst = burst
    self.atOnce = atOnce
    self.exempt = exempt
  }
}

/// A cookie that brings a client back to the endpoint it had; the backend balances by it
/// (`Balancing.consistentHash(.cookie(name))`).
public struct RouteCookie: Sendable, Hashable {
  public var name: String
  /// `; Path=/; Max-Age=…` and so on, as it is sent.
  public var attributes: String
  /// Left out on plain connections.
  public var isSecure: Bool
  /// Nil for a name that is no token, or attributes with control characters.
  public init?(name: String, attributes: String, isSecure: Bool = false) {
    guard !name.isEmpty, name.utf8.allSatisfy(isToken), HeaderField.isAllowed(value: attributes) else {
      return nil
    }
    self.name = name
    self.attributes = attributes
    self.isSecure = isSecure
  }
}

/// Names and passwords (RFC 7617), the passwords hashed as in a file of htpasswd.
public struct RouteCredentials: Sendable, Hashable {
  public var realm: String
  /// Hash by name.
  public var users: [String: String]
  /// Nil for a realm that cannot be quoted.
  public init?(realm: String, users: [String: String]) {
    guard HeaderField.isAllowed(value: realm), !realm.contains("\""), !realm.contains("\\") else {
      return nil
    }
    self.realm = realm
    self.users = users
  }
}

/// Another service that decides whether a request may pass (`auth-url`): it is sent the request's head, and 2xx lets it through.
public struct RouteAuthorization: Sendable, Hashable {
  /// Index into `RouteTable.backends`.
  public var backend: Int
  /// The Host that it is asked under.
  public var host: String
  public var target: RouteTemplate
  /// Empty: the request's own.
  public var method: String
  /// Fields of its answer that go on with the request; lower case.
  public var forwarded: [String]
  /// Where a client is sent (302) that it answers 401; nil: the 401 goes to the client.
  public var signIn: RouteTemplate?
  /// Its cookies go to the client with any of the endpoint's answers, and not only with those of `cookieStatuses`.
  public var alwaysSetsCookie: Bool

  /// nginx adds fields to answers with these statuses (`add_header`).
  static let cookieStatuses: Set<Int> = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308]

  /// Nil for texts that a request's head cannot hold.
  public init?(
    backend: Int, host: String, target: RouteTemplate, method: String = "", forwarded: [String] = [],
    signIn: RouteTemplate? = nil, alwaysSetsCookie: Bool = false
  ) {
    guard host.utf8.allSatisfy({ $0 > 32 && $0 < 127 }), method.utf8.allSatisfy(isToken),
      forwarded.allSatisfy(HeaderField.isAllowed(name:))
    else { return nil }
    self.backend = backend
    self.host = host
    self.target = target
    self.method = method
    self.forwarded = forwarded.map { $0.lowercased() }
    self.signIn = signIn
    self.alwaysSetsCookie = alwaysSetsCookie
  }
}

/// All that is done with the requests of a rule, besides sending them to one backend.
public struct RouteAction: Sendable, Hashable {
  public var clientCertificate: RouteClientCertificate?
  /// One of `sources`, `credentials` and `authorization` is enough (`satisfy: any`); else all of them.
  public var satisfiesAny = false
  /// Answers that another backend gives in place of the endpoint.
  public var errors: RouteErrors?
  /// Backends by weight; empty: the rule's one.
  public var targets: [RouteTarget] = []
  public var sources: RouteSources?
  public var credentials: RouteCredentials?
  public var authorization: RouteAuthorization?
  public var limits: [RouteLimit] = []
  public var cors: RouteCORS?
  public var redirect: RouteRedirect?
  /// Answered with this status and nothing else: 403 for an Ingress whose protection cannot be had; 0 for none.
  public var answer: UInt16 = 0
  public var rewrite: RouteRewrite?
  public var request = HeaderEdit()
  public var response = HeaderEdit()
  public var cookie: RouteCookie?
  /// Bytes of a request's body; nil: `IngressLimits.bodyBytesMax`; 0: any number.
  public var bodyBytesMax: UInt64?

  public init() {}

  public var isEmpty: Bool { self == RouteAction() }
}
