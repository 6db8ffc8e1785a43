// The neighbour table: which hardware address an IP address was last seen at.
import Addresses
import Glibc

/// One row of `ip neigh show`.
public struct Neighbour: Sendable, Hashable {
  public var interface: Int32
  public var address: IPAddress
  public var mac: MACAddress?
  /// `NUD_…` of linux/neighbour.h: 0x02 reachable, 0x04 stale, 0x80 permanent.
  public var state: UInt16

  public init(interface: Int32, address: IPAddress, mac: MACAddress?, state: UInt16 = 0x80) {
    self.interface = interface
    self.address = address
    self.mac = mac
    self.state = state
  }

  init?(_ answer: NetlinkAnswer) {
    guard answer.type == Wire.newNeighbour, let interface = answer.body.integer(at: 4, as: Int32.self),
      let state = answer.body.integer(at: 8, as: UInt16.self)
    else { return nil }
    let attributes = answer.body.dropping(12).attributes()
    guard let bytes = attributes[Wire.Neighbour.destination], let address = IPAddress(bytes: bytes.payload)
    else {
      return nil
    }
    self.init(
      interface: interface, address: address,
      mac: attributes[Wire.Neighbour.linkLayerAddress].flatMap { MACAddress($0.payload) }, state: state)
  }
}

extension RouteSession {
  /// `ip neigh replace ADDRESS lladdr MAC dev INDEX nud …`
  public mutating func setNeighbour(_ neighbour: Neighbour) throws(NetlinkError) {
    let message = Self.message(Wire.newNeighbour, flags: Wire.create | Wire.replace, neighbour)
    try perform(message, command: "ip neigh replace \(neighbour.address) dev if\(neighbour.interface)")
  }

  /// `ip neigh del ADDRESS dev INDEX`: the next packet asks again who has it.
  /// - Returns: false when there was none.
  @discardableResult
  public mutating func deleteNeighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Bool
  {
    let row = Neighbour(interface: interface, address: address, mac: nil, state: 0)
    return try perform(
      Self.message(Wire.deleteNeighbour, flags: 0, row), unless: NetlinkError.missing,
      command: "ip neigh del \(address) dev if\(interface)")
  }

  /// Deletes all of these; those that are gone are passed over.
  public mutating func deleteNeighbours(_ rows: [Neighbour]) throws(NetlinkError) {
    try together { session throws(NetlinkError) in
      for row in rows { try session.deleteNeighbour(row.address, on: row.interface) }
    }
  }

  /// `ip neigh show [dev INDEX]`
  public mutating func neighbours(on interface: Int32? = nil, family: IPFamily? = nil) throws(NetlinkError)
    -> [Neighbour]
  {
    var message = NetlinkMessage(type: Wire.getNeighbour, flags: 0)
    message.append(family?.wire ?? Wire.familyUnspecified)
    message.append(bytes: [UInt8](repeating: 0, count: 11))
    return try dump(message, command: "ip neigh show").compactMap { Neighbour($0) }.filter {
      interface == nil || $0.interface == interface
    }
  }

  static func message(_ type: UInt16, flags: UInt16, _ neighbour: Neighbour) -> NetlinkMessage {
    var message = NetlinkMessage(type: type, flags: flags)
    message.append(neighbour.address.family.wire)
    message.append(bytes: [0, 0, 0])
    message.append(neighbour.interface)
    message.append(neighbour.state)
    message.append(UInt16(0))
    message.attribute(Wire.Neighbour.destination, bytes: neighbour.address.bytes)
    if let mac = neighbour.mac { message.attribute(Wire.Neighbour.linkLayerAddress, bytes: mac.array) }
    return message
  }
}
