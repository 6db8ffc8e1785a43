// What the annotations of one Ingress mean: an action for its rules, a policy for its backends. Pure: the same annotations and
// Secrets give the same values. What cannot be had and protects closes the routes; everything else that cannot be had is told.

import Addresses
import ClusterObjects
import ClusterView

/// A Secret with names and passwords: one file (`auth`), or a key for each name (`auth-secret-type: auth-map`).
public struct CredentialSecret: Sendable, Hashable {
  /// Decoded data by key.
  public var data: [String: [UInt8]]

  public init(secret tree: JSON) {
    data = [:]
    guard let values = tree["data"]?.object else { return }
    for (key, value) in values {
      if let text = value.string, let bytes = Base64.decode(text) { data[key] = bytes }
    }
  }

  func users(isMap: Bool) -> [String: String]? {
    if isMap { return data.mapValues { String(decoding: $0.prefix { $0 > 32 }, as: UTF8.self) } }
    return data["auth"].map(CredentialChecker.users(file:))
  }
}

struct AnnotationPlan {
  var action = RouteAction()
  var policy = BackendPolicy()
  /// Paths of this Ingress are regular expressions, and then so are all of its hosts (ingress-nginx's rule).
  private(set) var usesPatterns = false
  /// Where requests for `/` are sent.
  private(set) var appRoot: RouteTemplate?
  private(set) var aliases: [String] = []
  private(set) var redirectsWWW = false
  /// Whether a host gets names or a root that no rule says.
  var addsNames: Bool { appRoot != nil || !aliases.isEmpty || redirectsWWW }
  /// Who has to have signed the certificates of the hosts' clients, and what is required of them (`auth-tls-*`). Settled for
  /// whole hosts by `RoutePlanner`.
  private(set) var clientAuthority: TLSAuthority?
  private(set) var clientCertificate: RouteClientCertificate?
  /// Statuses for `default-backend`, and its name.
  private(set) var errorStatuses: [UInt16] = []
  private(set) var fallbackService: String?
  private(set) var problems: [String]

  /// - Parameters:
  ///   - credentials: Secrets by what `planCredentialReferences` names.
  ///   - headers: ConfigMaps by what `planHeaderReferences` names.
  init(
    _ ingress: Ingress, credentials: [ObjectKey: CredentialSecret],
    headers: [ObjectKey: [String: String]] = [:]
  ) {
    var reader = AnnotationReader(ingress.annotations)
    problems = []
    if reader.isEmpty { return }
    var isClosed = false
    for name in reader.names {
      if let advice = AnnotationCatalogue.advice(name) { reader.complain(advice) }
      if AnnotationCatalogue.protections.contains(name), !Self.isOff(name, reader) {
        reader.complain("annotation \(name) protects and cannot be had: the routes answer 403 (ING0005)")
        isClosed = true
      }
    }
    places(&reader)
    fields(&reader)
    sources(&reader, &isClosed)
    basicAuth(&reader, ingress, credentials, &isClosed)
    limits(&reader, ingress.key)
    cors(&reader)
    upstream(&reader)
    affinity(&reader)
    clientCertificates(&reader, ingress, credentials, &isClosed)
    upstreamTLS(&reader, ingress, credentials, &isClosed)
    customHeaders(&reader, ingress, headers)
    errors(&reader)
    switch reader["satisfy"] {
    case nil, "all": break
    case "any": action.satisfiesAny = true
    case .some: reader.wrong("satisfy", "any or all")
    }
    if isClosed { action.answer = 403 }
    problems = reader.problems
  }

  private static func isOff(_ name: String, _ reader: AnnotationReader) -> Bool {
    switch name {
    case "enable-global-auth": true
    case "enable-modsecurity": !reader.isTrue(name)
    default: reader[name] == nil
    }
  }

  // MARK: - Where requests go

  private mutating func places(_ reader: inout AnnotationReader) {
    usesPatterns = reader.isTrue("use-regex") || reader["rewrite-target"] != nil
    appRoot = reader.template("app-root")
    if let root = reader["app-root"], root.hasPrefix("/") {
      appRoot = RouteTemplate("$scheme://$http_host\(root)") ?? appRoot
    }
    redirectsWWW = reader.isTrue("from-to-www-redirect")
    aliases = reader.list("server-alias").map { $0.lowercased() }
    if let target = reader.template("rewrite-target") {
      action.rewrite = RouteRewrite(path: .whole(target))
    }
    if let host = reader.template("upstream-vhost") {
      action.rewrite = RouteRewrite(host: host, path: action.rewrite?.path)
    }
    for (name, usual) in [("temporal-redirect", 302), ("permanent-redirect", 301)] {
      guard let place = reader.template(name) else { continue }
      let status = reader.number("\(name)-code", 300...308) ?? usual
      action.redirect = RouteRedirect(status: UInt16(status), place: .location(place))
    }
  }

