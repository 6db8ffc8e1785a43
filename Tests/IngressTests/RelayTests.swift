// The relay as clients and backends meet it: real sockets on loopback, everything through one worker.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct RelayTests {
  @Test func `one connection to the client and one to the endpoint carry many requests`() throws {
    let backend = try Backend("one")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    for _ in 0..<100 { #expect(text(client.get()?.body) == "one") }
    #expect(backend.connections.load(ordering: .relaxed) == 1)
    #expect(backend.served.load(ordering: .relaxed) == 100)
    // Counted after it is answered.
    #expect(eventually { ingress.value("nginx_ingress_controller_requests{") == 100 })
    #expect(
      ingress.metrics.text().contains(
        #"{ingress="web",namespace="demo",service="web",host="",path="/",method="GET",status="200",canary=""} 100"#
      ))
    ingress.stop()
    backend.kill()
  }

  @Test func `pipelined requests are answered in order`() throws {
    let backend = try Backend("p")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    client.send(
      (0..<20).map { "GET /large/\($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined()
        + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    for index in 0..<20 { #expect(client.response()?.body.count == index) }
    #expect(text(client.response()?.body) == "3 294")
    #expect(text(client.response()?.body) == "p")
    ingress.stop()
    backend.kill()
  }

  @Test func `the endpoint sees our forwarding fields and none that is for one hop`() throws {
    let backend = try Backend("h")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    client.send(
      "GET /head?q=1 HTTP/1.1\r\nHost: Web.demo:80\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\n"
        + "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
        + "Proxy-Connection: a\r\n"
        + "X-Forwarded-Proto: https\r\nUpgrade: h2c\r\nAccept: */*\r\n\r\n")
    let head = text(client.response()?.body)
    #expect(head.hasPrefix("GET /head?q=1 HTTP/1.1\r\nHost: Web.demo:80\r\n"))
    for line in [
      "X-Real-IP: 127.0.0.1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: Web.demo:80",
      "X-Forwarded-Proto: http",
      "X-Forwarded-Port: \(ingress.endpoint.port)", "X-Forwarded-Scheme: http", "X-Scheme: http",
      "X-Original-Forwarded-For: 6.6.6.6", "Accept: */*",
    ] { #expect(head.contains("\r\n\(line)\r\n"), "\(line) in \(head)") }
    for name in ["X-Hop", "Keep-Alive", "\r\nTE:", "Proxy-Connection", "Upgrade", "https", "\r\nConnection"] {
      #expect(!head.contains(name), "\(name)")
    }
    #expect(head.components("X-Request-ID: ").count == 2)
    let options = client.get("/options")
    #expect(options?.status == 200 && options?.head.contains("X-Secret") == false)
    #expect(options?.head.contains("Keep-Alive") == false)
    ingress.stop()
    backend.kill()
  }

  @Test func `bodies end where they should for every kind of answer`() throws {
    let backend = try Backend("b")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    #expect(text(client.get("/chunked")?.body) == "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(client.response(toHead: true)?.head.contains("Content-Length: 1000") == true)
    #expect(client.get("/204")?.status == 204)
    #expect(client.get("/304")?.status == 304)
    // Both answers, the interim one first.
    let hints = client.get("/early")
    #expect(hints?.status == 103 && hints?.head.contains("Link: </a>") == true)
    #expect(text(client.response()?.body) == "ok")
    #expect(client.get("/two-lengths")?.status == 502)
    #expect(text(client.get()?.body) == "b")
    let closing = client.get("/until-close")
    #expect(text(closing?.body) == "until the end" && closing?.head.contains("Connection: close") == true)
    let old = Client(ingress.endpoint)
    old.send("GET /chunked HTTP/1.0\r\n\r\n")
    #expect(old.readAll().hasSuffix("Connection: close\r\n\r\nhello world"))
    ingress.stop()
    backend.kill()
  }

  @Test func `large bodies pass both ways, in one piece and in chunks`() throws {
    let backend = try Backend("l")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    let size = 5_000_000
    let body = client.get("/large/\(size)")?.body
    #expect(body?.count == size)
    #expect(body?.enumerated().allSatisfy { $1 == UInt8($0 % 251) } == true)
    let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let sum = bytes.reduce(0) { $0 + Int($1) }
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n")
    client.send(bytes)
    #expect(text(client.response()?.body) == "\(size) \(sum)")
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in stride(from: 0, to: size, by: 100_000) {
      client.send("186A0;note=1\r\n")
      client.send(Array(bytes[start..<start + 100_000]))
      client.send("\r\n")
    }
    client.send("0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(text(client.response()?.body) == "\(size) \(sum)")
    #expect(text(client.response()?.body) == "l")
    ingress.stop()
    backend.kill()
  }

  @Test func `a client that reads slowly gets everything and holds nobody up`() throws {
    let backend = try Backend("s")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let slow = Client(ingress.endpoint)
    slow.send("GET /large/8000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    let other = Client(ingress.endpoint)
    for _ in 0..<50 { #expect(text(other.get()?.body) == "s") }
    #expect(slow.response()?.body.count == 8_000_000)
    ingress.stop()
    backend.kill()
  }

  @Test func `a request in single bytes is a request`() throws {
    let backend = try Backend("bytes")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    Sockets.setNoDelay(Descriptor(owning: dup(client.raw)))
    for byte in Array(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".utf8)
    {
      client.send([byte])
    }
    #expect(text(client.response()?.body) == "3 294")
    ingress.stop()
    backend.kill()
  }

  @Test func `100-continue is answered and the body then passes`() throws {
    let backend = try Backend("c")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    #expect(client.response()?.status == 100)
    client.send("abc")
    #expect(text(client.response()?.body) == "3 294")
    ingress.stop()
    backend.kill()
  }

  @Test func `a websocket passes bytes both ways until one side closes`() throws {
    let backend = try Backend("ws")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    let client = Client(ingress.endpoint)
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
    let response = client.response()
    #expect(response?.status == 101)
    #expect(response?.head.contains("Upgrade: websocket") == true)
    #expect(text(client.read(5)) == "early")
    let bytes = (0..<500_000).map { UInt8(truncatingIfNeeded: $0) }
    for start in stride(from: 0, to: bytes.count, by: 50_000) {
      client.send(Array(bytes[start..<start + 50_000]))
      #expect(client.read(50_000) == Array(bytes[start..<start + 50_000]))
    }
    // A new table does not touch what runs.
    ingress.install(RouteTable())
    ingress.settle()
    client.send("still here")
    #expect(text(client.read(10)) == "still here")
    backend.kill()
    #expect(client.readAll().isEmpty)
    ingress.stop()
  }

  @Test func `errors of ours have the status that says whose fault it is`() throws {
    let backend = try Backend("e")
    let refusing = try RefusingEndpoint()
    var limits = IngressLimits()
    limits.readMilliseconds = 1500
    limits.headMilliseconds = 1500
    limits.tickMilliseconds = 20
    limits.bodyBytesMax = 1000
    let backends = [backend.endpoint, refusing.endpoint, nil].map { endpoint in
      RouteBackend(
        namespace: "n", ingress: "i", service: "s", servicePort: "80", endpoints: endpoint.map { [$0] } ?? [])
    }
    let hosts = ["ok.x", "refusing.x", "empty.x"].enumerated().map {
      RouteHost(name: $1, paths: [RoutePath(path: "/", isExact: false, backend: $0)])
    }
    let ingress = try TestIngress(RouteTable(backends: backends, hosts: hosts), limits: limits)
    let client = Client(ingress.endpoint)
    let none = client.get(host: "nobody.x")
    #expect(none?.status == 404 && text(none?.body) == "default backend - 404")
    for field in ["Date: ", "Server: ", "Content-Type: ", "Content-Length: "] {
      #expect(none?.head.contains(field) == true)
    }
    #expect(client.get(host: "empty.x")?.status == 503)
    #expect(client.get(host: "refusing.x")?.status == 502)
    #expect(client.get("/never", host: "ok.x")?.status == 504)
    #expect(client.get("/hang-up", host: "ok.x")?.status == 502)
    #expect(client.get(host: "ok.x")?.status == 200)
    client.send("POST / HTTP/1.1\r\nHost: ok.x\r\nContent-Length: 1001\r\n\r\n")
    #expect(client.response()?.status == 413)
    let slow = Client(ingress.endpoint)
    slow.send("GET / HTTP/1.1\r\nHo")
    #expect(slow.response()?.status == 408)
    ingress.stop()
    backend.kill()
  }

  @Test func `no request fails while the routes change hundreds of times`() throws {
    let backends = try (0..<4).map { try Backend("b\($0)") }
    let ingress = try TestIngress(everything(to: [backends[0].endpoint]))
    let endpoint = ingress.endpoint
    let failed = Atomic<Int>(0)
    let done = Atomic<Int>(0)
    let swaps = Atomic<Int>(0)
    let loads = try (0..<4).map { _ in
      try load(endpoint) { count, good in
        if !good { failed.add(1, ordering: .relaxed) }
        done.add(1, ordering: .relaxed)
        // A fast machine has answered five hundred before the routes have changed often.
        return count < 500 || (swaps.load(ordering: .relaxed) < 100 && count < 1_000_000)
      }
    }
    while done.load(ordering: .relaxed) < 2000 || swaps.load(ordering: .relaxed) < 100 {
      let first = swaps.add(1, ordering: .relaxed).newValue % 4
      ingress.install(everything(to: [backends[first].endpoint, backends[(first + 1) % 4].endpoint]))
      usleep(500)
    }
    for thread in loads { pthread_join(thread, nil) }
    #expect(failed.load(ordering: .relaxed) == 0)
    for backend in backends { #expect(backend.served.load(ordering: .relaxed) > 0) }
    ingress.stop()
    for backend in backends { backend.kill() }
  }

  @Test func `no request fails when an endpoint dies before the routes know`() throws {
    let backends = try (0..<3).map { try Backend("b\($0)") }
    let ingress = try TestIngress(everything(to: backends.map(\.endpoint)))
    let endpoint = ingress.endpoint
    let failed = Atomic<Int>(0)
    let done = Atomic<Int>(0)
    let loads = try (0..<4).map { _ in
      try load(endpoint) { count, good in
        if !good { failed.add(1, ordering: .relaxed) }
        done.add(1, ordering: .relaxed)
        return count < 400
      }
    }
    #expect(eventually { done.load(ordering: .relaxed) > 300 })
    backends[0].kill()
    #expect(eventually { done.load(ordering: .relaxed) > 700 })
    backends[1].kill()
    #expect(eventually { done.load(ordering: .relaxed) > 1000 })
    ingress.install(everything(to: [backends[2].endpoint]))
    for thread in loads { pthread_join(thread, nil) }
    #expect(done.load(ordering: .relaxed) == 1600)
    #expect(failed.load(ordering: .relaxed) == 0)
    ingress.stop()
    backends[2].kill()
  }

  @Test func `draining answers what runs and says that it closes`() throws {
    let backend = try Backend("d")
    var limits = IngressLimits()
    limits.lingerMilliseconds = 50
    limits.tickMilliseconds = 20
    let ingress = try TestIngress(everything(to: [backend.endpoint]), limits: limits)
    let busy = Client(ingress.endpoint)
    busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
    #expect(eventually { backend.served.load(ordering: .relaxed) == 1 })
    ingress.thread.reactor.stop(draining: .seconds(60))
    ingress.settle()
    busy.send("bc")
    let response = busy.response()
    #expect(text(response?.body) == "3 294" && response?.head.contains("Connection: close") == true)
    ingress.thread.join()
    backend.kill()
  }
}

/// Sends requests over one keep-alive connection from a thread of its own; a new connection only after
/// `close`.
/// - Parameter each: gets how many there were and whether the last was good, and says whether another is to come.
private func load(
  _ endpoint: SocketEndpoint, each: @escaping @Sendable (Int, Bool) -> Bool
) throws -> pthread_t {
  final class Work {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }
  let work = Unmanaged.passRetained(
    Work {
      let client = Client(endpoint)
      var count = 1
      while each(count, client.get()?.status == 200) { count += 1 }
    })
  var thread = pthread_t()
  let result = pthread_create(
    &thread, nil,
    { argument in
      argument.map { Unmanaged<Work>.fromOpaque($0).takeRetainedValue().body() }
      return nil
    }, work.toOpaque())
  guard result == 0 else { throw SetUpFailed() }
  return thread
}

extension String {
  func components(_ separator: String) -> [Substring] {
    split(separator: separator, omittingEmptySubsequences: false)
  }
}
