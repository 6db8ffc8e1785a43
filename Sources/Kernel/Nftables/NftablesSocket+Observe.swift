// Reads our tables back, so that a restart finds what is in force and sends the difference only.

import CNetfilter
import Glibc
import Ruleset

extension NftablesSocket {
  /// Reads the named tables: declarations, elements, and rules by fingerprint. Tables that are not there are
  /// left out. Reads again when another writer was in between, at most five times. 50,000 elements take about
  /// 40 ms.
  public func observe(_ wanted: [Table.ID]) throws(NftablesError) -> InForce {
    var attempt = 0
    var pause: UInt32 = 5000
    while true {
      attempt += 1
      do throws(NftablesError) {
        let before = try generation()
        var isWhole = true
        let observed = try readOnce(wanted, &isWhole)
        let isUnchanged = try generation() == before
        // A hash table that still grows after a large transaction is walked with gaps: it is given time.
        if isUnchanged, !isWhole, attempt < 5 {
          usleep(pause)
          pause *= 4
          continue
        }
        if isUnchanged { return observed }
        if attempt >= 5 { throw NftablesError(operation: "read tables", errno: EINTR) }
      } catch {
        guard error.errno == EINTR, attempt < 5 else { throw error }
      }
    }
  }

  /// - Parameter isWhole: becomes false when the kernel says that a set has another number of elements than were read.
  private func readOnce(_ wanted: [Table.ID], _ isWhole: inout Bool) throws(NftablesError) -> InForce {
    var inForce = InForce()
    let wantedSet = Set(wanted)
    try request(NFT_MSG_GETTABLE, family: 0, dump: true, "read tables") { _ in
    } each: { family, attributes in
      guard let family = TableFamily(number: family),
        let name = attributes.first(NFTA_TABLE_NAME.rawValue)?.text
      else { return }
      let id = Table.ID(family, name)
      if wantedSet.contains(id) { inForce.tables[id] = .init() }
    }
    if inForce.tables.isEmpty { return inForce }
    try readChains(&inForce)
    for id in inForce.tables.keys.sorted() {
      try readRules(id, &inForce)
      try readSets(id, &inForce, &isWhole)
      try readCounters(id, &inForce)
    }
    return inForce
  }

  private func readChains(_ inForce: inout InForce) throws(NftablesError) {
    try request(NFT_MSG_GETCHAIN, family: 0, dump: true, "read chains") { _ in
    } each: { family, attributes in
      guard let family = TableFamily(number: family),
        let table = attributes.first(NFTA_CHAIN_TABLE.rawValue)?.text,
        let name = attributes.first(NFTA_CHAIN_NAME.rawValue)?.text
      else { return }
      let id = Table.ID(family, table)
      guard inForce.tables[id] != nil else { return }
      inForce.tables[id]?.chains[name] = .init(base: Self.baseChain(attributes), fingerprints: [])
    }
  }

  private static func baseChain(_ attributes: Attributes) -> BaseChain? {
    guard let hook = attributes.first(NFTA_CHAIN_HOOK.rawValue)?.nested,
      let number = hook.first(NFTA_HOOK_HOOKNUM.rawValue)?.number, let point = BaseChain.Hook(number: number),
      let kind = (attributes.first(NFTA_CHAIN_TYPE.rawValue)?.text).flatMap(BaseChain.Kind.init(rawValue:))
    else { return nil }
    let priority = Int32(bitPattern: hook.first(NFTA_HOOK_PRIORITY.rawValue)?.number ?? 0)
    let policy: BaseChain.Policy =
      attributes.first(NFTA_CHAIN_POLICY.rawValue)?.number == 0 ? .drop : .accept
    return BaseChain(kind, point, priority: priority, policy: policy)
  }

  private func readRules(_ id: Table.ID, _ inForce: inout InForce) throws(NftablesError) {
    var chains = inForce.tables[id]?.chains ?? [:]
    try request(NFT_MSG_GETRULE, family: id.family.number, dump: true, "read rules of \(id)") {
      mnl_attr_put_strz($0, UInt16(NFTA_RULE_TABLE.rawValue), id.name)
    } each: { _, attributes in
      guard attributes.first(NFTA_RULE_TABLE.rawValue)?.text == id.name,
        let chain = attributes.first(NFTA_RULE_CHAIN.rawValue)?.text
      else { return }
      var fingerprint: UInt64 = 0
      if let notes = attributes.first(NFTA_RULE_USERDATA.rawValue)?.payload {
        fingerprint = Self.fingerprint(notes)
      }
      chains[chain]?.fingerprints.append(fingerprint)
    }
    inForce.tables[id]?.chains = chains
  }

