// Where a webhook is: what `clientConfig` of a webhook configuration or of a CustomResourceDefinition says.

import ClusterObjects

/// Why a webhook gave no answer that can be used. `description` is what clients read after
/// `failed calling webhook "…":`.
struct WebhookError: Error, Sendable, Hashable, CustomStringConvertible {
  enum Kind: Sendable, Hashable {
    /// The time that the call may take is over.
    case timeout
    /// No address, no connection, no TLS.
    case unreachable
    /// An HTTP status other than 200; a redirection counts as one, for none is ever followed.
    case status(Int)
    /// An answer that is no JSON, or larger than `WebhookCaller.answerBytesMax`.
    case badAnswer
    /// More than `WebhookCaller.callsMax` calls are under way.
    case overloaded
  }
  var kind: Kind
  var description: String
  init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }
}

/// An HTTPS address and whom to trust there.
struct WebhookTarget: Sendable, Hashable {
  enum Place: Sendable, Hashable {
    case url(host: String, port: Int)
    case service(namespace: String, name: String, port: Int)
  }
  var place: Place
  /// Path and query, beginning with a slash.
  var path: String
  /// PEM; empty for the roots that the system trusts.
  var authority: [UInt8]

  init(place: Place, path: String = "/", authority: [UInt8] = []) {
    self.place = place
    self.path = path.hasPrefix("/") ? path : "/" + path
    self.authority = authority
  }

  /// From a `clientConfig`: `url` or `service`, and `caBundle`.
  init(clientConfig: JSON) throws(WebhookError) {
    let authority = clientConfig["caBundle"]?.string.flatMap { Base64.decode($0) } ?? []
    if let service = clientConfig["service"], service.object != nil {
      self.init(
        place: .service(
          namespace: service["namespace"]?.string ?? "", name: service["name"]?.string ?? "",
          port: service["port"]?.int ?? 443),
        path: service["path"]?.string ?? "/", authority: authority)
      return
    }
    let url = clientConfig["url"]?.string ?? ""
    guard url.hasPrefix("https://") else {
      throw WebhookError(.unreachable, "webhook configuration must have either service or an https URL")
    }
    let rest = url.dropFirst("https://".count)
    let hostEnd = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    let hostPort = rest[..<hostEnd]
    var host = hostPort
    var port = 443
    let colon =
      hostPort.hasPrefix("[")
      ? hostPort.firstIndex(of: "]").map { hostPort.index(after: $0) } : hostPort.firstIndex(of: ":")
    if let colon, colon < hostPort.endIndex, hostPort[colon] == ":" {
      guard let number = UInt16(hostPort[hostPort.index(after: colon)...]) else {
        throw WebhookError(.unreachable, "parse \"\(url)\": invalid port")
      }
      host = hostPort[..<colon]
      port = Int(number)
    }
    if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    guard !host.isEmpty, !hostPort.contains("@") else {
      throw WebhookError(.unreachable, "parse \"\(url)\": the host is missing")
    }
    self.init(
      place: .url(host: String(host), port: port), path: String(rest[hostEnd...]), authority: authority)
  }

  /// The name in the URL, in `Host` and in the certificate: `service.namespace.svc` or the URL's host.
  var host: String {
    switch place {
    case .url(let host, _): host
    case .service(let namespace, let name, _): "\(name).\(namespace).svc"
    }
  }

  var port: Int {
    switch place {
    case .url(_, let port), .service(_, _, let port): port
    }
  }

  var hostPort: String {
    let shown = host.contains(":") ? "[\(host)]" : host
    // As clients of net/http print it: a Service always with its port, a URL as it was written.
    if case .url = place, port == 443 { return shown }
    return "\(shown):\(port)"
  }
}
