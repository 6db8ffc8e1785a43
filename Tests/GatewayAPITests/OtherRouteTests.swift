// GRPCRoute, TLSRoute, TCPRoute, UDPRoute and BackendTLSPolicy: tests named after the conformance tests of Gateway API.

import ClusterObjects
import ClusterView
import GatewayAPI
import Testing

private let passthrough = "name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}"
private let tcp = "name: tcp, port: 5432, protocol: TCP"
private let udp = "name: udp, port: 53, protocol: UDP"

@Suite struct GRPCRouteTests {
  private let grpc = "name: http, port: 80, protocol: HTTP"

  @Test func `GRPCExactMethodMatching, GRPCRouteHeaderMatching: service and method, then more metadata`()
    throws
  {
    let plan = try Lab(
      gateway("gw", grpc),
      route(
        "a", kind: "GRPCRoute", to: "{name: gw}",
        rules: """
          [{}, {matches: [{headers: [{name: Version, value: one}]}]}, {matches: [{method: {service: a.B}}]},
          {matches: [{method: {service: a.B, method: Go}}]}, {matches: [{method: {service: a.B, method: Go}, headers: [{name: v, value: x}]}]},
          {matches: [{method: {type: RegularExpression, service: 'a.*'}}]}]
          """)
    ).plan()
    #expect(try plan.served("http").hosts[0].rules.map(\.index) == [4, 3, 5, 2, 1, 0])
    #expect(try plan.served("http").hosts[0].rules[4].match.headers.map(\.name) == ["version"])
  }

  @Test func `GRPCRouteListenerHostnameMatching: a route is where its names are`() throws {
    let plan = try Lab(
      gateway("gw", grpc + ", hostname: '*.example.org'"),
      route("a", kind: "GRPCRoute", to: "{name: gw}", hosts: "a.example.org, b.example.com"),
      route("b", kind: "GRPCRoute", to: "{name: gw}", hosts: "b.example.com")
    ).plan()
    #expect(try plan.table("http") == ["a.example.org: a/0 one:8080"])
    #expect(try plan.parent("b", kind: .grpc)["Accepted"] == "False NoMatchingListenerHostname")
  }

  @Test func `GRPCRouteNamedRule, GRPCRouteWeight: names and weights are in the plan`() throws {
    let plan = try Lab(
      gateway("gw", grpc),
      route(
        "a", kind: "GRPCRoute", to: "{name: gw}",
        rules: "[{name: named, backendRefs: [{name: one, port: 8080, weight: 9}, {name: two, port: 8080}]}]")
    ).plan()
    let rule = try plan.served("http").hosts[0].rules[0]
    #expect(rule.name == "named" && rule.backends.map(\.weight) == [9, 1])
  }
}

@Suite struct TLSRouteTests {
  private func tls(
    _ name: String, hosts: String = "a.example.org", backend: String = "{name: two, port: 8443}"
  ) -> String {
    route(name, kind: "TLSRoute", to: "{name: gw}", hosts: hosts, backend: backend)
  }

  private func resolved(_ backend: String, _ manifests: String...) throws -> String {
    var lab = try Lab(gateway("gw", passthrough), tls("a", backend: backend))
    for text in manifests { try lab.add(text) }
    return try lab.plan().parent("a", kind: .tls)["ResolvedRefs"]
  }

  @Test func `TLSRouteSimpleSameNamespace: connections go on unopened`() throws {
    let plan = try Lab(gateway("gw", passthrough), tls("a")).plan()
    #expect(try plan.served("tls").tls == .passthrough)
    #expect(try plan.table("tls") == ["a.example.org: a/0 two:8443"])
  }

