// HTTP/2 in front of clients that stop, that lie and that flood: each against its limit by name, and nobody else is any the worse.

import Addresses
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite struct HTTP2FaultTests {
  @Test func `a stream that nobody reads ends after its time, the connection stays`() throws {
    var limits = IngressLimits()
    limits.clientMilliseconds = 200
    // For endpoints: long enough that one on a busy machine is not taken for silent.
    limits.readMilliseconds = 4000
    limits.tickMilliseconds = 50
    let lab = try HTTP2Lab(limits: limits)
    defer { lab.stop() }
    let client = FrameClient(lab.ingress, settings: [0, 4] + big(0))
    client.get(1, getFields.map { $0.0 == ":path" ? (":path", "/large/1000000") : $0 })
    #expect(client.next(3, stream: 1)?.error == .cancel)
    client.get(3, getFields.map { $0.0 == ":path" ? (":path", "/204") : $0 })
    #expect(client.answer(3)?.status == 204)
    // The endpoint that does not answer is told apart from the client that does not read.
    client.send(Frame(kind: 4, stream: 0, payload: [0, 4] + big(65_535)))
    client.get(5, getFields.map { $0.0 == ":path" ? (":path", "/never") : $0 })
    #expect(client.answer(5)?.status == 504)
  }

  /// curl sends on after an answer that is no error: without a window it waited until its own time was over.
  @Test func `a body that goes on after its answer is taken to its end, and thrown away`() throws {
    var limits = IngressLimits()
    limits.tickMilliseconds = 10_000
    limits.lingerMilliseconds = 60_000
    let ingress = try TestIngress(RouteTable(), limits: limits)
    defer { ingress.stop() }
    let client = FrameClient(ingress)
    client.get(1, getFields.map { $0.0 == ":method" ? (":method", "POST") : $0 }, ends: false)
    #expect(client.answer(1)?.status == 404)
    // Four times what a stream may send ahead.
    var (room, left) = (65_535, 262_140)
    while left > 0 {
      let count = min(room, left, 16_000)
      if count > 0 {
        client.send(Frame(kind: 0, stream: 1, payload: [UInt8](repeating: 7, count: count)))
        (room, left) = (room - count, left - count)
        continue
      }
      let update = try #require(client.next(8, stream: 1))
      room += update.payload.reduce(0) { $0 << 8 | Int($1) }
    }
    client.send(Frame(kind: 0, flags: 1, stream: 1))
    client.get(3)
    while let frame = client.read() {
      #expect(frame.kind != 3, "\(frame)")
      if frame.stream == 3, frame.flags & 1 == 1 { break }
    }
  }

  /// The endpoint's time may be hours; a client that stops in the middle of its body has its own, for each of its streams.
  @Test func `a body that stops ends its own stream after the client's time, and others go on`() throws {
    var limits = IngressLimits()
    limits.clientMilliseconds = 500
    limits.readMilliseconds = 600_000
    limits.tickMilliseconds = 50
    let lab = try HTTP2Lab(limits: limits)
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    let post = getFields.map { $0.0 == ":method" ? (":method", "POST") : $0 }
    let start = Reactor.monotonicNanoseconds()
    // Without a byte of it, and after some of it.
    client.get(1, post, ends: false)
    client.post(3, post, body: "some", ends: false)
    // In a call of gRPC both sides speak when they like.
    client.get(5, post + [("content-type", "application/grpc"), ("te", "trailers")], ends: false)
    var statuses: [UInt32: Int] = [:]
    while statuses.count < 2, let frame = client.read() {
      if frame.kind == 1 { statuses[frame.stream] = FrameClient.status(frame.payload) }
    }
    #expect(statuses == [1: 408, 3: 408])
    #expect(Reactor.monotonicNanoseconds() - start >= 490_000_000)
    // One that has said all waits for as long as the endpoint may take.
    client.get(7, getFields.map { $0.0 == ":path" ? (":path", "/never") : $0 })
    client.post(9, post, body: "all of it")
    let whole = text(client.answer(9)?.body)
    #expect(whole.hasPrefix("9 "), "\(whole)")
    let never = post.map { $0.0 == ":path" ? (":path", "/never") : $0 }
    client.post(11, never, body: "")
    client.send(Frame(kind: 0, flags: 1, stream: 5, payload: Array("late".utf8)))
    let late = text(client.answer(5)?.body)
    #expect(late.hasPrefix("4 "), "\(late)")
    usleep(700_000)
    client.send(Frame(kind: 6, stream: 0, payload: [1, 2, 3, 4, 5, 6, 7, 8]))
    while let frame = client.read(), frame.kind != 6 {
      #expect(frame.stream != 7 && frame.stream != 11, "\(frame)")
    }
  }

  /// A client in the middle of sending takes the end of its stream for a failure of its own: half of curl's requests were lost so.
  @Test func `an answer before the body reaches its client, and the rest is awaited for a tick`() throws {
    var limits = IngressLimits()
    limits.tickMilliseconds = 2000
    let ingress = try TestIngress(RouteTable(), limits: limits)
    defer { ingress.stop() }
    let post = getFields.map { $0.0 == ":method" ? (":method", "POST") : $0 }
    let client = FrameClient(ingress)
    client.get(1, post, ends: false)
    #expect(client.answer(1)?.status == 404)
    client.send(Frame(kind: 0, flags: 1, stream: 1, payload: Array("a body".utf8)))
    // Of this one it does not come: it is reset, without an error, and nothing is said of the other.
    client.get(3, post, ends: false)
    #expect(client.answer(3)?.status == 404)
    let reset = client.next(3)
    #expect(reset?.stream == 3 && reset?.error == HTTP2Error.none, "\(String(describing: reset))")
    client.send(Frame(kind: 0, flags: 1, stream: 3, payload: Array("late".utf8)))
    client.get(5)
    #expect(client.answer(5)?.status == 404)
    for _ in 0..<40 {
      let output = run([
        "curl", "-sS", "-o", "/dev/null", "-m", "20", "--http2-prior-knowledge", "-d", "a body", "-w",
        "%{http_code}",
        "http://127.0.0.1:\(ingress.endpoint.port)/",
      ])
      #expect(output.text == "404")
    }
  }

  // MARK: - Floods

  @Test func `rapid resets end the connection after a hundred`() throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    let never = block(getFields.map { $0.0 == ":path" ? (":path", "/never") : $0 })
    var bytes: [UInt8] = []
    for stream in stride(from: UInt32(1), to: 40_001, by: 2) {
      bytes += Frame(kind: 1, flags: 5, stream: stream, payload: never).bytes
      bytes += Frame(kind: 3, stream: stream, payload: big(8)).bytes
    }
    client.client.send(bytes)
    #expect(client.end() == .enhanceYourCalm)
    #expect(lab.ended("enhanceYourCalm") == 1)
    #expect(lab.backend.served.load(ordering: .relaxed) <= HTTP2Session.mischiefMax + 1)
    #expect(eventually { lab.ingress.value("weft_ingress_client_connections") == 0 })
    #expect(text(Client(lab.ingress.endpoint).get()?.body) == "a")
  }

  @Test func `resets that we are brought to make are counted too`() throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    for stream in stride(from: UInt32(1), to: 2001, by: 2) {
      client.get(stream, getFields.map { $0.0 == ":path" ? (":path", "/never") : $0 })
      client.send(Frame(kind: 8, stream: stream, payload: big(0)))
    }
    #expect(client.end() == .enhanceYourCalm)
  }

  @Test(arguments: [
    ("PING", Frame(kind: 6, stream: 0, payload: [UInt8](repeating: 1, count: 8))),
    ("SETTINGS", Frame(kind: 4, stream: 0)),
    ("PRIORITY", Frame(kind: 2, stream: 9, payload: [0, 0, 0, 0, 1])),
    ("unknown", Frame(kind: 99, stream: 0, payload: [1, 2, 3])), ("empty DATA", Frame(kind: 0, stream: 1)),
    ("WINDOW_UPDATE of streams that are gone", Frame(kind: 8, stream: 1, payload: big(1))),
  ])
  func `frames that ask for nothing end the connection after a thousand`(name: String, frame: Frame) throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    client.get(
      1, name == "empty DATA" ? getFields.map { $0.0 == ":method" ? (":method", "POST") : $0 } : getFields,
      ends: name != "empty DATA")
    if name != "empty DATA" { #expect(client.answer(1)?.status == 200) }
    for _ in 0..<40 { client.client.send((0..<100).flatMap { _ in frame.bytes }) }
    #expect(client.end() == .enhanceYourCalm, "\(name)")
  }

  @Test func `a header block in endless frames, or one that is too long, ends the connection`() throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let endless = FrameClient(lab.ingress)
    endless.send(Frame(kind: 1, flags: 1, stream: 1, payload: block(getFields)))
    for _ in 0..<1000 { endless.send(Frame(kind: 9, stream: 1)) }
    #expect(endless.end() == .enhanceYourCalm)
    let long = FrameClient(lab.ingress)
    long.send(Frame(kind: 1, flags: 1, stream: 1, payload: [UInt8](repeating: 0x82, count: 16_000)))
    for _ in 0..<4 { long.send(Frame(kind: 9, stream: 1, payload: [UInt8](repeating: 0x82, count: 16_000))) }
    #expect(long.end() == .enhanceYourCalm)
    // In a few frames it is a request like any other.
    let fair = FrameClient(lab.ingress)
    let bytes = block(getFields)
    fair.send(Frame(kind: 1, flags: 1, stream: 1, payload: Array(bytes[..<10])))
    fair.send(Frame(kind: 9, stream: 1, payload: Array(bytes[10..<11])))
    fair.send(Frame(kind: 9, flags: 4, stream: 1, payload: Array(bytes[11...])))
    #expect(text(fair.answer(1)?.body) == "a")
  }

  @Test func `a bomb of references is counted before it is kept, and the connection lives`() throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    // An entry of nearly the whole table, then 10,000 references to it: 40 MB of fields in 14 KB.
    let value = [UInt8](repeating: 97, count: 4000)
    let entry: [UInt8] = [0x40, 1, 120, 127, 0xa1, 0x1e] + value
    client.send(
      Frame(
        kind: 1, flags: 5, stream: 1,
        payload: block(getFields) + entry + [UInt8](repeating: 0xbe, count: 10_000)))
    #expect(client.answer(1)?.status == 431)
    client.get(3)
    #expect(text(client.answer(3)?.body) == "a")
    #expect(lab.backend.served.load(ordering: .relaxed) == 1)
  }

  @Test func `more streams than were offered are refused, and those that run are served`() throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    let never = getFields.map { $0.0 == ":path" ? (":path", "/never") : $0 }
    for index in 0..<UInt32(HTTP2Session.streamsMax) { client.get(index * 2 + 1, never) }
    let extra = UInt32(HTTP2Session.streamsMax) * 2 + 1
    client.get(extra)
    #expect(client.next(3, stream: extra)?.error == .refused)
    client.send(Frame(kind: 3, stream: 1, payload: big(8)))
    client.get(extra + 2)
    #expect(text(client.answer(extra + 2)?.body) == "a")
  }

  // MARK: - Requests that could be read in two ways

  @Test(arguments: [
    [(":path", "/a b")], [(":path", "/\r\nX: y")], [(":path", "/\0")], [(":path", "a")], [(":path", "")],
    [(":authority", "a\r\nb")], [(":authority", "a b")], [(":authority", "user@host")],
    [(":method", "GET /x")],
    [(":method", "")], [(":method", "CONNECT")], [(":scheme", "ftp")], [("a", "b\r\nc: d")], [("a", "b\0")],
    [("a", "b\n")], [("A", "b")], [("a b", "c")], [("", "c")], [("connection", "close")],
    [("upgrade", "websocket")],
    [("transfer-encoding", "chunked")], [("keep-alive", "1")], [("proxy-connection", "a")], [("te", "gzip")],
    [("host", "other")], [("x", " blank")], [("x", "blank ")], [(":status", "200")],
    [(":path", "/"), (":path", "/")],
    [("content-length", "5")], [("content-length", "-1")], [("content-length", "1, 1")],
    [("content-length", "0"), ("content-length", "0")], [("x", "y"), (":path", "/late")],
    [(":protocol", "websocket")],
  ])
  func `a request that HTTP 1 could misread reaches no endpoint`(change: [(String, String)]) throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    var fields = getFields
    for (name, value) in change {
      if let at = fields.firstIndex(where: { $0.0 == name }), change.count == 1 {
        fields[at].1 = value
      } else {
        fields.append((name, value))
      }
    }
    client.get(1, fields)
    let answer = client.answer(1)
    #expect(answer == nil || (400..<500).contains(answer?.status ?? 0), "\(change)")
    #expect(lab.backend.served.load(ordering: .relaxed) == 0, "\(change)")
    // The connection is none the worse.
    client.get(3)
    #expect(text(client.answer(3)?.body) == "a", "\(change)")
  }

  @Test(arguments: [(3, "abcd"), (9, "abcd")]) func `a body of another length than was said is cut off`(
    length: Int, body: String
  ) throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    client.get(
      1, getFields.map { $0.0 == ":method" ? (":method", "POST") : $0 } + [("content-length", "\(length)")],
      ends: false)
    client.send(Frame(kind: 0, flags: 1, stream: 1, payload: Array(body.utf8)))
    #expect(client.next(3, stream: 1)?.error == .protocolError)
    #expect(text(Client(lab.ingress.endpoint).get()?.body) == "a")
  }

  /// RFC 9113: what ends the connection, and with which error.
  @Test(
    arguments: [
      ("DATA on no stream", Frame(kind: 0, stream: 0), .protocolError),
      ("DATA on a stream that never was", Frame(kind: 0, stream: 5, payload: [1]), .protocolError),
      (
        "HEADERS of the server's streams", Frame(kind: 1, flags: 5, stream: 2, payload: block(getFields)),
        .protocolError
      ),
      (
        "HEADERS on no stream", Frame(kind: 1, flags: 5, stream: 0, payload: block(getFields)), .protocolError
      ),
      (
        "HEADERS that cannot be read", Frame(kind: 1, flags: 5, stream: 1, payload: [0xff, 0xff]),
        .compression
      ),
      (
        "padding beyond the frame", Frame(kind: 1, flags: 13, stream: 1, payload: [200, 1, 2]), .protocolError
      ),
      (
        "a stream that depends on itself", Frame(kind: 1, flags: 37, stream: 1, payload: big(1) + [1]),
        .protocolError
      ),
      ("RST_STREAM of a stream that never was", Frame(kind: 3, stream: 1, payload: big(0)), .protocolError),
      ("RST_STREAM of three bytes", Frame(kind: 3, stream: 1, payload: [0, 0, 0]), .frameSize),
      ("SETTINGS on a stream", Frame(kind: 4, stream: 1), .protocolError),
      ("SETTINGS of five bytes", Frame(kind: 4, stream: 0, payload: [0, 1, 2, 3, 4]), .frameSize),
      (
        "SETTINGS that acknowledge with bytes",
        Frame(kind: 4, flags: 1, stream: 0, payload: [0, 4] + big(1)), .frameSize
      ),
      (
        "a window above the limit", Frame(kind: 4, stream: 0, payload: [0, 4] + big(0x8000_0000)),
        .flowControl
      ),
      ("frames below the limit", Frame(kind: 4, stream: 0, payload: [0, 5] + big(16_383)), .protocolError),
      ("PUSH of no truth value", Frame(kind: 4, stream: 0, payload: [0, 2] + big(2)), .protocolError),
      ("PUSH_PROMISE", Frame(kind: 5, flags: 4, stream: 1, payload: big(2)), .protocolError),
      ("PING of seven bytes", Frame(kind: 6, stream: 0, payload: [1, 2, 3, 4, 5, 6, 7]), .frameSize),
      ("PING on a stream", Frame(kind: 6, stream: 1, payload: [1, 2, 3, 4, 5, 6, 7, 8]), .protocolError),
      ("GOAWAY on a stream", Frame(kind: 7, stream: 1, payload: big(0) + big(0)), .protocolError),
      ("WINDOW_UPDATE of nothing", Frame(kind: 8, stream: 0, payload: big(0)), .protocolError),
      ("WINDOW_UPDATE of three bytes", Frame(kind: 8, stream: 0, payload: [0, 0, 1]), .frameSize),
      ("WINDOW_UPDATE above the limit", Frame(kind: 8, stream: 0, payload: big(0x7fff_ffff)), .flowControl),
      ("CONTINUATION of nothing", Frame(kind: 9, flags: 4, stream: 1), .protocolError),
      (
        "a frame above the limit", Frame(kind: 0, stream: 1, payload: [UInt8](repeating: 0, count: 16_385)),
        .frameSize
      ),
    ] as [(String, Frame, HTTP2Error)])
  func `a frame that breaks the protocol ends the connection and says why`(
    what: String, frame: Frame, error: HTTP2Error
  ) throws {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    client.send(frame)
    #expect(client.end() == error, "\(what)")
    #expect(lab.ended("\(error)") == 1)
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func `random frames trap nothing and hold up nobody`(seed: UInt64)
    throws
  {
    let lab = try HTTP2Lab()
    defer { lab.stop() }
    var random = Random(seed)
    for _ in 0..<60 {
      let client = FrameClient(lab.ingress)
      var bytes: [UInt8] = []
      for _ in 0..<40 {
        var payload =
          random.next(3) == 0 ? block(getFields) : (0..<random.next(40)).map { _ in UInt8(random.next(256)) }
        if random.next(3) == 0, !payload.isEmpty {
          payload[random.next(payload.count)] ^= UInt8(1 << random.next(8))
        }
        bytes +=
          Frame(
            kind: UInt8(random.next(11)), flags: UInt8(random.next(4) == 0 ? random.next(256) : 5),
            stream: UInt32(random.next(9)), payload: payload
          ).bytes
      }
      client.client.send(bytes)
    }
    #expect(text(Client(lab.ingress.endpoint).get()?.body) == "a")
    #expect(eventually { lab.ingress.value("weft_ingress_client_connections") <= 1 })
  }
}
