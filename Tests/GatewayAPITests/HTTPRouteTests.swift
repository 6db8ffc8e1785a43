// HTTPRoutes and their parents: tests named after the conformance tests of Gateway API with the prefix HTTPRoute, as far as they are
// about statuses and which rules are tried in which order.

import ClusterObjects
import ClusterView
import GatewayAPI
import Testing

private let http = "name: http, port: 80, protocol: HTTP"

@Suite struct HTTPRouteTests {
  private func rejected(_ plan: GatewayPlan, _ name: String, in namespace: String = "infra", _ reason: String)
    throws
  {
    #expect(try plan.parent(name, namespace)["Accepted"] == "False \(reason)")
    #expect(plan.gateways.values.flatMap(\.listeners).allSatisfy { $0.attachedRoutes == 0 })
  }

  @Test func `HTTPRouteSimpleSameNamespace: a route's rule is its Gateway's`() throws {
    let plan = try Lab(gateway("gw", http), route("a", to: "{name: gw}")).plan()
    #expect(try plan.parent("a")["Accepted"] == "True Accepted")
    #expect(try plan.parent("a")["ResolvedRefs"] == "True ResolvedRefs")
    #expect(try plan.table("http") == ["*: a/0 one:8080"])
  }

  @Test func `HTTPRouteCrossNamespace: a listener for all namespaces takes a route of another`() throws {
    let plan = try Lab(
      gateway("gw", http + ", allowedRoutes: {namespaces: {from: All}}"),
      route("a", "web", to: "{name: gw, namespace: infra}", backend: "{name: far, port: 8080}")
    ).plan()
    #expect(try plan.table("http") == ["*: a/0 far:8080"])
  }

  @Test func `HTTPRouteInvalidCrossNamespaceParentRef: a listener for its own namespace takes no other's`()
    throws
  {
    let plan = try Lab(gateway("gw", http), route("a", "web", to: "{name: gw, namespace: infra}")).plan()
    try rejected(plan, "a", in: "web", "NotAllowedByListeners")
  }

  @Test func `HTTPRouteDisallowedKind: a listener for other kinds takes none`() throws {
    let plan = try Lab(
      gateway("gw", "name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}"),
      route("a", to: "{name: gw}")
    ).plan()
    try rejected(plan, "a", "NotAllowedByListeners")
  }

  @Test func `HTTPRouteInvalidParentRefNotMatchingListenerPort: is told`() throws {
    try rejected(
      try Lab(gateway("gw", http), route("a", to: "{name: gw, port: 81}")).plan(), "a", "NoMatchingParent")
  }

  @Test func `HTTPRouteInvalidParentRefNotMatchingSectionName: is told`() throws {
    try rejected(
      try Lab(gateway("gw", http), route("a", to: "{name: gw, sectionName: x}")).plan(), "a",
      "NoMatchingParent")
  }

  @Test func `HTTPRouteInvalidParentRefSectionNameNotMatchingPort: both must fit`() throws {
    try rejected(
      try Lab(
        gateway("gw", http, "name: alt, port: 81, protocol: HTTP"),
        route("a", to: "{name: gw, sectionName: http, port: 81}")
      ).plan(), "a", "NoMatchingParent")
  }

  @Test func `HTTPRouteListenerPortMatching: a port is one listener, a Gateway is all`() throws {
    let plan = try Lab(
      gateway("gw", http, "name: alt, port: 81, protocol: HTTP"), route("a", to: "{name: gw, port: 81}"),
      route("b", to: "{name: gw}")
    ).plan()
    #expect(try plan.table("http") == ["*: b/0 one:8080"])
    #expect(try plan.table("alt") == ["*: a/0 one:8080", "*: b/0 one:8080"])
  }

