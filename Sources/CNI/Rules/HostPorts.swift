// Host ports of pods: written, found and removed by the attachment they belong to.
import Addresses
import Glibc
import KernelNetlink

/// How host ports of a network are translated.
struct HostPortSettings: Sendable, Hashable {
  /// Whether senders that the pod would answer past the node are masqueraded: the node's own loopback and the pod's
  /// neighbours, the pod itself among them.
  var masqueradesLocal = true
  /// Whether every sender is.
  var masqueradesAll = false
  var markBit = RuleTable.defaultMarkBit

  init() {}

  /// Of the `portmap` plugin's configuration.
  init(_ json: JSONValue) throws(CNIError) {
    masqueradesLocal = json["snat"]?.bool ?? true
    masqueradesAll = json["masqAll"]?.bool ?? false
    let bit = json["markMasqBit"]?.integer ?? Int64(RuleTable.defaultMarkBit)
    guard (0...31).contains(bit) else {
      throw CNIError(.invalidConfiguration, "`markMasqBit` is not between 0 and 31: \(bit)")
    }
    markBit = UInt32(bit)
    if let backend = json["backend"]?.string, !["", "iptables", "nftables"].contains(backend) {
      throw CNIError(
        .unsupportedField, "`backend`: \(backend) is not supported",
        details: "iptables and nftables are the same here: nftables over netlink")
    }
    // Refusing is safer than ignoring: each of these changes what traffic is let through.
    for key in ["conditionsV4", "conditionsV6"] where json[key]?.array?.isEmpty == false {
      throw CNIError(
        .unsupportedField, "`\(key)`: \(json[key]?.text ?? "") is not supported",
        details: "remove the key; a NetworkPolicy says who may reach a pod")
    }
    if let chain = json["externalSetMarkChain"]?.string, !chain.isEmpty {
      throw CNIError(
        .unsupportedField, "`externalSetMarkChain`: \(chain) is not supported",
        details: "remove the key; markMasqBit chooses the mark")
    }
  }
}

struct HostPorts {
  var owner: RuleOwner
  var settings = HostPortSettings()

  /// Makes `mappings` lead to the pod. Throws error 104 when another pod has one of the ports.
  /// - Parameter hostInterface: the link of the node that the pod is behind, for 127.0.0.1.
  func add(_ mappings: [PortMapping], to pod: InterfaceAddress, hostInterface: String) throws(CNIError) {
    let family = pod.address.family
    let wanted = mappings.filter { $0.family == nil || $0.family == family }
    guard !wanted.isEmpty else { return }
    do {
      var table = try RuleTable(family)
      let changes = changes(wanted, to: pod, in: table.wire)
      var refusal: NetlinkError? = nil
      do throws(NetlinkError) {
        try table.commit(changes, "nft add element \(table.wire) \(RuleTable.name) … # host ports")
      } catch {
        refusal = error
      }
      if let refusal {
        // EBUSY: kernels before 6.0, when the key leads elsewhere.
        guard refusal.isExisting || refusal.errno == EBUSY else { throw refusal }
        throw try conflict(wanted, &table, refusal)
      }
      if family == .v4, settings.masqueradesLocal {
        try? Sysctl.write("net/ipv4/conf/\(hostInterface)/route_localnet", "1")
      }
      // What a client of the port's former owner sends must not follow its old way.
      for mapping in wanted where mapping.transport == .udp {
        try table.session.forgetFlows(
          table.wire, transport: mapping.transport.number, destinationPort: mapping.hostPort)
      }
    } catch {
      throw CNIError.wrapping(error, "cannot open host ports of \(owner.key)")
    }
  }

  /// Closes every host port of the attachment, of both families. None is success.
  func remove() throws(CNIError) {
    let prefix = owner.prefix
    try Self.remove { $0.hasPrefix(prefix) }
  }

  /// Closes the host ports of the network's attachments that are not in `valid` (`CONTAINERID:IFNAME`).
  static func collectGarbage(network: String, valid: Set<String>) throws(CNIError) {
    let prefix = RuleOwner.networkPrefix(network)
    let kept = Set(valid.map { Hash.short($0) })
    try remove { chain in
      guard chain.hasPrefix(prefix) else { return false }
      return !kept.contains(String(chain.dropFirst(prefix.utf8.count).prefix(16)))
    }
  }

  /// Throws error 102 when a mapping does not lead to the attachment any more.
  func check(_ mappings: [PortMapping], to pod: InterfaceAddress) throws(CNIError) {
    do {
      var table = try RuleTable(pod.address.family)
      let found = try Self.elements(&table).filter { $0.element.chain?.hasPrefix(owner.prefix) == true }
      for mapping in mappings where mapping.family == nil || mapping.family == pod.address.family {
        let (set, key) = Self.place(mapping)
        guard found.contains(where: { $0.set == set && $0.element.key == key }) else {
          throw CNIError(
            .differs, "host port \(mapping.hostPort)/\(mapping.transport.rawValue) leads to the pod no more")
        }
      }
    } catch {
      throw CNIError.wrapping(error, "cannot check host ports of \(owner.key)")
    }
  }