  private func readCounters(_ id: Table.ID, _ inForce: inout InForce) throws(NftablesError) {
    var counters: Set<String> = []
    try request(NFT_MSG_GETOBJ, family: id.family.number, dump: true, "read counters of \(id)") {
      mnl_attr_put_strz($0, UInt16(NFTA_OBJ_TABLE.rawValue), id.name)
      mnl_attr_put_u32($0, UInt16(NFTA_OBJ_TYPE.rawValue), UInt32(NFT_OBJECT_COUNTER).bigEndian)
    } each: { _, attributes in
      guard attributes.first(NFTA_OBJ_TABLE.rawValue)?.text == id.name,
        let name = attributes.first(NFTA_OBJ_NAME.rawValue)?.text
      else { return }
      counters.insert(name)
    }
    inForce.tables[id]?.counters = counters
  }

  /// Packets and bytes of the named counters of a table, by name.
  public func counters(of id: Table.ID) throws(NftablesError) -> [String: (packets: UInt64, bytes: UInt64)] {
    var counters: [String: (packets: UInt64, bytes: UInt64)] = [:]
    try request(NFT_MSG_GETOBJ, family: id.family.number, dump: true, "read counters of \(id)") {
      mnl_attr_put_strz($0, UInt16(NFTA_OBJ_TABLE.rawValue), id.name)
      mnl_attr_put_u32($0, UInt16(NFTA_OBJ_TYPE.rawValue), UInt32(NFT_OBJECT_COUNTER).bigEndian)
    } each: { _, attributes in
      guard attributes.first(NFTA_OBJ_TABLE.rawValue)?.text == id.name,
        let name = attributes.first(NFTA_OBJ_NAME.rawValue)?.text,
        let data = attributes.first(NFTA_OBJ_DATA.rawValue)?.nested
      else { return }
      counters[name] = (
        data.first(NFTA_COUNTER_PACKETS.rawValue)?.longNumber ?? 0,
        data.first(NFTA_COUNTER_BYTES.rawValue)?.longNumber ?? 0
      )
    }
    return counters
  }

  private func readSets(
    _ id: Table.ID, _ inForce: inout InForce, _ isWhole: inout Bool
  ) throws(NftablesError) {
    var sets: [NamedSet] = []
    var counts: [String: Int] = [:]
    try request(NFT_MSG_GETSET, family: id.family.number, dump: true, "read sets of \(id)") {
      mnl_attr_put_strz($0, UInt16(NFTA_SET_TABLE.rawValue), id.name)
    } each: { _, attributes in
      guard attributes.first(NFTA_SET_TABLE.rawValue)?.text == id.name else { return }
      guard let set = Self.declaration(attributes) else { return }
      sets.append(set)
      counts[set.name] = Self.elementCount(attributes)
    }
    for index in sets.indices where !sets[index].isDynamic {
      let count = counts[sets[index].name]
      try readElements(id, &sets[index], expected: min(count ?? 0, Self.expectedMax))
      // Ranges are counted otherwise.
      if let count, !sets[index].isInterval, sets[index].elements.count != count { isWhole = false }
    }
    for set in sets { inForce.tables[id]?.sets[set.name] = set }
  }

  /// Bound on the elements that room is made for beforehand.
  private static let expectedMax = 1 << 20

  /// How many elements the kernel says there are; newer ones do (attribute NFTA_SET_COUNT, 20).
  private static func elementCount(_ attributes: Attributes) -> Int? {
    attributes.first(20)?.number.map { Int($0) }
  }

