// Gateways, their classes and listeners: tests named after the conformance tests of Gateway API with the prefix Gateway.

import ClusterObjects
import ClusterView
import Testing

@testable import GatewayAPI

private let http = "name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: HTTPRoute}]}"

@Suite struct GatewayTests {
  private func https(_ name: String = "https", _ certificate: String) -> String {
    "name: \(name), port: 443, protocol: HTTPS, allowedRoutes: {kinds: [{kind: HTTPRoute}]}, "
      + "tls: {certificateRefs: [\(certificate)]}"
  }

  private func lab(_ manifests: String...) throws -> Lab {
    var lab = try Lab()
    for text in manifests { try lab.add(text) }
    lab.input.secrets = [
      ObjectKey("infra", "good"): TestCertificate.secret, ObjectKey("web", "good"): TestCertificate.secret,
      ObjectKey("infra", "broken"): TestCertificate.broken,
    ]
    return lab
  }

  @Test func `GatewayModifyListeners: listeners that come and go are told of by name`() throws {
    var lab = try lab(gateway("gw", http, "name: more, port: 8080, protocol: HTTP"))
    #expect(try lab.plan().gateway("gw").listeners.map(\.name) == ["http", "more"])
    #expect(try lab.plan().gateway("gw").listeners.areWell)
    try lab.add(gateway("gw", generation: 2, http))
    let status = try lab.plan().gateway("gw")
    #expect(status.listeners.map(\.name) == ["http"])
    #expect(status.conditions["Accepted"] == "True Accepted")
    #expect(status.conditions["Programmed"] == "True Programmed")
  }

  @Test func `GatewayObservedGenerationBump: conditions speak of the generation that was read`() throws {
    var lab = try lab(gateway("gw", generation: 4, http))
    let generations = { (plan: GatewayPlan) in
      try Set(
        plan.gateway("gw").conditions.map(\.generation)
          + plan.gateway("gw").listeners.flatMap(\.conditions).map(\.generation))
    }
    #expect(try generations(lab.plan()) == [4])
    try lab.add(gateway("gw", generation: 5, http))
    #expect(try generations(lab.plan()) == [5])
  }

  @Test func `GatewayClassObservedGenerationBump: a class of ours is accepted, another's is left alone`()
    throws
  {
    let lab = try lab(
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: GatewayClass
      metadata: {name: foreign}
      spec: {controllerName: example.com/other}
      """)
    let plan = lab.plan()
    #expect(plan.classes.keys.sorted() == ["weft"])
    #expect(plan.classes["weft"]?["Accepted"] == "True Accepted")
    #expect(plan.classes["weft"]?.map(\.generation) == [3])
  }

  @Test func `a class whose parameters nobody reads is not accepted`() throws {
    let lab = try lab(
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: GatewayClass
      metadata: {name: odd}
      spec: {controllerName: weft.dev/gateway, parametersRef: {group: example.com, kind: Thing, name: x}}
      """)
    #expect(lab.plan().classes["odd"]?["Accepted"] == "False InvalidParameters")
  }

