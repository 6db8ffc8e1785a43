// The third reading of a ruleset: operations as one transaction of the kernel.

import CNetfilter
import Glibc
import Ruleset

/// What a transaction cost.
public struct CommitReport: Sendable, Hashable {
  /// Elements, rules, chains, sets, tables that changed.
  public var operations = 0
  public var netlinkBytes = 0
  public var commitMilliseconds = 0.0
  public init() {}
}

/// The note in a rule's user data that holds its fingerprint. nft passes over types it does not know.
let fingerprintNote: UInt8 = 0x57

extension NftablesSocket {
  /// Applies all operations or none. Sends nothing when there are none.
  @discardableResult
  public func apply(_ operations: [Operation]) throws(NftablesError) -> CommitReport {
    try apply(operations, endWithSocket: false)
  }

  /// - Parameter endWithSocket: tables that are made belong to this socket: nobody else may change them, and they go when it closes, even
  ///   by a kill (`NFT_TABLE_F_OWNER`, Linux 5.12).
  @discardableResult
  func apply(_ operations: [Operation], endWithSocket: Bool) throws(NftablesError) -> CommitReport {
    var report = CommitReport()
    guard !operations.isEmpty else { return report }
    let clock = ContinuousClock()
    let start = clock.now
    let batch = Batch(sequence: takeSequence())
    batch.begin()
    for (index, operation) in operations.enumerated() {
      batch.operation = index
      put(operation, into: batch, endWithSocket: endWithSocket)
      report.operations += operation.weight
    }
    batch.acknowledgeLast()
    batch.operation = nil
    batch.end()
    _ = takeSequence(batch.nextSequence &- batch.firstSequence)
    report.netlinkBytes = batch.count
    drain()
    try send(batch.bytes, "a transaction")
    try confirm(batch, operations)
    report.commitMilliseconds = (clock.now - start).milliseconds
    return report
  }

  /// The kernel has worked by the time `send` returns; its answers wait in the socket.
  func confirm(_ batch: Batch, _ operations: [Operation]) throws(NftablesError) {
    var refusal: NftablesError?
    var isAcknowledged = false
    while let bytes = try receive(waiting: false) {
      for message in Messages(bytes: bytes) where Int32(message.type) == NLMSG_ERROR {
        guard let origin = batch.origin(of: message.sequence) else { continue }
        let error = message.error
        if error.code == 0 {
          isAcknowledged = true
        } else if refusal == nil || (refusal?.operationIndex == nil && origin.operation != nil) {
          refusal = describe(error, origin, batch, operations)
        }
      }
    }
    if let refusal { throw refusal }
    guard isAcknowledged else { throw NftablesError(operation: "commit a transaction", errno: ENOBUFS) }
  }

  private func describe(
    _ error: (code: Int32, text: String, offset: Int?),
    _ origin: (operation: Int?, firstElement: Int, offset: Int), _ batch: Batch, _ operations: [Operation]
  ) -> NftablesError {
    guard let index = origin.operation, index < operations.count else {
      return NftablesError(operation: "commit a transaction", errno: error.code, message: error.text)
    }
    var described = NftablesError(
      operation: operations[index].description, errno: error.code, message: error.text, operationIndex: index,
      table: operations[index].table)
    guard let offset = error.offset, let at = batch.element(at: offset, ofMessageAt: origin.offset) else {
      return described
    }
    switch operations[index] {
    case .addElements(let table, let set, let changes), .deleteElements(let table, let set, let changes):
      // Plain intervals are written as two elements, the last possibly as one.
      let element = origin.firstElement + (set.isInterval && set.key.count == 1 ? at / 2 : at)
      guard element < changes.count else { return described }
      described.elementIndex = element
      let change = changes[element]
      described.operation = "element of \(table) \(set.name): \(set.elementText(change.key, change.element))"
    default: break
    }
    return described
  }

