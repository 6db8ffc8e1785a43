// The value of one register, or of several side by side: what a rule compares, what a set holds. Kept in the
// bytes that the kernel uses, inline and without allocation, so that a hundred thousand elements can be
// hashed and compared in milliseconds.
//
//   10.43.0.10 . tcp . 80  =  0a 2b 00 0a | 06 .. .. .. | 00 50 .. ..     members of a concatenation start
// every four bytes

import Addresses

/// A value as the kernel's registers hold it: addresses and ports in network order, marks and numbers in host
/// order.
///
/// A single member has its own length; in a concatenation each is padded with zeros to a multiple of four
/// bytes. Up to 40 bytes (an interface name, a hardware address and an IPv6 address); the kernel's own limit
/// is 64.
public struct Datum: Hashable, Sendable {
  private var w0: UInt64 = 0
  private var w1: UInt64 = 0
  private var w2: UInt64 = 0
  private var w3: UInt64 = 0
  private var w4: UInt64 = 0
  /// Bytes in use.
  public private(set) var count: UInt8 = 0

  public static let countMax = 40

  public init() {}

  /// Takes up to 40 bytes as they are; nil when there are more.
  public init?(bytes: some Collection<UInt8>) {
    guard bytes.count <= Self.countMax else { return nil }
    for byte in bytes { append(byte) }
  }

  /// The same from memory, in one go.
  public init?(bytes: UnsafeRawBufferPointer) {
    guard bytes.count <= Self.countMax else { return nil }
    // What a dump consists of, without a call for each.
    switch bytes.count {
    case 4: w0 = UInt64(bytes.loadUnaligned(as: UInt32.self))
    case 8: w0 = bytes.loadUnaligned(as: UInt64.self)
    case 12:
      w0 = bytes.loadUnaligned(as: UInt64.self)
      w1 = UInt64(bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    default: withUnsafeMutableBytes(of: &self) { $0.copyMemory(from: bytes) }
    }
    count = UInt8(bytes.count)
  }

  /// Two members side by side, each padded to four bytes.
  public init(_ first: Datum, _ second: Datum) {
    self = first
    pad()
    append(padding: second)
  }

  /// Three of them.
  public init(_ first: Datum, _ second: Datum, _ third: Datum) {
    self.init(first, second)
    append(padding: third)
  }

  /// As many as there are.
  public init(
    _ first: Datum, _ second: Datum, _ third: Datum, _ fourth: Datum, _ others: Datum...
  ) {
    self.init(joining: [first, second, third, fourth] + others)
  }

  /// Members side by side, each padded to four bytes. One member alone keeps its length.
  public init(joining members: [Datum]) {
    if members.count == 1 {
      self = members[0]
      return
    }
    for member in members { append(padding: member) }
  }

  private mutating func pad() { while count % 4 != 0 { append(0) } }

  private mutating func append(padding member: Datum) {
    let start = Int(count)
    precondition(start + Int(member.count) <= Self.countMax, "a register value has at most 40 bytes")
    withUnsafeMutableBytes(of: &self) { own in
      member.withBytes { UnsafeMutableRawBufferPointer(rebasing: own[start...]).copyMemory(from: $0) }
    }
    count += member.count
    pad()
  }

  public static func ipv4(_ address: IPv4Address) -> Datum {
    var datum = Datum()
    datum.w0 = UInt64(address.bits.bigEndian)
    datum.count = 4
    return datum
  }

  public static func ipv6(_ address: IPv6Address) -> Datum {
    var datum = Datum()
    datum.w0 = UInt64(truncatingIfNeeded: address.bits >> 64).bigEndian
    datum.w1 = UInt64(truncatingIfNeeded: address.bits).bigEndian
    datum.count = 16
    return datum
  }

  public static func address(_ address: IPAddress) -> Datum {
    switch address {
    case .v4(let four): ipv4(four)
    case .v6(let six): ipv6(six)
    }
  }

  public static func port(_ port: UInt16) -> Datum {
    var datum = Datum()
    datum.w0 = UInt64(port.bigEndian)
    datum.count = 2
    return datum
  }

  public static func transport(_ transport: TransportProtocol) -> Datum { byte(transport.number) }

  public static func byte(_ byte: UInt8) -> Datum {
    var datum = Datum()
    datum.w0 = UInt64(byte)
    datum.count = 1
    return datum
  }

  /// A mark, a mask, a slot: 32 bits in host order.
  public static func number(_ number: UInt32) -> Datum {
    var datum = Datum()
    datum.w0 = UInt64(number)
    datum.count = 4
    return datum
  }

  /// A mark in network order, for interval sets.
  public static func networkNumber(_ number: UInt32) -> Datum { self.number(number.byteSwapped) }

  public static func mac(_ address: MACAddress) -> Datum { Datum(bytes: address.array) ?? Datum() }

  /// An interface name of at most 15 bytes, padded to the kernel's 16. Nil when it is longer.
  public static func interface(_ name: String) -> Datum? {
    guard name.utf8.count < 16 else { return nil }
    var datum = Datum(bytes: Array(name.utf8))
    while let count = datum?.count, count < 16 { datum?.append(0) }
    return datum
  }

  /// The beginning of an interface name: compared with as many bytes as it has (`iifname "vp*"`). Nil past 15
  /// bytes.
  public static func interfacePrefix(_ prefix: String) -> Datum? {
    prefix.utf8.count < 16 ? Datum(bytes: Array(prefix.utf8)) : nil
  }

  public mutating func append(_ byte: UInt8) {
    precondition(count < Self.countMax, "a register value has at most 40 bytes")
    let index = Int(count)
    withUnsafeMutableBytes(of: &self) { $0[index] = byte }
    count += 1
  }

  /// The bytes in use. Costs nothing.
  @inline(__always)
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    withUnsafeBytes(of: self) { body(UnsafeRawBufferPointer(rebasing: $0[..<Int(count)])) }
  }

