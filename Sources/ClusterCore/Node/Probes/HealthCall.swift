// grpc.health.v1.Health/Check: one call of HTTP/2 by hand, so that a probe costs a connection and two hundred bytes.
//
//   -> preface, SETTINGS, HEADERS (POST /grpc.health.v1.Health/Check), DATA (00 + length + HealthCheckRequest{service})
//   <- SETTINGS, HEADERS (:status 200), DATA (HealthCheckResponse{status}), HEADERS (grpc-status)

import Glibc
import NIOCore
import NIOHPACK

/// What a server said, as far as it was read.
struct HealthReply: Sendable, Hashable {
  /// 1 is SERVING.
  var status: Int?
  /// The call's own result; 12 when there is no such service in the server.
  var code: Int?
  var message = ""
  var httpStatus: Int?
  var isEnded = false
}

enum HealthCall {
  private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
  static let answerBytesMax = 64 << 10

  /// What went wrong, in kubelet's words; nil when the service is serving. Blocks: for a thread within the namespace.
  static func run(_ host: String, port: Int, service: String, timeoutMilliseconds: Int) -> String? {
    let start = Dial.now()
    let name = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    let (descriptor, problem) = Dial.connected(host, port: port, timeoutMilliseconds: timeoutMilliseconds)
    guard descriptor >= 0 else {
      guard problem?.hasSuffix("i/o timeout") == true else {
        return "error: failed to connect service at \"\(name)\": \(problem ?? "")"
      }
      return "timeout: failed to connect service \"\(name)\" within \(timeoutMilliseconds / 1000)s: "
        + "context deadline exceeded"
    }
    defer { close(descriptor) }
    let left = max(timeoutMilliseconds - (Dial.now() - start), 1)
    let (bytes, failure) = Dial.exchange(
      descriptor, send: request(authority: name, service: service), timeoutMilliseconds: left,
      bytesMax: answerBytesMax
    ) { read($0).isEnded }
    let reply = read(bytes)
    if failure == ETIMEDOUT, !reply.isEnded {
      return "timeout: health rpc did not complete within \(timeoutMilliseconds / 1000)s"
    }
    return planHealth(reply)
  }

  // MARK: - Bytes

  static func request(authority: String, service: String) -> [UInt8] {
    var headers = ByteBuffer()
    var encoder = HPACKEncoder(allocator: ByteBufferAllocator(), useHuffmanEncoding: false)
    let fields: HPACKHeaders = [
      ":method": "POST", ":scheme": "http", ":path": "/grpc.health.v1.Health/Check", ":authority": authority,
      "content-type": "application/grpc", "user-agent": "kube-probe/1.37", "te": "trailers",
    ]
    try? encoder.encode(headers: fields, to: &headers)
    // HealthCheckRequest: field 1, a string; nothing at all for the server as a whole.
    let text = Array(service.utf8.prefix(1024))
    var message: [UInt8] = []
    if !text.isEmpty {
      message =
        [0x0a]
        + (text.count < 128
          ? [UInt8(text.count)] : [UInt8(text.count & 0x7f | 0x80), UInt8(text.count >> 7)])
      message += text
    }
    let length = UInt32(message.count)
    let body = [0] + (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) } + message
    return preface + frame(4, 0, 0, []) + frame(1, 4, 1, Array(headers.readableBytesView))
      + frame(0, 1, 1, body)
  }

  private static func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
    let count = payload.count
    return [
      UInt8(count >> 16 & 0xff), UInt8(count >> 8 & 0xff), UInt8(count & 0xff), type, flags, 0, 0, 0, stream,
    ]
      + payload
  }

  /// Reads whole frames from the beginning of a connection; what is cut off is left for the next time.
  static func read(_ bytes: [UInt8]) -> HealthReply {
    var reply = HealthReply()
    var decoder = HPACKDecoder(allocator: ByteBufferAllocator())
    var data: [UInt8] = []
    var block: [UInt8] = []
    var index = 0
    while bytes.count - index >= 9 {
      let length = Int(bytes[index]) << 16 | Int(bytes[index + 1]) << 8 | Int(bytes[index + 2])
      let (type, flags) = (bytes[index + 3], bytes[index + 4])
      guard bytes.count - index - 9 >= length else { break }
      var payload = bytes[(index + 9)..<(index + 9 + length)]
      index += 9 + length
      if flags & 0x8 != 0, type <= 1 {
        guard let padding = payload.popFirst(), Int(padding) <= payload.count else { break }
        payload = payload.dropLast(Int(padding))
      }
      switch type {
      case 0: data += payload
      case 1, 9:
        if type == 1, flags & 0x20 != 0 { payload = payload.dropFirst(5) }
        block += payload
        guard flags & 0x4 != 0 else { continue }
        var buffer = ByteBuffer(bytes: block)
        block = []
        guard let fields = try? decoder.decodeHeaders(from: &buffer) else {
          reply.isEnded = true
          return reply
        }
        take(fields, &reply)
      case 3, 7: reply.isEnded = true
      default: continue
      }
      if flags & 1 != 0, type <= 1 { reply.isEnded = true }
    }
    // One message: 0, four bytes of length, then field 1 as a number.
    if data.count >= 5, data[0] == 0 {
      let message = data.dropFirst(5)
      if message.isEmpty { reply.status = 0 }
      if message.count >= 2, message.first == 0x08 { reply.status = Int(message[message.startIndex + 1]) }
    }
    return reply
  }

  private static func take(_ fields: HPACKHeaders, _ reply: inout HealthReply) {
    if let text = fields.first(name: ":status") { reply.httpStatus = Int(text) }
    if let text = fields.first(name: "grpc-status") { reply.code = Int(text) }
    if let text = fields.first(name: "grpc-message") { reply.message = String(text.prefix(1024)) }
  }
}

/// Kubelet's words for a reply that is not SERVING. Pure.
func planHealth(_ reply: HealthReply) -> String? {
  if let code = reply.code, code != 0 {
    if code == 12 {
      return "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
        + reply.message
    }
    return "error: health rpc failed: rpc error: code = \(grpcCodeName(code)) desc = \(reply.message)"
  }
  let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
  guard let status = reply.status else { return "error: health rpc failed: the answer is no health check" }
  if status == 1 { return nil }
  return
    "service unhealthy (responded with \"\(names.indices.contains(status) ? names[status] : "\(status)")\")"
}

private func grpcCodeName(_ code: Int) -> String {
  let names = [
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
    "Internal", "Unavailable", "DataLoss", "Unauthenticated",
  ]
  return names.indices.contains(code) ? names[code] : "Code(\(code))"
}
