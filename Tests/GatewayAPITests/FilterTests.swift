// Filters, names and listeners in the plan: what the conformance tests of these names ask of requests a data plane makes of it.

import ClusterObjects
import ClusterView
import GatewayAPI
import Testing

private let http = "name: http, port: 80, protocol: HTTP"

@Suite struct FilterTests {
  private struct NoRedirect: Error {}

  private func filters(_ text: String, kind: String = "HTTPRoute") throws -> [GatewayRoute.Filter] {
    let plan = try Lab(
      gateway("gw", http),
      route("a", kind: kind, to: "{name: gw}", rules: "[{filters: [\(text)]}]")
    ).plan()
    return try plan.served("http").hosts[0].rules[0].filters
  }

  private func redirect(_ text: String) throws -> GatewayRoute.Redirect {
    guard
      case .redirect(let redirect) = try filters("{type: RequestRedirect, requestRedirect: {\(text)}}").first
    else {
      throw NoRedirect()
    }
    return redirect
  }

  @Test
  func
    `HTTPRoute303Redirect, HTTPRoute307Redirect, HTTPRoute308Redirect, HTTPRouteRedirectHostAndStatus: a redirect's status`()
    throws
  {
    #expect(try redirect("").status == 302)
    for status in [301, 303, 307, 308] {
      let found = try redirect("statusCode: \(status), hostname: Example.org")
      #expect(found.status == status && found.hostname == "example.org")
    }
  }

  @Test
  func
    `HTTPRouteRedirectPath, HTTPRouteRedirectPort, HTTPRouteRedirectPortAndScheme, HTTPRouteRedirectScheme: a redirect's parts`()
    throws
  {
    #expect(try redirect("path: {type: ReplaceFullPath, replaceFullPath: /new}").path == .full("/new"))
    #expect(try redirect("path: {type: ReplacePrefixMatch, replacePrefixMatch: /p}").path == .prefix("/p"))
    let both = try redirect("scheme: https, port: 8443")
    #expect(both.scheme == "https" && both.port == 8443 && both.path == nil && both.hostname == nil)
    #expect(try redirect("scheme: https").port == nil)
  }

