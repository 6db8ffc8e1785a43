// The PROXY protocol: headers read and written, byte by byte, and who is believed on a listener. curl sends it too.

import Addresses
import Diagnostics
import FuzzLab
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

private func read(_ bytes: [UInt8]) -> ProxyHeader { bytes.withUnsafeBytes { ProxyHeader($0) } }
private func read(_ text: String) -> ProxyHeader { read(Array(text.utf8)) }

private let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]
private let addresses = ProxyAddresses(
  source: SocketEndpoint("192.0.2.7:56324")!, destination: SocketEndpoint("198.51.100.1:443")!)
private let addresses6 = ProxyAddresses(
  source: SocketEndpoint("[2001:db8::7]:56324")!, destination: SocketEndpoint("[2001:db8::1]:443")!)
/// signature | version 2, PROXY | IPv4, stream | length | source, destination | ports
private let binary4: [UInt8] =
  signature + [0x21, 0x11, 0, 12] + [192, 0, 2, 7] + [198, 51, 100, 1] + [0xdc, 0x04] + [0x01, 0xbb]

@Suite struct ProxyHeaderTests {
  @Test func `version 1 is read to the letter`() {
    let line = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
    #expect(read(line + "GET /") == .header(length: line.utf8.count, addresses: addresses))
    let line6 = "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n"
    #expect(read(line6) == .header(length: line6.utf8.count, addresses: addresses6))
    #expect(read("PROXY UNKNOWN\r\n") == .header(length: 15, addresses: nil))
    #expect(read("PROXY UNKNOWN ff.. x y z\r\nrest") == .header(length: 26, addresses: nil))
    let bytes = Array(line.utf8)
    for count in 0..<bytes.count { #expect(read(Array(bytes.prefix(count))) == .unfinished, "\(count)") }
  }

  @Test(arguments: [
    "GET / HTTP/1.1\r\n", "PROXY\r\n", "PROXY TCP4\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n", "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 056 443\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
    "PROXY TCP6 192.0.2.7 198.51.100.1 1 443\r\n", "PROXY TCP4 2001:db8::7 2001:db8::1 1 443\r\n",
    "PROXY TCP4 192.0.2.7 2001:db8::1 1 443\r\n", "PROXY UDP4 192.0.2.7 198.51.100.1 1 443\r\n",
    "PROXY TCP4 300.0.2.7 198.51.100.1 1 443\r\n", "proxy TCP4 192.0.2.7 198.51.100.1 1 443\r\n",
    "PROXY UNKNOWN " + String(repeating: "x", count: 200),
  ])
  func `what is not version 1 is refused`(_ text: String) { #expect(read(text) == .malformed) }

  @Test func `version 2 is read: addresses, extensions, what the sender says for itself`() {
    #expect(read(binary4 + [1, 2]) == .header(length: 28, addresses: addresses))
    for count in 0..<28 { #expect(read(Array(binary4.prefix(count))) == .unfinished, "\(count)") }
    let extended = signature + [0x21, 0x11, 0, 17] + binary4[16...] + [0x02, 0, 2, 104, 50]
    #expect(read(Array(extended)) == .header(length: 33, addresses: addresses))
    let binary6 =
      signature + [0x21, 0x21, 0, 36] + addresses6.source.address.bytes + addresses6.destination.address.bytes
      + [0xdc, 0x04, 0x01, 0xbb]
    #expect(read(binary6) == .header(length: 52, addresses: addresses6))
    // LOCAL, with whatever behind it; what is not specified; Unix sockets; datagrams.
    #expect(read(signature + [0x20, 0, 0, 3, 1, 2, 3]) == .header(length: 19, addresses: nil))
    #expect(read(signature + [0x21, 0, 0, 1, 9]) == .header(length: 17, addresses: nil))
    #expect(
      read(signature + [0x21, 0x31, 0, 216] + [UInt8](repeating: 0, count: 216))
        == .header(length: 232, addresses: nil))
    #expect(read(signature + [0x21, 0x12] + binary4[14...]) == .header(length: 28, addresses: nil))
  }

  @Test func `what is not version 2 is refused`() {
    var bad: [[UInt8]] = []
    bad.append(signature + [0x11, 0x11, 0, 12])  // another version
    bad.append(signature + [0x22, 0x11, 0, 12])  // no command
    bad.append(signature + [0x21, 0x41, 0, 12])  // no family
    bad.append(signature + [0x21, 0x13, 0, 12])  // no transport
    bad.append(signature + [0x21, 0x11, 0x10, 0])  // longer than may be
    bad.append(signature + [0x21, 0x11, 0, 11] + [UInt8](repeating: 0, count: 11))  // too short
    bad.append(signature + [0x21, 0x11, 0, 14] + binary4[16...] + [1, 0])  // half an extension
    bad.append(signature + [0x21, 0x11, 0, 16] + binary4[16...] + [1, 0, 9, 0])  // an extension past the end
    bad.append([13, 10, 13, 10, 1])
    for bytes in bad { #expect(read(bytes) == .malformed, "\(bytes)") }
  }

  @Test(arguments: ProxyVersion.allCases)
  func `what is written is read again`(_ version: ProxyVersion) {
    for one in [addresses, addresses6] {
      let bytes = ProxyHeader.bytes(version, one)
      #expect(read(bytes) == .header(length: bytes.count, addresses: one))
    }
    // Both are of one family: IPv4 is put into IPv6's.
    let mixed = ProxyAddresses(source: addresses.source, destination: addresses6.destination)
    let bytes = ProxyHeader.bytes(version, mixed)
    guard case .header(bytes.count, let found?) = read(bytes) else {
      Issue.record("\(bytes)")
      return
    }
    #expect(found.destination == mixed.destination && found.source.port == 56324)
    let own = ProxyHeader.bytes(version, nil)
    #expect(read(own) == .header(length: own.count, addresses: nil))
  }

  @Test func `the golden bytes of both versions`() {
    #expect(
      String(decoding: ProxyHeader.bytes(.v1, addresses), as: UTF8.self)
        == "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n")
    #expect(ProxyHeader.bytes(.v2, addresses) == binary4)
    #expect(ProxyHeader.bytes(.v2, nil) == signature + [0x20, 0, 0, 0])
  }

  @Test func `broken headers never trap, and none is longer than what was given`() {
    let corpus =
      [addresses, addresses6].flatMap { one in ProxyVersion.allCases.map { ProxyHeader.bytes($0, one) } }
      + [signature + [0x21, 0x11, 0, 17] + binary4[16...] + [0x02, 0, 2, 104, 50]]
    for bytes in mutants(
      of: corpus, words: ["PROXY ", "TCP4 ", "\r\n", "65535", "::"], count: 40_000, seed: 41)
    {
      if case .header(let length, _) = read(bytes) {
        #expect(length <= bytes.count && length <= ProxyHeader.bytesMax)
      }
    }
  }
}

@Suite struct ProxyProtocolTests {
  private func lab(_ sources: [IPPrefix] = [], _ policy: BackendPolicy = BackendPolicy()) throws -> (
    lab: StreamLab, backend: Backend
  ) {
    let backend = try Backend("a")
    return (
      try StreamLab(
        routes: everything(to: [backend.endpoint], by: policy), proxy: ProxyAcceptance(sources: sources)),
      backend
    )
  }

  private func head(_ client: Client) -> String {
    client.send("GET /head HTTP/1.1\r\nHost: x\r\n\r\n")
    return text(client.response()?.body)
  }

  @Test(arguments: ProxyVersion.allCases)
  func `requests are the client's that the header names, and its pieces may come late`(
    _ version: ProxyVersion
  ) throws {
    let (lab, backend) = try lab([try #require(IPPrefix("127.0.0.0/8"))])
    defer {
      lab.stop()
      backend.kill()
    }
    let client = Client(lab.http)
    let header = ProxyHeader.bytes(version, addresses)
    client.send(Array(header.prefix(9)))
    usleep(20_000)
    client.send(Array(header.dropFirst(9)))
    for _ in 0..<2 {
      let head = head(client)
      #expect(head.contains("X-Real-IP: 192.0.2.7\r\n") && head.contains("X-Forwarded-For: 192.0.2.7\r\n"))
    }
    // A balancer's own check, and an address of another kind: the one who connected.
    let own = Client(lab.http)
    own.send(ProxyHeader.bytes(version, nil))
    #expect(head(own).contains("X-Real-IP: 127.0.0.1\r\n"))
  }

  @Test func `who is not trusted has to send the header and is not believed`() throws {
    let (lab, backend) = try lab([try #require(IPPrefix("10.0.0.0/8"))])
    defer {
      lab.stop()
      backend.kill()
    }
    let client = Client(lab.http)
    client.send(ProxyHeader.bytes(.v2, addresses))
    #expect(head(client).contains("X-Real-IP: 127.0.0.1\r\n"))
  }

  @Test func `a connection without a header, with a broken one, or with none in time is closed`() throws {
    let backend = try Backend("a")
    var limits = IngressLimits()
    limits.handshakeMilliseconds = 1000
    let lab = try StreamLab(
      limits: { $0 = limits }, routes: everything(to: [backend.endpoint]), proxy: ProxyAcceptance())
    defer {
      lab.stop()
      backend.kill()
    }
    for bytes in [Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), signature + [0x31, 0x11, 0, 12]] {
      let client = Client(lab.http)
      client.send(bytes)
      #expect(client.response() == nil)
    }
    let half = Client(lab.http)
    half.send("PROXY TCP4 192.0.2.7")
    half.finishSending()
    #expect(half.response() == nil)
    #expect(
      eventually { lab.value("weft_ingress_stream_connections_refused_total{reason=\"proxy_header\"}") == 3 })
    let late = Client(lab.http)
    late.send("PROXY ")
    #expect(late.response() == nil)
    #expect(
      eventually { lab.value("weft_ingress_stream_connections_refused_total{reason=\"timeout\"}") == 1 })
    #expect(backend.served.load(ordering: .relaxed) == 0)
    #expect(eventually { lab.value("weft_ingress_client_connections ") == 0 })
  }

  @Test func `lists of addresses and the access log go by the client that the header names`() throws {
    let backend = try Backend("a")
    var action = RouteAction()
    action.sources = RouteSources(allowed: [try #require(IPPrefix("192.0.2.0/24"))])
    var table = everything(to: [backend.endpoint])
    table = RouteTable(
      backends: table.backends, actions: [action],
      hosts: [RouteHost(name: "", paths: [RoutePath(path: "/", kind: .prefix, backend: 0, action: 0)])])
    let metrics = Metrics()
    let path = "/tmp/weft-proxy-log-\(UInt64.random(in: 0 ..< .max))"
    let log = try AccessLog(AccessLogConfiguration(path: path, format: .json), metrics: metrics)
    let lab = try StreamLab(routes: table, proxy: ProxyAcceptance(), log: log)
    defer {
      lab.stop()
      backend.kill()
      unlink(path)
    }
    let good = Client(lab.http)
    good.send(ProxyHeader.bytes(.v1, addresses))
    #expect(good.get("/")?.status == 200)
    let bad = Client(lab.http)
    bad.send(ProxyHeader.bytes(.v1, addresses6))
    #expect(bad.get("/")?.status == 403)
    lab.stop()
    log.stop()
    let written = run(["cat", path]).text
    #expect(written.contains("192.0.2.7") && written.contains("2001:db8::7"))
    #expect(!written.contains("127.0.0.1\""))
  }

  @Test func `curl sends it, to HTTP and HTTPS`() throws {
    let authority = try Authority()
    let backend = try Backend("a")
    let lab = try StreamLab(
      routes: everything(to: [backend.endpoint]),
      tls: TLSTable(
        certificates: [try authority.issue("a.example")], names: [TLSName("a.example", .certificate(0))]),
      proxy: ProxyAcceptance())
    defer {
      lab.stop()
      backend.kill()
    }
    for (scheme, port) in [("http", lab.http.port), ("https", lab.https.port)] {
      let arguments = [
        "curl", "-sS", "-m", "20", "--haproxy-protocol", "--cacert", authority.root, "--resolve",
        "a.example:\(port):127.0.0.1", "\(scheme)://a.example:\(port)/head",
      ]
      let answer = run(arguments)
      #expect(answer.text.contains("X-Real-IP: 127.0.0.1\r\n"), "\(scheme): \(answer)")
      #expect(run(arguments.filter { $0 != "--haproxy-protocol" }).status != 0, "\(scheme)")
    }
  }

  @Test(arguments: ProxyVersion.allCases)
  func `streams read the header where their listener says so, and endpoints that ask get one`(
    _ version: ProxyVersion
  ) throws {
    let server = try ThreadServer.echo("")
    let lab = try StreamLab()
    defer {
      lab.stop()
      server.stop()
    }
    var policy = BackendPolicy()
    policy.proxy = version
    func table(accepts: Bool) -> StreamTable {
      StreamTable(
        backends: [backend([server.endpoint], policy)],
        listeners: [lab.listener(.tcp, [StreamTarget(backend: 0)], acceptsProxy: accepts)])
    }
    try lab.install(table(accepts: true))
    let client = Client(lab.ports[0])
    client.send(ProxyHeader.bytes(.v1, addresses) + Array("hello".utf8))
    let expected = ProxyHeader.bytes(version, addresses)
    #expect(client.read(expected.count).elementsEqual(expected))
    let plain = Client(lab.ports[0])
    plain.send("hello")
    #expect(plain.isReset())
    // Without: the socket's own addresses.
    try lab.install(table(accepts: false))
    let other = Client(lab.ports[0])
    var own = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    _ = withUnsafeMutablePointer(to: &own) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(other.raw, $0, &length) }
    }
    let said = ProxyHeader.bytes(
      version,
      ProxyAddresses(
        source: SocketEndpoint(loopback, UInt16(bigEndian: own.sin_port)), destination: lab.ports[0]))
    #expect(other.read(said.count).elementsEqual(said))
  }

  @Test func `a backend of HTTP that asks gets one connection a client, with its header`() throws {
    let heads = Mutex<[String]>([])
    let server = try ThreadServer { client in
      while case let bytes = client.some(), !bytes.isEmpty {
        heads.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) }
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }
    var policy = BackendPolicy()
    policy.proxy = .v1
    let lab = try StreamLab(
      routes: everything(to: [server.endpoint], by: policy), proxy: ProxyAcceptance())
    defer {
      lab.stop()
      server.stop()
    }
    for one in [addresses, addresses6] {
      let client = Client(lab.http)
      client.send(ProxyHeader.bytes(.v2, one))
      for _ in 0..<2 { #expect(text(client.get("/")?.body) == "ok") }
    }
    let seen = heads.withLock { $0 }.filter { $0.hasPrefix("PROXY ") }
    // One a request: what was said of one client is never another's.
    #expect(seen.count == 4)
    #expect(seen.prefix(2).allSatisfy { $0.hasPrefix("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n") })
    #expect(seen.suffix(2).allSatisfy { $0.hasPrefix("PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n") })
  }
}
