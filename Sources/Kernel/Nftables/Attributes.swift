// Reads netlink attributes from bytes of the kernel, checked: lengths that do not fit end the walk, nothing
// traps.
//
//   | length (2) | type (2) | payload … padded to four |

/// One attribute.
struct Attribute {
  var type: UInt16
  var payload: UnsafeRawBufferPointer

  /// 32 bits in network order; nil when shorter.
  var number: UInt32? {
    payload.count >= 4 ? UInt32(bigEndian: payload.loadUnaligned(as: UInt32.self)) : nil
  }

  /// 64 bits in network order; nil when shorter.
  var longNumber: UInt64? {
    payload.count >= 8 ? UInt64(bigEndian: payload.loadUnaligned(as: UInt64.self)) : nil
  }

  /// Text up to the first zero.
  var text: String { String(decoding: payload.prefix { $0 != 0 }, as: UTF8.self) }

  var nested: Attributes { Attributes(bytes: payload) }
}

/// A run of attributes.
struct Attributes: Sequence, IteratorProtocol {
  var bytes: UnsafeRawBufferPointer

  mutating func next() -> Attribute? {
    guard bytes.count >= 4 else { return nil }
    let length = Int(bytes.loadUnaligned(as: UInt16.self))
    let type = bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self) & 0x3fff
    guard length >= 4, length <= bytes.count else { return nil }
    let payload = UnsafeRawBufferPointer(rebasing: bytes[4..<length])
    bytes = UnsafeRawBufferPointer(rebasing: bytes[Swift.min((length + 3) & ~3, bytes.count)...])
    return Attribute(type: type, payload: payload)
  }

  func first(_ type: UInt32) -> Attribute? { first { UInt32($0.type) == type } }
}

/// User data of nftables objects: | type (1) | length (1) | value |, unpadded.
struct UserData {
  private(set) var bytes: [UInt8] = []

  mutating func put(_ type: UInt8, _ value: [UInt8]) {
    guard value.count <= 255, bytes.count + value.count + 2 <= 256 else { return }
    bytes += [type, UInt8(value.count)] + value
  }

  mutating func put(_ type: UInt8, _ value: UInt32) {
    put(type, withUnsafeBytes(of: value.littleEndian) { Array($0) })
  }

  /// Text with its closing zero, as nft writes comments.
  mutating func put(_ type: UInt8, _ text: String) { put(type, Array(text.utf8) + [0]) }

  static func read(_ type: UInt8, in bytes: UnsafeRawBufferPointer) -> [UInt8]? {
    find(type, in: bytes).map { Array($0) }
  }

  /// The value of a note where it stands.
  static func find(_ type: UInt8, in bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var at = 0
    while at + 2 <= bytes.count {
      let length = Int(bytes[at + 1])
      guard at + 2 + length <= bytes.count else { return nil }
      if bytes[at] == type { return UnsafeRawBufferPointer(rebasing: bytes[at + 2..<at + 2 + length]) }
      at += 2 + length
    }
    return nil
  }
}
