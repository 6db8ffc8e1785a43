// TLS by name: connections that go on unopened to a server that ends TLS itself, and those that are opened here and are not HTTP.

import Addresses
import FuzzLab
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

/// A ClientHello as a client would write it, in records of so many bytes.
private func hello(_ name: String?, record: Int = 16_384, padding: Int = 0) -> [UInt8] {
  func sized(_ bytes: [UInt8], _ width: Int) -> [UInt8] {
    (0..<width).reversed().map { UInt8(truncatingIfNeeded: bytes.count >> (8 * $0)) } + bytes
  }
  var extensions: [UInt8] = [0, 43] + sized([2, 3, 4], 2)
  if padding > 0 { extensions += [0, 21] + sized([UInt8](repeating: 0, count: padding), 2) }
  if let name { extensions += [0, 0] + sized(sized([0] + sized(Array(name.utf8), 2), 2), 2) }
  let body =
    [3, 3] + [UInt8](repeating: 5, count: 32) + sized([], 1) + sized([0x13, 0x01], 2) + sized([0], 1)
    + sized(extensions, 2)
  let message = [1] + sized(body, 3)
  var bytes: [UInt8] = []
  for start in stride(from: 0, to: message.count, by: record) {
    bytes += [22, 3, 1] + sized(Array(message[start..<min(message.count, start + record)]), 2)
  }
  return bytes
}

/// The name that is found, `?` for unfinished, `!` for malformed.
private func name(_ bytes: [UInt8]) -> String {
  var space = bytes
  return space.withUnsafeMutableBytes { space in
    switch ClientHello(joining: space) {
    case .unfinished: "?"
    case .malformed: "!"
    case .hello(let name): String(decoding: space[name], as: UTF8.self)
    }
  }
}

@Suite struct ClientHelloTests {
  @Test(arguments: [16_384, 100, 7, 1])
  func `the name is found, in however many records it comes`(record: Int) {
    let whole = hello("a.example", record: record)
    #expect(name(whole) == "a.example")
    #expect(name(whole + [1, 2, 3]) == "a.example")
    #expect(name(hello(nil, record: record)).isEmpty)
    for count in 0..<whole.count { #expect(name(Array(whole.prefix(count))) == "?", "\(count)") }
  }

  @Test func `what is no ClientHello, or is too long, is refused`() {
    #expect(name(Array("GET / HTTP/1.1".utf8)) == "!")
    #expect(name([22, 3, 1, 0, 0]) == "!")
    #expect(name([22, 3, 1, 0, 4, 2, 0, 0, 4]) == "!")
    #expect(name([22, 3, 1, 0, 4, 1, 1, 0, 0]) == "!")
    #expect(name([22, 3, 1, 0x7f, 0, 1, 0, 0, 4]) == "!")
    #expect(name(hello("a b")) == "!")
    #expect(name(hello("a\0b")) == "!")
    #expect(name(hello("")) == "!")
    #expect(name(hello(String(repeating: "a", count: 256))) == "!")
    #expect(name(hello("a.example", padding: 15_000)) == "a.example")
    #expect(name(hello("a.example", padding: 17_000)) == "!")
    // Never more than what may be looked at, without an answer.
    #expect(name(Array(hello("a.example", record: 1, padding: 5_000).prefix(ClientHello.bytesMax))) == "!")
    var twice = hello("a.example")
    let tail = Array(twice.suffix(18))
    twice += tail
    for at in [4, 8, 9 + 2 + 32 + 1 + 4 + 2 + 1] { twice[at] += 18 }
    #expect(name(twice) == "!")
  }

  @Test func `broken ones never trap, and a name is always one`() {
    let corpus = [hello("a.example"), hello(nil), hello("b.example", record: 9), hello("c.d", padding: 300)]
    for bytes in mutants(of: corpus, words: ["\u{16}\u{3}\u{1}", "\0\0\0"], count: 40_000, seed: 42) {
      let found = name(bytes)
      let isName = found.utf8.allSatisfy {
        lowercase($0) &- 97 < 26 || $0 &- 48 < 10 || "-._".utf8.contains($0)
      }
      #expect(isName || found == "?" || found == "!", "\(found)")
    }
  }
}

@Suite struct StreamTableTests {
  private func table() -> StreamTable {
    var policy = BackendPolicy()
    policy.proxy = .v2
    policy.timeouts.idle = 9
    return StreamTable(
      backends: [
        backend([SocketEndpoint(loopback, 1), SocketEndpoint("[2001:db8::1]:2")!], policy), backend([]),
      ],
      listeners: [
        StreamListener(
          port: 443, kind: .tls,
          rules: [
            StreamRule(
              name: "a.example", targets: [StreamTarget(backend: 0, weight: 3), StreamTarget(backend: -1)]),
            StreamRule(
              name: "*.b.example", coversOneLabel: true, opening: .terminate,
              targets: [StreamTarget(backend: 1)]),
            StreamRule(name: "", opening: .http),
          ]),
        StreamListener(port: 53, kind: .udp, rules: [StreamRule(targets: [StreamTarget(backend: 1)])]),
        StreamListener(port: 53, kind: .tcp, acceptsProxy: true, rules: []),
        StreamListener(port: 53, addresses: [loopback], kind: .tcp, rules: []),
      ])
  }

