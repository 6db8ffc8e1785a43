// Numbers of the kernel's rtnetlink interface that this module speaks. Spelled here and not imported, so
// that Swift sees integers of the right width and no kernel header meets glibc's (see CLinux/README.md).

/// Kernel constants, by the header they come from.
public enum Wire {
  // linux/netlink.h
  static let route: Int32 = 0
  static let request: UInt16 = 0x1
  static let multi: UInt16 = 0x2
  static let acknowledge: UInt16 = 0x4
  static let dumpInterrupted: UInt16 = 0x10
  static let replace: UInt16 = 0x100
  static let exclusive: UInt16 = 0x200
  static let create: UInt16 = 0x400
  static let append: UInt16 = 0x800
  static let dump: UInt16 = 0x300
  static let cappedAck: UInt16 = 0x100
  static let extendedAck: UInt16 = 0x200
  static let error: UInt16 = 2
  static let done: UInt16 = 3
  static let overrun: UInt16 = 4
  static let solNetlink: Int32 = 270
  static let optionCapAck: Int32 = 10
  static let optionExtendedAck: Int32 = 11
  static let optionStrictCheck: Int32 = 12

  // linux/rtnetlink.h: message types
  static let newLink: UInt16 = 16
  static let deleteLink: UInt16 = 17
  static let getLink: UInt16 = 18
  static let setLink: UInt16 = 19
  static let newAddress: UInt16 = 20
  static let deleteAddress: UInt16 = 21
  static let getAddress: UInt16 = 22
  static let newMulticast: UInt16 = 56
  static let getMulticast: UInt16 = 58
  static let newRoute: UInt16 = 24
  static let deleteRoute: UInt16 = 25
  static let getRoute: UInt16 = 26
  static let newNeighbour: UInt16 = 28
  static let deleteNeighbour: UInt16 = 29
  static let getNeighbour: UInt16 = 30
  static let newRule: UInt16 = 32
  static let deleteRule: UInt16 = 33
  static let getRule: UInt16 = 34
  static let newDiscipline: UInt16 = 36
  static let getDiscipline: UInt16 = 38
  static let newFilter: UInt16 = 44
  static let newNamespaceID: UInt16 = 88
  static let getNamespaceID: UInt16 = 90

  // linux/if_link.h
  enum Link {
    static let address: UInt16 = 1
    static let name: UInt16 = 3
    static let mtu: UInt16 = 4
    static let link: UInt16 = 5
    static let master: UInt16 = 10
    static let transmitQueueLength: UInt16 = 13
    static let operationalState: UInt16 = 16
    static let info: UInt16 = 18
    static let alias: UInt16 = 20
    static let familySpecific: UInt16 = 26
    static let group: UInt16 = 27
    static let namespaceDescriptor: UInt16 = 28
    static let peerNamespaceID: UInt16 = 37
    static let inetSettings: UInt16 = 1
    static let extensionMask: UInt16 = 29
    static let skipsStatistics: UInt32 = 8
    static let transmitQueues: UInt16 = 31
    static let receiveQueues: UInt16 = 32
    static let inetAcceptRedirects: UInt16 = 4
    static let inetARPNotify: UInt16 = 22
    static let operationalUp: UInt8 = 6
    static let infoKind: UInt16 = 1
    static let infoData: UInt16 = 2
    static let infoSlaveKind: UInt16 = 4
    static let infoSlaveData: UInt16 = 5
    static let vethPeer: UInt16 = 1
    static let bridgeVLANFiltering: UInt16 = 7
    static let bridgeMulticastSnooping: UInt16 = 23
    static let bridgeFlags: UInt16 = 0
    static let bridgeVLANInfo: UInt16 = 2
    static let vlanID: UInt16 = 1
    static let portHairpin: UInt16 = 4
    static let portIsolated: UInt16 = 33
    static let vxlanID: UInt16 = 1
    static let vxlanLink: UInt16 = 3
    static let vxlanLocal: UInt16 = 4
    static let vxlanLearning: UInt16 = 7
    static let vxlanPort: UInt16 = 15
    static let vxlanLocal6: UInt16 = 17
    static let vxlanDontFragment: UInt16 = 29
  }

  // linux/if_addr.h
  enum Address {
    static let address: UInt16 = 1
    static let local: UInt16 = 2
    static let broadcast: UInt16 = 4
    static let multicast: UInt16 = 7
    static let flags: UInt16 = 8
    static let flagNoDAD: UInt32 = 0x02
    static let flagPermanent: UInt32 = 0x80
  }

  // linux/rtnetlink.h: routes
  enum Route {
    static let destination: UInt16 = 1
    static let interface: UInt16 = 4
    static let gateway: UInt16 = 5
    static let priority: UInt16 = 6
    static let preferredSource: UInt16 = 7
    static let metrics: UInt16 = 8
    static let table: UInt16 = 15
    static let metricMTU: UInt16 = 2
    static let flagOnLink: UInt32 = 4
  }

  // linux/fib_rules.h
  enum Rule {
    static let destination: UInt16 = 1
    static let source: UInt16 = 2
    static let priority: UInt16 = 6
    static let mark: UInt16 = 10
    static let table: UInt16 = 15
    static let markMask: UInt16 = 16
    static let origin: UInt16 = 21
    static let transport: UInt16 = 22
    static let sourcePorts: UInt16 = 23
    static let destinationPorts: UInt16 = 24
    static let actionTable: UInt8 = 1
  }

  // linux/neighbour.h
  enum Neighbour {
    static let destination: UInt16 = 1
    static let linkLayerAddress: UInt16 = 2
    static let flagSelf: UInt8 = 0x02
    static let permanent: UInt16 = 0x80
  }

  // linux/pkt_sched.h
  enum Traffic {
    static let kind: UInt16 = 1
    static let options: UInt16 = 2
    static let root: UInt32 = 0xffff_ffff
    static let ingress: UInt32 = 0xffff_fff1
    static let bucketParameters: UInt16 = 1
    static let bucketRate64: UInt16 = 4
    static let bucketBurst: UInt16 = 6
  }

  // net/if.h
  static let interfaceUp: UInt32 = 0x1
  static let interfaceLoopback: UInt32 = 0x8
  static let interfaceRunning: UInt32 = 0x40
  static let interfacePromiscuous: UInt32 = 0x100
  static let interfaceAllMulticast: UInt32 = 0x200
  static let interfaceLowerUp: UInt32 = 0x10000

  // sys/socket.h
  static let familyUnspecified: UInt8 = 0
  static let familyInet: UInt8 = 2
  static let familyBridge: UInt8 = 7
  static let familyInet6: UInt8 = 10
  static let familyNetlink: UInt16 = 16
  static let familyPacket: UInt16 = 17
}
