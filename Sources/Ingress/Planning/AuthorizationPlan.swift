// Whom `auth-url` means. The data plane asks nobody's DNS, so the address has to be found when routes are planned: a Service by
// its cluster name, a host and path that an Ingress of ours serves, or an address.

import Addresses
import ClusterObjects
import ClusterView

/// An address of `auth-url`, in its parts.
struct AuthorizationURL: Hashable {
  var isSecure: Bool
  /// Lower case, without port; with `$host` in it, the rule's own host.
  var host: String
  var port: UInt16
  /// Path and query; may hold variables.
  var target: String

  init?(_ text: String, ruleHost: String) {
    let rest: Substring
    if text.hasPrefix("https://") {
      (isSecure, rest) = (true, text.dropFirst(8))
    } else if text.hasPrefix("http://") {
      (isSecure, rest) = (false, text.dropFirst(7))
    } else {
      return nil
    }
    let slash = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    target = String(rest[slash...])
    if target.first != "/" { target = "/" + target }
    var authority = String(rest[..<slash])
    for name in ["$http_host", "${host}", "$host"] {
      authority = authority.split(separator: name, omittingEmptySubsequences: false).joined(
        separator: ruleHost)
    }
    port = isSecure ? 443 : 80
    if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
      guard let number = UInt16(authority[authority.index(after: colon)...]), number > 0 else { return nil }
      port = number
      authority = String(authority[..<colon])
    }
    host = authority.lowercased()
    guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "$") }) else {
      return nil
    }
  }

  var path: String { String(target.prefix { $0 != "?" }) }

  /// `name.namespace.svc.cluster.local`, `.svc`, or nothing behind the namespace.
  var service: ObjectKey? {
    let labels = host.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard labels.count == 2 || (labels.count >= 3 && labels[2] == "svc") else { return nil }
    return ObjectKey(labels[1], labels[0])
  }
}

extension RoutePlanner {
  /// Adds what needs other Services: who decides, and who gets a copy. Nobody to decide: nobody is let in.
  mutating func ask(_ ingress: Ingress, _ served: [Ingress], for plan: inout AnnotationPlan) {
    switch authorization(ingress, served) {
    case .success(let authorization): plan.action.authorization = authorization
    case .failure(let refused):
      tell(["\(refused.reason): the routes answer 403 (ING0005)"], ingress.key, .annotation)
      plan.action.answer = 403
    }
    guard let text = ingress.nginx("mirror-target") else { return }
    let ruleHost = ingress.rules.first { !$0.host.isEmpty }?.host ?? ""
    let address = text.split(separator: "$request_uri", omittingEmptySubsequences: false).joined()
    if let url = AuthorizationURL(address, ruleHost: ruleHost), url.target == "/",
      let backend = decider(url, ingress, served)
    {
      plan.policy.mirrors.append(BackendMirror(backend: backend))
    } else {
      tell(
        [
          "mirror-target: \(text) is no Service of this cluster with nothing but $request_uri behind it (ING0004)"
        ], ingress.key, .annotation)
    }
  }

  /// The decider of an Ingress, or why there is none.
  private mutating func authorization(
    _ ingress: Ingress, _ served: [Ingress]
  ) -> Result<RouteAuthorization?, RouteRefused> {
    var reader = AnnotationReader(ingress.annotations)
    guard let text = reader["auth-url"] else { return .success(nil) }
    let ruleHost = ingress.rules.first { !$0.host.isEmpty }?.host ?? ""
    guard let url = AuthorizationURL(text, ruleHost: ruleHost), let target = RouteTemplate(url.target) else {
      return .failure(RouteRefused(reason: "auth-url: \(text) is no address that can be asked"))
    }
    guard let backend = decider(url, ingress, served) else {
      return .failure(
        RouteRefused(
          reason: "auth-url: \(url.host):\(url.port) is neither a Service of this cluster "
            + "(NAME.NAMESPACE.svc.cluster.local) nor a host and path that an Ingress serves nor an address"))
    }
    let authorization = RouteAuthorization(
      backend: backend, host: url.host, target: target, method: reader["auth-method"] ?? "",
      forwarded: reader.list("auth-response-headers"), signIn: Self.signIn(&reader),
      alwaysSetsCookie: reader.isTrue("auth-always-set-cookie"))
    tell(reader.problems, ingress.key, .annotation)
    guard let authorization else {
      return .failure(RouteRefused(reason: "auth-method or auth-response-headers cannot be sent"))
    }
    return .success(authorization)
  }

  /// Where to sign in, with the way back as a parameter (`rd`), unless the address has it already.
  private static func signIn(_ reader: inout AnnotationReader) -> RouteTemplate? {
    guard let template = reader.template("auth-signin"), let text = reader["auth-signin"] else { return nil }
    let parameter = reader["auth-signin-redirect-param"] ?? "rd"
    let query = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).dropFirst().first
    let names = query?.split(separator: "&").map { $0.prefix { $0 != "=" } } ?? []
    if names.contains(where: { $0 == parameter }) { return template }
    return RouteTemplate(
      text + (query == nil ? "?" : "&") + parameter + "=$scheme://$http_host$escaped_request_uri") ?? template
  }

  private mutating func decider(_ url: AuthorizationURL, _ ingress: Ingress, _ served: [Ingress]) -> Int? {
    var policy = BackendPolicy()
    if url.isSecure { policy.tls = UpstreamTLS(serverName: url.host) }
    if let address = IPAddress(url.host.trimmingBrackets) {
      backends.append(
        RouteBackend(
          namespace: ingress.key.namespace, ingress: ingress.key.name, service: url.host,
          servicePort: "\(url.port)", endpoints: [SocketEndpoint(address, url.port)]))
      backends[backends.count - 1].policy = policy
      return backends.count - 1
    }
    if let found = ownBackend(url, served) { return backend(found.backend, of: found.ingress, found.policy) }
    guard let service = url.service, view.services[service] != nil else { return nil }
    return backend(Ingress.Backend(service: service, port: .number(url.port)), of: ingress.key, policy)
  }

  /// The backend of a host and path that we serve ourselves: asked directly, without a way around through ourselves.
  private func ownBackend(
    _ url: AuthorizationURL, _ served: [Ingress]
  ) -> (backend: Ingress.Backend, ingress: ObjectKey, policy: BackendPolicy)? {
    let path = Array(url.path.utf8)
    var best: (length: Int, backend: Ingress.Backend, ingress: Ingress)?
    for other in served where !CanaryPlan.isCanary(other) && other.nginx("auth-url") == nil {
      for rule in other.rules where rule.host == url.host {
        for candidate in rule.paths {
          let rulePath = RoutePath(path: candidate.path, isExact: candidate.kind == .exact, backend: 0).path
          let isMatch =
            path == rulePath
            || candidate.kind != .exact && path.starts(with: rulePath)
              && path[rulePath.count] == UInt8(ascii: "/")
          if isMatch, rulePath.count > best?.length ?? -1 {
            best = (rulePath.count, candidate.backend, other)
          }
        }
      }
    }
    return best.map {
      (
        $0.backend, $0.ingress.key,
        AnnotationPlan($0.ingress, credentials: credentials, headers: headers).policy
      )
    }
  }
}

/// Why something that was asked for cannot be had.
struct RouteRefused: Error, Hashable {
  var reason: String
}

extension String {
  /// An IPv6 address as URLs write it.
  fileprivate var trimmingBrackets: Substring {
    hasPrefix("[") && hasSuffix("]") ? dropFirst().dropLast() : self[...]
  }
}
