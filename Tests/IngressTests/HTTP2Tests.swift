// HTTP/2 in front: clients that are not ours, the same answers as HTTP/1.1 gives, windows, changes under way, a shutdown.

import Addresses
import Foundation
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite struct HTTP2Tests {
  @Test
  func
    `curl agrees on h2 over TLS, speaks it without by prior knowledge, and still gets HTTP 1 when it asks`()
    throws
  {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let format = ["-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
    for (flags, url, expected) in [
      ("--http2", lab.secure, "2 200"), ("--http1.1", lab.secure, "1.1 200"),
      ("--http2-prior-knowledge", lab.plain, "2 200"), ("--http1.1", lab.plain, "1.1 200"),
      // An upgrade would come past the routes: it is answered as HTTP/1.1.
      ("--http2", lab.plain, "1.1 200"),
    ] {
      let output = run(["curl", "-sSk", "-m", "20", flags] + format + [url])
      #expect(output.text == expected, "\(flags) \(url): \(output)")
    }
  }

  /// Every kind of answer that the backend has, asked for in both versions.
  @Test(arguments: [
    ["/"], ["/head"], ["/large/100000"], ["/chunked"], ["/until-close"], ["/204"], ["/304"], ["/options"],
    ["/early"],
    ["/two-lengths"], ["/hang-up"], ["/ws"], ["-X", "POST", "-d", "hello=world", "/"], ["-I", "/"],
    ["-X", "PUT", "-d", "", "/"], ["-H", "Cookie: a=1; b=2", "/head"],
    ["-X", "OPTIONS", "/"], ["-H", "X-Forwarded-For: 1.2.3.4", "-H", "X-Real-IP: 9.9.9.9", "/head"],
    ["-H", "Host: other.demo", "/head"], ["-H", "Content-Length: 3", "-d", "abc", "/"],
    ["-d", "@/dev/null", "/"],
  ])
  func `both versions get the same answer to the same request`(arguments: [String]) throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    func ask(_ version: String) -> [String] {
      let output = run(
        ["curl", "-sSk", "-m", "20", "-i", version] + arguments.dropLast() + [
          lab.secure + (arguments.last ?? "")
        ])
      // What belongs to one version alone, and what differs from request to request.
      let lines = output.text.split(separator: "\r\n", omittingEmptySubsequences: false).map(String.init)
      return ["status \(output.status == 0)"]
        + lines.filter { line in
          let line = line.lowercased()
          return !["date:", "connection:", "transfer-encoding:", "x-request-id:"].contains {
            line.hasPrefix($0)
          }
        }.map { line in
          if line.hasPrefix("HTTP/") { return String(line.split(separator: " ")[1]) }
          guard let colon = line.firstIndex(of: ":"), arguments.last != "/chunked" || !line.hasPrefix("hello")
          else { return line }
          return line[..<colon].lowercased() + line[colon...]
        }.sorted()
    }
    let (old, new) = (ask("--http1.1"), ask("--http2"))
    #expect(old == new)
  }

  @Test func `h2load and nghttp are answered, eight connections with eight streams each`() throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let output = run(["h2load", "-n", "4000", "-c", "8", "-m", "8", "-t", "1", lab.secure + "/"])
    #expect(output.text.contains("4000 succeeded, 0 failed, 0 errored"), "\(output)")
    #expect(output.text.contains("status codes: 4000 2xx"), "\(output)")
    // 48 streams at once, on one connection, some with priorities.
    let many = run(["nghttp", "-ns", "-m", "48", lab.secure + "/large/70000"])
    #expect(many.status == 0 && many.text.components(separatedBy: " 200 ").count == 49, "\(many)")
    #expect(lab.backend.served.load(ordering: .relaxed) == 4048)
  }

  @Test func `routes and certificates change under streams without a request that fails`() throws {
    let lab = try HTTP2Lab()
    let other = try Backend("b")
    defer {
      lab.stop()
      other.kill()
    }
    let authority = try Authority()
    let tables = try ["one.test", "two.test"].map {
      TLSTable(certificates: [try authority.issue($0)], defaultCertificate: 0)
    }
    let routes = [everything(to: [lab.backend.endpoint]), everything(to: [other.endpoint])]
    let isDone = Flag()
    let changes = Atomic<Int>(0)
    let ingress = lab.ingress
    let changer = Thread {
      while !isDone.isRaised {
        let count = changes.add(1, ordering: .relaxed).newValue
        ingress.install(routes[count % 2])
        try? ingress.install(tables[count / 2 % 2])
        usleep(3000)
      }
    }
    changer.start()
    // A fast machine answers six thousand before much has changed.
    var rounds = 0
    while rounds == 0 || (changes.load(ordering: .relaxed) < 20 && rounds < 100) {
      rounds += 1
      let output = run(["h2load", "-n", "6000", "-c", "8", "-m", "8", "-t", "1", lab.secure + "/"])
      #expect(output.text.contains("6000 succeeded, 0 failed, 0 errored"), "\(output)")
      #expect(output.text.contains("status codes: 6000 2xx"), "\(output)")
    }
    isDone.raise()
    while !changer.isFinished { usleep(500) }
    #expect(changes.load(ordering: .relaxed) >= 20)
    #expect(other.served.load(ordering: .relaxed) > 0 && lab.backend.served.load(ordering: .relaxed) > 0)
  }

  @Test func `large bodies pass whole in both directions`() throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let path = NSTemporaryDirectory() + "/weft-h2-\(UInt64.random(in: 0 ..< .max))"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let body = Data((0..<900_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    try body.write(to: URL(fileURLWithPath: path))
    let sum = "\(body.count) \(body.reduce(0) { $0 + Int($1) })"
    for more in [[], ["-H", "Content-Length:"]] as [[String]] {
      let up = run(
        ["curl", "-sSk", "-m", "30", "--http2", "--data-binary", "@\(path)"] + more + [lab.secure + "/"])
      #expect(up.text == sum, "\(up)")
    }
    let down = lab.curl("--http2", "-o", path, lab.secure + "/large/1500000")
    #expect(down.status == 0, "\(down)")
    let got = try Data(contentsOf: URL(fileURLWithPath: path))
    #expect(
      got.count == 1_500_000 && got.enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: $0 % 251) })
  }

  @Test func `a client without a window gets the head, and the body as it opens one`() throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    // Stream windows begin at nothing.
    let client = FrameClient(lab.ingress, settings: [0, 4] + big(0))
    client.get(1, getFields.map { $0.0 == ":path" ? (":path", "/large/40000") : $0 })
    #expect(client.next(1, stream: 1)?.flags == 4)
    var body: [UInt8] = []
    for step in [1, 9, 990, 20_000, 30_000] {
      client.send(Frame(kind: 8, stream: 1, payload: big(UInt32(step))))
      let target = min(40_000, body.count + step)
      while body.count < target, let frame = client.next(0, stream: 1) {
        body += frame.payload
        #expect(frame.payload.count <= 16_384 && (frame.flags & 1 == 1) == (body.count == 40_000))
      }
    }
    #expect(body == (0..<40_000).map { UInt8(truncatingIfNeeded: $0 % 251) })
    // The other streams were never held up.
    client.send(Frame(kind: 4, stream: 0, payload: [0, 4] + big(65_535)))
    client.get(3)
    #expect(text(client.answer(3)?.body) == "a")
  }

  @Test func `a shutdown lets streams end, takes no new ones and says goodbye`() throws {
    let lab = try HTTP2Lab()
    let client = FrameClient(lab.ingress)
    client.get(1, getFields.map { $0.0 == ":path" ? (":path", "/large/2000000") : $0 })
    _ = client.next(1, stream: 1)
    lab.ingress.thread.reactor.stop(draining: .seconds(20))
    let goodbye = client.next(7)
    #expect(goodbye?.error == HTTP2Error.none && goodbye?.payload.prefix(4) == [0, 0, 0, 1])
    client.send(
      Frame(kind: 8, stream: 1, payload: big(2_000_000)), Frame(kind: 8, stream: 0, payload: big(2_000_000)))
    var isOver = false
    while let frame = client.read() { if frame.kind == 0, frame.flags & 1 == 1 { isOver = true } }
    #expect(isOver)
    lab.stop()
  }
}
