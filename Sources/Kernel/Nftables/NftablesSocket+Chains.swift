// Chains of other programs: which there are, who jumps to them, and their removal. For taking over from a predecessor.

import CNetfilter
import Glibc
import Ruleset

/// A rule that goes on in another chain.
public struct ChainReference: Sendable, Hashable {
  /// The chain the rule stands in.
  public var chain: String
  /// Where it jumps or goes to.
  public var target: String
  /// The rule's number in its table.
  public var handle: UInt64
  public init(chain: String, target: String, handle: UInt64) {
    self.chain = chain
    self.target = target
    self.handle = handle
  }
}

extension NftablesSocket {
  /// `nft list chains`: names of all chains of the namespace, by table; tables without chains too.
  public func chainNames() throws(NftablesError) -> [Table.ID: Set<String>] {
    var names: [Table.ID: Set<String>] = [:]
    try request(NFT_MSG_GETTABLE, family: 0, dump: true, "read tables") { _ in
    } each: { family, attributes in
      if let family = TableFamily(number: family), let name = attributes.first(NFTA_TABLE_NAME.rawValue)?.text
      {
        names[Table.ID(family, name)] = []
      }
    }
    try request(NFT_MSG_GETCHAIN, family: 0, dump: true, "read chains") { _ in
    } each: { family, attributes in
      guard let family = TableFamily(number: family),
        let table = attributes.first(NFTA_CHAIN_TABLE.rawValue)?.text,
        let name = attributes.first(NFTA_CHAIN_NAME.rawValue)?.text
      else { return }
      names[Table.ID(family, table), default: []].insert(name)
    }
    return names
  }

  /// Rules of a table that jump or go to another chain by themselves; verdict maps are not looked into.
  public func references(in table: Table.ID) throws(NftablesError) -> [ChainReference] {
    var found: [ChainReference] = []
    try request(NFT_MSG_GETRULE, family: table.family.number, dump: true, "read rules of \(table)") {
      mnl_attr_put_strz($0, UInt16(NFTA_RULE_TABLE.rawValue), table.name)
    } each: { _, attributes in
      guard attributes.first(NFTA_RULE_TABLE.rawValue)?.text == table.name,
        let chain = attributes.first(NFTA_RULE_CHAIN.rawValue)?.text,
        let handle = attributes.first(NFTA_RULE_HANDLE.rawValue)?.longNumber,
        let expressions = attributes.first(NFTA_RULE_EXPRESSIONS.rawValue)?.nested
      else { return }
      for expression in expressions {
        let parts = expression.nested
        guard parts.first(NFTA_EXPR_NAME.rawValue)?.text == "immediate",
          let data = parts.first(NFTA_EXPR_DATA.rawValue)?.nested.first(NFTA_IMMEDIATE_DATA.rawValue)?.nested,
          let verdict = data.first(NFTA_DATA_VERDICT.rawValue)?.nested,
          let target = verdict.first(NFTA_VERDICT_CHAIN.rawValue)?.text
        else { continue }
        found.append(ChainReference(chain: chain, target: target, handle: handle))
      }
    }
    return found
  }

  /// Deletes chains of a table together with the rules elsewhere in it that lead there, in one transaction.
  public func deleteChains(_ chains: Set<String>, of table: Table.ID) throws(NftablesError) {
    guard !chains.isEmpty else { return }
    let leading = try references(in: table).filter {
      chains.contains($0.target) && !chains.contains($0.chain)
    }
    let batch = Batch(sequence: takeSequence())
    batch.begin()
    func delete(_ type: nf_tables_msg_types, _ body: (UnsafeMutablePointer<nlmsghdr>) -> Void) {
      batch.message(type, table.family, body)
    }
    for reference in leading {
      delete(NFT_MSG_DELRULE) {
        mnl_attr_put_strz($0, UInt16(NFTA_RULE_TABLE.rawValue), table.name)
        mnl_attr_put_strz($0, UInt16(NFTA_RULE_CHAIN.rawValue), reference.chain)
        mnl_attr_put_u64($0, UInt16(NFTA_RULE_HANDLE.rawValue), reference.handle.bigEndian)
      }
    }
    let sorted = chains.sorted()
    for chain in sorted {
      delete(NFT_MSG_DELRULE) {
        mnl_attr_put_strz($0, UInt16(NFTA_RULE_TABLE.rawValue), table.name)
        mnl_attr_put_strz($0, UInt16(NFTA_RULE_CHAIN.rawValue), chain)
      }
    }
    for chain in sorted {
      delete(NFT_MSG_DELCHAIN) {
        mnl_attr_put_strz($0, UInt16(NFTA_CHAIN_TABLE.rawValue), table.name)
        mnl_attr_put_strz($0, UInt16(NFTA_CHAIN_NAME.rawValue), chain)
      }
    }
    batch.acknowledgeLast()
    batch.end()
    _ = takeSequence(batch.nextSequence &- batch.firstSequence)
    try send(batch.bytes, "a transaction")
    try confirm(batch, [])
  }
}
