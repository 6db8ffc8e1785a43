// `weft node`: node agent and data plane of this machine, for an API server that runs elsewhere.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterNode
import DataPlane
import Diagnostics
import Proxy
import Glibc

struct NodeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "node", abstract: "This machine as a node: agent, containerd, links, rules, DNS.",
    discussion: """
      Each node needs a block of pod addresses of its own. Pods of other nodes are reached as --network says.
      Ctrl-C takes everything away, SIGTERM leaves pods and rules in force for the next start.
      """)

  @Option(help: "The kubeconfig of the cluster.") var kubeconfig: String
  @OptionGroup var places: ClusterPlaces
  @OptionGroup var logging: LogOptions
  @Option(help: "The node's name. Default: the machine's.") var nodeName: String?
  @Option(help: "Addresses of this node's pods.") var podCidr = "10.42.0.0/24"
  @Option(help: "Addresses of all pods.") var clusterCidr = "10.42.0.0/16"
  @Option(help: "Addresses of Services. The tenth is DNS.") var serviceCidr = "10.43.0.0/16"
  @Option(help: NetworkMode.help) var network: NetworkMode = .auto
  @Option(help: "Where the node's metrics are served; `none` for nowhere.") var metrics = "127.0.0.1:10249"
  @Option(help: "Where the node's health is served; `none` for nowhere.") var healthz = "0.0.0.0:10256"
  @Option(help: "A stream of exec, attach or port-forward on which nothing moves is closed after this.")
  var streamingConnectionIdleTimeout = "4h"

  func run() async throws {
    logging.apply()
    let settings = try settings()
    guard let streamIdle = GoDuration.seconds(streamingConnectionIdleTimeout), streamIdle > 0 else {
      throw WeftError(
        "CLI0038", object: "--streaming-connection-idle-timeout \(streamingConnectionIdleTimeout)",
        cause: "is no duration", next: "write it as 4h or 30m")
    }
    let config = try Kubeconfig(path: kubeconfig)
    let api = try RemoteClient(kubeconfig: config)
    // Said before anything of the machine is changed.
    _ = try await api.raw("/readyz")
    try Programs.check()
    try Folders.make(settings)
    let found = try NodeAddress.all(besides: LocalClusterSettings.bridge)
    let addresses = found.isEmpty ? [settings.gateway] : found
    let signal = Task.detached { await StopSignal.wait() }
    let status = try StatusPages(metrics: metrics, healthz: healthz)
    let informers = SharedInformers(api: api)
    let network = try await LocalNetwork.start(settings, informers: informers, nodeAddresses: addresses)
    var node = agentSettings(settings, addresses, streamIdle: streamIdle)
    node.clientAuthority = config.certificateAuthority.map { String(decoding: $0, as: UTF8.self) }
    let agent = NodeAgent(node, api: api) { await network.take($0) }
    var isKept = false
    do {
      try PluginFiles.install(settings, addresses: addresses)
      try await agent.start()
      Terminal.say(Terminal.table([["node", settings.nodeName], ["pods", "\(settings.podBlock)"]]))
      isKept = await signal.value == .terminate
    } catch {
      await agent.stop(keepPods: false)
      await network.stop(keepingRules: false)
      throw error
    }
    Terminal.complain(isKept ? "stopping; pods and rules stay" : "stopping; everything is taken away")
    await agent.stop(keepPods: isKept)
    await network.stop(keepingRules: isKept)
    await informers.stop()
    status.stop()
    if !isKept { Folders.removeRunning(settings.dataFolder, settings.runFolder) }
  }

  private func agentSettings(
    _ settings: LocalClusterSettings, _ addresses: [IPAddress], streamIdle: Int
  ) -> NodeSettings {
    var node = NodeSettings(
      nodeName: settings.nodeName, addresses: addresses, dataDirectory: settings.dataFolder,
      runDirectory: settings.runFolder)
    node.streamingConnectionIdleTimeout = .seconds(streamIdle)
    node.podCIDRs = [settings.podBlock]
    node.logDirectory = "\(settings.dataFolder)/log"
    node.dnsAddresses = ["\(settings.dnsAddress)"]
    node.containerd.cniConfDirectory = settings.cniConfigFolder
    node.containerd.cniBinDirectory = settings.cniBinaryFolder
    return node
  }

  private func settings() throws(WeftError) -> LocalClusterSettings {
    guard getuid() == 0 else {
      throw WeftError(
        "CLI0001", object: "weft node", cause: "needs root to make links, rules and containers",
        next: "run it with sudo")
    }
    guard let pods = IPPrefix(podCidr), let cluster = IPPrefix(clusterCidr),
      let services = IPPrefix(serviceCidr),
      cluster.contains(pods), pods.family == services.family, !cluster.contains(services)
    else {
      throw WeftError(
        "CLI0035",
        object: "--pod-cidr \(podCidr), --cluster-cidr \(clusterCidr), --service-cidr \(serviceCidr)",
        cause: "the first must be a block within the second, and the third apart from both",
        next: "write them as 10.42.1.0/24, 10.42.0.0/16 and 10.43.0.0/16")
    }
    var settings = LocalClusterSettings(
      dataFolder: places.dataDir, runFolder: places.runDir, nodeName: nodeName ?? NodeAddress.hostName,
      api: SocketEndpoint(.v4(IPv4Address(bits: 0)), 0), clusterBlock: cluster, serviceBlock: services,
      withDemo: false)
    settings.ownBlock = pods
    settings.network = network
    return settings
  }
}
