// The few expressions that the CNI plugin's rules are made of. Data goes through register 1 (and 2), as nft has it.

/// One expression of a rule. Rules run them in order until one does not match.
public struct NetfilterExpression: Sendable {
  enum Verdict {
    static let drop: Int32 = 0
    static let accept: Int32 = 1
    static let jump: Int32 = -3
    static let goto: Int32 = -4
    static let `return`: Int32 = -5
  }

  let name: String
  private let body: @Sendable (inout NetlinkMessage) -> Void

  func write(_ message: inout NetlinkMessage) {
    message.attribute(1, text: name)
    message.nest(2 | Netfilter.nested, body)
  }

  private static func payload(base: UInt32, offset: Int, length: Int, register: UInt32)
    -> NetfilterExpression
  {
    NetfilterExpression(name: "payload") {
      $0.attribute(1, register.bigEndian)
      $0.attribute(2, base.bigEndian)
      $0.attribute(3, UInt32(offset).bigEndian)
      $0.attribute(4, UInt32(length).bigEndian)
    }
  }

  private static func meta(_ key: UInt32, register: UInt32) -> NetfilterExpression {
    NetfilterExpression(name: "meta") {
      $0.attribute(2, key.bigEndian)
      $0.attribute(1, register.bigEndian)
    }
  }

  /// Number of the 4-byte register that the `index`th word of a key stands in.
  private static func word(_ index: Int) -> UInt32 { index == 0 ? 1 : UInt32(8 + index) }

  /// Loads `ip saddr` or `ip daddr` of the family.
  public static func address(_ family: Netfilter.Family, isSource: Bool, word index: Int = 0)
    -> NetfilterExpression
  {
    family == .ip
      ? payload(base: 1, offset: isSource ? 12 : 16, length: 4, register: word(index))
      : payload(base: 1, offset: isSource ? 8 : 24, length: 16, register: word(index))
  }

  /// Loads `meta l4proto`.
  public static func transport(word index: Int = 0) -> NetfilterExpression { meta(16, register: word(index)) }
  /// Loads `th dport`.
  public static func destinationPort(word index: Int) -> NetfilterExpression {
    payload(base: 2, offset: 2, length: 2, register: word(index))
  }
  /// Loads `meta iifname` or `oifname`.
  public static func interfaceName(isInput: Bool, word index: Int = 0) -> NetfilterExpression {
    meta(isInput ? 6 : 7, register: word(index))
  }
  /// Loads `ether saddr`.
  public static func etherSource(word index: Int = 0) -> NetfilterExpression {
    payload(base: 0, offset: 6, length: 6, register: word(index))
  }

  /// Compares what was loaded.
  public static func compare(_ bytes: [UInt8], isEqual: Bool = true) -> NetfilterExpression {
    NetfilterExpression(name: "cmp") {
      $0.attribute(1, UInt32(1).bigEndian)
      $0.attribute(2, UInt32(isEqual ? 0 : 1).bigEndian)
      $0.nest(3 | Netfilter.nested) { $0.attribute(1, bytes: bytes) }
    }
  }

  /// Keeps the bits of `mask` of what was loaded, and flips those of `xor`.
  public static func mask(_ mask: [UInt8], xor: [UInt8]? = nil) -> NetfilterExpression {
    NetfilterExpression(name: "bitwise") {
      $0.attribute(1, UInt32(1).bigEndian)
      $0.attribute(2, UInt32(1).bigEndian)
      $0.attribute(3, UInt32(mask.count).bigEndian)
      $0.nest(4 | Netfilter.nested) { $0.attribute(1, bytes: mask) }
      $0.nest(5 | Netfilter.nested) {
        $0.attribute(1, bytes: xor ?? [UInt8](repeating: 0, count: mask.count))
      }
    }
  }

  /// `fib daddr type local`: the packet is for this machine, whatever its port.
  public static let isForThisMachine: [NetfilterExpression] = [
    NetfilterExpression(name: "fib") {
      $0.attribute(3, UInt32(2).bigEndian)
      $0.attribute(2, UInt32(3).bigEndian)
      $0.attribute(1, UInt32(1).bigEndian)
    },
    compare(host(UInt32(2))),
  ]

