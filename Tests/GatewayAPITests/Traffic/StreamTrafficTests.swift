// Gateway API's conformance tests of TCPRoute, UDPRoute and TLSRoute with traffic: a plan in a data plane, sockets, real servers.

import Addresses
import ClusterObjects
import ClusterView
import Foundation
import GatewayAPI
import Glibc
import Ingress
import Reactor
import Testing

extension PythonServer {
  /// Datagrams are answered with a name and what came; a server for each name.
  static let datagrams = """
    import socket, sys, threading
    def serve(s, name):
        while True:
            data, peer = s.recvfrom(4096)
            s.sendto(name.encode() + b" " + data, peer)
    ports = []
    for name in sys.argv[1:]:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0))
        ports.append(s.getsockname()[1])
        threading.Thread(target=serve, args=(s, name), daemon=True).start()
    print(*ports, flush=True)
    sys.stdin.read()
    """
}

/// One datagram of a new socket and its answer; empty without one.
func askDatagram(
  _ port: UInt16, _ text: String, at address: String = "127.0.0.1", waitsMilliseconds: Int = 20_000
) -> String {
  let raw = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
  defer { close(raw) }
  _ = SocketAddress(SocketEndpoint(IPAddress(address)!, port)).withSockaddr { connect(raw, $0, $1) }
  _ = send(raw, Array(text.utf8), text.utf8.count, 0)
  var poller = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
  guard poll(&poller, 1, Int32(waitsMilliseconds)) == 1 else { return "" }
  var space = [UInt8](repeating: 0, count: 4096)
  let count = recv(raw, &space, space.count, Int32(MSG_DONTWAIT))
  return String(decoding: space[..<max(0, count)], as: UTF8.self)
}

extension Traffic {
  /// Who answers a connection; empty: it ends without an answer. The backend sees what was sent and nothing else.
  func backend(_ index: Int = 0, at address: String = "127.0.0.1") -> String {
    let stream = connect(index, at: address)
    stream.send("GET / HTTP/1.1\r\n\r\n")
    guard stream.head() != nil else { return "" }
    let body = String(decoding: stream.read(3), as: UTF8.self)
    let rest = String(decoding: stream.read("\nGET / HTTP/1.1\r\n\r\n".utf8.count), as: UTF8.self)
    #expect(rest.hasSuffix("GET / HTTP/1.1\r\n\r\n"))
    return body
  }

  /// The UDP ports of the Services `one` and `far`, with a server behind each.
  func serveDatagrams() throws -> PythonServer {
    let server = try PythonServer(PythonServer.datagrams, "one", "far")
    for (service, namespace, port) in [("one", "infra", server.ports[0]), ("far", "web", server.ports[1])] {
      try add(
        """
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {name: \(service)-udp, namespace: \(namespace), labels: {kubernetes.io/service-name: \(service)}}
        addressType: IPv4
        ports: [{name: dns, port: \(port), protocol: UDP}]
        endpoints: [{addresses: [127.0.0.1]}]
        """)
    }
    return server
  }
}

@Suite(.serialized) struct StreamTrafficTests {
  private func tcp(_ name: String, _ port: UInt16) -> String { "name: \(name), port: \(port), protocol: TCP" }