  private func put(_ operation: Operation, into batch: Batch, endWithSocket: Bool) {
    let family = operation.table.family
    let create = NLM_F_CREATE
    switch operation {
    case .addTable(let id):
      batch.message(NFT_MSG_NEWTABLE, family, flags: create) {
        mnl_attr_put_strz($0, UInt16(NFTA_TABLE_NAME.rawValue), id.name)
        if endWithSocket {
          mnl_attr_put_u32($0, UInt16(NFTA_TABLE_FLAGS.rawValue), NFT_TABLE_F_OWNER.rawValue.bigEndian)
        }
      }
    case .deleteTable(let id):
      batch.message(NFT_MSG_DELTABLE, family) {
        mnl_attr_put_strz($0, UInt16(NFTA_TABLE_NAME.rawValue), id.name)
      }
    case .addCounter(let id, let name):
      batch.message(NFT_MSG_NEWOBJ, family, flags: create) { putCounter($0, id, name) }
    case .deleteCounter(let id, let name):
      batch.message(NFT_MSG_DELOBJ, family) { putCounter($0, id, name) }
    case .addSet(let id, let set):
      let setID = batch.makeSetID()
      batch.message(NFT_MSG_NEWSET, family, flags: create) {
        set.putDeclaration($0, table: id, id: setID)
      }
    case .deleteSet(let id, let name):
      batch.message(NFT_MSG_DELSET, family) {
        mnl_attr_put_strz($0, UInt16(NFTA_SET_TABLE.rawValue), id.name)
        mnl_attr_put_strz($0, UInt16(NFTA_SET_NAME.rawValue), name)
      }
    case .addChain(let id, let chain):
      batch.message(NFT_MSG_NEWCHAIN, family, flags: create) { putChain($0, id, chain) }
    case .deleteChain(let id, let name):
      batch.message(NFT_MSG_DELCHAIN, family) {
        mnl_attr_put_strz($0, UInt16(NFTA_CHAIN_TABLE.rawValue), id.name)
        mnl_attr_put_strz($0, UInt16(NFTA_CHAIN_NAME.rawValue), name)
      }
    case .replaceRules(let id, let chain, let rules):
      batch.message(NFT_MSG_DELRULE, family) {
        mnl_attr_put_strz($0, UInt16(NFTA_RULE_TABLE.rawValue), id.name)
        mnl_attr_put_strz($0, UInt16(NFTA_RULE_CHAIN.rawValue), chain)
      }
      for rule in rules { put(rule, id, chain, into: batch) }
    case .addElements(let id, let set, let changes):
      putElements(batch, NFT_MSG_NEWSETELEM, id, set, nil, changes)
    case .deleteElements(let id, let set, let changes):
      putElements(batch, NFT_MSG_DELSETELEM, id, set, nil, changes)
    }
  }

  private func putElements(
    _ batch: Batch, _ type: nf_tables_msg_types, _ table: Table.ID, _ set: NamedSet, _ id: UInt32?,
    _ changes: [Operation.ElementChange]
  ) {
    let isDeleting = type == NFT_MSG_DELSETELEM
    var start = 0
    while start < changes.count {
      var next = start
      batch.message(type, table.family, flags: isDeleting ? 0 : NLM_F_CREATE, firstElement: start) {
        next = set.putElements($0, table: table, id: id, changes, from: start, deleting: isDeleting)
      }
      start = next
    }
  }

  private func putCounter(_ header: UnsafeMutablePointer<nlmsghdr>, _ table: Table.ID, _ name: String) {
    mnl_attr_put_strz(header, UInt16(NFTA_OBJ_TABLE.rawValue), table.name)
    mnl_attr_put_strz(header, UInt16(NFTA_OBJ_NAME.rawValue), name)
    mnl_attr_put_u32(header, UInt16(NFTA_OBJ_TYPE.rawValue), UInt32(NFT_OBJECT_COUNTER).bigEndian)
    // The kernel insists on the data attribute even for zeros.
    mnl_attr_nest_end(header, mnl_attr_nest_start(header, UInt16(NFTA_OBJ_DATA.rawValue)))
  }

