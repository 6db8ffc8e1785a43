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

/// What every plugin reads of a configuration. Keys are found whatever their case; unknown ones are passed over.
public struct NetworkConfiguration: Sendable {
  public var version: String
  public var name: String
  public var type: String
  /// All of it, for what only one plugin reads.
  var json: JSONValue
  var bridge = BridgeSettings()
  /// One address is given from each set.
  public var rangeSets: [[AddressRange]] = []
  /// `ipam.routes`; nil when not given.
  public var routes: [CNIResult.Path]?
  /// Whether `ipam` names anything at all; without it a bridge carries frames only.
  var hasAddresses: Bool
  public var dataDirectory: String
  public var nodeSocket: String?
  public var nodeTimeoutMilliseconds: Int
  public var requiresNode: Bool
  public var dns: JSONValue?
  public var requestedAddresses: [IPAddress] = []
  /// Whether the pod is to have the addresses that it had before.
  public var keepsAddresses = false
  public var requestedMAC: MACAddress?
  public var portMappings: [PortMapping] = []
  public var bandwidth: Bandwidth?
  public var aliases: [String] = []
  public var previousResult: JSONValue?
  /// `cni.dev/valid-attachments` of GC.
  public var validAttachments: [JSONValue]?

  public static let versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
  /// A pod's annotation with the addresses it is to have: `10.42.0.50` or `10.42.0.50,fd00:42::50`.
  public static let addressesAnnotation = "weft.dev/addresses"
  /// `true`: the pod has the same addresses whenever it is made anew on this node.
  public static let keepAnnotation = "weft.dev/keep-addresses"
  public static let defaultDataDirectory = "/var/lib/weft/cni"
  /// A plugin waits this long for the node agent unless the configuration says otherwise.
  public static let defaultNodeTimeoutMilliseconds = 5000

  /// - Parameters:
  ///   - plugin: the name the executable was called by: `bridge` has the reference plugin's defaults.
  ///   - isStrict: whether what is wrong with the rest is an error (ADD, CHECK, STATUS) or passed over (DEL, GC:
  ///     they must succeed with whatever configuration is left).
  public init(
    _ json: JSONValue, arguments: [String: String] = [:], plugin: String = "weft-cni", isStrict: Bool
  ) throws(CNIError) {
    self.json = json
    version = json["cniVersion"]?.string ?? "0.1.0"
    guard Self.versions.contains(version) else {
      throw CNIError(
        .incompatibleVersion, "cniVersion \(version) is not supported",
        details: "supported: \(Self.versions.joined(separator: ", "))")
    }
    name = json["name"]?.string ?? ""
    guard Invocation.isIdentifier(name), name.utf8.count <= Invocation.containerIDBytesMax else {
      throw CNIError(.invalidConfiguration, "`name` is missing or malformed: \(name)")
    }
    type = json["type"]?.string ?? plugin
    guard !type.contains("/"), json["ipam"]?["type"]?.string?.contains("/") != true else {
      throw CNIError(.invalidConfiguration, "`type` is a plugin's name and not a path")
    }
    let ipam = json["ipam"] ?? .object([JSONValue.Member]())
    hasAddresses = ipam.members?.isEmpty == false
    dataDirectory = ipam["dataDir"]?.string ?? json["dataDir"]?.string ?? Self.defaultDataDirectory
    nodeSocket = json["nodeSocket"]?.string.flatMap { $0.isEmpty ? nil : $0 }
    let timeout = json["nodeSocketTimeoutMilliseconds"]?.integer ?? Int64(Self.defaultNodeTimeoutMilliseconds)
    nodeTimeoutMilliseconds = Int(min(max(timeout, 1), 60_000))
    requiresNode = json["requireNode"]?.bool ?? false
    previousResult = json["prevResult"]
    validAttachments = (json["cni.dev/valid-attachments"] ?? json["cni.dev/attachments"])?.array
    do {
      bridge = try BridgeSettings(json, plugin: plugin)
      try read(ipam)
      try readRequests(arguments)
    } catch  where !isStrict {
      // What could be read is enough to undo.
    }
  }

  /// `ipam`: ranges, routes, name servers.
  private mutating func read(_ ipam: JSONValue) throws(CNIError) {
    if let type = ipam["type"]?.string, !["host-local", "weft", "weft-cni"].contains(type) {
      throw CNIError(
        .unsupportedField, "`ipam.type`: \(type) is not supported",
        details: "use host-local, which is built in")
    }
    if let listed = ipam["routes"]?.array {
      var paths: [CNIResult.Path] = []
      for route in listed {
        guard let path = CNIResult.Path(route) else {
          throw CNIError(.invalidConfiguration, "`ipam.routes` has a malformed entry: \(route.text)")
        }
        paths.append(path)
      }
      routes = paths
    }
    for set in json["runtimeConfig"]?["ipRanges"]?.array ?? [] { try add(set) }
    if ipam["subnet"] != nil { rangeSets.append([try Self.range(ipam)]) }
    for set in ipam["ranges"]?.array ?? [] { try add(set) }
    for (index, set) in rangeSets.enumerated() {
      for (range, other) in set.flatMap({ range in rangeSets[..<index].joined().map { (range, $0) } })
      where overlaps(range.subnet, other.subnet) {
        throw CNIError(
          .invalidConfiguration, "range sets overlap: \(range.subnet) and \(other.subnet)",
          details: "each set gives one address: make them one set, or take them apart")
      }
    }
    dns = json["dns"]
    if let path = ipam["resolvConf"]?.string, !path.isEmpty { dns = try ResolverConfiguration.read(path) }
    // `dns` of runtimeConfig has the names of the CRI, a result those of the specification.
    if let wanted = json["runtimeConfig"]?["dns"] {
      dns = .object([
        "nameservers": wanted["servers"], "domain": dns?["domain"], "search": wanted["searches"],
        "options": wanted["options"],
      ])
    }
  }

