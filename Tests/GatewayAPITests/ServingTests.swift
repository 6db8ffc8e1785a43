// What the data plane can and cannot have of a plan: ports, certificates, and what is told of both.

import Addresses
import ClusterObjects
import ClusterView
import GatewayAPI
import Ingress
import Testing

private let http = "name: http, port: 80, protocol: HTTP"

@Suite struct ServingTests {
  private func socket(_ port: UInt16) -> GatewaySocket { GatewaySocket(.tcp, port) }

  @Test func `ports of others are told, and what may be spoken there`() throws {
    var lab = try Lab(
      gateway(
        "gw", "name: api, port: 6443, protocol: HTTP", "name: wrong, port: 443, protocol: HTTP",
        "name: right, port: 80, protocol: HTTP", "name: busy, port: 8080, protocol: HTTP"))
    lab.settings.taken = [socket(6443): [], socket(443): [.https, .tls], socket(80): [.http]]
    lab.settings.refused = [socket(8080): "Address already in use"]
    let plan = lab.plan()
    for name in ["api", "wrong", "busy"] {
      let conditions = try plan.listener(name, of: "gw").conditions
      #expect(conditions["Accepted"] == "False PortUnavailable", "\(name)")
      #expect(conditions["Programmed"] == "False Invalid")
    }
    #expect(try plan.listener("right", of: "gw").isWell)
    let said = try plan.listener("busy", of: "gw").conditions.map(\.message).joined()
    #expect(said.contains("Address already in use"))
    #expect(plan.servedSockets == [socket(80): .http])
    #expect(try plan.gateway("gw").conditions["Programmed"] == "True Programmed", "the others are served")
  }

  @Test func `a port speaks what the oldest Gateway has it speak`() throws {
    let secret = ObjectKey("infra", "cert")
    var lab = try Lab(
      gateway("old", "name: a, port: 8080, protocol: HTTP", "name: b, port: 9000, protocol: TCP"),
      gateway(
        "new", "name: a, port: 8080, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}",
        "name: b, port: 9000, protocol: TCP", "name: c, port: 9000, protocol: UDP",
        "name: d, port: 8080, protocol: HTTP, hostname: d.org"))
    lab.input.secrets[secret] = TestCertificate.secret
    let plan = lab.plan()
    #expect(try plan.gateway("old").listeners.areWell)
    #expect(try plan.listener("a", of: "new").conditions["Accepted"] == "False ProtocolConflict")
    #expect(try plan.listener("b", of: "new").conditions["Accepted"] == "False PortUnavailable")
    #expect(try plan.listener("c", of: "new").isWell, "UDP is by itself")
    let alone = try Lab(
      gateway("old", "name: a, port: 8080, protocol: HTTP"),
      gateway("new", "name: a, port: 8080, protocol: TLS, tls: {mode: Passthrough}"),
      gateway("third", "name: a, port: 8080, protocol: HTTP")
    ).plan()
    #expect(try alone.listener("a", of: "new").conditions["Accepted"] == "False PortUnavailable")
    #expect(try alone.listener("a", of: "third").isWell, "two Gateways share a port of one protocol")
  }

