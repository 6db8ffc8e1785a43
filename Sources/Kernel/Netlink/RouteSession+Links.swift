// Links: veth pairs, bridges, dummies; up, down, rename, MTU, hardware address, master, alias, bridge port
// settings.
import Addresses
import Glibc

/// A link as the kernel shows it.
public struct Link: Sendable, Hashable {
  public var index: Int32
  public var name: String
  public var flags: UInt32
  public var mac: MACAddress?
  public var mtu: UInt32
  /// Index of the bridge it is a port of; 0 for none.
  public var master: Int32
  /// Index of the other end (veth) or the link underneath; it may count in another namespace. 0 for none.
  public var peer: Int32
  /// The number of the namespace in which that other end is (`RouteSession.namespaceID`); nil when it is in this one.
  public var peerNamespace: Int32?
  public var alias: String
  /// `bridge`, `veth`, `dummy`; empty for hardware and loopback.
  public var kind: String

  /// RFC 2863 `up`: whatever it is a port of has been told that it has a carrier, so frames pass.
  public var isOperational: Bool
  /// Whether its bridge sends a frame back out of the port it came in by; nil when it is no port of a bridge.
  public var isHairpin: Bool?

  public var isUp: Bool { flags & Wire.interfaceUp != 0 }
  public var hasCarrier: Bool { flags & Wire.interfaceLowerUp != 0 }
  public var isLoopback: Bool { flags & Wire.interfaceLoopback != 0 }
  public var isPromiscuous: Bool { flags & Wire.interfacePromiscuous != 0 }
  public var receivesAllMulticast: Bool { flags & Wire.interfaceAllMulticast != 0 }

  init?(_ answer: NetlinkAnswer) {
    guard answer.type == Wire.newLink, let index = answer.body.integer(at: 4, as: Int32.self),
      let flags = answer.body.integer(at: 8, as: UInt32.self)
    else { return nil }
    let attributes = answer.body.dropping(16).attributes()
    self.index = index
    self.flags = flags
    name = attributes[Wire.Link.name]?.text ?? ""
    mac = attributes[Wire.Link.address].flatMap { MACAddress($0.payload) }
    mtu = attributes[Wire.Link.mtu]?.integer() ?? 0
    master = attributes[Wire.Link.master]?.integer() ?? 0
    peer = attributes[Wire.Link.link]?.integer() ?? 0
    peerNamespace = attributes[Wire.Link.peerNamespaceID]?.integer()
    alias = attributes[Wire.Link.alias]?.text ?? ""
    isOperational = attributes[Wire.Link.operationalState]?.integer() == Wire.Link.operationalUp
    let info = attributes[Wire.Link.info]?.attributes()
    kind = info?[Wire.Link.infoKind]?.text ?? ""
    guard info?[Wire.Link.infoSlaveKind]?.text == "bridge" else { return }
    let port = info?[Wire.Link.infoSlaveData]?.attributes()
    isHairpin = port?[Wire.Link.portHairpin]?.integer(as: UInt8.self).map { $0 != 0 }
  }
}

/// The little of a link that can be asked without a netlink answer of 1,500 bytes, which costs 50 µs.
public struct LinkSummary: Sendable, Hashable {
  public var name: String
  public var index: Int32
  public var flags: UInt32
  public var mtu: UInt32
  public var mac: MACAddress?
  /// False also when nobody asked.
  public var isBridge: Bool

  public var isUp: Bool { flags & Wire.interfaceUp != 0 }
  /// RFC 2863 `up`, as `Link.isOperational`.
  public var isOperational: Bool { flags & Wire.interfaceRunning != 0 }
  public var isPromiscuous: Bool { flags & Wire.interfacePromiscuous != 0 }
}

/// One end of a veth pair to create.
public struct VethEnd: Sendable {
  public var name: String
  public var mac: MACAddress?
  public var mtu: UInt32?
  /// Index of the bridge it joins.
  public var master: Int32?
  public var isUp: Bool
  /// Open descriptor of the network namespace it is born in; nil for the session's own.
  public var namespace: Int32?

