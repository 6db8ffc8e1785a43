// Sets and their elements as netlink messages. Declarations go through libnftnl; elements, which are the
// bulk, are written straight with libmnl: libnftnl would allocate an object for each.

import CNetfilter
import Ruleset

extension DataType {
  /// nft's number for the type; six bits each in a concatenation. nft reads it back to print the set.
  var nftType: UInt32 {
    switch self {
    case .familyNumber: 2
    case .slot: 4
    case .ipv4Address: 7
    case .ipv6Address: 8
    case .etherAddress: 9
    case .etherType: 10
    case .transport: 12
    case .port: 13
    case .tcpFlags: 14
    case .mark, .networkMark: 19
    case .direction: 27
    case .addressKind: 38
    case .interfaceName: 41
    }
  }

  static func nftType(of members: [DataType]) -> UInt32 { members.reduce(0) { $0 << 6 | $1.nftType } }

  /// The members behind a number of `nftType(of:)`; nil when one is unknown.
  static func members(ofNftType number: UInt32) -> [DataType]? {
    let known: [DataType] = [
      .familyNumber, .slot, .ipv4Address, .ipv6Address, .etherAddress, .etherType, .transport, .port,
      .tcpFlags, .mark, .direction, .addressKind, .interfaceName,
    ]
    var members: [DataType] = []
    var rest = number
    while rest != 0 {
      guard let member = known.first(where: { $0.nftType == rest & 0x3f }) else { return nil }
      members.insert(member, at: 0)
      rest >>= 6
    }
    return members.isEmpty ? nil : members
  }

  private var isHostOrder: Bool { self == .mark || self == .slot || self == .addressKind }

  /// nft's note on byte order: 0 none (concatenation), 1 host, 2 network.
  static func byteOrderNote(_ members: [DataType]) -> UInt32 {
    members.count > 1 ? 0 : members[0].isHostOrder || members[0] == .interfaceName ? 1 : 2
  }

  /// nft's note on `typeof`: the expression, by nft's numbers of expressions and header fields.
  func typeofNote(asKey: Bool) -> [UInt8]? {
    var inner = UserData()
    var kind: UInt32 = 7
    switch self {
    case .mark:
      kind = 12
      inner.put(0, 3)
      inner.put(1, UInt32.max)
    case .slot:
      kind = 23
      inner.put(0, 1)
      inner.put(1, 2)
      inner.put(2, 0)
    case .ipv4Address:
      inner.put(0, 12)
      inner.put(1, asKey ? 11 : 12)
    case .ipv6Address:
      inner.put(0, 13)
      inner.put(1, asKey ? 8 : 9)
    case .port:
      inner.put(0, 11)
      inner.put(1, 2)
    default: return nil
    }
    var note = UserData()
    note.put(0, kind)
    note.put(1, inner.bytes)
    return note.bytes
  }

  static func typeofNote(_ members: [DataType], asKey: Bool) -> [UInt8]? {
    if members.count == 1 { return members[0].typeofNote(asKey: asKey) }
    var list = UserData()
    for (index, member) in members.enumerated() {
      guard let note = member.typeofNote(asKey: asKey) else { return nil }
      list.put(UInt8(index), note)
    }
    var note = UserData()
    note.put(0, 13)
    note.put(1, list.bytes)
    return note.bytes
  }
}

extension NamedSet {
  private var flags: UInt32 {
    var flags: UInt32 = 0
    if isInterval { flags |= NFT_SET_INTERVAL.rawValue }
    if isInterval, key.count > 1 { flags |= NFT_SET_CONCAT.rawValue }
    if isMap { flags |= NFT_SET_MAP.rawValue }
    if timeoutSeconds != nil { flags |= NFT_SET_TIMEOUT.rawValue }
    if isDynamic { flags |= NFT_SET_EVAL.rawValue }
    return flags
  }

  /// What nft needs to print the set as it was declared.
  private var notes: [UInt8] {
    var notes = UserData()
    notes.put(UInt8(NFTNL_UDATA_SET_KEYBYTEORDER.rawValue), DataType.byteOrderNote(key))
    if case .values(let members) = data {
      notes.put(UInt8(NFTNL_UDATA_SET_DATABYTEORDER.rawValue), DataType.byteOrderNote(members))
      if needsTypeof, let keyNote = DataType.typeofNote(key, asKey: true),
        let dataNote = DataType.typeofNote(members, asKey: false)
      {
        notes.put(UInt8(NFTNL_UDATA_SET_KEY_TYPEOF.rawValue), keyNote)
        notes.put(UInt8(NFTNL_UDATA_SET_DATA_TYPEOF.rawValue), dataNote)
      }
    }
    return notes.bytes
  }

