// Kubernetes' subprotocols for exec and attach: several streams in one WebSocket, each message led by its channel.
//
//   | 0 stdin | 1 stdout | 2 stderr | 3 error: a Status | 4 resize: {"Width":…,"Height":…} | 255 close (v5): a channel |

import ClusterObjects
import NIOCore

public enum StreamChannel: UInt8, Sendable, CaseIterable { case stdin = 0, stdout, stderr, error, resize }

public enum ChannelProtocol: String, Sendable, CaseIterable {
  case v5 = "v5.channel.k8s.io"
  case v4 = "v4.channel.k8s.io"
  case v4Base64 = "v4.base64.channel.k8s.io"
  case v1 = "channel.k8s.io"
  case v1Base64 = "base64.channel.k8s.io"

  /// The first of the client's that we speak. Without an offer the oldest is meant.
  public static func choose(_ offered: [String]) -> ChannelProtocol? {
    if offered.isEmpty { return .v1 }
    for name in offered { if let found = ChannelProtocol(rawValue: name) { return found } }
    return nil
  }

  public var isBase64: Bool { self == .v4Base64 || self == .v1Base64 }
  /// Errors are a Status; before version 4 they were a line of text.
  public var hasStatus: Bool { self != .v1 && self != .v1Base64 }
}

/// From messages to streams.
public struct ChannelDecoder: Sendable {
  public enum Event: Sendable, Hashable {
    case data(StreamChannel, ByteBuffer)
    /// The client sends no more on this channel.
    case closed(StreamChannel)
  }
  /// A message that must be whole to be understood: Base64, or a close.
  static let gatheredBytesMax = 4 << 20

  private let kind: ChannelProtocol
  private var channel: UInt8?
  private var gathered = ByteBuffer()
  private static let close: UInt8 = 255

  public init(_ kind: ChannelProtocol) { self.kind = kind }

  /// Takes a piece of a message. Throws for what this subprotocol has not.
  public mutating func take(_ piece: ByteBuffer, isStart: Bool, isEnd: Bool) throws(WebSocketError) -> Event?
  {
    var piece = piece
    if isStart { channel = nil }
    if kind.isBase64 {
      gathered.writeImmutableBuffer(piece)
      guard gathered.readableBytes <= Self.gatheredBytesMax else {
        throw WebSocketError(code: 1009, description: "a Base64 message over \(Self.gatheredBytesMax) bytes")
      }
      guard isEnd else { return nil }
      defer { gathered.clear() }
      guard let digit = gathered.readInteger(as: UInt8.self) else { return nil }
      let text = String(decoding: gathered.readableBytesView, as: UTF8.self)
      guard let channel = StreamChannel(rawValue: digit &- 48), let bytes = Base64.decode(text) else {
        throw WebSocketError(code: 1007, description: "no channel, or no Base64")
      }
      return bytes.isEmpty ? nil : .data(channel, ByteBuffer(bytes: bytes))
    }
    if channel == nil { channel = piece.readInteger() }
    guard let number = channel else { return nil }
    if number == Self.close, kind == .v5 {
      guard let closed = piece.readInteger(as: UInt8.self) else { return nil }
      guard let closed = StreamChannel(rawValue: closed) else {
        throw WebSocketError(code: 1008, description: "close of an unknown channel \(closed)")
      }
      return .closed(closed)
    }
    guard let channel = StreamChannel(rawValue: number) else {
      throw WebSocketError(code: 1008, description: "unknown channel \(number)")
    }
    return piece.readableBytes > 0 ? .data(channel, piece) : nil
  }
}

public struct ChannelEncoder: Sendable {
  private let kind: ChannelProtocol
  public init(_ kind: ChannelProtocol) { self.kind = kind }

  /// One message.
  public func encode(_ channel: StreamChannel, _ bytes: ByteBuffer) -> ByteBuffer {
    var out = ByteBuffer()
    if kind.isBase64 {
      let text = Base64.encode(Array(bytes.readableBytesView))
      WebSocketEncoder.head(.text, length: text.utf8.count + 1, into: &out)
      out.writeInteger(channel.rawValue + 48)
      out.writeString(text)
    } else {
      out.reserveCapacity(bytes.readableBytes + 11)
      WebSocketEncoder.head(.binary, length: bytes.readableBytes + 1, into: &out)
      out.writeInteger(channel.rawValue)
      out.writeImmutableBuffer(bytes)
    }
    return out
  }
}
