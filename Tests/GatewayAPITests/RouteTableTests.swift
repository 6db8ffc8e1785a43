// A plan in the ingress's route table: which backend and action a request meets.

import ClusterObjects
import ClusterView
import GatewayAPI
import Ingress
import Testing

private let http = "name: http, port: 80, protocol: HTTP"

@Suite struct RouteTableTests {
  private func table(_ lab: Lab, beside ingress: RouteTable = RouteTable()) -> RouteTable {
    lab.plan().routeTable(view: lab.view, input: lab.input, beside: ingress)
  }

  private func table(_ rules: String, kind: String = "HTTPRoute") throws -> RouteTable {
    table(try Lab(gateway("gw", http), route("a", kind: kind, to: "{name: gw}", rules: rules)))
  }

  /// The port of the Service that a request goes to; empty: no rule.
  private func port(
    _ table: RouteTable, _ path: String, host: String = "a.b", method: String = "GET",
    _ fields: [(String, String)] = [], on port: UInt16 = 80
  ) -> String {
    guard let match = table.match(host: host, path: path, method: method, fields: fields, port: port) else {
      return ""
    }
    return table.backends[match.backend].servicePort
  }

  private func backend(_ port: Int) -> String {
    "backendRefs: [{name: \(port == 8443 ? "two" : "one"), port: \(port)}]"
  }

