// The data plane of the local node: links, ruleset, DNS and ingress, fed from one view.

import Addresses
import CLinux
import ClusterClient
import ClusterNode
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import DNS
import GatewayAPI
import Glibc
import Ingress
import KernelNftables
import Logging
import Observe
import Policy
import Proxy

/// Started once; `stop` ends it.
final class LocalNetwork: Sendable {
  private let settings: LocalClusterSettings
  private let follower: ViewFollower
  private let worker: RulesetWorker
  private let network: NodeNetwork
  private let dns: DNSServer
  private let ingress: IngressProcess?
  private let ingressKeeper: IngressKeeper?
  private let gatewayKeeper: GatewayKeeper?
  private let ingressStatus: IngressStatusKeeper?
  private let paths: NodePathKeeper
  private let loops: [Task<Void, Never>]
  private let announcer: LoadBalancerAnnouncer
  private let namespaces: PodNamespaces
  private let flows: NodeFlows?
  private let capture = NodeCapture()
  private let events: ClusterClient.EventRecorder
  /// What the agent's port answers of this network.
  let handlers: NodeHandlers

  static func start(
    _ settings: LocalClusterSettings, informers: SharedInformers, nodeAddresses: [IPAddress],
    gatewayClient: (any ClusterAPI)? = nil, ingressClient: (any ClusterAPI)? = nil
  ) async throws -> LocalNetwork {
    // Ports first: a taken one must be said before the machine is changed.
    let ingress = try settings.http.map { endpoint throws(WeftError) in
      try IngressProcess.start(
        http: endpoint, https: settings.https, accessLog: settings.ingress.accessLog,
        proxy: settings.ingress.proxy)
    }
    do {
      try links(settings, nodeAddresses).apply()
      return try await LocalNetwork(
        settings, informers, nodeAddresses, ingress, gatewayClient, ingressClient)
    } catch {
      ingress?.stop()
      throw error
    }
  }

