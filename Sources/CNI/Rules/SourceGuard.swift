// `macspoofchk`: a port of the bridge may send with its pod's MAC address only.
//
//   table bridge weft-cni {
//     set guarded { ifname }   set allowed { ifname . ether_addr }
//     chain prerouting   iifname @guarded iifname . ether saddr != @allowed drop
//   }
import Addresses
import Glibc
import KernelNetlink

enum SourceGuard {
  static func interfaceKey(_ name: String) -> [UInt8] {
    let bytes = Array(name.utf8.prefix(15))
    return bytes + [UInt8](repeating: 0, count: 16 - bytes.count)
  }

  static func add(_ interface: String, mac: MACAddress) throws(CNIError) {
    let name = RuleTable.name
    let key = interfaceKey(interface)
    let own: [NetfilterChange] = [
      .element(.bridge, table: name, set: "allowed", key: key + mac.array + [0, 0]),
      .element(.bridge, table: name, set: "guarded", key: key),
    ]
    do {
      // A port of this name that a killed call left says nothing of today's MAC address.
      try remove(interface)
      var session = try NetfilterSession()
      if try !session.commit(own, unless: [ENOENT], command: "nft add element bridge \(name) allowed") {
        try session.commit(foundation + own, command: "nft add table bridge \(name)")
      }
    } catch {
      throw CNIError.wrapping(error, "cannot guard \(interface) against foreign MAC addresses")
    }
  }

  /// None is success.
  static func remove(_ interface: String) throws(CNIError) {
    let (name, key) = (RuleTable.name, interfaceKey(interface))
    do {
      var session = try NetfilterSession()
      var changes: [NetfilterChange] = []
      for set in ["allowed", "guarded"] {
        for element in try session.elements(.bridge, table: name, set: set)
        where Array(element.key.prefix(16)) == key {
          changes.append(.deleteElement(.bridge, table: name, set: set, key: element.key))
        }
      }
      try session.commit(
        changes, unless: [ENOENT], command: "nft delete element bridge \(name) guarded")
    } catch {
      throw CNIError.wrapping(error, "cannot end the guard of \(interface)")
    }
  }

  private static var foundation: [NetfilterChange] {
    let name = RuleTable.name
    return [
      .table(.bridge, name),
      .set(.bridge, table: name, "guarded", key: [.interfaceName], isVerdictMap: false),
      .set(.bridge, table: name, "allowed", key: [.interfaceName, .ether], isVerdictMap: false),
      .chain(.bridge, table: name, "prerouting", base: ("filter", .prerouting, -300)),
      .flushChain(.bridge, table: name, "prerouting"),
      .rule(
        .bridge, table: name, chain: "prerouting",
        [
          .interfaceName(isInput: true), .isMember(of: "guarded"), .interfaceName(isInput: true),
          .etherSource(word: 4), .isMember(of: "allowed", negated: true), .drop,
        ]),
    ]
  }
}
