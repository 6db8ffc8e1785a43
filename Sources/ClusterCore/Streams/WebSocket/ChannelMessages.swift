// What all of Kubernetes' channel subprotocols share: a message is led by its channel's number, as a byte or, with Base64, as a digit.
// Which channels there are is the business of who uses this.

import ClusterObjects
import NIOCore

/// From pieces of messages to channel numbers and bytes, and back.
struct ChannelMessages: Sendable {
  enum Event: Sendable, Hashable {
    case data(UInt8, ByteBuffer)
    /// The client sends no more on this channel (v5).
    case closed(UInt8)
  }
  /// A message that must be whole to be understood: Base64.
  static let gatheredBytesMax = 4 << 20
  private static let close: UInt8 = 255

  let kind: ChannelProtocol
  private var channel: UInt8?
  private var gathered = ByteBuffer()

  init(_ kind: ChannelProtocol) { self.kind = kind }

  /// Takes a piece of a message; nil until there is something to say. Bytes may be none.
  mutating func take(_ piece: ByteBuffer, isStart: Bool, isEnd: Bool) throws(WebSocketError) -> Event? {
    if kind.isBase64 { return try gather(piece, isEnd: isEnd) }
    var piece = piece
    if isStart { channel = nil }
    if channel == nil { channel = piece.readInteger() }
    guard let number = channel else { return nil }
    guard number == Self.close, kind == .v5 else { return .data(number, piece) }
    return piece.readInteger(as: UInt8.self).map { .closed($0) }
  }

  private mutating func gather(_ piece: ByteBuffer, isEnd: Bool) throws(WebSocketError) -> Event? {
    gathered.writeImmutableBuffer(piece)
    guard gathered.readableBytes <= Self.gatheredBytesMax else {
      throw WebSocketError(code: 1009, description: "a Base64 message over \(Self.gatheredBytesMax) bytes")
    }
    guard isEnd else { return nil }
    defer { gathered.clear() }
    guard let digit = gathered.readInteger(as: UInt8.self) else { return nil }
    guard digit >= 48, let bytes = Base64.decode(String(decoding: gathered.readableBytesView, as: UTF8.self))
    else { throw WebSocketError(code: 1007, description: "no channel, or no Base64") }
    return .data(digit - 48, ByteBuffer(bytes: bytes))
  }

  /// One message.
  static func encode(_ kind: ChannelProtocol, _ channel: UInt8, _ bytes: ByteBuffer) -> ByteBuffer {
    var out = ByteBuffer()
    if kind.isBase64 {
      let text = Base64.encode(Array(bytes.readableBytesView))
      WebSocketEncoder.head(.text, length: text.utf8.count + 1, into: &out)
      out.writeInteger(channel &+ 48)
      out.writeString(text)
    } else {
      out.reserveCapacity(bytes.readableBytes + 11)
      WebSocketEncoder.head(.binary, length: bytes.readableBytes + 1, into: &out)
      out.writeInteger(channel)
      out.writeImmutableBuffer(bytes)
    }
    return out
  }
}