  @Test func `TLSRouteTerminateSimpleSameNamespace, TLSRouteListenerTerminateSupportedKinds: or are opened`()
    throws
  {
    var lab = try Lab(
      gateway(
        "gw", "name: tls, port: 443, protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: good}]}"),
      tls("a"))
    lab.input.secrets[ObjectKey("infra", "good")] = TestCertificate.secret
    let plan = lab.plan()
    #expect(
      try plan.served("tls").tls == .terminate(certificates: [ObjectKey("infra", "good")], clients: nil))
    #expect(try plan.listener("tls", of: "gw").kinds == ["TLSRoute"])
    #expect(try plan.listener("tls", of: "gw").isWell)
  }

  @Test
  func
    `TLSRouteMixedTerminationSameNamespace, TLSRouteListenerMixedTerminationNotSupported: as the data plane can`()
    throws
  {
    var lab = try Lab(
      gateway(
        "gw", passthrough + ", hostname: a.example.org",
        "name: open, port: 443, protocol: TLS, hostname: b.example.org, tls: {mode: Terminate, certificateRefs: [{name: good}]}"
      ))
    lab.input.secrets[ObjectKey("infra", "good")] = TestCertificate.secret
    #expect(try lab.plan().gateway("gw").listeners.areWell)
    lab.settings.allowsMixedTLS = false
    for listener in try lab.plan().gateway("gw").listeners {
      #expect(listener.conditions["Accepted"] == "False ProtocolConflict")
    }
  }

  @Test func `TLSRouteListenerTerminateNotSupported: as the data plane can`() throws {
    var lab = try Lab(
      gateway(
        "gw", passthrough + ", hostname: a.example.org",
        "name: open, port: 443, protocol: TLS, hostname: b.example.org, tls: {mode: Terminate, certificateRefs: [{name: good}]}"
      ), tls("a", hosts: "b.example.org"))
    lab.input.secrets[ObjectKey("infra", "good")] = TestCertificate.secret
    #expect(try lab.plan().listener("open", of: "gw").isWell)
    lab.settings.opensTLS = false
    let listener = try lab.plan().listener("open", of: "gw")
    #expect(listener.conditions["Accepted"] == "False UnsupportedValue")
    #expect(try lab.plan().listener("tls", of: "gw").isWell)
    #expect(lab.plan().listeners.map(\.name) == ["tls"])
  }

  @Test func `TLSRouteListenerPassthroughSupportedKinds: TCPRoutes do not go with TLS`() throws {
    let plan = try Lab(
      gateway("gw", passthrough + ", allowedRoutes: {kinds: [{kind: TLSRoute}, {kind: TCPRoute}]}")
    ).plan()
    let listener = try plan.listener("tls", of: "gw")
    #expect(listener.kinds == ["TLSRoute"])
    #expect(listener.conditions["ResolvedRefs"] == "False InvalidRouteKinds")
  }

  @Test func `TLSRouteHostnameIntersection: names are shared as those of HTTPRoutes`() throws {
    let plan = try Lab(
      gateway("gw", passthrough + ", hostname: '*.example.org'"),
      tls("a", hosts: "'*.example.org', b.example.com"),
      tls("b", hosts: "x.example.org")
    ).plan()
    #expect(
      try plan.table("tls") == ["x.example.org: b/0 two:8443", "*.example.org: a/0 two:8443"])
  }

  @Test func `TLSRouteInvalidNoMatchingListenerHostname: is told`() throws {
    let plan = try Lab(gateway("gw", passthrough + ", hostname: b.example.org"), tls("a")).plan()
    #expect(try plan.parent("a", kind: .tls)["Accepted"] == "False NoMatchingListenerHostname")
    #expect(try plan.listener("tls", of: "gw").attachedRoutes == 0)
  }

  @Test
  func `TLSRouteInvalidNoMatchingListener: HTTP and HTTPS take no TLSRoute, nor a section that is none`()
    throws
  {
    var lab = try Lab(
      gateway("gw", "name: http, port: 80, protocol: HTTP"),
      gateway("sealed", "name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}"),
      gateway("only", passthrough), route("a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.b"),
      route("b", kind: "TLSRoute", to: "{name: sealed}", hosts: "a.b"),
      route("c", kind: "TLSRoute", to: "{name: only, sectionName: x}", hosts: "a.b"))
    lab.input.secrets[ObjectKey("infra", "good")] = TestCertificate.secret
    let plan = lab.plan()
    #expect(try plan.parent("a", kind: .tls)["Accepted"] == "False NotAllowedByListeners")
    #expect(try plan.parent("b", kind: .tls)["Accepted"] == "False NotAllowedByListeners")
    #expect(try plan.parent("c", kind: .tls)["Accepted"] == "False NoMatchingParent")
  }

  @Test
  func
    `TLSRouteInvalidBackendRefNonexistent, TLSRouteInvalidBackendRefUnknownKind, TLSRouteInvalidReferenceGrant: are told`()
    throws
  {
    #expect(try resolved("{name: missing, port: 1}") == "False BackendNotFound")
    #expect(try resolved("{kind: Odd, name: two, port: 8443}") == "False InvalidKind")
    let wrong = grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Service}")
    #expect(try resolved("{name: far, namespace: web, port: 8080}", wrong) == "False RefNotPermitted")
    let right = grant(in: "web", from: "TLSRoute", to: "{group: '', kind: Service}")
    #expect(try resolved("{name: far, namespace: web, port: 8080}", right) == "True ResolvedRefs")
  }
}