  private init(
    _ settings: LocalClusterSettings, _ informers: SharedInformers, _ nodeAddresses: [IPAddress],
    _ ingress: IngressProcess?, _ gatewayClient: (any ClusterAPI)?, _ ingressClient: (any ClusterAPI)?
  ) async throws {
    self.settings = settings
    self.ingress = ingress
    var plan = try Self.dnsPlan(settings)
    let worker = try Kernel.worker(policy: true)
    let follower = ViewFollower()
    let book = try AttachmentBook(path: settings.bookPath)
    let namespaces = PodNamespaces()
    for entry in book.entries.values { namespaces.add(entry) }
    self.namespaces = namespaces
    let zone = plan.zone
    let answers = AnswerBook(follower)
    plan.server.answerWatch = AnswerWatch(
      isActive: { answers.isActive }, isMissing: { answers.isMissing($0) },
      take: { answers.take($0, $1, seconds: $2, done: $3) })
    let dns = DNSServer(settings: plan.server, zone: .unready(zone), namespaceOf: namespaces.namespace(of:))
    try Self.listen(dns, settings.dnsAddress, plan.encrypted)
    worker.submit(UntrackedDNS.planner, UntrackedDNS.plan(settings.dnsAddress))
    var configuration = ProxyConfiguration(
      nodeName: settings.nodeName, families: settings.clusterBlocks.map(\.family),
      podNetworks: settings.podBlocks, clusterNetworks: settings.clusterBlocks,
      nodePortAddresses: nodeAddresses)
    configuration.serviceNetworks = settings.serviceBlocks
    let proxy = ProxySyncer(
      worker: worker,
      configuration: configuration,
      logger: Logger(label: "proxy"))
    let paths = NodePathKeeper(
      NodePathSettings(
        nodeName: settings.nodeName, mode: settings.network, podBlocks: settings.podBlocks,
        clusterBlocks: settings.clusterBlocks), addresses: nodeAddresses)
    let api = informers.api
    let ingressKeeper = ingress.map {
      IngressKeeper(
        $0, informers: informers, settings: settings.ingress, nodeName: settings.nodeName,
        awaitsGateways: gatewayClient != nil)
    }
    self.ingressKeeper = ingressKeeper
    // Of several machines one serves Gateways and decides what they are told.
    let gatewayKeeper = gatewayClient.flatMap { client in
      ingressKeeper.map { ingressKeeper in
        GatewayKeeper(
          api: client, informers: informers, settings: settings.gatewaySettings(nodeAddresses)
        ) { plan, input in await ingressKeeper.take(plan, input) }
      }
    }
    self.gatewayKeeper = gatewayKeeper
    // The same of Ingresses.
    let ingressStatus: IngressStatusKeeper? =
      ingress == nil
      ? nil
      : ingressClient.map {
        IngressStatusKeeper(
          api: $0, informers: informers, scope: settings.ingress.scope,
          source: .addresses(nodeAddresses.map { .ip("\($0)") }))
      }
    self.ingressStatus = ingressStatus
    let announcer = LoadBalancerAnnouncer(
      nodeName: settings.nodeName, besides: [LocalClusterSettings.bridge],
      nodes: { try await api.list(.nodes, namespace: "", options: ListOptions()).items })
    let network = NodeNetwork(
      follower: follower, worker: worker, proxy: proxy,
      policy: PolicySettings(
        nodeName: settings.nodeName, podBlocks: settings.podBlocks, gateways: settings.gateways,
        logging: settings.flows.logging),
      book: book,
      consumers: [
        { view in await ingressKeeper?.take(view) }, { view in await gatewayKeeper?.take(view) },
        { view in await ingressStatus?.take(view) },
        { view in await paths.take(view) },
        { view in announcer.update(view) }, { view in answers.watch(view) },
      ], cutter: settings.flows.cutsForbidden ? try FlowCutter() : nil)
    let flows = NodeFlows.start(
      settings.flows, nodeName: settings.nodeName, socket: settings.flowSocketPath, follower: follower)
    for entry in book.entries.values {
      flows?.keeper.attach(entry.attachment, containerID: entry.containerID)
      capture.attach(entry.attachment, containerID: entry.containerID)
    }
    self.flows = flows
    capture.start(
      settings.nodeName, socket: settings.captureSocketPath, follower: follower, flows: flows?.keeper)
    answers.begin { try? await network.synchronise() }
    self.paths = paths
    self.worker = worker
    self.follower = follower
    self.dns = dns
    self.network = network
    self.announcer = announcer
    try await follower.followClusterPolicies(informers)
    if gatewayKeeper != nil { await follower.followGateways(informers) }
    try await follower.start(informers)
    let keeper = ZoneKeeper(dns, settings: zone, source: SharedViewSource(follower, informers))
    await keeper.swap()
    // In force before the first pod can be asked for.
    try await network.synchronise()
    NodeNote(
      dataFolder: settings.dataFolder, nodeName: settings.nodeName, runFolder: settings.runFolder,
      network: settings.network, clusterBlocks: settings.clusterBlocks
    ).write()
    let events = ClusterClient.EventRecorder(
      api: informers.api, component: "kube-proxy", host: settings.nodeName)
    self.events = events
    let status = StatusSources(
      nodeName: settings.nodeName, informers: informers, follower: follower, network: network, worker: worker,
      zone: { dns.zone }, flows: flows?.keeper, hasIngress: ingress != nil)
    var handlers = NodeHandlers()
    handlers.addFlows(flows?.keeper, follower)
    handlers.addCapture(settings.nodeName, socket: settings.captureSocketPath)
    handlers.addServices(KernelReading()) { dns.zone }
    handlers.addExplain(settings.nodeName, follower) { dns.zone }
    handlers.addStatus(status)
    handlers.addCheck(follower) { await status.read() }
    self.handlers = handlers
    let repairs = RepairReport(nodeName: settings.nodeName, events: events)
    loops = [
      Task.detached { await network.run() }, Task.detached { await paths.run() },
      Task.detached { await repairs.run(worker.repairs) },
      Task.detached { await keeper.run() },
    ]
  }

  /// What this node's DNS serves: as the Corefile says, or the cluster's names and the machine's own name servers.
  private static func dnsPlan(_ settings: LocalClusterSettings) throws(WeftError) -> DNSPlan {
    var plan = DNSPlan()
    if let path = settings.corefile {
      plan = try CorefilePlan.read(path)
      let log = Logger(label: "dns")
      for warning in plan.warnings { log.warning("\(warning)") }
      if plan.access != Corefile.Access() || plan.startupSeconds != nil {
        log.warning(
          "endpoint, tls, kubeconfig, apiserver_… and startup_timeout count for `weft dns` alone: a node has its own view",
          metadata: ["file": "\(path)"])
      }
      if !plan.unusedOnNode.isEmpty {
        log.warning(
          "no effect on a node: its metrics are at --metrics, its health at --healthz, and a changed file counts at the next start",
          metadata: ["file": "\(path)", "plugins": "\(plan.unusedOnNode.joined(separator: ", "))"])
      }
      for index in plan.encrypted.indices { plan.encrypted[index].endpoint.address = settings.dnsAddress }
      plan.encrypted = Array(Set(plan.encrypted)).sorted { $0.endpoint < $1.endpoint }
    } else {
      plan.server.routes = Self.upstreams().map { [ForwardRoute(upstreams: $0)] } ?? []
    }
    plan.zone.nameServerAddresses = [settings.dnsAddress]
    return plan
  }

