// WebSocket frames (RFC 6455) from bytes and to bytes. Data is handed on as it comes: a message of any size needs no
// memory here.

import NIOCore

/// Why a peer's bytes are no WebSocket frames, with the close code that tells it.
public struct WebSocketError: Error, Hashable, Sendable, CustomStringConvertible {
  public var code: UInt16
  public var description: String
  static func protocolError(_ text: String) -> WebSocketError {
    WebSocketError(code: 1002, description: text)
  }
}

public enum WebSocketOpcode: UInt8, Sendable { case continuation = 0, text, binary, close = 8, ping, pong }

public struct WebSocketDecoder: Sendable {
  public enum Event: Sendable, Hashable {
    /// A piece of a message: `isStart` with its first, `isEnd` with its last.
    case data(isText: Bool, ByteBuffer, isStart: Bool, isEnd: Bool)
    case ping(ByteBuffer)
    case pong
    /// Nil when the peer gave no code.
    case close(UInt16?)
  }

  private struct Frame {
    var opcode: WebSocketOpcode
    var isLast: Bool
    var left: UInt64
    var mask: UInt32
    var isMasked: Bool
    /// Bytes already unmasked, modulo four.
    var phase = 0
    var isFirstPiece = true
  }

  private let expectsMask: Bool
  private var bytes = ByteBuffer()
  private var frame: Frame?
  /// The kind of the message that is under way.
  private var message: WebSocketOpcode?
  private var isMessageStart = false

  /// A server expects masked frames, a client plain ones.
  public init(isServer: Bool) { expectsMask = isServer }

  public mutating func append(_ new: ByteBuffer) {
    if bytes.readableBytes == 0 { bytes = new } else { bytes.writeImmutableBuffer(new) }
  }

  /// Nil until more bytes come. Every error is final.
  public mutating func next() throws(WebSocketError) -> Event? {
    while true {
      if frame == nil {
        frame = try readHead()
        if frame == nil { return nil }
      }
      guard var current = frame else { return nil }
      if current.opcode.rawValue >= 8 {
        guard bytes.readableBytes >= Int(current.left) else { return nil }
        var payload = bytes.readSlice(length: Int(current.left)) ?? ByteBuffer()
        Self.unmask(&payload, &current)
        frame = nil
        switch current.opcode {
        case .ping: return .ping(payload)
        case .pong: return .pong
        default:
          guard payload.readableBytes != 1 else { throw .protocolError("a close frame of one byte") }
          return .close(payload.readInteger())
        }
      }
      guard current.left == 0 || bytes.readableBytes > 0 else { return nil }
      let count = Int(min(current.left, UInt64(bytes.readableBytes)))
      var piece = bytes.readSlice(length: count) ?? ByteBuffer()
      Self.unmask(&piece, &current)
      current.left -= UInt64(count)
      let isFrameEnd = current.left == 0
      let isEnd = isFrameEnd && current.isLast
      let isStart = isMessageStart
      let isText = message == .text
      isMessageStart = false
      frame = isFrameEnd ? nil : current
      if isEnd { message = nil }
      if count == 0, !isEnd, !isStart { continue }
      if count == 0, !isEnd {
        isMessageStart = true
        continue
      }
      return .data(isText: isText, piece, isStart: isStart, isEnd: isEnd)
    }
  }

  private mutating func readHead() throws(WebSocketError) -> Frame? {
    let at = bytes.readerIndex
    guard let first = bytes.getInteger(at: at, as: UInt8.self),
      let second = bytes.getInteger(at: at + 1, as: UInt8.self)
    else { return nil }
    guard first & 0x70 == 0, let opcode = WebSocketOpcode(rawValue: first & 0xf) else {
      throw .protocolError("reserved bits or an unknown opcode")
    }
    let isMasked = second & 0x80 != 0
    guard isMasked == expectsMask else { throw .protocolError(isMasked ? "masked" : "not masked") }
    var length = UInt64(second & 0x7f)
    var size = 2
    if length == 126 {
      guard let long = bytes.getInteger(at: at + 2, as: UInt16.self) else { return nil }
      length = UInt64(long)
      size = 4
    } else if length == 127 {
      guard let long = bytes.getInteger(at: at + 2, as: UInt64.self) else { return nil }
      guard long >> 63 == 0 else { throw .protocolError("a frame longer than can be") }
      length = long
      size = 10
    }
    let isLast = first & 0x80 != 0
    if opcode.rawValue >= 8 {
      guard isLast, length <= 125 else { throw .protocolError("a control frame in parts, or over 125 bytes") }
    } else if opcode == .continuation {
      guard message != nil else { throw .protocolError("a continuation of nothing") }
    } else {
      guard message == nil else { throw .protocolError("a message within a message") }
    }
    var mask: UInt32 = 0
    if isMasked {
      guard let word = bytes.getInteger(at: at + size, as: UInt32.self) else { return nil }
      mask = word
      size += 4
    }
    bytes.moveReaderIndex(forwardBy: size)
    if opcode == .text || opcode == .binary {
      message = opcode
      isMessageStart = true
    }
    return Frame(opcode: opcode, isLast: isLast, left: length, mask: mask, isMasked: isMasked)
  }

  private static func unmask(_ bytes: inout ByteBuffer, _ frame: inout Frame) {
    guard frame.isMasked, frame.mask != 0, bytes.readableBytes > 0 else { return }
    // The mask as the piece's first byte meets it, in memory order.
    let turn = UInt32(frame.phase * 8)
    let turned = turn == 0 ? frame.mask : frame.mask << turn | frame.mask >> (32 - turn)
    let word = turned.bigEndian
    let wide = UInt64(word) | UInt64(word) << 32
    frame.phase = (frame.phase + bytes.readableBytes) % 4
    bytes.withUnsafeMutableReadableBytes { raw in
      var index = 0
      while index + 8 <= raw.count {
        raw.storeBytes(
          of: raw.loadUnaligned(fromByteOffset: index, as: UInt64.self) ^ wide, toByteOffset: index,
          as: UInt64.self)
        index += 8
      }
      while index < raw.count {
        raw[index] ^= UInt8(truncatingIfNeeded: word >> UInt32(index % 4 * 8))
        index += 1
      }
    }
  }
}

public enum WebSocketEncoder {
  /// The head of an unmasked frame, as servers send them.
  public static func head(_ opcode: WebSocketOpcode, length: Int, into out: inout ByteBuffer) {
    out.writeInteger(0x80 | opcode.rawValue)
    if length < 126 {
      out.writeInteger(UInt8(length))
    } else if length <= 0xffff {
      out.writeMultipleIntegers(UInt8(126), UInt16(length))
    } else {
      out.writeMultipleIntegers(UInt8(127), UInt64(length))
    }
  }

  public static func frame(_ opcode: WebSocketOpcode, _ payload: ByteBuffer) -> ByteBuffer {
    var out = ByteBuffer()
    head(opcode, length: payload.readableBytes, into: &out)
    out.writeImmutableBuffer(payload)
    return out
  }

  public static func close(_ code: UInt16) -> ByteBuffer { frame(.close, ByteBuffer(integer: code)) }
}
