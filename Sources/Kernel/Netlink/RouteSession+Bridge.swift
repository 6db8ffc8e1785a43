// Properties of links beyond the common ones: promiscuous mode, queue length, VLANs of bridges.
import Glibc

extension RouteSession {
  /// `ip link set dev INDEX promisc on|off allmulticast on|off txqueuelen N`. What is nil stays.
  public mutating func setLinkFlags(
    _ index: Int32, isPromiscuous: Bool? = nil, receivesAllMulticast: Bool? = nil,
    transmitQueueLength: UInt32? = nil
  ) throws(NetlinkError) {
    guard isPromiscuous != nil || receivesAllMulticast != nil || transmitQueueLength != nil else { return }
    var (flags, change): (UInt32, UInt32) = (0, 0)
    for (value, bit) in [
      (isPromiscuous, Wire.interfacePromiscuous), (receivesAllMulticast, Wire.interfaceAllMulticast),
    ] {
      guard let value else { continue }
      change |= bit
      if value { flags |= bit }
    }
    var message = NetlinkMessage(type: Wire.newLink, flags: 0)
    message.appendLinkHeader(index: index, flags: flags, change: change)
    if let transmitQueueLength { message.attribute(Wire.Link.transmitQueueLength, transmitQueueLength) }
    try perform(message, command: "ip link set dev if\(index) promisc … allmulticast … txqueuelen …")
  }

  /// The length of a link's transmit queue, in packets.
  public mutating func transmitQueueLength(of index: Int32) throws(NetlinkError) -> UInt32 {
    var message = NetlinkMessage(type: Wire.getLink, flags: 0)
    message.appendLinkHeader(index: index)
    return try ask(message, command: "ip link show dev if\(index)").lazy.compactMap {
      $0.body.dropping(16).attributes()[Wire.Link.transmitQueueLength]?.integer(as: UInt32.self)
    }.first ?? 0
  }

  /// `ip link add link INDEX name NAME up type vlan id ID`
  public mutating func createVLAN(_ name: String, on index: Int32, id: UInt16) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newLink, flags: Wire.create | Wire.exclusive)
    message.appendLinkHeader(flags: Wire.interfaceUp, change: Wire.interfaceUp)
    message.attribute(Wire.Link.name, text: name)
    message.attribute(Wire.Link.link, index)
    message.nest(Wire.Link.info) {
      $0.attribute(Wire.Link.infoKind, text: "vlan")
      $0.nest(Wire.Link.infoData) { $0.attribute(Wire.Link.vlanID, id) }
    }
    try perform(message, command: "ip link add link if\(index) name \(name) type vlan id \(id)")
  }

  /// `bridge vlan add dev INDEX vid ID [pvid untagged] [self]`
  public mutating func addBridgeVLAN(
    _ id: UInt16, to index: Int32, isUntagged: Bool = false, isBridgeItself: Bool = false
  ) throws(NetlinkError) {
    try perform(
      Self.bridgeVLAN(
        Wire.setLink, id, index, flags: isUntagged ? 0x6 : 0, isBridgeItself: isBridgeItself),
      command: "bridge vlan add dev if\(index) vid \(id)")
  }

  /// `bridge vlan del dev INDEX vid ID`
  public mutating func deleteBridgeVLAN(_ id: UInt16, from index: Int32) throws(NetlinkError) {
    try perform(
      Self.bridgeVLAN(Wire.deleteLink, id, index, flags: 0, isBridgeItself: false),
      command: "bridge vlan del dev if\(index) vid \(id)")
  }

  /// `bridge_vlan_info`: flags (2 is PVID, 4 untagged), then the ID.
  static func bridgeVLAN(_ type: UInt16, _ id: UInt16, _ index: Int32, flags: UInt16, isBridgeItself: Bool)
    -> NetlinkMessage
  {
    var message = NetlinkMessage(type: type, flags: 0)
    message.appendLinkHeader(family: Wire.familyBridge, index: index)
    message.nest(Wire.Link.familySpecific) { settings in
      if isBridgeItself { settings.attribute(Wire.Link.bridgeFlags, UInt16(2)) }
      let info = withUnsafeBytes(of: flags) { [UInt8]($0) } + withUnsafeBytes(of: id) { [UInt8]($0) }
      settings.attribute(Wire.Link.bridgeVLANInfo, bytes: info)
    }
    return message
  }
}
