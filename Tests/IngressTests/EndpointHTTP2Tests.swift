// HTTP/2 towards endpoints: the same requests as over HTTP/1.1, one connection for many, windows and trailers both ways, and
// endpoints that refuse, go away or break the rules.

import Addresses
import FuzzLab
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite struct EndpointHTTP2Tests {
  @Test func `requests of many clients share one connection, each with its own answer`() throws {
    let seen = Mutex<[String: String]>([:])
    let backend = try FrameBackend { server, _ in
      guard server.greet() else { return }
      while let frame = server.next(1) {
        let request = fields(frame.payload)
        seen.withLock { $0 = request }
        server.say(frame.stream, request[":path"] ?? "none")
      }
    }
    defer { backend.stop() }
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c))
    defer { ingress.stop() }
    let clients = (0..<20).map { _ in Client(ingress.endpoint) }
    // The first makes the connection, the others find it.
    #expect(says(clients[0].get("/warm"), "/warm"))
    for (index, client) in clients.enumerated() {
      client.send("GET /a\(index)?q=1 HTTP/1.1\r\nHost: web.demo\r\nTE: trailers\r\nX-Own: 1\r\n\r\n")
    }
    for (index, client) in clients.enumerated() {
      #expect(says(client.response(), "/a\(index)?q=1"))
    }
    let framed = FrameClient(ingress)
    for index in 0..<20 { framed.get(UInt32(index * 2 + 1)) }
    for _ in 0..<20 { #expect(framed.next(1)?.payload.first == 0x88) }
    #expect(backend.accepted.load(ordering: .relaxed) == 1)
    let request = seen.withLock { $0 }
    #expect(request[":method"] == "GET" && request[":scheme"] == "http")
    #expect(request[":authority"] == "web.demo" && request["te"] == "trailers")
    #expect(request["x-forwarded-for"] == "127.0.0.1" && request["x-request-id"]?.count == 32)
    #expect(request["host"] == nil && request["connection"] == nil && request["transfer-encoding"] == nil)
  }

  @Test func `trailers go both ways, from and to every version`() throws {
    let seen = Mutex<[[String: String]]>([])
    let backend = try FrameBackend { server, _ in
      guard server.greet() else { return }
      while let frame = server.next(0, 1) {
        if frame.kind == 1, frame.flags & 4 != 0 { seen.withLock { $0.append(fields(frame.payload)) } }
        guard frame.flags & 1 == 1 else { continue }
        server.answer(frame.stream, [(":status", "200"), ("x-head", "1")], ends: false)
        server.body(frame.stream, "body", ends: false)
        server.answer(frame.stream, [("grpc-status", "7"), ("content-length", "9"), ("x-last", "a b")])
      }
    }
    defer { backend.stop() }
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c))
    defer { ingress.stop() }
    // HTTP/1.1 has its own place for them; what names framing goes nowhere.
    let old = Client(ingress.endpoint)
    old.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n")
    old.send("GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    let answers = old.readAll()
    #expect(
      answers.components("4\r\nbody\r\n0\r\ngrpc-status: 7\r\nx-last: a b\r\n\r\n").count == 3, "\(answers)")
    #expect(!answers.lowercased().contains("content-length"))
    #expect(seen.withLock { $0.contains { $0 == ["x-sum": "3"] } })
    // HTTP/2: head, body, trailers that end the stream.
    let new = FrameClient(ingress)
    new.get(1, getFields.map { $0.0 == ":method" ? (":method", "POST") : $0 }, ends: false)
    new.send(
      Frame(kind: 0, stream: 1, payload: Array("xyz".utf8)),
      Frame(kind: 1, flags: 5, stream: 1, payload: block([("x-sum", "4")])))
    #expect(fields(new.next(1)?.payload ?? [])["x-head"] == "1")
    #expect(text(new.next(0)?.payload) == "body")
    let last = new.next(1)
    #expect(last?.flags == 5 && fields(last?.payload ?? []) == ["grpc-status": "7", "x-last": "a b"])
    #expect(seen.withLock { $0.contains { $0 == ["x-sum": "4"] } })
  }

  @Test func `trailers of an endpoint of HTTP 1 reach clients of both versions`() throws {
    let backend = try Backend("t")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    defer {
      ingress.stop()
      backend.kill()
    }
    let old = Client(ingress.endpoint)
    old.send("GET /trailers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    #expect(old.readAll().hasSuffix("5\r\nhello\r\n0\r\nX-Sum: 5\r\nx-more: a b\r\n\r\n"))
    let new = FrameClient(ingress)
    new.get(1, getFields.map { $0.0 == ":path" ? (":path", "/trailers") : $0 })
    #expect(new.next(1) != nil)
    #expect(text(new.next(0)?.payload) == "hello")
    let last = new.next(1)
    #expect(last?.flags == 5 && fields(last?.payload ?? []) == ["x-sum": "5", "x-more": "a b"])
  }

  @Test
  func `a stream that the endpoint refused, or left behind as it went away, goes to another connection`()
    throws
  {
    let backend = try FrameBackend { server, connection in
      guard server.greet() else { return }
      while let frame = server.next(0, 1) {
        guard frame.flags & 1 == 1 else { continue }
        // Not acted upon: even a POST is sent again, over another connection when this one ends.
        if connection == 0 { return server.send(Frame(kind: 7, stream: 0, payload: big(0) + big(0))) }
        if frame.stream == 1 {
          server.send(Frame(kind: 3, stream: 1, payload: big(7)))
        } else {
          server.say(frame.stream, "third")
        }
      }
    }
    defer { backend.stop() }
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c))
    defer { ingress.stop() }
    let client = Client(ingress.endpoint)
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    let answer = client.response()
    #expect(answer?.status == 200 && says(answer, "third"))
    #expect(ingress.value("weft_ingress_retries_total") == 2)
    #expect(backend.accepted.load(ordering: .relaxed) == 2)
  }

  @Test func `a reset without an answer is 502, and in the middle of one the client sees it broken`() throws {
    let backend = try FrameBackend { server, _ in
      guard server.greet() else { return }
      while let frame = server.next(1) {
        if fields(frame.payload)[":path"] == "/half" {
          server.answer(frame.stream, [(":status", "200"), ("content-length", "9")], ends: false)
          server.body(frame.stream, "half", ends: false)
        }
        server.send(Frame(kind: 3, stream: frame.stream, payload: big(2)))
      }
    }
    defer { backend.stop() }
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c))
    defer { ingress.stop() }
    let client = Client(ingress.endpoint)
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    #expect(client.response()?.status == 502)
    #expect(text(client.get("/half")?.body) == "half")
    let framed = FrameClient(ingress)
    framed.get(1, getFields.map { $0.0 == ":path" ? (":path", "/half") : $0 })
    #expect(framed.next(3, stream: 1)?.error == .internalError)
  }

  @Test func `large bodies pass within the windows of both sides`() throws {
    let size = 700_000
    let received = Atomic<Int>(0)
    let backend = try FrameBackend { server, _ in
      guard server.greet() else { return }
      var window = 65_535
      var whole = 65_535
      while let frame = server.next(0, 1, 8) {
        if frame.kind == 0 {
          received.add(frame.payload.count, ordering: .relaxed)
          let more = big(UInt32(max(1, frame.payload.count)))
          server.send(
            Frame(kind: 8, stream: 0, payload: more), Frame(kind: 8, stream: frame.stream, payload: more))
        }
        if frame.kind == 8 {
          let more = Int(frame.payload.reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
          if frame.stream == 0 { whole += more } else { window += more }
        }
        guard frame.kind != 8, frame.flags & 1 == 1 else { continue }
        server.answer(frame.stream, [(":status", "200"), ("content-length", "\(size)")], ends: false)
        var left = size
        while left > 0 {
          let count = min(left, 16_384, window, whole)
          guard count > 0 else {
            guard let update = server.next(8) else { return }
            let more = Int(update.payload.reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
            if update.stream == 0 { whole += more } else { window += more }
            continue
          }
          left -= count
          window -= count
          whole -= count
          server.send(
            Frame(
              kind: 0, flags: left == 0 ? 1 : 0, stream: frame.stream,
              payload: [UInt8](repeating: 7, count: count)))
        }
        window = 65_535
      }
    }
    defer { backend.stop() }
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c))
    defer { ingress.stop() }
    let body = String(repeating: "x", count: size)
    for flags in [
      ["--http1.1"], ["--http2-prior-knowledge"], ["--http1.1", "-H", "Transfer-Encoding: chunked"],
    ] {
      let before = received.load(ordering: .relaxed)
      let output = run(
        ["curl", "-sS", "-m", "20"] + flags
          + [
            "--data-binary", "@-", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
            "http://127.0.0.1:\(ingress.endpoint.port)/",
          ], input: body)
      #expect(output.text == "200 \(size)", "\(flags): \(output)")
      #expect(received.load(ordering: .relaxed) - before == size)
    }
    #expect(backend.accepted.load(ordering: .relaxed) == 1)
  }

  @Test func `an endpoint that admits one stream at a time gets one at a time`() throws {
    let atOnce = Atomic<Int>(0)
    let backend = try FrameBackend { server, _ in
      guard server.greet(settings: [0, 3] + big(1)) else { return }
      var open: Set<UInt32> = []
      while let frame = server.next(1) {
        open.insert(frame.stream)
        atOnce.store(max(open.count, atOnce.load(ordering: .relaxed)), ordering: .relaxed)
        usleep(2000)
        server.say(frame.stream, "ok")
        open.remove(frame.stream)
      }
    }
    defer { backend.stop() }
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c))
    defer { ingress.stop() }
    let clients = (0..<8).map { _ in Client(ingress.endpoint) }
    #expect(clients[0].get()?.status == 200)
    for client in clients { client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n") }
    for client in clients { #expect(client.response()?.status == 200) }
    #expect(atOnce.load(ordering: .relaxed) == 1)
  }

  @Test func `an answer without a body, an interim one, and no answer to HEAD but its head`() throws {
    let backend = try FrameBackend { server, _ in
      guard server.greet() else { return }
      while let frame = server.next(1) {
        let request = fields(frame.payload)
        if request[":path"] == "/hints" {
          server.answer(frame.stream, [(":status", "103"), ("link", "</a>")], ends: false)
        }
        if request[":method"] == "HEAD" {
          server.answer(frame.stream, [(":status", "200"), ("content-length", "1000")])
        } else {
          server.answer(frame.stream, [(":status", "404"), ("x-own", "1")])
        }
      }
    }
    defer { backend.stop() }
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c))
    defer { ingress.stop() }
    let client = Client(ingress.endpoint)
    let empty = client.get()
    #expect(empty?.status == 404 && empty?.head.contains("content-length: 0") == true)
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(client.response(toHead: true)?.head.contains("content-length: 1000") == true)
    #expect(client.get("/hints")?.head.contains("link: </a>") == true)
    #expect(client.response()?.status == 404)
    let framed = FrameClient(ingress)
    framed.get(1)
    let head = framed.next(1)
    #expect(head?.flags == 5 && fields(head?.payload ?? []) == [":status": "404", "x-own": "1"])
    framed.get(3, getFields.map { $0.0 == ":path" ? (":path", "/hints") : $0 })
    let hints = framed.next(1)
    #expect(hints?.flags == 4 && fields(hints?.payload ?? []) == [":status": "103", "link": "</a>"])
    #expect(framed.next(1)?.flags == 5)
  }

  @Test func `an endpoint that breaks the rules costs its own requests and nothing else`() throws {
    let backend = try FrameBackend { server, connection in
      guard server.greet() else { return }
      while let frame = server.next(1) {
        switch fields(frame.payload)[":path"] {
        case "/no-status": server.answer(frame.stream, [("x-own", "1")])
        case "/line-end": server.answer(frame.stream, [(":status", "200"), ("x-own", "a\r\nb: c")])
        case "/connection": server.answer(frame.stream, [(":status", "200"), ("connection", "close")])
        case "/capital": server.answer(frame.stream, [(":status", "200"), ("X-Own", "1")])
        case "/body-first": server.body(frame.stream, "body")
        case "/push": server.send(Frame(kind: 5, flags: 4, stream: frame.stream, payload: big(2)))
        case "/index":
          server.send(Frame(kind: 1, flags: 5, stream: frame.stream, payload: [0xff, 0xff, 0xff, 0x7f]))
        case "/other-stream": server.say(frame.stream + 2, "not asked")
        case "/long":
          server.send(
            Frame(kind: 1, flags: 5, stream: frame.stream, payload: [UInt8](repeating: 0x88, count: 20_000)))
        default: server.say(frame.stream, "fine")
        }
      }
    }
    defer { backend.stop() }
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c))
    defer { ingress.stop() }
    for path in [
      "/no-status", "/line-end", "/connection", "/capital", "/body-first", "/push", "/index", "/other-stream",
      "/long",
    ] {
      let client = Client(ingress.endpoint)
      client.send("POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
      #expect(client.response()?.status == 502, "\(path)")
      #expect(says(client.get(), "fine"), "after \(path)")
    }
  }

  @Test func `mutated frames of an endpoint neither trap nor stay`() throws {
    let good =
      Frame(kind: 4, stream: 0, payload: [0, 3] + big(100)).bytes
      + Frame(kind: 1, flags: 4, stream: 1, payload: block([(":status", "200"), ("x", "y")])).bytes
      + Frame(kind: 0, stream: 1, payload: [1, 2, 3]).bytes
      + Frame(kind: 6, stream: 0, payload: big(0) + big(1)).bytes
      + Frame(kind: 8, stream: 0, payload: big(10)).bytes
      + Frame(kind: 1, flags: 5, stream: 1, payload: block([("grpc-status", "0")])).bytes
    let samples = mutations(of: good, count: 60, seed: 9)
    let backend = try FrameBackend { server, connection in
      guard text(server.client.read(24)).hasPrefix("PRI") else { return }
      guard server.next(1) != nil else { return }
      server.client.send(samples[connection % samples.count])
    }
    defer { backend.stop() }
    var limits = IngressLimits()
    limits.readMilliseconds = 2_000
    limits.tickMilliseconds = 100
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: h2c), limits: limits)
    defer { ingress.stop() }
    for _ in samples {
      let client = Client(ingress.endpoint)
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      _ = client.readAll()
    }
    #expect(eventually { ingress.value("nginx_ingress_controller_requests{") >= 1 })
    #expect(eventually { ingress.value("weft_ingress_client_connections") == 0 })
  }

  @Test func `a route's limits of time end a request with 504, and a try with another`() throws {
    let backend = try FrameBackend { server, _ in
      guard server.greet() else { return }
      var tries = 0
      while let frame = server.next(1) {
        tries += 1
        if fields(frame.payload)[":path"] == "/second", tries % 2 == 0 { server.say(frame.stream, "second") }
      }
    }
    defer { backend.stop() }
    var policy = h2c
    policy.timeouts.request = 300
    let ingress = try TestIngress(everything(to: [backend.endpoint], by: policy))
    defer { ingress.stop() }
    let client = Client(ingress.endpoint)
    #expect(client.get()?.status == 504)
    policy.timeouts = BackendTimeouts(request: 20_000, backendRequest: 1000)
    policy.retry = RetryPolicy(tries: 3)
    ingress.install(everything(to: [backend.endpoint], by: policy))
    ingress.settle()
    #expect(client.get("/first")?.status == 504)
    #expect(ingress.value("weft_ingress_retries_total") == 2)
    #expect(says(client.get("/second"), "second"))
  }
}
