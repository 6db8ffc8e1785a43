// Keeps the Node object and its Lease: registers, renews every ten seconds, writes the status when it changed and at
// least every five minutes.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

actor NodeRegistrar {
  private let api: any ClusterAPI
  private let settings: NodeSettings
  /// Nil while the node waits for its pod CIDRs and nothing can run.
  private let cri: CRIClient?
  private let log = Logger(label: "node")
  private var task: Task<Void, Never>?
  private var lastWritten: JSON = .null
  private var lastWrite = ContinuousClock.now
  private var runtimeVersion = ""
  private var wasReady = false

  /// What the API server compares the agent's certificate with.
  private var certificateDigest: String?

  private let pressures: NodePressures
  private let devices: DeviceManager?
  /// Why the node takes no more pods: its machine goes down.
  private var farewell: String?
  /// Called once, when the Node object has other pod CIDRs than the node was set up with.
  private let onOtherBlocks: @Sendable ([IPPrefix]) -> Void
  private let clock: NodeClock
  private let record: EventRecorder
  /// Nil until the first time.
  private var renewed: ContinuousClock.Instant?
  /// Of the Node object, whose Lease it is.
  private var nodeUID = ""
  private var blocks = BlockState.own
  private enum BlockState: Hashable {
    case own
    /// The Node object is new, and what it had is another node's now.
    case none
    case others([IPPrefix])
  }

  init(
    _ api: any ClusterAPI, _ settings: NodeSettings, _ cri: CRIClient?, certificateDigest: String?,
    pressures: NodePressures = NodePressures(), devices: DeviceManager? = nil, clock: NodeClock = .system,
    record: @escaping EventRecorder = { _ in },
    onOtherBlocks: @escaping @Sendable ([IPPrefix]) -> Void = { _ in }
  ) {
    self.api = api
    self.clock = clock
    self.record = record
    self.onOtherBlocks = onOtherBlocks
    self.devices = devices
    self.pressures = pressures
    self.certificateDigest = certificateDigest
    self.settings = settings
    self.cri = cri
  }

  /// What a node says of itself as long as nobody has given it pod CIDRs: kubelet's words around ours.
  static let withoutBlocks =
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    + "message:Network plugin returns error: the node has no pod CIDR yet"

  func start() {
    record(nodeStartEvent(settings.nodeName))
    task = Task { await self.run() }
  }

  /// Stops renewing. With `leaving` the node says that it is not ready, so that nothing is sent to it.
  func stop(leaving: Bool) async {
    task?.cancel()
    await task?.value
    if leaving { try? await writeStatus(failure: "the node agent stopped", force: true) }
  }

  /// The node has other devices than it said. What cannot be written now is by the next round.
  func resourcesChanged() async {
    try? await writeStatus(failure: await runtimeFailure(), force: false)
  }

  /// The certificates that the agent's port may show, by digest: two while one takes the other's place. What cannot be written
  /// now is by the next round.
  func show(certificates digests: [String]) async {
    certificateDigest = digests.joined(separator: ",")
    _ = try? await register()
  }

  /// From now on the node is not ready, and why.
  func goDown(_ cause: String) async {
    farewell = cause
    try? await writeStatus(failure: cause, force: true)
  }

  private func run() async {
    var failures = 0
    while !Task.isCancelled {
      do {
        // A node that is known goes on living, whatever becomes of its labels or its runtime.
        if renewed != nil { try await renewLease(ifDue: true) }
        try await register()
        try await renewLease(ifDue: true)
        try await writeStatus(failure: await runtimeFailure(), force: false)
        failures = 0
        // Until the network is ready, readiness is worth asking for more often; the Lease is renewed in its own time.
        await clock.sleep(wasReady ? max(leaseLeft, .milliseconds(250)) : .milliseconds(250))
      } catch {
        if Task.isCancelled { return }
        failures += 1
        log.warning(
          "node not written, trying again", metadata: ["node": "\(settings.nodeName)", "error": "\(error)"])
        await clock.sleep(.milliseconds(min(100 << min(failures, 7), 10_000)))
      }
    }
  }

  /// Until the Lease is due again.
  private var leaseLeft: Duration {
    renewed.map { settings.leaseInterval - (clock.now() - $0) } ?? .zero
  }

  /// - Returns: the Node object, as far as it is known after this.
  @discardableResult func register() async throws -> JSON {
    let node = try await registered()
    nodeUID = node.uid
    // Without a runtime it has not begun to use any.
    if cri != nil { try watchBlocks(node) }
    return node
  }

  /// What the Node object says of pod addresses, beside what this node was set up with.
  private func watchBlocks(_ node: JSON) throws {
    let found = node.podBlocks
    let now: BlockState =
      settings.podCIDRs.isEmpty || found == settings.podCIDRs ? .own : found.isEmpty ? .none : .others(found)
    guard now != blocks else { return }
    blocks = now
    guard case .others(let others) = now else { return }
    let error = WeftError(
      "NOD0042", object: "node \(settings.nodeName)",
      cause: "its Node object was made anew with the pod CIDR \(blockList(others)); it was set up with "
        + blockList(settings.podCIDRs),
      next: "weft node begins anew by itself; a pod that keeps an old address is started again")
    log.warning("\(error)")
    onOtherBlocks(others)
  }

  /// The node with the pod CIDRs it was told to have, or without when they are another's by now.
  private func wantedNode() async throws -> JSON {
    var wanted = planNode(settings, certificateDigest: certificateDigest)
    guard !settings.podCIDRs.isEmpty else { return wanted }
    let nodes = try await api.list(.nodes, namespace: "", options: ListOptions()).items
    guard let other = planBlockHolder(settings.podCIDRs, besides: settings.nodeName, nodes) else {
      return wanted
    }
    let error = WeftError(
      "NOD0043", object: "node \(settings.nodeName)",
      cause: "the pod CIDR \(blockList(settings.podCIDRs)) is that of node \(other)",
      next: "leave out --pod-cidr, or first: kubectl delete node \(other)")
    guard cri != nil else { throw error }
    log.warning("\(error)", metadata: ["then": "the control plane gives another"])
    wanted.set(nil, at: "spec", "podCIDR")
    wanted.set(nil, at: "spec", "podCIDRs")
    return wanted
  }

  private func registered() async throws -> JSON {
    var wanted = planNode(settings, certificateDigest: certificateDigest)
    let current: JSON
    do {
      current = try await api.get(.nodes, namespace: "", name: settings.nodeName)
    } catch let error as APIStatusError where error.isNotFound {
      do {
        let made = try await api.create(
          .nodes, wantedNode(), options: WriteOptions(fieldManager: "weft-node"))
        log.info("node registered", metadata: ["node": "\(settings.nodeName)"])
        return made
      } catch let error as APIStatusError where error.isAlreadyExists {
        return try await api.get(.nodes, namespace: "", name: settings.nodeName)
      }
    }
    var patch: JSON = [:]
    for (key, value) in wanted.labels where current.labels[key] != value {
      patch.set(JSON(value), at: "metadata", "labels", key)
    }
    for (key, value) in wanted.annotations where current.annotations[key] != value {
      patch.set(JSON(value), at: "metadata", "annotations", key)
    }
    if current.podBlocks.isEmpty, wanted.at("spec", "podCIDR") != nil { wanted = try await wantedNode() }
    if current.podBlocks.isEmpty, let cidr = wanted.at("spec", "podCIDR") {
      patch.set(cidr, at: "spec", "podCIDR")
      patch.set(wanted.at("spec", "podCIDRs"), at: "spec", "podCIDRs")
    }
    guard patch.object?.isEmpty == false else { return current }
    return try await api.patch(
      .nodes, namespace: "", name: settings.nodeName, patch: .merge(patch), subresource: nil,
      options: WriteOptions(fieldManager: "weft-node"))
  }

  /// Says that the node lives. With `ifDue` only when the last time is `leaseInterval` ago.
  func renewLease(ifDue: Bool = false) async throws {
    if ifDue, leaseLeft > .zero { return }
    let spec: JSON = [
      "holderIdentity": JSON(settings.nodeName), "leaseDurationSeconds": JSON(settings.leaseSeconds),
      "renewTime": JSON(clock.microText()),
    ]
    do {
      _ = try await api.patch(
        .leases, namespace: "kube-node-lease", name: settings.nodeName, patch: .merge(["spec": spec]),
        subresource: nil,
        options: WriteOptions(fieldManager: "weft-node"))
    } catch let error as APIStatusError where error.isNotFound {
      var lease: JSON = [
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": ["name": JSON(settings.nodeName), "namespace": "kube-node-lease"], "spec": spec,
      ]
      // It goes with its node.
      if !nodeUID.isEmpty {
        lease.set(
          [
            [
              "apiVersion": "v1", "kind": "Node", "name": JSON(settings.nodeName), "uid": JSON(nodeUID),
            ]
          ], at: "metadata", "ownerReferences")
      }
      do {
        _ = try await api.create(.leases, lease, options: WriteOptions(fieldManager: "weft-node"))
      } catch let error as APIStatusError where error.isNotFound {
        // The namespace of leases appears with the control plane's first moments.
        log.debug("no namespace for leases yet")
        return
      }
    }
    renewed = clock.now()
  }

  /// Why pods cannot run here now; nil when they can.
  func runtimeFailure() async -> String? {
    if let farewell { return farewell }
    guard let cri else { return Self.withoutBlocks }
    switch blocks {
    case .own: break
    case .none: return Self.withoutBlocks
    case .others(let others): return "the node is being set up for the pod CIDR \(blockList(others))"
    }
    guard let conditions = try? await cri.runtimeConditions() else { return "container runtime is down" }
    let bad = conditions.first { !$0.status }
    return bad.map {
      "container runtime network not ready: \($0.type)=false reason:\($0.reason) message:\($0.message)"
    }
  }

  func writeStatus(failure: String?, force: Bool) async throws {
    // A runtime that does not answer is not asked for what can wait: that it is away is to be told now.
    let runtime = failure == nil ? cri : nil
    if runtimeVersion.isEmpty { runtimeVersion = (try? await runtime?.version().runtimeVersion) ?? "" }
    let machine = observeMachine(dataDirectory: settings.dataDirectory, runtimeVersion: runtimeVersion)
    let old = try await api.get(.nodes, namespace: "", name: settings.nodeName).status
    let listed = (try? await runtime?.listImages())?.prefix(50).map { image -> JSON in
      ["names": JSON(image.repoDigests + image.repoTags), "sizeBytes": JSON(image.size)]
    }
    let images = listed ?? old["images"]?.elements ?? []
    let health = planNodeHealth(failure: failure, pressures.all)
    let status = planNodeStatus(
      settings, machine, health, images: images, old: old, now: Timestamp.nowText(),
      extended: await devices?.extended ?? ExtendedResources())
    // Heartbeats alone are the Lease's business.
    let essence = status.withoutHeartbeats
    let isDue = ContinuousClock.now - lastWrite > .seconds(300)
    wasReady = health.isReady
    // The control plane turned it Unknown while we were silent.
    let isOverruled = old.readyStatus != status.readyStatus
    guard force || isDue || isOverruled || essence != lastWritten else { return }
    _ = try await api.patch(
      .nodes, namespace: "", name: settings.nodeName, patch: .merge(["status": status]),
      subresource: "status",
      options: WriteOptions(fieldManager: "weft-node"))
    for event in planNodeEvents(settings.nodeName, old: old, new: status, isFirst: lastWritten.isNull) {
      record(event)
    }
    lastWritten = essence
    lastWrite = .now
  }
}

extension JSON {
  fileprivate var readyStatus: String? {
    self["conditions"]?.elements.first { $0["type"]?.string == "Ready" }?["status"]?.string
  }

  /// A node's status without what changes on every look.
  fileprivate var withoutHeartbeats: JSON {
    var copy = self
    copy["conditions"] = .array(
      (self["conditions"]?.elements ?? []).map { condition in
        var condition = condition
        condition["lastHeartbeatTime"] = nil
        return condition
      })
    return copy
  }
}
