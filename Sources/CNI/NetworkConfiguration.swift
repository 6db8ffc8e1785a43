// The network's configuration as the runtime hands it over on standard input.
import Addresses
import KernelNetlink

/// A block of addresses to give out, with its gateway.
public struct AddressRange: Sendable, Hashable {
  public var subnet: IPPrefix
  public var first: IPAddress
  public var last: IPAddress
  public var gateway: IPAddress
}

/// A network's configuration, checked. Keys are found whatever their case.
public struct NetworkConfiguration: Sendable {
  public var version: String
  public var name: String
  public var type: String
  public var bridge: String
  public var isGateway: Bool
  public var isDefaultGateway: Bool
  public var hairpin: Bool
  /// 0: as the bridge, or as the uplink when the bridge is new.
  public var mtu: UInt32
  /// One address is given from each set.
  public var rangeSets: [[AddressRange]]
  /// `ipam.routes`; nil when not given, then a default route is made.
  public var routes: [(destination: IPPrefix, gateway: IPAddress?)]?
  public var dataDirectory: String
  public var nodeSocket: String?
  public var nodeTimeoutMilliseconds: Int
  public var requiresNode: Bool
  public var dns: JSONValue?
  public var requestedAddresses: [IPAddress]
  public var requestedMAC: MACAddress?
  public var previousResult: JSONValue?
  /// `cni.dev/valid-attachments` of GC.
  public var validAttachments: [JSONValue]?

  public static let versions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
  public static let defaultDataDirectory = "/var/lib/weft/cni"
  /// A plugin waits this long for the node agent unless the configuration says otherwise.
  public static let defaultNodeTimeoutMilliseconds = 5000

  /// - Parameter needsRanges: whether a configuration without addresses is an error (ADD, STATUS) or not
  /// (DEL).
  public init(_ json: JSONValue, arguments: [String: String] = [:], needsRanges: Bool) throws(CNIError) {
    version = json["cniVersion"]?.string ?? "0.1.0"
    guard Self.versions.contains(version) else {
      throw CNIError(
        .incompatibleVersion, "cniVersion \(version) is not supported",
        details: "supported: \(Self.versions.joined(separator: ", "))")
    }
    name = json["name"]?.string ?? ""
    guard Invocation.isIdentifier(name) else {
      throw CNIError(.invalidConfiguration, "`name` is missing or malformed: \(name)")
    }
    type = json["type"]?.string ?? "weft-cni"
    bridge = json["bridge"]?.string ?? "cni0"
    guard Invocation.isInterfaceName(bridge) else {
      throw CNIError(.invalidConfiguration, "`bridge` is not an interface name: \(bridge)")
    }
    isGateway = json["isGateway"]?.bool ?? true
    isDefaultGateway = json["isDefaultGateway"]?.bool ?? false
    hairpin = json["hairpinMode"]?.bool ?? true
    mtu = UInt32(exactly: json["mtu"]?.integer ?? 0) ?? 0
    guard mtu == 0 || (68...65535).contains(mtu) else {
      throw CNIError(.invalidConfiguration, "`mtu` is not between 68 and 65535: \(mtu)")
    }
    let ipam = json["ipam"] ?? .object([JSONValue.Member]())
    dataDirectory =
      ipam["dataDir"]?.string ?? json["dataDir"]?.string ?? Self.defaultDataDirectory
    nodeSocket = json["nodeSocket"]?.string.flatMap { $0.isEmpty ? nil : $0 }
    let timeout = json["nodeSocketTimeoutMilliseconds"]?.integer ?? Int64(Self.defaultNodeTimeoutMilliseconds)
    nodeTimeoutMilliseconds = Int(min(max(timeout, 1), 60_000))
    requiresNode = json["requireNode"]?.bool ?? false
    dns = json["dns"]
    previousResult = json["prevResult"]
    validAttachments = json["cni.dev/valid-attachments"]?.array
    let runtime = json["runtimeConfig"]
    requestedAddresses = (arguments["IP"].map { [$0] } ?? runtime?["ips"]?.array?.compactMap(\.string) ?? [])
      .compactMap { IPAddress($0.prefix { $0 != "/" }) }
    requestedMAC = (runtime?["mac"]?.string ?? arguments["MAC"]).flatMap { MACAddress(text: $0) }
    routes = nil
    rangeSets = []
    do {
      routes = try Self.routes(ipam)
      rangeSets = try Self.rangeSets(ipam)
      if needsRanges { try check(json) }
    } catch  where !needsRanges {
      // DEL must succeed with whatever configuration is left.
    }
  }