  public init(
    name: String, mac: MACAddress? = nil, mtu: UInt32? = nil, master: Int32? = nil, isUp: Bool = true,
    namespace: Int32? = nil
  ) {
    self.name = name
    self.mac = mac
    self.mtu = mtu
    self.master = master
    self.isUp = isUp
    self.namespace = namespace
  }
}

extension NetlinkMessage {
  /// Appends `ifinfomsg`: family, type, index, flags and the mask of flags to change.
  mutating func appendLinkHeader(family: UInt8 = 0, index: Int32 = 0, flags: UInt32 = 0, change: UInt32 = 0) {
    append(family)
    append(UInt8(0))
    append(UInt16(0))
    append(index)
    append(flags)
    append(change)
  }

  mutating func appendEnd(_ end: VethEnd) {
    attribute(Wire.Link.name, text: end.name)
    if let mac = end.mac { attribute(Wire.Link.address, bytes: mac.array) }
    if let mtu = end.mtu { attribute(Wire.Link.mtu, mtu) }
    if let master = end.master { attribute(Wire.Link.master, master) }
    if let namespace = end.namespace { attribute(Wire.Link.namespaceDescriptor, namespace) }
  }

  /// The kernel would make a queue for each processor, use one, and wait for the others to be taken down again.
  mutating func appendSingleQueue() {
    attribute(Wire.Link.transmitQueues, UInt32(1))
    attribute(Wire.Link.receiveQueues, UInt32(1))
  }
}

