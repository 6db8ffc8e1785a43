// The parser against what attackers write: tables of refusals, and mutation with a fixed seed.

import Addresses
import CLinux
import Glibc
import Synchronization
import Testing

@testable import Ingress

@Suite struct HTTPTests {
  /// The status of the refusal, 0 when the request is good, -1 when its head is not whole.
  private func read(_ text: String, _ reader: HeadReader = HeadReader()) -> Int {
    Array(text.utf8).withUnsafeBytes { bytes in
      do throws(HTTPRefusal) {
        guard let end = try HeadReader.end(of: bytes) else { return -1 }
        try reader.readRequest(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
        return 0
      } catch { return error.status }
    }
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0), ("GET / HTTP/1.0\r\n\r\n", 0),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0), ("GET http://a/b HTTP/1.1\r\nHost: c\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0), ("GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", 0), ("GET / HTTP/1.1\r\nHost: a\r\n", -1),
    // Request lines.
    ("GET / HTTP/1.1\nHost: a\n\n", 400), ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400), (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /\r\nHost: a\r\n\r\n", 400),
    ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405), ("G\u{0}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505), ("PRI * HTTP/2.0\r\n\r\n", 505), ("\r\n\r\n", 400),
    // Hosts.
    ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    // Fields.
    ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{0}\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\u{b}: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
    // Framing.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
  ])
  func `what two parsers could read differently is refused`(text: String, status: Int) {
    #expect(read(text) == status)
  }

  @Test func `sizes have their own refusals`() {
    let long = String(repeating: "x", count: 20_000)
    #expect(read("GET /\(long) HTTP/1.1\r\nHost: a\r\n\r\n") == 414)
    #expect(read("GET /\(long.prefix(8200)) HTTP/1.1\r\nHost: a\r\n\r\n") == 414)
    #expect(read("GET / HTTP/1.1\r\nHost: a\r\nX: \(long)\r\n\r\n") == 431)
    #expect(read("GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "X: 1\r\n", count: 128) + "\r\n") == 431)
    #expect(read("GET / HTTP/1.1\r\nHost: \(long.prefix(262))\r\n\r\n") == 400)
  }

  @Test func `an absolute target's authority is the host`() {
    let reader = HeadReader()
    let text = "GET http://Real.x:81/p?q HTTP/1.1\r\nHost: fake.x\r\n\r\n"
    #expect(read(text, reader) == 0)
    let bytes = Array(text.utf8)
    #expect(String(decoding: bytes[reader.host], as: UTF8.self) == "Real.x:81")
    #expect(String(decoding: bytes[reader.path], as: UTF8.self) == "/p")
    #expect(String(decoding: bytes[reader.target], as: UTF8.self) == "/p?q")
  }

  // MARK: - Bodies

  /// Content of a chunked body fed in pieces of `step` bytes; nil when refused.
  private func scan(_ text: String, step: Int) -> (content: String, rest: Int, isDone: Bool)? {
    let bytes = Array(text.utf8)
    var scanner = BodyScanner(.chunked)
    var content: [UInt8] = []
    var at = 0
    while at < bytes.count, !scanner.isDone {
      let piece = Array(bytes[at..<min(at + step, bytes.count)])
      let used = piece.withUnsafeBytes { piece in try? scanner.take(piece) { content += Array(piece[$0]) } }
      guard let used else { return nil }
      at += used
    }
    return (String(decoding: content, as: UTF8.self), bytes.count - at, scanner.isDone)
  }

  @Test(arguments: [1, 2, 3, 7, 1000]) func `a chunked body is followed to its end in pieces of any size`(
    step: Int
  ) {
    let result = scan(
      "5\r\nhello\r\nA;x=\"y\"\r\n 0123456789\r\n".replacing(" 0123456789", with: "0123456789")
        + "000\r\nX-T: 1\r\n\r\nGET", step: step)
    #expect(result?.content == "hello0123456789")
    #expect(result?.rest == 3 && result?.isDone == true)
  }

  @Test(arguments: [
    "\r\n", "g\r\n", "0x5\r\n", "+5\r\n", " 5\r\n", "5 \r\n", "5\n", "5\r\r\n", "5\r\nhelloX\r\n",
    "5\r\nhello\n",
    "1234567890abcdef\r\n", "5;\u{0}\r\n", "5;a\nb\r\n", "0\r\n\n", "0\r\n X: 1\r\n\r\n",
    "0\r\nX : 1\r\n\r\n",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\ncontent-length: 5\r\n\r\n", "0\r\nHOST: a\r\n\r\n",
    "0\r\nX: \u{0}\r\n\r\n", "-1\r\n", ";a\r\n",
  ])
  func `a chunk that is not to the letter is refused`(text: String) {
    #expect(scan(text, step: 1) == nil)
    #expect(scan(text, step: 1000) == nil)
  }

  @Test func `endless chunk lines and trailers are refused`() {
    #expect(scan("5;" + String(repeating: "a", count: 300), step: 50) == nil)
    #expect(scan("0\r\n" + String(repeating: "X: 1\r\n", count: 1000), step: 50) == nil)
  }

  @Test(arguments: [11, 12, 13, 14]) func `mutated messages never trap and what is kept means one thing`(
    seed: UInt64
  ) {
    let seeds = [
      "POST /a?b HTTP/1.1\r\nHost: a.b\r\nContent-Length: 5\r\nConnection: close, x\r\nX: y\r\n\r\nhello",
      "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        + "5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n",
      "GET http://a/b HTTP/1.0\r\nX-Forwarded-For: 1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
    ].map { Array($0.utf8) }
    let nasty: [UInt8] = [0, 9, 10, 13, 32, 44, 48, 57, 58, 59, 65, 97, 127, 128, 255]
    var random = Random(seed)
    let reader = HeadReader()
    let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 16)
    defer { space.deallocate() }
    var kept = 0
    for _ in 0..<20_000 {
      var bytes = seeds[random.next(seeds.count)]
      for _ in 0...random.next(4) {
        let at = random.next(bytes.count)
        switch random.next(3) {
        case 0: bytes[at] = nasty[random.next(nasty.count)]
        case 1: bytes.insert(nasty[random.next(nasty.count)], at: at)
        default: bytes.remove(at: at)
        }
      }
      bytes.withUnsafeBytes { bytes in
        guard let end = try? HeadReader.end(of: bytes) else { return }
        let head = UnsafeRawBufferPointer(rebasing: bytes[..<end])
        _ = try? reader.readResponse(head, toHead: false)
        guard (try? reader.readRequest(head)) != nil else { return }
        kept += 1
        var out = HeadSpace(space)
        reader.writeRequest(head, to: &out, client: [], requestID: (1, 2), isUpgrade: false)
        var scanner = BodyScanner(reader.facts.framing)
        _ = try? scanner.take(UnsafeRawBufferPointer(rebasing: bytes[end...]))
        // What goes upstream reads back with the same framing, host and target.
        let facts = reader.facts.framing
        let second = HeadReader()
        do {
          try second.readRequest(out.bytes)
          #expect(second.facts.framing == facts)
        } catch {
          // Only HTTP/1.0 requests without a Host become what HTTP/1.1 would not send: an empty one, which it
          // may.
          Issue.record("\(error) for \(String(decoding: out.bytes, as: UTF8.self))")
        }
      }
    }
    #expect(kept > 500)
  }

  // MARK: - On the wire

  @Test(arguments: [
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX: a\r\n Content-Length: 44\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n",
  ])
  func `smuggling is answered with a refusal and the connection closed, and no second request gets through`(
    text: String
  ) throws {
    let backend = try Backend("victim")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    client.send(text + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    shutdown(client.raw, Int32(SHUT_WR))
    let answer = client.readAll()
    #expect(answer.hasPrefix("HTTP/1.1 400 "))
    #expect(answer.contains("Connection: close"))
    #expect(answer.components("HTTP/1.1 ").count == 2)
    #expect(backend.served.load(ordering: .relaxed) == 0)
    ingress.stop()
    backend.kill()
  }

  @Test func `a body that breaks its framing midway ends both connections`() throws {
    let backend = try Backend("victim")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    #expect(eventually { backend.served.load(ordering: .relaxed) == 1 })
    client.send("zz\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    shutdown(client.raw, Int32(SHUT_WR))
    #expect(client.readAll().hasPrefix("HTTP/1.1 400 "))
    #expect(text(Client(ingress.endpoint).get()?.body) == "victim")
    #expect(backend.connections.load(ordering: .relaxed) == 2)
    #expect(backend.served.load(ordering: .relaxed) == 2)
    ingress.stop()
    backend.kill()
  }
}
