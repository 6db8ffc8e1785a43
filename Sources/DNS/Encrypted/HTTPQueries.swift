// DNS over HTTPS: `POST /dns-query` with the message as its body, or `GET /dns-query?dns=` with it in base64url (RFC 8484
// section 4.1). What is no such request gets the status that says why.

import Addresses
import NIOCore
import NIOHTTP1

/// One request after another of an HTTP/1.1 connection, or the one of an HTTP/2 stream.
final class HTTPQueries: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  static let path = "/dns-query"
  static let contentType = "application/dns-message"

  private let door: QueryDoor
  private let peer: SocketEndpoint
  private var context: ChannelHandlerContext?
  private var head: HTTPRequestHead?
  private var body: [UInt8] = []
  private var isTooLarge = false

  init(_ door: QueryDoor, _ peer: SocketEndpoint) {
    self.door = door
    self.peer = peer
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let received):
      head = received
      body = []
      isTooLarge = false
    case .body(let part):
      isTooLarge = isTooLarge || body.count + part.readableBytes > DNSConnection.queryBytesMax
      if !isTooLarge { body += part.readableBytesView }
    case .end:
      guard let received = head else { return }
      head = nil
      answer(received, context)
    }
  }

  private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
    switch Self.query(head, isTooLarge ? nil : body) {
    case .failure(let refusal): write(refusal.status, head, [])
    case .success(let query):
      let loop = context.eventLoop
      let bound = NIOLoopBound(self, eventLoop: loop)
      let isTaken = door.ask(query, peer: peer) { reply in
        loop.execute { bound.value.write(reply.isEmpty ? .badRequest : .ok, head, reply) }
      }
      if !isTaken { write(.serviceUnavailable, head, []) }
    }
  }

  struct Refusal: Error, Hashable { var status: HTTPResponseStatus }

  /// The message a request carries. `body` is nil when it was too long to be kept.
  static func query(_ head: HTTPRequestHead, _ body: [UInt8]?) -> Result<[UInt8], Refusal> {
    let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts[0] == path else { return .failure(Refusal(status: .notFound)) }
    guard head.method == .GET || head.method == .POST else {
      return .failure(Refusal(status: .methodNotAllowed))
    }
    guard let body else { return .failure(Refusal(status: .payloadTooLarge)) }
    var message = body
    if head.method == .GET {
      let fields = parts.count > 1 ? parts[1].split(separator: "&") : []
      guard let field = fields.first(where: { $0.hasPrefix("dns=") }),
        let decoded = base64URL(field.dropFirst(4))
      else { return .failure(Refusal(status: .badRequest)) }
      message = decoded
    } else if head.headers.first(name: "content-type") != contentType {
      return .failure(Refusal(status: .unsupportedMediaType))
    }
    guard message.count >= Header.byteCount, message.count <= DNSConnection.queryBytesMax else {
      return .failure(Refusal(status: message.count < Header.byteCount ? .badRequest : .payloadTooLarge))
    }
    return .success(message)
  }

  /// Octets of base64url text without padding (RFC 4648 section 5); nil for anything else.
  static func base64URL(_ text: some StringProtocol) -> [UInt8]? {
    var octets: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in text.utf8 {
      let value: UInt8
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - 65
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - 71
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte + 4
      case UInt8(ascii: "-"): value = 62
      case UInt8(ascii: "_"): value = 63
      default: return nil
      }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        octets.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    // A lone last letter holds no octet, and what is left over must be zero.
    guard count < 6, bits & (1 << UInt32(count) - 1) == 0 else { return nil }
    return octets
  }

  private func write(_ status: HTTPResponseStatus, _ request: HTTPRequestHead, _ message: [UInt8]) {
    guard let context else { return }
    var headers = HTTPHeaders()
    headers.add(name: "content-length", value: "\(message.count)")
    if status == .ok {
      headers.add(name: "content-type", value: Self.contentType)
      headers.add(name: "cache-control", value: "max-age=\(Self.freshSeconds(message))")
    }
    if status == .methodNotAllowed { headers.add(name: "allow", value: "GET, POST") }
    let isLast = request.version.major == 1 && !request.isKeepAlive
    if isLast { headers.add(name: "connection", value: "close") }
    let version = request.version
    context.write(
      wrapOutboundOut(.head(HTTPResponseHead(version: version, status: status, headers: headers))),
      promise: nil)
    if !message.isEmpty {
      context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: message)))), promise: nil)
    }
    let end = context.writeAndFlush(wrapOutboundOut(.end(nil)))
    if isLast {
      let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
      end.whenComplete { _ in bound.value.close(promise: nil) }
    }
  }

  /// The smallest TTL of an answer, or how long its denial holds (RFC 8484 section 5.1).
  static func freshSeconds(_ message: [UInt8]) -> UInt32 {
    guard let reply = try? Message(message.span.bytes), reply.code == .noError || reply.code == .nameError
    else {
      return 0
    }
    if let least = reply.answer.map(\.ttl).min() { return least }
    for record in reply.authority {
      if case .soa(let soa) = record.data { return min(record.ttl, soa.minimum) }
    }
    return 0
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
