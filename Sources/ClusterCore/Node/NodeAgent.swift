// The node agent: one containerd, the pods bound to this node, the Node object, the CNI plugin's socket and the logs.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import SwiftProtobuf

/// Runs the pods of one node. Make it, `start()` it once, `stop` it once.
///
/// After `stop(keepPods: true)` (or a crash) containerd and all pods go on, and the next agent on the same directories
/// adopts them. After `stop(keepPods: false)` nothing of ours is left: no container, shim, mount, namespace or control
/// group.
public actor NodeAgent {
  public nonisolated let settings: NodeSettings
  let api: (any ClusterAPI)?
  private let source: any PodSource
  private let sink: any PodStatusSink
  private let objects: any PodObjects
  private let record: EventRecorder
  nonisolated let metrics: Metrics
  private let onCNIAdd: CNIHook
  nonisolated let pages: NodePages?
  /// Nil where there is no API server to ask.
  nonisolated let reviews: NodeReviews?
  private let onOtherBlocks: @Sendable ([IPPrefix]) -> Void
  private let containerd: Containerd
  private let log = Logger(label: "node")
  private(set) var cri: CRIClient?
  private(set) var images: ImageStore?
  private var manager: PodManager?
  private var registrar: NodeRegistrar?
  private var socket: NodeSocket?
  private var writer: EventWriter?
  private var server: NodeServer?
  private var health: HealthServer?
  private var stats: StatsKeeper?
  private var devices: DeviceManager?
  private var podResources: LocalService?
  private var plugins: PluginRegistry?
  /// Of the port's certificate.
  private var shownDigest = ""
  private var keepers: [Task<Void, Never>] = []
  let pressures = NodePressures()
  nonisolated let probeMetrics = Metrics()
  private var upkeeping: Task<Void, Never>?
  private var isStopped = false

  /// An agent of a cluster. `onCNIAdd` is asked before a pod's first packet: commit its policy, then answer. `onOtherBlocks` is
  /// called when the Node object was made anew with other pod CIDRs than `settings` has: the agent has to be stopped then and
  /// made with those, and says until then that the node is not ready. `pages` answers on the port below `/weft/`.
  public init(
    _ settings: NodeSettings, api: any ClusterAPI, metrics: Metrics = .shared, pages: NodePages? = nil,
    onCNIAdd: @escaping CNIHook = { _ in .ok },
    onOtherBlocks: @escaping @Sendable ([IPPrefix]) -> Void = { _ in }
  ) {
    self.onOtherBlocks = onOtherBlocks
    self.pages = pages
    reviews = NodeReviews(nodeName: settings.nodeName, metrics: metrics) {
      try await api.create($0, $1, options: WriteOptions())
    }
    let pods = APIPods(api, nodeName: settings.nodeName)
    let writer = EventWriter(api, nodeName: settings.nodeName)
    self.settings = settings
    self.api = api
    if settings.staticPodPath != nil || settings.staticPodURL != nil {
      let own = StaticPodSource(
        own: StaticPods(settings, mirrors: APIMirrorPods(api: api, nodeName: settings.nodeName), sink: pods),
        source: pods, sink: pods)
      source = own
      sink = own
    } else {
      source = pods
      sink = pods
    }
    objects = pods
    self.writer = writer
    record = { writer.record($0) }
    self.metrics = metrics
    self.onCNIAdd = onCNIAdd
    containerd = Containerd(settings.containerd, metrics: metrics)
  }

  /// An agent without an API server: pods come from `source`, and no Node object is kept.
  public init(
    _ settings: NodeSettings, source: any PodSource, sink: any PodStatusSink, objects: any PodObjects,
    record: @escaping EventRecorder, metrics: Metrics = .shared, pages: NodePages? = nil,
    onCNIAdd: @escaping CNIHook = { _ in .ok }
  ) {
    self.settings = settings
    self.pages = pages
    onOtherBlocks = { _ in }
    reviews = nil
    api = nil
    self.source = source
    self.sink = sink
    self.objects = objects
    self.record = record
    self.metrics = metrics
    self.onCNIAdd = onCNIAdd
    containerd = Containerd(settings.containerd, metrics: metrics)
  }

  /// Starts or adopts containerd, makes the images it needs, then follows the pods. Throws `WeftError` (NOD0001 and on)
  /// when something is missing on this machine; nothing is left running then.
  public func start() async throws {
    try Files.makeDirectory(settings.runDirectory)
    try Files.makeDirectory(settings.dataDirectory)
    let socket = NodeSocket(path: settings.nodeSocketPath, hook: onCNIAdd)
    try socket.start()
    self.socket = socket
    do {
      try await containerd.start()
      let cri = try CRIClient(socketPath: settings.containerd.socketPath, metrics: metrics)
      self.cri = cri
      let images = ImageStore(
        cri, settings.containerd, atOnceMax: settings.imagePullsMax, metrics: metrics)
      self.images = images
      let made = try await images.ensureOwnImages(busyboxPath: settings.busyboxPath)
      if !made.isEmpty { log.info("images made", metadata: ["images": "\(made.joined(separator: ","))"]) }
      let machine = observeMachine(dataDirectory: settings.dataDirectory, runtimeVersion: "")
      let gate = Gate()
      let upkeep = NetworkUpkeep(settings.containerd, gate: gate, metrics: metrics) {
        try await cri.listSandboxes().map(\.id)
      }
      // Before the first pod: what a crash left must not hold its addresses.
      await upkeep.round()
      let interval = settings.networkUpkeepInterval
      upkeeping = Task { await upkeep.run(every: interval) }
      let devices = await startDevices()
      let context = NodeContext(
        settings: settings, cri: cri, images: images, starts: Gate(settings.startsMax), network: gate,
        objects: objects, watches: ObjectWatches(objects, metrics: metrics),
        credentials: settings.credentialProviders.map { CredentialProviders($0, metrics: metrics) },
        devices: devices,
        sink: sink, record: record,
        metrics: NodeMetrics(metrics, probeMetrics: probeMetrics), capacity: machine.capacity,
        allocatable: planAllocatable(machine, settings))
      let manager = PodManager(context)
      self.manager = manager
      await manager.start(source)
      startPodResources(manager)
      keep(cri, manager)
      health = await HealthServer.start(settings)
      var digest: String?
      if let authority = settings.clientAuthority {
        let certificate = try ServingCertificate(
          nodeName: settings.nodeName, addresses: settings.addresses)
        server = try await NodeServer.start(settings, authority: authority, certificate: certificate) {
          [weak self] request in
          await self?.answer(request) ?? .text(503, "the node agent has ended")
        }
        digest = certificate.digest
      }
      if let api {
        let registrar = NodeRegistrar(
          api, settings, cri, certificateDigest: digest, pressures: pressures, devices: devices,
          record: record, onOtherBlocks: onOtherBlocks)
        self.registrar = registrar
        await registrar.start()
        shownDigest = digest ?? ""
        keepServingCertificate(api)
      }
    } catch {
      upkeeping?.cancel()
      for keeper in keepers { keeper.cancel() }
      await health?.stop()
      socket.stop()
      await server?.stop()
      await podResources?.stop()
      await plugins?.stop()
      await devices?.stop()
      await containerd.stop(keepRunning: false)
      throw error
    }
  }

  /// Starts what looks after the node while pods run: logs, images, evictions.
  private func keep(_ cri: CRIClient, _ manager: PodManager) {
    let stats = StatsKeeper(settings, cri)
    self.stats = stats
    let images = ImageCollector(cri, settings)
    let logs = LogKeeper(cri, settings)
    let evictions = EvictionManager(
      settings.eviction, stats: stats, pods: manager, images: images, pressures: pressures,
      metrics: metrics, onShortage: { [record, name = settings.nodeName] in record(thresholdEvent(name, $0)) }
    )
    keepers = [
      Task { await images.run() }, Task { await logs.run() }, Task { await evictions.run() },
    ]
  }

  /// Asks the cluster for the port's certificate, as long as the agent runs.
  private func keepServingCertificate(_ api: any ClusterAPI) {
    guard settings.requestsServingCertificate, server != nil else { return }
    let keeper = CertificateKeeper(
      .serving(names: [settings.nodeName], addresses: settings.addresses), nodeName: settings.nodeName,
      folder: settings.certificateFolder, api: api, metrics: metrics
    ) { [weak self] next in await self?.show(next) }
    keepers.append(Task { await keeper.run() })
  }

  private func show(_ next: NodeCertificate) async {
    // Both are right while one takes the other's place: who dials just now sees either.
    await registrar?.show(certificates: [shownDigest, next.digest])
    do {
      try server?.show(ServingCertificate(next))
      shownDigest = next.digest
    } catch {
      log.error("the port keeps its certificate", metadata: ["error": "\(error)"])
    }
    await registrar?.show(certificates: [shownDigest])
  }

  /// Listens to device plugins, where the settings say so. What keeps it from that keeps nothing else.
  private func startDevices() async -> DeviceManager? {
    guard let folder = settings.devicePluginPath else { return nil }
    let devices = DeviceManager(folder: folder, metrics: metrics) { [weak self] in
      await self?.registrar?.resourcesChanged()
    }
    do {
      try await devices.start()
    } catch {
      log.error("no device plugins on this node", metadata: ["error": "\(error)"])
      return nil
    }
    self.devices = devices
    await startPlugins(devices)
    return devices
  }

  /// Looks for plugins' sockets, where the settings say so. What keeps it from that keeps nothing else.
  private func startPlugins(_ devices: DeviceManager) async {
    guard let folder = settings.pluginRegistryPath else { return }
    let plugins = await devices.pluginRegistry(folder: folder)
    do {
      try await plugins.start()
      self.plugins = plugins
    } catch {
      log.error("no plugins are looked for", metadata: ["error": "\(error)"])
    }
  }

  /// Tells which pods have which devices, where the settings say so. What keeps it from that keeps nothing else.
  private func startPodResources(_ manager: PodManager) {
    guard let folder = settings.podResourcesPath else { return }
    do {
      let lister = PodResourcesLister(devices: devices, metrics: metrics) {
        await manager.specs().filter { !PodSpec($0).isTerminal }
      }
      podResources = try LocalService(
        lister, folder: folder, code: "NOD0044", option: "--pod-resources-dir")
    } catch {
      log.error("nobody is told of pods' devices", metadata: ["error": "\(error)"])
    }
  }

  /// Before the machine goes down: takes nothing new, says so, and ends the pods as `settings.shutdown` has it. Takes at
  /// most its seconds, and does nothing without it.
  public func shutDown() async {
    guard let shutdown = settings.shutdown, let manager, !isStopped else { return }
    log.info("shutdown: pods are ended", metadata: ["seconds": "\(shutdown.seconds)"])
    metrics.gauge(
      "kubelet_graceful_shutdown_start_time_seconds",
      "When the last graceful shutdown began, in seconds since 1970."
    ).child().set(Double(Timestamp.now().seconds))
    record(
      PodEvent(
        involved: nodeReference(settings.nodeName), isWarning: false, reason: "Shutdown",
        message: "Shutdown manager detected shutdown event", fieldPath: ""))
    await registrar?.goDown("node is shutting down")
    let left = await manager.shutDown(shutdown)
    metrics.gauge(
      "kubelet_graceful_shutdown_end_time_seconds",
      "When the last graceful shutdown ended, in seconds since 1970."
    ).child().set(Double(Timestamp.now().seconds))
    log.info("shutdown: done", metadata: ["podsLeft": "\(left)"])
  }

  /// What the node and its pods use, at most a second old.
  func usage() async throws -> NodeUsage {
    guard let stats else { throw notStarted }
    return await stats.usage()
  }

  /// What runs, as the runtime says.
  func runningPods() async throws -> JSON {
    guard let cri else { throw notStarted }
    return planRunningPods(try await cri.listSandboxes(), try await cri.listContainers())
  }

  /// Ends the agent. See the type for what `keepPods` means. Takes about 0.1 s a pod without, nothing with.
  public func stop(keepPods: Bool) async {
    if isStopped { return }
    isStopped = true
    upkeeping?.cancel()
    for keeper in keepers { keeper.cancel() }
    await upkeeping?.value
    for keeper in keepers { await keeper.value }
    await server?.stop()
    await health?.stop()
    await registrar?.stop(leaving: false)
    await manager?.stop()
    await podResources?.stop()
    await plugins?.stop()
    await devices?.stop()
    writer?.stop()
    if !keepPods {
      await manager?.removeAll()
      Files.unmountAll(below: settings.dataDirectory + "/pods")
      Files.removeTree(settings.dataDirectory + "/pods")
    }
    cri?.close()
    await containerd.stop(keepRunning: keepPods)
    socket?.stop()
  }
}
