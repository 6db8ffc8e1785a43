// What a rule reads from a packet and its connection, and what it computes from that.

/// Something that a rule can load into a register. `type` says what it means, `description` how nft spells
/// it.
public indirect enum Expression: Hashable, Sendable {
  case sourceAddress(DataTypeOfAddress)
  case destinationAddress(DataTypeOfAddress)
  /// `th sport`, `th dport`: the rule must have matched a transport protocol before.
  case sourcePort
  case destinationPort
  /// `tcp flags`; the rule must have matched TCP before.
  case tcpFlags
  case etherSource
  /// `arp saddr ip`.
  case arpSourceAddress
  case metaTransport
  case metaMark
  case inputInterface
  case outputInterface
  /// `meta protocol`: the EtherType, in bridge tables.
  case metaProtocol
  case ctMark
  /// `ct direction`: 0 original, 1 reply.
  case ctDirection
  /// `fib saddr type`, `fib daddr type`: 2 is local.
  case sourceAddressKind
  case destinationAddressKind
  /// `numgen random mod N`.
  case random(modulus: UInt32)
  /// `jhash EXPR mod N seed S`: the same for equal values, on every machine.
  case hashed(Expression, modulus: UInt32, seed: UInt32)
  case constant(Datum, DataType)
  case masked(Expression, Datum)
  case or(Expression, Datum)
  case xor(Expression, Datum)
  /// A mark in network order, for look-ups in interval sets. nft adds the step by itself, so it prints as
  /// nothing.
  case networkOrder(Expression)
  case concatenation([Expression])
  /// `KEY map @name`: the data of the element; the rule ends without a match when there is none.
  case mapped(Expression, map: String, [DataType])

  /// Which family's header an address is read from.
  public enum DataTypeOfAddress: Hashable, Sendable { case ip, ip6 }

  /// `fib … type` of an address that is this machine's.
  public static let kindLocal: UInt32 = 2

  /// `self & mask`, for marks.
  public func masked(_ mask: UInt32) -> Expression { .masked(self, .number(mask)) }

  /// What the members of the loaded value mean.
  public var type: [DataType] {
    switch self {
    case .sourceAddress(.ip), .destinationAddress(.ip), .arpSourceAddress: [.ipv4Address]
    case .sourceAddress(.ip6), .destinationAddress(.ip6): [.ipv6Address]
    case .sourcePort, .destinationPort: [.port]
    case .tcpFlags: [.tcpFlags]
    case .etherSource: [.etherAddress]
    case .metaTransport: [.transport]
    case .metaMark, .ctMark: [.mark]
    case .inputInterface, .outputInterface: [.interfaceName]
    case .metaProtocol: [.etherType]
    case .ctDirection: [.direction]
    case .sourceAddressKind, .destinationAddressKind: [.addressKind]
    case .random, .hashed: [.slot]
    case .constant(_, let type): [type]
    case .masked(let inner, _), .or(let inner, _), .xor(let inner, _): inner.type
    case .networkOrder: [.networkMark]
    case .concatenation(let members): members.flatMap(\.type)
    case .mapped(_, _, let type): type
    }
  }

  /// `saddr` or `daddr` of `family`.
  public static func source(_ family: TableFamily.Addressed) -> Expression {
    .sourceAddress(family == .ip ? .ip : .ip6)
  }
  public static func destination(_ family: TableFamily.Addressed) -> Expression {
    .destinationAddress(family == .ip ? .ip : .ip6)
  }
}

/// States of a connection as `ct state` knows them, as bits.
public struct ConnectionState: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let invalid = ConnectionState(rawValue: 1)
  public static let established = ConnectionState(rawValue: 2)
  public static let related = ConnectionState(rawValue: 4)
  public static let new = ConnectionState(rawValue: 8)
  public static let untracked = ConnectionState(rawValue: 64)
}

/// What has been done to a connection, as `ct status` knows it, as bits (`enum ip_conntrack_status`).
public struct ConnectionStatus: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// Its source was translated, to something else than it was.
  public static let snat = ConnectionStatus(rawValue: 16)
  /// Its destination was.
  public static let dnat = ConnectionStatus(rawValue: 32)
}

