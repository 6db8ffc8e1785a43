// Writes protobuf messages, field by field.
//
//   number and form (varint) | form 0: varint    1: eight bytes    2: length (varint), bytes

/// Bytes of one message, fields in the order they are written. Costs an append each; one owner at a time.
public struct ProtobufWriter: Sendable {
  /// The message so far.
  public private(set) var bytes: [UInt8] = []
  /// Whether single fields that are zero or empty are left out, as proto3 has it. proto2 tells "zero" from "not there".
  private let omitsDefaults: Bool

  /// - Parameter omitsDefaults: whether `integer`, `bool`, `double` and `text` leave out what is zero or empty (proto3).
  public init(omitsDefaults: Bool = false) { self.omitsDefaults = omitsDefaults }

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  private mutating func tag(_ number: Int, _ form: UInt64) { varint(UInt64(number) << 3 | form) }

  /// An integer of 32 or 64 bits, or an enumeration: negative ones take ten bytes.
  public mutating func integer(_ number: Int, _ value: Int64) {
    if omitsDefaults, value == 0 { return }
    tag(number, 0)
    varint(UInt64(bitPattern: value))
  }

  public mutating func bool(_ number: Int, _ value: Bool) { integer(number, value ? 1 : 0) }

  public mutating func double(_ number: Int, _ value: Double) {
    if omitsDefaults, value.bitPattern == 0 { return }
    tag(number, 1)
    for shift in stride(from: UInt64(0), to: 64, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: value.bitPattern >> shift))
    }
  }

  public mutating func text(_ number: Int, _ value: String) {
    if !omitsDefaults || !value.isEmpty { element(number, value.utf8) }
  }

  /// The entries of a repeated string: each is written, also when it is empty.
  public mutating func texts(_ number: Int, _ values: [String]) {
    for value in values { element(number, value.utf8) }
  }

  /// A message that is encoded already, or an entry of a list: written also when it is empty.
  public mutating func element(_ number: Int, _ body: some Collection<UInt8>) {
    tag(number, 2)
    varint(UInt64(body.count))
    bytes += body
  }

  /// A message, written by `body`: also when it is empty.
  public mutating func message(_ number: Int, _ body: (inout ProtobufWriter) -> Void) {
    var inner = ProtobufWriter(omitsDefaults: omitsDefaults)
    body(&inner)
    element(number, inner.bytes)
  }

  /// A map, by its keys in order: repeated messages of key (1) and value (2).
  public mutating func map(_ number: Int, _ values: [String: String]) {
    for (key, value) in values.sorted(by: { $0.key < $1.key }) {
      message(number) { entry in
        entry.text(1, key)
        entry.text(2, value)
      }
    }
  }
}
