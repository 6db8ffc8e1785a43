// Devices that plugins offer, and who has them. A plugin registers at `kubelet.sock`, lists its devices for as long as it
// lives, and is asked what a container needs to use those it was given.
//
//   plugin -> Register -> ListAndWatch ... -> node status      pod -> admission: ids, Allocate -> start: mounts, variables

import ClusterObjects
import Diagnostics
import GRPCCore
import Logging

/// The devices of a node. At most `resourcesMax` resources; a plugin above that is refused.
actor DeviceManager {
  static let resourcesMax = 64
  /// So long the node goes on saying that it has devices whose plugin went away, none of them to be had.
  static let lossGrace: Duration = .seconds(300)

  private struct Served {
    var plugin: DevicePlugin
    var following: Task<Void, Never>
  }

  private let folder: String
  private let lossGrace: Duration
  private let changed: @Sendable () async -> Void
  private let registrations: MetricFamily<Counter>
  private let durations: MetricFamily<Histogram>
  private let log = Logger(label: "node")
  private var registry: LocalService?
  /// Who is told of plugins that went away and were found by their sockets.
  private var onLoss: @Sendable (_ socket: String) async -> Void = { _ in }
  private var served: [String: Served] = [:]
  private var devices: [String: ResourceDevices] = [:]
  private var forgetting: [String: Task<Void, Never>] = [:]
  private var allocations: [DeviceAllocation] = []
  /// Resources that were ever served here: the node says 0 of them when they are gone.
  private var known: Set<String> = []

  /// `changed` is called when the node has to say something else of its devices.
  init(
    folder: String, metrics: Metrics, lossGrace: Duration = DeviceManager.lossGrace,
    changed: @escaping @Sendable () async -> Void
  ) {
    self.folder = folder
    self.lossGrace = lossGrace
    self.changed = changed
    registrations = metrics.counter(
      "kubelet_device_plugin_registration_total", "Registrations of device plugins.",
      labels: ["resource_name"])
    durations = metrics.histogram(
      "kubelet_device_plugin_alloc_duration_seconds", "Allocation calls of device plugins.",
      labels: ["resource_name"])
  }

  /// Remembers, then listens. Errors: `NOD0030`.
  func start() throws {
    registry = try LocalService(
      DeviceRegistry { [weak self] registration in try await self?.register(registration) },
      folder: folder, code: "NOD0030", option: "--device-plugin-dir", clears: true)
    let checkpoint = DeviceCheckpoint.read(folder)
    allocations = checkpoint.allocations
    known = checkpoint.resources
  }

  func stop() async {
    await registry?.stop()
    for entry in served.values {
      entry.following.cancel()
      entry.plugin.close()
    }
    for task in forgetting.values { task.cancel() }
    served = [:]
  }

  var extended: ExtendedResources { planExtendedResources(devices, forgotten: known) }

  /// Who has what, of all pods.
  var allocated: [DeviceAllocation] { allocations }

  /// The devices that may be given, whoever has them now.
  var allocatable: [ContainerDevices] {
    devices.sorted { $0.key < $1.key }.filter { !$0.value.healthy.isEmpty }.map {
      ContainerDevices(resource: $0.key, ids: $0.value.healthy.sorted())
    }
  }

  // MARK: - Plugins

  /// A plugin's word that it is there. A second of the same resource takes the first one's place.
  func register(_ registration: DeviceRegistration) throws {
    let resource = registration.resource
    func refuse(_ message: String) -> RPCError {
      log.warning("device plugin refused", metadata: ["resource": "\(resource)", "cause": "\(message)"])
      return RPCError(code: .invalidArgument, message: message)
    }
    guard registration.version == DeviceService.version else {
      throw refuse(
        "requested API version \"\(registration.version)\" is not supported by kubelet. Supported version is "
          + "[\"\(DeviceService.version)\"]")
    }
    guard isSafeRelativePath(registration.endpoint) else {
      throw refuse("the endpoint \"\(registration.endpoint)\" is no socket of \(folder)")
    }
    try serve(
      resource, options: registration.options, socket: "\(folder)/\(registration.endpoint)", refuse: refuse)
  }

  /// What finds plugins by their sockets in a folder, and registers them here. `start` it, and `stop` it before the manager.
  func pluginRegistry(folder: String, period: Duration = PluginRegistry.period) -> PluginRegistry {
    let registry = PluginRegistry(
      folder: folder,
      handlers: [
        "DevicePlugin": PluginHandler(
          register: { try await self.register($0, socket: $1) },
          deregister: { await self.deregister($0, socket: $1) })
      ], period: period)
    onLoss = { [weak registry] in await registry?.lost($0) }
    return registry
  }

  private func register(_ info: PluginInfo, socket: String) throws {
    func refuse(_ message: String) -> RPCError { RPCError(code: .invalidArgument, message: message) }
    guard info.versions.contains(DeviceService.version) else {
      throw refuse(
        "requested API version \(info.versions) is not supported by kubelet. Supported version is "
          + "[\"\(DeviceService.version)\"]")
    }
    let endpoint = info.endpoint.isEmpty ? socket : info.endpoint
    guard endpoint.hasPrefix("/") else { throw refuse("the endpoint \"\(endpoint)\" is no path") }
    try serve(info.name, options: nil, socket: endpoint, refuse: refuse)
  }

  private func deregister(_ resource: String, socket: String) {
    // Another may have taken its place since.
    guard let entry = served[resource], entry.plugin.socket == socket else { return }
    entry.following.cancel()
    entry.plugin.close()
    lose(entry.plugin, "its socket is gone")
  }

  private func serve(
    _ resource: String, options: DevicePluginOptions?, socket: String, refuse: (String) -> RPCError
  ) throws {
    guard isExtendedResource(resource) else { throw refuse("the ResourceName \"\(resource)\" is invalid") }
    guard known.contains(resource) || known.count < Self.resourcesMax else {
      throw refuse("this node has \(Self.resourcesMax) resources of device plugins, and takes no more")
    }
    let plugin = try DevicePlugin(resource: resource, options: options, socket: socket)
    if let old = served[resource] {
      old.following.cancel()
      old.plugin.close()
    }
    registrations.child(resource).increment()
    log.info(
      "device plugin registered", metadata: ["resource": "\(resource)", "socket": "\(socket)"])
    served[resource] = Served(plugin: plugin, following: Task { await self.follow(plugin) })
    if known.insert(resource).inserted { remember() }
  }

  private func follow(_ plugin: DevicePlugin) async {
    var cause = "it ended its list"
    do {
      try await plugin.listAndWatch { [weak self] list in await self?.take(list, of: plugin) }
    } catch { cause = runtimeMessage(error) }
    guard served[plugin.resource]?.plugin === plugin else { return }
    plugin.close()
    lose(plugin, cause)
    await onLoss(plugin.socket)
  }

  private func lose(_ plugin: DevicePlugin, _ cause: String) {
    log.warning(
      "device plugin went away", metadata: ["resource": "\(plugin.resource)", "cause": "\(cause)"])
    served[plugin.resource] = nil
    devices[plugin.resource, default: ResourceDevices()].lose()
    let (resource, grace) = (plugin.resource, lossGrace)
    forgetting[resource]?.cancel()
    forgetting[resource] = Task {
      try? await Task.sleep(for: grace)
      if !Task.isCancelled { self.forget(resource) }
    }
    tell()
  }

  /// Without waiting for whoever is told: a plugin's next list must not wait for the API server.
  private func tell() {
    let changed = changed
    Task { await changed() }
  }

  private func forget(_ resource: String) {
    guard served[resource] == nil else { return }
    devices[resource] = nil
    forgetting[resource] = nil
    tell()
  }

  private func take(_ list: DeviceList, of plugin: DevicePlugin) {
    guard served[plugin.resource]?.plugin === plugin else { return }
    forgetting.removeValue(forKey: plugin.resource)?.cancel()
    let now = ResourceDevices(list)
    guard devices.updateValue(now, forKey: plugin.resource) != now else { return }
    log.info(
      "devices listed",
      metadata: [
        "resource": "\(plugin.resource)", "healthy": "\(now.healthy.count)",
        "unhealthy": "\(now.unhealthy.count)",
      ])
    tell()
  }

  // MARK: - Pods

  /// Gives the pod's containers their devices, all or none. `active` are the pods of this node that have not ended: what
  /// others had is free; nil as long as not all are known.
  func admit(_ spec: PodSpec, active: Set<String>?) async throws(DevicesUnavailable) {
    let uid = spec.pod.uid
    if let active {
      let before = allocations.count
      allocations.removeAll { $0.pod != uid && !active.contains($0.pod) }
      if allocations.count != before { remember() }
    }
    do {
      for container in spec.all { try await allocate(container, spec) }
    } catch {
      allocations.removeAll { $0.pod == uid }
      remember()
      throw error
    }
  }

  private func allocate(_ container: ContainerSpec, _ spec: PodSpec) async throws(DevicesUnavailable) {
    let uid = spec.pod.uid
    for (resource, count) in deviceRequests(container, of: known).sorted(by: { $0.key < $1.key }) {
      if let held = allocation(uid, container.name, resource) {
        guard held.ids.count == count else {
          throw DevicesUnavailable(
            message:
              "pod \"\(uid)\" container \"\(container.name)\" changed request for resource \"\(resource)\" "
              + "from \(held.ids.count) to \(count)")
        }
        continue
      }
      let choice = try planDeviceChoice(
        resource, count: count, devices: devices[resource], taken: taken(resource),
        reusable: reusable(resource, spec, before: container))
      guard let plugin = served[resource]?.plugin else {
        throw DevicesUnavailable(message: "cannot allocate unregistered device \(resource)")
      }
      let ids = await ids(choice, plugin)
      // Reserved before the plugin is asked: somebody else may come meanwhile.
      guard ids.isDisjoint(with: taken(resource).subtracting(choice.reusable)) else {
        throw DevicesUnavailable(
          message: "requested number of devices unavailable for \(resource). Requested: \(count), Available: "
            + "\(choice.available.subtracting(taken(resource)).count)")
      }
      allocations.append(
        DeviceAllocation(pod: uid, container: container.name, resource: resource, ids: ids))
      let begin = ContinuousClock.now
      do {
        let grant = try await plugin.allocate(ids.sorted())
        durations.child(resource).observe(ContinuousClock.now - begin)
        guard let index = index(uid, container.name, resource) else { continue }
        allocations[index].grant = grant
        remember()
      } catch {
        allocations.removeAll { $0.pod == uid && $0.container == container.name && $0.resource == resource }
        throw DevicesUnavailable(message: "rpc error: \(runtimeMessage(error))")
      }
    }
  }

  /// With the plugin's preference, when it has one and there is a choice.
  private func ids(_ choice: DeviceChoice, _ plugin: DevicePlugin) async -> Set<String> {
    guard plugin.options.hasPreferences, choice.available.count > choice.needed else { return choice.ids() }
    let preferred = try? await plugin.prefer(
      choice.available.sorted(), mustInclude: choice.reusable.sorted().prefix(choice.needed).map(\.self),
      size: choice.needed)
    return choice.ids(preferred: preferred ?? [])
  }

  /// What the container is started with; what admission gave, or gives now to a pod from before this agent's memory. Tells
  /// the plugin first, when it wants to be told. Throws `DevicesUnavailable`, or what the plugin says.
  func grant(_ container: ContainerSpec, _ spec: PodSpec) async throws -> DeviceGrant {
    let wanted = deviceRequests(container, of: known)
    guard !wanted.isEmpty else { return DeviceGrant() }
    try await allocate(container, spec)
    var grant = DeviceGrant()
    for resource in wanted.keys.sorted() {
      guard let held = allocation(spec.pod.uid, container.name, resource) else { continue }
      if let plugin = served[resource]?.plugin, plugin.options.isPreStartRequired {
        try await plugin.preStart(held.ids.sorted())
      }
      grant.merge(held.grant)
    }
    return grant
  }

  private func taken(_ resource: String) -> Set<String> {
    allocations.reduce(into: []) { if $1.resource == resource { $0.formUnion($1.ids) } }
  }

  /// Devices of the pod's init containers that will have ended, less those that a container after them already took.
  private func reusable(_ resource: String, _ spec: PodSpec, before container: ContainerSpec) -> Set<String> {
    var ids: Set<String> = []
    for earlier in spec.all.prefix(while: { $0.name != container.name }) {
      let held = allocation(spec.pod.uid, earlier.name, resource)?.ids ?? []
      if earlier.role == .initial { ids.formUnion(held) } else { ids.subtract(held) }
    }
    return ids
  }

  private func index(_ pod: String, _ container: String, _ resource: String) -> Int? {
    allocations.firstIndex { $0.pod == pod && $0.container == container && $0.resource == resource }
  }

  private func allocation(_ pod: String, _ container: String, _ resource: String) -> DeviceAllocation? {
    index(pod, container, resource).map { allocations[$0] }
  }

  private func remember() {
    do {
      try DeviceCheckpoint(allocations: allocations, resources: known).write(folder)
    } catch {
      log.warning(
        "devices cannot be remembered over a restart", metadata: ["error": "\(runtimeMessage(error))"])
    }
  }
}
