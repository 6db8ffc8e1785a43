// How values read in nft syntax.

import Addresses

extension DataType {
  /// The name in `type …`.
  public var typeText: String {
    switch self {
    case .ipv4Address: "ipv4_addr"
    case .ipv6Address: "ipv6_addr"
    case .transport: "inet_proto"
    case .port: "inet_service"
    case .mark, .networkMark, .slot: "mark"
    case .interfaceName: "ifname"
    case .etherAddress: "ether_addr"
    case .etherType: "ether_type"
    case .tcpFlags: "tcp_flag"
    case .direction: "ct_dir"
    case .addressKind: "fib_addrtype"
    case .familyNumber: "nf_proto"
    }
  }

  /// An expression of this type, for `typeof …`. Data members are written as destinations, keys as sources.
  func typeofText(asKey: Bool) -> String {
    switch self {
    case .ipv4Address: asKey ? "ip saddr" : "ip daddr"
    case .ipv6Address: asKey ? "ip6 saddr" : "ip6 daddr"
    case .transport: "meta l4proto"
    case .port: "th dport"
    case .mark, .networkMark: "ct mark"
    case .slot: "numgen random mod 2"
    case .interfaceName: "iifname"
    case .etherAddress: "ether saddr"
    case .etherType: "meta protocol"
    case .tcpFlags: "tcp flags"
    case .direction: "ct direction"
    case .addressKind: "fib daddr type"
    case .familyNumber: "meta nfproto"
    }
  }

  /// Members joined by ` . `.
  public static func text(_ members: [DataType], _ value: Datum) -> String {
    if members.count == 1 { return members[0].text(value) }
    return zip(members, ranges(of: members)).map { member, range in
      range.upperBound <= Int(value.count) ? member.text(value.slice(range)) : "?"
    }.joined(separator: " . ")
  }

  /// A range, member by member; one that is a block of addresses is written as a prefix.
  public static func text(_ members: [DataType], first: Datum, last: Datum) -> String {
    if members.count == 1 { return members[0].text(first: first, last: last) }
    return zip(members, ranges(of: members)).map { member, range in
      range.upperBound <= Int(min(first.count, last.count))
        ? member.text(first: first.slice(range), last: last.slice(range)) : "?"
    }.joined(separator: " . ")
  }

  private func text(first: Datum, last: Datum) -> String {
    if first == last { return text(first) }
    if self == .ipv4Address || self == .ipv6Address, let from = IPAddress(bytes: first.bytes),
      let to = IPAddress(bytes: last.bytes), let prefix = IPPrefix(first: from, last: to)
    {
      return prefix.description
    }
    return "\(text(first))-\(text(last))"
  }

  private func text(_ value: Datum) -> String {
    let bytes = value.bytes
    switch self {
    case .ipv4Address, .ipv6Address: return IPAddress(bytes: bytes)?.description ?? hex(bytes)
    case .transport:
      return switch value.asNumber & 0xff {
      case 1: "icmp"
      case 6: "tcp"
      case 17: "udp"
      case 58: "ipv6-icmp"
      case 132: "sctp"
      case let number: String(number)
      }
    case .port: return bytes.count == 2 ? String(UInt16(bytes[0]) << 8 | UInt16(bytes[1])) : hex(bytes)
    case .mark: return "0x" + padded(String(value.asNumber, radix: 16), 8)
    case .networkMark: return "0x" + padded(String(value.asNumber.byteSwapped, radix: 16), 8)
    case .slot: return String(value.asNumber)
    case .interfaceName:
      return "\"\(String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self))\""
    case .etherAddress: return MACAddress(bytes)?.description ?? hex(bytes)
    case .etherType:
      return switch bytes {
      case [0x08, 0x00]: "ip"
      case [0x08, 0x06]: "arp"
      case [0x86, 0xdd]: "ip6"
      default: hex(bytes)
      }
    case .tcpFlags:
      let names: [(UInt8, String)] = [
        (TCPFlag.fin, "fin"), (TCPFlag.syn, "syn"), (TCPFlag.rst, "rst"), (TCPFlag.psh, "psh"),
        (TCPFlag.ack, "ack"),
      ]
      let flags = bytes.first ?? 0
      let set = names.filter { flags & $0.0 != 0 }.map(\.1)
      return set.isEmpty ? "0x0" : set.count == 1 ? set[0] : "(\(set.joined(separator: " | ")))"
    case .direction: return value.asNumber & 0xff == 0 ? "original" : "reply"
    case .addressKind: return value.asNumber == Expression.kindLocal ? "local" : String(value.asNumber)
    case .familyNumber: return value.asNumber & 0xff == 2 ? "ipv4" : "ipv6"
    }
  }

  private func hex(_ bytes: [UInt8]) -> String {
    "0x" + bytes.map { padded(String($0, radix: 16), 2) }.joined()
  }

  private func padded(_ text: String, _ width: Int) -> String {
    String(repeating: "0", count: max(0, width - text.utf8.count)) + text
  }
}

extension IPPrefix {
  /// The block that begins and ends with these; nil when there is none.
  init?(first: IPAddress, last: IPAddress) {
    let length: Int
    switch (first, last) {
    case (.v4(let a), .v4(let b)): length = (a.bits ^ b.bits).leadingZeroBitCount
    case (.v6(let a), .v6(let b)): length = (a.bits ^ b.bits).leadingZeroBitCount
    default: return nil
    }
    guard let prefix = IPPrefix(first, length: length), prefix.address == first, prefix.last == last else {
      return nil
    }
    self = prefix
  }
}
