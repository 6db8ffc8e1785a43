// A service proxy that runs: informers, view, rules, health pages, put together for one node of any cluster.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Glibc
import KernelNetlink
import KernelNftables
import Logging
import Observe
import Policy
import Proxy
import Reactor

/// `weft proxy` without `--once` or `--print`.
struct ProxyRun: Sendable {
  var settings: KubeProxySettings
  var nodeName: String
  var enforcesPolicy: Bool
  /// False for a folder of manifests, which need not hold a Node.
  var isCluster: Bool
  /// The userspace mode goes out as its clients where it may.
  var keepsSources = false
  var flows = FlowSettings()
  /// Where flows are asked for; nil: nowhere.
  var flowSocketPath: String?
  /// Where packets are asked for; nil: nowhere.
  var captureSocketPath: String?
  /// How long the first list may take before it is said what is missing; it is waited for all the same.
  static let firstListPatience: Duration = .seconds(30)

  /// What is read of a cluster. Without policies no more than kube-proxy's role allows.
  static func resources(policy: Bool) -> [GroupVersionResource] {
    let services: [GroupVersionResource] = [.services, .endpointSlices, .nodes]
    return policy ? services + [.pods, .namespaces, .networkPolicies] : services
  }

  /// Settings of the process and the kernel that were asked for.
  static func prepareMachine(_ settings: KubeProxySettings) throws(WeftError) {
    if let score = settings.oomScoreAdj {
      do { try writeProcess("oom_score_adj", "\(score)") } catch {
        throw WeftError(
          "PRX0017", object: "--oom-score-adj \(score)", cause: "the kernel refused (\(error))",
          next: "use -1000 to 1000, and root for less than it is now")
      }
    }
    for (name, value) in settings.conntrack.switches(processors: ReactorThread.processorCount) {
      do { try Sysctl.write(name, "\(value)") } catch {
        Logger(label: "proxy").warning("connection tracking is as it was", metadata: ["error": "\(error)"])
      }
    }
  }

  private static func writeProcess(_ name: String, _ text: String) throws(SocketError) {
    let descriptor = Descriptor(owning: open("/proc/self/\(name)", O_WRONLY | O_CLOEXEC))
    guard descriptor.isOpen else { throw SocketError("open \(name)", errno) }
    let bytes = Array(text.utf8)
    guard write(descriptor.raw, bytes, bytes.count) == bytes.count else {
      throw SocketError("write \(name)", errno)
    }
  }

  /// What the planner is told.
  static func configuration(_ settings: KubeProxySettings, nodeName: String, view: ClusterView)
    throws(WeftError) -> ProxyConfiguration
  {
    var configuration = ProxyConfiguration(nodeName: nodeName)
    configuration.nodePortAddresses = settings.nodePortAddresses.choose(
      from: try NodeAddress.all(besides: ""), primary: view.nodes[nodeName]?.internalIPs ?? [])
    configuration.apply(settings, podCIDRs: view.nodes[nodeName]?.podCIDRs ?? [])
    return configuration
  }

  /// Where healthCheckNodePorts listen: where node ports answer.
  private func healthAddresses(_ view: ClusterView) throws(WeftError) -> [IPAddress] {
    switch settings.nodePortAddresses {
    case .all: [.v4(IPv4Address(bits: 0)), .v6(IPv6Address(bits: 0))]
    case .primary, .blocks:
      try Self.configuration(settings, nodeName: nodeName, view: view).nodePortAddresses
    }
  }

  /// Runs until a signal. An API server that is away is waited for; rules in force stay meanwhile.
  func run(api: any ClusterAPI) async throws {
    let health = ProxyHealth(
      families: IPFamily.allCases, timeout: .seconds(2 * settings.syncSeconds), nodeIsKnown: !isCluster)
    // Without rights there is no way into the kernel's tables, and no need of one.
    let worker = settings.mode == .nftables ? try Kernel.worker(policy: enforcesPolicy) : nil
    let status = try StatusPages(
      metrics: settings.metricsBindAddress, healthz: settings.healthzBindAddress,
      proxy: .init(health: health, mode: settings.mode, configuration: settings.json(nodeName: nodeName)),
      waitsForPorts: !settings.bindAddressHardFail)
    let signal = Task.detached { await StopSignal.wait() }
    let work = Task { try await follow(api, worker, health) }
    let ended = Task {
      _ = await signal.value
      work.cancel()
    }
    defer {
      ended.cancel()
      status.stop()
      // The rules stay, as kube-proxy's do: connections go on while it is replaced.
      worker?.stop()
    }
    do { try await work.value } catch is CancellationError {}
  }

