// What can be changed in nftables, as messages: tables, chains, rules, sets, elements. Integers are in network order
// here, unlike in rtnetlink.

/// Numbers of linux/netfilter/nfnetlink.h and nf_tables.h.
public enum Netfilter {
  static let netlinkFamily: Int32 = 12
  static let tables: UInt8 = 10
  static let batchBegin: UInt16 = 0x10
  static let batchEnd: UInt16 = 0x11
  static let nested: UInt16 = 0x8000
  static let deleteFlow: UInt16 = 1 << 8 | 2

  static let newTable: UInt16 = 0xa00
  static let deleteTable: UInt16 = 0xa02
  static let newChain: UInt16 = 0xa03
  static let getChain: UInt16 = 0xa04
  static let deleteChain: UInt16 = 0xa05
  static let newRule: UInt16 = 0xa06
  static let getRule: UInt16 = 0xa07
  static let deleteRule: UInt16 = 0xa08
  static let newSet: UInt16 = 0xa09
  static let newSetElement: UInt16 = 0xa0c
  static let getSetElement: UInt16 = 0xa0d
  static let deleteSetElement: UInt16 = 0xa0e

  /// Which packets a table sees (`NFPROTO_*`).
  public enum Family: UInt8, Sendable, Hashable, CustomStringConvertible {
    case inet = 1, ip = 2, bridge = 7, ip6 = 10
    public var description: String {
      switch self {
      case .inet: "inet"
      case .ip: "ip"
      case .bridge: "bridge"
      case .ip6: "ip6"
      }
    }
  }

  /// Where a base chain meets packets.
  public enum Hook: UInt32, Sendable { case prerouting, input, forward, output, postrouting }

  /// Members of a key, as nft numbers its types; each takes a multiple of four bytes.
  public enum KeyType: UInt32, Sendable {
    case ipv4 = 7, ipv6 = 8, ether = 9, transport = 12, port = 13, interfaceName = 41
    public var bytes: Int {
      switch self {
      case .ipv4, .transport, .port: 4
      case .ipv6, .interfaceName: 16
      case .ether: 8
      }
    }
  }
}

/// One change of a transaction.
public struct NetfilterChange: Sendable {
  var message: NetlinkMessage

  /// `add table FAMILY NAME`
  public static func table(_ family: Netfilter.Family, _ name: String) -> NetfilterChange {
    var message = message(Netfilter.newTable, family, Wire.create)
    message.attribute(1, text: name)
    return NetfilterChange(message: message)
  }

  /// `delete table FAMILY NAME`, with all that is in it. ENOENT when there is none.
  public static func deleteTable(_ family: Netfilter.Family, _ name: String) -> NetfilterChange {
    var message = message(Netfilter.deleteTable, family)
    message.attribute(1, text: name)
    return NetfilterChange(message: message)
  }

  /// `add chain FAMILY TABLE NAME [{ type TYPE hook HOOK priority N; }]`; one that exists keeps its policy.
  public static func chain(
    _ family: Netfilter.Family, table: String, _ name: String,
    base: (type: String, hook: Netfilter.Hook, priority: Int32)? = nil
  ) -> NetfilterChange {
    var message = message(Netfilter.newChain, family, Wire.create)
    message.attribute(1, text: table)
    message.attribute(3, text: name)
    if let base {
      message.nest(4 | Netfilter.nested) {
        $0.attribute(1, base.hook.rawValue.bigEndian)
        $0.attribute(2, base.priority.bigEndian)
      }
      message.attribute(7, text: base.type)
    }
    return NetfilterChange(message: message)
  }

  /// `delete chain FAMILY TABLE NAME`. EBUSY while something leads to it.
  public static func deleteChain(_ family: Netfilter.Family, table: String, _ name: String) -> NetfilterChange
  {
    var message = message(Netfilter.deleteChain, family)
    message.attribute(1, text: table)
    message.attribute(3, text: name)
    return NetfilterChange(message: message)
  }

  /// `flush chain FAMILY TABLE NAME`
  public static func flushChain(_ family: Netfilter.Family, table: String, _ name: String) -> NetfilterChange
  {
    var message = message(Netfilter.deleteRule, family)
    message.attribute(1, text: table)
    message.attribute(2, text: name)
    return NetfilterChange(message: message)
  }

