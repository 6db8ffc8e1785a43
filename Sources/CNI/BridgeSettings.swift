// What the `bridge` plugin alone reads: the bridge, its ports, VLANs, masquerading.
import Addresses

/// Options of a bridge network. Called as `bridge` it has the reference plugin's defaults, else ours: a gateway with
/// hairpin.
struct BridgeSettings: Sendable, Hashable {
  /// A range of VLAN IDs that a port carries tagged.
  struct Trunk: Sendable, Hashable {
    var first: UInt16
    var last: UInt16
  }

  var name = "cni0"
  /// No bridge: each pod's veth is a link of its own, its address a route (`"mode": "routed"`, or called as `ptp`).
  var isRouted = false
  var isGateway = true
  var isDefaultGateway = false
  /// A bridge that has another address of the subnet loses it instead of ending the ADD.
  var forcesAddress = false
  var masquerades = false
  var hairpin = true
  var isPromiscuous = false
  /// Ports reach the gateway, not each other.
  var isIsolated = false
  /// Frames whose source MAC is not the pod's are dropped.
  var checksMAC = false
  /// 0: as the bridge, or as the uplink when the bridge is new.
  var mtu: UInt32 = 0
  var vlan: UInt16 = 0
  var trunk: [Trunk] = []
  /// Whether a port with a VLAN keeps the bridge's default one too.
  var keepsDefaultVLAN = true
  /// The pod's end stays down: whoever runs in the pod raises it.
  var leavesInterfaceDown = false
  /// IPv6 duplicate address detection, which delays the address by one to three seconds.
  var detectsDuplicates = false

  init() {}

  init(_ json: JSONValue, plugin: String) throws(CNIError) {
    let isReference = plugin == "bridge" || plugin == "ptp"
    func flag(_ key: String, _ fallback: Bool = false) throws(CNIError) -> Bool {
      guard let value = json[key] else { return fallback }
      guard let flag = value.bool else {
        throw CNIError(.invalidConfiguration, "`\(key)` is neither true nor false: \(value.text)")
      }
      return flag
    }
    name = json["bridge"]?.string ?? "cni0"
    guard Invocation.isInterfaceName(name) else {
      throw CNIError(.invalidConfiguration, "`bridge` is not an interface name: \(name)")
    }
    switch json["mode"]?.string ?? "" {
    case "": isRouted = plugin == "ptp"
    case "bridge": isRouted = false
    case "routed": isRouted = true
    case let mode:
      throw CNIError(
        .unsupportedField, "`mode`: \(mode) is not supported", details: "`bridge` or `routed` is expected")
    }
    isDefaultGateway = try flag("isDefaultGateway")
    isGateway = try flag("isGateway", !isReference) || isDefaultGateway
    forcesAddress = try flag("forceAddress")
    masquerades = try flag("ipMasq")
    hairpin = try flag("hairpinMode", !isReference)
    isPromiscuous = try flag("promiscMode")
    if isPromiscuous, json["hairpinMode"] == nil { hairpin = false }
    isIsolated = try flag("portIsolation")
    checksMAC = try flag("macspoofchk")
    keepsDefaultVLAN = try flag("preserveDefaultVlan", true)
    leavesInterfaceDown = try flag("disableContainerInterface")
    detectsDuplicates = try flag("enabledad")
    try readNumbers(json)
    try check(json)
  }

  private mutating func readNumbers(_ json: JSONValue) throws(CNIError) {
    let mtu = json["mtu"]?.integer ?? 0
    guard mtu == 0 || (68...65535).contains(mtu) else {
      throw CNIError(.invalidConfiguration, "`mtu` is not between 68 and 65535: \(mtu)")
    }
    self.mtu = UInt32(mtu)
    let own = json["args"]?["cni"]?["vlan"]?.integer ?? json["vlan"]?.integer ?? 0
    guard (0...4094).contains(own) else {
      throw CNIError(.invalidConfiguration, "`vlan` is not between 0 and 4094: \(own)")
    }
    vlan = UInt16(own)
    for entry in json["vlanTrunk"]?.array ?? [] {
      let single = entry["id"]?.integer
      let (low, high) = (entry["minID"]?.integer ?? single, entry["maxID"]?.integer ?? single)
      guard let low, let high, (0...4094).contains(low), (0...4094).contains(high), low <= high else {
        throw CNIError(
          .invalidConfiguration, "`vlanTrunk` has a malformed entry: \(entry.text)",
          details: "`id`, or `minID` and `maxID`, between 0 and 4094")
      }
      trunk.append(Trunk(first: UInt16(low), last: UInt16(high)))
    }
  }

  private func check(_ json: JSONValue) throws(CNIError) {
    if hairpin, isPromiscuous {
      throw CNIError(
        .invalidConfiguration, "`hairpinMode` and `promiscMode` exclude each other",
        details: "a promiscuous bridge would deliver hairpin frames twice; use hairpinMode")
    }
    if leavesInterfaceDown, json["ipam"]?.members?.isEmpty == false {
      throw CNIError(
        .invalidConfiguration, "`disableContainerInterface` and `ipam` exclude each other",
        details: "an interface that stays down has no addresses")
    }
    if vlan != 0, !trunk.isEmpty {
      throw CNIError(.invalidConfiguration, "`vlan` and `vlanTrunk` exclude each other")
    }
    if let backend = json["ipMasqBackend"]?.string, !["", "iptables", "nftables"].contains(backend) {
      throw CNIError(
        .unsupportedField, "`ipMasqBackend`: \(backend) is not supported",
        details: "iptables and nftables are the same here: nftables over netlink")
    }
  }
}