  private func follow(_ api: any ClusterAPI, _ worker: RulesetWorker?, _ health: ProxyHealth) async throws {
    let informers = SharedInformers(api: api)
    let follower = ViewFollower()
    let resources = Self.resources(policy: enforcesPolicy)
    // Until the first whole list there is nothing to compare rules with: none are touched.
    for resource in resources { _ = informers.informer(resource) }
    try await firstLists(informers)
    var view = ClusterView()
    do {
      for node in informers.snapshot(.nodes).values { view.apply(ClusterOptions.named(node, .nodes)) }
    }
    let events =
      isCluster ? EventRecorder(api: api, component: "kube-proxy", host: nodeName) : nil
    let watch = ProxyWatch(
      nodeName: nodeName, health: health, informers: informers, addresses: try healthAddresses(view),
      events: events)
    if enforcesPolicy { try await follower.followClusterPolicies(informers) }
    try await follower.start(informers, resources: resources)
    let configuration = try Self.configuration(settings, nodeName: nodeName, view: view)
    if let worker {
      let syncer = ProxySyncer(
        worker: worker, configuration: configuration, logger: Logger(label: "proxy"))
      let announcer = LoadBalancerAnnouncer(
        nodeName: nodeName, besides: [],
        nodes: { try await api.list(.nodes, namespace: "", options: ListOptions()).items })
      defer { announcer.stop() }
      let plane = NodeNetwork(
        follower: follower, worker: worker, proxy: syncer,
        policy: enforcesPolicy ? PolicySettings(nodeName: nodeName, logging: flows.logging) : nil, book: nil,
        consumers: [{ view in watch.inForce(view) }, { view in announcer.update(view) }],
        cutter: flows.cutsForbidden && enforcesPolicy ? try FlowCutter() : nil)
      // Flows are named by pods, which are read for policies alone.
      let kept =
        enforcesPolicy
        ? flowSocketPath.flatMap {
          NodeFlows.start(flows, nodeName: nodeName, socket: $0, follower: follower)
        } : nil
      defer { kept?.stop() }
      let capture = NodeCapture()
      if let captureSocketPath {
        capture.start(nodeName, socket: captureSocketPath, follower: follower, flows: kept?.keeper)
      }
      defer { capture.stop() }
      let repairs = RepairReport(nodeName: nodeName, events: events)
      let reports = Task { await repairs.run(worker.repairs) }
      defer { reports.cancel() }
      await plane.run()
    } else {
      try await relay(configuration, follower, watch)
    }
    follower.stop()
    await watch.stop()
    await informers.stop()
  }

  /// The userspace mode: listeners in this process follow the view.
  private func relay(_ configuration: ProxyConfiguration, _ follower: ViewFollower, _ watch: ProxyWatch)
    async throws
  {
    let proxy: UserspaceProxy
    do {
      var limits = UserspaceLimits()
      limits.workers = min(ReactorThread.processorCount, UserspaceLimits.workersMax)
      proxy = try UserspaceProxy(
        configuration: configuration, limits: limits, keepsSources: keepsSources)
    } catch {
      throw WeftError(
        "PRX0019", object: "userspace proxy", cause: "its threads cannot be started (\(error))",
        next: "look at: ulimit -n; ulimit -u", underlying: error)
    }
    // A port that was taken may be free later, without any change of objects.
    let retries = Task {
      while (try? await Task.sleep(for: .seconds(settings.syncSeconds))) != nil { follower.ring() }
    }
    for await _ in follower.changes {
      let view = follower.view
      watch.unopened(await proxy.sync(view).newlyUnopened)
      watch.inForce(view)
    }
    retries.cancel()
    await proxy.stop(removingAddresses: true)
  }

  /// Waits for the first list of everything, however long the API server is away.
  private func firstLists(_ informers: SharedInformers) async throws {
    while true {
      do {
        return try await informers.waitForSync(timeout: Self.firstListPatience)
      } catch let error as WeftError {
        try Task.checkCancellation()
        Logger(label: "proxy").warning(
          "waiting for the API server; rules in force stay", metadata: ["reason": "\(error)"])
      }
    }
  }
}

extension KubeProxySettings {
  /// What `/configz` shows: the fields that count, under kube-proxy's names.
  func json(nodeName: String) -> JSON {
    let addresses: [String] =
      switch nodePortAddresses {
      case .all: []
      case .primary: ["primary"]
      case .blocks(let blocks): blocks.map(\.description)
      }
    return [
      "kind": JSON(KubeProxyFile.kind), "apiVersion": JSON(KubeProxyFile.apiVersion),
      "mode": JSON(mode.rawValue), "hostnameOverride": JSON(nodeName),
      "clusterCIDR": JSON(clusterCIDRs.map(\.description).joined(separator: ",")),
      "nodePortAddresses": JSON(addresses),
      "healthzBindAddress": JSON(healthzBindAddress?.description ?? ""),
      "metricsBindAddress": JSON(metricsBindAddress?.description ?? ""),
      "nftables": ["masqueradeAll": JSON(masqueradeAll), "syncPeriod": JSON("\(syncSeconds)s")],
    ]
  }
}
