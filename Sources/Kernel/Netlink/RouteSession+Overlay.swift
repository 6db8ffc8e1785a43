// VXLAN links and what they know of other machines: which hardware address lies behind which of them.
import Addresses
import Glibc

extension RouteSession {
  /// `ip link add NAME address MAC mtu MTU type vxlan id ID dev LINK local ADDRESS dstport PORT nolearning df set`
  ///
  /// Nothing is learned and nothing is flooded: frames go where `setForwarding` says. What would not fit the
  /// uplink is refused (`df set`) instead of being cut in pieces behind the sender's back.
  public mutating func createVXLAN(
    _ name: String, id: UInt32, mac: MACAddress, mtu: UInt32, on link: Int32, local: IPAddress, port: UInt16
  ) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newLink, flags: Wire.create | Wire.exclusive)
    message.appendLinkHeader()
    message.attribute(Wire.Link.name, text: name)
    message.attribute(Wire.Link.address, bytes: mac.array)
    message.attribute(Wire.Link.mtu, mtu)
    message.nest(Wire.Link.info) {
      $0.attribute(Wire.Link.infoKind, text: "vxlan")
      $0.nest(Wire.Link.infoData) {
        $0.attribute(Wire.Link.vxlanID, id)
        $0.attribute(Wire.Link.vxlanLink, link)
        $0.attribute(
          local.family == .v4 ? Wire.Link.vxlanLocal : Wire.Link.vxlanLocal6, bytes: local.bytes)
        $0.attribute(Wire.Link.vxlanLearning, UInt8(0))
        $0.attribute(Wire.Link.vxlanPort, port.bigEndian)
        // The kernel knows `df` on links over IPv4; over IPv6 nothing is ever cut on the way.
        if local.family == .v4 { $0.attribute(Wire.Link.vxlanDontFragment, UInt8(1)) }
      }
    }
    try perform(message, command: "ip link add \(name) type vxlan id \(id) local \(local) dstport \(port)")
  }

  // A row of `bridge fdb show` is a `Neighbour` too: frames for `mac` go to the machine at `address`.

  /// `bridge fdb replace MAC dev INDEX dst MACHINE self permanent`
  public mutating func setForwarding(_ row: Neighbour) throws(NetlinkError) {
    try perform(
      Self.forwarding(Wire.newNeighbour, flags: Wire.create | Wire.replace, row),
      command: "bridge fdb replace dev if\(row.interface) dst \(row.address)")
  }

  /// `bridge fdb del MAC dev INDEX dst MACHINE self`
  /// - Returns: false when there was none.
  @discardableResult
  public mutating func deleteForwarding(_ row: Neighbour) throws(NetlinkError) -> Bool {
    do throws(NetlinkError) {
      try perform(
        Self.forwarding(Wire.deleteNeighbour, flags: 0, row),
        command: "bridge fdb del dev if\(row.interface) dst \(row.address)")
      return true
    } catch  where error.isMissing {
      return false
    }
  }

  /// `bridge fdb show dev INDEX`, the rows that name a machine.
  public mutating func forwarding(on interface: Int32) throws(NetlinkError) -> [Neighbour] {
    var message = NetlinkMessage(type: Wire.getNeighbour, flags: 0)
    message.append(Wire.familyBridge)
    message.append(bytes: [UInt8](repeating: 0, count: 11))
    return try dump(message, command: "bridge fdb show").compactMap { Neighbour($0) }.filter {
      $0.interface == interface && $0.mac != nil
    }
  }

  private static func forwarding(_ type: UInt16, flags: UInt16, _ row: Neighbour) -> NetlinkMessage {
    var message = NetlinkMessage(type: type, flags: flags)
    message.append(Wire.familyBridge)
    message.append(bytes: [0, 0, 0])
    message.append(row.interface)
    message.append(Wire.Neighbour.permanent)
    message.append(Wire.Neighbour.flagSelf)
    message.append(UInt8(0))
    if let mac = row.mac { message.attribute(Wire.Neighbour.linkLayerAddress, bytes: mac.array) }
    message.attribute(Wire.Neighbour.destination, bytes: row.address.bytes)
    return message
  }
}