  public var bytes: [UInt8] { withBytes { Array($0) } }

  /// The first four bytes as a number in host order.
  public var asNumber: UInt32 { UInt32(truncatingIfNeeded: w0) }

  /// The four bytes after those.
  public var secondNumber: UInt32 { UInt32(truncatingIfNeeded: w0 >> 32) }

  /// The address that it begins with; nil when there are too few bytes.
  public func asAddress(_ family: IPFamily) -> IPAddress? {
    guard Int(count) >= family.width / 8 else { return nil }
    return switch family {
    case .v4: .v4(IPv4Address(bits: UInt32(bigEndian: asNumber)))
    case .v6: .v6(IPv6Address(bits: UInt128(w0.bigEndian) << 64 | UInt128(w1.bigEndian)))
    }
  }

  /// Writes the bytes in use and zeros up to a multiple of four behind them; there must be room for 40. Returns how many bytes
  /// are in use.
  @inline(__always)
  public func write(padded target: UnsafeMutableRawPointer) -> Int {
    target.storeBytes(of: w0, as: UInt64.self)
    if count > 8 { target.storeBytes(of: w1, toByteOffset: 8, as: UInt64.self) }
    if count > 16 { target.storeBytes(of: w2, toByteOffset: 16, as: UInt64.self) }
    if count > 24 { target.storeBytes(of: w3, toByteOffset: 24, as: UInt64.self) }
    if count > 32 { target.storeBytes(of: w4, toByteOffset: 32, as: UInt64.self) }
    return Int(count)
  }

  public subscript(_ index: Int) -> UInt8 { withBytes { $0[index] } }

  /// A part, for example one member of a concatenation. `range` must lie within `count`.
  public func slice(_ range: Range<Int>) -> Datum {
    withBytes { Datum(bytes: UnsafeRawBufferPointer(rebasing: $0[range])) ?? Datum() }
  }

