// `weft server`: the control plane alone: API server, controllers, scheduler. No node, no rules, no root.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterControllers
import ClusterScheduler
import ClusterServer
import Diagnostics

struct ServerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "server", abstract: "The control plane alone: API, controllers, scheduler.",
    discussion: "Ctrl-C or SIGTERM ends it; the data directory stays. Needs no root on a port above 1023.",
    subcommands: [ServerBackup.self, ServerRestore.self, ServerCertificatesCommand.self])

  @OptionGroup var logging: LogOptions
  @Option(help: "Where the API server listens.") var listen = "0.0.0.0:6443"
  @Option(help: "Store, certificates and admin.kubeconfig.") var dataDir = "/var/lib/weft"
  @Option(help: "Where objects are kept: sqlite, or etcd:https://host:2379[,…].") var store = "sqlite"
  @OptionGroup var etcd: EtcdOptions
  @Option(
    name: [.customLong("service-cidr"), .customLong("service-cluster-ip-range")],
    help: "Addresses of Services, the first the API's; for both families 10.43.0.0/16,fd00:43::/108.")
  var serviceCidr = "10.43.0.0/16"
  @Option(help: "Where pods reach the API. Default: this machine's first address.") var advertise: String?
  @Flag(inversion: .prefixedNo, help: "Whether nodes get their blocks of pod addresses from here.")
  var allocateNodeCidrs = true
  @OptionGroup var pods: PodNetworkOptions
  @OptionGroup(title: "Nodes that fall silent") var lifecycle: NodeLifecycleOptions
  @OptionGroup var loadBalancer: LoadBalancerOptions
  @OptionGroup(title: "Several servers on one store") var election: LeaderElectionOptions
  @OptionGroup(title: "Scheduling") var scheduling: SchedulingOptions
  @OptionGroup(title: "Who may ask, and what is written down of it") var authentication: AuthenticationOptions

  func run() async throws {
    logging.apply()
    let settings = try settings()
    let schedulerSettings = try scheduling.settings()
    let electionTimes = try election.times()
    var controllerSettings = ControllerSettings()
    try lifecycle.apply(to: &controllerSettings)
    controllerSettings.nodeIPAM = try nodeIPAM()
    let signal = Task.detached { await StopSignal.wait() }
    let server = try await ClusterServer.start(settings)
    try await server.install(crd: ClusterNetworkPolicyDefinition.tree, replacing: false)
    let informers = server.sharedInformers()
    controllerSettings.take(server)
    controllerSettings.loadBalancerPool = try loadBalancer.pool()
    let managers = try Managers(
      server: server, informers: informers, settings: controllerSettings, scheduling: schedulerSettings)
    if case .shared = settings.store {
      managers.startWhenLeading(electionTimes)
    } else {
      await managers.start()
    }
    try await server.installGatewayAPI()
    Terminal.say(
      Terminal.table([
        ["API server", server.address], ["kubeconfig", server.kubeconfigPath],
        ["try", "export KUBECONFIG=\(server.kubeconfigPath)"], ["", "kubectl get --raw /readyz"],
      ]))
    _ = await signal.value
    Terminal.complain("stopping; the data stays in \(dataDir)")
    await managers.stop()
    await informers.stop()
    await server.shutdown()
  }

  private func nodeIPAM() throws(WeftError) -> NodeIPAMSettings? {
    try allocateNodeCidrs ? pods.nodeIPAM(services: PodNetworkOptions.blocks(serviceCidr) ?? []) : nil
  }

  private func settings() throws(WeftError) -> ServerSettings {
    guard let endpoint = SocketEndpoint(listen) else {
      throw WeftError(
        "CLI0004", object: "--listen \(listen)", cause: "is no address and port",
        next: "write it as 0.0.0.0:6443")
    }
    guard let services = PodNetworkOptions.blocks(serviceCidr) else {
      throw WeftError(
        "CLI0002", object: "--service-cidr \(serviceCidr)", cause: "is no address block",
        next: "write it as 10.43.0.0/16, or 10.43.0.0/16,fd00:43::/108 for both families")
    }
    let addresses = try NodeAddress.all(besides: LocalClusterSettings.bridge)
    var settings = ServerSettings(dataFolder: dataDir)
    settings.store = try etcd.store(store)
    settings.host = "\(endpoint.address)"
    settings.port = Int(endpoint.port)
    settings.serviceBlocks = services
    settings.extraAddresses = addresses.map(\.description)
    settings.extraNames = [NodeAddress.hostName]
    try authentication.apply(to: &settings)
    if let advertise {
      guard let address = IPAddress(advertise) else {
        throw WeftError(
          "CLI0033", object: "--advertise \(advertise)", cause: "is no address", next: "write it as 192.0.2.7"
        )
      }
      settings.advertiseAddress = "\(address)"
      settings.extraAddresses.append("\(address)")
    } else if let address = addresses.first(where: { $0.family == .v4 }) {
      settings.advertiseAddress = "\(address)"
    }
    return settings
  }
}
