// The connection mark is the dispatch table of the service proxy: which kind of entry, which class, which
// service port.
//
//    31 29 28       18 17                0
//   | kind |   class   |  service-port id  |
//
// One map look-up sets it; two small verdict maps on its upper bits decide everything else. Per-Service state
// is plain data, because each verdict element makes the kernel validate all verdict maps again (2.8 ms a
// change at 10,000 Services).

import Addresses

/// The layout of the connection mark.
public enum ProxyMark {
  public static let kindMask: UInt32 = 0xe000_0000
  public static let classMask: UInt32 = 0x1ffc_0000
  public static let idMask: UInt32 = 0x0003_ffff
  public static let classMax: UInt32 = 0x7ff
  /// The highest bit of a class's number: connections of these classes are counted, by a look at this bit alone.
  public static let countedBit: UInt32 = 1 << 28
  public static let idMax: UInt32 = 0x3ffff

  /// How a packet entered.
  public enum Kind: UInt32, Sendable, CaseIterable {
    /// The local slots behind a Local-policy frontend; never an entry itself.
    case localSlots = 0
    case cluster = 1
    case external = 2
    case externalLocal = 3
    case sourceRanges = 4
    case sourceRangesLocal = 5
    case reject = 6
    /// A flow with affinity: the class field holds the endpoint's number.
    case affinityFlow = 7
  }

  public static func make(_ kind: Kind, class number: UInt32, id: UInt32) -> UInt32 {
    kind.rawValue << 29 | (number & classMax) << 18 | id & idMask
  }

  public static func kind(of mark: UInt32) -> Kind { Kind(rawValue: mark >> 29) ?? .localSlots }
  public static func classNumber(of mark: UInt32) -> UInt32 { (mark & classMask) >> 18 }
  public static func id(of mark: UInt32) -> UInt32 { mark & idMask }
}
