// `weft cni`: puts the CNI plugin where a runtime looks for it, prints its configuration, and finds what is wrong on a node.

import Addresses
import ArgumentParser
import CNI
import Diagnostics
import Glibc

struct CNICommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cni",
    abstract: "The CNI plugin of a node: install it, see its configuration, check the node.",
    subcommands: [InstallPlugin.self, PrintConfiguration.self, CheckNode.self])
}

/// Where a runtime looks for plugins and networks.
struct PluginPlaces: ParsableArguments {
  @Option(help: "Where the runtime looks for plugins.") var dir = "/opt/cni/bin"
  @Option(help: "Where the runtime looks for networks.") var confDir = "/etc/cni/net.d"

  var inspection: InspectionPlaces { InspectionPlaces(binaryFolder: dir, configurationFolder: confDir) }
}

/// What the configuration list says.
struct PluginNetwork: ParsableArguments {
  @Option(help: "The network's name.") var name = "weft"
  @Option(help: "This node's block of pod addresses; once for each family.") var podCidr = ["10.42.0.0/24"]
  @Option(help: "The bridge that pods are ports of.") var bridge = "cni0"
  @Option(help: "The pods' MTU. Default: the uplink's.") var mtu: UInt32 = 0
  @Option(help: "Where the plugin keeps who has which address.") var dataDir =
    NetworkConfiguration.defaultDataDirectory
  @Option(help: "The node agent's socket; without one the plugin works alone.") var nodeSocket: String?
  @Flag(help: "A pod may not start while the agent is away.") var requireNode = false

  func settings() throws(WeftError) -> NetworkSettings {
    var blocks: [IPPrefix] = []
    for text in podCidr {
      guard let block = IPPrefix(text), !block.isSingle else {
        throw WeftError(
          "CLI0041", object: "--pod-cidr \(text)", cause: "is no block of addresses",
          next: "write it as 10.42.0.0/24")
      }
      blocks.append(block)
    }
    guard mtu == 0 || (576...65_535).contains(mtu) else {
      throw WeftError(
        "CLI0042", object: "--mtu \(mtu)", cause: "is not within 576-65535",
        next: "leave it out: the uplink's")
    }
    return NetworkSettings(
      name: name, podBlocks: blocks, bridge: bridge, mtu: mtu, dataDirectory: dataDir, nodeSocket: nodeSocket,
      requiresNode: requireNode)
  }
}

struct InstallPlugin: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "install",
    abstract: "Write the plugin and the network's configuration, each whole or not at all.",
    discussion: """
      The configuration is 10-weft.conflist, of version 1.0.0, which every runtime reads. The plugin is weft-cni; \
      loopback, which containerd before 2.1 needs, is a link to it where there is none. Safe to repeat, also while pods start.
      """)

  @OptionGroup var places: PluginPlaces
  @OptionGroup var network: PluginNetwork
  @Flag(help: "Also answer to the reference plugins' names (bridge, portmap, …): what is there is replaced.")
  var links = false

  func run() async throws {
    let text = renderConflist(try network.settings())
    do {
      let file = "\(places.confDir)/10-weft.conflist"
      // The plugin first: a runtime uses the configuration as soon as it is there.
      let paths = try CNI.install(
        binary: Programs.plugin, into: places.dir, names: links ? pluginNames : [], absentNames: ["loopback"])
      try installConflist(text, at: file)
      for path in paths + [file] { Terminal.say(path) }
    } catch {
      throw WeftError(
        "CNI0002", object: places.dir, cause: "the CNI plugin cannot be installed (\(error))",
        next: "run as root, or choose other folders with --dir and --conf-dir", underlying: error)
    }
  }
}

struct PrintConfiguration: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "conf", abstract: "Print the configuration list that `weft cni install` writes.")
  @OptionGroup var network: PluginNetwork

  func run() async throws {
    Terminal.say(String(renderConflist(try network.settings()).dropLast()))
  }
}

struct CheckNode: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Find what is wrong with this node's pod network, and how to mend it.",
    discussion: """
      Looks at the plugin's files, forwarding, br_netfilter, rp_filter, MTU, the bridge and strangers to it, routes into the \
      pods' addresses, and what dead pods left. Changes nothing. Exit code: 0 no problem, 1 problems.
      """)

  @OptionGroup var places: PluginPlaces
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  func run() async throws {
    let findings: [NodeFinding]
    do {
      findings = inspect(try NodeFacts.observe(places.inspection))
    } catch {
      throw WeftError(
        "CNI0003", object: "this node", cause: "cannot be read (\(error))", next: "run as root",
        exit: .unreachable, underlying: error)
    }
    if output == .json {
      Terminal.say(JSONValue.array(findings.map(\.json)).text)
    } else if findings.isEmpty {
      Terminal.say("no problem found")
    } else {
      for finding in findings {
        Terminal.say("\(finding.code) \(finding.gravity.rawValue): \(finding.object) \(finding.cause)")
        Terminal.say("        \(finding.mend)")
      }
    }
    if findings.contains(where: { $0.gravity == .problem }) { throw Finding(status: .finding) }
  }
}