  @Test func `HTTPRouteMultipleGateways: each Gateway has what is attached to it`() throws {
    let plan = try Lab(
      gateway("gw", http), gateway("second", "name: http, port: 81, protocol: HTTP"),
      route("both", to: "{name: gw}, {name: second}"), route("mine", to: "{name: second}")
    ).plan()
    #expect(try plan.parents("both").map { $0.conditions["Accepted"] } == ["True Accepted", "True Accepted"])
    #expect(try plan.table("http") == ["*: both/0 one:8080"])
    #expect(try plan.table("http", of: "second") == ["*: both/0 one:8080", "*: mine/0 one:8080"])
  }

  @Test func `HTTPRouteObservedGenerationBump: conditions speak of the generation that was read`() throws {
    var lab = try Lab(gateway("gw", http), route("a", to: "{name: gw}", generation: 2))
    #expect(try lab.plan().parent("a").map(\.generation) == [2, 2])
    try lab.add(route("a", to: "{name: gw}", generation: 3))
    #expect(try lab.plan().parent("a").map(\.generation) == [3, 3])
  }

  // MARK: Names

  @Test(
    arguments: [
      (nil, [], [""]), ("a.b", [], ["a.b"]), (nil, ["x.y", "*.z"], ["x.y", "*.z"]),
      ("a.b", ["a.b", "c.b"], ["a.b"]),
      ("*.b", ["a.b", "x.a.b", "b", "a.c"], ["a.b", "x.a.b"]), ("a.b", ["*.b"], ["a.b"]),
      ("*.a.b", ["*.b"], ["*.a.b"]), ("*.b", ["*.a.b", "*.b"], ["*.a.b", "*.b"]), ("a.b", ["*.a.b"], []),
      ("*.a.b", ["a.b"], []), ("ab.c", ["*.b.c"], []),
    ] as [(String?, [String], [String])])
  func `HTTPRouteHostnameIntersection: the more specific of each pair is served`(
    listener: String?, route names: [String], shared: [String]
  ) throws {
    let hostname = listener.map { ", hostname: '\($0)'" } ?? ""
    let plan = try Lab(
      gateway("gw", http + hostname),
      route("a", to: "{name: gw}", hosts: names.map { "'\($0)'" }.joined(separator: ", "))
    ).plan()
    if shared.isEmpty {
      try rejected(plan, "a", "NoMatchingListenerHostname")
      #expect(try plan.served("http").hosts.isEmpty)
    } else {
      #expect(try plan.parent("a")["Accepted"] == "True Accepted")
      #expect(try plan.listener("http", of: "gw").attachedRoutes == 1)
      #expect(try plan.served("http").hosts.map(\.name).sorted() == shared.sorted())
    }
  }

  @Test func `HTTPRouteListenerHostnameMatching: a route is where its names are`() throws {
    let plan = try Lab(
      gateway(
        "gw", http + ", hostname: bar.com", "name: any, port: 80, protocol: HTTP, hostname: '*.bar.com'",
        "name: foo, port: 80, protocol: HTTP, hostname: '*.foo.com'"),
      route("a", to: "{name: gw, sectionName: http}"), route("b", to: "{name: gw, sectionName: any}"),
      route("c", to: "{name: gw, sectionName: any}, {name: gw, sectionName: foo}")
    ).plan()
    #expect(try plan.table("http") == ["bar.com: a/0 one:8080"])
    #expect(try plan.table("any") == ["*.bar.com: b/0 one:8080", "*.bar.com: c/0 one:8080"])
    #expect(try plan.table("foo") == ["*.foo.com: c/0 one:8080"])
  }

  @Test func `hosts stand with the more specific first`() throws {
    let plan = try Lab(
      gateway("gw", http), route("all", to: "{name: gw}"),
      route("some", to: "{name: gw}", hosts: "'*.b', '*.a.b', b, a.b")
    ).plan()
    #expect(try plan.served("http").hosts.map(\.name) == ["a.b", "b", "*.a.b", "*.b", ""])
  }

  // MARK: Backends

