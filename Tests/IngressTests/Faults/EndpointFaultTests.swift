// T-I9: endpoints that misbehave over HTTP/1.1, each in its own way. What the client gets, that limits hold, and that a connection whose
// framing is in doubt carries no second request. (Those of HTTP/2 are in EndpointHTTP2Tests.)

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

/// Reads a request's head; false at the end.
private func readHead(_ client: Client) -> Bool {
  var last: [UInt8] = []
  while last != [13, 10, 13, 10] {
    let byte = client.read(1)
    guard let byte = byte.first else { return false }
    last = Array((last + [byte]).suffix(4))
  }
  return true
}

@Suite struct EndpointFaultTests {
  /// - Parameter milliseconds: how long an endpoint may be silent; longer than a busy machine takes where it is not what is tried.
  private static func limits(_ milliseconds: UInt64 = 5000) -> IngressLimits {
    var limits = IngressLimits()
    limits.readMilliseconds = milliseconds
    limits.clientMilliseconds = milliseconds
    limits.tickMilliseconds = 50
    limits.lingerMilliseconds = 100
    return limits
  }

  /// An endpoint that does this with each connection once a request's head has come, and an ingress before it.
  private func lab(_ limits: IngressLimits = limits(), _ serve: @escaping @Sendable (Client) -> Void) throws
    -> (server: ThreadServer, ingress: TestIngress)
  {
    let server = try ThreadServer { client in if readHead(client) { serve(client) } }
    return (server, try TestIngress(everything(to: [server.endpoint]), limits: limits))
  }

  @Test func `one that never answers costs its request alone, after its time`() throws {
    let (server, ingress) = try lab(Self.limits(600)) { _ = $0.some() }
    defer {
      ingress.stop()
      server.stop()
    }
    let start = Reactor.monotonicNanoseconds()
    #expect(Client(ingress.endpoint).get("/")?.status == 504)
    #expect(Reactor.monotonicNanoseconds() - start >= 600_000_000)
  }

  @Test func `one that stops in the middle of an answer breaks that answer off`() throws {
    let (server, ingress) = try lab(Self.limits(1500)) { client in
      client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
      _ = client.some()
    }
    defer {
      ingress.stop()
      server.stop()
    }
    let client = Client(ingress.endpoint)
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    let all = client.readAll()
    #expect(all.hasPrefix("HTTP/1.1 200") && all.hasSuffix("half"), "\(all)")
  }

  @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Le"])
  func `a reset before the head's end is 502, and one in the middle of a body breaks it off`(sent: String)
    throws
  {
    let (server, ingress) = try lab { client in
      client.send(sent)
      usleep(20_000)
      client.breakOff()
    }
    defer {
      ingress.stop()
      server.stop()
    }
    // POST: what may have been acted upon is not tried again.
    let client = Client(ingress.endpoint)
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    #expect(client.response()?.status == 502)
  }

