// `ipMasq`: what a pod sends beyond its subnet leaves with the node's address.
import Addresses
import Glibc
import KernelNetlink

enum Masquerade {
  private static func chain(_ subnet: IPPrefix) -> String { "mq-\(subnet.address)-\(subnet.length)" }

  /// Masquerades what the pod sends beyond its subnet, except to multicast groups.
  static func add(_ pods: [InterfaceAddress], comment: String) throws(CNIError) {
    do {
      for pod in pods {
        guard let subnet = pod.prefix else { continue }
        var table = try RuleTable(pod.address.family)
        let (wire, name, chain) = (table.wire, RuleTable.name, chain(subnet))
        let (network, mask) = HostPorts.networkAndMask(subnet)
        let multicast: [NetfilterExpression] =
          pod.address.family == .v4
          ? [
            .address(wire, isSource: false), .mask([0xf0, 0, 0, 0]), .compare([0xe0, 0, 0, 0]), .returning,
          ]
          : [
            .address(wire, isSource: false), .mask([0xff] + [UInt8](repeating: 0, count: 15)),
            .compare([0xff] + [UInt8](repeating: 0, count: 15)), .returning,
          ]
        let element = NetfilterChange.element(
          wire, table: name, set: RuleTable.pods, key: pod.address.bytes, goto: chain, comment: comment)
        // The subnet's chain is there from its first pod on.
        let isKnown = try table.session.commit(
          [element], unless: [ENOENT, EEXIST, EBUSY], command: "nft add element \(wire) \(name) pods")
        if isKnown { continue }
        try table.session.commit(
          [.deleteElement(wire, table: name, set: RuleTable.pods, key: pod.address.bytes)], unless: [ENOENT],
          command: "nft delete element \(wire) \(name) pods { \(pod.address) }")
        try table.commit(
          [
            .chain(wire, table: name, chain), .flushChain(wire, table: name, chain),
            .rule(
              wire, table: name, chain: chain,
              [.address(wire, isSource: false), .mask(mask), .compare(network), .returning]),
            .rule(wire, table: name, chain: chain, multicast),
            .rule(wire, table: name, chain: chain, [.masquerade]), element,
          ], "nft add element \(wire) \(name) pods { \(pod.address) : goto \(chain) }")
      }
    } catch {
      throw CNIError.wrapping(error, "cannot masquerade the pod's traffic")
    }
  }

  /// Ends it. None is success. The chain of a subnet goes with its last pod.
  static func remove(_ pods: [InterfaceAddress]) throws(CNIError) {
    do {
      for family in [IPFamily.v4, .v6] {
        let own = pods.filter { $0.address.family == family }
        guard !own.isEmpty else { continue }
        var table = try RuleTable(family)
        let (wire, name) = (table.wire, RuleTable.name)
        for start in stride(from: 0, to: own.count, by: removedTogetherMax) {
          try remove(own[start..<min(start + removedTogetherMax, own.count)], from: &table)
        }
        for subnet in Set(own.compactMap(\.prefix)) {
          let chain = chain(subnet)
          try table.session.commit(
            [.flushChain(wire, table: name, chain), .deleteChain(wire, table: name, chain)],
            unless: [EBUSY, ENOENT], command: "nft delete chain \(wire) \(name) \(chain)")
        }
      }
    } catch {
      throw CNIError.wrapping(error, "cannot end the masquerading of the pod's traffic")
    }
  }

  /// One transaction has room for more; the kernel's lock is held meanwhile.
  private static let removedTogetherMax = 256

  private static func remove(_ pods: ArraySlice<InterfaceAddress>, from table: inout RuleTable)
    throws(NetlinkError)
  {
    let (wire, name) = (table.wire, RuleTable.name)
    func command(_ pod: InterfaceAddress?) -> String {
      "nft delete element \(wire) \(name) pods { \(pod.map { "\($0.address)" } ?? "") }"
    }
    let all = pods.map {
      NetfilterChange.deleteElement(wire, table: name, set: RuleTable.pods, key: $0.address.bytes)
    }
    if try table.session.commit(all, unless: [ENOENT], command: command(pods.first)) { return }
    guard all.count > 1 else { return }
    // One of them is gone already, and took the others' transaction with it.
    for (pod, change) in zip(pods, all) {
      try table.session.commit([change], unless: [ENOENT], command: command(pod))
    }
  }

  /// Whether the pod's traffic is masqueraded.
  static func isInForce(_ pod: InterfaceAddress) throws(CNIError) -> Bool {
    do {
      var table = try RuleTable(pod.address.family)
      return try table.session.elements(table.wire, table: RuleTable.name, set: RuleTable.pods)
        .contains { $0.key == pod.address.bytes }
    } catch {
      throw CNIError.wrapping(error, "cannot read what is masqueraded")
    }
  }
}