  private func check(_ json: JSONValue) throws(CNIError) {
    guard !rangeSets.isEmpty else {
      throw CNIError(
        .invalidConfiguration, "network \(name) has no addresses",
        details: "`ipam.ranges` or `ipam.subnet` is missing")
    }
    // Refusing is safer than ignoring: each of these changes what traffic is let through.
    for (key, refused) in [
      ("ipMasq", JSONValue.bool(true)), ("promiscMode", .bool(true)), ("macspoofchk", .bool(true)),
    ]
    where json[key] == refused {
      throw CNIError(
        .unsupportedField, "`\(key)`: \(refused.text) is not supported",
        details: key == "ipMasq" ? "the service proxy masquerades; remove the key" : "remove the key")
    }
    if let vlan = json["vlan"]?.integer, vlan != 0 {
      throw CNIError(.unsupportedField, "`vlan`: \(vlan) is not supported", details: "remove the key")
    }
    if let type = json["ipam"]?["type"]?.string, !["host-local", "weft", "weft-cni"].contains(type) {
      throw CNIError(
        .unsupportedField, "`ipam.type`: \(type) is not supported",
        details: "use host-local, which is built in")
    }
  }

  private static func routes(_ ipam: JSONValue) throws(CNIError) -> [(
    destination: IPPrefix, gateway: IPAddress?
  )]? {
    guard let listed = ipam["routes"]?.array else { return nil }
    var routes: [(destination: IPPrefix, gateway: IPAddress?)] = []
    for route in listed {
      guard let text = route["dst"]?.string, let destination = IPPrefix(text) else {
        throw CNIError(.invalidConfiguration, "`ipam.routes` has a malformed `dst`: \(route.text)")
      }
      routes.append((destination, route["gw"]?.string.flatMap { IPAddress($0) }))
    }
    return routes
  }

  private static func rangeSets(_ ipam: JSONValue) throws(CNIError) -> [[AddressRange]] {
    var sets: [[AddressRange]] = []
    if ipam["subnet"] != nil { sets.append([try range(ipam)]) }
    for set in ipam["ranges"]?.array ?? [] {
      var ranges: [AddressRange] = []
      for entry in set.array ?? [] { ranges.append(try range(entry)) }
      if !ranges.isEmpty { sets.append(ranges) }
    }
    return sets
  }

  private static func range(_ json: JSONValue) throws(CNIError) -> AddressRange {
    guard let text = json["subnet"]?.string, let subnet = IPPrefix(text), !subnet.isSingle,
      let second = subnet.address(at: 1)
    else { throw CNIError(.invalidConfiguration, "a range has no usable `subnet`: \(json.text)") }
    func address(_ key: String, or fallback: IPAddress) throws(CNIError) -> IPAddress {
      guard let text = json[key]?.string else { return fallback }
      guard let address = IPAddress(text), subnet.contains(address) else {
        throw CNIError(.invalidConfiguration, "`\(key)` \(text) is not an address of \(subnet)")
      }
      return address
    }
    // The network's own address and, for IPv4, its broadcast address are never given out; a /31 has neither.
    var last = subnet.last
    if case .v4(let four) = last, subnet.length < 31 { last = .v4(IPv4Address(bits: four.bits - 1)) }
    let lowest = subnet.family == .v4 && subnet.length == 31 ? subnet.address : second
    let range = AddressRange(
      subnet: subnet, first: try address("rangeStart", or: lowest), last: try address("rangeEnd", or: last),
      gateway: try address("gateway", or: second))
    guard range.first <= range.last else {
      throw CNIError(.invalidConfiguration, "range \(range.first)-\(range.last) of \(subnet) is empty")
    }
    return range
  }
}