  @Test func `a table comes out of its frame as it went in`() throws {
    #expect(try StreamTable(encoded: table().encoded()) == table())
    #expect(try StreamTable(encoded: StreamTable().encoded()) == StreamTable())
    let routes = everything(to: [SocketEndpoint(loopback, 1)]).encoded()
    #expect(throws: RouteTableUnreadable.self) { try StreamTable(encoded: routes) }
  }

  @Test func `broken frames never trap, and what is read can be served`() throws {
    var readable = 0
    for bytes in mutations(of: table().encoded(), count: 20_000, seed: 43) {
      guard let table = try? StreamTable(encoded: bytes) else { continue }
      readable += 1
      #expect(try StreamTable(encoded: table.encoded()) == table)
      for listener in table.listeners {
        _ = StreamListenerRuntime(listener, table.backends.map { BackendRuntime($0, pools: []) }).only?.next()
      }
    }
    #expect(readable > 100)
  }

  @Test func `the most specific name decides, and a wildcard covers one label or any number as it says`() {
    func rule(_ name: String, one: Bool = false) -> StreamRule { StreamRule(name: name, coversOneLabel: one) }
    let listener = StreamListenerRuntime(
      StreamListener(
        port: 1, kind: .tls,
        rules: [rule("a.b.c"), rule("*.b.c", one: true), rule("*.c"), rule("*.one", one: true)]), [])
    func found(_ name: String) -> String? {
      Array(name.utf8).withUnsafeBytes { listener.rule(for: $0)?.rule.name }
    }
    #expect(found("a.b.c") == "a.b.c" && found("A.B.C.") == "a.b.c")
    #expect(found("x.b.c") == "*.b.c")
    #expect(found("y.x.b.c") == "*.c" && found("b.c") == "*.c")
    #expect(found("x.one") == "*.one" && found("y.x.one") == nil)
    #expect(found("c") == nil && found("") == nil && found(".one") == nil)
  }
}

@Suite struct PassthroughTests {
  /// A front, and behind it two servers that end TLS themselves.
  private final class Lab {
    let authority: Authority
    let front: StreamLab
    let servers: [(name: String, ingress: TestIngress, backend: Backend)]

    init(limits: IngressLimits = IngressLimits()) throws {
      let authority = try Authority()
      self.authority = authority
      servers = try ["a", "b"].map { name in
        let backend = try Backend(name)
        let certificate = try authority.issue(
          "\(name).example", "*.\(name).example", "deep.x.\(name).example")
        let ingress = try TestIngress(
          everything(to: [backend.endpoint]),
          tls: TLSTable(certificates: [certificate], names: [], defaultCertificate: 0))
        return (name, ingress, backend)
      }
      let own = try Backend("own")
      front = try StreamLab(
        limits: { $0 = limits }, routes: everything(to: [own.endpoint]),
        tls: TLSTable(
          certificates: [try authority.issue("own.example", "*.own.example")], names: [],
          defaultCertificate: 0))
      self.own = own
    }
    private let own: Backend

