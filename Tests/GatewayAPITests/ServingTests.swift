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
    #expect(plan.servedPorts == [80: .http])
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
    #expect(plan.servedPorts == [80: .http, 443: .https])
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
    #expect(plan.addresses(of: GatewaySocket(.tcp, 80)) == [first, second])
    #expect(plan.addresses(of: GatewaySocket(.tcp, 81)) == [first])
    #expect(Set(plan.servedSockets.keys.map(\.port)) == [80, 81])
    #expect(try plan.gateway("none").conditions["Programmed"] == "False AddressNotUsable")
    #expect(try plan.gateway("none").addresses.isEmpty)
    // One that asks for no address is everywhere, and the others of its port with it.
    try lab.add(gateway("any", "name: http, port: 80, protocol: HTTP, hostname: c.org"))
    #expect(lab.plan().addresses(of: GatewaySocket(.tcp, 80)).isEmpty)
  }
}
