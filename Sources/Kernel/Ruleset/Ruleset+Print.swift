// A ruleset in nft syntax, as `nft -f` (1.0.6 or later) reads it. Elements are sorted, so equal rulesets
// print equal text.

extension Ruleset: CustomStringConvertible {
  /// The whole ruleset, one table after the other.
  public var description: String { tables.map(\.description).joined(separator: "\n") }
}

extension Table: CustomStringConvertible {
  public var description: String {
    var out = "table \(id.family.rawValue) \(id.name) {\n"
    for counter in counters { out += "\tcounter \(counter) {\n\t}\n" }
    for set in sets { out += set.text(indent: "\t") }
    for chain in chains { out += chain.text(indent: "\t") }
    return out + "}\n"
  }
}

extension Chain {
  func text(indent: String) -> String {
    var out = "\(indent)chain \(name) {\n"
    if let base {
      out += "\(indent)\ttype \(base.kind.rawValue) hook \(base.hook.rawValue) "
      out += "priority \(base.priority); policy \(base.policy.rawValue);\n"
    }
    for rule in rules { out += "\(indent)\t\(rule)\n" }
    return out + "\(indent)}\n"
  }
}

extension NamedSet {
  func text(indent: String) -> String {
    var out = "\(indent)\(isMap ? "map" : "set") \(name) {\n"
    let isTypeof = needsTypeof
    func spell(_ members: [DataType], asKey: Bool) -> String {
      members.map { isTypeof ? $0.typeofText(asKey: asKey) : $0.typeText }.joined(separator: " . ")
    }
    var type = spell(key, asKey: true)
    switch data {
    case .none: break
    case .values(let members): type += " : " + spell(members, asKey: false)
    case .verdict: type += " : verdict"
    }
    out += "\(indent)\t\(isTypeof ? "typeof" : "type") \(type)\n"
    if let size { out += "\(indent)\tsize \(size)\n" }
    var flags: [String] = []
    if isDynamic { flags.append("dynamic") }
    if isInterval { flags.append("interval") }
    if timeoutSeconds != nil { flags.append("timeout") }
    if !flags.isEmpty { out += "\(indent)\tflags \(flags.joined(separator: ","))\n" }
    if let timeoutSeconds { out += "\(indent)\ttimeout \(timeoutSeconds)s\n" }
    if !elements.isEmpty {
      let separator = ",\n\(indent)\t\t     "
      out += "\(indent)\telements = { \(elementTexts().joined(separator: separator)) }\n"
    }
    return out + "\(indent)}\n"
  }

  /// Whether the set can only be declared by example (`typeof`).
  public var needsTypeof: Bool { key.contains(.slot) }

  /// The elements as nft spells them, sorted by key.
  public func elementTexts() -> [String] {
    elements.sorted { $0.key < $1.key }.map { elementText($0.key, $0.value) }
  }

  /// One element as nft spells it: `10.43.0.10 . tcp . 80 comment "demo/web:http" : 0x20080001`.
  public func elementText(_ first: Datum, _ element: Element) -> String {
    var out: String
    if case .through(let last) = element.value {
      out = DataType.text(key, first: first, last: last)
    } else {
      out = DataType.text(key, first)
    }
    if let comment = element.comment { out += " comment \"\(Rule.quotable(comment))\"" }
    switch element.value {
    case .present, .through: break
    case .data(let value):
      if case .values(let members) = data { out += " : " + DataType.text(members, value) }
    case .verdict(let verdict): out += " : \(verdict)"
    }
    return out
  }
}

extension Rule: CustomStringConvertible {
  public var description: String {
    var out = statements.map(\.description).joined(separator: " ")
    if let comment { out += " comment \"\(Self.quotable(comment))\"" }
    return out
  }

  /// Text that survives nft's double quotes, which know no escape, within the kernel's 128 bytes.
  public static func quotable(_ text: String) -> String {
    func isQuotable(_ bytes: some Sequence<UInt8>) -> Bool {
      for byte in bytes where byte < 32 || byte == UInt8(ascii: "\"") { return false }
      return true
    }
    if text.utf8.count <= 127,
      text.utf8.withContiguousStorageIfAvailable({ isQuotable($0) }) ?? isQuotable(text.utf8)
    {
      return text
    }
    var out = ""
    for scalar in text.unicodeScalars {
      let replaced: Unicode.Scalar = scalar == "\"" || scalar.value < 32 ? "'" : scalar
      guard out.utf8.count + String(replaced).utf8.count <= 127 else { break }
      out.unicodeScalars.append(replaced)
    }
    return out
  }
}

extension Verdict: CustomStringConvertible {
  public var description: String {
    switch self {
    case .accept: "accept"
    case .drop: "drop"
    case .return: "return"
    case .jump(let chain): "jump \(chain)"
    case .goto(let chain): "goto \(chain)"
    }
  }
}

