// A Gateway as Ingresses of one namespace add to it, and small pieces of manifests.

import ClusterObjects
import ClusterView

/// One Gateway for a namespace: a listener for plain HTTP, and one for each name with a certificate.
struct GatewayDraft {
  static let name = "ingress"
  var namespace: String
  /// Secrets by host name; empty name: any.
  private var secrets: [String: String] = [:]
  private var passed: Set<String> = []

  init(namespace: String) { self.namespace = namespace }

  /// - Returns: the listener's name; nil when the host has another certificate already.
  mutating func secure(_ host: String, secret: String) -> String? {
    guard secrets[host, default: secret] == secret else { return nil }
    secrets[host] = secret
    return Self.listener(host)
  }

  mutating func passThrough(_ host: String) -> String {
    passed.insert(host)
    return "tls-" + Self.label(host)
  }

  static func listener(_ host: String) -> String { "https-" + label(host) }

  /// A name for an object: `*.a.example` is `wildcard-a-example`; at most 50 bytes, told apart by a hash when cut.
  static func label(_ host: String) -> String {
    let text =
      host.isEmpty
      ? "any" : host.split(separator: ".").map { $0 == "*" ? "wildcard" : String($0) }.joined(separator: "-")
    guard text.utf8.count > 50 else { return text }
    let hash = String(Chooser.hash(text.utf8) & 0xffff_ffff, radix: 16)
    return "\(text.prefix(40))-\(hash)"
  }

  /// Listeners that a Gateway may have.
  static let listenersMax = 64
  var count: Int { 1 + secrets.count + passed.count }

  func manifest(_ gatewayClass: String) -> JSON {
    func listener(_ name: String, _ port: Int64, _ scheme: String, _ host: String) -> JSON {
      var listener: JSON = ["name": JSON(name), "port": .integer(port), "protocol": JSON(scheme)]
      if !host.isEmpty { listener["hostname"] = JSON(host) }
      return listener
    }
    var listeners = [listener("http", 80, "HTTP", "")]
    for (host, secret) in secrets.sorted(by: { $0.key < $1.key }) {
      var secured = listener(Self.listener(host), 443, "HTTPS", host)
      secured["tls"] = ["mode": "Terminate", "certificateRefs": [["kind": "Secret", "name": JSON(secret)]]]
      listeners.append(secured)
    }
    for host in passed.sorted() {
      var passing = listener("tls-" + Self.label(host), 443, "TLS", host)
      passing["tls"] = ["mode": "Passthrough"]
      listeners.append(passing)
    }
    return [
      "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
      "metadata": ["name": JSON(Self.name), "namespace": JSON(namespace)],
      "spec": ["gatewayClassName": JSON(gatewayClass), "listeners": .array(listeners)],
    ]
  }
}

/// A rule of an HTTPRoute or GRPCRoute.
struct RuleDraft {
  /// Empty: every request.
  var match: JSON
  var filters: [JSON] = []
  var backends: [JSON] = []
  var more: [(String, JSON)] = []

  var manifest: JSON {
    var rule: JSON = match == [:] ? [:] : ["matches": [match]]
    if !filters.isEmpty { rule["filters"] = .array(filters) }
    if !backends.isEmpty { rule["backendRefs"] = .array(backends) }
    for (name, value) in more { rule[name] = value }
    return rule
  }
}

extension RuleDraft {
  private static let callFilters: Set<String> = [
    "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror",
  ]

  /// The same as a GRPCRoute has it: `/SERVICE` and `/SERVICE/METHOD` are calls. Nil when it has no place there.
  var asCalls: RuleDraft? {
    guard more.isEmpty, !backends.isEmpty,
      filters.allSatisfy({ Self.callFilters.contains($0["type"]?.string ?? "") }),
      let type = match.at("path", "type")?.string, let path = match.at("path", "value")?.string
    else { return nil }
    var call = self
    call.match["path"] = nil
    let parts = path.split(separator: "/").map(String.init)
    let isName = { (text: String) in
      text.utf8.allSatisfy { $0 | 0x20 &- 97 < 26 || $0 &- 48 < 10 || $0 == 46 || $0 == 95 }
    }
    switch (type, parts.count) {
    case ("PathPrefix", 0): break
    case ("PathPrefix", 1) where isName(parts[0]): call.match["method"] = ["service": JSON(parts[0])]
    case ("Exact", 2) where parts.allSatisfy(isName) && !path.hasSuffix("/"):
      call.match["method"] = ["service": JSON(parts[0]), "method": JSON(parts[1])]
    default: return nil
    }
    return call
  }
}

extension JSON {
  static func filter(_ type: String, _ field: String, _ value: JSON) -> JSON {
    ["type": JSON(type), field: value]
  }
  static func headers(_ list: [(String, String)]) -> JSON {
    .array(list.map { ["name": JSON($0), "value": JSON($1)] })
  }
}
