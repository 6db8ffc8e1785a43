// `weft node`: node agent and data plane of this machine, for an API server that runs elsewhere.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterNode
import DataPlane
import Diagnostics
import Glibc
import Logging

struct NodeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "node", abstract: "This machine as a node: agent, containerd, links, rules, DNS.",
    discussion: """
      The control plane gives each node its block of pod addresses; nothing of the machine is changed before that. Pods of
      other nodes are reached as --network says.
      Ctrl-C takes everything away, SIGTERM leaves pods and rules in force for the next start; with a shutdownGracePeriod in the
      file of --config SIGTERM means that the machine goes down, and ends the pods by priority.
      """)

  @Option(help: "The kubeconfig of the cluster.") var kubeconfig: String
  @Option(
    help:
      "With a bootstrap token: used once, to ask for the certificate that --kubeconfig is then written with.")
  var bootstrapKubeconfig: String?
  @OptionGroup var places: ClusterPlaces
  @OptionGroup var logging: LogOptions
  @OptionGroup var agentOptions: NodeAgentOptions
  @Option(help: "The node's name. Default: the machine's.") var nodeName: String?
  @Option(help: "Addresses of this node's pods, one block a family. Default: what the control plane gives.")
  var podCidr: String?
  @Option(help: "Addresses of all pods, as the control plane has them.") var clusterCidr = "10.42.0.0/16"
  @Option(help: "Addresses of Services, as the control plane has them. The tenth is DNS.")
  var serviceCidr = "10.43.0.0/16"
  @Option(help: "A CoreDNS configuration for this node's cluster DNS, which keeps its address.") var corefile:
    String?
  @Option(help: NetworkMode.help) var network: NetworkMode = .auto
  @OptionGroup var flows: FlowOptions
  @Option(help: "Where the node's metrics are served; `none` for nowhere.") var metrics = "127.0.0.1:10249"
  @Option(help: "Where the node's health is served; `none` for nowhere.") var healthz = "0.0.0.0:10256"

  func run() async throws {
    logging.apply()
    let settings = try settings()
    let file = try agentOptions.configuration()
    var checked = NodeSettings(nodeName: settings.nodeName, addresses: [])
    try agentOptions.apply(file, to: &checked)
    for warning in file?.warnings ?? [] {
      Logger(label: "node").warning("\(agentOptions.config ?? ""): \(warning)")
    }
    let identity = try await NodeIdentity.obtain(
      kubeconfig: kubeconfig, bootstrap: bootstrapKubeconfig, nodeName: settings.nodeName,
      folder: "\(settings.dataFolder)/pki",
      rotates: file?.rotatesClientCertificate ?? (bootstrapKubeconfig != nil))
    let (config, api) = (identity.config, identity.api)
    defer { identity.stop() }
    // Said before anything of the machine is changed.
    _ = try await api.raw("/readyz")
    try Programs.check()
    let found = try NodeAddress.all(besides: LocalClusterSettings.bridge)
    let signal = Task.detached { await StopSignal.wait() }
    var isOver = false
    while !isOver {
      isOver = try await serve(settings, found, api, config, signal, file)
      if !isOver { Terminal.complain("the node has other pod addresses; setting it up for them") }
    }
  }

  /// One life of the node with the pod CIDRs it has. False when it was given others meanwhile: pods and rules stay for the next
  /// life then, which starts pods that keep an old address again.
  private func serve(
    _ asked: LocalClusterSettings, _ found: [IPAddress], _ api: RemoteClient, _ config: Kubeconfig,
    _ signal: Task<StopSignal, Never>, _ file: KubeletConfiguration?
  ) async throws -> Bool {
    var settings = asked
    guard let blocks = try await podBlocks(settings, found, api, signal, file) else {
      Terminal.complain("stopping; nothing was changed")
      return true
    }
    try settings.take(podBlocks: blocks)
    let addresses = found.isEmpty ? settings.gateways : found
    try Folders.make(settings)
    let status = try StatusPages(metrics: metrics, healthz: healthz)
    let informers = SharedInformers(api: api)
    let network = try await LocalNetwork.start(settings, informers: informers, nodeAddresses: addresses)
    var node = settings.nodeSettings(addresses)
    try agentOptions.apply(file, to: &node)
    node.clientAuthority = config.certificateAuthority.map { String(decoding: $0, as: UTF8.self) }
    let (ends, end) = AsyncStream.makeStream(of: End.self, bufferingPolicy: .bufferingOldest(1))
    let agent = NodeAgent(node, api: api, pages: network.handlers.answer) {
      await network.take($0)
    } onOtherBlocks: { _ in
      end.yield(.otherBlocks)
    }
    let stopper = Task { end.yield(.signal(await signal.value)) }
    defer { stopper.cancel() }
    var reason = End.otherBlocks
    do {
      try PluginFiles.install(settings, addresses: addresses)
      try await agent.start()
      Terminal.say(
        Terminal.table([
          ["node", settings.nodeName],
          ["pods", settings.podBlocks.map(\.description).joined(separator: ",")],
        ]))
      for await first in ends {
        reason = first
        break
      }
    } catch {
      await agent.stop(keepPods: false)
      await network.stop(keepingRules: false)
      throw error
    }
    let isKept = reason != .signal(.interrupt)
    if reason == .signal(.terminate), let shutdown = node.shutdown {
      Terminal.complain("the machine goes down: pods end within \(shutdown.seconds) s")
      await agent.shutDown()
    }
    if reason != .otherBlocks {
      Terminal.complain(isKept ? "stopping; pods and rules stay" : "stopping; everything is taken away")
    }
    await agent.stop(keepPods: isKept)
    await network.stop(keepingRules: isKept)
    await informers.stop()
    status.stop()
    if !isKept { Folders.removeRunning(settings.dataFolder, settings.runFolder) }
    return reason != .otherBlocks
  }

  /// Why a life of the node ends.
  private enum End: Equatable {
    case signal(StopSignal)
    case otherBlocks
  }

  /// Waits for them; nil when told to stop meanwhile.
  private func podBlocks(
    _ settings: LocalClusterSettings, _ addresses: [IPAddress], _ api: RemoteClient,
    _ signal: Task<StopSignal, Never>, _ file: KubeletConfiguration?
  ) async throws -> [IPPrefix]? {
    var node = settings.nodeSettings(addresses)
    try agentOptions.apply(file, to: &node)
    let waiting = Task { try await NodeAgent.podBlocks(node, api: api) }
    let stopper = Task {
      _ = await signal.value
      waiting.cancel()
    }
    defer { stopper.cancel() }
    do {
      return try await waiting.value
    } catch is CancellationError {
      return nil
    }
  }

  private func settings() throws(WeftError) -> LocalClusterSettings {
    guard getuid() == 0 else {
      throw WeftError(
        "CLI0001", object: "weft node", cause: "needs root to make links, rules and containers",
        next: "run it with sudo")
    }
    let clusters = PodNetworkOptions.blocks(clusterCidr)
    let pods = podCidr.map(PodNetworkOptions.blocks) ?? []
    guard let first = clusters?.first, let clusters, let pods,
      let services = PodNetworkOptions.blocks(serviceCidr), services.count <= 2,
      pods.allSatisfy({ pod in clusters.contains { $0.contains(pod) } }),
      Set(clusters.map(\.family)).count == clusters.count, Set(pods.map(\.family)).count == pods.count,
      first.family == services[0].family, Set(services.map(\.family)).count == services.count,
      !clusters.contains(where: { cluster in services.contains { cluster.contains($0) } })
    else {
      throw WeftError(
        "CLI0035",
        object: "--pod-cidr \(podCidr ?? "-"), --cluster-cidr \(clusterCidr), --service-cidr \(serviceCidr)",
        cause: "the first must be a block within the second, and the third apart from both",
        next: "write them as 10.42.1.0/24, 10.42.0.0/16 and 10.43.0.0/16")
    }
    var settings = LocalClusterSettings(
      dataFolder: places.dataDir, runFolder: places.runDir, nodeName: nodeName ?? NodeAddress.hostName,
      api: SocketEndpoint(.v4(IPv4Address(bits: 0)), 0), clusterBlocks: clusters, serviceBlocks: services,
      withDemo: false)
    settings.podBlocks = pods
    settings.network = network
    settings.corefile = corefile
    settings.flows = try flows.settings()
    return settings
  }
}
