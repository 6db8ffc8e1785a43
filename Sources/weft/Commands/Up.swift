// `weft up`: the whole cluster on this machine. `weft down`: takes away what a killed `weft up` left.

import Addresses
import ArgumentParser
import ClusterObjects
import DataPlane
import Diagnostics
import Glibc

struct ClusterPlaces: ParsableArguments {
  @Option(help: "Store, certificates, images, leases.") var dataDir = "/var/lib/weft"
  @Option(help: "Sockets and the state of running containers.") var runDir = "/run/weft"
}

struct Up: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "up",
    abstract: "The whole cluster on this machine; Ctrl-C stops it and leaves nothing behind.",
    discussion: """
      SIGTERM ends it too, but leaves pods, rules and containerd in force: the next `weft up` on the same data directory takes
      them over. `weft down` removes what is left then. SIGUSR2 has the program that now stands here go on in its place, and no
      client of the ingress is refused meanwhile.
      """)

  @OptionGroup var places: ClusterPlaces
  @OptionGroup var logging: LogOptions
  @Flag(help: "Also apply the demo: two web pods behind every kind of door.") var demo = false
  @Option(help: "Where the API server listens.") var listen = "0.0.0.0:6443"
  @Option(help: "Where the ingress listens for HTTP; `none` for no ingress.") var http = "0.0.0.0:80"
  @Option(help: "Where the ingress listens for HTTPS; `none` for nowhere.") var https = "0.0.0.0:443"
  @OptionGroup(title: "Ingress") var ingress: IngressOptions
  @Option(help: "Where the node's metrics are served; `none` for nowhere.") var metrics = "127.0.0.1:10249"
  @Option(help: "Where the node's health is served; `none` for nowhere.") var healthz = "0.0.0.0:10256"
  @OptionGroup var pods: PodNetworkOptions
  @Option(
    name: [.customLong("service-cidr"), .customLong("service-cluster-ip-range")],
    help: """
      Addresses of Services, the first the API's, the tenth DNS; for both families 10.43.0.0/16,fd00:43::/108.
      """)
  var serviceCidr = "10.43.0.0/16"
  @Option(help: "The node's name. Default: the machine's.") var nodeName: String?
  @Option(help: "A CoreDNS configuration for this node's cluster DNS, which keeps its address.") var corefile:
    String?
  @Option(help: NetworkMode.help) var network: NetworkMode = .auto
  @OptionGroup var flows: FlowOptions
  @OptionGroup var loadBalancer: LoadBalancerOptions
  @OptionGroup(title: "Scheduling") var scheduling: SchedulingOptions

  func run() async throws {
    logging.apply()
    let settings = try settings()
    // From here on Ctrl-C is noted, also while things start; what has started is then stopped again.
    let signal = Task.detached { await StopSignal.wait() }
    let cluster = LocalCluster(settings)
    do {
      try await cluster.start()
    } catch {
      await cluster.abandon()
      throw error
    }
    Terminal.say(cluster.table)
    let kind = await signal.value
    Terminal.complain(
      kind == .interrupt ? "stopping; everything is taken away" : "stopping; pods and rules stay")
    let handover = await cluster.stop(keepingPods: kind != .interrupt, handsOver: kind == .upgrade)
    if let handover { throw Upgrade.become(leaving: handover) }
  }

  private func settings() throws(WeftError) -> LocalClusterSettings {
    guard getuid() == 0 else {
      throw WeftError(
        "CLI0001", object: "weft up", cause: "needs root to make links, rules and containers",
        next: "run it with sudo")
    }
    let clusterCidr = pods.clusterCidr
    let blocks = pods.blocks
    let services = PodNetworkOptions.blocks(serviceCidr)
    guard let blocks, let services, let clusterBlock = blocks.first, let serviceBlock = services.first,
      clusterBlock.family == serviceBlock.family,
      services.count == 1
        || (services.count == 2 && blocks.count == 2 && services[1].family == blocks[1].family)
    else {
      throw WeftError(
        "CLI0002", object: "--cluster-cidr \(clusterCidr), --service-cidr \(serviceCidr)",
        cause: "are not address blocks of the same families",
        next:
          "write them as 10.42.0.0/16 and 10.43.0.0/16, or for both families as 10.42.0.0/16,fd00:42::/56 "
          + "and 10.43.0.0/16,fd00:43::/108")
    }
    guard clusterBlock.family == .v4 else {
      throw WeftError(
        "CLI0007", object: "--cluster-cidr \(clusterCidr), --service-cidr \(serviceCidr)",
        cause: "are IPv6 blocks, and the local cluster has IPv4 first",
        next: "name IPv4 blocks first: 10.42.0.0/16,fd00:42::/56 and 10.43.0.0/16,fd00:43::/108")
    }
    guard
      !blocks.contains(where: { block in
        services.contains { block.contains($0) || $0.contains(block) }
      }), serviceBlock.length <= 28, clusterBlock.length <= 24
    else {
      throw WeftError(
        "CLI0003", object: "--cluster-cidr \(clusterCidr), --service-cidr \(serviceCidr)",
        cause: "overlap or are too small", next: "choose blocks that do not overlap, a /24 or larger for pods"
      )
    }
    let nodeIPAM = try pods.nodeIPAM(services: services)
    // The node carries its name as the label kubernetes.io/hostname too.
    if let nodeName, (Names.subdomainProblem(nodeName) ?? Names.labelValueProblem(nodeName)) != nil {
      throw WeftError(
        "CLI0008", object: "--node-name \(nodeName)", cause: "is no name of a node",
        next: "use at most 63 of a-z, 0-9, '-' and '.', with a letter or digit at both ends")
    }
    var settings = LocalClusterSettings(
      dataFolder: places.dataDir, runFolder: places.runDir, nodeName: nodeName ?? NodeAddress.hostName,
      api: try endpoint(listen, "--listen"), http: try optional(http, "--http"),
      metrics: try optional(metrics, "--metrics"), healthz: try optional(healthz, "--healthz"),
      clusterBlocks: blocks, serviceBlocks: services, withDemo: demo,
      loadBalancerPool: try loadBalancer.pool())
    settings.nodeIPAM = nodeIPAM
    settings.scheduling = try scheduling.settings()
    // Without HTTP there is no ingress.
    settings.https = settings.http == nil ? nil : try optional(https, "--https")
    settings.ingress = try ingress.settings()
    settings.network = network
    // A mistake in it is told before anything is made.
    if let corefile { _ = try CorefilePlan.read(corefile) }
    settings.corefile = corefile
    settings.flows = try flows.settings()
    return settings
  }

  /// The port of what was meant as one alone: `80` or `:80`.
  private static func port(meant text: String) -> UInt16? {
    UInt16(text.hasPrefix(":") ? text.dropFirst() : text[...]).flatMap { $0 > 0 ? $0 : nil }
  }

  private func optional(_ text: String, _ flag: String) throws(WeftError) -> SocketEndpoint? {
    text == "none" ? nil : try endpoint(text, flag)
  }

  private func endpoint(_ text: String, _ flag: String) throws(WeftError) -> SocketEndpoint {
    guard let endpoint = SocketEndpoint(text) else {
      throw WeftError(
        "CLI0004", object: "\(flag) \(text)", cause: "is no address and port",
        next: "write it as 0.0.0.0:\(Self.port(meant: text) ?? 6443)")
    }
    return endpoint
  }
}

struct Down: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "down",
    abstract: "Remove pods, links and rules that a `weft up` left behind. The data directory stays.")

  @OptionGroup var places: ClusterPlaces
  @OptionGroup var logging: LogOptions

  func run() async throws {
    logging.apply(quiet: true)
    try await LocalCluster.takeDown(dataFolder: places.dataDir, runFolder: places.runDir)
  }
}