  private mutating func fields(_ reader: inout AnnotationReader) {
    if let field = reader.field("x-forwarded-prefix", "X-Forwarded-Prefix") {
      action.request.set.append(field)
    }
    action.bodyBytesMax = reader.size("proxy-body-size")
  }

  // MARK: - Who may come

  private mutating func sources(_ reader: inout AnnotationReader, _ isClosed: inout Bool) {
    let name = reader["allowlist-source-range"] == nil ? "whitelist-source-range" : "allowlist-source-range"
    guard let allowed = reader.blocks(name), let denied = reader.blocks("denylist-source-range") else {
      reader.complain("without its list of addresses nobody is let in: the routes answer 403 (ING0005)")
      isClosed = true
      return
    }
    if !allowed.isEmpty || !denied.isEmpty {
      action.sources = RouteSources(allowed: allowed, denied: denied)
    }
  }

  private mutating func basicAuth(
    _ reader: inout AnnotationReader, _ ingress: Ingress, _ secrets: [ObjectKey: CredentialSecret],
    _ isClosed: inout Bool
  ) {
    guard let type = reader["auth-type"] else { return }
    func close(_ reason: String) {
      reader.complain("\(reason): the routes answer 403 (ING0005)")
      isClosed = true
    }
    guard type.lowercased() == "basic" else { return close("auth-type \(type) is not supported") }
    guard let key = Self.secretKey(ingress, "auth-secret") else {
      return close("auth-secret names no Secret of the Ingress's own namespace")
    }
    guard let users = secrets[key]?.users(isMap: reader["auth-secret-type"] == "auth-map") else {
      return close("auth-secret: secret \(key) does not exist or has no key auth")
    }
    guard let credentials = RouteCredentials(realm: reader["auth-realm"] ?? "", users: users) else {
      return close("auth-realm cannot be quoted")
    }
    action.credentials = credentials
    // They were for us.
    action.request.remove.append("authorization")
  }

  /// Annotations that name a Secret of the Ingress's own namespace, besides certificates of hosts.
  private static let secretAnnotations = ["auth-secret", "auth-tls-secret", "proxy-ssl-secret"]

  /// All of the Secrets that annotations name.
  static func secretKeys(_ ingress: Ingress) -> [ObjectKey] {
    secretAnnotations.compactMap { secretKey(ingress, $0) }
  }

  /// The object that an annotation names, `NAME` or `NAMESPACE/NAME`; nil without one, or when it lies in another namespace, whose
  /// Secrets are not this owner's.
  static func secretKey(_ ingress: Ingress, _ annotation: String) -> ObjectKey? {
    guard let text = ingress.nginx(annotation) else { return nil }
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard let name = parts.last, !name.isEmpty, parts.count <= 2 else { return nil }
    if parts.count == 2, parts[0] != ingress.key.namespace { return nil }
    return ObjectKey(ingress.key.namespace, String(name))
  }

  private mutating func limits(_ reader: inout AnnotationReader, _ key: ObjectKey) {
    let names = ["limit-rps", "limit-rpm", "limit-connections"]
    guard names.contains(where: { reader[$0] != nil }) else { return }
    let exempt =
      reader.blocks(reader["limit-allowlist"] == nil ? "limit-whitelist" : "limit-allowlist") ?? []
    let factor = reader.number("limit-burst-multiplier", 1...1000) ?? 5
    for (name, unit) in [("limit-rps", 60), ("limit-rpm", 1)] {
      guard let rate = reader.number(name, 0...1_000_000), rate > 0 else { continue }
      action.limits.append(
        RouteLimit(
          name: "\(key) \(name)", perMinute: UInt32(rate * unit), burst: UInt32(clamping: rate * factor),
          exempt: exempt))
    }
    if let most = reader.number("limit-connections", 0...1_000_000), most > 0 {
      action.limits.append(RouteLimit(name: "\(key) connections", atOnce: UInt32(most), exempt: exempt))
    }
  }

  private mutating func cors(_ reader: inout AnnotationReader) {
    guard reader.isTrue("enable-cors") else { return }
    let origins = reader.list("cors-allow-origin")
    // ingress-nginx's defaults, to the letter.
    let cors = RouteCORS(
      origins: origins.isEmpty ? ["*"] : origins,
      methods: reader["cors-allow-methods"] ?? "GET, PUT, POST, DELETE, PATCH, OPTIONS",
      headers: reader["cors-allow-headers"]
        ?? "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
      exposed: reader["cors-expose-headers"] ?? "",
      maxAge: UInt32(reader.number("cors-max-age", 0...31_536_000) ?? 1_728_000),
      allowsCredentials: reader["cors-allow-credentials"]?.lowercased() != "false", answersEveryOptions: true)
    guard cors.isAllowed else { return reader.complain("cors-*: a value that no field can have (ING0004)") }
    action.cors = cors
  }