  /// All of it in one piece: when it is looked at, nothing is with the client.
  @Test(arguments: [
    "Transfer-Encoding: chunked\r\n\r\nno size\r\n", "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-1\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
  ])
  func
    `a head with a broken body behind it is 502, over HTTP 1 and 2, and the connection of the client stays`(
      rest: String
    ) throws
  {
    let (server, ingress) = try lab { client in
      repeat { client.send("HTTP/1.1 200 OK\r\n\(rest)") } while readHead(client)
    }
    defer {
      ingress.stop()
      server.stop()
    }
    let client = Client(ingress.endpoint)
    for _ in 0..<2 {
      let answer = client.get()
      #expect(
        answer?.status == 502 && answer?.head.contains("Connection: close") == false, "\(answer as Any)")
    }
    let frames = FrameClient(ingress)
    for stream in [1, 3] as [UInt32] {
      frames.get(stream)
      #expect(frames.answer(stream)?.status == 502)
    }
    // What such an endpoint says is believed once only.
    #expect(server.accepted.load(ordering: .relaxed) == 4)
  }

  @Test func `an endpoint whose answers nobody can read is left out as one that fails`() throws {
    let (server, ingress) = try lab { client in
      client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n")
    }
    ingress.stop()
    let good = try Backend("good")
    var policy = BackendPolicy()
    policy.balancing = .roundRobin
    policy.health.failures = 2
    policy.health.ejection = 600_000
    let careful = try TestIngress(everything(to: [server.endpoint, good.endpoint], by: policy))
    defer {
      careful.stop()
      server.stop()
      good.kill()
    }
    let statuses = (0..<20).map { _ in Client(careful.endpoint).get()?.status ?? 0 }
    #expect(statuses.count { $0 == 502 } == 2 && statuses.count { $0 == 200 } == 18, "\(statuses)")
  }

  @Test func `a head that has become too long is 502, and not a connection that ends`() throws {
    let backend = try Backend("b")
    var table = everything(to: [backend.endpoint])
    let fields = try (0..<10).map {
      try #require(HeaderField("X-Long-\($0)", String(repeating: "x", count: HeaderField.valueBytesMax)))
    }
    var action = RouteAction()
    action.response = HeaderEdit(set: fields)
    table = RouteTable(
      backends: table.backends, actions: [action],
      hosts: [
        RouteHost(name: "", paths: [RoutePath(path: Array("/".utf8), kind: .prefix, backend: 0, action: 0)])
      ])
    let ingress = try TestIngress(table, limits: Self.limits())
    defer {
      ingress.stop()
      backend.kill()
    }
    let client = Client(ingress.endpoint)
    for _ in 0..<2 { #expect(client.get()?.status == 502) }
    let frames = FrameClient(ingress)
    frames.get(1)
    #expect(frames.answer(1)?.status == 502)
  }

  @Test func `an answer before the request's end reaches the client, and both connections end`() throws {
    let (server, ingress) = try lab { client in
      client.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
      while !client.some().isEmpty {}
    }
    defer {
      ingress.stop()
      server.stop()
    }
    for _ in 0..<2 {
      let client = Client(ingress.endpoint)
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin")
      let answer = client.response()
      #expect(answer?.status == 413 && answer?.head.contains("Connection: close") == true, "\(answer as Any)")
    }
    #expect(server.accepted.load(ordering: .relaxed) == 2)
  }

  /// Fields of this length without end: a gigabyte, if anybody took it. `note` hears what was taken of each.
  private static func flood(_ client: Client, bytes: Int, _ note: (Int) -> Void) {
    let line = [UInt8]("X-More: \(String(repeating: "x", count: bytes))\r\n".utf8)
    for _ in 0..<1_000_000_000 / bytes {
      let count = line.withUnsafeBytes { Glibc.send(client.raw, $0.baseAddress, $0.count, 0x4000) }
      if count <= 0 { return }
      note(count)
    }
  }

  @Test func `a head without an end is 502 within the bound of heads`() throws {
    let taken = Atomic<Int>(0)
    let (server, ingress) = try lab { client in
      client.send("HTTP/1.1 200 OK\r\n")
      Self.flood(client, bytes: 4000) { taken.add($0, ordering: .relaxed) }
    }
    defer {
      ingress.stop()
      server.stop()
    }
    let client = Client(ingress.endpoint)
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    #expect(client.response()?.status == 502)
    // What lies in the sockets' buffers besides.
    #expect(taken.load(ordering: .relaxed) < 16 << 20)
  }

  @Test func `trailers without an end break the answer off within their bound`() throws {
    let taken = Atomic<Int>(0)
    let (server, ingress) = try lab { client in
      client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
      Self.flood(client, bytes: 400) { taken.add($0, ordering: .relaxed) }
    }
    defer {
      ingress.stop()
      server.stop()
    }
    let client = Client(ingress.endpoint)
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    let all = client.readAll()
    // The answer may have begun or not: it is never a whole one.
    #expect(
      all.isEmpty || all.hasPrefix("HTTP/1.1 200") || all.hasPrefix("HTTP/1.1 502"), "\(all.prefix(200))")
    #expect(all.hasPrefix("HTTP/1.1 502") || !all.hasSuffix("\r\n\r\n"), "\(all.suffix(200))")
    #expect(taken.load(ordering: .relaxed) < 16 << 20)
  }

  @Test func `interim answers are passed on, but not without end`() throws {
    let (server, ingress) = try lab { client in
      let text = String(repeating: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", count: 10)
      client.send(text + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      guard readHead(client) else { return }
      while client.some().isEmpty == false {}
    }
    let (storm, stormed) = try lab { client in
      let text = [UInt8]("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".utf8)
      for _ in 0..<1_000_000 {
        let count = text.withUnsafeBytes { Glibc.send(client.raw, $0.baseAddress, $0.count, 0x4000) }
        if count <= 0 { return }
      }
    }
    defer {
      for each in [ingress, stormed] { each.stop() }
      for each in [server, storm] { each.stop() }
    }
    let client = Client(ingress.endpoint)
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in 0..<10 { #expect(client.response()?.status == 103) }
    #expect(text(client.response()?.body) == "ok")
    let other = Client(stormed.endpoint)
    other.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    let all = other.readAll()
    let statuses = all.split(separator: "HTTP/1.1 ").map { $0.prefix(3) }
    #expect(statuses.count { $0 == "103" } <= 32 && statuses.last == "502", "\(statuses)")
  }

  /// What could be read in two ways, and what comes behind an answer.
  @Test(arguments: [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nok", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok\r\n\r\n",
  ])
  func `a connection whose framing is in doubt carries no second request`(answer: String) throws {
    let server = try ThreadServer { client in
      guard readHead(client) else { return }
      client.send(answer)
      // A second request on this connection would be told by this.
      if readHead(client) { client.send("HTTP/1.1 299 Reused\r\nContent-Length: 0\r\n\r\n") }
    }
    let ingress = try TestIngress(everything(to: [server.endpoint]), limits: Self.limits())
    defer {
      ingress.stop()
      server.stop()
    }
    let client = Client(ingress.endpoint)
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    let all = client.readAll()
    #expect(all.hasPrefix("HTTP/1.1 ") && !all.contains("299") && !all.contains("poison"), "\(all)")
    // Nor of another client.
    let other = Client(ingress.endpoint)
    other.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    let more = other.readAll()
    #expect(!more.contains("299") && !more.contains("poison"), "\(more)")
  }
}