extension ConnectionState: CustomStringConvertible {
  public var description: String {
    let names: [(ConnectionState, String)] = [
      (.invalid, "invalid"), (.established, "established"), (.related, "related"), (.new, "new"),
      (.untracked, "untracked"),
    ]
    return names.filter { contains($0.0) }.map(\.1).joined(separator: ",")
  }
}

extension ConnectionStatus: CustomStringConvertible {
  public var description: String {
    let names: [(ConnectionStatus, String)] = [(.snat, "snat"), (.dnat, "dnat")]
    return names.filter { contains($0.0) }.map(\.1).joined(separator: ",")
  }
}

extension Statement: CustomStringConvertible {
  public var description: String {
    switch self {
    case .match(let expression, let comparison, let value):
      let relation = comparison == .notEqual ? "!= " : expression.isMasked ? "== " : ""
      return "\(expression) \(relation)\(expression.text(of: value))"
    case .matchRange(let expression, let first, let last):
      return "\(expression) \(DataType.text(expression.type, first: first, last: last))"
    case .ctState(let states): return "ct state \(states)"
    case .ctStatus(let status): return "ct status \(status)"
    case .lookup(let expression, let set, let negated):
      return "\(expression) \(negated ? "!= " : "")@\(set)"
    case .lookupAny(let expression, let intervals):
      let list = intervals.map { interval in
        interval.first == interval.last
          ? DataType.text(expression.type, interval.first)
          : DataType.text(expression.type, first: interval.first, last: interval.last)
      }
      return "\(expression) { \(list.joined(separator: ", ")) }"
    case .vmap(let expression, let map): return "\(expression) vmap @\(map)"
    case .setMetaMark(let expression): return "meta mark set \(expression)"
    case .setCtMark(let expression): return "ct mark set \(expression)"
    case .dnat(let expression):
      let family = expression.type.first == .ipv6Address ? "ip6" : "ip"
      return "dnat \(family) to \(expression)"
    case .masquerade(let fullyRandom): return fullyRandom ? "masquerade fully-random" : "masquerade"
    case .reject(.tcpReset): return "reject with tcp reset"
    case .reject(.portUnreachable): return "reject"
    case .counter: return "counter"
    case .counterNamed(let name): return "counter name \"\(name)\""
    case .limit(let rate, let burst): return "limit rate \(rate)/second burst \(burst) packets"
    case .log(let group, let prefix, let snapLength, let threshold):
      return "log prefix \"\(Rule.quotable(prefix))\" group \(group)"
        + (snapLength > 0 ? " snaplen \(snapLength)" : "")
        + (threshold > 0 ? " queue-threshold \(threshold)" : "")
    case .notrack: return "notrack"
    case .trace: return "meta nftrace set 1"
    case .update(let set, let key, let data, let timeout):
      return "update @\(set) { \(key) timeout \(timeout)s\(data.map { " : \($0)" } ?? "") }"
    case .remove(let set, let key, let data):
      return "delete @\(set) { \(key)\(data.map { " : \($0)" } ?? "") }"
    case .verdict(let verdict): return verdict.description
    }
  }
}

extension Expression: CustomStringConvertible {
  var isMasked: Bool { if case .masked = self { true } else { false } }

  public var description: String {
    switch self {
    case .sourceAddress(.ip): "ip saddr"
    case .sourceAddress(.ip6): "ip6 saddr"
    case .destinationAddress(.ip): "ip daddr"
    case .destinationAddress(.ip6): "ip6 daddr"
    case .sourcePort: "th sport"
    case .destinationPort: "th dport"
    case .tcpFlags: "tcp flags"
    case .etherSource: "ether saddr"
    case .arpSourceAddress: "arp saddr ip"
    case .metaTransport: "meta l4proto"
    case .metaMark: "meta mark"
    case .inputInterface: "iifname"
    case .outputInterface: "oifname"
    case .metaProtocol: "meta protocol"
    case .ctMark: "ct mark"
    case .ctDirection: "ct direction"
    case .sourceAddressKind: "fib saddr type"
    case .destinationAddressKind: "fib daddr type"
    case .random(let modulus): "numgen random mod \(modulus)"
    case .hashed(let inner, let modulus, let seed):
      "jhash \(inner) mod \(modulus) seed 0x\(String(seed, radix: 16))"
    case .constant(let value, let type): DataType.text([type], value)
    case .masked(let inner, let mask): "\(inner) & \(inner.text(of: mask))"
    case .or(let inner, let bits): "\(inner) | \(inner.text(of: bits))"
    case .xor(let inner, let bits): "\(inner) ^ \(inner.text(of: bits))"
    case .networkOrder(let inner): inner.description
    case .concatenation(let members): members.map(\.description).joined(separator: " . ")
    case .mapped(let key, let map, _): "\(key) map @\(map)"
    }
  }

  func text(of value: Datum) -> String {
    if type == [.interfaceName], value.count < 16 {
      return "\"\(String(decoding: value.bytes, as: UTF8.self))*\""
    }
    return DataType.text(type, value)
  }
}