/// Bits of the TCP header's flags.
public enum TCPFlag {
  public static let fin: UInt8 = 1
  public static let syn: UInt8 = 2
  public static let rst: UInt8 = 4
  public static let psh: UInt8 = 8
  public static let ack: UInt8 = 16
}

/// What becomes of a packet, or where the walk goes on.
public enum Verdict: Hashable, Sendable {
  case accept
  case drop
  /// Back to the chain that jumped here; in a base chain, to its policy.
  case `return`
  case jump(String)
  case goto(String)

  /// The chain that it leads to.
  public var chain: String? {
    switch self {
    case .jump(let chain), .goto(let chain): chain
    case .accept, .drop, .return: nil
    }
  }
}

/// One part of a rule. A rule runs its parts in order until one does not match.
public enum Statement: Hashable, Sendable {
  case match(Expression, Comparison, Datum)
  /// From `first` to `last`, both included.
  case matchRange(Expression, first: Datum, last: Datum)
  /// `ct state new,related`: any of these.
  case ctState(ConnectionState)
  /// `ct status dnat`: any of these.
  case ctStatus(ConnectionStatus)
  /// `EXPR @set`, or `EXPR != @set`.
  case lookup(Expression, set: String, negated: Bool)
  /// `EXPR { … }`: an anonymous set that lives with the rule.
  case lookupAny(Expression, [Interval])
  /// `EXPR vmap @map`: goes on with the next rule when there is no element.
  case vmap(Expression, map: String)
  case setMetaMark(Expression)
  case setCtMark(Expression)
  /// `dnat ip to EXPR`; the value is an address and a port. Only in nat chains of prerouting and output.
  case dnat(Expression)
  case masquerade(fullyRandom: Bool)
  case reject(Rejection)
  /// Packets and bytes, kept in the rule.
  case counter
  case counterNamed(String)
  /// Goes on for at most `perSecond` packets a second, `burst` at once.
  case limit(perSecond: UInt32, burst: UInt32)
  /// To userspace (`nflog` group), never to the kernel's log. `snapLength`: bytes of a packet that are handed over, 0 for as many
  /// as the reader takes. `queueThreshold`: packets that the kernel gathers before it wakes the reader, 0 for its own choice.
  /// Groups without a reader cost a look-up.
  case log(group: UInt16, prefix: String, snapLength: UInt32 = 0, queueThreshold: UInt16 = 0)
  case notrack
  /// `meta nftrace set 1`: from here on the kernel tells which rules the packet meets.
  case trace
  /// Adds or refreshes an element from the packet path.
  case update(set: String, key: Expression, data: Expression?, timeoutSeconds: UInt32)
  /// Takes an element away from the packet path.
  case remove(set: String, key: Expression, data: Expression?)
  case verdict(Verdict)

  public enum Comparison: Hashable, Sendable { case equal, notEqual }

  public enum Rejection: Hashable, Sendable {
    /// `reject with tcp reset`; the rule must match TCP before.
    case tcpReset
    /// ICMP port unreachable of the packet's family.
    case portUnreachable
  }

  /// First and last of a range, both included.
  public struct Interval: Hashable, Sendable {
    public var first: Datum
    public var last: Datum
    public init(first: Datum, last: Datum) {
      self.first = first
      self.last = last
    }
    public init(_ single: Datum) { self.init(first: single, last: single) }
  }

  // The matches that most rules are made of.

  public static func transport(_ transport: UInt8) -> Statement {
    .match(.metaTransport, .equal, .byte(transport))
  }
  public static func goto(_ chain: String) -> Statement { .verdict(.goto(chain)) }
  public static func jump(_ chain: String) -> Statement { .verdict(.jump(chain)) }
  public static let accept = Statement.verdict(.accept)
  public static let drop = Statement.verdict(.drop)
  public static let returning = Statement.verdict(.return)
}
