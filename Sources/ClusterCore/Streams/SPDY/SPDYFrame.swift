// SPDY/3.1 frames, from bytes and to bytes.
//
//   control  |1| version 3 (15) | type (16) | flags (8) | length (24) | …
//   data     |0| stream (31)                | flags (8) | length (24) | …

import NIOCore

/// One frame, or a piece of a data frame: data is handed on as it comes and never gathered.
public enum SPDYFrame: Sendable, Hashable {
  case synStream(id: UInt32, headers: SPDYHeaders, isFinal: Bool, isUnidirectional: Bool)
  case synReply(id: UInt32, headers: SPDYHeaders, isFinal: Bool)
  case reset(id: UInt32, status: UInt32)
  case settings([Setting])
  case ping(UInt32)
  case goAway(lastGood: UInt32, status: UInt32)
  case headers(id: UInt32, headers: SPDYHeaders, isFinal: Bool)
  case windowUpdate(id: UInt32, delta: UInt32)
  /// `isFinal` only with the frame's last piece.
  case data(id: UInt32, ByteBuffer, isFinal: Bool)

  public struct Setting: Sendable, Hashable {
    public var id: UInt32
    public var value: UInt32
    static let initialWindowSize: UInt32 = 7
  }

  enum Kind: UInt16 {
    case synStream = 1
    case synReply, reset, settings
    case ping = 6
    case goAway, headers, windowUpdate
  }
}

/// Takes bytes in any pieces, gives frames. Every error is final.
struct SPDYDecoder {
  /// Bytes of a control frame; the only bytes that are ever gathered.
  static let controlBytesMax = 64 << 10

  private var bytes = ByteBuffer()
  private let decompressor = SPDYDecompressor()
  private enum State {
    case head
    case data(id: UInt32, left: Int, isFinal: Bool)
    case skipping(left: Int)
  }
  private var state = State.head

  mutating func append(_ new: ByteBuffer) {
    if bytes.readableBytes == 0 { bytes = new } else { bytes.writeImmutableBuffer(new) }
  }

  /// Nil until more bytes come.
  mutating func next() throws(SPDYError) -> SPDYFrame? {
    while true {
      switch state {
      case .data(let id, let left, let isFinal):
        guard left == 0 || bytes.readableBytes > 0 else { return nil }
        let piece = bytes.readSlice(length: min(left, bytes.readableBytes)) ?? ByteBuffer()
        let rest = left - piece.readableBytes
        state = rest == 0 ? .head : .data(id: id, left: rest, isFinal: isFinal)
        return .data(id: id, piece, isFinal: isFinal && rest == 0)
      case .skipping(let left):
        let count = min(left, bytes.readableBytes)
        bytes.moveReaderIndex(forwardBy: count)
        if count < left {
          state = .skipping(left: left - count)
          return nil
        }
        state = .head
      case .head:
        guard
          let first = bytes.getInteger(at: bytes.readerIndex, as: UInt32.self),
          let second = bytes.getInteger(at: bytes.readerIndex + 4, as: UInt32.self)
        else { return nil }
        let length = Int(second & 0xff_ffff)
        let flags = UInt8(second >> 24)
        if first >> 31 == 0 {
          guard first != 0 else { throw SPDYError("data of stream 0") }
          bytes.moveReaderIndex(forwardBy: 8)
          state = .data(id: first, left: length, isFinal: flags & 1 != 0)
          continue
        }
        guard first >> 16 & 0x7fff == 3 else {
          throw SPDYError("SPDY version \(first >> 16 & 0x7fff), not 3")
        }
        guard let kind = SPDYFrame.Kind(rawValue: UInt16(first & 0xffff)) else {
          bytes.moveReaderIndex(forwardBy: 8)
          state = .skipping(left: length)
          continue
        }
        guard length <= Self.controlBytesMax else {
          throw SPDYError("a control frame of \(length) bytes; the limit is \(Self.controlBytesMax)")
        }
        guard bytes.readableBytes >= 8 + length else { return nil }
        bytes.moveReaderIndex(forwardBy: 8)
        guard var payload = bytes.readSlice(length: length) else { return nil }
        return try control(kind, flags: flags, &payload)
      }
    }
  }

