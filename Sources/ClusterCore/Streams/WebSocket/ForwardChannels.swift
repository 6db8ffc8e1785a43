// port-forward in a WebSocket without SPDY: two channels for each port, as Python's client and upstream's agent know it.
//
//   channel 2n   data of the n-th port, both ways        channel 2n+1   why it failed, from the server
//   the first message of each, from the server: the port's number, two bytes, the low one first
//   | 255 close (v5 only): a channel |

import NIOCore

/// Messages of one forwarding WebSocket, from bytes and to bytes.
public struct ForwardChannels: Sendable {
  public enum Event: Sendable, Hashable {
    /// Bytes for the port with this index.
    case data(port: Int, ByteBuffer)
    /// The client sends no more to this port.
    case closed(port: Int)
  }
  /// Channels are one byte, of which the last means closing.
  public static let portsMax = 127

  private var messages: ChannelMessages
  private let portCount: Int

  /// `portCount` is 1 to `portsMax`.
  public init(_ kind: ChannelProtocol, portCount: Int) {
    messages = ChannelMessages(kind)
    self.portCount = portCount
  }

  /// The subprotocol for a client's offers: version 4, which every server knows, before version 5. The oldest without
  /// an offer.
  public static func choose(_ offered: [String]) -> ChannelProtocol? {
    if offered.contains(ChannelProtocol.v4.rawValue) { return .v4 }
    return ChannelProtocol.choose(offered)
  }

  /// Takes a piece of a message. Throws for channels that are not the client's to write.
  public mutating func take(_ piece: ByteBuffer, isStart: Bool, isEnd: Bool) throws(WebSocketError) -> Event?
  {
    switch try messages.take(piece, isStart: isStart, isEnd: isEnd) {
    case .data(let channel, let bytes):
      let port = try port(channel)
      return bytes.readableBytes > 0 ? .data(port: port, bytes) : nil
    case .closed(let channel): return .closed(port: try port(channel))
    case nil: return nil
    }
  }

  private func port(_ channel: UInt8) throws(WebSocketError) -> Int {
    guard channel % 2 == 0, Int(channel) / 2 < portCount else {
      throw WebSocketError(code: 1008, description: "channel \(channel) is not the client's")
    }
    return Int(channel) / 2
  }

  /// The two messages that open a port's channels.
  public func opening(_ index: Int, port: UInt16) -> ByteBuffer {
    var number = ByteBuffer()
    number.writeInteger(port, endianness: .little)
    var out = encode(UInt8(index * 2), number)
    out.writeImmutableBuffer(encode(UInt8(index * 2 + 1), number))
    return out
  }

  public func data(_ index: Int, _ bytes: ByteBuffer) -> ByteBuffer { encode(UInt8(index * 2), bytes) }
  public func failure(_ index: Int, _ text: String) -> ByteBuffer {
    encode(UInt8(index * 2 + 1), ByteBuffer(string: text))
  }

  private func encode(_ channel: UInt8, _ bytes: ByteBuffer) -> ByteBuffer {
    ChannelMessages.encode(messages.kind, channel, bytes)
  }
}
