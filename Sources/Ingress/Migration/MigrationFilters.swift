// Annotations as filters, times and policies.

import ClusterObjects
import ClusterView

extension MigrationPlanner {
  /// Filters that are the same for all paths.
  mutating func filters(_ ingress: Ingress, _ reader: AnnotationReader) -> [JSON] {
    var filters: [JSON] = []
    if let prefix = reader["x-forwarded-prefix"] {
      filters.append(
        .filter(
          "RequestHeaderModifier", "requestHeaderModifier",
          ["set": .headers([("X-Forwarded-Prefix", prefix)])]))
    }
    if reader["custom-headers"] != nil {
      let key = AnnotationPlan.headersKey(ingress)
      if let key, let fields = input.headers[key] {
        filters.append(
          .filter(
            "ResponseHeaderModifier", "responseHeaderModifier",
            ["set": .headers(fields.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })]))
      } else {
        tell(
          ingress, .needsObject, "custom-headers", "its ConfigMap is not among what was read",
          "give its manifest too, or use --live")
      }
    }
    if reader.isTrue("enable-cors") { filters.append(cors(reader)) }
    if let target = reader["mirror-target"] { mirror(target, ingress, &filters) }
    return filters
  }

  private func cors(_ reader: AnnotationReader) -> JSON {
    func list(_ name: String, _ usual: String) -> JSON {
      .array((reader[name] ?? usual).split(separator: ",").map { JSON(String($0.filter { $0 != " " })) })
    }
    var cors: JSON = [
      "allowOrigins": list("cors-allow-origin", "*"),
      "allowMethods": list("cors-allow-methods", "GET,PUT,POST,DELETE,PATCH,OPTIONS"),
      "allowHeaders": list(
        "cors-allow-headers",
        "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
      ),
      "allowCredentials": .bool(reader["cors-allow-credentials"]?.lowercased() != "false"),
      "maxAge": .integer(Int64(reader["cors-max-age"] ?? "") ?? 1_728_000),
    ]
    if reader["cors-expose-headers"] != nil { cors["exposeHeaders"] = list("cors-expose-headers", "") }
    return .filter("CORS", "cors", cors)
  }

  private mutating func mirror(_ target: String, _ ingress: Ingress, _ filters: inout [JSON]) {
    let address = target.split(separator: "$request_uri", omittingEmptySubsequences: false).joined()
    guard let url = AuthorizationURL(address, ruleHost: ""), url.target == "/", let service = url.service
    else {
      return tell(
        ingress, .inexpressible, "mirror-target", "is no Service of the cluster", "mirror to a Service")
    }
    var backend: JSON = ["name": JSON(service.name), "port": .integer(Int64(url.port))]
    if service.namespace != ingress.key.namespace {
      backend["namespace"] = JSON(service.namespace)
      tell(ingress, .needsObject, "mirror-target", "lies in another namespace", "add a ReferenceGrant there")
    }
    filters.append(.filter("RequestMirror", "requestMirror", ["backendRef": backend]))
  }

  /// `permanent-redirect` or `temporal-redirect`.
  mutating func redirect(_ ingress: Ingress, _ reader: AnnotationReader) -> JSON? {
    for (name, usual) in [("temporal-redirect", 302), ("permanent-redirect", 301)] {
      guard let text = reader[name] else { continue }
      let code = reader["\(name)-code"].flatMap { Int64($0) } ?? Int64(usual)
      let keeps = text.hasSuffix("$request_uri")
      let plain = keeps ? String(text.dropLast("$request_uri".count)) : text
      guard !plain.contains("$"), [301, 302, 303, 307, 308].contains(code), !plain.contains("?"),
        let url = AuthorizationURL(plain, ruleHost: ""), !keeps || url.target == "/"
      else {
        tell(
          ingress, .inexpressible, name, "\(text) (\(code)) cannot be written as a RequestRedirect",
          "keep the Ingress, which weft serves")
        return nil
      }
      var place: JSON = [
        "scheme": url.isSecure ? "https" : "http", "hostname": JSON(url.host), "statusCode": .integer(code),
      ]
      if url.port != (url.isSecure ? 443 : 80) { place["port"] = .integer(Int64(url.port)) }
      if !keeps { place["path"] = ["type": "ReplaceFullPath", "replaceFullPath": JSON(url.target)] }
      return .filter("RequestRedirect", "requestRedirect", place)
    }
    return nil
  }

  /// `rewrite-target` and `upstream-vhost`.
  mutating func rewrite(_ ingress: Ingress, _ reader: AnnotationReader, _ path: Ingress.Path) -> JSON? {
    var rewrite: JSON = [:]
    if let host = reader["upstream-vhost"] {
      if host.contains("$") {
        tell(
          ingress, .inexpressible, "upstream-vhost", "has variables", "keep the Ingress, which weft serves")
      } else {
        rewrite["hostname"] = JSON(host)
      }
    }
    if let target = reader["rewrite-target"] {
      if !target.contains("$") {
        rewrite["path"] = ["type": "ReplaceFullPath", "replaceFullPath": JSON(target)]
      } else if target != "/$1" || !["/(.*)", "/?(.*)"].contains(path.path) {
        tell(
          ingress, .inexpressible, "rewrite-target",
          "\(path.path) -> \(target) needs groups of the expression",
          Self.prefixAdvice(path.path, target)
            ?? "keep the Ingress, which weft serves, or have the application take the path as it is")
      }
    }
    return rewrite == [:] ? nil : .filter("URLRewrite", "urlRewrite", rewrite)
  }

  /// The usual way of cutting a prefix off, which is a filter of its own where paths are no expressions.
  static func prefixAdvice(_ path: String, _ target: String) -> String? {
    guard path.hasSuffix("(/|$)(.*)"), target == "/$2" else { return nil }
    let prefix = path.dropLast("(/|$)(.*)".count)
    guard prefix.utf8.allSatisfy({ isToken($0) || $0 == UInt8(ascii: "/") }) else { return nil }
    return "match PathPrefix \(prefix) and add a URLRewrite filter with ReplacePrefixMatch /"
  }

  /// Times and tries.
  mutating func limits(_ ingress: Ingress, _ reader: AnnotationReader) -> [(String, JSON)] {
    var more: [(String, JSON)] = []
    let times = ["proxy-read-timeout", "proxy-send-timeout"].compactMap { reader[$0].flatMap { Int64($0) } }
    if let longest = times.max() {
      more.append(("timeouts", ["backendRequest": JSON("\(longest)s")]))
      tell(
        ingress, .approximate, "proxy-read-timeout",
        "counts between two reads; backendRequest counts a whole try",
        "raise it where answers take long to come whole")
    }
    let words = reader["proxy-next-upstream"]?.split(separator: " ") ?? []
    let codes = words.compactMap { $0.hasPrefix("http_") ? Int64($0.dropFirst(5)) : nil }
    let tries = reader["proxy-next-upstream-tries"].flatMap { Int64($0) } ?? 3
    if !codes.isEmpty || reader["proxy-next-upstream-tries"] != nil, !words.contains("off"), tries != 1 {
      var retry: JSON = ["attempts": .integer(max(1, tries - 1))]
      if !codes.isEmpty { retry["codes"] = .array(codes.map { .integer($0) }) }
      more.append(("retry", retry))
      tell(
        ingress, .approximate, "proxy-next-upstream", "retry is an experimental field of HTTPRoute",
        "see that your gateway knows it")
    }
    return more
  }

  /// What `backend-protocol` asks of Services.
  mutating func policy(_ ingress: Ingress, _ reader: AnnotationReader) {
    let speech = reader["backend-protocol"]?.uppercased() ?? "HTTP"
    let services = Set(
      ingress.rules.flatMap(\.paths).map(\.backend.service)
        + [ingress.defaultBackend?.service].compactMap(\.self)
    ).sorted()
    if ["GRPC", "GRPCS"].contains(speech) {
      // A GRPCRoute says it by itself.
      for service in services where plainCalls.contains(ingress.key) || ingress.defaultBackend != nil {
        tell(
          ingress, .needsObject, "service \(service)", "speaks HTTP/2",
          "set appProtocol: kubernetes.io/h2c on its port")
      }
    } else if !["HTTP", "HTTPS", "AUTO_HTTP"].contains(speech) {
      tell(
        ingress, .inexpressible, "backend-protocol", "\(speech) is no protocol of a route",
        "put a server that speaks HTTP in front of it")
    }
    guard ["HTTPS", "GRPCS"].contains(speech) else { return }
    let secret = AnnotationPlan.secretKey(ingress, "proxy-ssl-secret")
    let verifies = reader["proxy-ssl-verify"] == "on" && secret != nil
    if !verifies {
      tell(
        ingress, .approximate, "backend-protocol",
        "ingress-nginx does not verify endpoints' certificates; a BackendTLSPolicy does",
        "give the endpoints a certificate that is signed by an authority the policy names")
    }
    for service in services where policyNames.insert(service).inserted {
      var validation: JSON = [
        "hostname": JSON(reader["proxy-ssl-name"] ?? "\(service.name).\(service.namespace).svc")
      ]
      if verifies, let secret {
        validation["caCertificateRefs"] = [["group": "", "kind": "ConfigMap", "name": JSON(secret.name)]]
        tell(
          ingress, .needsObject, "configmap \(secret)",
          "a BackendTLSPolicy reads its authority from a ConfigMap",
          "copy ca.crt of secret \(secret) into a ConfigMap of that name")
      } else {
        validation["wellKnownCACertificates"] = "System"
      }
      policies.append([
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
        "metadata": ["name": JSON(service.name), "namespace": JSON(service.namespace)],
        "spec": [
          "targetRefs": [["group": "", "kind": "Service", "name": JSON(service.name)]],
          "validation": validation,
        ],
      ])
    }
  }
}
