// What `weft cni check` reads of a node: files, links, addresses, kernel settings, leases. Reads only.
import Addresses
import Glibc
import KernelNetlink

/// Where to look.
public struct InspectionPlaces: Sendable, Hashable {
  public var binaryFolder: String
  public var configurationFolder: String
  /// Where /proc/sys is; another folder in tests.
  public var settingsFolder = "/proc/sys"

  public init(binaryFolder: String = "/opt/cni/bin", configurationFolder: String = "/etc/cni/net.d") {
    self.binaryFolder = binaryFolder
    self.configurationFolder = configurationFolder
  }
}

/// A node as it is now: a value, so that what is concluded from it can be tested without a node.
public struct NodeFacts: Sendable {
  public var places: InspectionPlaces
  /// The file that a runtime takes: the first of the folder by name. Nil when there is none.
  public var configurationFile: String?
  public var configuration: JSONValue?
  public var configurationProblem: String?
  /// Executables that the configuration names and that are not in `binaryFolder`.
  public var missingPlugins: [String] = []
  public var hasLoopbackPlugin = true
  /// Kernel settings by name; absent where the kernel has none.
  public var settings: [String: String] = [:]
  public var links: [Link] = []
  public var addresses: [LinkAddress] = []
  public var routes: [Route] = []
  public var leases: [Lease] = []
  public var bootID = LeaseStore.bootID

  /// The settings that matter, with the bridge's and the uplink's own.
  static func settingNames(_ links: [String]) -> [String] {
    [
      "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/bridge/bridge-nf-call-iptables",
      "net/bridge/bridge-nf-call-ip6tables", "net/ipv4/conf/all/rp_filter",
    ] + [KernelRoom.neighbours(.v4), KernelRoom.neighbours(.v6), KernelRoom.backlog]
      + links.map { "net/ipv4/conf/\($0)/rp_filter" }
  }

  public init(places: InspectionPlaces) { self.places = places }

  /// Reads the node that the calling thread is in. Throws when the kernel or a folder cannot be read.
  public static func observe(_ places: InspectionPlaces) throws(CNIError) -> NodeFacts {
    var facts = NodeFacts(places: places)
    try facts.readConfiguration()
    do {
      var session = try RouteSession()
      facts.links = try session.links()
      facts.addresses = try session.addresses()
      facts.routes = try session.routes(table: 254)
    } catch {
      throw CNIError.wrapping(error, "cannot read the node's links")
    }
    let near = [facts.bridgeName, facts.uplink?.name].compactMap { $0 }
    for name in settingNames(near) {
      if let bytes = try Files.read("\(places.settingsFolder)/\(name)") {
        facts.settings[name] = String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
      }
    }
    if let network = facts.network { facts.leases = try LeaseStore(network).all() }
    return facts
  }

  private mutating func readConfiguration() throws(CNIError) {
    let endings = [".conflist", ".conf", ".json"]
    let names = try Files.names(in: places.configurationFolder).filter { name in
      endings.contains { name.hasSuffix($0) }
    }
    guard let first = names.min() else { return }
    let path = "\(places.configurationFolder)/\(first)"
    configurationFile = path
    let bytes = try Files.read(path) ?? []
    do {
      configuration = try JSONValue(parsing: bytes)
    } catch {
      configurationProblem = "\(error)"
      return
    }
    missingPlugins = plugins.compactMap { $0["type"]?.string }.filter {
      $0.contains("/") || access("\(places.binaryFolder)/\($0)", X_OK) != 0
    }
    hasLoopbackPlugin = access("\(places.binaryFolder)/loopback", X_OK) == 0
  }

  var plugins: [JSONValue] { configuration?["plugins"]?.array ?? [configuration].compactMap { $0 } }

  /// The plugin of ours in the configuration.
  var ownPlugin: JSONValue? { plugins.first { $0["type"]?.string == "weft-cni" } }

  /// Our network, as the plugin itself would read it; nil when the configuration is not ours.
  var network: NetworkConfiguration? {
    guard let own = ownPlugin, var members = own.members else { return nil }
    members.append(JSONValue.Member("cniVersion", .string("1.0.0")))
    members.append(JSONValue.Member("name", configuration?["name"] ?? .string("")))
    return try? NetworkConfiguration(.object(members), isStrict: false)
  }

  var isRouted: Bool { ownPlugin?["mode"]?.string == "routed" }
  var bridgeName: String? { ownPlugin.flatMap { isRouted ? nil : $0["bridge"]?.string ?? "cni0" } }
  var podBlocks: [IPPrefix] { network?.rangeSets.flatMap { $0.map(\.subnet) } ?? [] }

  /// The link of the default route.
  var uplink: Link? {
    let ways = routes.filter { $0.destination.length == 0 && $0.interface != 0 }
    guard let way = ways.min(by: { ($0.metric ?? 0) < ($1.metric ?? 0) }) else { return nil }
    return links.first { $0.index == way.interface }
  }
}
