// Bytes of the frames that parent and child exchange. Little-endian; the reader checks every length and never traps.

/// Why bytes are no route table, or no table of certificates.
public struct RouteTableUnreadable: Error, Hashable, Sendable {
  public var offset: Int
  public var reason: String
}

struct FrameWriter {
  private(set) var bytes: [UInt8]
  init(_ magic: [UInt8]) { bytes = magic }

  mutating func integer<Value: FixedWidthInteger>(_ value: Value) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }
  mutating func raw(_ value: some Collection<UInt8>) { bytes.append(contentsOf: value) }
  /// With a length in front. What is longer than the length field can say is cut; Kubernetes names and paths are far
  /// shorter.
  mutating func text(_ value: some Collection<UInt8>) {
    integer(UInt16(clamping: value.count))
    bytes.append(contentsOf: value.prefix(Int(UInt16.max)))
  }
  /// The same for values of any length.
  mutating func long(_ value: [UInt8]) {
    integer(UInt32(clamping: value.count))
    bytes.append(contentsOf: value)
  }
}

struct FrameReader {
  let bytes: [UInt8]
  var offset = 0

  func failure(_ reason: String) -> RouteTableUnreadable {
    RouteTableUnreadable(offset: offset, reason: reason)
  }

  mutating func bytes(_ count: Int) throws(RouteTableUnreadable) -> ArraySlice<UInt8> {
    guard count <= bytes.count - offset else { throw failure("cut short") }
    offset += count
    return bytes[offset - count..<offset]
  }

  mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws(RouteTableUnreadable) -> Value {
    var value: Value = 0
    for (index, byte) in try bytes(MemoryLayout<Value>.size).enumerated() {
      value |= Value(truncatingIfNeeded: UInt64(byte)) << (8 * index)
    }
    return value
  }

  /// A count of things that take at least `each` bytes: one that cannot be true is refused before any memory.
  mutating func count(each: Int = 5) throws(RouteTableUnreadable) -> Int {
    let count = Int(try integer(UInt32.self))
    guard count <= (bytes.count - offset) / each else { throw failure("count beyond the end") }
    return count
  }

  mutating func text() throws(RouteTableUnreadable) -> String {
    let slice = try bytes(Int(try integer(UInt16.self)))
    guard let text = String(validating: slice, as: UTF8.self) else { throw failure("not UTF-8") }
    return text
  }

  mutating func long() throws(RouteTableUnreadable) -> [UInt8] {
    Array(try bytes(Int(try integer(UInt32.self))))
  }
}