    func rules() -> [StreamRule] {
      [
        StreamRule(name: "a.example", targets: [StreamTarget(backend: 0)]),
        StreamRule(name: "*.a.example", targets: [StreamTarget(backend: 0)]),
        StreamRule(name: "b.example", targets: [StreamTarget(backend: 1)]),
        StreamRule(name: "*.b.example", coversOneLabel: true, targets: [StreamTarget(backend: 1)]),
        StreamRule(name: "nobody.example", targets: []),
      ]
    }

    func install(port: UInt16) throws {
      try front.install(
        StreamTable(
          backends: servers.map { backend([$0.ingress.secure]) },
          listeners: [StreamListener(port: port, kind: .tls, rules: rules())]))
    }

    func curl(_ host: String, _ port: UInt16, _ path: String = "/", _ more: String...) -> ToolOutput {
      run(
        [
          "curl", "-sS", "-m", "50", "--cacert", authority.root, "--resolve", "\(host):\(port):127.0.0.1",
          "https://\(host):\(port)\(path)",
        ] + more)
    }

    func stop() {
      front.stop()
      own.kill()
      for server in servers {
        server.ingress.stop()
        server.backend.kill()
      }
    }
  }

  @Test
  func
    `TLSRouteSimpleSameNamespace, TLSRouteHostnameIntersection: a name's connections reach its server unopened`()
    throws
  {
    let lab = try Lab()
    defer { lab.stop() }
    let port = lab.front.ports[0].port
    try lab.install(port: port)
    for (host, server) in [
      ("a.example", "a"), ("b.example", "b"), ("x.a.example", "a"), ("deep.x.a.example", "a"),
      ("x.b.example", "b"),
    ] {
      let answer = lab.curl(host, port)
      #expect(answer.text == server, "\(host): \(answer)")
    }
    // HTTP/2 is agreed on with the server, and large bodies pass both ways.
    #expect(lab.curl("a.example", port, "/", "--http2", "-w", "%{http_version}").text == "a2")
    #expect(
      lab.curl("a.example", port, "/large/3000000", "-o", "/dev/null", "-w", "%{size_download}").text
        == "3000000")
    // A wildcard for one label, a name without an endpoint, a name that nobody has, and none.
    for host in ["deep.x.b.example", "nobody.example", "c.example"] {
      #expect(lab.curl(host, port).status != 0, "\(host)")
    }
    let connect = ["openssl", "s_client", "-connect", "127.0.0.1:\(port)"]
    let unknown = run(connect + ["-servername", "c.example"])
    #expect((unknown.text + unknown.error).contains("unrecognized name"), "\(unknown)")
    #expect(run(connect + ["-noservername"]).status != 0)
    #expect(
      run(connect + ["-servername", "a.example", "-CAfile", lab.authority.root, "-verify_return_error"])
        .status == 0)
    #expect(
      eventually {
        lab.front.value("weft_ingress_stream_connections_refused_total{reason=\"no_route\"}") == 4
      })
    #expect(
      eventually {
        lab.front.value("weft_ingress_stream_connections_refused_total{reason=\"no_endpoint\"}") == 1
      })
  }

  @Test func `ssl-passthrough: on the port of HTTPS names that pass do, all others end here`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let port = lab.front.https.port
    #expect(lab.curl("own.example", port).text == "own")
    try lab.install(port: port)
    #expect(lab.curl("a.example", port).text == "a")
    #expect(lab.curl("x.b.example", port).text == "b")
    #expect(lab.curl("own.example", port).text == "own")
    #expect(lab.curl("deep.own.example", port, "/", "--http2", "-w", "%{http_version}").text == "own2")
    #expect(lab.curl("nobody.example", port).status != 0)
    try lab.front.install(StreamTable())
    #expect(lab.curl("own.example", port).text == "own")
    #expect(lab.curl("a.example", port).status != 0)
  }

  @Test
  func `TLSRouteMixedTerminationSameNamespace: names of an HTTPS listener are its own on a shared port`()
    throws
  {
    let lab = try Lab()
    defer { lab.stop() }
    let port = lab.front.https.port
    try lab.front.install(
      StreamTable(
        backends: [backend([lab.servers[0].ingress.secure])],
        listeners: [
          StreamListener(
            port: port, kind: .tls,
            rules: [
              StreamRule(name: "x.own.example", opening: .http),
              StreamRule(name: "", targets: [StreamTarget(backend: 0)]),
            ])
        ]))
    #expect(lab.curl("x.own.example", port).text == "own")
    #expect(lab.curl("a.example", port).text == "a")
  }

  @Test func `a ClientHello in pieces is waited for, and what is none is reset`() throws {
    let received = Mutex<[UInt8]>([])
    let server = try ThreadServer { client in
      while case let bytes = client.some(), !bytes.isEmpty { received.withLock { $0 += bytes } }
    }
    let lab = try StreamLab(server, limits: { $0.handshakeMilliseconds = 1500 })
    defer { lab.stop() }
    try lab.install(
      StreamTable(
        backends: [backend([server.endpoint])],
        listeners: [
          StreamListener(
            port: lab.ports[0].port, kind: .tls,
            rules: [StreamRule(name: "a.example", targets: [StreamTarget(backend: 0)])])
        ]))
    let bytes = hello("a.example", record: 60)
    let client = Client(lab.ports[0])
    for start in stride(from: 0, to: bytes.count, by: 30) {
      client.send(Array(bytes[start..<min(bytes.count, start + 30)]))
      usleep(5000)
    }
    client.send("and more")
    #expect(eventually { received.withLock { $0 } == bytes + Array("and more".utf8) })
    let refused = "weft_ingress_stream_connections_refused_total"
    let other = Client(lab.ports[0])
    other.send("GET / HTTP/1.1\r\n\r\n")
    #expect(other.isReset())
    #expect(eventually { lab.value(refused + "{reason=\"client_hello\"}") == 1 })
    let late = Client(lab.ports[0])
    late.send(Array(bytes.prefix(20)))
    #expect(late.isReset())
    #expect(eventually { lab.value(refused + "{reason=\"timeout\"}") == 1 })
  }

  @Test func `a ClientHello is not looked at without end: sent byte by byte it is refused`() throws {
    let lab = try StreamLab()
    defer { lab.stop() }
    try lab.install(
      StreamTable(
        backends: [backend([lab.http])],
        listeners: [
          StreamListener(
            port: lab.ports[0].port, kind: .tls,
            rules: [StreamRule(name: "a.example", targets: [StreamTarget(backend: 0)])])
        ]))
    let refused = "weft_ingress_stream_connections_refused_total{reason=\"client_hello\"}"
    // Long enough that a busy machine, which sees many bytes at a time, looks often enough all the same.
    let bytes = hello("a.example", padding: 12_000)
    let client = Client(lab.ports[0])
    var on: Int32 = 1
    setsockopt(client.raw, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
    var sent = 0
    while sent < bytes.count - 1, lab.value(refused) == 0 {
      client.send([bytes[sent]])
      sent += 1
      usleep(200)
    }
    #expect(eventually { lab.value(refused) == 1 })
    // One look may be at nothing: that a connection can be written to is told before its first byte, or with it.
    #expect(sent >= ConnectionGate.looksMax - 1)
    #expect(eventually { lab.value("weft_ingress_client_connections ") == 0 })
  }

  @Test func `TLSRouteTerminateSimpleSameNamespace: TLS ends here, and what is in it goes on`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let plain = try Backend("plain")
    defer { plain.kill() }
    var sealed = BackendPolicy()
    sealed.tls = UpstreamTLS(
      serverName: "a.example", authorities: Array(run(["cat", lab.authority.root]).text.utf8))
    var wrong = sealed
    wrong.tls?.serverName = "other.example"
    let port = lab.front.ports[0].port
    func rule(_ name: String, _ backend: Int) -> StreamRule {
      StreamRule(name: name, opening: .terminate, targets: [StreamTarget(backend: backend)])
    }
    try lab.front.install(
      StreamTable(
        backends: [
          backend([plain.endpoint]), backend([lab.servers[0].ingress.secure], sealed),
          backend([lab.servers[0].ingress.secure], wrong),
        ],
        listeners: [
          StreamListener(
            port: port, kind: .tls,
            rules: [rule("x.own.example", 0), rule("y.own.example", 1), rule("z.own.example", 2)])
        ]))
    #expect(lab.curl("x.own.example", port).text == "plain")
    // BackendTLSPolicyTLSRouteTerminate: sealed again, and only for whom the certificate names.
    #expect(lab.curl("y.own.example", port).text == "a")
    #expect(lab.curl("z.own.example", port).status != 0)
    for host in ["x.own.example", "y.own.example"] {
      #expect(
        lab.curl(host, port, "/large/5000000", "-o", "/dev/null", "-w", "%{size_download}").text == "5000000")
      let upload = lab.authority.folder + "/upload"
      _ = run(["sh", "-c", "head -c 1500000 /dev/zero > \(upload)"])
      let posted = lab.curl(host, port, "/", "--http1.1", "--data-binary", "@\(upload)")
      #expect(posted.text == "1500000 0", "\(host): \(posted)")
      // Slowly read, so that bytes wait on the way.
      let slow = lab.curl(
        host, port, "/large/2000000", "--limit-rate", "3M", "-o", "/dev/null", "-w", "%{size_download}")
      #expect(slow.text == "2000000", "\(slow)")
    }
    // What is no handshake is refused, with the alert.
    let old = run([
      "openssl", "s_client", "-connect", "127.0.0.1:\(port)", "-servername", "x.own.example", "-tls1_1",
      "-cipher", "ALL:@SECLEVEL=0",
    ])
    #expect(old.status != 0)
    #expect(eventually { lab.front.value("weft_ingress_stream_connections ") == 0 })
  }

  @Test func `an opened connection ends in each direction alone`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let server = try ThreadServer { client in
      var count = 0
      while case let bytes = client.some(), !bytes.isEmpty { count += bytes.count }
      client.send("got \(count)")
    }
    defer { server.stop() }
    let port = lab.front.ports[0].port
    try lab.front.install(
      StreamTable(
        backends: [backend([server.endpoint])],
        listeners: [
          StreamListener(
            port: port, kind: .tls,
            rules: [
              StreamRule(name: "x.own.example", opening: .terminate, targets: [StreamTarget(backend: 0)])
            ])
        ]))
    // In TLS 1.3 a client that says that it ends still reads (RFC 8446 section 6.1).
    let script = """
      import socket, ssl, sys
      incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
      context = ssl.create_default_context(cafile=sys.argv[2])
      s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=20)
      tls = context.wrap_bio(incoming, outgoing, server_hostname='x.own.example')
      def step(call):
          while True:
              try:
                  return call()
              except ssl.SSLWantReadError:
                  s.sendall(outgoing.read())
                  incoming.write(s.recv(65536))
              finally:
                  s.sendall(outgoing.read())
      step(tls.do_handshake)
      step(lambda: tls.write(b'x' * 100000))
      try:
          tls.unwrap()
      except ssl.SSLWantReadError:
          pass
      s.sendall(outgoing.read())
      data = b''
      while True:
          piece = s.recv(65536)
          if not piece: break
          incoming.write(piece)
          try:
              while True: data += tls.read(65536) or (_ for _ in ()).throw(StopIteration)
          except (ssl.SSLWantReadError, ssl.SSLZeroReturnError, StopIteration, RuntimeError):
              pass
      print(data.decode())
      """
    let answer = run(["python3", "-c", script, "\(port)", lab.authority.root])
    #expect(answer.text == "got 100000\n", "\(answer)")
  }
}
