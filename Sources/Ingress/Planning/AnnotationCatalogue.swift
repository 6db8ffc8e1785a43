// Every annotation of ingress-nginx that has a meaning here, those that need none, and what to use instead of the others.

import Diagnostics

enum AnnotationCatalogue {
  /// Read by `AnnotationPlan`, `CanaryPlan`, `TLSPlan`, `PassthroughPlan` or `RoutePlanner`.
  static let honoured: Set<String> = [
    "auth-signin-redirect-param", "auth-tls-error-page", "auth-tls-match-cn",
    "auth-tls-pass-certificate-to-upstream", "auth-tls-secret", "auth-tls-verify-client",
    "auth-tls-verify-depth", "custom-headers", "custom-http-errors", "default-backend",
    "proxy-ssl-ciphers", "proxy-ssl-name", "proxy-ssl-protocols", "proxy-ssl-secret",
    "proxy-ssl-server-name", "proxy-ssl-verify", "proxy-ssl-verify-depth", "satisfy",
    "affinity", "affinity-mode", "allowlist-source-range", "app-root", "auth-always-set-cookie",
    "auth-method", "auth-response-headers",
    "auth-signin", "auth-url", "mirror-target", "auth-realm", "auth-secret",
    "auth-secret-type",
    "auth-type", "backend-protocol", "canary", "canary-by-cookie", "canary-by-header",
    "canary-by-header-pattern",
    "canary-by-header-value", "canary-weight", "canary-weight-total", "cors-allow-credentials",
    "cors-allow-headers",
    "cors-allow-methods", "cors-allow-origin", "cors-expose-headers", "cors-max-age",
    "denylist-source-range",
    "enable-cors", "force-ssl-redirect", "from-to-www-redirect", "limit-allowlist",
    "limit-burst-multiplier",
    "limit-connections", "limit-rpm", "limit-rps", "limit-whitelist", "load-balance", "permanent-redirect",
    "permanent-redirect-code", "proxy-body-size", "proxy-connect-timeout", "proxy-next-upstream",
    "proxy-next-upstream-tries", "proxy-read-timeout", "proxy-send-timeout", "rewrite-target",
    "server-alias",
    "session-cookie-domain", "session-cookie-expires", "session-cookie-max-age", "session-cookie-name",
    "session-cookie-path", "session-cookie-samesite", "session-cookie-secure", "ssl-passthrough",
    "ssl-redirect",
    "temporal-redirect",
    "temporal-redirect-code", "upstream-hash-by", "upstream-vhost", "use-regex", "whitelist-source-range",
    "x-forwarded-prefix",
  ]

  /// About how nginx works inside; what they are set for is so here without them.
  static let needless: Set<String> = [
    "client-body-buffer-size", "client-header-timeout", "connection-proxy-header", "enable-access-log",
    "enable-rewrite-log", "http2-push-preload", "preserve-host", "proxy-buffer-size", "proxy-buffering",
    "proxy-buffers-number", "proxy-busy-buffers-size", "proxy-http-version", "proxy-max-temp-file-size",
    "proxy-next-upstream-timeout", "proxy-request-buffering", "service-upstream",
    "session-cookie-change-on-failure",
    "ssl-ciphers", "ssl-prefer-server-ciphers",
  ]

  /// Text that would be put into a configuration file: never, and what takes its place.
  static let snippets: [String: String] = [
    "auth-snippet": "auth-response-headers, or a RequestHeaderModifier filter of an HTTPRoute",
    "configuration-snippet":
      "the annotation for the single thing (rewrite-target, cors-*, x-forwarded-prefix), or filters of an HTTPRoute",
    "modsecurity-snippet": "a web application firewall in front of the cluster",
    "server-snippet": "one Ingress for each path with annotations of its own, or rules of an HTTPRoute",
    "stream-snippet": "a TCPRoute or TLSRoute",
  ]

  /// Without these a route is less protected than its owner believes: it is closed rather than served.
  static let protections: Set<String> = [
    "enable-global-auth", "enable-modsecurity",
  ]

  /// What to do about an annotation that is not honoured.
  static func advice(_ name: String) -> String? {
    if honoured.contains(name) || needless.contains(name) { return nil }
    if let instead = snippets[name] {
      return
        "annotation \(name) is never applied, as snippets can take over a proxy; use \(instead) (ING0003)"
    }
    let meant = NearWord.nearest(to: name, in: honoured).map { "; did you mean \($0)?" } ?? ""
    return "annotation \(name) is not supported and has no effect\(meant) (ING0003)"
  }
}
