// Nodes without machines, many in one process: they register, renew their Leases, and say of their pods
// what an agent would say of them. For planning: what do five thousand nodes cost the control plane?

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// Thread-safe. Uses the agent's own plans for Node, status and pods; only the runtime is pretended.
public final class HollowNodes: Sendable {
  /// Writes to the API at the same time.
  public static let writesMax = 32
  /// Pods that wait to be reported; beyond it the next change of the pod reports it.
  public static let pendingMax = 262_144

  public let names: [String]
  private let api: any ClusterAPI
  private let pods: Informer
  private struct State {
    var pods: [ObjectKey: HollowPod] = [:]
    var nextAddress: UInt32 = 0
    var tasks: [Task<Void, Never>] = []
    var registration: InformerRegistration?
  }
  private let state = Mutex(State())
  private let log = Logger(label: "hollow")

  public init(_ count: Int, prefix: String = "hollow-", api: any ClusterAPI, informers: SharedInformers) {
    names = (0..<count).map { "\(prefix)\($0)" }
    self.api = api
    pods = informers.informer(.pods)
  }

  private static let machine = MachineInfo(
    cpus: 32, memoryBytes: 128 << 30, memoryAvailableBytes: 120 << 30, diskBytes: 1 << 40,
    diskFreeBytes: 1 << 39, machineID: "hollow", bootID: "hollow", kernelVersion: "hollow", osImage: "hollow",
    runtimeVersion: "hollow://1")

  private func settings(_ index: Int) -> NodeSettings {
    var settings = NodeSettings(
      nodeName: names[index], addresses: [.v4(IPv4Address(bits: 0x0A80_0000 + UInt32(index)))])
    settings.labels["topology.kubernetes.io/zone"] = "zone-\(index % 3)"
    settings.labels["weft.local/hollow"] = "true"
    return settings
  }

  // MARK: Registering

  /// Makes the Node objects and their Leases, not ready yet. Throws what the API answers.
  public func register() async throws {
    try await each { index in
      _ = try await self.api.create(
        .nodes, planNode(self.settings(index)), options: WriteOptions(fieldManager: "weft-node"))
      try await self.renewLease(index)
    }
  }

  /// Says that each node is ready.
  public func becomeReady() async throws {
    try await each { index in
      let health = planNodeHealth(failure: nil, [])
      let status = planNodeStatus(
        self.settings(index), Self.machine, health, images: [], old: .null, now: Timestamp.nowText())
      _ = try await self.api.patch(
        .nodes, namespace: "", name: self.names[index], patch: .merge(["status": status]),
        subresource: "status", options: WriteOptions(fieldManager: "weft-node"))
    }
  }

  private func renewLease(_ index: Int) async throws {
    let now = JSON(Timestamp.nowMicroText())
    let name = names[index]
    do {
      _ = try await api.patch(
        .leases, namespace: "kube-node-lease", name: name,
        patch: .merge(["spec": ["renewTime": now, "holderIdentity": JSON(name)]]), subresource: nil,
        options: WriteOptions(fieldManager: "weft-node"))
    } catch let error as APIStatusError where error.isNotFound {
      let lease: JSON = [
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": ["name": JSON(name), "namespace": "kube-node-lease"],
        "spec": ["holderIdentity": JSON(name), "leaseDurationSeconds": 40, "renewTime": now],
      ]
      do {
        _ = try await api.create(.leases, lease, options: WriteOptions(fieldManager: "weft-node"))
      } catch let error as APIStatusError where error.isAlreadyExists {
        // Registering and renewing met.
      }
    }
  }

  private func each(_ body: @escaping @Sendable (Int) async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in names.indices {
        if index >= Self.writesMax { try await group.next() }
        group.addTask { try await body(index) }
      }
      try await group.waitForAll()
    }
  }

  // MARK: Running

  /// Renews Leases every ten seconds and reports pods, until `stop`.
  public func start() {
    let (work, queue) = AsyncStream<ObjectKey>.makeStream(bufferingPolicy: .bufferingOldest(Self.pendingMax))
    let ours = Set(names)
    let registration = pods.onChange { [weak self] changes in
      for change in changes {
        guard let pod = change.new else {
          self?.state.withLock { $0.pods[change.key] = nil }
          continue
        }
        guard let node = pod.at("spec", "nodeName")?.string, ours.contains(node) else { continue }
        let isNew = (change.old?.at("spec", "nodeName")?.string ?? "").isEmpty
        if isNew || pod.isTerminating { queue.yield(change.key) }
      }
    }
    let reporting = Task.detached { [self] in
      await withTaskGroup(of: Void.self) { group in
        var running = 0
        for await key in work {
          if running >= Self.writesMax { await group.next() } else { running += 1 }
          group.addTask { await self.report(key) }
        }
      }
    }
    let renewing = Task.detached { [self] in
      while !Task.isCancelled {
        // Spread over the ten seconds, as nodes that started at different times are.
        let began = ContinuousClock.now
        for index in names.indices {
          if Task.isCancelled { return }
          do { try await renewLease(index) } catch {
            log.debug("lease not renewed", metadata: ["node": "\(names[index])", "error": "\(error)"])
          }
          let due = began + .seconds(10) * (Double(index + 1) / Double(names.count))
          if due > .now { try? await Task.sleep(until: due, clock: .continuous) }
        }
      }
    }
    state.withLock {
      $0.registration = registration
      $0.tasks = [reporting, renewing]
    }
  }

  public func stop() async {
    // The registration is released outside the lock that its handler takes.
    let (tasks, registration) = state.withLock { state in
      defer { (state.tasks, state.registration) = ([], nil) }
      return (state.tasks, state.registration)
    }
    _ = registration
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }

  private func report(_ key: ObjectKey) async {
    guard let pod = pods[key], let node = pod.at("spec", "nodeName")?.string else { return }
    if pod.isTerminating {
      try? await api.deleteIfPresent(
        .pods, key, options: DeleteOptions(gracePeriodSeconds: 0, uid: pod.uid))
      return
    }
    let status = state.withLock { state in
      var hollow = state.pods[key] ?? HollowPod()
      state.nextAddress &+= 1
      let address = IPv4Address(bits: 0x0A40_0000 &+ state.nextAddress % 0x3F_FFFF)
      let status = hollow.settle(
        pod, address: "\(address)", hostAddress: "10.128.0.1", seconds: Timestamp.now().seconds)
      state.pods[key] = hollow
      return status
    }
    do {
      _ = try await api.patch(
        .pods, namespace: key.namespace, name: key.name, patch: .merge(["status": status]),
        subresource: "status", options: WriteOptions(fieldManager: "weft-node"))
    } catch {
      log.debug("status not written", metadata: ["pod": "\(key)", "node": "\(node)", "error": "\(error)"])
    }
  }
}
