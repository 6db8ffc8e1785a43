// Gateways that share a port and not an address, with traffic: each address has what its Gateways say and nothing of the others', on sockets of
// their own and on one that takes all addresses.

import Addresses
import ClusterObjects
import ClusterView
import GatewayAPI
import Glibc
import Ingress
import NamespaceLab
import Reactor
import Testing

@Suite(.serialized) struct AddressTrafficTests {
  /// Two addresses that are asked for, and one that nobody asks for.
  private static let (first, second, rest) = ("127.0.0.2", "127.0.0.3", "127.0.0.4")

  /// - Parameter isShared: one socket takes all addresses.
  private func traffic(isShared: Bool) throws -> Traffic {
    let traffic =
      isShared
      ? try Traffic(ports: 1, at: "0.0.0.0") : try Traffic(ports: 1, at: Self.rest, Self.first, Self.second)
    traffic.lab.settings.addresses = [Self.first, Self.second, Self.rest]
    return traffic
  }

  private func at(_ address: String) -> String { "  addresses: [{type: IPAddress, value: \(address)}]\n" }

  private func rules(_ path: String, _ backend: String) -> String {
    "[{matches: [{path: {value: \(path)}}], backendRefs: [{name: \(backend), port: 8080}]}]"
  }

  @Test(arguments: [false, true])
  func `GatewayStaticAddresses: Gateways of one port serve their own routes at their own addresses`(
    isShared: Bool
  ) throws {
    let traffic = try traffic(isShared: isShared)
    defer { traffic.stop() }
    let http = "name: http, port: \(traffic.ports[0]), protocol: HTTP"
    try traffic.serve(gateway("any", http), route("any", to: "{name: any}", rules: rules("/any", "one")))
    // Accepted when nobody asks for its address.
    let kept = traffic.connect(at: isShared ? Self.first : Self.rest)
    func ask(_ stream: BlockingStream, _ path: String) -> String {
      stream.send("GET \(path) HTTP/1.1\r\nHost: a.org\r\n\r\n")
      let head = stream.head() ?? ""
      let length = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length: ") }
      _ = stream.read(length.flatMap { Int($0.dropFirst(16)) } ?? 0)
      return String(head.dropFirst(9).prefix(3))
    }
    #expect(ask(kept, "/any") == "200" && ask(kept, "/first") == "404")
    let plan = try traffic.serve(
      gateway("a", more: at(Self.first), http), gateway("b", more: at(Self.second), http),
      route("a", to: "{name: a}", rules: rules("/first", "one")),
      route("b", to: "{name: b}", rules: rules("/second", "two")))
    for name in ["any", "a", "b"] { #expect(try plan.gateway(name).listeners.areWell, "\(name)") }
    #expect(plan.servedSockets.count == 3)
    for (address, path, backend) in [
      (Self.first, "/first", "one"), (Self.second, "/second", "two"), (Self.rest, "/any", "one"),
    ] {
      for asked in ["/first", "/second", "/any"] {
        let answer = run(
          "curl -sS -m 20 -w '%{http_code}' http://\(address):\(traffic.ports[0])\(asked) 2>&1"
        ).output
        #expect(
          asked == path ? answer.hasPrefix("\(backend)\n") : answer.hasSuffix("404"),
          "\(asked) at \(address): \(answer)")
      }
    }
    // What is kept open is served by what its address has now.
    #expect(ask(kept, "/first") == (isShared ? "200" : "404"))
    #expect(ask(kept, "/any") == (isShared ? "404" : "200"))
    // One Gateway goes; the other's connections stay, and what nobody asks for any more is for the one that asks for nothing.
    let stays = traffic.connect(at: Self.second)
    #expect(ask(stays, "/second") == "200")
    try traffic.serve(
      gateway(
        "a", more: at(Self.first),
        "name: http, port: \(traffic.ports[0]), protocol: HTTPS, tls: {certificateRefs: [{name: gone}]}"))
    #expect(ask(stays, "/second") == "200")
    if isShared {
      #expect(traffic.ask("/first", at: Self.first).status == 404)
      #expect(traffic.ask("/any", at: Self.first).status == 200)
    }
  }

