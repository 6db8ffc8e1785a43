// Addresses of links.
import Addresses
import Glibc

/// An address as a link carries it: 10.42.0.7/24, host bits kept.
public struct InterfaceAddress: Sendable, Hashable, CustomStringConvertible {
  public var address: IPAddress
  public var prefixLength: Int

  /// Nil when the length is out of range for the family.
  public init?(_ address: IPAddress, prefixLength: Int) {
    guard (0...address.family.width).contains(prefixLength) else { return nil }
    self.address = address
    self.prefixLength = prefixLength
  }

  /// Reads `ADDRESS/LENGTH`.
  public init?(_ text: some StringProtocol) {
    guard let slash = text.lastIndex(of: "/"), let address = IPAddress(text[..<slash]),
      let prefix = IPPrefix(text)
    else { return nil }
    self.init(address, prefixLength: prefix.length)
  }

  public var prefix: IPPrefix? { IPPrefix(address, length: prefixLength) }
  public var description: String { "\(address)/\(prefixLength)" }
}

/// One row of `ip addr show`.
public struct LinkAddress: Sendable, Hashable {
  public var index: Int32
  public var value: InterfaceAddress
  public var flags: UInt32
  public var scope: UInt8

  init?(_ answer: NetlinkAnswer) {
    guard answer.type == Wire.newAddress, let length = answer.body.integer(at: 1, as: UInt8.self),
      let shortFlags = answer.body.integer(at: 2, as: UInt8.self),
      let scope = answer.body.integer(at: 3, as: UInt8.self),
      let index = answer.body.integer(at: 4, as: Int32.self)
    else { return nil }
    let attributes = answer.body.dropping(8).attributes()
    guard let bytes = attributes[Wire.Address.local] ?? attributes[Wire.Address.address],
      let address = IPAddress(bytes: bytes.payload),
      let value = InterfaceAddress(address, prefixLength: Int(length))
    else { return nil }
    self.index = index
    self.value = value
    self.scope = scope
    flags = attributes[Wire.Address.flags]?.integer() ?? UInt32(shortFlags)
  }
}

extension IPFamily {
  var wire: UInt8 { self == .v4 ? Wire.familyInet : Wire.familyInet6 }
}

extension RouteSession {
  /// `ip addr add ADDRESS/LENGTH dev INDEX nodad`
  ///
  /// Duplicate address detection is off by default: it would hold an IPv6 address back for one to three
  /// seconds, and our IPAM already knows that nobody else has it.
  public mutating func addAddress(
    _ value: InterfaceAddress, to index: Int32, duplicateDetection: Bool = false, replace: Bool = false
  ) throws(NetlinkError) {
    var message = NetlinkMessage(
      type: Wire.newAddress, flags: Wire.create | (replace ? Wire.replace : Wire.exclusive))
    message.appendAddress(value, index: index, flags: duplicateDetection ? 0 : Wire.Address.flagNoDAD)
    try perform(message, command: "ip addr add \(value) dev if\(index)")
  }

  /// `ip addr del ADDRESS/LENGTH dev INDEX`
  /// - Returns: false when the link did not have it.
  @discardableResult
  public mutating func deleteAddress(_ value: InterfaceAddress, from index: Int32) throws(NetlinkError)
    -> Bool
  {
    var message = NetlinkMessage(type: Wire.deleteAddress, flags: 0)
    message.appendAddress(value, index: index, flags: 0)
    do throws(NetlinkError) {
      try perform(message, command: "ip addr del \(value) dev if\(index)")
      return true
    } catch  where error.errno == EADDRNOTAVAIL || error.errno == ENODEV {
      return false
    }
  }

  /// The IPv6 groups that a link listens to: `ip -6 maddr show dev INDEX`
  public mutating func groups(of index: Int32) throws(NetlinkError) -> [IPAddress] {
    var message = NetlinkMessage(type: Wire.getMulticast, flags: 0)
    message.append(Wire.familyInet6)
    message.append(bytes: [0, 0, 0])
    message.append(index)
    return try dump(message, command: "ip -6 maddr show").compactMap { answer in
      guard answer.body.integer(at: 4, as: Int32.self) == index else { return nil }
      return answer.body.dropping(8).attributes()[Wire.Address.multicast].flatMap {
        IPAddress(bytes: $0.payload)
      }
    }
  }

  /// `ip addr show [dev INDEX]`
  public mutating func addresses(of index: Int32? = nil, family: IPFamily? = nil) throws(NetlinkError)
    -> [LinkAddress]
  {
    var message = NetlinkMessage(type: Wire.getAddress, flags: 0)
    message.append(family?.wire ?? Wire.familyUnspecified)
    message.append(bytes: [0, 0, 0])
    // Kernels with strict checking (4.20) filter by themselves.
    message.append(index ?? 0)
    return try dump(message, command: "ip addr show").compactMap { LinkAddress($0) }.filter {
      index == nil || $0.index == index
    }
  }
}

extension NetlinkMessage {
  /// Appends `ifaddrmsg` and the address twice: `IFA_LOCAL` is ours, `IFA_ADDRESS` the far end's, the same
  /// on a LAN.
  mutating func appendAddress(_ value: InterfaceAddress, index: Int32, flags: UInt32) {
    append(value.address.family.wire)
    append(UInt8(value.prefixLength))
    append(UInt8(truncatingIfNeeded: flags))
    append(UInt8(0))
    append(index)
    attribute(Wire.Address.local, bytes: value.address.bytes)
    attribute(Wire.Address.address, bytes: value.address.bytes)
    if case .v4 = value.address, value.prefixLength < 31, let last = value.prefix?.last {
      attribute(Wire.Address.broadcast, bytes: last.bytes)
    }
    if flags != 0 { attribute(Wire.Address.flags, flags) }
  }
}