extension RouteSession {
  /// Creates both ends of a veth pair in one request, each already named, with its hardware address, in its
  /// namespace and in its bridge; this end may be up. The peer is born down whatever it says: the kernel
  /// refuses (`ENOTCONN`) to raise an end that has no other end yet, so raise it with `setLink` from a
  /// session in its namespace.
  /// `ip link add NAME up master BRIDGE type veth peer name PEER netns NS`
  public mutating func createVeth(_ end: VethEnd, peer: VethEnd) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newLink, flags: Wire.create | Wire.exclusive)
    let up = Wire.interfaceUp
    message.appendLinkHeader(flags: end.isUp ? up : 0, change: end.isUp ? up : 0)
    message.appendEnd(end)
    message.appendSingleQueue()
    message.nest(Wire.Link.info) {
      $0.attribute(Wire.Link.infoKind, text: "veth")
      $0.nest(Wire.Link.infoData) {
        $0.nest(Wire.Link.vethPeer) {
          $0.appendLinkHeader()
          $0.appendEnd(peer)
          $0.appendSingleQueue()
        }
      }
    }
    try perform(message, command: "ip link add \(end.name) type veth peer name \(peer.name)")
  }

  /// `ip link add NAME address MAC mtu MTU up type bridge mcast_snooping 0|1`
  ///
  /// Give a `mac`: without one a bridge takes the lowest of its ports' and so changes it when pods come and
  /// go.
  public mutating func createBridge(
    _ name: String, mac: MACAddress? = nil, mtu: UInt32? = nil, multicastSnooping: Bool = true,
    filtersVLANs: Bool = false, isUp: Bool = true
  ) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newLink, flags: Wire.create | Wire.exclusive)
    let up = isUp ? Wire.interfaceUp : 0
    message.appendLinkHeader(flags: up, change: up)
    message.appendEnd(VethEnd(name: name, mac: mac, mtu: mtu))
    message.nest(Wire.Link.info) {
      $0.attribute(Wire.Link.infoKind, text: "bridge")
      $0.nest(Wire.Link.infoData) {
        $0.attribute(Wire.Link.bridgeMulticastSnooping, UInt8(multicastSnooping ? 1 : 0))
        if filtersVLANs { $0.attribute(Wire.Link.bridgeVLANFiltering, UInt8(1)) }
      }
    }
    try perform(message, command: "ip link add \(name) type bridge")
  }

  /// `ip link add NAME type dummy`: a link that holds addresses and drops what it is given.
  public mutating func createDummy(_ name: String, isUp: Bool = true) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newLink, flags: Wire.create | Wire.exclusive)
    let up = isUp ? Wire.interfaceUp : 0
    message.appendLinkHeader(flags: up, change: up)
    message.attribute(Wire.Link.name, text: name)
    message.nest(Wire.Link.info) { $0.attribute(Wire.Link.infoKind, text: "dummy") }
    try perform(message, command: "ip link add \(name) type dummy")
  }

  /// `ip link del NAME`. Deleting one end of a veth pair deletes the other; the kernel takes about 16 ms.
  /// - Returns: false when there was none.
  @discardableResult
  public mutating func deleteLink(named name: String) throws(NetlinkError) -> Bool {
    try perform(Self.deletion(name), unless: [ENODEV], command: "ip link del \(name)")
  }

  private static func deletion(_ name: String) -> NetlinkMessage {
    var message = NetlinkMessage(type: Wire.deleteLink, flags: 0)
    message.appendLinkHeader()
    message.attribute(Wire.Link.name, text: name)
    return message
  }

  /// Goes before `deleteLink` of the same link, and makes it short where `LateClosing.isWanted`: another process deletes the link,
  /// and is the one that waits (12 to 24 ms) until the kernel has freed its memory. This one goes on when the link is gone, which
  /// takes 0.3 ms. `deleteLink` then waits until the kernel has done all else that belongs to it, and deletes what is still there:
  /// what is refused here is said there. Does nothing elsewhere.
  public mutating func startDeletingLink(named name: String) {
    // A number that no answer is waited for by.
    transport.deleteEarly(name, request: Self.deletion(name).finished(sequence: 0))
  }

  /// Deletes all of these; those that are gone are passed over. One wait of 16 ms for each `deletedTogetherMax` instead of one
  /// for each: they are put into a group of their own, and the group is deleted.
  /// `ip link set dev INDEX group GROUP`, …, `ip link del group GROUP`
  public mutating func deleteLinks(_ indices: [Int32]) throws(NetlinkError) {
    for start in stride(from: 0, to: indices.count, by: Self.deletedTogetherMax) {
      let part = indices[start..<min(start + Self.deletedTogetherMax, indices.count)]
      try together { session throws(NetlinkError) in
        for index in part {
          var message = NetlinkMessage(type: Wire.newLink, flags: 0)
          message.appendLinkHeader(index: index)
          message.attribute(Wire.Link.group, Self.deletionGroup)
          try session.perform(
            message, unless: [ENODEV], command: "ip link set dev if\(index) group \(Self.deletionGroup)")
        }
        var message = NetlinkMessage(type: Wire.deleteLink, flags: 0)
        message.appendLinkHeader()
        message.attribute(Wire.Link.group, Self.deletionGroup)
        // All of them gone already: nobody is in the group.
        try session.perform(message, unless: [ENODEV], command: "ip link del group \(Self.deletionGroup)")
      }
    }
  }

  /// While the kernel deletes, nothing else of the network is changed, a pod's ADD neither.
  static var deletedTogetherMax: Int { 256 }

  /// A group that nobody else has: "weft" in ASCII.
  private static var deletionGroup: UInt32 { 0x7765_6674 }

  /// `ip link set dev INDEX up|down name … mtu … address … master … alias …`, in one request. What is nil
  /// stays.
  ///
  /// With `arpNotify` on (sysctl arp_notify) the kernel announces the link's IPv4 addresses whenever it goes
  /// up and whenever `mac` is set, the same one included. `acceptRedirects` is the sysctl accept_redirects of the link.
  public mutating func setLink(
    _ index: Int32, isUp: Bool? = nil, name: String? = nil, mtu: UInt32? = nil, mac: MACAddress? = nil,
    master: Int32? = nil, alias: String? = nil, namespace: Int32? = nil, arpNotify: Bool? = nil,
    acceptRedirects: Bool? = nil
  ) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newLink, flags: 0)
    message.appendLinkHeader(
      index: index, flags: isUp == true ? Wire.interfaceUp : 0, change: isUp == nil ? 0 : Wire.interfaceUp)
    if let name { message.attribute(Wire.Link.name, text: name) }
    if let mac { message.attribute(Wire.Link.address, bytes: mac.array) }
    if let mtu { message.attribute(Wire.Link.mtu, mtu) }
    if let master { message.attribute(Wire.Link.master, master) }
    if let alias { message.attribute(Wire.Link.alias, bytes: alias.utf8.prefix(255)) }
    if let namespace { message.attribute(Wire.Link.namespaceDescriptor, namespace) }
    if arpNotify != nil || acceptRedirects != nil {
      message.nest(Wire.Link.familySpecific) {
        $0.nest(UInt16(Wire.familyInet)) {
          $0.nest(Wire.Link.inetSettings) {
            if let acceptRedirects {
              $0.attribute(Wire.Link.inetAcceptRedirects, UInt32(acceptRedirects ? 1 : 0))
            }
            if let arpNotify { $0.attribute(Wire.Link.inetARPNotify, UInt32(arpNotify ? 1 : 0)) }
          }
        }
      }
    }
    try perform(message, command: "ip link set dev \(name ?? "if\(index)") (index \(index))")
  }

  /// `ip link set dev NAME alias … type bridge_slave hairpin on|off isolated on|off`
  ///
  /// Hairpin lets a pod reach itself through its own Service: the bridge sends a frame back out of the port
  /// it came in by.
  public mutating func setBridgePort(
    named name: String, hairpin: Bool? = nil, isIsolated: Bool? = nil, alias: String? = nil
  ) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newLink, flags: 0)
    message.appendLinkHeader()
    message.attribute(Wire.Link.name, text: name)
    if let alias { message.attribute(Wire.Link.alias, bytes: alias.utf8.prefix(255)) }
    message.nest(Wire.Link.info) {
      $0.attribute(Wire.Link.infoSlaveKind, text: "bridge")
      $0.nest(Wire.Link.infoSlaveData) {
        if let hairpin { $0.attribute(Wire.Link.portHairpin, UInt8(hairpin ? 1 : 0)) }
        if let isIsolated { $0.attribute(Wire.Link.portIsolated, UInt8(isIsolated ? 1 : 0)) }
      }
    }
    try perform(message, command: "ip link set dev \(name) type bridge_slave")
  }

  /// `ip link show dev NAME`; nil when there is none.
  public mutating func link(named name: String) throws(NetlinkError) -> Link? {
    var message = NetlinkMessage(type: Wire.getLink, flags: 0)
    message.appendLinkHeader()
    message.attribute(Wire.Link.name, text: name)
    // Counters are not wanted; those of IPv6 are summed up over all processors.
    message.attribute(Wire.Link.extensionMask, Wire.Link.skipsStatistics)
    do throws(NetlinkError) {
      return try ask(message, command: "ip link show dev \(name)").lazy.compactMap { Link($0) }.first
    } catch  where error.errno == ENODEV {
      return nil
    }
  }

  /// The index of the link of that name; nil when there is none. Asks for nothing else, and waits for no lock of the kernel.
  public mutating func index(named name: String) throws(NetlinkError) -> Int32? {
    let index = try transport.index(named: name)
    return index > 0 ? index : nil
  }

  /// Index, flags, MTU and hardware address of the link of that name; nil when there is none.
  /// - Parameters:
  ///   - wantsKind: whether it is asked for being a bridge, too.
  ///   - settles: whether a change of its carrier that the kernel has put off is made now (since Linux 6.8).
  public mutating func summary(named name: String, wantsKind: Bool = false, settles: Bool = false)
    throws(NetlinkError) -> LinkSummary?
  {
    try transport.summary(named: name, wantsKind: wantsKind, settles: settles)
  }

  /// `ip link show`
  public mutating func links() throws(NetlinkError) -> [Link] {
    var message = NetlinkMessage(type: Wire.getLink, flags: 0)
    message.appendLinkHeader()
    message.attribute(Wire.Link.extensionMask, Wire.Link.skipsStatistics)
    return try dump(message, command: "ip link show").compactMap { Link($0) }
  }
}