  @Test(arguments: [false, true])
  func `certificates and names that pass unopened are those of the address`(isShared: Bool) throws {
    let (one, two) = (try TestAuthority(), try TestAuthority())
    let leaf = try one.issue("DNS:a.org", "DNS:p.org")
    let server = try PythonServer(PythonServer.https, "sealed", "\(leaf).pem", "\(leaf).key")
    let traffic = try traffic(isShared: isShared)
    defer {
      traffic.stop()
      server.stop()
    }
    try traffic.point("two", to: server.ports[0])
    traffic.lab.input.secrets = [
      ObjectKey("infra", "one"): try one.secret(leaf),
      ObjectKey("infra", "two"): try two.secret(try two.issue("DNS:a.org", "DNS:p.org")),
    ]
    func https(_ secret: String) -> String {
      "name: https, port: \(traffic.ports[0]), protocol: HTTPS, tls: {certificateRefs: [{name: \(secret)}]}"
    }
    let plan = try traffic.serve(
      gateway(
        "a", more: at(Self.first), https("one"),
        "name: tls, port: \(traffic.ports[0]), protocol: TLS, hostname: p.org, tls: {mode: Passthrough}"),
      gateway("b", more: at(Self.second), https("two")), gateway("any", https("two")),
      route("a", to: "{name: a}", rules: rules("/first", "one")),
      route("b", to: "{name: b}", rules: rules("/second", "one")),
      route("any", to: "{name: any}", rules: rules("/any", "one")),
      route("p", kind: "TLSRoute", to: "{name: a}", hosts: "p.org", backend: "{name: two, port: 8443}"))
    for name in ["any", "a", "b"] { #expect(try plan.gateway(name).listeners.areWell, "\(name)") }
    for (address, path, authority, other) in [
      (Self.first, "/first", one, two), (Self.second, "/second", two, one), (Self.rest, "/any", two, one),
    ] {
      for version in ["--http1.1", "--http2"] {
        let answer = traffic.curl("a.org", on: 0, authority: authority.root, version, path: path, at: address)
        #expect(answer.output.hasPrefix("one\n"), "\(address) \(version): \(answer)")
      }
      #expect(traffic.curl("a.org", on: 0, authority: other.root, path: path, at: address).status == 60)
      let passed = traffic.curl("p.org", on: 0, authority: authority.root, path: path, at: address).output
      #expect(passed.hasPrefix(address == Self.first ? "sealed" : "one\n"), "\(address): \(passed)")
    }
  }

  @Test(arguments: [false, true])
  func `TCP and UDP ports are one Gateway's at each address`(isShared: Bool) throws {
    let traffic = try traffic(isShared: isShared)
    let server = try traffic.serveDatagrams()
    defer {
      traffic.stop()
      server.stop()
    }
    let ports = [
      "name: t, port: \(traffic.ports[0]), protocol: TCP",
      "name: u, port: \(traffic.datagramPort), protocol: UDP",
    ]
    func all(_ name: String, _ backend: String, _ datagrams: String) -> [String] {
      [
        route(name, kind: "TCPRoute", to: "{name: \(name)}", backend: "{name: \(backend), port: 8080}"),
        route(name, kind: "UDPRoute", to: "{name: \(name)}", backend: datagrams),
      ]
    }
    let far = "{name: far, namespace: web, port: 53}"
    for text in all("a", "one", "{name: one, port: 53}") + all("b", "two", far) + all("any", "two", far) {
      try traffic.add(text)
    }
    let plan = try traffic.serve(
      gateway("a", more: at(Self.first), ports[0], ports[1]),
      gateway("b", more: at(Self.second), ports[0], ports[1]), gateway("any", ports[0], ports[1]),
      grant(in: "web", from: "UDPRoute", to: "{group: '', kind: Service}"))
    for name in ["a", "b", "any"] { #expect(try plan.gateway(name).listeners.areWell, "\(name)") }
    for (address, backend, datagrams) in [
      (Self.first, "one", "one x"), (Self.second, "two", "far x"), (Self.rest, "two", "far x"),
    ] {
      #expect(traffic.backend(at: address) == backend, "\(address)")
      #expect(askDatagram(traffic.datagramPort, "x", at: address) == datagrams, "\(address)")
    }
    // Another route of one of them.
    try traffic.serve(route("a", kind: "UDPRoute", to: "{name: a}", backend: far))
    #expect(askDatagram(traffic.datagramPort, "x", at: Self.first) == "far x")
  }
}
