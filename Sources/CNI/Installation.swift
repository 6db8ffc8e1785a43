// What `weft cni install` and `weft cni conf` write: the executable under its names, the network's
// configuration list.
import Addresses
import Glibc

/// The values that differ between nodes in the network's configuration list.
public struct NetworkSettings: Sendable, Hashable {
  public var name: String
  /// One block for each family, the node's own part of the cluster's: 10.42.0.0/24.
  public var podBlocks: [IPPrefix]
  public var bridge: String
  /// 0: as the uplink.
  public var mtu: UInt32
  public var dataDirectory: String
  /// The node agent's socket; nil for a node without one.
  public var nodeSocket: String?
  /// Whether a pod may start while the agent is away.
  public var requiresNode: Bool

  public init(
    name: String = "weft", podBlocks: [IPPrefix], bridge: String = "cni0", mtu: UInt32 = 0,
    dataDirectory: String = NetworkConfiguration.defaultDataDirectory, nodeSocket: String? = nil,
    requiresNode: Bool = false
  ) {
    self.name = name
    self.podBlocks = podBlocks
    self.bridge = bridge
    self.mtu = mtu
    self.dataDirectory = dataDirectory
    self.nodeSocket = nodeSocket
    self.requiresNode = requiresNode
  }
}

/// The text of `/etc/cni/net.d/10-weft.conflist`. Version 1.0.0: containerd 1.6 accepts no newer one at ADD;
/// newer runtimes find 1.1.0 in `cniVersions`. The capabilities are what a runtime may ask for each pod.
public func renderConflist(_ settings: NetworkSettings) -> String {
  let ranges = settings.podBlocks.map { block in
    JSONValue.array([.object([JSONValue.Member("subnet", .string("\(block)"))])])
  }
  let routes = Set(settings.podBlocks.map(\.family)).sorted().map { family in
    JSONValue.object([JSONValue.Member("dst", .string(family == .v4 ? "0.0.0.0/0" : "::/0"))])
  }
  let plugin = JSONValue.object([
    "type": .string("weft-cni"), "bridge": .string(settings.bridge), "isGateway": .bool(true),
    "hairpinMode": .bool(true),
    "capabilities": .object(capabilities.map { JSONValue.Member($0, .bool(true)) }),
    "mtu": settings.mtu > 0 ? .integer(Int64(settings.mtu)) : nil,
    "nodeSocket": settings.nodeSocket.map { .string($0) },
    "requireNode": settings.requiresNode ? .bool(true) : nil,
    "ipam": .object([
      "type": .string("host-local"), "dataDir": .string(settings.dataDirectory), "ranges": .array(ranges),
      "routes": .array(routes),
    ]),
  ])
  return JSONValue.object([
    "cniVersion": .string("1.0.0"), "cniVersions": .array(["1.0.0", "1.1.0"].map { .string($0) }),
    "name": .string(settings.name), "plugins": .array([plugin]),
  ]).text + "\n"
}

/// What the plugin takes from `runtimeConfig`.
let capabilities = [
  "portMappings", "bandwidth", "ips", "ipRanges", "mac", "dns", "aliases",
  "io.kubernetes.cri.pod-annotations",
]

/// The names the executable answers to beside its own.
public let pluginNames = Plugin.names

/// Puts the executable at `binary` into `folder` as `weft-cni`, and links `names` to it. What is there is
/// replaced in one step each, so that a runtime never meets half a file; a running plugin keeps its own copy.
/// Safe to repeat.
/// - Parameters:
///   - names: of `pluginNames`: replaced by links, whatever they are now.
///   - absentNames: the same, but left alone where there is such a file.
/// - Returns: the paths written.
@discardableResult
public func install(
  binary: String, into folder: String, names: [String] = pluginNames, absentNames: [String] = []
) throws(CNIError) -> [String] {
  guard let bytes = try Files.read(binary, bytesMax: 256 << 20) else {
    throw CNIError(.inputOutput, "\(binary) does not exist", details: "`make build` makes it")
  }
  try Files.makeFolder(folder, mode: 0o755)
  let own = "\(folder)/weft-cni"
  try Files.replace(own, temporary: "\(folder)/.weft-cni.new", with: bytes, mode: 0o755)
  var paths = [own]
  for name in names + absentNames.filter({ access("\(folder)/\($0)", F_OK) != 0 && !names.contains($0) }) {
    let temporary = "\(folder)/.\(name).new"
    unlink(temporary)
    guard symlink("weft-cni", temporary) == 0 else { throw Files.failure("link", temporary) }
    guard rename(temporary, "\(folder)/\(name)") == 0 else { throw Files.failure("rename", temporary) }
    paths.append("\(folder)/\(name)")
  }
  return paths
}

/// Writes the configuration list whole or not at all, as a runtime that watches the folder needs it.
public func installConflist(_ text: String, at path: String) throws(CNIError) {
  if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
    try Files.makeFolder(String(path[..<slash]), mode: 0o755)
  }
  // Not ending in .conflist, so that no runtime reads it.
  try Files.replace(path, temporary: path + ".new", with: Array(text.utf8), mode: 0o644)
}