  /// Writes `add set` (or map).
  func putDeclaration(
    _ header: UnsafeMutablePointer<nlmsghdr>, table: Table.ID, id: UInt32, anonymous: Bool = false
  ) {
    guard let set = nftnl_set_alloc() else { return }
    defer { nftnl_set_free(set) }
    nftnl_set_set_str(set, UInt16(NFTNL_SET_TABLE.rawValue), table.name)
    nftnl_set_set_str(set, UInt16(NFTNL_SET_NAME.rawValue), name)
    nftnl_set_set_u32(set, UInt16(NFTNL_SET_FAMILY.rawValue), UInt32(table.family.number))
    nftnl_set_set_u32(set, UInt16(NFTNL_SET_ID.rawValue), id)
    nftnl_set_set_u32(
      set, UInt16(NFTNL_SET_FLAGS.rawValue),
      flags | (anonymous ? NFT_SET_ANONYMOUS.rawValue | NFT_SET_CONSTANT.rawValue : 0))
    nftnl_set_set_u32(set, UInt16(NFTNL_SET_KEY_TYPE.rawValue), DataType.nftType(of: key))
    nftnl_set_set_u32(set, UInt16(NFTNL_SET_KEY_LEN.rawValue), UInt32(DataType.length(of: key)))
    switch data {
    case .none: break
    case .verdict:
      nftnl_set_set_u32(set, UInt16(NFTNL_SET_DATA_TYPE.rawValue), UInt32(NFT_DATA_VERDICT.rawValue))
      nftnl_set_set_u32(set, UInt16(NFTNL_SET_DATA_LEN.rawValue), 16)
    case .values(let members):
      nftnl_set_set_u32(set, UInt16(NFTNL_SET_DATA_TYPE.rawValue), DataType.nftType(of: members))
      nftnl_set_set_u32(set, UInt16(NFTNL_SET_DATA_LEN.rawValue), UInt32(DataType.length(of: members)))
    }
    if let size { nftnl_set_set_u32(set, UInt16(NFTNL_SET_DESC_SIZE.rawValue), size) }
    if let timeoutSeconds {
      nftnl_set_set_u64(set, UInt16(NFTNL_SET_TIMEOUT.rawValue), UInt64(timeoutSeconds) * 1000)
    }
    if isInterval, key.count > 1 {
      let lengths = key.map { UInt8(($0.length + 3) / 4 * 4) }
      lengths.withUnsafeBytes {
        _ = nftnl_set_set_data(set, UInt16(NFTNL_SET_DESC_CONCAT.rawValue), $0.baseAddress, UInt32($0.count))
      }
    }
    notes.withUnsafeBytes {
      _ = nftnl_set_set_data(set, UInt16(NFTNL_SET_USERDATA.rawValue), $0.baseAddress, UInt32($0.count))
    }
    nftnl_set_nlmsg_build_payload(header, set)
  }

  /// Writes `changes[start...]` as far as one message goes and returns where the next one starts.
  func putElements(
    _ header: UnsafeMutablePointer<nlmsghdr>, table: Table.ID, id: UInt32?,
    _ changes: [Operation.ElementChange], from start: Int, deleting: Bool
  ) -> Int {
    // An attribute's length has 16 bits; one element takes at most 2 * (40 + 8) for keys and 300 for the
    // rest.
    let roomMax: UInt32 = 60_000
    mnl_attr_put_strz(header, UInt16(NFTA_SET_ELEM_LIST_TABLE.rawValue), table.name)
    mnl_attr_put_strz(header, UInt16(NFTA_SET_ELEM_LIST_SET.rawValue), name)
    if let id { mnl_attr_put_u32(header, UInt16(NFTA_SET_ELEM_LIST_SET_ID.rawValue), id.bigEndian) }
    let list = mnl_attr_nest_start(header, UInt16(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue))
    let isConcatenated = key.count > 1
    var index = start
    if !isInterval {
      index = changes.withUnsafeBufferPointer {
        ElementWriter.put(header, $0, from: start, upTo: roomMax, deleting: deleting)
      }
    }
    while index < changes.count, header.pointee.nlmsg_len < roomMax {
      let change = changes[index]
      var last: Datum?
      if case .through(let end) = change.element.value { last = end }
      let isPaired = isInterval && !isConcatenated
      put(
        header, change.key, end: isPaired ? nil : last ?? (isInterval ? change.key : nil),
        change.element, deleting: deleting)
      if isPaired, let next = (last ?? change.key).successor {
        putEnd(header, next)
      }
      index += 1
    }
    mnl_attr_nest_end(header, list)
    return index
  }

