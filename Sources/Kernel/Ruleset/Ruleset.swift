// An nftables ruleset as a value: tables of chains, sets and counters. Planners make it; it can be printed
// (nft syntax), evaluated (what would this packet meet?), compared, and applied to the kernel by
// KernelNftables.

import Addresses

/// Tables, in the order in which they are printed. Table names are unique within a family.
public struct Ruleset: Hashable, Sendable {
  public var tables: [Table]

  public init(_ tables: [Table] = []) { self.tables = tables }

  public subscript(_ id: Table.ID) -> Table? { tables.first { $0.id == id } }
}

/// Which packets a table sees.
public enum TableFamily: String, Hashable, Sendable, CaseIterable, Comparable {
  case ip, ip6, inet, bridge

  /// The number in netlink messages (`NFPROTO_*`).
  public var number: UInt8 {
    switch self {
    case .ip: 2
    case .ip6: 10
    case .inet: 1
    case .bridge: 7
    }
  }

  public init?(number: UInt8) {
    guard let family = TableFamily.allCases.first(where: { $0.number == number }) else { return nil }
    self = family
  }

  /// The two families that have addresses of one kind.
  public enum Addressed: String, Hashable, Sendable, CaseIterable {
    case ip, ip6
    public init(_ family: IPFamily) { self = family == .v4 ? .ip : .ip6 }
    public var table: TableFamily { self == .ip ? .ip : .ip6 }
    public var addresses: IPFamily { self == .ip ? .v4 : .v6 }
    public var addressType: DataType { self == .ip ? .ipv4Address : .ipv6Address }
  }

  public static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

/// A table. References between chains, rules and sets stay within it.
public struct Table: Hashable, Sendable {
  public struct ID: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var family: TableFamily
    public var name: String
    public init(_ family: TableFamily, _ name: String) {
      self.family = family
      self.name = name
    }
    public var description: String { "\(family.rawValue) \(name)" }
    public static func < (a: Self, b: Self) -> Bool { (a.family, a.name) < (b.family, b.name) }
  }

  public var id: ID
  public var sets: [NamedSet]
  public var counters: [String]
  public var chains: [Chain]

  public init(
    _ family: TableFamily, _ name: String, sets: [NamedSet] = [], counters: [String] = [],
    chains: [Chain] = []
  ) {
    id = ID(family, name)
    self.sets = sets
    self.counters = counters
    self.chains = chains
  }

  public subscript(chain name: String) -> Chain? { chains.first { $0.name == name } }
  public subscript(set name: String) -> NamedSet? { sets.first { $0.name == name } }
}

/// Rules in order; with `base`, entered by packets, otherwise by `jump` and `goto`.
public struct Chain: Hashable, Sendable {
  public var name: String
  public var base: BaseChain?
  public var rules: [Rule]

  public init(_ name: String, _ base: BaseChain? = nil, rules: [Rule] = []) {
    self.name = name
    self.base = base
    self.rules = rules
  }
}

/// Where a chain meets packets.
public struct BaseChain: Hashable, Sendable {
  public enum Kind: String, Hashable, Sendable { case filter, nat, route }
  public enum Policy: String, Hashable, Sendable { case accept, drop }
  public enum Hook: String, Hashable, Sendable, CaseIterable {
    case prerouting, input, forward, output, postrouting
    /// `NF_INET_*`; the bridge family counts the same way.
    public var number: UInt32 {
      switch self {
      case .prerouting: 0
      case .input: 1
      case .forward: 2
      case .output: 3
      case .postrouting: 4
      }
    }
    public init?(number: UInt32) {
      guard let hook = Hook.allCases.first(where: { $0.number == number }) else { return nil }
      self = hook
    }
  }

  public var kind: Kind
  public var hook: Hook
  /// Lower runs first. raw -300, conntrack -200, dstnat -100, filter 0, srcnat 100.
  public var priority: Int32
  public var policy: Policy

  public init(_ kind: Kind, _ hook: Hook, priority: Int32, policy: Policy = .accept) {
    self.kind = kind
    self.hook = hook
    self.priority = priority
    self.policy = policy
  }
}

/// Statements from left to right, and a comment for people (at most 127 bytes; longer ones are cut when
/// applied).
public struct Rule: Hashable, Sendable {
  public var statements: [Statement]
  public var comment: String?

  public init(_ statements: [Statement], comment: String? = nil) {
    self.statements = statements
    self.comment = comment
  }

  public init(_ statements: Statement..., comment: String? = nil) {
    self.init(statements, comment: comment)
  }

  /// A number that tells rules apart across restarts: FNV-1a of the printed rule. It travels in the rule's
  /// user data, so a restart recognises its own rules without reading expressions back.
  public var fingerprint: UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in description.utf8 {
      hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    return hash
  }
}