@Suite struct StreamRouteTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var kind: GatewayRoute.Kind
    var listener: String
    var port: Int
    var backend: Int
    var testDescription: String { kind.rawValue }
    var name: String { kind == .tcp ? "tcp" : "udp" }

    func route(_ name: String, to parents: String = "{name: gw}", backend named: String? = nil) -> String {
      GatewayAPITests.route(
        name, kind: kind.rawValue, to: parents, backend: named ?? "{name: one, port: \(backend)}")
    }
  }
  static let cases = [
    Case(kind: .tcp, listener: tcp, port: 5432, backend: 8080),
    Case(kind: .udp, listener: udp, port: 53, backend: 53),
  ]

  @Test(arguments: cases)
  func
    `UDPRoute, TCPRouteParentRefAttachAll, UDPRouteParentRefAttachAllListeners: a Gateway is all its listeners`(
      _ one: Case
    ) throws
  {
    let plan = try Lab(
      gateway("gw", one.listener, "name: more, port: 99, protocol: \(one.name.uppercased())"), one.route("a")
    ).plan()
    #expect(try plan.gateway("gw").listeners.map(\.attachedRoutes) == [1, 1])
    #expect(try plan.table(one.name) == ["*: a/0 one:\(one.backend)"])
    #expect(try plan.table("more") == ["*: a/0 one:\(one.backend)"])
  }

  @Test(arguments: cases)
  func `TCPRouteParentRefPortAndSectionName, UDPRouteParentRefPortAndSectionName: choose one`(_ one: Case)
    throws
  {
    let plan = try Lab(
      gateway("gw", one.listener, "name: more, port: 99, protocol: \(one.name.uppercased())"),
      one.route("a", to: "{name: gw, sectionName: more, port: 99}"),
      one.route("b", to: "{name: gw, port: \(one.port)}"),
      one.route("c", to: "{name: gw, sectionName: more, port: \(one.port)}")
    ).plan()
    #expect(try plan.table("more") == ["*: a/0 one:\(one.backend)"])
    #expect(try plan.table(one.name) == ["*: b/0 one:\(one.backend)"])
    #expect(try plan.parent("c", kind: one.kind)["Accepted"] == "False NoMatchingParent")
  }

  @Test(arguments: cases)
  func `TCPRouteInvalidNonTCPListener, UDPRouteNotAllowedByListeners: other protocols take none`(_ one: Case)
    throws
  {
    let plan = try Lab(gateway("gw", passthrough), one.route("a")).plan()
    #expect(try plan.parent("a", kind: one.kind)["Accepted"] == "False NotAllowedByListeners")
    #expect(try plan.listener("tls", of: "gw").attachedRoutes == 0)
  }

  @Test(arguments: cases)
  func `TCPRouteInvalidBackendRefNonexistent, UDPRouteInvalidBackendRefNonexistent: is told`(_ one: Case)
    throws
  {
    let plan = try Lab(gateway("gw", one.listener), one.route("a", backend: "{name: missing, port: 1}"))
      .plan()
    #expect(try plan.parent("a", kind: one.kind)["ResolvedRefs"] == "False BackendNotFound")
    #expect(try plan.table(one.name) == ["*: a/0 500"])
  }

  @Test(arguments: cases)
  func
    `TCPRouteInvalidCrossNamespaceBackendRef, TCPRouteReferenceGrant, UDPRouteInvalidCrossNamespaceBackendRef, UDPRouteReferenceGrant: a grant decides`(
      _ one: Case
    ) throws
  {
    var lab = try Lab(
      gateway("gw", one.listener),
      one.route("a", backend: "{name: far, namespace: web, port: \(one.backend)}"))
    #expect(try lab.plan().parent("a", kind: one.kind)["ResolvedRefs"] == "False RefNotPermitted")
    try lab.add(grant(in: "web", from: one.kind.rawValue, to: "{group: '', kind: Service}"))
    #expect(try lab.plan().parent("a", kind: one.kind)["ResolvedRefs"] == "True ResolvedRefs")
    #expect(try lab.plan().table(one.name) == ["*: a/0 far:\(one.backend)"])
  }

  @Test(arguments: cases)
  func `TCPRouteMultipleRoutesAttachment, UDPRouteMultipleRoutesAttachment: both count, the older is served`(
    _ one: Case
  ) throws {
    let plan = try Lab(
      gateway("gw", one.listener), one.route("z-older"),
      one.route("a-newer", backend: "{name: two, port: \(one.backend)}")
    ).plan()
    #expect(try plan.listener(one.name, of: "gw").attachedRoutes == 2)
    for name in ["z-older", "a-newer"] {
      #expect(try plan.parent(name, kind: one.kind)["Accepted"] == "True Accepted")
    }
    #expect(try plan.table(one.name) == ["*: z-older/0 one:\(one.backend)"])
  }

  @Test(arguments: cases)
  func `TCPRouteWeightedRouting, UDPRouteWeightedRouting: weights are in the plan`(_ one: Case) throws {
    let plan = try Lab(
      gateway("gw", one.listener),
      one.route(
        "a",
        backend:
          "{name: one, port: \(one.backend), weight: 90}, {name: one, port: \(one.backend), weight: 10}")
    ).plan()
    #expect(try plan.served(one.name).hosts[0].rules[0].backends.map(\.weight) == [90, 10])
  }
}