  private func put(
    _ header: UnsafeMutablePointer<nlmsghdr>, _ key: Datum, end: Datum?, _ element: Element, deleting: Bool
  ) {
    let nest = mnl_attr_nest_start(header, UInt16(NFTA_LIST_ELEM.rawValue))
    key.put(header, NFTA_SET_ELEM_KEY.rawValue)
    if let end { end.put(header, NFTA_SET_ELEM_KEY_END.rawValue) }
    if !deleting {
      switch element.value {
      case .present, .through: break
      case .data(let value): value.put(header, NFTA_SET_ELEM_DATA.rawValue)
      case .verdict(let verdict):
        let data = mnl_attr_nest_start(header, UInt16(NFTA_SET_ELEM_DATA.rawValue))
        let inner = mnl_attr_nest_start(header, UInt16(NFTA_DATA_VERDICT.rawValue))
        mnl_attr_put_u32(
          header, UInt16(NFTA_VERDICT_CODE.rawValue), UInt32(bitPattern: verdict.code).bigEndian)
        if let chain = verdict.chain { mnl_attr_put_strz(header, UInt16(NFTA_VERDICT_CHAIN.rawValue), chain) }
        mnl_attr_nest_end(header, inner)
        mnl_attr_nest_end(header, data)
      }
      if let comment = element.comment {
        putComment(header, Rule.quotable(comment))
      }
    }
    mnl_attr_nest_end(header, nest)
  }

  /// User data of one note.
  private func putComment(_ header: UnsafeMutablePointer<nlmsghdr>, _ comment: String) {
    var note = UserData()
    note.put(UInt8(NFTNL_UDATA_SET_ELEM_COMMENT.rawValue), comment)
    note.bytes.withUnsafeBytes {
      mnl_attr_put(header, UInt16(NFTA_SET_ELEM_USERDATA.rawValue), $0.count, $0.baseAddress)
    }
  }

  private func putEnd(_ header: UnsafeMutablePointer<nlmsghdr>, _ key: Datum) {
    let nest = mnl_attr_nest_start(header, UInt16(NFTA_LIST_ELEM.rawValue))
    key.put(header, NFTA_SET_ELEM_KEY.rawValue)
    mnl_attr_put_u32(
      header, UInt16(NFTA_SET_ELEM_FLAGS.rawValue), UInt32(NFT_SET_ELEM_INTERVAL_END.rawValue).bigEndian)
    mnl_attr_nest_end(header, nest)
  }
}

extension Datum {
  /// `{ attribute { NFTA_DATA_VALUE bytes } }`.
  func put(_ header: UnsafeMutablePointer<nlmsghdr>, _ attribute: UInt32) {
    let nest = mnl_attr_nest_start(header, UInt16(attribute))
    withBytes { mnl_attr_put(header, UInt16(NFTA_DATA_VALUE.rawValue), $0.count, $0.baseAddress) }
    mnl_attr_nest_end(header, nest)
  }

  /// The next value in network order; nil after the last.
  var successor: Datum? {
    var bytes = self.bytes
    for index in bytes.indices.reversed() {
      if bytes[index] < 255 {
        bytes[index] += 1
        return Datum(bytes: bytes)
      }
      bytes[index] = 0
    }
    return nil
  }

  /// The value before in network order; nil before the first.
  var predecessor: Datum? {
    var bytes = self.bytes
    for index in bytes.indices.reversed() {
      if bytes[index] > 0 {
        bytes[index] -= 1
        return Datum(bytes: bytes)
      }
      bytes[index] = 255
    }
    return nil
  }
}
