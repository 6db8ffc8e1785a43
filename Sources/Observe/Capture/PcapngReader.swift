// Blocks of a capture, one after the other, and what a block says. Bytes that do not fit are refused, never trapped on.

import Addresses

/// Why bytes are no capture that can be read.
public enum PcapngError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A length that is too small, too large, no multiple of four, or not the same at both ends.
  case length(UInt32)
  /// The first block is no section head in this machine's order of bytes.
  case noSection

  public var description: String {
    switch self {
    case .length(let value): "a block of \(value) bytes cannot be"
    case .noSection: "it does not begin as a pcapng file of this order of bytes"
    }
  }
}

public enum PcapngBlocks {
  /// No block is longer.
  public static let blockMax = 1 << 20

  /// Hands out whole blocks until `body` returns false.
  /// - Returns: how many bytes they had; the rest is a block that is not whole yet.
  public static func read(
    _ bytes: UnsafeRawBufferPointer, _ body: (PcapngBlock) throws -> Bool
  ) throws -> Int {
    var at = 0
    while bytes.count - at >= 12 {
      let type = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
      let length = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at + 4, as: UInt32.self))
      guard length >= 12, length % 4 == 0, length <= blockMax else { throw PcapngError.length(length) }
      guard Int(length) <= bytes.count - at else { break }
      let last = bytes.loadUnaligned(fromByteOffset: at + Int(length) - 4, as: UInt32.self)
      guard UInt32(littleEndian: last) == length else { throw PcapngError.length(length) }
      let block = UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(length)])
      at += Int(length)
      if try !body(PcapngBlock(type: type, bytes: block)) { break }
    }
    return at
  }
}

/// One whole block; valid as long as its bytes.
public struct PcapngBlock {
  public var type: UInt32
  public var bytes: UnsafeRawBufferPointer

  public var isPacket: Bool { type == Pcapng.packet }
  public var isStatistics: Bool { type == Pcapng.statistics }
  /// Of a section's head, its interfaces and names: what every file of several must begin with.
  public var isPreamble: Bool {
    type == Pcapng.section || type == Pcapng.interface || type == Pcapng.names
  }

  private var body: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[8..<bytes.count - 4])
  }

  /// Whether it begins a section that can be read here.
  public var isSection: Bool {
    type == Pcapng.section && body.count >= 16
      && UInt32(littleEndian: body.loadUnaligned(as: UInt32.self)) == Pcapng.byteOrder
  }

  /// The name of an interface block; nil for other blocks and for frames that are not Ethernet's.
  public var interfaceName: String? {
    guard type == Pcapng.interface, body.count >= 8,
      UInt16(littleEndian: body.loadUnaligned(as: UInt16.self)) == Pcapng.ethernet
    else { return nil }
    var name = ""
    Self.options(body, from: 8) { code, value in
      if code == Pcapng.Option.interfaceName { name = String(decoding: value, as: UTF8.self) }
    }
    return name
  }

  /// The addresses and names of a names block.
  public func forEachName(_ body: (IPAddress, String) -> Void) {
    guard type == Pcapng.names else { return }
    let records = self.body
    var at = 0
    while at + 4 <= records.count {
      let kind = UInt16(littleEndian: records.loadUnaligned(fromByteOffset: at, as: UInt16.self))
      let length = Int(UInt16(littleEndian: records.loadUnaligned(fromByteOffset: at + 2, as: UInt16.self)))
      guard kind != 0, at + 4 + length <= records.count else { return }
      let value = UnsafeRawBufferPointer(rebasing: records[at + 4..<at + 4 + length])
      let width = kind == 1 ? 4 : kind == 2 ? 16 : 0
      if width > 0, value.count > width, let address = IPAddress(bytes: value[..<width]) {
        body(address, String(decoding: value[width...].prefix { $0 != 0 }, as: UTF8.self))
      }
      at += 4 + (length + 3) & ~3
    }
  }

  /// A packet and what is noted of it; valid as long as the block.
  public struct Packet {
    public var interface: Int
    /// As the section says; nanoseconds since 1970 in captures of ours.
    public var time: UInt64
    public var bytes: UnsafeRawBufferPointer
    public var length: Int
    /// Nil: not noted.
    public var isInbound: Bool?
    public var remark = ""
  }

  /// Nil for other blocks, and for one whose packet is longer than itself.
  public var packet: Packet? {
    let body = body
    guard type == Pcapng.packet, body.count >= 20 else { return nil }
    func word(_ at: Int) -> UInt32 {
      UInt32(littleEndian: body.loadUnaligned(fromByteOffset: at, as: UInt32.self))
    }
    let captured = Int(word(12))
    guard captured <= body.count - 20 else { return nil }
    var packet = Packet(
      interface: Int(word(0)), time: UInt64(word(4)) << 32 | UInt64(word(8)),
      bytes: UnsafeRawBufferPointer(rebasing: body[20..<20 + captured]), length: Int(word(16)))
    Self.options(body, from: 20 + (captured + 3) & ~3) { code, value in
      if code == Pcapng.Option.comment { packet.remark = String(decoding: value, as: UTF8.self) }
      if code == Pcapng.Option.flags, value.count == 4 {
        let direction = value[0] & 3
        packet.isInbound = direction == 1 ? true : direction == 2 ? false : nil
      }
    }
    return packet
  }

  private static func options(
    _ bytes: UnsafeRawBufferPointer, from start: Int, _ body: (UInt16, UnsafeRawBufferPointer) -> Void
  ) {
    var at = start
    while at + 4 <= bytes.count {
      let code = UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self))
      let length = Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: at + 2, as: UInt16.self)))
      guard code != Pcapng.Option.end, at + 4 + length <= bytes.count else { return }
      body(code, UnsafeRawBufferPointer(rebasing: bytes[at + 4..<at + 4 + length]))
      at += 4 + (length + 3) & ~3
    }
  }
}
