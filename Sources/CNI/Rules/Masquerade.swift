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

  /// Ends it. None is success. The chain of the subnet goes with its last pod.
  static func remove(_ pods: [InterfaceAddress]) throws(CNIError) {
    do {
      for pod in pods {
        guard let subnet = pod.prefix else { continue }
        var table = try RuleTable(pod.address.family)
        let (wire, name) = (table.wire, RuleTable.name)
        try table.session.commit(
          [.deleteElement(wire, table: name, set: RuleTable.pods, key: pod.address.bytes)], unless: [ENOENT],
          command: "nft delete element \(wire) \(name) pods { \(pod.address) }")
        let subnetChain = chain(subnet)
        try table.session.commit(
          [.flushChain(wire, table: name, subnetChain), .deleteChain(wire, table: name, subnetChain)],
          unless: [EBUSY, ENOENT], command: "nft delete chain \(wire) \(name) \(subnetChain)")
      }
    } catch {
      throw CNIError.wrapping(error, "cannot end the masquerading of the pod's traffic")
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
