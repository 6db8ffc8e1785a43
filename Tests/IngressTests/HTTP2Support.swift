// Frames by hand, for what no well-behaved client says.

import Addresses
import Testing

@testable import Ingress

struct Frame: Equatable, CustomStringConvertible {
  var kind: UInt8
  var flags: UInt8 = 0
  var stream: UInt32
  var payload: [UInt8] = []

  var bytes: [UInt8] {
    [UInt8(payload.count >> 16), UInt8(payload.count >> 8 & 255), UInt8(payload.count & 255), kind, flags]
      + big(stream) + payload
  }
  var description: String {
    "kind \(kind) flags \(flags) stream \(stream) \(payload.count) bytes \(payload.prefix(16))"
  }
  /// Of RST_STREAM, or GOAWAY.
  var error: HTTP2Error? {
    let at = kind == 7 ? 4 : 0
    guard payload.count >= at + 4 else { return nil }
    return HTTP2Error(rawValue: payload[at..<at + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
  }
}

func big(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }

/// Fields without any table, as literals.
func block(_ fields: [(String, String)]) -> [UInt8] {
  func string(_ text: String) -> [UInt8] {
    let bytes = Array(text.utf8)
    if bytes.count < 127 { return [UInt8(bytes.count)] + bytes }
    var rest = bytes.count - 127
    var out: [UInt8] = [127]
    while rest >= 128 {
      out.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    return out + [UInt8(rest)] + bytes
  }
  return fields.flatMap { [0] + string($0.0) + string($0.1) }
}

let getFields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "web.demo")]

/// An ingress before one endpoint, or those given, and what a client of HTTP/2 sees of it.
final class HTTP2Lab {
  let backend: Backend
  let ingress: TestIngress
  init(limits: IngressLimits = IngressLimits(), endpoints: [SocketEndpoint] = []) throws {
    backend = try Backend("a")
    ingress = try TestIngress(
      everything(to: endpoints.isEmpty ? [backend.endpoint] : endpoints), limits: limits)
  }
  func stop() {
    ingress.stop()
    backend.kill()
  }
  func curl(_ arguments: String...) -> ToolOutput { run(["curl", "-sSk", "-m", "20"] + arguments) }
  var plain: String { "http://127.0.0.1:\(ingress.endpoint.port)" }
  var secure: String { "https://127.0.0.1:\(ingress.secure.port)" }
  func ended(_ reason: String) -> Double {
    ingress.value("weft_ingress_http2_connections_ended_total{reason=\"\(reason)\"}")
  }
}

/// A client of HTTP/2 without TLS.
final class FrameClient {
  let client: Client
  convenience init(_ ingress: TestIngress, settings: [UInt8] = []) {
    self.init(ingress.endpoint, settings: settings)
  }

  /// - Parameter header: of the PROXY protocol, before everything else.
  init(_ endpoint: SocketEndpoint, settings: [UInt8] = [], header: [UInt8] = []) {
    client = Client(endpoint)
    client.send(
      header + Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        + Frame(kind: 4, stream: 0, payload: settings).bytes)
  }

  func send(_ frames: Frame...) { client.send(frames.flatMap(\.bytes)) }

  func get(_ stream: UInt32, _ fields: [(String, String)] = getFields, ends: Bool = true) {
    send(Frame(kind: 1, flags: ends ? 5 : 4, stream: stream, payload: block(fields)))
  }

  /// A request and its body in one piece: nothing that lasts may come between them.
  func post(_ stream: UInt32, _ fields: [(String, String)], body: String, ends: Bool = true) {
    send(
      Frame(kind: 1, flags: 4, stream: stream, payload: block(fields)),
      Frame(kind: 0, flags: ends ? 1 : 0, stream: stream, payload: Array(body.utf8)))
  }

  /// Nil at the connection's end.
  func read() -> Frame? { client.frame() }

  /// The next frame of a kind, others passed over; nil at the connection's end.
  func next(_ kind: UInt8, stream: UInt32? = nil) -> Frame? {
    while let frame = read() {
      if frame.kind == kind, stream == nil || frame.stream == stream { return frame }
    }
    return nil
  }

  /// Status and body of a stream's answer; nil when it was reset or the connection ended.
  func answer(_ stream: UInt32) -> (status: Int, body: [UInt8])? {
    var status = 0
    var body: [UInt8] = []
    while let frame = read() {
      guard frame.stream == stream else { continue }
      switch frame.kind {
      case 0: body += frame.payload
      case 1: status = Self.status(frame.payload)
      case 3: return nil
      default: continue
      }
      if frame.flags & 1 == 1 { return (status, body) }
    }
    return nil
  }

  /// We write the status first, by index or as three digits.
  static func status(_ block: [UInt8]) -> Int {
    let known: [UInt8: Int] = [0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500]
    if let first = block.first, let status = known[first] { return status }
    return block.count > 4 ? block[2..<5].reduce(0) { $0 * 10 + Int($1) - 48 } : 0
  }

  /// Reads to the connection's end: why it was ended.
  func end() -> HTTP2Error? {
    var error: HTTP2Error?
    while let frame = read() { if frame.kind == 7 { error = frame.error } }
    return error
  }
}

extension Client {
  /// One frame; nil at the connection's end.
  func frame() -> Frame? {
    let head = read(9)
    guard head.count == 9 else { return nil }
    let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
    let stream = head[5..<9].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    let payload = read(length)
    guard payload.count == length else { return nil }
    return Frame(kind: head[3], flags: head[4], stream: stream, payload: payload)
  }
}