  private mutating func add(_ set: JSONValue) throws(CNIError) {
    var ranges: [AddressRange] = []
    for entry in set.array ?? [] { ranges.append(try Self.range(entry)) }
    guard let first = ranges.first else { return }
    guard ranges.allSatisfy({ $0.subnet.family == first.subnet.family }) else {
      throw CNIError(.invalidConfiguration, "a range set mixes IPv4 and IPv6: \(set.text)")
    }
    rangeSets.append(ranges)
  }

  /// What was asked for this one pod: addresses, MAC, ports, rates, names.
  private mutating func readRequests(_ arguments: [String: String]) throws(CNIError) {
    let runtime = json["runtimeConfig"]
    let own = json["args"]?["cni"]
    // Each way of asking adds to the others, as with the reference plugin.
    var texts = arguments["IP"].map { $0.split(separator: ",").map(String.init) } ?? []
    texts += own?["ips"]?.array?.compactMap(\.string) ?? []
    texts += runtime?["ips"]?.array?.compactMap(\.string) ?? []
    let annotations = runtime?["io.kubernetes.cri.pod-annotations"]
    texts +=
      annotations?[Self.addressesAnnotation]?.string?.split { $0 == "," || $0 == " " }.map(String.init) ?? []
    keepsAddresses = annotations?[Self.keepAnnotation]?.string == "true"
    for text in texts where !text.isEmpty {
      guard let address = IPAddress(text.prefix { $0 != "/" }) else {
        throw CNIError(.invalidConfiguration, "the requested address is malformed: \(text)")
      }
      if !requestedAddresses.contains(address) { requestedAddresses.append(address) }
    }
    let mac = runtime?["mac"]?.string ?? own?["mac"]?.string ?? arguments["MAC"] ?? ""
    if !mac.isEmpty {
      guard let address = MACAddress(text: mac) else {
        throw CNIError(.invalidConfiguration, "the requested MAC address is malformed: \(mac)")
      }
      requestedMAC = address
    }
    aliases = runtime?["aliases"]?.array?.compactMap(\.string) ?? []
    portMappings = try PortMapping.all(runtime?["portMappings"])
    bandwidth = try Bandwidth(runtime?["bandwidth"])
    if bandwidth == nil { bandwidth = try Bandwidth(json) }
  }

  /// Throws error 7 when ADD would have no address to give.
  func requireRanges() throws(CNIError) {
    guard rangeSets.isEmpty else { return }
    throw CNIError(
      .invalidConfiguration, "network \(name) has no addresses",
      details: "`ipam.ranges` or `ipam.subnet` is missing")
  }

  private static func range(_ json: JSONValue) throws(CNIError) -> AddressRange {
    guard let text = json["subnet"]?.string, let subnet = IPPrefix(text), !subnet.isSingle,
      let second = subnet.address(at: 1)
    else { throw CNIError(.invalidConfiguration, "a range has no usable `subnet`: \(json.text)") }
    func address(_ key: String, or fallback: IPAddress) throws(CNIError) -> IPAddress {
      guard let text = json[key]?.string, !text.isEmpty else { return fallback }
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

/// `ipam.resolvConf`: the name servers of a file, as a result has them.
enum ResolverConfiguration {
  static func read(_ path: String) throws(CNIError) -> JSONValue {
    guard let bytes = try Files.read(path) else {
      throw CNIError(.invalidConfiguration, "`ipam.resolvConf` \(path) does not exist")
    }
    var (servers, search, options): ([JSONValue], [JSONValue], [JSONValue]) = ([], [], [])
    var domain: JSONValue?
    for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
      let words = line.split { $0 == " " || $0 == "\t" }.map(String.init)
      let values = words.dropFirst().map { JSONValue.string($0) }
      switch words.first {
      case "nameserver": servers += values.prefix(1)
      case "domain": domain = values.first
      case "search": search = Array(values)
      case "options": options += values
      default: continue
      }
    }
    return .object([
      "nameservers": servers.isEmpty ? nil : .array(servers), "domain": domain,
      "search": search.isEmpty ? nil : .array(search), "options": options.isEmpty ? nil : .array(options),
    ])
  }
}

private func overlaps(_ one: IPPrefix, _ other: IPPrefix) -> Bool {
  one.family == other.family && (one.contains(other.address) || other.contains(one.address))
}
