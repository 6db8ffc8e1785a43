// The plugin's one nftables table for each family: host ports and masquerading, entered by look-ups, so that the cost of
// a packet does not grow with the number of pods.
//
//   table ip weft-cni {
//     map addressed { ipv4_addr . inet_proto . inet_service : verdict }   host ports of one address
//     map anywhere  { inet_proto . inet_service : verdict }               host ports of every address of this node
//     map pods      { ipv4_addr : verdict }                               whose traffic is masqueraded
//     chain guard       filter prerouting -300   from outside to 127.0.0.0/8: drop
//     chain prerouting  nat prerouting    -100   fib daddr type local: jump hostports
//     chain output      nat output        -100   fib daddr type local: jump hostports
//     chain hostports                            vmap addressed, vmap anywhere
//     chain postrouting nat postrouting    100   mark & 0x2000: masquerade; saddr vmap pods
//     chain hp-…                                 one for each mapping: mark, dnat
//     chain mq-SUBNET                            not to the subnet, not to multicast: masquerade
//   }
//
// The guard by local destination matters: without it a packet to port 80 of anywhere would go to the pod
// (CVE-2025-67499). Everything of one call is one transaction, so a killed call leaves all of it or nothing.
import Addresses
import Glibc
import KernelNetlink

/// Whose rules: a hash of the attachment stands in chain names, so that DEL needs nothing but its name.
struct RuleOwner {
  var network: String
  var key: String
  /// For people who list the rules.
  var comment: String

  init(network: String, containerID: String, interfaceName: String, pod: String = "") {
    self.network = network
    key = "\(containerID):\(interfaceName)"
    comment = pod.isEmpty ? "\(network) \(containerID)" : "\(network) \(pod)"
  }

  static func networkPrefix(_ network: String) -> String { "hp-\(Hash.short(network))-" }
  var prefix: String { "\(Self.networkPrefix(network))\(Hash.short(key))-" }
}

extension Hash {
  /// 16 hexadecimal digits that stand for a text.
  static func short(_ text: String) -> String {
    digits(scatter(add(text, to: start)), 16)
  }

  /// The last `count` hexadecimal digits. By hand: the library's way with radixes is generic, and slow to start.
  static func digits(_ value: UInt64, _ count: Int) -> String {
    String(unsafeUninitializedCapacity: count) { text in
      for index in 0..<count {
        let digit = UInt8(truncatingIfNeeded: value >> UInt64(4 * (count - 1 - index))) & 0xf
        text[index] = digit < 10 ? 0x30 + digit : 0x57 + digit
      }
      return count
    }
  }

  /// FNV's low bits mix best at the bottom; spread them before cutting.
  static func scatter(_ hash: UInt64) -> UInt64 {
    var hash = (hash ^ (hash >> 33)) &* 0xff51_afd7_ed55_8ccd
    hash = (hash ^ (hash >> 33)) &* 0xc4ce_b9fe_1a85_ec53
    return hash ^ (hash >> 33)
  }
}

/// The table of one family, in the calling thread's network namespace.
struct RuleTable: ~Copyable {
  let family: IPFamily
  var session: NetfilterSession

  static let name = "weft-cni"
  static let addressed = "addressed"
  static let anywhere = "anywhere"
  static let pods = "pods"
  /// The mark that asks for masquerading, unless `markMasqBit` names another bit.
  static let defaultMarkBit: UInt32 = 13

  init(_ family: IPFamily) throws(NetlinkError) {
    self.family = family
    session = try NetfilterSession()
  }

  var wire: Netfilter.Family { family == .v4 ? .ip : .ip6 }
  private var addressKey: Netfilter.KeyType { family == .v4 ? .ipv4 : .ipv6 }

  /// Commits `changes`; when the table is not there yet, together with the table. All of them or none.
  mutating func commit(_ changes: [NetfilterChange], _ command: String) throws(NetlinkError) {
    if try !session.commit(changes, unless: [ENOENT], command: command) {
      try session.commit(foundation() + changes, command: command)
    }
  }

  /// Table, maps and chains. Rules of the fixed chains are written anew: a half of an older version heals.
  private func foundation() -> [NetfilterChange] {
    let table = Self.name
    var changes: [NetfilterChange] = [
      .table(wire, table),
      .set(wire, table: table, Self.addressed, key: [addressKey, .transport, .port], isVerdictMap: true),
      .set(wire, table: table, Self.anywhere, key: [.transport, .port], isVerdictMap: true),
      .set(wire, table: table, Self.pods, key: [addressKey], isVerdictMap: true),
      .chain(wire, table: table, "hostports"),
      .chain(wire, table: table, "prerouting", base: ("nat", .prerouting, -100)),
      .chain(wire, table: table, "output", base: ("nat", .output, -100)),
      .chain(wire, table: table, "postrouting", base: ("nat", .postrouting, 100)),
    ]
    for chain in ["hostports", "prerouting", "output", "postrouting"] {
      changes.append(.flushChain(wire, table: table, chain))
    }
    for chain in ["prerouting", "output"] {
      changes.append(
        .rule(wire, table: table, chain: chain, NetfilterExpression.isForThisMachine + [.jump("hostports")]))
    }
    let words = family == .v4 ? 1 : 4
    changes += [
      .rule(
        wire, table: table, chain: "hostports",
        [
          .address(wire, isSource: false), .transport(word: words), .destinationPort(word: words + 1),
          .verdictMap(Self.addressed),
        ]),
      .rule(
        wire, table: table, chain: "hostports",
        [.transport(), .destinationPort(word: 1), .verdictMap(Self.anywhere)]),
      .rule(
        wire, table: table, chain: "postrouting",
        NetfilterExpression.hasMark(1 << Self.defaultMarkBit) + [.masquerade]),
      .rule(
        wire, table: table, chain: "postrouting", [.address(wire, isSource: true), .verdictMap(Self.pods)]),
    ]
    guard family == .v4 else { return changes }
    // route_localnet lets this node reach its pods from 127.0.0.1; nobody else may reach its 127.0.0.1.
    return changes + [
      .chain(wire, table: table, "guard", base: ("filter", .prerouting, -300)),
      .flushChain(wire, table: table, "guard"),
      .rule(
        wire, table: table, chain: "guard",
        [
          .interfaceName(isInput: true),
          .compare(Array("lo".utf8) + [UInt8](repeating: 0, count: 14), isEqual: false),
          .address(.ip, isSource: false), .mask([255, 0, 0, 0]), .compare([127, 0, 0, 0]), .drop,
        ]),
    ]
  }
}

/// Removes the plugin's tables with all host ports and masquerading, of the calling thread's network namespace.
/// For taking a node down.
public func removeRuleTables() throws(CNIError) {
  for family in [Netfilter.Family.ip, .ip6, .inet, .bridge] {
    do throws(NetlinkError) {
      var session = try NetfilterSession()
      try session.commit(
        [.deleteTable(family, RuleTable.name)], unless: [ENOENT],
        command: "nft delete table \(family) \(RuleTable.name)")
    } catch {
      throw CNIError.wrapping(error, "cannot remove the table \(family) \(RuleTable.name)")
    }
  }
}