  @Test func `each port has its certificates, the first for its name, others for names that they are for`()
    throws
  {
    var lab = try Lab(
      gateway(
        "gw", "name: a, port: 443, protocol: HTTPS, hostname: a.org, tls: {certificateRefs: [{name: one}]}",
        "name: b, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: two}, {name: three}]}",
        "name: c, port: 8443, protocol: HTTPS, hostname: a.org, tls: {certificateRefs: [{name: two}]}"),
      route("r", to: "{name: gw, sectionName: b}", hosts: "example.org, other.org"))
    let (one, two) = (TestCertificate.secret, TestCertificate.secret)
    lab.input.secrets = [
      ObjectKey("infra", "one"): one, ObjectKey("infra", "two"): TestCertificate.named("two.org"),
      ObjectKey("infra", "three"): two,
    ]
    let ingress = TLSTable(
      certificates: [TestCertificate.named("old.org").certificate],
      names: [TLSName("old.org", .certificate(0))])
    let table = lab.plan().certificateTable(input: lab.input, beside: ingress, shared: [443])
    #expect(table.names == ingress.names)
    #expect(table.ports.map(\.port) == [443, 8443])
    #expect(table.ports.map(\.shares) == [true, false])
    func chain(_ index: Int?) -> [UInt8]? { index.map { table.certificates[$0].chain } }
    func named(_ name: String, _ port: Int) -> [UInt8]? {
      guard case .certificate(let index)? = table.ports[port].names.first(where: { $0.name == name })?.action
      else { return nil }
      return chain(index)
    }
    let second = lab.input.secrets[ObjectKey("infra", "two")]?.certificate.chain
    #expect(named("a.org", 0) == one.certificate.chain)
    #expect(chain(table.ports[0].defaultCertificate) == second)
    #expect(named("example.org", 0) == two.certificate.chain, "of two the one that is for the route's name")
    #expect(named("other.org", 0) == nil, "none is: the first of the listener")
    #expect(named("a.org", 1) == second)
    #expect(table.ports[1].defaultCertificate == nil)
  }

  @Test func `listeners that ask clients for certificates say whom and by whom, each for its own name`()
    throws
  {
    let frontend =
      "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}\n"
    let certificate = "tls: {certificateRefs: [{name: cert}]}"
    var lab = try Lab(
      gateway(
        "gw", more: frontend, http, "name: https, port: 443, protocol: HTTPS, hostname: a.org, \(certificate)"
      ),
      gateway("open", "name: b, port: 443, protocol: HTTPS, hostname: b.org, \(certificate)"),
      gateway("late", "name: a, port: 443, protocol: HTTPS, hostname: a.org, \(certificate)"),
      route("r", to: "{name: gw}"))
    lab.input.secrets[ObjectKey("infra", "cert")] = TestCertificate.secret
    lab.input.authorities[ObjectKey("infra", "ca")] = AuthorityBundle(configMap: TestCertificate.configMap)
    let plan = lab.plan()
    #expect(try plan.listener("https", of: "gw").isWell && plan.listener("b", of: "open").isWell)
    #expect(try plan.listener("a", of: "late").conditions["Accepted"] == "False PortUnavailable")
    #expect(plan.servedSockets == [socket(80): .http, socket(443): .https])
    let table = plan.certificateTable(input: lab.input)
    #expect(table.authorities.count == 1 && table.authorities[0].isRequired)
    #expect(table.ports.map(\.asks) == [[TLSAsk("a.org", 0), TLSAsk("b.org", TLSAsk.nobody)]])
    // What the handshake asked for is a matter of every request too.
    let routes = plan.routeTable(view: lab.view, input: lab.input)
    let asked = routes.actions.compactMap(\.clientCertificate)
    #expect(asked == [RouteClientCertificate(authority: table.authorities[0].id)])
    let open = try #require(routes.listeners.first { $0.port == 80 }?.hosts.first?.paths.first)
    #expect(open.action == -1, "over plain HTTP nobody is asked")
  }