  @Test
  func
    `TCPRouteParentRefPortAndSectionName, TCPRouteMultipleRoutesAttachment: each port has its route's endpoints`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let ports = traffic.ports
    try traffic.serve(
      gateway("gw", tcp("a", ports[0]), tcp("b", ports[1]), tcp("c", ports[2])),
      route("a", kind: "TCPRoute", to: "{name: gw, sectionName: a}"),
      route("b", kind: "TCPRoute", to: "{name: gw, port: \(ports[1])}", backend: "{name: two, port: 8080}"),
      route("younger", kind: "TCPRoute", to: "{name: gw, sectionName: a}", backend: "{name: two, port: 8080}")
    )
    #expect(traffic.backend() == "one")
    #expect(traffic.backend(1) == "two")
    #expect(traffic.backend(2).isEmpty, "a listener without a route is reset")
    // Another endpoint, and another route, without another connection's end.
    let stream = traffic.connect(0)
    stream.send("GET /first HTTP/1.1\r\n\r\n")
    #expect(stream.head() != nil)
    _ = stream.read("one\nGET /first HTTP/1.1\r\n\r\n".utf8.count)
    try traffic.point("one", to: traffic.backends["far"]?.port ?? 0)
    try traffic.serve()
    #expect(traffic.backend() == "far")
    stream.send("GET /second HTTP/1.1\r\n\r\n")
    #expect(stream.head()?.contains("X-Backend: one") == true)
  }

  @Test func `TCPRouteParentRefAttachAll, TCPRouteWeightedRouting: weights are kept on every port`() throws {
    let traffic = try Traffic()
    defer { traffic.stop() }
    try traffic.serve(
      gateway("gw", tcp("a", traffic.ports[0]), tcp("b", traffic.ports[1])),
      route(
        "t", kind: "TCPRoute", to: "{name: gw}",
        backend:
          "{name: one, port: 8080, weight: 7}, {name: two, port: 8080, weight: 2}, {name: gone, port: 1, weight: 1}"
      ))
    for index in [0, 1] {
      let names = (0..<20).map { _ in traffic.backend(index) }
      #expect(names.filter { $0 == "one" }.count == 14 && names.filter { $0 == "two" }.count == 4)
      #expect(
        names.filter { $0.isEmpty }.count == 2, "TCPRouteInvalidBackendRefNonexistent: its share is reset")
    }
  }

  @Test func `TCPRouteInvalidCrossNamespaceBackendRef, TCPRouteReferenceGrant: a grant opens the way`() throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    try traffic.serve(
      gateway("gw", tcp("a", traffic.ports[0])),
      route("t", kind: "TCPRoute", to: "{name: gw}", backend: "{name: far, namespace: web, port: 8080}"))
    #expect(traffic.backend().isEmpty)
    try traffic.serve(grant(in: "web", from: "TCPRoute", to: "{group: '', kind: Service}"))
    #expect(traffic.backend() == "far")
  }

  @Test
  func
    `UDPRoute, UDPRouteInvalidBackendRefNonexistent, UDPRouteInvalidCrossNamespaceBackendRef, UDPRouteReferenceGrant, UDPRouteMultipleRoutesAttachment, UDPRouteParentRefPortAndSectionName: datagrams and their answers`()
    throws
  {
    let traffic = try Traffic()
    let server = try traffic.serveDatagrams()
    defer {
      traffic.stop()
      server.stop()
    }
    let port = traffic.datagramPort
    try traffic.serve(
      gateway("gw", "name: u, port: \(port), protocol: UDP"),
      route(
        "u", kind: "UDPRoute", to: "{name: gw, sectionName: u, port: \(port)}",
        backend: "{name: gone, port: 53}"))
    #expect(askDatagram(port, "x", waitsMilliseconds: 300).isEmpty)
    try traffic.serve(
      route("u", kind: "UDPRoute", to: "{name: gw}", backend: "{name: one, port: 53}"),
      route("z", kind: "UDPRoute", to: "{name: gw}", backend: "{name: far, namespace: web, port: 53}"))
    #expect(askDatagram(port, "x") == "one x")
    try traffic.serve(
      route("u", kind: "UDPRoute", to: "{name: gw}", backend: "{name: far, namespace: web, port: 53}"))
    #expect(askDatagram(port, "y", waitsMilliseconds: 300).isEmpty, "without a grant")
    try traffic.serve(grant(in: "web", from: "UDPRoute", to: "{group: '', kind: Service}"))
    #expect(askDatagram(port, "z") == "far z")
    // The listener goes.
    try traffic.serve(gateway("gw", tcp("a", traffic.ports[0])))
    #expect(askDatagram(port, "z", waitsMilliseconds: 300).isEmpty)
  }

  @Test func `UDPRouteParentRefAttachAllListeners: a route is at every port that it does not choose among`()
    throws
  {
    let traffic = try Traffic()
    let server = try traffic.serveDatagrams()
    defer {
      traffic.stop()
      server.stop()
    }
    let ports = traffic.datagramPorts
    try traffic.serve(
      gateway("gw", "name: a, port: \(ports[0]), protocol: UDP", "name: b, port: \(ports[1]), protocol: UDP"),
      route("u", kind: "UDPRoute", to: "{name: gw}", backend: "{name: one, port: 53}"))
    for port in ports { #expect(askDatagram(port, "x") == "one x") }
  }

  @Test func `UDPRouteWeightedRouting: weights are kept among clients`() throws {
    let traffic = try Traffic()
    let server = try traffic.serveDatagrams()
    defer {
      traffic.stop()
      server.stop()
    }
    try traffic.serve(
      gateway("gw", "name: u, port: \(traffic.datagramPort), protocol: UDP"),
      grant(in: "web", from: "UDPRoute", to: "{group: '', kind: Service}"),
      route(
        "u", kind: "UDPRoute", to: "{name: gw}",
        backend: "{name: one, port: 53, weight: 3}, {name: far, namespace: web, port: 53, weight: 1}"))
    let names = (0..<12).map { _ in askDatagram(traffic.datagramPort, "x") }
    #expect(names.filter { $0 == "one x" }.count == 9 && names.filter { $0 == "far x" }.count == 3)
  }

  @Test
  func
    `TLSRouteSimpleSameNamespace, TLSRouteHostnameIntersection, TLSRouteInvalidReferenceGrant: names reach their server unopened`()
    throws
  {
    let authority = try TestAuthority()
    let leaf = try authority.issue("DNS:a.example.org", "DNS:b.example.org", "DNS:x.y.example.org")
    let server = try PythonServer(PythonServer.https, "sealed", "\(leaf).pem", "\(leaf).key")
    let traffic = try Traffic()
    defer {
      traffic.stop()
      server.stop()
    }
    try traffic.point("two", to: server.ports[0])
    try traffic.serve(
      gateway(
        "gw",
        "name: tls, port: \(traffic.ports[0]), protocol: TLS, hostname: '*.example.org', tls: {mode: Passthrough}"
      ),
      route(
        "a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.example.org, '*.y.example.org'",
        backend: "{name: two, port: 8443}"),
      route(
        "b", kind: "TLSRoute", to: "{name: gw}", hosts: "b.example.org",
        backend: "{name: far, namespace: web, port: 8080}"))
    for host in ["a.example.org", "x.y.example.org"] {
      let answer = traffic.curl(host, on: 0, authority: authority.root)
      #expect(answer.status == 0 && answer.output.hasPrefix("sealed"), "\(host): \(answer)")
    }
    for host in ["b.example.org", "c.example.org", "a.example.com"] {
      #expect(traffic.curl(host, on: 0, authority: authority.root).status == 35, "\(host)")
    }
    try traffic.point("far", to: server.ports[0])
    try traffic.serve(grant(in: "web", from: "TLSRoute", to: "{group: '', kind: Service}"))
    #expect(traffic.curl("b.example.org", on: 0, authority: authority.root).output.hasPrefix("sealed"))
  }

  @Test
  func
    `TLSRouteTerminateSimpleSameNamespace, TLSRouteMixedTerminationSameNamespace, BackendTLSPolicyTLSRouteTerminate: names of one port are passed on, opened, sealed again, or HTTP's`()
    throws
  {
    let authority = try TestAuthority()
    let leaf = try authority.issue("DNS:a.example.org", "DNS:two.example.org")
    let server = try PythonServer(PythonServer.https, "sealed", "\(leaf).pem", "\(leaf).key")
    let traffic = try Traffic()
    defer {
      traffic.stop()
      server.stop()
    }
    try traffic.point("two", to: server.ports[0])
    traffic.lab.input.secrets[ObjectKey("infra", "cert")] = try authority.secret(
      try authority.issue("DNS:b.example.org", "DNS:c.example.org", "DNS:d.example.org"))
    traffic.lab.input.authorities[ObjectKey("infra", "ca")] = AuthorityBundle(configMap: [
      "data": ["ca.crt": JSON(try String(contentsOfFile: authority.root, encoding: .utf8))]
    ])
    let port = traffic.ports[0]
    func listener(_ name: String, _ spoken: String, _ mode: String) -> String {
      "name: \(name), port: \(port), protocol: \(spoken), hostname: \(name).example.org, tls: {\(mode)}"
    }
    let opened = "mode: Terminate, certificateRefs: [{name: cert}]"
    let plan = try traffic.serve(
      gateway(
        "gw", listener("a", "TLS", "mode: Passthrough"), listener("b", "TLS", opened),
        listener("c", "TLS", opened), listener("d", "HTTPS", "certificateRefs: [{name: cert}]")),
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: BackendTLSPolicy
      metadata: {name: p, namespace: infra}
      spec:
        targetRefs: [{group: '', kind: Service, name: two}]
        validation: {hostname: two.example.org, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}
      """,
      route(
        "a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.example.org", backend: "{name: two, port: 8443}"),
      route("b", kind: "TLSRoute", to: "{name: gw}", hosts: "b.example.org"),
      route(
        "c", kind: "TLSRoute", to: "{name: gw}", hosts: "c.example.org", backend: "{name: two, port: 8443}"),
      route("d", to: "{name: gw}", hosts: "d.example.org"))
    #expect(try plan.gateway("gw").listeners.areWell)
    func ask(_ name: String) -> String {
      traffic.curl("\(name).example.org", on: 0, authority: authority.root).output
    }
    #expect(ask("a").hasPrefix("sealed"), "\(ask("a"))")
    #expect(ask("b").hasPrefix("one") && !ask("b").lowercased().contains("x-forwarded-for"), "\(ask("b"))")
    #expect(ask("c").hasPrefix("sealed"), "\(ask("c"))")
    #expect(ask("d").hasPrefix("one") && ask("d").lowercased().contains("x-forwarded-for"), "\(ask("d"))")
  }
}