  // MARK: - Backends

  private mutating func upstream(_ reader: inout AnnotationReader) {
    switch reader["backend-protocol"]?.uppercased() {
    case nil, "HTTP", "AUTO_HTTP": break
    case "HTTPS": policy.tls = UpstreamTLS()
    case "GRPC": policy.speech = .http2
    case "GRPCS":
      policy.speech = .http2
      policy.tls = UpstreamTLS()
    case .some: reader.wrong("backend-protocol", "one of HTTP, HTTPS, GRPC, GRPCS")
    }
    policy.timeouts.connect = reader.seconds("proxy-connect-timeout") ?? 0
    let idle = [reader.seconds("proxy-read-timeout"), reader.seconds("proxy-send-timeout")]
    policy.timeouts.idle = idle.compactMap(\.self).max() ?? 0
    if let tries = reader.number("proxy-next-upstream-tries", 0...255) {
      policy.retry.tries = tries == 0 ? 255 : UInt8(tries)
    }
    if let words = reader["proxy-next-upstream"]?.split(separator: " ") {
      if words.contains("off") { policy.retry.tries = 1 }
      policy.retry.statuses = words.compactMap { word in
        word.hasPrefix("http_") ? UInt16(word.dropFirst(5)) : nil
      }.prefix(8).map(\.self)
    }
    switch reader["load-balance"] {
    case nil, "ewma": break
    case "round_robin": policy.balancing = .roundRobin
    case .some: reader.wrong("load-balance", "round_robin or ewma")
    }
    if let key = reader["upstream-hash-by"] {
      if let hash = Self.hashKey(key) {
        policy.balancing = .consistentHash(hash)
      } else {
        reader.wrong("upstream-hash-by", "$remote_addr, $request_uri, $http_NAME or $cookie_NAME")
      }
    }
  }

  private static func hashKey(_ text: String) -> Balancing.HashKey? {
    switch text {
    case "$remote_addr", "$binary_remote_addr": return .source
    case "$request_uri": return .target
    default: break
    }
    for (prefix, isHeader) in [("$http_", true), ("$cookie_", false)] where text.hasPrefix(prefix) {
      let name = text.dropFirst(prefix.count)
      guard !name.isEmpty, name.utf8.allSatisfy(isToken) else { return nil }
      if !isHeader { return .cookie(String(name)) }
      return .header(String(name.map { $0 == "_" ? "-" : $0 }))
    }
    return nil
  }

  private mutating func affinity(_ reader: inout AnnotationReader) {
    guard let kind = reader["affinity"] else { return }
    guard kind == "cookie" else { return reader.wrong("affinity", "cookie") }
    let mode = reader["affinity-mode"] ?? "balanced"
    if !["balanced", "persistent"].contains(mode) { reader.wrong("affinity-mode", "balanced or persistent") }
    let name = reader["session-cookie-name"] ?? "INGRESSCOOKIE"
    var attributes = "; Path=\(reader["session-cookie-path"] ?? "/")"
    if let domain = reader["session-cookie-domain"] { attributes += "; Domain=\(domain)" }
    let ages = ["session-cookie-max-age", "session-cookie-expires"].compactMap {
      reader.number($0, 0...Int(Int32.max))
    }
    if let age = ages.first { attributes += "; Max-Age=\(age)" }
    if let same = reader["session-cookie-samesite"] {
      if ["None", "Lax", "Strict"].contains(same) {
        attributes += "; SameSite=\(same)"
      } else {
        reader.wrong("session-cookie-samesite", "None, Lax or Strict")
      }
    }
    attributes += "; HttpOnly"
    let cookie = RouteCookie(
      name: name, attributes: attributes, isSecure: reader["session-cookie-secure"]?.lowercased() != "false")
    guard let cookie else {
      return reader.complain("session-cookie-*: no cookie can be made of this (ING0004)")
    }
    action.cookie = cookie
    policy.balancing = .consistentHash(mode == "persistent" ? .endpoint(cookie: name) : .cookie(name))
  }

  // MARK: - From the files beside

  mutating func settle(_ authority: TLSAuthority, _ asked: RouteClientCertificate) {
    clientAuthority = authority
    clientCertificate = asked
  }

  mutating func tellErrors(_ statuses: [UInt16], by service: String?) {
    errorStatuses = statuses
    fallbackService = service
  }
}
