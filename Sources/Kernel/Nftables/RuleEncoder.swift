// A rule as the kernel's expressions, through libnftnl. Registers are chosen as nft chooses them, so that
// `nft list` reads the rule back; data of `update` starts in the next register of 16 bytes, which nft 1.0.6
// gets wrong for keys longer than that.
//
//   ct mark & 0x3ffff . numgen random mod 3 map @backends
//     [ ct load mark => reg 1 ] [ bitwise reg 1 ] [ numgen reg 9 ] [ lookup reg 1 set backends dreg 1 ]

import CNetfilter
import Ruleset

/// Encodes one rule. Owns the libnftnl rule until `put` has written it.
struct RuleEncoder {
  let family: TableFamily
  let rule: OpaquePointer
  /// Makes an anonymous set in the batch and returns its name and id.
  let anonymousSet: ([DataType], [Statement.Interval]) -> (name: String, id: UInt32)

  private func expression(_ name: String, _ configure: (OpaquePointer) -> Void) {
    // Allocation fails only without memory, and then nothing else works either.
    guard let made = nftnl_expr_alloc(name) else { return }
    configure(made)
    nftnl_rule_add_expr(rule, made)
  }

  /// The register that starts at a 4-byte word, as nft numbers it.
  private func register(_ word: Int) -> UInt32 {
    word % 4 == 0 ? NFT_REG_1.rawValue + UInt32(word / 4) : NFT_REG32_00.rawValue + UInt32(word)
  }

  private func words(_ type: [DataType]) -> Int { (DataType.length(of: type) + 3) / 4 }