  @Test func `HTTPRouteMatching, HTTPRoutePathMatchOrder, HTTPRouteExactPathMatching: paths`() throws {
    let table = try table(
      """
      [{matches: [{path: {value: /}}], \(backend(8080))}, {matches: [{path: {type: Exact, value: /one}}], \(backend(8443))},
      {matches: [{path: {value: /pre/fix/}}], \(backend(8443))}, {matches: [{path: {type: RegularExpression, value: '/r[0-9]+'}}], \(backend(8443))}]
      """)
    for path in ["/one", "/pre/fix", "/pre/fix/x", "/r12"] { #expect(port(table, path) == "8443", "\(path)") }
    for path in ["/", "/one/", "/pre/fixed", "/rx", "/r1/x"] { #expect(port(table, path) == "8080", "\(path)") }
  }

  @Test func `HTTPRouteHeaderMatching, HTTPRouteQueryParamMatching, HTTPRouteMethodMatching: all that is named`() throws {
    let table = try table(
      """
      [{\(backend(8080))}, {matches: [{headers: [{name: Version, value: two}, {name: Color, type: RegularExpression, value: 'b.*'}]},
      {queryParams: [{name: q, value: x}]}, {method: PATCH}], \(backend(8443))}]
      """)
    #expect(port(table, "/", [("version", "two"), ("color", "blue")]) == "8443")
    #expect(port(table, "/?q=x") == "8443")
    #expect(port(table, "/", method: "PATCH") == "8443")
    #expect(port(table, "/", [("version", "two")]) == "8080")
    #expect(port(table, "/", [("version", "two"), ("color", "sob")]) == "8080")
    #expect(port(table, "/?q=y") == "8080")
  }

  @Test func `GRPCExactMethodMatching, GRPCRouteHeaderMatching: calls`() throws {
    let table = try table(
      """
      [{matches: [{method: {service: a.B, method: Go}}], \(backend(8443))}, {matches: [{method: {service: c.D}}], \(backend(8443))},
      {matches: [{method: {method: Only}}], \(backend(8443))}]
      """, kind: "GRPCRoute")
    for path in ["/a.B/Go", "/c.D/Any", "/x.Y/Only"] {
      #expect(port(table, path, method: "POST") == "8443", "\(path)")
    }
    for path in ["/a.B/Gone", "/c.Dx/Any", "/x/y/Only"] { #expect(port(table, path, method: "POST") == "", "\(path)") }
    #expect(table.backends.filter { !$0.servicePort.isEmpty }.allSatisfy { $0.policy.speech == .http2 })
  }

  @Test func `GatewayHTTPListenerIsolation, HTTPRouteListenerPortMatching: names and ports of listeners`() throws {
    let table = table(
      try Lab(
        gateway(
          "gw", http, "name: wild, port: 80, protocol: HTTP, hostname: '*.b'",
          "name: alt, port: 81, protocol: HTTP"),
        route("all", to: "{name: gw, sectionName: http}"),
        route("wild", to: "{name: gw, sectionName: wild}", backend: "{name: two, port: 8443}")))
    #expect(port(table, "/", host: "x.a.b") == "8443")
    #expect(port(table, "/", host: "b") == "8080")
    #expect(port(table, "/", host: "b", on: 81) == "")
  }

  @Test func `HTTPRouteNoBackendRefs, HTTPRouteInvalidNonExistentBackendRef, HTTPRouteWeight: shares`() throws {
    func targets(_ backends: String) throws -> [RouteTarget] {
      let table = try table("[{backendRefs: [\(backends)]}]")
      let match = try #require(table.match(host: "a.b", path: "/", port: 80))
      return match.action < 0 ? [] : table.actions[match.action].targets
    }
    #expect(try targets("{name: one, port: 8080}").isEmpty)
    #expect(try targets("").map(\.backend) == [-1])
    #expect(try targets("{name: one, port: 8080, weight: 0}").map(\.backend) == [-1])
    let shares = try targets("{name: one, port: 8080, weight: 9}, {name: missing, port: 1}")
    #expect(shares.map(\.weight) == [9, 1] && shares[0].backend >= 0 && shares[1].backend == -1)
  }

  @Test func `HTTPRouteRedirectScheme, HTTPRouteRewritePath, HTTPRouteRequestHeaderModifier: actions`() throws {
    func action(_ filters: String) throws -> RouteAction {
      let table = try table("[{\(backend(8080)), filters: [\(filters)]}]")
      let match = try #require(table.match(host: "a.b", path: "/", port: 80))
      return table.actions[match.action]
    }
    let redirect = try action("{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}").redirect
    #expect(redirect == RouteRedirect(status: 301, place: .parts(scheme: "https", host: nil, port: 443, path: nil)))
    let rewrite = try action(
      "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x/}}}"
    ).rewrite
    #expect(rewrite?.path == .prefix(Array("/x".utf8)))
    let edit = try action(
      "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: b}], remove: [C]}}"
    ).request
    #expect(edit.set.map(\.name) == ["A"] && edit.remove == ["c"])
    // A field that nobody may set closes the rule.
    let closed = try action("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: b}]}}")
    #expect(closed.targets.map(\.backend) == [-1])
  }

  @Test func `HTTPRouteTimeoutRequest, HTTPRouteRequestMirror, BackendTLSPolicy: how a backend is asked`() throws {
    var lab = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        rules: "[{timeouts: {request: 2s, backendRequest: 1s}, \(backend(8443)), filters: [{type: RequestMirror, "
          + "requestMirror: {backendRef: {name: one, port: 8080}, percent: 5}}]}]"),
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: BackendTLSPolicy
      metadata: {name: p, namespace: infra}
      spec:
        targetRefs: [{group: '', kind: Service, name: two}]
        validation: {hostname: two.example.org, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}
      """)
    lab.input.authorities[ObjectKey("infra", "ca")] = AuthorityBundle(configMap: TestCertificate.configMap)
    let table = table(lab)
    let match = try #require(table.match(host: "a.b", path: "/", port: 80))
    let policy = table.backends[match.backend].policy
    #expect(policy.timeouts.request == 2000 && policy.timeouts.backendRequest == 1000)
    #expect(policy.mirrors.map(\.numerator) == [5] && policy.mirrors.map(\.denominator) == [100])
    #expect(policy.tls?.serverName == "two.example.org" && policy.tls?.authorities.isEmpty == false)
  }

  @Test func `a backend that cannot be verified is asked nothing`() throws {
    let lab = try Lab(
      gateway("gw", http), route("a", to: "{name: gw}", backend: "{name: two, port: 8443}"),
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: BackendTLSPolicy
      metadata: {name: p, namespace: infra}
      spec:
        targetRefs: [{group: '', kind: Service, name: two}]
        validation: {hostname: two.example.org, wellKnownCACertificates: System}
      """)
    let table = table(lab)
    let match = try #require(table.match(host: "a.b", path: "/", port: 80))
    #expect(table.actions[match.action].targets.map(\.backend) == [-1])
  }

  @Test func `Ingresses have what no listener is for, and all other ports`() throws {
    let ingress = RouteTable(
      backends: [
        RouteBackend(namespace: "web", ingress: "i", service: "old", servicePort: "1", endpoints: [])
      ], hosts: [RouteHost(name: "old.example.org", paths: [RoutePath(path: "/", isExact: false, backend: 0)])])
    let lab = try Lab(
      gateway("gw", http + ", hostname: a.example.org"), route("a", to: "{name: gw}"))
    let table = table(lab, beside: ingress)
    #expect(port(table, "/", host: "a.example.org") == "8080")
    #expect(port(table, "/", host: "old.example.org") == "1")
    #expect(port(table, "/", host: "old.example.org", on: 443) == "1")
    #expect(port(table, "/", host: "a.example.org", on: 443) == "")
  }
}