  private static func links(
    _ settings: LocalClusterSettings, _ nodeAddresses: [IPAddress]
  ) throws(WeftError) -> NodeLinks {
    NodeLinks(
      bridge: LocalClusterSettings.bridge, podBlocks: settings.podBlocks,
      serviceBlocks: settings.serviceBlocks,
      dnsAddress: settings.dnsAddress, mtu: try podMTU(settings, nodeAddresses))
  }

  /// What the way to other nodes leaves for pods; nil on a machine that has no uplink.
  static func podMTU(
    _ settings: LocalClusterSettings, _ nodeAddresses: [IPAddress]
  ) throws(WeftError) -> UInt32? {
    try Uplink.observe(nodeAddresses).map { settings.network.podMTU($0) }
  }

  /// On the Service address and, when nobody else has it, on loopback.
  private static func listen(
    _ dns: DNSServer, _ address: IPAddress, _ encrypted: [EncryptedPort]
  ) throws(WeftError) {
    let service = SocketEndpoint(address, 53)
    let loopback = SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 53)
    do throws(WeftError) {
      try dns.start(listen: [service, loopback], encrypted: encrypted)
    } catch {
      guard error.code == "DNS0001" else { throw error }
      Logger(label: "dns").warning("not on loopback", metadata: ["reason": "\(error.cause)"])
      try dns.start(listen: [service], encrypted: encrypted)
    }
  }

  /// The machine's own name servers, for names that are not the cluster's. Never ourselves.
  private static func upstreams() -> [SocketEndpoint]? {
    let servers = nameServers(resolvConf: ResolverFile.text("/etc/resolv.conf")).filter {
      !$0.address.isLoopback
    }
    return servers.isEmpty ? nil : servers
  }

  /// A report of the CNI plugin: answered when the pod's rules are in force.
  func take(_ report: ClusterNode.CNIAttachment) async -> CNIAnswer {
    guard report.event == "add" else {
      namespaces.remove(containerID: report.containerID)
      flows?.keeper.detach(containerID: report.containerID)
      capture.detach(containerID: report.containerID)
      await network.detach(containerID: report.containerID)
      return .ok
    }
    let attachment = ContainerAttachment(
      containerID: report.containerID, interface: report.interface,
      attachment: PodAttachment(
        pod: ObjectKey(report.namespace, report.pod), addresses: report.addresses,
        hardwareAddress: MACAddress(text: report.macAddress), hostInterface: report.hostInterface))
    namespaces.add(attachment)
    flows?.keeper.attach(attachment.attachment, containerID: report.containerID)
    capture.attach(attachment.attachment, containerID: report.containerID)
    do {
      try await network.attach(attachment)
      return .ok
    } catch {
      return .refused("\(error)")
    }
  }

  /// Ends it. With `keepingRules` links and rules stay in force; with `handsOver` the ingress serves on, for the program that gets
  /// what is returned.
  @discardableResult
  func stop(keepingRules: Bool, handsOver: Bool = false) async -> ListenerHandover? {
    follower.stop()
    for loop in loops { loop.cancel() }
    for loop in loops { await loop.value }
    announcer.stop()
    capture.stop()
    flows?.stop()
    await events.stop()
    await ingressKeeper?.stop()
    await gatewayKeeper?.stop()
    await ingressStatus?.stop()
    let handover = handsOver ? ingress?.handOver() : nil
    if !handsOver { ingress?.stop() }
    dns.stop()
    worker.stop(removingTables: !keepingRules)
    if !keepingRules {
      NodeNote.remove()
      try? Self.removeLinks(settings)
    }
    return handover
  }

  static func removeLeftovers(_ settings: LocalClusterSettings) throws(WeftError) {
    try Kernel.worker(policy: true).stop(removingTables: true)
    NodeNote.remove()
    try removeLinks(settings)
  }

  private static func removeLinks(_ settings: LocalClusterSettings) throws(WeftError) {
    try NodePaths.remove()
    try links(settings, []).remove()
  }
}