  private func putChain(_ header: UnsafeMutablePointer<nlmsghdr>, _ table: Table.ID, _ chain: Chain) {
    guard let made = nftnl_chain_alloc() else { return }
    defer { nftnl_chain_free(made) }
    nftnl_chain_set_str(made, UInt16(NFTNL_CHAIN_TABLE.rawValue), table.name)
    nftnl_chain_set_str(made, UInt16(NFTNL_CHAIN_NAME.rawValue), chain.name)
    if let base = chain.base {
      nftnl_chain_set_str(made, UInt16(NFTNL_CHAIN_TYPE.rawValue), base.kind.rawValue)
      nftnl_chain_set_u32(made, UInt16(NFTNL_CHAIN_HOOKNUM.rawValue), base.hook.number)
      nftnl_chain_set_s32(made, UInt16(NFTNL_CHAIN_PRIO.rawValue), base.priority)
      nftnl_chain_set_u32(made, UInt16(NFTNL_CHAIN_POLICY.rawValue), base.policy == .accept ? 1 : 0)
    }
    nftnl_chain_nlmsg_build_payload(header, made)
  }

  private func put(_ rule: Rule, _ table: Table.ID, _ chain: String, into batch: Batch) {
    guard let made = nftnl_rule_alloc() else { return }
    defer { nftnl_rule_free(made) }
    nftnl_rule_set_str(made, UInt16(NFTNL_RULE_TABLE.rawValue), table.name)
    nftnl_rule_set_str(made, UInt16(NFTNL_RULE_CHAIN.rawValue), chain)
    nftnl_rule_set_u32(made, UInt16(NFTNL_RULE_FAMILY.rawValue), UInt32(table.family.number))
    var notes = UserData()
    if let comment = rule.comment {
      notes.put(UInt8(NFTNL_UDATA_RULE_COMMENT.rawValue), Rule.quotable(comment))
    }
    notes.put(fingerprintNote, withUnsafeBytes(of: rule.fingerprint.littleEndian) { Array($0) })
    notes.bytes.withUnsafeBytes {
      _ = nftnl_rule_set_data(made, UInt16(NFTNL_RULE_USERDATA.rawValue), $0.baseAddress, UInt32($0.count))
    }
    let encoder = RuleEncoder(family: table.family, rule: made) { type, intervals in
      self.putAnonymousSet(table, type, intervals, into: batch)
    }
    for statement in rule.statements { encoder.encode(statement) }
    batch.message(NFT_MSG_NEWRULE, table.family, flags: NLM_F_CREATE | NLM_F_APPEND) {
      nftnl_rule_nlmsg_build_payload($0, made)
    }
  }

  private func putAnonymousSet(
    _ table: Table.ID, _ type: [DataType], _ intervals: [Statement.Interval], into batch: Batch
  ) -> (name: String, id: UInt32) {
    var set = NamedSet("__set%d", key: type, isInterval: intervals.contains { $0.first != $0.last })
    for interval in intervals {
      if set.isInterval {
        set.insert(interval.first, through: interval.last)
      } else {
        set.insert(interval.first)
      }
    }
    let id = batch.makeSetID()
    batch.message(NFT_MSG_NEWSET, table.family, flags: NLM_F_CREATE) {
      set.putDeclaration($0, table: table, id: id, anonymous: true)
    }
    let changes = set.elements.sorted { $0.key < $1.key }.map { Operation.ElementChange($0.key, $0.value) }
    putElements(batch, NFT_MSG_NEWSETELEM, table, set, id, changes)
    return (set.name, id)
  }
}

extension Duration {
  var milliseconds: Double {
    Double(components.seconds) * 1000 + Double(components.attoseconds) * 1e-15
  }
}
