// The settings that rules depend on, written into the table beside the rules: whoever looks at a node later (`weft diff`,
// `weft explain`) plans with the same ones, and `nft list set ip KUBE-PROXY settings` shows them.

import Addresses
import Ruleset

enum SettingsInForce {
  static let name = "settings"

  /// One element a setting; the words stand in its comment.
  static func set(_ configuration: ProxyConfiguration) -> NamedSet {
    var set = NamedSet(name, key: [.mark])
    for (number, words) in words(configuration).enumerated() {
      set.insert(.number(UInt32(number)), comment: words)
    }
    return set
  }

  private static func words(_ configuration: ProxyConfiguration) -> [String] {
    let mode =
      switch configuration.localDetection {
      case nil: "none"
      case .clusterCIDR: "ClusterCIDR"
      case .nodeCIDR: "NodeCIDR"
      case .bridgeInterface(let name): "BridgeInterface \(name)"
      case .interfaceNamePrefix(let prefix): "InterfaceNamePrefix \(prefix)"
      }
    return [
      "detectLocalMode \(mode)", "masqueradeAll \(configuration.masqueradesAll)",
      "masqueradeBit \(configuration.masqueradeBit)", "masqueradePods \(configuration.masqueradesPods)",
      "clearForeignMarks \(configuration.clearsForeignMarks)",
    ]
  }

  static func apply(_ words: String, to configuration: inout ProxyConfiguration) {
    let parts = words.split(separator: " ", maxSplits: 2).map(String.init)
    guard parts.count > 1 else { return }
    switch parts[0] {
    case "masqueradeAll": configuration.masqueradesAll = parts[1] == "true"
    case "masqueradePods": configuration.masqueradesPods = parts[1] == "true"
    case "clearForeignMarks": configuration.clearsForeignMarks = parts[1] == "true"
    case "masqueradeBit": if let bit = UInt8(parts[1]), bit < 32 { configuration.masqueradeBit = bit }
    case "detectLocalMode":
      let name = parts.count > 2 ? parts[2] : ""
      switch parts[1] {
      case "none": configuration.localDetection = nil
      case "ClusterCIDR": configuration.localDetection = .clusterCIDR
      case "NodeCIDR": configuration.localDetection = .nodeCIDR
      case "BridgeInterface": configuration.localDetection = .bridgeInterface(name)
      case "InterfaceNamePrefix": configuration.localDetection = .interfaceNamePrefix(name)
      default: break
      }
    default: break
    }
  }
}

extension ProxyConfiguration {
  /// Takes over what the tables in force were planned with and no object of the cluster says: the settings, and the blocks of
  /// pods, cluster and Services. What is not in force stays as it is.
  public mutating func adopt(from inForce: InForce) {
    var blocks: [String: [IPPrefix]] = [:]
    for family in families {
      guard let table = inForce.tables[ProxyTables.id(family)] else { continue }
      for element in table.sets[SettingsInForce.name]?.elements.values ?? [:].values {
        if let words = element.comment { SettingsInForce.apply(words, to: &self) }
      }
      for name in ["pod-net", "cluster-net", "service-net"] {
        for (first, element) in table.sets[name]?.elements ?? [:] {
          guard case .through(let last) = element.value,
            let first = IPAddress(bytes: first.slice(0..<family.width / 8).bytes),
            let block = IPPrefix(first, through: last.slice(0..<family.width / 8).bytes)
          else { continue }
          blocks[name, default: []].append(block)
        }
      }
    }
    if let found = blocks["pod-net"] { podNetworks = found.sorted() }
    if let found = blocks["cluster-net"] { clusterNetworks = found.sorted() }
    if let found = blocks["service-net"] { serviceNetworks = found.sorted() }
  }

  /// Takes over kube-proxy's settings. That proxy leaves what pods send out of the cluster to the cluster's network.
  /// - Parameter podCIDRs: the node's own, for mode NodeCIDR.
  public mutating func apply(_ settings: KubeProxySettings, podCIDRs: [IPPrefix]) {
    clusterNetworks = settings.clusterCIDRs
    serviceNetworks = settings.serviceCIDRs
    masqueradesAll = settings.masqueradeAll
    masqueradesPods = false
    podNetworks = podCIDRs
    localDetection =
      switch settings.detectLocal {
      case .clusterCIDR: .clusterCIDR
      case .nodeCIDR: .nodeCIDR
      case .bridgeInterface(let name): .bridgeInterface(name)
      case .interfaceNamePrefix(let prefix): .interfaceNamePrefix(prefix)
      }
  }
}

extension IPPrefix {
  /// The block from `first` through `last`; nil when they are not the ends of one.
  fileprivate init?(_ first: IPAddress, through last: [UInt8]) {
    var length = 0
    for (a, b) in zip(first.bytes, last) {
      length += min((a ^ b).leadingZeroBitCount, 8)
      if a != b { break }
    }
    guard let block = IPPrefix(first, length: length), block.address == first, block.last.bytes == last else {
      return nil
    }
    self = block
  }
}
