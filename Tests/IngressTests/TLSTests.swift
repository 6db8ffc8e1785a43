// TLS at the ingress, judged by clients that are not ours: which certificate, which versions, whole bodies both ways,
// resumption, swaps under handshakes, broken bytes, upgrades.

import Addresses
import COpenSSL
import Foundation
import Testing

@testable import Ingress

@Suite struct TLSTests {
  /// Hosts `own.test` and `*.wild.test` with certificates of their own, and a default.
  private struct Lab {
    let authority: Authority
    let backend: Backend
    let ingress: TestIngress
    let table: TLSTable

    init(limits: IngressLimits = IngressLimits(), rsa: Bool = false) throws {
      authority = try Authority()
      backend = try Backend("a")
      table = TLSTable(
        certificates: [
          try authority.issue("own.test", rsa: rsa), try authority.issue("*.wild.test"),
          try authority.issue("default.test"),
        ],
        names: [
          TLSName("own.test", .certificate(0)), TLSName("*.wild.test", .certificate(1)),
          TLSName("other.wild.test", .fallback),
        ], defaultCertificate: 2)
      var routes = everything(to: [backend.endpoint])
      routes = RouteTable(
        backends: routes.backends,
        hosts: [
          RouteHost(name: "", paths: [RoutePath(path: "/", isExact: false, backend: 0)]),
          RouteHost(
            name: "own.test",
            paths: [
              RoutePath(path: "/", isExact: false, backend: 0, redirectsToHTTPS: true),
              RoutePath(path: "/.well-known/acme-challenge", isExact: false, backend: 0),
            ], isSecured: true),
        ], strictTransportSecurity: Array("max-age=31536000; includeSubDomains".utf8))
      ingress = try TestIngress(routes, limits: limits, tls: table)
    }

    func stop() {
      ingress.stop()
      backend.kill()
    }
    var root: String { authority.root }
  }

  @Test(arguments: ["--tlsv1.2", "--tlsv1.3"])
  func `curl trusts what each host is served with, exact name before wildcard`(version: String) throws {
    let lab = try Lab(rsa: version == "--tlsv1.2")
    defer { lab.stop() }
    for host in ["own.test", "OWN.test", "any.wild.test", "default.test"] {
      let output = lab.ingress.curl(
        host, "/", version, "--tls-max", String(version.suffix(3)), root: lab.root)
      #expect(output.status == 0 && output.text == "a", "\(host): \(output)")
    }
    // Two labels are not one, and a name that is another's is not the wildcard's.
    for host in ["a.b.wild.test", "other.wild.test", "nobody.test"] {
      let output = lab.ingress.curl(host, root: lab.root)
      #expect(output.status == 60, "\(host): \(output)")
    }
    for (name, subject) in [
      ("own.test", "own.test"), ("x.wild.test", "*.wild.test"), ("other.wild.test", "default.test"),
      (nil, "default.test"),
    ] as [(String?, String)] {
      let output = lab.ingress.handshake(name)
      #expect(output.text.contains("subject=CN = \(subject)\n"), "\(name ?? "-"): \(output)")
    }
  }