  /// The declaration of a set; nil for anonymous ones, which belong to their rule.
  private static func declaration(_ attributes: Attributes) -> NamedSet? {
    guard let name = attributes.first(NFTA_SET_NAME.rawValue)?.text else { return nil }
    let flags = attributes.first(NFTA_SET_FLAGS.rawValue)?.number ?? 0
    guard flags & NFT_SET_ANONYMOUS.rawValue == 0 else { return nil }
    let keyType = attributes.first(NFTA_SET_KEY_TYPE.rawValue)?.number ?? 0
    // A type that is not ours leaves the key empty: it equals no declaration, and the table is made anew.
    var set = NamedSet(name, key: DataType.members(ofNftType: keyType) ?? [])
    if flags & NFT_SET_MAP.rawValue != 0 {
      let dataType = attributes.first(NFTA_SET_DATA_TYPE.rawValue)?.number ?? 0
      set.data =
        dataType == UInt32(NFT_DATA_VERDICT.rawValue)
        ? .verdict : .values(DataType.members(ofNftType: dataType) ?? [])
    }
    set.isInterval = flags & NFT_SET_INTERVAL.rawValue != 0
    if set.isInterval, set.key.count > 1 { set.key = set.key.map { $0 == .mark ? .networkMark : $0 } }
    set.isDynamic = flags & NFT_SET_EVAL.rawValue != 0
    if flags & NFT_SET_TIMEOUT.rawValue != 0 {
      set.timeoutSeconds = UInt32(
        clamping: (attributes.first(NFTA_SET_TIMEOUT.rawValue)?.longNumber ?? 0) / 1000)
    }
    set.size = attributes.first(NFTA_SET_DESC.rawValue)?.nested.first(NFTA_SET_DESC_SIZE.rawValue)?.number
    return set
  }

  private func readElements(
    _ id: Table.ID, _ set: inout NamedSet, expected: Int
  ) throws(NftablesError) {
    var boundaries: [(key: Datum, isEnd: Bool, element: Element)] = []
    let isPaired = set.isInterval && set.key.count == 1
    let name = set.name
    var elements: [Datum: Element] = [:]
    elements.reserveCapacity(expected)
    try request(NFT_MSG_GETSETELEM, family: id.family.number, dump: true, "read elements of \(id) \(name)") {
      mnl_attr_put_strz($0, UInt16(NFTA_SET_ELEM_LIST_TABLE.rawValue), id.name)
      mnl_attr_put_strz($0, UInt16(NFTA_SET_ELEM_LIST_SET.rawValue), name)
    } each: { _, attributes in
      guard let list = attributes.first(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue)?.nested else { return }
      for item in list {
        guard let (key, isEnd, element) = Self.element(item.nested) else { continue }
        if isPaired { boundaries.append((key, isEnd, element)) } else { elements[key] = element }
      }
    }
    if isPaired {
      boundaries.sort { $0.key != $1.key ? $0.key < $1.key : $0.isEnd && !$1.isEnd }
      var open: (key: Datum, element: Element)?
      for boundary in boundaries {
        if let (first, element) = open {
          let last = boundary.key.predecessor ?? boundary.key
          elements[first] = Element(.through(last), comment: element.comment)
        }
        open = boundary.isEnd ? nil : (boundary.key, boundary.element)
      }
      if let (first, element) = open {
        elements[first] = Element(.through(Datum(zeros: first.count).inverted), comment: element.comment)
      }
    }
    set.elements = elements
  }

  private static func element(_ attributes: Attributes) -> (key: Datum, isEnd: Bool, element: Element)? {
    var key: Datum?
    var isEnd = false
    var value = Element.Value.present
    var comment: String?
    for attribute in attributes {
      switch UInt32(attribute.type) {
      case NFTA_SET_ELEM_KEY.rawValue: key = datum(attribute.nested)
      case NFTA_SET_ELEM_KEY_END.rawValue:
        if let last = datum(attribute.nested) { value = .through(last) }
      case NFTA_SET_ELEM_FLAGS.rawValue:
        isEnd = (attribute.number ?? 0) & UInt32(NFT_SET_ELEM_INTERVAL_END.rawValue) != 0
      case NFTA_SET_ELEM_DATA.rawValue:
        if let data = datum(attribute.nested) {
          value = .data(data)
        } else if let verdict = attribute.nested.first(NFTA_DATA_VERDICT.rawValue)?.nested,
          let code = verdict.first(NFTA_VERDICT_CODE.rawValue)?.number,
          let known = Verdict(
            code: Int32(bitPattern: code), chain: verdict.first(NFTA_VERDICT_CHAIN.rawValue)?.text)
        {
          value = .verdict(known)
        }
      case NFTA_SET_ELEM_USERDATA.rawValue:
        if let text = UserData.find(UInt8(NFTNL_UDATA_SET_ELEM_COMMENT.rawValue), in: attribute.payload) {
          comment = String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
        }
      default: break
      }
    }
    return key.map { ($0, isEnd, Element(value, found: comment)) }
  }

  private static func datum(_ attributes: Attributes) -> Datum? {
    attributes.first(NFTA_DATA_VALUE.rawValue).flatMap { Datum(bytes: $0.payload) }
  }
}
