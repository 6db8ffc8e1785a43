// Bytes of the few small messages that device plugins speak in, field by field (proto3). What comes from a plugin is
// foreign: a reader never leaves its range, and unknown fields are passed over.

import GRPCCore

/// The bytes are no message.
struct DamagedMessage: Error, Hashable {
  var reason: String
}

/// Reads fields in their order.
struct WireReader {
  enum Value {
    case integer(UInt64)
    case bytes(ArraySlice<UInt8>)
    /// Of a form that none of our messages has.
    case other

    var text: String {
      if case .bytes(let bytes) = self { String(decoding: bytes, as: UTF8.self) } else { "" }
    }
    var flag: Bool { if case .integer(let value) = self { value != 0 } else { false } }
    var number: Int64 { if case .integer(let value) = self { Int64(bitPattern: value) } else { 0 } }
    /// Throws when the field is no message.
    func message<Message: WireMessage>(_ type: Message.Type) throws(DamagedMessage) -> Message {
      guard case .bytes(let bytes) = self else { throw DamagedMessage(reason: "a field is no message") }
      return try Message(wire: bytes)
    }
  }

  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  private mutating func varint() throws(DamagedMessage) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard let byte = rest.popFirst() else { throw DamagedMessage(reason: "unexpected end") }
      if shift < 64 { value |= UInt64(byte & 0x7f) << shift }
      if byte < 0x80 { return value }
    }
    throw DamagedMessage(reason: "an integer is too long")
  }

  private mutating func take(_ count: UInt64) throws(DamagedMessage) -> ArraySlice<UInt8> {
    guard count <= UInt64(rest.count) else { throw DamagedMessage(reason: "a length points past the end") }
    let part = rest.prefix(Int(count))
    rest = rest.dropFirst(Int(count))
    return part
  }

  /// The next field; nil at the end.
  mutating func next() throws(DamagedMessage) -> (number: UInt64, value: Value)? {
    guard !rest.isEmpty else { return nil }
    let tag = try varint()
    guard tag >> 3 > 0 else { throw DamagedMessage(reason: "a field has no number") }
    switch tag & 7 {
    case 0: return (tag >> 3, .integer(try varint()))
    case 1: _ = try take(8); return (tag >> 3, .other)
    case 2:
      let length = try varint()
      return (tag >> 3, .bytes(try take(length)))
    case 5: _ = try take(4); return (tag >> 3, .other)
    default: throw DamagedMessage(reason: "a field has an unknown form")
    }
  }

  /// A map's entry.
  static func entry(_ value: Value) throws(DamagedMessage) -> (key: String, value: String) {
    guard case .bytes(let bytes) = value else { throw DamagedMessage(reason: "a map's entry is no message") }
    var reader = WireReader(bytes)
    var entry = (key: "", value: "")
    while let field = try reader.next() {
      if field.number == 1 { entry.key = field.value.text }
      if field.number == 2 { entry.value = field.value.text }
    }
    return entry
  }
}

/// A message of the device plugins' interface.
protocol WireMessage: Sendable {
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage)
  var wire: [UInt8] { get }
}

struct WireSerializer<Message: WireMessage>: MessageSerializer {
  func serialize<Bytes: GRPCContiguousBytes>(_ message: Message) throws -> Bytes { Bytes(message.wire) }
}

struct WireDeserializer<Message: WireMessage>: MessageDeserializer {
  func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> Message {
    do {
      return try Message(wire: bytes.withUnsafeBytes { Array($0) }[...])
    } catch {
      throw RPCError(code: .invalidArgument, message: "the message is damaged: \(error.reason)")
    }
  }
}