  /// `ct state established,related`
  public static let isEstablished: [NetfilterExpression] = [
    NetfilterExpression(name: "ct") {
      $0.attribute(2, UInt32(0).bigEndian)
      $0.attribute(1, UInt32(1).bigEndian)
    },
    mask(host(UInt32(6))), compare(host(UInt32(0)), isEqual: false),
  ]

  /// `meta mark & MASK != 0`
  public static func hasMark(_ bits: UInt32) -> [NetfilterExpression] {
    [meta(3, register: 1), mask(host(bits)), compare(host(UInt32(0)), isEqual: false)]
  }

  /// `meta mark set meta mark | BITS`
  public static func addMark(_ bits: UInt32) -> [NetfilterExpression] {
    [
      meta(3, register: 1), mask(host(~bits), xor: host(bits)),
      NetfilterExpression(name: "meta") {
        $0.attribute(2, UInt32(3).bigEndian)
        $0.attribute(3, UInt32(1).bigEndian)
      },
    ]
  }

  /// `KEY vmap @NAME`, the key being what was loaded.
  public static func verdictMap(_ set: String) -> NetfilterExpression {
    NetfilterExpression(name: "lookup") {
      $0.attribute(1, text: set)
      $0.attribute(2, UInt32(1).bigEndian)
      $0.attribute(3, UInt32(0).bigEndian)
    }
  }

  /// `KEY @NAME` or `KEY != @NAME`.
  public static func isMember(of set: String, negated: Bool = false) -> NetfilterExpression {
    NetfilterExpression(name: "lookup") {
      $0.attribute(1, text: set)
      $0.attribute(2, UInt32(1).bigEndian)
      if negated { $0.attribute(5, UInt32(1).bigEndian) }
    }
  }

  /// `dnat to ADDRESS:PORT`
  public static func translateDestination(_ family: Netfilter.Family, address: [UInt8], port: UInt16)
    -> [NetfilterExpression]
  {
    [
      immediate(register: 1, address),
      immediate(register: 2, withUnsafeBytes(of: port.bigEndian) { [UInt8]($0) }),
      NetfilterExpression(name: "nat") {
        $0.attribute(1, UInt32(1).bigEndian)
        $0.attribute(2, UInt32(family.rawValue).bigEndian)
        $0.attribute(3, UInt32(1).bigEndian)
        $0.attribute(5, UInt32(2).bigEndian)
      },
    ]
  }

  /// `masquerade`
  public static let masquerade = NetfilterExpression(name: "masq") { _ in }

  public static let accept = verdict(Verdict.accept)
  public static let drop = verdict(Verdict.drop)
  public static let returning = verdict(Verdict.return)
  public static func jump(_ chain: String) -> NetfilterExpression { verdict(Verdict.jump, chain) }

  private static func verdict(_ code: Int32, _ chain: String? = nil) -> NetfilterExpression {
    NetfilterExpression(name: "immediate") {
      $0.attribute(1, UInt32(0).bigEndian)
      $0.nest(2 | Netfilter.nested) { $0.verdict(code, chain) }
    }
  }

  private static func immediate(register: UInt32, _ bytes: [UInt8]) -> NetfilterExpression {
    NetfilterExpression(name: "immediate") {
      $0.attribute(1, register.bigEndian)
      $0.nest(2 | Netfilter.nested) { $0.attribute(1, bytes: bytes) }
    }
  }

  /// A number in host order, as marks and states stand in registers.
  private static func host(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value) { [UInt8]($0) } }
}

extension NetlinkMessage {
  /// `NFTA_DATA_VERDICT`
  mutating func verdict(_ code: Int32, _ chain: String?) {
    nest(2 | Netfilter.nested) {
      $0.attribute(1, code.bigEndian)
      if let chain { $0.attribute(2, text: chain) }
    }
  }

  /// Adds to the flags that the message began with.
  mutating func add(flags: UInt16) {
    replace(at: 6, bytes[6] | UInt8(truncatingIfNeeded: flags))
    replace(at: 7, bytes[7] | UInt8(truncatingIfNeeded: flags >> 8))
  }
}
