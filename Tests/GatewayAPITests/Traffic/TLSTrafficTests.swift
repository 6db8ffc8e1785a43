// TLS on both sides: Gateway API's conformance tests of HTTPS listeners, their Secrets, and BackendTLSPolicies, by curl and real
// servers.

import Addresses
import ClusterObjects
import ClusterView
import GatewayAPI
import Ingress
import Synchronization
import Testing

@Suite(.serialized) struct TLSTrafficTests {
  private func https(_ name: String, _ port: UInt16, _ secret: String, _ more: String = "") -> String {
    "name: \(name), port: \(port), protocol: HTTPS, tls: {certificateRefs: [\(secret)]}\(more)"
  }

  @Test
  func
    `HTTPRouteHTTPSListener, GatewaySecretReferenceGrantSpecific, GatewaySecretMissingReferenceGrant: certificates by name and port`()
    throws
  {
    let authority = try TestAuthority()
    let traffic = try Traffic()
    defer { traffic.stop() }
    let ports = traffic.ports
    traffic.lab.input.secrets = [
      ObjectKey("infra", "first"): try authority.secret(try authority.issue("DNS:a.org")),
      ObjectKey("infra", "wild"): try authority.secret(try authority.issue("DNS:*.b.org", "DNS:b.org")),
      ObjectKey("web", "far"): try authority.secret(try authority.issue("DNS:a.org", "DNS:far.org")),
    ]
    let manifest = gateway(
      "gw", https("a", ports[0], "{name: first}", ", hostname: a.org"),
      https("b", ports[0], "{name: wild}", ", hostname: '*.b.org'"),
      https("c", ports[1], "{name: far, namespace: web}"))
    let plan = try traffic.serve(
      manifest, route("a", to: "{name: gw}", hosts: "a.org, x.b.org"),
      route("far", to: "{name: gw}", hosts: "far.org"))
    #expect(try plan.listener("c", of: "gw").conditions["ResolvedRefs"] == "False RefNotPermitted")
    for host in ["a.org", "x.b.org"] {
      let answer = traffic.curl(host, on: 0, authority: authority.root)
      #expect(answer.status == 0 && answer.output.hasPrefix("one\n"), "\(host): \(answer)")
    }
    #expect(
      plan.servedSockets == [GatewaySocket(.tcp, ports[0]): .https],
      "without its certificate a port is not open")
    #expect(traffic.curl("x.b.org", on: 0, authority: authority.root, "--http2").output.hasPrefix("one\n"))
    let missing = traffic.curl("y.b.org", on: 0, authority: authority.root, "-o /dev/null -w '%{http_code}'")
    #expect(missing.output == "404", "\(missing)")

    // With a grant the other port opens, with its own certificate for a name that the first port has another for.
    try traffic.serve(grant(in: "web", from: "Gateway", to: "{group: '', kind: Secret, name: far}"))
    for host in ["a.org", "far.org"] {
      let answer = traffic.curl(host, on: 1, authority: authority.root)
      #expect(answer.output.hasPrefix("one\n"), "\(host): \(answer)")
    }
    #expect(traffic.curl("far.org", on: 0, authority: authority.root).status == 60, "not of this port")

