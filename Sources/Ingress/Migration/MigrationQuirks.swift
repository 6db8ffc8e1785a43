// The five ways of ingress-nginx that nobody asks for (Kubernetes' blog of 27 February 2026), per Ingress; and annotations that have no
// place in Gateway API.

import ClusterView

extension MigrationPlanner {
  mutating func noteQuirks(_ ingress: Ingress) {
    let reader = AnnotationReader(ingress.annotations)
    for rule in ingress.rules {
      let causes = patterned[rule.host] ?? []
      let host = rule.host.isEmpty ? "*" : rule.host
      for path in rule.paths where !causes.isEmpty && path.path != "/" {
        let place = "\(host)\(path.path)"
        let cause = reader.makesPatterns ? ingress : causes[0]
        let isRegex = AnnotationReader(cause.annotations).isTrue("use-regex")
        tell(
          ingress, .patterns, place,
          "is an expression for the beginning of a path, without case: \(path.path.uppercased()) and whatever goes on behind it match too",
          "the route written here keeps it so; write an Exact or PathPrefix match if nobody depends on it")
        if cause.key != ingress.key {
          tell(
            ingress, isRegex ? .spreadingPatterns : .rewritePatterns, place,
            "is an expression only because ingress \(cause.key) shares the host and has \(isRegex ? "use-regex" : "rewrite-target")",
            "match it as \(path.kind.rawValue) if nobody depends on it")
        } else if !isRegex, path.kind != .implementationSpecific {
          tell(
            ingress, .rewritePatterns, place,
            "says \(path.kind.rawValue), and rewrite-target makes an expression of it",
            "match it as \(path.kind.rawValue) if nobody depends on it")
        }
      }
      if reader.makesPatterns {
        let others = ingresses.filter { $0.key != ingress.key && $0.rules.contains { $0.host == rule.host } }
        for other in others {
          tell(
            ingress, reader.isTrue("use-regex") ? .spreadingPatterns : .rewritePatterns, host,
            "makes expressions of the paths of ingress \(other.key)", "look at that Ingress's report too")
        }
      }
      for path in rule.paths {
        noteSlash(ingress, host, path, isPattern: !causes.isEmpty)
        noteNormalised(ingress, host, path)
      }
    }
  }

  private mutating func noteSlash(_ ingress: Ingress, _ host: String, _ path: Ingress.Path, isPattern: Bool) {
    // A Prefix has a place of its own without the slash, and expressions are not looked at for slashes.
    guard path.path.count > 1, path.path.hasSuffix("/"), !isPattern, path.kind == .exact else { return }
    tell(
      ingress, .trailingSlash, "\(host)\(path.path)",
      "a request for \(path.path.dropLast()) is sent (301) to \(path.path)",
      "add a rule with an Exact match of \(path.path.dropLast()) and a RequestRedirect to \(path.path) if clients depend on it"
    )
  }

  private mutating func noteNormalised(_ ingress: Ingress, _ host: String, _ path: Ingress.Path) {
    guard path.path != "/" else { return }
    tell(
      ingress, .normalised, "\(host)\(path.path)",
      "/x/..\(path.path) and /\(path.path) are taken for \(path.path)",
      "have clients send the path itself: a gateway may compare the bytes as they came")
  }

  /// What to do about annotations that no object of Gateway API has a place for.
  static let inexpressible: [(names: [String], next: String)] = [
    (
      [
        "auth-always-set-cookie", "auth-url", "auth-signin", "auth-signin-redirect-param", "auth-method",
        "auth-response-headers",
      ],
      "keep the Ingress, which weft serves, or ask in the application"
    ),
    (
      ["auth-type", "auth-secret", "auth-secret-type", "auth-realm"],
      "keep the Ingress, which weft serves, or ask in the application"
    ),
    (
      [
        "limit-rps", "limit-rpm", "limit-connections", "limit-burst-multiplier", "limit-whitelist",
        "limit-allowlist",
      ], "keep the Ingress, which weft serves"
    ),
    (
      ["whitelist-source-range", "allowlist-source-range", "denylist-source-range"],
      "keep the Ingress, or a NetworkPolicy in front of the pods"
    ),
    (["satisfy"], "keep the Ingress, which weft serves"),
    (
      [
        "affinity", "affinity-mode", "session-cookie-name", "session-cookie-path", "session-cookie-domain",
        "session-cookie-expires", "session-cookie-max-age", "session-cookie-samesite",
        "session-cookie-secure", "upstream-hash-by", "load-balance",
      ], "keep the Ingress, which weft serves"
    ),
    (
      [
        "auth-tls-secret", "auth-tls-verify-client", "auth-tls-verify-depth", "auth-tls-error-page",
        "auth-tls-match-cn", "auth-tls-pass-certificate-to-upstream",
      ],
      "set spec.tls.frontend of a Gateway of its own, where a whole port asks for certificates, or keep the Ingress"
    ),
    (["proxy-body-size"], "limit bodies in the application, or keep the Ingress, which weft serves"),
    (
      ["custom-http-errors", "default-backend"],
      "have the application tell its errors, or keep the Ingress, which weft serves"
    ),
    (["proxy-connect-timeout"], "nothing: connections that do not come about are tried again"),
  ]

  /// Annotations that `translate` looks at.
  private static let translated: Set<String> = [
    "ssl-redirect", "force-ssl-redirect", "rewrite-target", "use-regex", "app-root", "permanent-redirect",
    "permanent-redirect-code", "temporal-redirect", "temporal-redirect-code", "server-alias",
    "from-to-www-redirect", "canary", "canary-by-cookie", "canary-by-header", "canary-by-header-pattern",
    "canary-by-header-value", "canary-weight", "canary-weight-total", "enable-cors", "cors-allow-credentials",
    "cors-allow-headers", "cors-allow-methods", "cors-allow-origin", "cors-expose-headers", "cors-max-age",
    "upstream-vhost", "x-forwarded-prefix", "custom-headers", "proxy-read-timeout", "proxy-send-timeout",
    "proxy-next-upstream", "proxy-next-upstream-tries", "backend-protocol", "mirror-target",
    "proxy-ssl-secret", "proxy-ssl-verify", "proxy-ssl-verify-depth", "proxy-ssl-name",
    "proxy-ssl-server-name",
    "proxy-ssl-ciphers", "proxy-ssl-protocols", "ssl-passthrough",
  ]

  mutating func noteAnnotations(_ ingress: Ingress) {
    for name in AnnotationReader(ingress.annotations).names {
      if let instead = AnnotationCatalogue.snippets[name] {
        tell(
          ingress, .snippet, name, "is text for nginx's configuration, and never applied by weft",
          "use \(instead)")
      } else if let group = Self.inexpressible.first(where: { $0.names.contains(name) }) {
        tell(ingress, .inexpressible, name, "has no place in Gateway API", group.next)
      } else if !Self.translated.contains(name), !AnnotationCatalogue.needless.contains(name) {
        tell(ingress, .inexpressible, name, "is not known here", "see what it does, and whether it is needed")
      }
    }
  }
}