  private static func remove(where isOurs: (String) -> Bool) throws(CNIError) {
    do {
      for family in [IPFamily.v4, .v6] {
        var table = try RuleTable(family)
        let wire = table.wire
        var changes: [NetfilterChange] = []
        var chains: Set<String> = []
        for (set, element) in try elements(&table) {
          guard let chain = element.chain, isOurs(chain) else { continue }
          changes.append(.deleteElement(wire, table: RuleTable.name, set: set, key: element.key))
          chains.insert(chain)
        }
        for chain in chains.sorted() {
          changes.append(.flushChain(wire, table: RuleTable.name, chain))
          changes.append(.deleteChain(wire, table: RuleTable.name, chain))
        }
        // Missing: another DEL of the same attachment was quicker.
        try table.session.commit(
          changes, unless: [ENOENT], command: "nft delete element \(wire) \(RuleTable.name) … # host ports")
      }
    } catch {
      throw CNIError.wrapping(error, "cannot close host ports")
    }
  }

  private static func elements(_ table: inout RuleTable) throws(NetlinkError) -> [(
    set: String, element: NetfilterElement
  )] {
    var found: [(set: String, element: NetfilterElement)] = []
    for set in [RuleTable.anywhere, RuleTable.addressed] {
      let elements = try table.session.elements(table.wire, table: RuleTable.name, set: set)
      found += elements.map { (set, $0) }
    }
    return found
  }

  private func changes(_ mappings: [PortMapping], to pod: InterfaceAddress, in wire: Netfilter.Family)
    -> [NetfilterChange]
  {
    var changes: [NetfilterChange] = []
    let table = RuleTable.name
    let mark = NetfilterExpression.addMark(1 << settings.markBit)
    if settings.markBit != RuleTable.defaultMarkBit {
      // A base chain for each other bit: adding it again changes nothing.
      let chain = "postrouting-\(settings.markBit)"
      changes += [
        .chain(wire, table: table, chain, base: ("nat", .postrouting, 100)),
        .flushChain(wire, table: table, chain),
        .rule(
          wire, table: table, chain: chain,
          NetfilterExpression.hasMark(1 << settings.markBit) + [.masquerade]),
      ]
    }
    for (index, mapping) in mappings.enumerated() {
      let chain = "\(owner.prefix)\(index)"
      changes.append(.chain(wire, table: table, chain))
      if settings.masqueradesAll {
        changes.append(.rule(wire, table: table, chain: chain, mark))
      } else if settings.masqueradesLocal {
        for sender in Self.localSenders(of: pod) {
          let (network, mask) = Self.networkAndMask(sender)
          changes.append(
            .rule(
              wire, table: table, chain: chain,
              [.address(wire, isSource: true), .mask(mask), .compare(network)] + mark))
        }
      }
      changes.append(
        .rule(
          wire, table: table, chain: chain,
          NetfilterExpression.translateDestination(
            wire, address: pod.address.bytes, port: mapping.containerPort), comment: owner.comment))
      let (set, key) = Self.place(mapping)
      changes.append(
        .element(wire, table: table, set: set, key: key, goto: chain, comment: owner.comment))
    }
    return changes
  }

  /// Who would be answered past the node: its loopback, the pods of the same subnet.
  private static func localSenders(of pod: InterfaceAddress) -> [IPPrefix] {
    var senders: [IPPrefix] = []
    if pod.address.family == .v4, let loopback = IPPrefix("127.0.0.0/8") { senders.append(loopback) }
    if let own = pod.prefix { senders.append(own) }
    return senders
  }

  static func networkAndMask(_ prefix: IPPrefix) -> (network: [UInt8], mask: [UInt8]) {
    let bytes = prefix.address.bytes
    let mask = bytes.indices.map { index in
      let bits = min(max(prefix.length - index * 8, 0), 8)
      return bits == 0 ? UInt8(0) : UInt8(truncatingIfNeeded: 0xff00 >> bits)
    }
    return (zip(bytes, mask).map { $0 & $1 }, mask)
  }

  /// The map and the key that a mapping stands under.
  static func place(_ mapping: PortMapping) -> (set: String, key: [UInt8]) {
    let port = withUnsafeBytes(of: mapping.hostPort.bigEndian) { [UInt8]($0) }
    let tail = [mapping.transport.number, 0, 0, 0] + port + [0, 0]
    guard let address = mapping.hostAddress else { return (RuleTable.anywhere, tail) }
    return (RuleTable.addressed, address.bytes + tail)
  }

  /// Names the mapping that somebody else has.
  private func conflict(_ mappings: [PortMapping], _ table: inout RuleTable, _ cause: NetlinkError)
    throws(NetlinkError) -> CNIError
  {
    let present = try Self.elements(&table)
    for mapping in mappings {
      let (set, key) = Self.place(mapping)
      guard let holder = present.first(where: { $0.set == set && $0.element.key == key }) else { continue }
      return CNIError(
        .hostPortTaken,
        "host port \(mapping.hostPort)/\(mapping.transport.rawValue) of this node is taken",
        details:
          "by \(holder.element.comment); `nft list map \(table.wire) \(RuleTable.name) \(set)` shows all")
    }
    return CNIError(.hostPortTaken, "a host port is asked for twice", details: "\(cause)")
  }
}