  private func control(_ kind: SPDYFrame.Kind, flags: UInt8, _ payload: inout ByteBuffer) throws(SPDYError)
    -> SPDYFrame
  {
    func word() throws(SPDYError) -> UInt32 {
      guard let word = payload.readInteger(as: UInt32.self) else {
        throw SPDYError("a \(kind) frame ends early")
      }
      return word
    }
    func headers() throws(SPDYError) -> SPDYHeaders {
      try decompressor.decompress(Array(payload.readableBytesView))
    }
    let isFinal = flags & 1 != 0
    switch kind {
    case .synStream:
      let id = try word() & 0x7fff_ffff
      _ = try word()
      guard payload.readInteger(as: UInt16.self) != nil else { throw SPDYError("a \(kind) frame ends early") }
      return .synStream(id: id, headers: try headers(), isFinal: isFinal, isUnidirectional: flags & 2 != 0)
    case .synReply: return .synReply(id: try word() & 0x7fff_ffff, headers: try headers(), isFinal: isFinal)
    case .headers: return .headers(id: try word() & 0x7fff_ffff, headers: try headers(), isFinal: isFinal)
    case .reset: return .reset(id: try word() & 0x7fff_ffff, status: try word())
    case .ping: return .ping(try word())
    case .goAway:
      let last = try word() & 0x7fff_ffff
      return .goAway(lastGood: last, status: payload.readInteger() ?? 0)
    case .windowUpdate: return .windowUpdate(id: try word() & 0x7fff_ffff, delta: try word() & 0x7fff_ffff)
    case .settings:
      let count = try word()
      guard Int(count) * 8 == payload.readableBytes else {
        throw SPDYError("a settings frame of another length")
      }
      var settings: [SPDYFrame.Setting] = []
      for _ in 0..<count {
        settings.append(SPDYFrame.Setting(id: try word() & 0xff_ffff, value: try word()))
      }
      return .settings(settings)
    }
  }
}

/// Frames to bytes.
struct SPDYEncoder {
  /// Data of one frame: the length field has 24 bits.
  static let dataBytesMax = 0xff_ffff
  private let compressor = SPDYCompressor()

  func encode(_ frame: SPDYFrame, into out: inout ByteBuffer) throws(SPDYError) {
    switch frame {
    case .data(let id, var bytes, let isFinal):
      repeat {
        let piece = bytes.readSlice(length: min(bytes.readableBytes, Self.dataBytesMax)) ?? ByteBuffer()
        let isLast = bytes.readableBytes == 0
        out.writeMultipleIntegers(id, UInt32(piece.readableBytes) | (isFinal && isLast ? 1 << 24 : 0))
        out.writeImmutableBuffer(piece)
      } while bytes.readableBytes > 0
    case .synStream(let id, let headers, let isFinal, let isUnidirectional):
      let block = try compressor.compress(headers)
      control(
        .synStream, flags: (isFinal ? 1 : 0) | (isUnidirectional ? 2 : 0), length: block.count + 10, &out)
      out.writeMultipleIntegers(id, UInt32(0), UInt16(0))
      out.writeBytes(block)
    case .synReply(let id, let headers, let isFinal):
      let block = try compressor.compress(headers)
      control(.synReply, flags: isFinal ? 1 : 0, length: block.count + 4, &out)
      out.writeInteger(id)
      out.writeBytes(block)
    case .headers(let id, let headers, let isFinal):
      let block = try compressor.compress(headers)
      control(.headers, flags: isFinal ? 1 : 0, length: block.count + 4, &out)
      out.writeInteger(id)
      out.writeBytes(block)
    case .reset(let id, let status):
      control(.reset, length: 8, &out)
      out.writeMultipleIntegers(id, status)
    case .ping(let id):
      control(.ping, length: 4, &out)
      out.writeInteger(id)
    case .goAway(let last, let status):
      control(.goAway, length: 8, &out)
      out.writeMultipleIntegers(last, status)
    case .windowUpdate(let id, let delta):
      control(.windowUpdate, length: 8, &out)
      out.writeMultipleIntegers(id, delta)
    case .settings(let settings):
      control(.settings, length: 4 + 8 * settings.count, &out)
      out.writeInteger(UInt32(settings.count))
      for setting in settings { out.writeMultipleIntegers(setting.id, setting.value) }
    }
  }

  private func control(_ kind: SPDYFrame.Kind, flags: UInt8 = 0, length: Int, _ out: inout ByteBuffer) {
    out.writeMultipleIntegers(0x8003_0000 | UInt32(kind.rawValue), UInt32(flags) << 24 | UInt32(length))
  }
}
