// Upstream servers over TLS: another server of ours is the upstream.

import Addresses
import Diagnostics
import SoakLab
import Testing

@testable import DNS

/// A server that forwards over TLS to a second one, which is authoritative for the fixture's zone. The route may be changed.
private func withChain<Result>(
  names: String = "IP:127.0.0.1,DNS:localhost", _ change: (inout ForwardRoute, TLSCredentials) -> Void,
  _ body: (UInt16, Metrics) throws -> Result
) throws -> Result {
  let (credentials, folder) = try TestCertificate.make(names)
  defer { ScratchFolder.remove(folder) }
  let upstream = DNSServer(settings: DNSServerSettings(), zone: Fixture.zone, metrics: Metrics())
  try upstream.start(
    listen: [freeEndpoint()], encrypted: [EncryptedPort(freeEndpoint(), .tls, credentials)])
  defer { upstream.stop() }
  let server = upstream.encryptedEndpoints[0]
  var route = ForwardRoute(upstreams: [server], timeoutMilliseconds: 5000)
  route.encryptedUpstreams = [server]
  route.tls.authority = credentials.certificate
  change(&route, credentials)
  var block = ServerBlock()
  block.routes = [route]
  block.cache = ForwardCacheSettings()
  var settings = DNSServerSettings()
  settings.blocks = [block]
  let metrics = Metrics()
  return try withServer(settings, metrics: metrics) { _, port in try body(port, metrics) }
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct EncryptedForwardTests {
  @Test func `names are asked over TLS on one connection, and kept`() throws {
    try withChain({ _, _ in }) { port, _ in
      #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
      #expect(dig(port, "db-0.db.demo.svc.cluster.local A +short") == "10.42.0.5\n")
      #expect(dig(port, "gone.demo.svc.cluster.local A").contains("status: NXDOMAIN"))
      #expect(dig(port, "big.demo.svc.cluster.local A +tcp +short").split(separator: "\n").count == 100)
    }
  }

  @Test func `a certificate by its name is believed, and one of another name is not`() throws {
    try withChain(names: "DNS:dns.test", { route, _ in route.tls.serverName = "dns.test" }) { port, _ in
      #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
    }
    for name in ["elsewhere.test", nil] as [String?] {
      try withChain(names: "DNS:dns.test", { route, _ in route.tls.serverName = name }) { port, _ in
        #expect(dig(port, "web.demo.svc.cluster.local A").contains("status: SERVFAIL"))
      }
    }
  }

  @Test func `a certificate of nobody we trust is not believed`() throws {
    try withChain({ route, _ in route.tls.authority = nil }) { port, _ in
      #expect(dig(port, "web.demo.svc.cluster.local A").contains("status: SERVFAIL"))
    }
  }

  @Test func `a server that is gone is passed over for the next`() throws {
    // Port 1 of the loopback address refuses at once.
    try withChain({ route, _ in
      let dead = SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 1)
      route.upstreams.insert(dead, at: 0)
      route.encryptedUpstreams.insert(dead)
      route.policy = .sequential
    }) { port, _ in
      #expect(dig(port, "web.demo.svc.cluster.local A +short") == "10.43.0.20\n")
    }
  }
}

@Test func `a Corefile says which servers are asked over TLS and how they are known`() throws {
  let text = """
    tls://. {
      tls crt key
      kubernetes cluster.local
      forward . tls://9.9.9.9 tls://149.112.112.112:8853 10.0.0.1 {
        tls_servername dns.quad9.net
        tls authority
      }
    }
    """
  let corefile = try Corefile.read(text) { "text of \($0)" }
  #expect(corefile.ports(.tls) == [853])
  #expect(corefile.credentials(853, .tls)?.key == "text of key")
  let route = try #require(corefile.blocks.first?.routes.first)
  #expect(route.upstreams.map(\.port) == [853, 8853, 53])
  #expect(route.encryptedUpstreams == Set(route.upstreams.prefix(2)))
  #expect(route.tls.serverName == "dns.quad9.net" && route.tls.authority == "text of authority")
  #expect(route.tls.certificate == nil)
  let error = #expect(throws: WeftError.self) { try Corefile.read("https://. {\n whoami\n}") { _ in nil } }
  #expect(error != nil)
  let bare = #expect(throws: WeftError.self) { try Corefile.read("tls://. {\n errors\n}") { _ in nil } }
  #expect(bare?.cause.contains("needs a certificate") == true, "\(String(describing: bare))")
}