  private func unresolved(_ backend: String, _ manifests: String...) throws -> [String] {
    var lab = try Lab(gateway("gw", http), route("a", to: "{name: gw}", backend: backend))
    for text in manifests { try lab.add(text) }
    let plan = lab.plan()
    #expect(try plan.parent("a")["Accepted"] == "True Accepted")
    return [try plan.parent("a")["ResolvedRefs"]] + (try plan.table("http"))
  }

  @Test func `HTTPRouteInvalidBackendRefUnknownKind: is told, and answered with 500`() throws {
    #expect(
      try unresolved("{group: example.com, kind: Odd, name: one, port: 80}")
        == ["False InvalidKind", "*: a/0 500"])
  }

  @Test func `HTTPRouteInvalidNonExistentBackendRef: is told, and answered with 500`() throws {
    #expect(try unresolved("{name: missing, port: 8080}") == ["False BackendNotFound", "*: a/0 500"])
    #expect(try unresolved("{name: one, port: 81}") == ["False BackendNotFound", "*: a/0 500"])
    #expect(try unresolved("{name: one, port: 53}") == ["False BackendNotFound", "*: a/0 500"])
  }

  @Test func `HTTPRouteInvalidCrossNamespaceBackendRef: another namespace's Service needs a grant`() throws {
    #expect(
      try unresolved("{name: far, namespace: web, port: 8080}") == ["False RefNotPermitted", "*: a/0 500"])
  }

  @Test(arguments: [
    grant(in: "web", from: "Gateway", to: "{group: '', kind: Service}"),
    grant(in: "web", from: "HTTPRoute", of: "other", to: "{group: '', kind: Service}"),
    grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Service, name: another}"),
    grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Secret}"),
    grant(in: "other", from: "HTTPRoute", to: "{group: '', kind: Service}"),
  ])
  func `HTTPRouteInvalidReferenceGrant: a grant for something else gives nothing`(grant: String) throws {
    #expect(
      try unresolved("{name: far, namespace: web, port: 8080}", grant)
        == ["False RefNotPermitted", "*: a/0 500"])
  }

  @Test func `HTTPRouteReferenceGrant: a grant is enough, and gone with it`() throws {
    let allowed = grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Service, name: far}")
    var lab = try Lab(
      gateway("gw", http), route("a", to: "{name: gw}", backend: "{name: far, namespace: web, port: 8080}"),
      allowed)
    #expect(try lab.plan().table("http") == ["*: a/0 far:8080"])
    #expect(try lab.plan().parent("a")["ResolvedRefs"] == "True ResolvedRefs")
    lab.view.remove(kind: "ReferenceGrant", ObjectKey("web", "grant"))
    #expect(try lab.plan().table("http") == ["*: a/0 500"])
  }

  @Test func `HTTPRoutePartiallyInvalidViaInvalidReferenceGrant: the good rule is served`() throws {
    let plan = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        rules: "[{matches: [{path: {value: /x}}], backendRefs: [{name: far, namespace: web, port: 8080}]}, "
          + "{matches: [{path: {value: /y}}], backendRefs: [{name: one, port: 8080}]}]")
    ).plan()
    #expect(try plan.parent("a")["ResolvedRefs"] == "False RefNotPermitted")
    #expect(try plan.table("http") == ["*: a/0 500", "*: a/1 one:8080"])
  }

  @Test func `HTTPRouteServiceTypes: headless Services are backends, ExternalNames are not`() throws {
    let services = """
      apiVersion: v1
      kind: Service
      metadata: {name: headless, namespace: infra}
      spec: {clusterIP: None, ports: [{port: 8080}]}
      ---
      apiVersion: v1
      kind: Service
      metadata: {name: name, namespace: infra}
      spec: {type: ExternalName, externalName: example.org, ports: [{port: 8080}]}
      """
    #expect(
      try unresolved("{name: headless, port: 8080}", services)
        == ["True ResolvedRefs", "*: a/0 headless:8080"])
    #expect(
      try unresolved("{name: name, port: 8080}", services) == ["False UnsupportedProtocol", "*: a/0 500"])
  }

  @Test func `HTTPRouteBackendProtocolH2C, HTTPRouteBackendProtocolWebSocket: appProtocol is the backend's`()
    throws
  {
    func service(_ name: String) -> String {
      """
      apiVersion: v1
      kind: Service
      metadata: {name: spoken, namespace: infra}
      spec: {clusterIP: 10.43.0.20, ports: [{name: a, port: 1, appProtocol: \(name)}]}
      """
    }
    for name in ["kubernetes.io/h2c", "kubernetes.io/ws", "http"] {
      let plan = try Lab(
        gateway("gw", http), service(name), route("a", to: "{name: gw}", backend: "{name: spoken, port: 1}")
      )
      .plan()
      #expect(try plan.served("http").hosts[0].rules[0].backends[0].appProtocol == name)
    }
    #expect(
      try unresolved("{name: spoken, port: 1}", service("kubernetes.io/odd"))
        == ["False UnsupportedProtocol", "*: a/0 500"])
  }

  @Test func `HTTPRouteNoBackendRefs, HTTPRouteNamedRule, HTTPRouteWeight: backends are as they are written`()
    throws
  {
    let plan = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        rules: "[{name: empty, matches: [{path: {value: /none}}]}, "
          + "{backendRefs: [{name: one, port: 8080, weight: 70}, {name: two, port: 8080, weight: 30}, {name: two, port: 8443, weight: 0}]}]"
      )
    ).plan()
    let rules = try plan.served("http").hosts[0].rules
    #expect(rules[0].backends.isEmpty && rules[0].name == "empty")
    #expect(rules[1].backends.map(\.weight) == [70, 30, 0])
  }

  // MARK: Order

  private func order(_ rules: String) throws -> [Int] {
    let plan = try Lab(gateway("gw", http), route("a", to: "{name: gw}", rules: rules)).plan()
    return try plan.served("http").hosts[0].rules.map(\.index)
  }

  @Test func `HTTPRoutePathMatchOrder, HTTPRouteExactPathMatching: exact, then the longer prefix`() throws {
    #expect(
      try order(
        """
        [{matches: [{path: {value: /}}]}, {matches: [{path: {value: /match/}}]}, {matches: [{path: {value: /match/prefix/one}}]},
        {matches: [{path: {type: Exact, value: /match}}]}, {matches: [{path: {type: RegularExpression, value: '/m.*'}}]}]
        """) == [3, 4, 2, 1, 0])
  }

  @Test
  func
    `HTTPRouteMatching, HTTPRouteMethodMatching, HTTPRouteHeaderMatching, HTTPRouteQueryParamMatching: more said goes first`()
    throws
  {
    let header = "{name: version, value: one}"
    #expect(
      try order(
        """
        [{matches: [{path: {value: /}}]}, {matches: [{queryParams: [\(header)]}]}, {matches: [{headers: [\(header)]}]},
        {matches: [{headers: [\(header), {name: color, value: x}]}]}, {matches: [{method: GET}]},
        {matches: [{method: GET, headers: [\(header)]}]}, {matches: [{path: {value: /v2}}]}]
        """) == [6, 5, 4, 3, 2, 1, 0])
  }

  @Test func `HTTPRouteMatchingAcrossRoutes: of equal matches the older route's, then the first by name`()
    throws
  {
    func aged(_ name: String, _ time: String) -> String {
      route(name, to: "{name: gw}").replacing(
        "generation: 1", with: "generation: 1, creationTimestamp: '\(time)'")
    }
    let plan = try Lab(
      gateway("gw", http), aged("young", "2026-03-01T00:00:00Z"), aged("b", "2026-02-01T00:00:00Z"),
      aged("a", "2026-02-01T00:00:00Z"),
      route("special", to: "{name: gw}", rules: "[{matches: [{path: {type: Exact, value: /x}}]}]")
    ).plan()
    #expect(
      try plan.served("http").hosts[0].rules.map(\.route.key.name) == ["special", "a", "b", "young"])
  }

  // MARK: Rules that cannot be served

  private func dropped(_ rules: String) throws -> (accepted: String, partially: String, indexes: [Int]) {
    let plan = try Lab(gateway("gw", http), route("a", to: "{name: gw}", rules: rules)).plan()
    let conditions = try plan.parent("a")
    return (
      conditions["Accepted"], conditions["PartiallyInvalid"],
      try plan.served("http").hosts.flatMap(\.rules).map(\.index)
    )
  }

  @Test(arguments: [
    ("{filters: [{type: ExtensionRef, extensionRef: {group: a.b, kind: C, name: d}}]}", "UnsupportedValue"),
    (
      "{filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {hostname: a.b}}]}",
      "IncompatibleFilters"
    ),
    ("{filters: [{type: CORS, cors: {}}, {type: CORS, cors: {}}]}", "IncompatibleFilters"),
    ("{timeouts: {request: 1s, backendRequest: 2s}}", "UnsupportedValue"),
    ("{timeouts: {request: 1x}}", "UnsupportedValue"),
    (
      "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}",
      "UnsupportedValue"
    ),
    (
      "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: one, port: 8080}, fraction: {numerator: 3, denominator: 2}}}]}",
      "UnsupportedValue"
    ),
  ])
  func `a rule that cannot be served is dropped alone, and told`(rule: String, reason: String) throws {
    let whole = try dropped("[\(rule)]")
    #expect(whole.accepted == "False \(reason)" && whole.partially == "" && whole.indexes.isEmpty)
    let part = try dropped("[\(rule), {backendRefs: [{name: one, port: 8080}]}]")
    #expect(part.accepted == "True Accepted" && part.partially == "True \(reason)" && part.indexes == [1])
  }

  @Test
  func
    `HTTPRouteTimeoutRequest, HTTPRouteTimeoutBackendRequest, HTTPRouteRequestPercentageMirror: are in the rule`()
    throws
  {
    let plan = try Lab(
      gateway("gw", http),
      route(
        "a", to: "{name: gw}",
        rules: """
          [{timeouts: {request: 1m500ms, backendRequest: 2s}, backendRefs: [{name: one, port: 8080}],
          filters: [{type: RequestMirror, requestMirror: {backendRef: {name: two, port: 8080}, percent: 20}},
          {type: RequestMirror, requestMirror: {backendRef: {name: missing, port: 1}}},
          {type: RequestHeaderModifier, requestHeaderModifier: {remove: [X-Gone]}}]}]
          """)
    ).plan()
    let rule = try plan.served("http").hosts[0].rules[0]
    #expect(rule.requestMilliseconds == 60_500 && rule.backendMilliseconds == 2000)
    #expect(rule.mirrors.map(\.numerator) == [20, 100] && rule.mirrors.map(\.denominator) == [100, 100])
    #expect(
      rule.mirrors.map(\.backend.target) == [.service(ObjectKey("infra", "two"), port: 8080), .refused])
    #expect(rule.filters == [.requestHeaders(.init(set: [], add: [], remove: ["x-gone"]))])
    #expect(try plan.parent("a")["ResolvedRefs"] == "False BackendNotFound")
  }

  @Test(
    arguments: [
      ("1h30m", 5_400_000), ("500ms", 500), ("10s", 10_000), ("0s", 0), ("1m1s1ms", 61_001), ("", nil),
      ("10", nil), ("s", nil), ("1d", nil), ("-1s", nil), ("999999s", nil),
    ] as [(String, Int?)])
  func `durations are read as the API writes them`(text: String, milliseconds: Int?) {
    #expect(GatewayRoute.milliseconds(text) == milliseconds)
  }
}
