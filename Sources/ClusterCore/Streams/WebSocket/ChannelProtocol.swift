// Kubernetes' subprotocols for exec and attach: several streams in one WebSocket, each message led by its channel.
//
//   | 0 stdin | 1 stdout | 2 stderr | 3 error: a Status | 4 resize: {"Width":…,"Height":…} | 255 close (v5): a channel |

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
  private var messages: ChannelMessages

  public init(_ kind: ChannelProtocol) { messages = ChannelMessages(kind) }

  /// Takes a piece of a message. Throws for what this subprotocol has not.
  public mutating func take(_ piece: ByteBuffer, isStart: Bool, isEnd: Bool) throws(WebSocketError) -> Event?
  {
    switch try messages.take(piece, isStart: isStart, isEnd: isEnd) {
    case .data(let number, let bytes):
      let channel = try channel(number)
      return bytes.readableBytes > 0 ? .data(channel, bytes) : nil
    case .closed(let number): return .closed(try channel(number))
    case nil: return nil
    }
  }

  private func channel(_ number: UInt8) throws(WebSocketError) -> StreamChannel {
    guard let channel = StreamChannel(rawValue: number) else {
      throw WebSocketError(code: 1008, description: "unknown channel \(number)")
    }
    return channel
  }
}

public struct ChannelEncoder: Sendable {
  private let kind: ChannelProtocol
  public init(_ kind: ChannelProtocol) { self.kind = kind }

  /// One message.
  public func encode(_ channel: StreamChannel, _ bytes: ByteBuffer) -> ByteBuffer {
    ChannelMessages.encode(kind, channel.rawValue, bytes)
  }
}