  func combined(with other: Datum, _ operation: (UInt64, UInt64) -> UInt64) -> Datum {
    var out = self
    out.w0 = operation(w0, other.w0)
    out.w1 = operation(w1, other.w1)
    out.w2 = operation(w2, other.w2)
    out.w3 = operation(w3, other.w3)
    out.w4 = operation(w4, other.w4)
    return out
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(w0)
    if count > 8 { hasher.combine(w1) }
    if count > 16 { hasher.combine(w2) }
    if count > 24 { hasher.combine(w3) }
    if count > 32 { hasher.combine(w4) }
  }

  /// As a key of its own it is hashed hundreds of thousands of times: by one wide multiplication for eight bytes, with numbers that are
  /// drawn anew in each process, so that nobody outside can choose keys that meet.
  public func _rawHashValue(seed: Int) -> Int {
    let (first, second) = Self.hashKeys
    var hash = Self.mixed(w0 ^ first, UInt64(bitPattern: Int64(seed)) ^ second)
    if count > 8 {
      hash = Self.mixed(w1 ^ hash, second)
      if count > 16 { hash = Self.mixed(w3 ^ second, Self.mixed(w2 ^ hash, first)) }
      if count > 32 { hash = Self.mixed(w4 ^ hash, second) }
    }
    return Int(truncatingIfNeeded: hash)
  }

  private static let hashKeys = (UInt64.random(in: 1...(.max)), UInt64.random(in: 1...(.max)) | 1)

  @inline(__always)
  private static func mixed(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let product = a.multipliedFullWidth(by: b)
    return product.high ^ product.low
  }
}

extension Datum: Comparable {
  /// Order of bytes, shorter first.
  public static func < (a: Datum, b: Datum) -> Bool {
    if a.w0 != b.w0 { return a.w0.bigEndian < b.w0.bigEndian }
    if a.w1 != b.w1 { return a.w1.bigEndian < b.w1.bigEndian }
    if a.w2 != b.w2 { return a.w2.bigEndian < b.w2.bigEndian }
    if a.w3 != b.w3 { return a.w3.bigEndian < b.w3.bigEndian }
    if a.w4 != b.w4 { return a.w4.bigEndian < b.w4.bigEndian }
    return a.count < b.count
  }
}

/// What a member of a set's key or data, or a side of a comparison, means: how it prints and how long it is.
public enum DataType: Hashable, Sendable {
  case ipv4Address
  case ipv6Address
  case transport
  case port
  case mark
  /// A mark as a member of an interval set: ranges compare in network order, so the rule swaps it
  /// (`networkOrder`).
  case networkMark
  case interfaceName
  case etherAddress
  case etherType
  case tcpFlags
  case direction
  case addressKind
  case familyNumber
  /// A slot drawn by `numgen`. A set with such a member is declared by `typeof`, the only text that nft 1.0.6
  /// reads back.
  case slot

  /// Bytes of the value when it stands alone.
  public var length: Int {
    switch self {
    case .ipv4Address, .mark, .networkMark, .slot, .addressKind: 4
    case .ipv6Address, .interfaceName: 16
    case .transport, .tcpFlags, .direction, .familyNumber: 1
    case .port, .etherType: 2
    case .etherAddress: 6
    }
  }

  public static func address(_ family: IPFamily) -> DataType { family == .v4 ? .ipv4Address : .ipv6Address }

  /// The length of members side by side.
  public static func length(of members: [DataType]) -> Int {
    members.count == 1 ? members[0].length : members.reduce(0) { $0 + ($1.length + 3) / 4 * 4 }
  }

  /// Where each member lies in the concatenation.
  public static func ranges(of members: [DataType]) -> [Range<Int>] {
    var at = 0
    return members.map { member in
      defer { at += (member.length + 3) / 4 * 4 }
      return at..<at + member.length
    }
  }
}