  @Test func `Gateways of another's class are not looked at`() throws {
    let lab = try lab(
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: Gateway
      metadata: {name: gw, namespace: infra}
      spec: {gatewayClassName: foreign, listeners: [{name: http, port: 80, protocol: HTTP}]}
      """, route("a", to: "{name: gw}"))
    let plan = lab.plan()
    #expect(plan.gateways.isEmpty && plan.listeners.isEmpty)
    #expect(try plan.parents("a").isEmpty)
  }

  @Test func `GatewayInvalidRouteKind: kinds that do not fit are refused, the others stay`() throws {
    let plan = try lab(
      gateway("only", "name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: Odd}]}"),
      gateway(
        "both",
        "name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: Odd}, {kind: HTTPRoute}]}")
    ).plan()
    let only = try plan.listener("http", of: "only")
    #expect(only.kinds == [] && only.conditions["ResolvedRefs"] == "False InvalidRouteKinds")
    let both = try plan.listener("http", of: "both")
    #expect(both.kinds == ["HTTPRoute"] && both.conditions["ResolvedRefs"] == "False InvalidRouteKinds")
    #expect(try plan.gateway("both").conditions["ResolvedRefs"] == "False ListenersNotResolved")
  }

  @Test func `a listener that names no kinds takes those of its protocol`() throws {
    let plan = try lab(
      gateway(
        "gw", "name: http, port: 80, protocol: HTTP", "name: tcp, port: 5432, protocol: TCP",
        "name: udp, port: 53, protocol: UDP", "name: tls, port: 8443, protocol: TLS, tls: {mode: Passthrough}"
      )
    ).plan()
    #expect(try plan.listener("http", of: "gw").kinds == ["HTTPRoute", "GRPCRoute"])
    #expect(try plan.listener("tcp", of: "gw").kinds == ["TCPRoute"])
    #expect(try plan.listener("udp", of: "gw").kinds == ["UDPRoute"])
    #expect(try plan.listener("tls", of: "gw").kinds == ["TLSRoute"])
  }

  @Test(arguments: [
    "{name: missing}", "{group: example.com, kind: Secret, name: good}", "{kind: ConfigMap, name: good}",
    "{name: broken}",
  ])
  func `GatewayInvalidTLSConfiguration: a certificate that is none is told, and the listener is not served`(
    reference: String
  ) throws {
    let plan = try lab(gateway("gw", https("https", reference))).plan()
    let listener = try plan.listener("https", of: "gw")
    #expect(listener.kinds == ["HTTPRoute"] && listener.attachedRoutes == 0)
    #expect(listener.conditions["ResolvedRefs"] == "False InvalidCertificateRef")
    #expect(listener.conditions["Programmed"] == "False Invalid")
    #expect(plan.listeners.isEmpty)
  }

  @Test func `GatewaySecretMissingReferenceGrant: another namespace's Secret needs a grant`() throws {
    let plan = try lab(gateway("gw", https("https", "{name: good, namespace: web}"))).plan()
    #expect(try plan.listener("https", of: "gw").conditions["ResolvedRefs"] == "False RefNotPermitted")
  }

  @Test(arguments: [
    grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Secret}"),
    grant(in: "web", from: "Gateway", of: "other", to: "{group: '', kind: Secret}"),
    grant(in: "web", from: "Gateway", to: "{group: '', kind: Secret, name: another}"),
    grant(in: "web", from: "Gateway", to: "{group: '', kind: Service}"),
    grant(in: "infra", from: "Gateway", to: "{group: '', kind: Secret}"),
  ])
  func `GatewaySecretInvalidReferenceGrant: a grant for something else gives nothing`(grant: String) throws {
    let lab = try lab(gateway("gw", https("https", "{name: good, namespace: web}")), grant)
    #expect(try lab.plan().listener("https", of: "gw").conditions["ResolvedRefs"] == "False RefNotPermitted")
    #expect(planGatewayReferences(view: lab.view, settings: lab.settings).secrets.isEmpty)
  }

  @Test(arguments: ["{group: '', kind: Secret}", "{group: '', kind: Secret, name: good}"])
  func `GatewaySecretReferenceGrantAllInNamespace, GatewaySecretReferenceGrantSpecific: a grant is enough`(
    to: String
  ) throws {
    let lab = try lab(
      gateway("gw", https("https", "{name: good, namespace: web}")), grant(in: "web", from: "Gateway", to: to)
    )
    let plan = lab.plan()
    #expect(try plan.listener("https", of: "gw").isWell)
    #expect(
      try plan.served("https").tls == .terminate(certificates: [ObjectKey("web", "good")], clients: nil))
    #expect(
      planGatewayReferences(view: lab.view, settings: lab.settings).secrets == [ObjectKey("web", "good")])
  }

  @Test func `GatewayListenerUnsupportedProtocol: without any listener the Gateway is not accepted`() throws {
    let odd = "name: odd, port: 81, protocol: example.com/odd"
    let plan = try lab(gateway("none", odd), gateway("some", http, odd)).plan()
    #expect(try plan.gateway("none").conditions["Accepted"] == "False ListenersNotValid")
    #expect(try plan.gateway("some").conditions["Accepted"] == "True ListenersNotValid")
    for name in ["none", "some"] {
      let listener = try plan.listener("odd", of: name)
      #expect(listener.conditions["Accepted"] == "False UnsupportedProtocol" && listener.kinds == [])
    }
    #expect(try plan.listener("http", of: "some").isWell)
  }

  @Test func `GatewayInvalidParametersRef: what nobody reads is told`() throws {
    let plan = try lab(
      gateway(
        "gw", more: "  infrastructure: {parametersRef: {group: example.com, kind: Thing, name: x}}\n", http)
    ).plan()
    #expect(try plan.gateway("gw").conditions["Accepted"] == "False InvalidParameters")
    #expect(try plan.gateway("gw").conditions["Programmed"] == "False Invalid")
    #expect(plan.listeners.isEmpty)
  }

  @Test func `GatewayStaticAddresses: of addresses those of the machine are used, and no other types`() throws
  {
    var lab = try lab()
    lab.settings.addresses = ["192.0.2.1", "192.0.2.2"]
    func status(_ addresses: String) throws -> GatewayPlan.GatewayStatus {
      try lab.add(gateway("gw", more: "  addresses: [\(addresses)]\n", http))
      return try lab.plan().gateway("gw")
    }
    let odd = "{type: example.com/odd, value: x}"
    let unusable = "{type: IPAddress, value: 198.51.100.1}"
    let usable = "{type: IPAddress, value: 192.0.2.2}"
    #expect(try status("\(odd), \(unusable), \(usable)").conditions["Accepted"] == "False UnsupportedAddress")
    let second = try status("\(unusable), \(usable)")
    #expect(second.conditions["Accepted"] == "True Accepted")
    #expect(second.conditions["Programmed"] == "False AddressNotUsable")
    let third = try status(usable)
    #expect(third.conditions["Programmed"] == "True Programmed")
    #expect(third.addresses.map(\.value) == ["192.0.2.2"] && third.listeners[0].isWell)
  }

  @Test func `GatewayOptionalAddressValue: a type without a value is any address of ours`() throws {
    let plan = try lab(gateway("gw", more: "  addresses: [{type: IPAddress}]\n", http)).plan()
    #expect(try plan.gateway("gw").addresses.map(\.value) == ["192.0.2.1"])
    #expect(try plan.gateway("gw").conditions["Programmed"] == "True Programmed")
  }

  @Test func `GatewayNameMaximumLength: a name as long as names may be is served`() throws {
    let name = String(repeating: "a", count: 253)
    let plan = try lab(gateway(name, http), route("r", to: "{name: \(name)}")).plan()
    #expect(try plan.listener("http", of: name).attachedRoutes == 1)
    #expect(try plan.parent("r")["Accepted"] == "True Accepted")
  }

  @Test func `GatewayWithAttachedRoutes: accepted routes are counted, others not`() throws {
    let named = "name: http, port: 80, protocol: HTTP, hostname: a.example.org"
    let plan = try lab(
      gateway("gw", named), route("one", to: "{name: gw}", hosts: "a.example.org"),
      route("two", to: "{name: gw}"),
      route("not", to: "{name: gw}", hosts: "b.example.org")
    ).plan()
    #expect(try plan.listener("http", of: "gw").attachedRoutes == 2)
    #expect(try plan.parent("not")["Accepted"] == "False NoMatchingListenerHostname")
  }

  @Test func `GatewayWithAttachedRoutes: a listener without its certificate counts its routes too`() throws {
    let plan = try lab(
      gateway("gw", https("https", "{name: missing}")),
      route("lost", to: "{name: gw}", backend: "{name: missing, port: 80}")
    ).plan()
    let listener = try plan.listener("https", of: "gw")
    #expect(listener.attachedRoutes == 1 && listener.conditions["Programmed"] == "False Invalid")
    #expect(try plan.parent("lost")["ResolvedRefs"] == "False BackendNotFound")
  }

  @Test func `GatewayWithAttachedRoutesWithPort8080: sections and ports choose the listener`() throws {
    let plan = try lab(
      gateway("gw", http, "name: alt, port: 8080, protocol: HTTP"),
      route("by-section", to: "{name: gw, sectionName: alt}"), route("by-port", to: "{name: gw, port: 8080}")
    ).plan()
    #expect(try plan.listener("http", of: "gw").attachedRoutes == 0)
    #expect(try plan.listener("alt", of: "gw").attachedRoutes == 2)
  }

  @Test func `a port that the data plane does not have is told`() throws {
    var lab = try lab(gateway("gw", http, "name: alt, port: 8080, protocol: HTTP"))
    lab.settings.ports = [80: [.http], 443: [.https]]
    let plan = lab.plan()
    #expect(try plan.listener("alt", of: "gw").conditions["Accepted"] == "False PortUnavailable")
    #expect(try plan.gateway("gw").conditions["Accepted"] == "True ListenersNotValid")
    #expect(plan.listeners.map(\.name) == ["http"])
  }

  @Test func `a plan that nobody serves yet says so`() throws {
    var lab = try lab(gateway("gw", http))
    lab.settings.isServing = false
    let status = try lab.plan().gateway("gw")
    #expect(status.conditions["Accepted"] == "True Accepted")
    #expect(status.conditions["Programmed"] == "False Pending")
    #expect(status.listeners[0].conditions["Programmed"] == "False Pending")
  }

  @Test func `listeners of one Gateway that cannot be told apart are both in conflict`() throws {
    let plan = try lab(
      gateway(
        "gw", http, "name: same, port: 80, protocol: HTTP",
        "name: other, port: 80, protocol: HTTP, hostname: a.b",
        "name: tcp, port: 80, protocol: TCP", "name: udp, port: 80, protocol: UDP")
    ).plan()
    for name in ["http", "same"] {
      let conditions = try plan.listener(name, of: "gw").conditions
      #expect(conditions["Conflicted"].hasPrefix("True ") && conditions["Accepted"].hasPrefix("False "))
    }
    #expect(try plan.listener("same", of: "gw").conditions["Conflicted"] == "True HostnameConflict")
    #expect(try plan.listener("tcp", of: "gw").conditions["Accepted"] == "False ProtocolConflict")
    #expect(try plan.listener("udp", of: "gw").isWell)
  }

  // MARK: Certificates of clients and towards backends

  private func frontend(_ references: String, ports: String = "", mode: String = "AllowValidOnly") -> String {
    "  tls: {frontend: {default: {validation: {mode: \(mode), caCertificateRefs: [\(references)]}}\(ports)}}\n"
  }

  private let authority = "{group: '', kind: ConfigMap, name: ca}"

  private func withAuthority(_ manifest: String) throws -> GatewayPlan {
    var lab = try lab(manifest)
    lab.input.authorities[ObjectKey("infra", "ca")] = AuthorityBundle(configMap: TestCertificate.configMap)
    lab.input.authorities[ObjectKey("web", "ca")] = lab.input.authorities[ObjectKey("infra", "ca")]
    return lab.plan()
  }

  @Test func `GatewayFrontendClientCertificateValidation: each port asks by its own authorities`() throws {
    let ports = ", perPort: [{port: 8443, tls: {}}]"
    let plan = try withAuthority(
      gateway(
        "gw", more: frontend(authority, ports: ports), https("https", "{name: good}"),
        "name: open, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}"))
    let clients = GatewayPlan.ClientValidation(authorities: [ObjectKey("infra", "ca")], isInsecure: false)
    #expect(
      try plan.served("https").tls
        == .terminate(certificates: [ObjectKey("infra", "good")], clients: clients))
    #expect(
      try plan.served("open").tls == .terminate(certificates: [ObjectKey("infra", "good")], clients: nil))
    #expect(try plan.gateway("gw").conditions["InsecureFrontendValidationMode"] == "")
  }

  @Test func `GatewayFrontendClientCertificateValidationInsecureFallback: is told in the status`() throws {
    let plan = try withAuthority(
      gateway("gw", more: frontend(authority, mode: "AllowInsecureFallback"), https("https", "{name: good}")))
    #expect(
      try plan.gateway("gw").conditions["InsecureFrontendValidationMode"] == "True ConfigurationChanged")
  }

  @Test func `GatewayFrontendInvalidDefaultClientCertificateValidation: harms HTTPS and nothing else`() throws
  {
    let plan = try withAuthority(
      gateway(
        "gw", more: frontend("{group: '', kind: ConfigMap, name: missing}"), http,
        https("https", "{name: good}")))
    #expect(try plan.listener("http", of: "gw").isWell)
    let listener = try plan.listener("https", of: "gw")
    #expect(listener.conditions["ResolvedRefs"] == "False InvalidCACertificateRef")
    #expect(listener.conditions["Accepted"] == "False NoValidCACertificate")
    #expect(listener.conditions["Programmed"] == "False Invalid")
  }

  @Test(arguments: [
    ("{group: '', kind: ConfigMap, name: missing}", "InvalidCACertificateRef"),
    ("{group: '', kind: Secret, name: good}", "InvalidCACertificateKind"),
    ("{group: '', kind: ConfigMap, name: ca, namespace: web}", "RefNotPermitted"),
  ])
  func `GatewayInvalidFrontendClientCertificateValidation: the reason is told`(
    reference: String, reason: String
  )
    throws
  {
    let plan = try withAuthority(gateway("gw", more: frontend(reference), https("https", "{name: good}")))
    let listener = try plan.listener("https", of: "gw")
    #expect(listener.conditions["ResolvedRefs"] == "False \(reason)")
    #expect(listener.conditions["Accepted"] == "False NoValidCACertificate")
  }

  @Test(arguments: [
    ("{name: missing}", "InvalidClientCertificateRef"),
    ("{group: example.com, kind: Secret, name: good}", "InvalidClientCertificateRef"),
    ("{kind: ConfigMap, name: good}", "InvalidClientCertificateRef"),
    ("{name: broken}", "InvalidClientCertificateRef"), ("{name: good, namespace: web}", "RefNotPermitted"),
  ])
  func `GatewayInvalidTLSBackendConfiguration: is told, and the Gateway is accepted`(
    reference: String, reason: String
  ) throws {
    let plan = try lab(
      gateway("gw", more: "  tls: {backend: {clientCertificateRef: \(reference)}}\n", http)
    ).plan()
    #expect(try plan.gateway("gw").conditions["ResolvedRefs"] == "False \(reason)")
    #expect(try plan.gateway("gw").conditions["Accepted"] == "True Accepted")
  }

  @Test(arguments: ["", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
  func `a ConfigMap without certificates is no authority`(text: String) {
    #expect(AuthorityBundle(configMap: ["data": ["ca.crt": JSON(text)]]) == nil)
    #expect(AuthorityBundle(configMap: TestCertificate.configMap) != nil)
  }
}