    // Another certificate: in force for the next handshake.
    let other = try TestAuthority()
    traffic.lab.input.secrets[ObjectKey("infra", "first")] = try other.secret(try other.issue("DNS:a.org"))
    try traffic.serve()
    #expect(traffic.curl("a.org", on: 0, authority: authority.root).status == 60)
    #expect(traffic.curl("a.org", on: 0, authority: other.root).output.hasPrefix("one\n"))
  }

  @Test(arguments: ["--http1.1", "--http2"])
  func `HTTPRouteHTTPSListenerDetectMisdirectedRequests: a host of another listener is answered 421`(
    version: String
  ) throws {
    let authority = try TestAuthority()
    let traffic = try Traffic(ports: 2)
    defer { traffic.stop() }
    traffic.lab.input.secrets[ObjectKey("infra", "cert")] = try authority.secret(
      try authority.issue("DNS:a.org", "DNS:b.org", "DNS:*.wild.org", "DNS:any.org"))
    let ports = traffic.ports
    func listener(_ name: String, _ hostname: String) -> String {
      https(name, ports[0], "{name: cert}", hostname.isEmpty ? "" : ", hostname: '\(hostname)'")
    }
    try traffic.serve(
      gateway(
        "gw", listener("a", "a.org"), listener("b", "b.org"), listener("c", "*.wild.org"),
        https("one", ports[1], "{name: cert}")),
      route("r", to: "{name: gw}"))
    func status(_ name: String, _ host: String, on index: Int = 0) -> String {
      traffic.curl(
        name, on: index, authority: authority.root,
        "\(version) -o /dev/null -w '%{http_code}' -H 'Host: \(host)'"
      ).output
    }
    #expect(status("a.org", "a.org") == "200")
    #expect(status("x.wild.org", "y.wild.org") == "200", "one listener has both")
    #expect(status("a.org", "b.org") == "421")
    #expect(status("a.org", "x.wild.org") == "421")
    #expect(status("x.wild.org", "a.org") == "421")
    #expect(status("a.org", "unknown.org") == "404", "nobody's host")
    #expect(status("a.org", "any.org", on: 1) == "200", "one listener for every name has them all")
  }

  @Test(arguments: ["--http1.1", "--http2"])
  func
    `GatewayFrontendClientCertificateValidation, GatewayFrontendClientCertificateValidationInsecureFallback: who comes in by a port`(
      version: String
    ) throws
  {
    let authority = try TestAuthority()
    let (first, second) = (try TestAuthority(), try TestAuthority())
    let traffic = try Traffic(ports: 3)
    defer { traffic.stop() }
    traffic.lab.input.secrets[ObjectKey("infra", "cert")] = try authority.secret(
      try authority.issue("DNS:a.org", "DNS:b.org"))
    traffic.lab.input.authorities[ObjectKey("infra", "first")] = try first.bundle
    traffic.lab.input.authorities[ObjectKey("infra", "second")] = try second.bundle
    let ports = traffic.ports
    func validation(_ name: String, _ mode: String = "AllowValidOnly") -> String {
      "{validation: {mode: \(mode), caCertificateRefs: [{group: '', kind: ConfigMap, name: \(name)}]}}"
    }
    try traffic.serve(
      gateway(
        "gw",
        more:
          "  tls: {frontend: {default: \(validation("first")), perPort: [{port: \(ports[1]), tls: \(validation("second", "AllowInsecureFallback"))}, {port: \(ports[2]), tls: \(validation("second"))}]}}\n",
        https("a", ports[0], "{name: cert}", ", hostname: a.org"), https("b", ports[1], "{name: cert}"),
        https("c", ports[2], "{name: cert}")),
      route("r", to: "{name: gw}"))
    let (good, other) = (try first.issue("DNS:alice"), try second.issue("DNS:bob"))
    func ask(_ host: String, _ index: Int, _ shown: String?, _ more: String = "") -> (
      status: Int32, output: String
    ) {
      let certificate = shown.map { "--cert \($0).pem --key \($0).key" } ?? ""
      return traffic.curl(host, on: index, authority: authority.root, "\(version) \(certificate) \(more)")
    }
    #expect(ask("a.org", 0, good).output.contains("ssl-client-verify: SUCCESS"))
    for tls in ["--tls-max 1.2", "--tlsv1.3"] {
      #expect(ask("a.org", 0, good, tls).status == 0)
      for bad in [nil, other] { #expect(ask("a.org", 0, bad, tls).status != 0, "\(tls) \(bad ?? "none")") }
    }
    // Each port has its own authorities.
    #expect(ask("b.org", 2, other).status == 0 && ask("b.org", 2, good).status != 0)
    // Whoever comes is let in, and the backend is told.
    #expect(ask("b.org", 1, other).output.contains("ssl-client-verify: SUCCESS"))
    #expect(ask("b.org", 1, good).output.contains("ssl-client-verify: FAILED:"))
    #expect(
      ask("b.org", 1, nil, "-H 'ssl-client-verify: SUCCESS'").output.contains("ssl-client-verify: NONE"))
    #expect(!ask("b.org", 1, nil, "-H 'ssl-client-verify: SUCCESS'").output.contains("verify: SUCCESS"))
  }

  @Test func `a connection for a name that does not ask leads to no name that does`() throws {
    let (authority, clients) = (try TestAuthority(), try TestAuthority())
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    traffic.lab.input.secrets[ObjectKey("infra", "cert")] = try authority.secret(
      try authority.issue("DNS:a.org", "DNS:open.org", "DNS:127.0.0.1", "IP:127.0.0.1"))
    traffic.lab.input.authorities[ObjectKey("infra", "ca")] = try clients.bundle
    let port = traffic.ports[0]
    try traffic.serve(
      gateway(
        "asks",
        more:
          "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}\n",
        https("a", port, "{name: cert}", ", hostname: a.org")),
      gateway(
        "open", https("o", port, "{name: cert}", ", hostname: open.org"), https("any", port, "{name: cert}")),
      route("r", to: "{name: asks}"), route("o", to: "{name: open}", backend: "{name: two, port: 8080}"))
    func status(_ name: String, _ host: String, _ more: String = "") -> String {
      traffic.curl(
        name, on: 0, authority: authority.root, "-o /dev/null -w '%{http_code}' -H 'Host: \(host)' \(more)"
      ).output
    }
    let good = try clients.issue("DNS:alice")
    #expect(status("open.org", "open.org") == "200")
    #expect(status("a.org", "a.org", "--cert \(good).pem --key \(good).key") == "200")
    #expect(status("open.org", "a.org") == "421")
    // curl asks for no name (SNI) where it is an address.
    #expect(status("127.0.0.1", "open.org") == "200")
    #expect(status("127.0.0.1", "a.org") == "421")
    #expect(traffic.backends["one"]?.heads.withLock { $0.count } == 1)
  }

  private func policy(_ validation: String, name: String = "p") -> String {
    """
    apiVersion: gateway.networking.k8s.io/v1
    kind: BackendTLSPolicy
    metadata: {name: \(name), namespace: infra}
    spec:
      targetRefs: [{group: '', kind: Service, name: two, sectionName: https}]
      validation: {\(validation)}
    """
  }

  @Test
  func
    `BackendTLSPolicy, BackendTLSPolicySANValidation, BackendTLSPolicyInvalidCACertificateRef, BackendTLSPolicyInvalidKind: who a backend has to be`()
    throws
  {
    let authority = try TestAuthority()
    let leaf = try authority.issue("DNS:two.example.org", "URI:spiffe://demo/two")
    let server = try PythonServer(PythonServer.https, "sealed", "\(leaf).pem", "\(leaf).key")
    defer { server.stop() }
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    try traffic.point("two", to: try #require(server.ports.first))
    traffic.lab.input.authorities[ObjectKey("infra", "ca")] = try authority.bundle
    traffic.lab.input.authorities[ObjectKey("infra", "other")] = try TestAuthority().bundle
    try traffic.serve(
      gateway("gw", "name: http, port: \(traffic.ports[0]), protocol: HTTP"),
      route("a", to: "{name: gw}", backend: "{name: two, port: 8443}"))
    func reference(_ name: String, _ kind: String = "ConfigMap") -> String {
      "caCertificateRefs: [{group: '', kind: \(kind), name: \(name)}]"
    }
    #expect(traffic.ask().backend != "sealed", "without a policy it is spoken to in plain")
    for (validation, status) in [
      ("hostname: two.example.org, \(reference("ca"))", 200),
      ("hostname: other.example.org, \(reference("ca"))", 502),
      ("hostname: two.example.org, \(reference("other"))", 502),
      ("hostname: two.example.org, wellKnownCACertificates: System", 502),
      ("hostname: two.example.org, \(reference("missing"))", 500),
      ("hostname: two.example.org, \(reference("ca", "Secret"))", 500),
      // The names count, and the host is only asked for.
      (
        "hostname: other.example.org, \(reference("ca")), subjectAltNames: [{type: Hostname, hostname: two.example.org}]",
        200
      ),
      (
        "hostname: other.example.org, \(reference("ca")), subjectAltNames: [{type: URI, uri: 'spiffe://demo/two'}]",
        200
      ),
      (
        "hostname: two.example.org, \(reference("ca")), subjectAltNames: [{type: URI, uri: 'spiffe://demo/three'}, {type: Hostname, hostname: b.org}]",
        502
      ),
    ] {
      try traffic.serve(policy(validation))
      let answer = traffic.ask()
      #expect(answer.status == status, "\(validation): \(answer)")
      #expect((answer.backend == "sealed") == (status == 200))
    }
  }

  @Test func `BackendTLSPolicyConflictResolution: the older policy has the backend`() throws {
    let authority = try TestAuthority()
    let leaf = try authority.issue("DNS:two.example.org")
    let server = try PythonServer(PythonServer.https, "sealed", "\(leaf).pem", "\(leaf).key")
    defer { server.stop() }
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    try traffic.point("two", to: try #require(server.ports.first))
    traffic.lab.input.authorities[ObjectKey("infra", "ca")] = try authority.bundle
    let reference = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]"
    let plan = try traffic.serve(
      gateway("gw", "name: http, port: \(traffic.ports[0]), protocol: HTTP"),
      route("a", to: "{name: gw}", backend: "{name: two, port: 8443}"),
      policy("hostname: two.example.org, \(reference)", name: "old"),
      policy("hostname: wrong.org, \(reference)", name: "new"))
    #expect(traffic.ask().backend == "sealed")
    #expect(plan.policies[ObjectKey("infra", "new")]?.first?.conditions["Accepted"] == "False Conflicted")
  }

  @Test func `GatewayTLSBackendClientCertificate: a backend is shown the Gateway's certificate`() throws {
    let authority = try TestAuthority()
    let leaf = try authority.issue("DNS:two.example.org")
    let server = try PythonServer(PythonServer.https, "sealed", "\(leaf).pem", "\(leaf).key", authority.root)
    defer { server.stop() }
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    try traffic.point("two", to: try #require(server.ports.first))
    traffic.lab.input.authorities[ObjectKey("infra", "ca")] = try authority.bundle
    traffic.lab.input.secrets[ObjectKey("infra", "own")] = try authority.secret(
      try authority.issue("DNS:gateway.example.org"))
    let listener = "name: http, port: \(traffic.ports[0]), protocol: HTTP"
    try traffic.serve(
      gateway("gw", listener), route("a", to: "{name: gw}", backend: "{name: two, port: 8443}"),
      policy("hostname: two.example.org, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]"))
    #expect(traffic.ask().status == 502, "without one it is not let in")
    try traffic.serve(
      gateway("gw", more: "  tls: {backend: {clientCertificateRef: {name: own}}}\n", listener))
    #expect(traffic.ask().body == "sealed\ngateway.example.org\n")
  }
}