@Suite struct BackendTLSPolicyTests {
  private func policy(
    _ name: String, section: String = "", authority: String = "{group: '', kind: ConfigMap, name: ca}",
    generation: Int = 1, more: String = ""
  ) -> String {
    """
    apiVersion: gateway.networking.k8s.io/v1
    kind: BackendTLSPolicy
    metadata: {name: \(name), namespace: infra, generation: \(generation)}
    spec:
      targetRefs: [{group: '', kind: Service, name: two\(section.isEmpty ? "" : ", sectionName: \(section)")}]
      validation: {hostname: two.example.org, caCertificateRefs: [\(authority)]\(more)}
    """
  }

  private func lab(_ manifests: String..., kind: String = "HTTPRoute") throws -> Lab {
    var lab = try Lab(
      gateway("gw", "name: http, port: 80, protocol: HTTP"),
      route("a", kind: kind, to: "{name: gw}", backend: "{name: two, port: 8443}"))
    lab.input.authorities[ObjectKey("infra", "ca")] = AuthorityBundle(configMap: TestCertificate.configMap)
    for text in manifests { try lab.add(text) }
    return lab
  }

  private func conditions(_ plan: GatewayPlan, _ name: String) throws -> [GatewayPlan.Condition] {
    let ancestors = try #require(plan.policies[ObjectKey("infra", name)])
    #expect(ancestors.map(\.gateway) == [ObjectKey("infra", "gw")])
    return ancestors.first?.conditions ?? []
  }

  private func backend(_ plan: GatewayPlan) throws -> GatewayPlan.Backend {
    try plan.served("http").hosts[0].rules[0].backends[0]
  }

  @Test(arguments: ["HTTPRoute", "GRPCRoute"])
  func
    `BackendTLSPolicy, BackendTLSPolicyGRPCRoute, BackendTLSPolicySANValidation: how a backend is spoken to`(
      kind: String
    ) throws
  {
    let names =
      ", subjectAltNames: [{type: Hostname, hostname: A.example.org}, {type: URI, uri: 'spiffe://x/y'}]"
    let plan = try lab(policy("p", more: names), kind: kind).plan()
    #expect(try conditions(plan, "p")["Accepted"] == "True Accepted")
    #expect(try conditions(plan, "p")["ResolvedRefs"] == "True ResolvedRefs")
    let tls = try #require(try backend(plan).tls)
    #expect(tls.hostname == "two.example.org" && tls.authorities == [ObjectKey("infra", "ca")])
    #expect(tls.names == [.hostname("a.example.org"), .uri("spiffe://x/y")])
  }

  @Test func `BackendTLSPolicyObservedGenerationBump: conditions speak of the generation that was read`()
    throws
  {
    var lab = try lab(policy("p", generation: 2))
    #expect(try conditions(lab.plan(), "p").map(\.generation) == [2, 2])
    try lab.add(policy("p", generation: 3))
    #expect(try conditions(lab.plan(), "p").map(\.generation) == [3, 3])
  }

  @Test(arguments: [
    ("{group: '', kind: ConfigMap, name: missing}", "InvalidCACertificateRef"),
    ("{group: a.b, kind: Odd, name: ca}", "InvalidKind"),
  ])
  func `BackendTLSPolicyInvalidCACertificateRef, BackendTLSPolicyInvalidKind: the backend is closed`(
    authority: String, reason: String
  ) throws {
    let plan = try lab(policy("p", authority: authority)).plan()
    #expect(try conditions(plan, "p")["Accepted"] == "False NoValidCACertificate")
    #expect(try conditions(plan, "p")["ResolvedRefs"] == "False \(reason)")
    #expect(try backend(plan).target == .refused)
  }

  @Test
  func
    `BackendTLSPolicyConflictResolution: the older policy has a target, a port's goes before the Service's`()
    throws
  {
    let plan = try lab(
      policy("older"), policy("younger"), policy("port", section: "https"),
      policy("port-younger", section: "https")
    ).plan()
    #expect(try conditions(plan, "older")["Accepted"] == "True Accepted")
    #expect(try conditions(plan, "younger")["Accepted"] == "False Conflicted")
    #expect(try conditions(plan, "port")["Accepted"] == "True Accepted")
    #expect(try conditions(plan, "port-younger")["Accepted"] == "False Conflicted")
    #expect(try backend(plan).tls != nil)
  }

  @Test func `a policy of a Service that no Gateway reaches is told nothing`() throws {
    let plan = try Lab(policy("p")).plan()
    #expect(plan.policies[ObjectKey("infra", "p")] == [])
  }
}
