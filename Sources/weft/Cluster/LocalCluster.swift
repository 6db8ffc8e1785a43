// The whole cluster in one process, put together in the order in which its parts need each other, and taken apart in reverse.
//
//   programs, ports, lock -> API server -> controllers, scheduler -> pod CIDRs -> links, rules, DNS, ingress -> node agent -> demo

import Addresses
import ClusterClient
import ClusterControllers
import ClusterNode
import ClusterObjects
import ClusterScheduler
import ClusterServer
import ClusterStore
import DataPlane
import Diagnostics
import GatewayAPI
import Glibc
import Ingress
import Logging

/// `weft up`. Everything that can be refused is tried before anything of the machine is changed.
actor LocalCluster {
  private let settings: LocalClusterSettings
  private let log = Logger(label: "up")
  private var server: ClusterServer?
  private var status: StatusPages?
  private var network: LocalNetwork?
  private var informers: SharedInformers?
  private var controllers: ControllersHandle?
  private var scheduler: SchedulerHandle?
  private var agent: NodeAgent?
  /// How long the first start may take to give this node its pod CIDRs; milliseconds, unless none is left.
  private static let blocksTimeout: Duration = .seconds(30)
  /// An earlier run's containerd, pods and rules were there when this one began.
  private var hadPods = false

  init(_ settings: LocalClusterSettings) { self.settings = settings }

  func start() async throws {
    let clock = ContinuousClock()
    let begin = clock.now
    try Programs.check()
    hadPods = access("\(settings.runFolder)/containerd.sock", F_OK) == 0
    try Folders.make(settings)
    try Folders.checkRoom(settings.dataFolder)
    let nodeAddresses = try machineAddresses()
    let server = try await ClusterServer.start(serverSettings(nodeAddresses))
    self.server = server
    try await server.install(crd: ClusterNetworkPolicyDefinition.tree, replacing: false)
    status = try StatusPages(metrics: settings.metrics, healthz: settings.healthz)
    // The ingress begins later; a port that is taken is told before anything else is.
    if let http = settings.http { close(try StatusPages.listen(http, "--http")) }
    if let https = settings.https { close(try StatusPages.listen(https, "--https")) }
    let apiReady = clock.now - begin

    let informers = server.sharedInformers()
    self.informers = informers
    log.info("api ready", metadata: ["milliseconds": "\(Int(apiReady / .milliseconds(1)))"])

    var controllerSettings = ControllerSettings(of: server)
    controllerSettings.loadBalancerPool = settings.loadBalancerPool
    controllerSettings.nodeIPAM = settings.nodeIPAM
    (controllers, scheduler) = try server.startManagers(informers, controllerSettings, settings.scheduling)
    async let definitions: Void = server.installGatewayAPI()
    let blocks = try await NodeAgent.podBlocks(
      settings.nodeSettings(nodeAddresses), api: nodeClient(server), timeout: Self.blocksTimeout)
    var settings = settings
    try settings.take(podBlocks: blocks)
    try await definitions
    network = try await LocalNetwork.start(
      settings, informers: informers, nodeAddresses: nodeAddresses,
      gatewayClient: server.controllerClient(GatewayKeeper.account),
      ingressClient: server.controllerClient(IngressStatusKeeper.account))

    let assembly = server.client(user: "system:weft", groups: [])
    try await Defaults.apply(assembly, withIngress: settings.http != nil)
    try await startAgent(settings, server, nodeAddresses)
    try await Defaults.label(settings.nodeName, assembly)
    // The user's objects, in the name that the user's kubeconfig has.
    if settings.withDemo {
      try await Demo.apply(server.client(user: "weft-admin", groups: ["system:masters"]))
    }
  }

  private func startAgent(
    _ settings: LocalClusterSettings, _ server: ClusterServer, _ addresses: [IPAddress]
  ) async throws {
    try PluginFiles.install(settings, addresses: addresses)
    let network = network
    var node = settings.nodeSettings(addresses)
    node.clientAuthority = server.authorityPEM
    // Somebody's own machine: its disk may be as full as they like.
    node.leaveDiskAlone()
    let agent = NodeAgent(node, api: nodeClient(server), pages: network.map { $0.handlers.answer }) {
      report in
      await network?.take(report) ?? .refused("the network is not up")
    }
    self.agent = agent
    try await agent.start()
  }

  /// The API as this machine's node may use it.
  private func nodeClient(_ server: ClusterServer) -> InProcessClient {
    server.client(user: "system:node:\(settings.nodeName)", groups: ["system:nodes"])
  }

  private func serverSettings(_ addresses: [IPAddress]) -> ServerSettings {
    var server = ServerSettings(dataFolder: settings.dataFolder)
    server.host = "\(settings.api.address)"
    server.port = Int(settings.api.port)
    server.advertiseAddress = "\(addresses.first { $0.family == .v4 } ?? settings.gateways[0])"
    server.extraAddresses = addresses.map(\.description)
    server.extraNames = [settings.nodeName]
    server.serviceBlocks = settings.serviceBlocks
    return server
  }

  /// The node's addresses; a machine without any is known by its bridge.
  private func machineAddresses() throws(WeftError) -> [IPAddress] {
    let found = try NodeAddress.all(besides: LocalClusterSettings.bridge)
    return found.isEmpty ? settings.gateways : found
  }

  /// After a refused start: nothing of ours stays, and nothing of an earlier or another run goes. Pods that run are taken over
  /// by the next start; without the data folder's lock its files are somebody else's.
  func abandon() async {
    if hadPods {
      await stop(keepingPods: true)
      return
    }
    if server == nil { return Folders.removeEmpty(settings) }
    await stop(keepingPods: false)
  }

  /// Takes everything apart. With `keepingPods` pods, rules, links and containerd stay for the next start.
  /// - Parameter handsOver: the ingress goes on serving for the program that comes next, which needs what is returned.
  @discardableResult
  func stop(keepingPods: Bool, handsOver: Bool = false) async -> ListenerHandover? {
    await scheduler?.stop()
    await controllers?.stop()
    await agent?.stop(keepPods: keepingPods)
    let handover = await network?.stop(keepingRules: keepingPods, handsOver: handsOver)
    await informers?.stop()
    status?.stop()
    await server?.shutdown()
    if !keepingPods { Folders.removeRunning(settings.dataFolder, settings.runFolder) }
    return handsOver ? handover ?? ListenerHandover() : nil
  }

  /// Removes what an earlier process left: pods, containerd, links, rules.
  static func takeDown(dataFolder: String, runFolder: String) async throws {
    let settings = LocalClusterSettings.leftBehind(dataFolder: dataFolder, runFolder: runFolder)
    // Refuses while a `weft up` runs here.
    _ = try DataFolderLock(folder: dataFolder)
    try await NodeAgent.removeLeftovers(settings.nodeSettings([]))
    try LocalNetwork.removeLeftovers(settings)
    Folders.removeRunning(dataFolder, runFolder)
  }

  /// What a user wants to know first.
  nonisolated var table: String {
    let host = settings.api.address == IPAddress("0.0.0.0") ? "127.0.0.1" : "\(settings.api.address)"
    var rows = [
      ["API server", "https://\(host):\(settings.api.port)"], ["kubeconfig", settings.kubeconfigPath],
      ["cluster DNS", "\(settings.dnsAddress)"],
    ]
    if settings.withDemo {
      let port = settings.http.map { $0.port == 80 ? "" : ":\($0.port)" }
      rows.append(["demo", "http://web.demo.svc.cluster.local/   from pods"])
      if let port { rows.append(["", "http://web.localhost\(port)/   by the ingress"]) }
      rows.append(["", "http://<this machine>:30080/   by the node port"])
    }
    let ask =
      settings.withDemo
      ? "weft explain demo/stranger demo/web" : "weft explain NAMESPACE/POD NAMESPACE/SERVICE"
    rows += [
      ["try", "export KUBECONFIG=\(settings.kubeconfigPath)"], ["", "kubectl get pods -A -o wide"],
      [
        "",
        "dig @\(settings.dnsAddress) \(settings.withDemo ? "web.demo" : "kubernetes.default").svc.cluster.local",
      ], ["", ask],
    ]
    return Terminal.table(rows)
  }
}