  /// `add rule FAMILY TABLE CHAIN …`; with `atHead`, `insert rule`.
  public static func rule(
    _ family: Netfilter.Family, table: String, chain: String, _ expressions: [NetfilterExpression],
    comment: String = "", atHead: Bool = false
  ) -> NetfilterChange {
    var message = message(Netfilter.newRule, family, Wire.create | (atHead ? 0 : Wire.append))
    message.attribute(1, text: table)
    message.attribute(2, text: chain)
    message.nest(4 | Netfilter.nested) { list in
      for expression in expressions {
        list.nest(1 | Netfilter.nested) { expression.write(&$0) }
      }
    }
    if !comment.isEmpty { message.attribute(7, bytes: userData(comment)) }
    return NetfilterChange(message: message)
  }

  /// `delete rule FAMILY TABLE CHAIN handle N`
  public static func deleteRule(_ family: Netfilter.Family, table: String, chain: String, handle: UInt64)
    -> NetfilterChange
  {
    var message = message(Netfilter.deleteRule, family)
    message.attribute(1, text: table)
    message.attribute(2, text: chain)
    message.attribute(3, handle.bigEndian)
    return NetfilterChange(message: message)
  }

  /// `add set|map FAMILY TABLE NAME { type KEY [: verdict]; }`
  public static func set(
    _ family: Netfilter.Family, table: String, _ name: String, key: [Netfilter.KeyType], isVerdictMap: Bool
  ) -> NetfilterChange {
    var message = message(Netfilter.newSet, family, Wire.create)
    message.attribute(1, text: table)
    message.attribute(2, text: name)
    message.attribute(3, UInt32(isVerdictMap ? 8 : 0).bigEndian)
    message.attribute(4, key.reduce(UInt32(0)) { $0 << 6 | $1.rawValue }.bigEndian)
    message.attribute(5, UInt32(key.reduce(0) { $0 + $1.bytes }).bigEndian)
    if isVerdictMap {
      message.attribute(6, UInt32(0xffff_ff00).bigEndian)
      message.attribute(7, UInt32(16).bigEndian)
    }
    message.attribute(10, UInt32(1).bigEndian)
    return NetfilterChange(message: message)
  }

  /// `add element FAMILY TABLE SET { KEY [: goto CHAIN] }`. EEXIST when the key leads elsewhere already.
  public static func element(
    _ family: Netfilter.Family, table: String, set: String, key: [UInt8], goto chain: String? = nil,
    comment: String = ""
  ) -> NetfilterChange {
    elements(Netfilter.newSetElement, Wire.create | Wire.exclusive, family, table, set) { element in
      element.nest(1 | Netfilter.nested) { $0.attribute(1, bytes: key) }
      if let chain {
        element.nest(2 | Netfilter.nested) { $0.verdict(NetfilterExpression.Verdict.goto, chain) }
      }
      if !comment.isEmpty { element.attribute(6, bytes: userData(comment)) }
    }
  }

  /// `delete element FAMILY TABLE SET { KEY }`. ENOENT when there is none.
  public static func deleteElement(_ family: Netfilter.Family, table: String, set: String, key: [UInt8])
    -> NetfilterChange
  {
    elements(Netfilter.deleteSetElement, 0, family, table, set) { element in
      element.nest(1 | Netfilter.nested) { $0.attribute(1, bytes: key) }
    }
  }

  private static func elements(
    _ type: UInt16, _ flags: UInt16, _ family: Netfilter.Family, _ table: String, _ set: String,
    _ body: (inout NetlinkMessage) -> Void
  ) -> NetfilterChange {
    var message = message(type, family, flags)
    message.attribute(1, text: table)
    message.attribute(2, text: set)
    message.nest(3 | Netfilter.nested) { $0.nest(1 | Netfilter.nested, body) }
    return NetfilterChange(message: message)
  }

  static func message(_ type: UInt16, _ family: Netfilter.Family, _ flags: UInt16 = 0) -> NetlinkMessage {
    var message = NetlinkMessage(type: type, flags: flags)
    message.append(bytes: [family.rawValue, 0, 0, 0])
    return message
  }

  /// Comments longer than nft prints are cut.
  public static let commentBytesMax = 127

  /// A comment as nft keeps it: type 0, length, text, zero.
  static func userData(_ comment: String) -> [UInt8] {
    let text = Array(comment.utf8.prefix(commentBytesMax)) + [0]
    return [0, UInt8(text.count)] + text
  }

  static func comment(in userData: [UInt8]) -> String {
    guard userData.count >= 2, userData[0] == 0 else { return "" }
    return String(decoding: userData[2...].prefix(Int(userData[1])).prefix { $0 != 0 }, as: UTF8.self)
  }
}