  @Test func `a client of a version or cipher from before TLS 1.2 with forward secrecy is refused`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    for flags in [
      ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "AES128-SHA:AES256-SHA"],
    ] {
      let output = run(
        ["openssl", "s_client", "-connect", "127.0.0.1:\(lab.ingress.secure.port)"] + flags)
      #expect(output.status != 0 && output.error.contains("alert"), "\(flags): \(output)")
    }
    #expect(lab.ingress.curl("own.test", root: lab.root).text == "a")
    #expect(eventually { lab.ingress.value("weft_ingress_tls_handshakes_total{result=\"failed\"}") == 2 })
  }

  @Test func `without any certificate a client gets one that it need not trust`() throws {
    let backend = try Backend("a")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    defer {
      ingress.stop()
      backend.kill()
    }
    let url = "https://127.0.0.1:\(ingress.secure.port)/"
    #expect(run(["curl", "-s", url]).status == 60)
    #expect(run(["curl", "-sk", url]).text == "a")
    #expect(ingress.handshake("x.test").text.contains("CN = Weft Ingress Default Certificate"))
  }

  @Test func `the endpoint is told of https, the client of HSTS where the host has TLS`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let head = lab.ingress.curl("own.test", "/head", root: lab.root).text
    for line in [
      "X-Forwarded-Proto: https", "X-Forwarded-Scheme: https", "X-Scheme: https",
      "X-Forwarded-Port: \(lab.ingress.secure.port)",
    ] { #expect(head.contains(line + "\r\n"), "\(head)") }
    let secured = lab.ingress.curl("own.test", "/", "-i", root: lab.root).text
    #expect(secured.contains("\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\n"))
    let newer = lab.ingress.curl("own.test", "/", "-i", "--http2", root: lab.root).text
    #expect(
      newer.hasPrefix("HTTP/2 200") && newer.contains("\r\nstrict-transport-security: max-age=31536000;"))
    let other = lab.ingress.curl("any.wild.test", "/", "-i", root: lab.root).text
    #expect(!other.isEmpty && !other.contains("Strict-Transport-Security"))
  }

  @Test func `a plain request to a host with TLS is sent to https, method and body with it`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let client = Client(lab.ingress.endpoint)
    client.send(
      "POST /a?b=c HTTP/1.1\r\nHost: own.test:80\r\nContent-Length: 5\r\n\r\nhello"
        + "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: own.test\r\n\r\n"
        + "HEAD / HTTP/1.1\r\nHost: own.test\r\n\r\n")
    let redirect = client.response()
    #expect(redirect?.status == 308)
    #expect(
      redirect?.head.contains("\r\nLocation: https://own.test:\(lab.ingress.secure.port)/a?b=c\r\n") == true,
      "\(redirect?.head ?? "")")
    #expect(text(client.response()?.body) == "a")
    let head = client.response(toHead: true)
    #expect(head?.status == 308 && head?.body.isEmpty == true)
    // The host without TLS is served as it was.
    #expect(text(Client(lab.ingress.endpoint).get()?.body) == "a")
    #expect(eventually { lab.ingress.value("nginx_ingress_controller_requests{") > 0 })
  }

  @Test func `large bodies pass whole in both directions`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let path = "\(lab.authority.folder)/body"
    let body = Data((0..<900_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    try body.write(to: URL(fileURLWithPath: path))
    let up = lab.ingress.curl("own.test", "/", "--data-binary", "@\(path)", "-H", "Expect:", root: lab.root)
    #expect(up.text == "\(body.count) \(body.reduce(0) { $0 + Int($1) })", "\(up)")
    let down = lab.ingress.curl("own.test", "/large/1500000", "-o", path, root: lab.root)
    #expect(down.status == 0, "\(down)")
    let got = try Data(contentsOf: URL(fileURLWithPath: path))
    #expect(got.count == 1_500_000)
    #expect(got.enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: $0 % 251) })
    for (path, expected) in [("/chunked", "hello world"), ("/until-close", "until the end")] {
      #expect(lab.ingress.curl("own.test", path, root: lab.root).text == expected)
    }
  }

  @Test(arguments: ["-tls1_2", "-tls1_3"]) func `a session is resumed from its ticket`(version: String) throws
  {
    let lab = try Lab()
    defer { lab.stop() }
    let path = "\(lab.authority.folder)/session"
    let request = "GET / HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n"
    func visit(_ flag: String) -> ToolOutput {
      run(
        [
          "openssl", "s_client", "-connect", "127.0.0.1:\(lab.ingress.secure.port)", "-servername",
          "own.test",
          version, "-ign_eof", flag, path,
        ], input: request)
    }
    #expect(visit("-sess_out").text.contains("\nNew, TLSv1."))
    let second = visit("-sess_in")
    #expect(second.text.contains("\nReused, TLSv1.") && second.text.contains("\r\n\r\na"), "\(second)")
    #expect(
      eventually { lab.ingress.value("weft_ingress_tls_handshakes_total{result=\"resumed\"}") == 1 })
  }

  @Test func `keys of tickets change by the hour, and a new worker gets those in force`() {
    let keys = TicketKeys()
    let first = keys.newer(than: -1, now: 5)
    #expect(first?.generation == 1 && first?.keys.count == 1)
    #expect(keys.newer(than: 1, now: TicketKeys.periodNanoseconds) == nil)
    let second = keys.newer(than: 1, now: TicketKeys.periodNanoseconds + 5)
    #expect(second?.generation == 2 && second?.keys.count == 2)
    #expect(keys.newer(than: -1, now: TicketKeys.periodNanoseconds + 6)?.generation == 2)
    let later = (2..<6).compactMap { keys.newer(than: 0, now: TicketKeys.periodNanoseconds * ($0 * 2)) }
    #expect(later.map(\.keys.count) == [3, 3, 3, 3])
  }

  @Test func `handshakes that come in single bytes, and many requests on one connection`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let output = lab.ingress.python(
      """
      import socket, ssl, sys
      context = ssl.create_default_context(cafile=sys.argv[2])
      plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
      plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
      into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
      tls = context.wrap_bio(into, out, server_hostname="own.test")
      def send():
        for byte in out.read(): plain.send(bytes([byte]))
      def step(action):
        while True:
          try:
            result = action(); send(); return result
          except ssl.SSLWantReadError:
            send(); into.write(plain.recv(65536))
      step(tls.do_handshake)
      for index in range(30):
        tls.write(b"GET / HTTP/1.1\\r\\nHost: own.test\\r\\n\\r\\n" * 2); send()
        got = b""
        while got.count(b"\\r\\n\\r\\na") < 2: got += step(lambda: tls.read(65536))
      print(tls.version(), "done")
      """, lab.root)
    #expect(output.text == "TLSv1.3 done\n", "\(output)")
  }

  @Test func `certificates are swapped under handshakes without one that fails`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let other = try lab.authority.issue("own.test")
    let swapped = TLSTable(
      certificates: [other], names: [TLSName("own.test", .certificate(0))], defaultCertificate: 0)
    let isDone = Flag()
    let swapper = Thread {
      var count = 0
      while !isDone.isRaised {
        try? lab.ingress.install(count % 2 == 0 ? swapped : lab.table)
        count += 1
        usleep(2000)
      }
    }
    swapper.start()
    let output = lab.ingress.python(
      """
      import socket, ssl, sys
      context = ssl.create_default_context(cafile=sys.argv[2])
      seen = set()
      for index in range(300):
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as plain:
          with context.wrap_socket(plain, server_hostname="own.test") as tls:
            seen.add(tls.getpeercert()["serialNumber"])
            tls.sendall(b"GET / HTTP/1.1\\r\\nHost: own.test\\r\\nConnection: close\\r\\n\\r\\n")
            got = b""
            while True:
              piece = tls.recv(4096)
              if not piece: break
              got += piece
            assert got.endswith(b"\\r\\n\\r\\na"), got
      print(len(seen))
      """, lab.root)
    isDone.raise()
    while !swapper.isFinished { usleep(500) }
    #expect(output.text == "2\n", "\(output)")
    #expect(lab.ingress.value("weft_ingress_tls_handshakes_total{result=\"failed\"}") == 0)
  }

  @Test func `an upgraded connection carries bytes both ways`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let output = lab.ingress.python(
      """
      import socket, ssl, sys
      context = ssl.create_default_context(cafile=sys.argv[2])
      plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
      tls = context.wrap_socket(plain, server_hostname="own.test")
      tls.sendall(b"GET /ws HTTP/1.1\\r\\nHost: own.test\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n")
      head = b""
      while not head.endswith(b"\\r\\n\\r\\n"): head += tls.recv(1)
      assert head.startswith(b"HTTP/1.1 101 "), head
      sent = bytes(range(256)) * 2000
      import threading
      threading.Thread(target=lambda: tls.sendall(sent)).start()
      got = b""
      while len(got) < len(sent): got += tls.recv(65536)
      print(got == sent)
      """, lab.root)
    #expect(output.text == "True\n", "\(output)")
  }

  @Test func `bytes that are no handshake end their own connection and nothing else`() throws {
    var limits = IngressLimits()
    // Others shake hands meanwhile, on a machine that is busy.
    limits.handshakeMilliseconds = 2500
    limits.tickMilliseconds = 50
    limits.lingerMilliseconds = 100
    let lab = try Lab(limits: limits)
    defer { lab.stop() }
    let hello = try clientHello()
    var random = Random(7)
    for index in 0..<400 {
      var bytes = hello
      for _ in 0...random.next(6) { bytes[random.next(bytes.count)] = UInt8(random.next(256)) }
      let client = Client(lab.ingress.secure)
      client.send(index % 3 == 0 ? Array(bytes.prefix(random.next(bytes.count))) : bytes)
    }
    Client(lab.ingress.secure).send("GET / HTTP/1.1\r\nHost: own.test\r\n\r\n")
    // One that says nothing at all is cut off when its time is over.
    let silent = Client(lab.ingress.secure)
    #expect(silent.readAll().isEmpty)
    #expect(lab.ingress.curl("own.test", root: lab.root).text == "a")
    #expect(eventually { lab.ingress.value("weft_ingress_client_connections") == 0 })
  }

  /// What openssl says first.
  private func clientHello() throws -> [UInt8] {
    let output = run(
      [
        "python3", "-c",
        """
        import ssl, sys
        out = ssl.MemoryBIO()
        tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="own.test")
        try: tls.do_handshake()
        except ssl.SSLWantReadError: print(out.read().hex())
        """,
      ])
    let digits = Array(output.text.utf8.dropLast())
    let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
      UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
    }
    try #require(bytes.count > 100, "\(output)")
    return bytes
  }
}
