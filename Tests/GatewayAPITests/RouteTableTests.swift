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
    for path in ["/", "/one/", "/pre/fixed", "/rx", "/r1/x"] {
      #expect(port(table, path) == "8080", "\(path)")
    }
  }

  @Test
  func `HTTPRouteHeaderMatching, HTTPRouteQueryParamMatching, HTTPRouteMethodMatching: all that is named`()
    throws
  {
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
    for path in ["/a.B/Gone", "/c.Dx/Any", "/x/y/Only"] {
      #expect(port(table, path, method: "POST") == "", "\(path)")
    }
    #expect(table.backends.filter { !$0.servicePort.isEmpty }.allSatisfy { $0.policy.speech == .http2 })
  }

  @Test func `GatewayHTTPListenerIsolation, HTTPRouteListenerPortMatching: names and ports of listeners`()
    throws
  {
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

  @Test func `HTTPRouteNoBackendRefs, HTTPRouteInvalidNonExistentBackendRef, HTTPRouteWeight: shares`() throws
  {
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

  @Test func `HTTPRouteRedirectScheme, HTTPRouteRewritePath, HTTPRouteRequestHeaderModifier: actions`() throws
  {
    func action(_ filters: String) throws -> RouteAction {
      let table = try table("[{\(backend(8080)), filters: [\(filters)]}]")
      let match = try #require(table.match(host: "a.b", path: "/", port: 80))
      return table.actions[match.action]
    }
    let redirect = try action("{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}")
      .redirect
    #expect(
      redirect == RouteRedirect(status: 301, place: .parts(scheme: "https", host: nil, port: 443, path: nil)))
    let rewrite = try action(
      "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x/}}}"
    ).rewrite
    #expect(rewrite?.path == .prefix(Array("/x".utf8)))
    let edit = try action(
      "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: b}], remove: [C]}}"
    ).request
    #expect(edit.set.map(\.name) == ["A"] && edit.remove == ["c"])
  }

  @Test func `a field that frames or routes a message is nobody's to set, and the route is told so`() throws {
    for filter in [
      "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: b}]}}",
      "{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: Content-Length, value: '3'}]}}",
      "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: '/a b'}}}",
    ] {
      let lab = try Lab(
        gateway("gw", http), route("a", to: "{name: gw}", rules: "[{\(backend(8080)), filters: [\(filter)]}]")
      )
      #expect(try lab.plan().parent("a")["Accepted"] == "False UnsupportedValue", "\(filter)")
      #expect(port(table(lab), "/") == "")
    }
  }

  @Test func `HTTPRouteTimeoutRequest, HTTPRouteRequestMirror, BackendTLSPolicy: how a backend is asked`()
    throws
  {
    var lab = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        rules:
          "[{timeouts: {request: 2s, backendRequest: 1s}, \(backend(8443)), filters: [{type: RequestMirror, "
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

  private func policy(_ more: String) -> String {
    """
    apiVersion: gateway.networking.k8s.io/v1
    kind: BackendTLSPolicy
    metadata: {name: p, namespace: infra}
    spec:
      targetRefs: [{group: '', kind: Service, name: two}]
      validation: {hostname: two.example.org, \(more)}
    """
  }

  @Test func `BackendTLSPolicySANValidation: names, and what the machine trusts`() throws {
    let lab = try Lab(
      gateway("gw", http), route("a", to: "{name: gw}", backend: "{name: two, port: 8443}"),
      policy(
        "wellKnownCACertificates: System, subjectAltNames: [{type: Hostname, hostname: a.b}, {type: URI, uri: 'spiffe://c/d'}]"
      ))
    let table = table(lab)
    let match = try #require(table.match(host: "a.b", path: "/", port: 80))
    let tls = try #require(table.backends[match.backend].policy.tls)
    #expect(tls.trustsSystem && tls.authorities.isEmpty)
    #expect(tls.names == [.dns("a.b"), .uri("spiffe://c/d")])
  }

  @Test func `a backend that cannot be verified is asked nothing`() throws {
    var lab = try Lab(
      gateway("gw", http), route("a", to: "{name: gw}", backend: "{name: two, port: 8443}"),
      policy("caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]"))
    lab.input.authorities[ObjectKey("infra", "ca")] = AuthorityBundle(configMap: TestCertificate.configMap)
    let plan = lab.plan()
    // What the plan was made with has gone since.
    let table = plan.routeTable(view: lab.view, input: GatewayInput())
    let match = try #require(table.match(host: "a.b", path: "/", port: 80))
    #expect(table.actions[match.action].targets.map(\.backend) == [-1])
  }

  @Test func `Ingresses have what no listener is for, on their own ports`() throws {
    let ingress = RouteTable(
      backends: [
        RouteBackend(namespace: "web", ingress: "i", service: "old", servicePort: "1", endpoints: [])
      ],
      hosts: [RouteHost(name: "old.example.org", paths: [RoutePath(path: "/", isExact: false, backend: 0)])])
    let lab = try Lab(
      gateway("gw", http + ", hostname: a.example.org"), route("a", to: "{name: gw}"))
    let table = lab.plan().routeTable(view: lab.view, input: lab.input, beside: ingress, shared: [80, 443])
    #expect(port(table, "/", host: "a.example.org") == "8080")
    #expect(port(table, "/", host: "old.example.org") == "1")
    #expect(port(table, "/", host: "old.example.org", on: 443) == "1")
    #expect(port(table, "/", host: "a.example.org", on: 443) == "")
    // A port of Gateways alone has nothing of Ingresses.
    let alone = lab.plan().routeTable(view: lab.view, input: lab.input, beside: ingress)
    #expect(port(alone, "/", host: "old.example.org") == "")
    #expect(port(alone, "/", host: "old.example.org", on: 443) == "1")
  }

  @Test func `GRPCExactMethodMatching: a service goes before a method alone, patterns before both`() throws {
    let table = try table(
      """
      [{matches: [{method: {method: Go}}], \(backend(8080))}, {matches: [{method: {service: a.B}}], \(backend(8443))},
      {matches: [{method: {type: RegularExpression, service: 'c[.]D+', method: Go}}], \(backend(8443))}]
      """, kind: "GRPCRoute")
    #expect(port(table, "/a.B/Go", method: "POST") == "8443")
    #expect(port(table, "/aXB/Go", method: "POST") == "8080", "a dot stands for itself")
    #expect(port(table, "/c.DD/Go", method: "POST") == "8443")
    #expect(port(table, "/c.E/Go", method: "POST") == "8080")
  }

  @Test func `expressions go by their length, and of equal ones that of the older route first`() throws {
    let lab = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        rules: "[{matches: [{path: {type: RegularExpression, value: '/a.'}}], \(backend(8080))}]"),
      route(
        "b", to: "{name: gw}",
        rules: "[{matches: [{path: {type: RegularExpression, value: '/.b'}}], \(backend(8443))}]"),
      route(
        "c", to: "{name: gw}",
        rules: "[{matches: [{path: {type: RegularExpression, value: '/a.*c'}}], \(backend(8443))}]"))
    let table = table(lab)
    #expect(port(table, "/ab") == "8080")
    #expect(port(table, "/xb") == "8443")
    #expect(port(table, "/axc") == "8443")
  }

  @Test func `an expression that is none is told, and its rule alone is left out`() throws {
    for match in [
      "{path: {type: RegularExpression, value: '/(a'}}",
      "{headers: [{name: a, type: RegularExpression, value: '(?=b)'}]}",
      "{queryParams: [{name: a, type: RegularExpression, value: '['}]}",
    ] {
      let lab = try Lab(
        gateway("gw", http),
        route(
          "a", to: "{name: gw}", rules: "[{matches: [\(match)], \(backend(8443))}, {\(backend(8080))}]"))
      let conditions = try lab.plan().parent("a")
      #expect(conditions["Accepted"] == "True Accepted")
      #expect(conditions["PartiallyInvalid"] == "True UnsupportedValue", "\(match)")
      #expect(port(table(lab), "/", [("a", "b")]) == "8080")
    }
    let lab = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        rules: "[{matches: [{path: {type: RegularExpression, value: '/(a'}}], \(backend(8443))}]"))
    #expect(try lab.plan().parent("a")["Accepted"] == "False UnsupportedValue")
  }

  @Test func `of an HTTPRoute and a GRPCRoute with the same name the older is accepted`() throws {
    let lab = try Lab(
      gateway("gw", http, "name: alt, port: 81, protocol: HTTP"),
      route("a", kind: "GRPCRoute", to: "{name: gw, sectionName: http}", hosts: "'*.b.c'"),
      route("a", to: "{name: gw, sectionName: http}", hosts: "x.b.c"),
      route("b", to: "{name: gw, sectionName: http}", hosts: "b.c"),
      route("c", to: "{name: gw}", hosts: "y.b.c"))
    let plan = lab.plan()
    #expect(try plan.parent("a", kind: .grpc)["Accepted"] == "True Accepted")
    #expect(try plan.parent("a")["Accepted"] == "False HostnameConflict")
    #expect(try plan.parent("b")["Accepted"] == "True Accepted", "another name")
    #expect(try plan.parent("c")["Accepted"] == "True Accepted", "another listener has it")
    #expect(try plan.listener("http", of: "gw").attachedRoutes == 2)
    #expect(try plan.listener("alt", of: "gw").attachedRoutes == 1)
  }

  @Test func `HTTPRouteBackendProtocolWebSocket: over TLS a policy has to say whom to trust`() throws {
    let service = """
      apiVersion: v1
      kind: Service
      metadata: {name: two, namespace: infra}
      spec: {clusterIP: 10.43.0.12, ports: [{name: https, port: 8443, appProtocol: kubernetes.io/wss}]}
      """
    let plain = try Lab(
      gateway("gw", http), route("a", to: "{name: gw}", backend: "{name: two, port: 8443}"), service)
    #expect(try plain.plan().parent("a")["ResolvedRefs"] == "False UnsupportedProtocol")
    let sealed = try Lab(
      gateway("gw", http), route("a", to: "{name: gw}", backend: "{name: two, port: 8443}"), service,
      policy("wellKnownCACertificates: System"))
    let table = table(sealed)
    let match = try #require(table.match(host: "a.b", path: "/", port: 80))
    #expect(table.backends[match.backend].policy.tls?.serverName == "two.example.org")
    #expect(table.backends[match.backend].policy.speech == .http1)
  }
}