  func encode(_ statement: Statement) {
    switch statement {
    case .match(let value, let comparison, let wanted):
      load(value, 0)
      compare(comparison == .equal ? NFT_CMP_EQ : NFT_CMP_NEQ, wanted)
    case .matchRange(let value, let first, let last):
      load(value, 0)
      compare(NFT_CMP_GTE, first)
      compare(NFT_CMP_LTE, last)
    case .ctState(let states):
      ct(NFT_CT_STATE, 0)
      bitwise(0, mask: .number(states.rawValue), xor: .number(0))
      compare(NFT_CMP_NEQ, .number(0))
    case .ctStatus(let status):
      ct(NFT_CT_STATUS, 0)
      bitwise(0, mask: .number(status.rawValue), xor: .number(0))
      compare(NFT_CMP_NEQ, .number(0))
    case .lookup(let key, let set, let negated):
      load(key, 0)
      lookup(set: set, id: nil, data: nil, negated: negated)
    case .lookupAny(let key, let intervals):
      let set = anonymousSet(key.type, intervals)
      load(key, 0)
      lookup(set: set.name, id: set.id, data: nil, negated: false)
    case .vmap(let key, let map):
      load(key, 0)
      lookup(set: map, id: nil, data: NFT_REG_VERDICT.rawValue, negated: false)
    case .setMetaMark(let value):
      load(value, 0)
      expression("meta") {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_META_KEY), NFT_META_MARK.rawValue)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_META_SREG), NFT_REG_1.rawValue)
      }
    case .setCtMark(let value):
      load(value, 0)
      expression("ct") {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_CT_KEY), NFT_CT_MARK.rawValue)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_CT_SREG), NFT_REG_1.rawValue)
      }
    case .dnat(let target): destinationNAT(target)
    case .masquerade(let fullyRandom):
      expression("masq") {
        // NF_NAT_RANGE_PROTO_RANDOM_FULLY
        if fullyRandom { nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_MASQ_FLAGS), 0x10) }
      }
    case .reject(let kind): reject(kind)
    case .counter: expression("counter") { _ in }
    case .counterNamed(let name):
      expression("objref") {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_OBJREF_IMM_TYPE), UInt32(NFT_OBJECT_COUNTER))
        nftnl_expr_set_str($0, UInt16(NFTNL_EXPR_OBJREF_IMM_NAME), name)
      }
    case .limit(let perSecond, let burst):
      expression("limit") {
        nftnl_expr_set_u64($0, UInt16(NFTNL_EXPR_LIMIT_RATE), UInt64(perSecond))
        nftnl_expr_set_u64($0, UInt16(NFTNL_EXPR_LIMIT_UNIT), 1)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_LIMIT_BURST), burst)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_LIMIT_TYPE), NFT_LIMIT_PKTS.rawValue)
      }
    case .log(let group, let prefix, let snapLength, let threshold):
      expression("log") {
        nftnl_expr_set_u16($0, UInt16(NFTNL_EXPR_LOG_GROUP), group)
        nftnl_expr_set_str($0, UInt16(NFTNL_EXPR_LOG_PREFIX), Rule.quotable(prefix))
        if snapLength > 0 { nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_LOG_SNAPLEN), snapLength) }
        if threshold > 0 { nftnl_expr_set_u16($0, UInt16(NFTNL_EXPR_LOG_QTHRESHOLD), threshold) }
      }
    case .notrack: expression("notrack") { _ in }
    case .trace:
      load(.constant(.byte(1), .transport), 0)
      expression("meta") {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_META_KEY), NFT_META_NFTRACE.rawValue)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_META_SREG), NFT_REG_1.rawValue)
      }
    case .update(let set, let key, let data, let timeout):
      dynamicSet(NFT_DYNSET_OP_UPDATE, set, key, data, milliseconds: UInt64(timeout) * 1000)
    case .remove(let set, let key, let data):
      dynamicSet(NFT_DYNSET_OP_DELETE, set, key, data, milliseconds: 0)
    case .verdict(let verdict):
      expression("immediate") {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_IMM_DREG), NFT_REG_VERDICT.rawValue)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_IMM_VERDICT), UInt32(bitPattern: verdict.code))
        if let chain = verdict.chain { nftnl_expr_set_str($0, UInt16(NFTNL_EXPR_IMM_CHAIN), chain) }
      }
    }
  }

  /// Loads a value into the registers from `word` on.
  private func load(_ value: Expression, _ word: Int) {
    switch value {
    case .sourceAddress(.ip): payload(NFT_PAYLOAD_NETWORK_HEADER, 12, 4, word)
    case .destinationAddress(.ip): payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4, word)
    case .sourceAddress(.ip6): payload(NFT_PAYLOAD_NETWORK_HEADER, 8, 16, word)
    case .destinationAddress(.ip6): payload(NFT_PAYLOAD_NETWORK_HEADER, 24, 16, word)
    case .sourcePort: payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2, word)
    case .destinationPort: payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, word)
    case .tcpFlags: payload(NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, word)
    case .etherSource: payload(NFT_PAYLOAD_LL_HEADER, 6, 6, word)
    case .arpSourceAddress: payload(NFT_PAYLOAD_NETWORK_HEADER, 14, 4, word)
    case .metaTransport: meta(NFT_META_L4PROTO, word)
    case .metaMark: meta(NFT_META_MARK, word)
    case .inputInterface: meta(NFT_META_IIFNAME, word)
    case .outputInterface: meta(NFT_META_OIFNAME, word)
    case .metaProtocol: meta(NFT_META_PROTOCOL, word)
    case .ctMark: ct(NFT_CT_MARK, word)
    case .ctDirection: ct(NFT_CT_DIRECTION, word)
    case .sourceAddressKind: fib(UInt32(NFTA_FIB_F_SADDR.rawValue), word)
    case .destinationAddressKind: fib(UInt32(NFTA_FIB_F_DADDR.rawValue), word)
    case .random(let modulus):
      expression("numgen") {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_NG_DREG), register(word))
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_NG_MODULUS), modulus)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_NG_TYPE), NFT_NG_RANDOM.rawValue)
      }
    case .hashed(let inner, let modulus, let seed):
      // What is hashed must not lie in the registers of what is being put together.
      let from = (word / 4 + 1) * 4
      load(inner, from)
      expression("hash") {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_HASH_TYPE), NFT_HASH_JENKINS.rawValue)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_HASH_SREG), register(from))
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_HASH_DREG), register(word))
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_HASH_LEN), UInt32(DataType.length(of: inner.type)))
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_HASH_MODULUS), modulus)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_HASH_SEED), seed)
      }
    case .constant(let datum, _):
      expression("immediate") { made in
        nftnl_expr_set_u32(made, UInt16(NFTNL_EXPR_IMM_DREG), register(word))
        datum.set(made, NFTNL_EXPR_IMM_DATA)
      }
    case .masked(let inner, let mask):
      load(inner, word)
      bitwise(word, mask: mask, xor: Datum(zeros: mask.count))
    case .or(let inner, let bits):
      load(inner, word)
      bitwise(word, mask: bits.inverted, xor: bits)
    case .xor(let inner, let bits):
      load(inner, word)
      bitwise(word, mask: Datum(zeros: bits.count).inverted, xor: bits)
    case .networkOrder(let inner):
      load(inner, word)
      expression("byteorder") {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_BYTEORDER_SREG), register(word))
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_BYTEORDER_DREG), register(word))
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_BYTEORDER_OP), NFT_BYTEORDER_HTON.rawValue)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_BYTEORDER_LEN), 4)
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_BYTEORDER_SIZE), 4)
      }
    case .concatenation(let members):
      var at = word
      for member in members {
        load(member, at)
        at += words(member.type)
      }
    case .mapped(let key, let map, _):
      load(key, word)
      lookup(set: map, id: nil, data: register(word), negated: false, from: word)
    }
  }

  private func payload(_ base: nft_payload_bases, _ offset: UInt32, _ length: UInt32, _ word: Int) {
    expression("payload") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_PAYLOAD_DREG), register(word))
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_PAYLOAD_BASE), base.rawValue)
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_PAYLOAD_OFFSET), offset)
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_PAYLOAD_LEN), length)
    }
  }

  private func meta(_ key: nft_meta_keys, _ word: Int) {
    expression("meta") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_META_KEY), key.rawValue)
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_META_DREG), register(word))
    }
  }

  private func ct(_ key: nft_ct_keys, _ word: Int) {
    expression("ct") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_CT_KEY), key.rawValue)
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_CT_DREG), register(word))
    }
  }

  private func fib(_ flags: UInt32, _ word: Int) {
    expression("fib") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_FIB_DREG), register(word))
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_FIB_RESULT), NFT_FIB_RESULT_ADDRTYPE.rawValue)
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_FIB_FLAGS), flags)
    }
  }

  private func compare(_ operation: nft_cmp_ops, _ wanted: Datum) {
    expression("cmp") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_CMP_SREG), NFT_REG_1.rawValue)
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_CMP_OP), operation.rawValue)
      wanted.set($0, NFTNL_EXPR_CMP_DATA)
    }
  }

  private func bitwise(_ word: Int, mask: Datum, xor: Datum) {
    expression("bitwise") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_BITWISE_SREG), register(word))
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_BITWISE_DREG), register(word))
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_BITWISE_LEN), UInt32(mask.count))
      mask.set($0, NFTNL_EXPR_BITWISE_MASK)
      xor.set($0, NFTNL_EXPR_BITWISE_XOR)
    }
  }

  private func lookup(set: String, id: UInt32?, data: UInt32?, negated: Bool, from word: Int = 0) {
    expression("lookup") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_LOOKUP_SREG), register(word))
      nftnl_expr_set_str($0, UInt16(NFTNL_EXPR_LOOKUP_SET), set)
      if let id { nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_LOOKUP_SET_ID), id) }
      if let data { nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_LOOKUP_DREG), data) }
      if negated {
        nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_LOOKUP_FLAGS), UInt32(NFT_LOOKUP_F_INV.rawValue))
      }
    }
  }

  private func destinationNAT(_ target: Expression) {
    load(target, 0)
    let isSix = target.type.first == .ipv6Address
    let port = register(isSix ? 4 : 1)
    expression("nat") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_NAT_TYPE), NFT_NAT_DNAT.rawValue)
      nftnl_expr_set_u32(
        $0, UInt16(NFTNL_EXPR_NAT_FAMILY), UInt32((isSix ? TableFamily.ip6 : .ip).number))
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_NAT_REG_ADDR_MIN), NFT_REG_1.rawValue)
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_NAT_REG_PROTO_MIN), port)
    }
  }

  private func reject(_ kind: Statement.Rejection) {
    let (type, code): (nft_reject_types, UInt8) =
      switch (kind, family) {
      case (.tcpReset, _): (NFT_REJECT_TCP_RST, 0)
      case (.portUnreachable, .ip): (NFT_REJECT_ICMP_UNREACH, 3)
      case (.portUnreachable, .ip6): (NFT_REJECT_ICMP_UNREACH, 4)
      case (.portUnreachable, _): (NFT_REJECT_ICMPX_UNREACH, UInt8(NFT_REJECT_ICMPX_PORT_UNREACH.rawValue))
      }
    expression("reject") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_REJECT_TYPE), type.rawValue)
      nftnl_expr_set_u8($0, UInt16(NFTNL_EXPR_REJECT_CODE), code)
    }
  }

  private func dynamicSet(
    _ operation: nft_dynset_ops, _ set: String, _ key: Expression, _ data: Expression?, milliseconds: UInt64
  ) {
    load(key, 0)
    let dataWord = (words(key.type) + 3) / 4 * 4
    if let data { load(data, dataWord) }
    expression("dynset") {
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_DYNSET_SREG_KEY), NFT_REG_1.rawValue)
      nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_DYNSET_OP), operation.rawValue)
      nftnl_expr_set_str($0, UInt16(NFTNL_EXPR_DYNSET_SET_NAME), set)
      if data != nil { nftnl_expr_set_u32($0, UInt16(NFTNL_EXPR_DYNSET_SREG_DATA), register(dataWord)) }
      if milliseconds > 0 { nftnl_expr_set_u64($0, UInt16(NFTNL_EXPR_DYNSET_TIMEOUT), milliseconds) }
    }
  }
}

extension Verdict {
  /// The number in netlink messages: `NF_ACCEPT`, `NFT_JUMP` and so on.
  var code: Int32 {
    switch self {
    case .drop: 0
    case .accept: 1
    case .jump: -3
    case .goto: -4
    case .return: -5
    }
  }

  init?(code: Int32, chain: String?) {
    switch (code, chain) {
    case (0, _): self = .drop
    case (1, _): self = .accept
    case (-3, let chain?): self = .jump(chain)
    case (-4, let chain?): self = .goto(chain)
    case (-5, _): self = .return
    default: return nil
    }
  }
}

extension Datum {
  func set(_ expression: OpaquePointer, _ attribute: Int) {
    withBytes { bytes in
      _ = nftnl_expr_set(expression, UInt16(attribute), bytes.baseAddress, UInt32(bytes.count))
    }
  }

  init(zeros count: UInt8) {
    self.init()
    for _ in 0..<count { append(0) }
  }

  var inverted: Datum { Datum(bytes: bytes.map { ~$0 }) ?? self }
}