  @Test
  func
    `GatewayStaticAddresses: a port is open where its Gateways ask for it, and nowhere for what is not here`()
    throws
  {
    var lab = try Lab(
      gateway("gw", more: "  addresses: [{type: IPAddress, value: 192.0.2.2}]\n", http),
      gateway(
        "two",
        more: "  addresses: [{type: IPAddress, value: 192.0.2.1}, {type: IPAddress, value: 192.0.2.99}]\n",
        "name: http, port: 80, protocol: HTTP, hostname: b.org", "name: own, port: 81, protocol: HTTP"),
      gateway(
        "none", more: "  addresses: [{type: IPAddress, value: 192.0.2.98}]\n",
        "name: http, port: 82, protocol: HTTP"))
    lab.settings.addresses = ["192.0.2.1", "192.0.2.2"]
    let plan = lab.plan()
    let (first, second) = (IPAddress("192.0.2.1")!, IPAddress("192.0.2.2")!)
    let sockets = [
      GatewaySocket(.tcp, 80, at: first), GatewaySocket(.tcp, 80, at: second),
      GatewaySocket(.tcp, 81, at: first),
    ]
    #expect(Set(plan.servedSockets.keys) == Set(sockets))
    #expect(opened(plan) == ["192.0.2.1:80", "192.0.2.1:81", "192.0.2.2:80"])
    #expect(try plan.gateway("none").conditions["Programmed"] == "False AddressNotUsable")
    #expect(try plan.gateway("none").addresses.isEmpty)
    // One that asks for no address is everywhere: with the others of its port, on one socket where that is all addresses'.
    try lab.add(gateway("any", "name: http, port: 80, protocol: HTTP, hostname: c.org"))
    #expect(opened(lab.plan()) == ["0.0.0.0:80", "192.0.2.1:81"])
    #expect(
      opened(lab.plan(), at: "192.0.2.1") == ["192.0.2.1:80", "192.0.2.1:81", "192.0.2.2:80"])
    // Ports of Ingresses stay where they are; an address that they are not at has a socket of its own.
    let ingress = SocketEndpoint(first, 80)
    #expect(opened(lab.plan(), beside: [ingress]) == ["192.0.2.1:81", "192.0.2.2:80"])
  }

  private func opened(
    _ plan: GatewayPlan, at everywhere: String = "0.0.0.0", beside open: [SocketEndpoint] = []
  ) -> [String] {
    plan.sockets(at: IPAddress(everywhere)!, beside: open).keys.map(\.endpoint.description).sorted()
  }

  private func at(_ address: String) -> String {
    "  addresses: [{type: IPAddress, value: \(address)}]\n"
  }

  @Test func `listeners of different addresses do not conflict, whatever they speak`() throws {
    let secret = ObjectKey("infra", "cert")
    let https = "name: a, port: 9000, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}"
    var lab = try Lab(
      gateway("one", more: at("192.0.2.1"), "name: a, port: 9000, protocol: TCP"),
      gateway("two", more: at("192.0.2.2"), "name: a, port: 9000, protocol: TCP"),
      gateway("three", more: at("192.0.2.3"), https),
      gateway("four", more: at("192.0.2.4"), "name: a, port: 9000, protocol: HTTP"),
      gateway("late", more: at("192.0.2.1"), "name: a, port: 9000, protocol: TCP"),
      gateway("other", more: at("192.0.2.2"), "name: a, port: 9000, protocol: HTTP"),
      gateway("any", "name: a, port: 9000, protocol: TCP", "name: b, port: 9001, protocol: TCP"),
      gateway("wrong", more: at("192.0.2.1"), "name: b, port: 9001, protocol: HTTP"),
      gateway("right", more: at("192.0.2.1"), "name: b, port: 9001, protocol: TCP"))
    lab.settings.addresses = (1...4).map { "192.0.2.\($0)" }
    lab.input.secrets[secret] = TestCertificate.secret
    let plan = lab.plan()
    for name in ["one", "two", "three", "four"] {
      #expect(try plan.listener("a", of: name).isWell, "\(name)")
    }
    for (name, listener) in [("late", "a"), ("other", "a"), ("any", "a"), ("wrong", "b")] {
      let conditions = try plan.listener(listener, of: name).conditions
      #expect(conditions["Accepted"] == "False PortUnavailable", "\(name)")
      #expect(conditions["Conflicted"] == "False NoConflicts")
    }
    #expect(try plan.listener("b", of: "any").isWell && plan.listener("b", of: "right").isWell)
    #expect(
      opened(plan) == [
        "0.0.0.0:9001", "192.0.2.1:9000", "192.0.2.2:9000", "192.0.2.3:9000", "192.0.2.4:9000",
      ])
    #expect(
      plan.sockets(at: IPAddress("0.0.0.0")!).keys.first { $0.endpoint.address == IPAddress("192.0.2.3") }?
        .serves == .https)
    // What keeps one address from being listened on is told to those who ask for it.
    lab.settings.refused = [GatewaySocket(.tcp, 9000, at: IPAddress("192.0.2.2")): "Address already in use"]
    let refused = lab.plan()
    #expect(try refused.listener("a", of: "two").conditions["Accepted"] == "False PortUnavailable")
    #expect(try refused.listener("a", of: "one").isWell && refused.listener("a", of: "four").isWell)
  }

  @Test func `each address of a port has its listeners in every table, and no other's`() throws {
    var lab = try Lab(
      gateway(
        "one", more: at("192.0.2.1"), http, "name: t, port: 443, protocol: TLS, tls: {mode: Passthrough}"),
      gateway(
        "two",
        more: "  addresses: [{type: IPAddress, value: 192.0.2.2}, {type: IPAddress, value: 192.0.2.3}]\n",
        http, "name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}"),
      gateway("any", http, "name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}"),
      route(
        "one", to: "{name: one}",
        rules: "[{matches: [{path: {value: /one}}], backendRefs: [{name: one, port: 8080}]}]"),
      route(
        "two", to: "{name: two}",
        rules: "[{matches: [{path: {value: /two}}], backendRefs: [{name: two, port: 8080}]}]"),
      route(
        "any", to: "{name: any}",
        rules: "[{matches: [{path: {value: /any}}], backendRefs: [{name: two, port: 8080}]}]"),
      route("t", kind: "TLSRoute", to: "{name: one}", hosts: "t.org"))
    lab.settings.addresses = (1...4).map { "192.0.2.\($0)" }
    lab.input.secrets[ObjectKey("infra", "cert")] = TestCertificate.secret
    let plan = lab.plan()
    for name in ["one", "two", "any"] { #expect(try plan.gateway(name).listeners.areWell, "\(name)") }
    let ingress = RouteTable(
      backends: [
        RouteBackend(namespace: "web", ingress: "i", service: "i", servicePort: "80", endpoints: [])
      ],
      hosts: [RouteHost(name: "a.org", paths: [RoutePath(path: "/ingress", isExact: false, backend: 0)])])
    let routes = plan.routeTable(view: lab.view, input: lab.input, beside: ingress, shared: [80])
    let paths = ["/one", "/two", "/any", "/ingress"]
    func served(_ address: String, _ port: UInt16) -> [String] {
      paths.filter {
        routes.match(host: "a.org", path: $0, port: port, address: IPAddress(address)) != nil
      }
    }
    #expect(served("192.0.2.1", 80) == ["/one", "/ingress"], "names that no listener has stay Ingresses'")
    #expect(
      served("192.0.2.2", 80) == ["/two", "/ingress"] && served("192.0.2.3", 80) == ["/two", "/ingress"])
    #expect(served("192.0.2.4", 80) == ["/any", "/ingress"])
    #expect(served("192.0.2.1", 443).isEmpty, "no requests there, and none of another address's")
    #expect(served("192.0.2.2", 443) == ["/two"] && served("192.0.2.4", 443) == ["/any"])
    #expect(
      routes.listeners.filter { $0.port == 80 }.map(\.addresses.count) == [1, 2, 0], "two addresses, one copy"
    )
    #expect(try RouteTable(encoded: routes.encoded()) == routes)

    let streams = plan.streamTable(view: lab.view, input: lab.input)
    let lines = streams.listeners.map { listener in
      "\(listener.addresses.map(\.description)) \(listener.rules.map { "\($0.name) \($0.opening) \($0.targets.count)" })"
    }
    // Without a catch-all the names that nobody has would be for the HTTPS listeners of the same socket.
    #expect(lines == ["[\"192.0.2.1\"] [\"t.org passthrough 1\", \" passthrough 0\"]"], "\(lines)")
    let certificates = plan.certificateTable(input: lab.input)
    #expect(certificates.ports.map(\.addresses.count) == [1, 2, 0])
    #expect(certificates.ports.map { $0.defaultCertificate != nil } == [false, true, true])
  }
}