  @Test func `HTTPRouteRewriteHost, HTTPRouteRewritePath: what a backend sees`() throws {
    #expect(
      try filters("{type: URLRewrite, urlRewrite: {hostname: b.example.org}}")
        == [.rewrite(hostname: "b.example.org", path: nil)])
    #expect(
      try filters("{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}")
        == [.rewrite(hostname: nil, path: .prefix("/"))])
  }

  @Test(arguments: ["HTTPRoute", "GRPCRoute"])
  func
    `HTTPRouteRequestHeaderModifier, HTTPRouteResponseHeaderModifier, GRPCRouteRequestHeaderModifier: fields`(
      kind: String
    ) throws
  {
    let change = "{set: [{name: A, value: one}], add: [{name: B, value: two}], remove: [C]}"
    let found = try filters(
      "{type: RequestHeaderModifier, requestHeaderModifier: \(change)}, "
        + "{type: ResponseHeaderModifier, responseHeaderModifier: \(change)}", kind: kind)
    guard case .requestHeaders(let request) = found.first, case .responseHeaders(let response) = found.last
    else {
      Issue.record("\(found)")
      return
    }
    #expect(request == response && request.set.map(\.name) == ["A"] && request.set.map(\.value) == ["one"])
    #expect(request.add.map(\.name) == ["B"] && request.remove == ["c"])
  }

  @Test
  func
    `HTTPRouteBackendRequestHeaderModifier, HTTPRouteRequestHeaderModifierBackendWeights, HTTPRouteBackendURLRewrite, HTTPRouteBackendRequestRedirect: filters of one backend`()
    throws
  {
    let plan = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        backend: """
          {name: one, port: 8080, weight: 3, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}]},
          {name: two, port: 8080, filters: [{type: URLRewrite, urlRewrite: {hostname: c.d}}]},
          {name: two, port: 8443, filters: [{type: RequestRedirect, requestRedirect: {}}]}
          """)
    ).plan()
    let backends = try plan.served("http").hosts[0].rules[0].backends
    #expect(
      backends.map { $0.filters.map(\.type) } == [
        ["RequestHeaderModifier"], ["URLRewrite"], ["RequestRedirect"],
      ])
    #expect(backends.map(\.weight) == [3, 1, 1])
  }

  @Test func `HTTPRouteRequestMirror, HTTPRouteRequestMultipleMirrors: each is a backend of its own`() throws
  {
    let plan = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        rules: """
          [{backendRefs: [{name: one, port: 8080}], filters: [
          {type: RequestMirror, requestMirror: {backendRef: {name: two, port: 8080}}},
          {type: RequestMirror, requestMirror: {backendRef: {name: two, port: 8443}, fraction: {numerator: 1, denominator: 8}}}]}]
          """)
    ).plan()
    let mirrors = try plan.served("http").hosts[0].rules[0].mirrors
    #expect(mirrors.map { "\($0.numerator)/\($0.denominator)" } == ["100/100", "1/8"])
    #expect(
      mirrors.map(\.backend.target) == [
        .service(ObjectKey("infra", "two"), port: 8080), .service(ObjectKey("infra", "two"), port: 8443),
      ])
  }

  @Test func `HTTPRouteCORS: all that it says`() throws {
    let found = try filters(
      "{type: CORS, cors: {allowOrigins: ['https://a.b'], allowMethods: [GET], allowHeaders: [X], exposeHeaders: [Age], allowCredentials: true, maxAge: 9}}"
    )
    guard case .cors(let cors) = found.first else {
      Issue.record("\(found)")
      return
    }
    #expect(cors.origins == ["https://a.b"] && cors.methods == ["GET"] && cors.headers == ["X"])
    #expect(cors.exposed == ["Age"] && cors.allowsCredentials && cors.maxAgeSeconds == 9)
  }

  @Test func `GatewayHTTPListenerIsolation: each listener has its own rules alone`() throws {
    let plan = try Lab(
      gateway(
        "gw", http, "name: wild, port: 80, protocol: HTTP, hostname: '*.b'",
        "name: exact, port: 80, protocol: HTTP, hostname: a.b"),
      route("all", to: "{name: gw, sectionName: http}"), route("wild", to: "{name: gw, sectionName: wild}"),
      route("exact", to: "{name: gw, sectionName: exact}")
    ).plan()
    #expect(try plan.table("http") == ["*: all/0 one:8080"])
    #expect(try plan.table("wild") == ["*.b: wild/0 one:8080"])
    #expect(try plan.table("exact") == ["a.b: exact/0 one:8080"])
  }

  @Test func `HTTPRouteHTTPSListener: a listener with its certificate has the route's names`() throws {
    var lab = try Lab(
      gateway(
        "gw", "name: s, port: 443, protocol: HTTPS, hostname: '*.b', tls: {certificateRefs: [{name: good}]}"),
      route("a", to: "{name: gw}", hosts: "a.b, a.c"))
    lab.input.secrets[ObjectKey("infra", "good")] = TestCertificate.secret
    #expect(try lab.plan().table("s") == ["a.b: a/0 one:8080"])
  }

  @Test func `GatewayTLSBackendClientCertificate: backends by TLS are shown the Gateway's certificate`()
    throws
  {
    var lab = try Lab(
      gateway("gw", more: "  tls: {backend: {clientCertificateRef: {name: good}}}\n", http),
      gateway("plain", "name: http, port: 81, protocol: HTTP"),
      route("a", to: "{name: gw}, {name: plain}", backend: "{name: two, port: 8443}"),
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: BackendTLSPolicy
      metadata: {name: p, namespace: infra}
      spec:
        targetRefs: [{group: '', kind: Service, name: two}]
        validation: {hostname: a.b, wellKnownCACertificates: System}
      """)
    lab.input.secrets[ObjectKey("infra", "good")] = TestCertificate.secret
    let plan = lab.plan()
    func certificate(_ gateway: String) throws -> ObjectKey? {
      try plan.served("http", of: gateway).hosts[0].rules[0].backends[0].tls?.certificate
    }
    #expect(try certificate("gw") == ObjectKey("infra", "good"))
    #expect(try certificate("plain") == nil)
  }
}
