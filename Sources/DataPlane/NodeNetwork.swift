// The loop of one node's network: from each new view of the cluster it plans ruleset, zone and routes and puts them in force.
//
//   change of an object ─┐
//   CNI ADD, DEL ────────┴─> changes ─> ProxyPlanner, PolicyPlanner ─> what differs ─> one transaction
//                                   └> consumers: DNS zone, routes

import ClusterObjects
import ClusterView
import Diagnostics
import KernelNftables
import Logging
import Observe
import Policy
import Proxy
import Ruleset
import Synchronization

/// Keeps one node's network as the cluster's objects say.
///
/// Plans run one after the other; changes that arrive meanwhile are the next plan's. A failed commit leaves the old rules in
/// force and is tried again.
public actor NodeNetwork {
  /// Names of the planners towards the ruleset worker.
  public static let proxyPlanner = "proxy"
  public static let policyPlanner = "policy"

  /// Takes each new view: swaps the DNS zone, sends a route snapshot.
  public typealias Consumer = @Sendable (ClusterView) async -> Void

  /// The tables that a data plane owns, whether in force or not.
  public static let tables: [Table.ID] =
    ProxyTables.all + [
      Table.ID(.ip, PolicyNames.table), Table.ID(.ip6, PolicyNames.table),
      Table.ID(.bridge, PolicyNames.guardTable),
    ] + UntrackedDNS.tables

  /// How long a CNI ADD waits for its pod to be known here before it is refused.
  public static let podWait: Duration = .seconds(3)

  private let follower: ViewFollower
  private let worker: RulesetWorker
  private let proxy: ProxySyncer
  private var policy: PolicyPlanner?
  private var book: AttachmentBook?
  private let consumers: [Consumer]
  private let cutter: FlowCutter?
  private let departed: DepartedFlows
  private let log = Logger(label: "data-plane")
  private var hasSynced = false
  private var haveAttachmentsChanged = true
  /// What is in force of policies is not known to be the plan: the next commit hands the tables in whole.
  private var needsWholePolicy = true
  private let comparisonPeriod: Duration
  private var isBusy = false
  /// As many as callers of `synchronise`: the loop, and CNI plugins that wait.
  private var waiting: [CheckedContinuation<Void, Never>] = []
  private nonisolated let progress = Mutex(NetworkProgress())
  private let failures = Metrics.shared.counter(
    "weft_dataplane_commit_failures_total", "Transactions that the kernel refused."
  ).child()

  private let policyDifferences = Metrics.shared.counter(
    "weft_policy_plan_differences_total",
    "Rules that a comparison found other than a plan of the whole has them."
  ).child()

  /// - Parameters:
  ///   - policy: nil when NetworkPolicy is not enforced here.
  ///   - book: nil when another CNI plugin attaches pods: their addresses then come from their status.
  ///   - cutter: ends connections that a change of policies forbids, once its rules are in force; nil: they live on.
  public init(
    follower: ViewFollower, worker: RulesetWorker, proxy: ProxySyncer, policy: PolicySettings?,
    book: AttachmentBook?,
    consumers: [Consumer] = [], cutter: FlowCutter? = nil, comparisonPeriod: Duration = .seconds(60)
  ) {
    self.cutter = cutter
    self.follower = follower
    self.worker = worker
    departed = DepartedFlows(worker)
    self.proxy = proxy
    self.policy = policy.map { PolicyPlanner($0) }
    // Before the first changes are taken.
    if policy != nil { follower.namePods() }
    self.book = book
    self.consumers = consumers
    self.comparisonPeriod = comparisonPeriod
  }

  /// Follows changes until the follower stops or the task is cancelled.
  public func run() async {
    let comparison = Task { [weak self, comparisonPeriod] in
      while (try? await Task.sleep(for: comparisonPeriod)) != nil { await self?.compare() }
    }
    // A refused change of shares leaves rules that are not known: the ring brings the whole.
    let balancing = Task { [proxy, follower] in await proxy.followOpenConnections { follower.ring() } }
    let conntrack = Task { [worker] in await ConntrackWatch.follow(worker) }
    defer {
      comparison.cancel()
      balancing.cancel()
      conntrack.cancel()
    }
    for await _ in follower.changes {
      do {
        try await synchronise()
      } catch {
        failures.increment()
        progress.withLock { $0.failed(error) }
        log.error("rules not changed", metadata: ["error": "\(error)"])
        // The kernel may be busy with another program's transaction; a second later the same plan may pass.
        try? await Task.sleep(for: .seconds(1))
        follower.ring()
      }
    }
  }

  /// Plans from what is known now; returns when it is in force.
  public func synchronise() async throws {
    // Changes must reach the planners in the order in which they were taken.
    await takeTurn()
    let isFirst = !hasSynced
    do {
      defer { giveTurn() }
      try await commitChanges()
    }
    guard !consumers.isEmpty || isFirst else { return }
    let view = follower.view
    for consumer in consumers { await consumer(view) }
    if isFirst {
      log.info(
        "network in force", metadata: ["services": "\(view.services.count)", "pods": "\(view.pods.count)"])
    }
  }

  private func takeTurn() async {
    if isBusy {
      await withCheckedContinuation { waiting.append($0) }
    } else {
      isBusy = true
    }
  }

  private func giveTurn() {
    if waiting.isEmpty { isBusy = false } else { waiting.removeFirst().resume() }
  }

  private func commitChanges() async throws {
    let changes = follower.takeChanges()
    let attachments = haveAttachmentsChanged ? book?.attachments : nil
    guard let wish = planPolicies(changes) else {
      // Services alone: nothing here looks at what did not change.
      report(SyncReport(), changes)
      noteInForce(try await proxy.sync(changes).operations)
      return
    }
    needsWholePolicy = true
    // Handed in together, so that they are one transaction.
    var operations = 0
    async let policies = commit(wish)
    async let services = proxy.sync(changes)
    do {
      let done = try await policies
      // An element that was refused is tried again with the next change.
      needsWholePolicy = !done.quarantined.isEmpty
      operations = done.operations
      report(done, changes)
    } catch {
      _ = try? await services
      throw error
    }
    operations += try await services.operations
    noteInForce(operations)
    await cutForbidden(changes, attachments)
  }

  /// What was taken from the follower is in force.
  private func noteInForce(_ operations: Int) {
    hasSynced = true
    follower.markInForce()
    progress.withLock { $0.succeeded(operations) }
  }

  /// How it stands with commits, without waiting for one that is under way.
  public nonisolated var standing: NetworkProgress { progress.withLock { $0 } }

  /// Within the turn, so that changes are judged in their order; on a thread of the pool, for it may read all that is tracked.
  private func cutForbidden(_ changes: ViewChanges, _ attachments: [PodAttachment]?) async {
    guard let cutter else { return }
    do {
      let count = try await Task.detached { [follower] in
        try cutter.apply(changes, attachments: attachments, view: follower.view)
      }.value
      if count > 0 { log.info("connections cut by policy", metadata: ["connections": "\(count)"]) }
    } catch {
      log.error(
        "connections not judged",
        metadata: [
          "error":
            "\(WeftError("POL0031", object: "strict policies", cause: "\(error)", next: "the next change of a policy looks again; to end connections by hand: conntrack -D"))"
        ])
    }
  }

  /// What policies have to change in the kernel.
  private enum PolicyWish {
    case whole([Table])
    case deltas([TableDelta])
  }

  /// Nil: nothing.
  private func planPolicies(_ changes: ViewChanges) -> PolicyWish? {
    guard policy != nil, haveAttachmentsChanged || needsWholePolicy || changes.concernsPolicy else {
      return nil
    }
    let attachments = haveAttachmentsChanged ? book?.attachments ?? [] : nil
    haveAttachmentsChanged = false
    guard let delta = policy?.apply(changes, attachments: attachments), let policy else { return nil }
    if needsWholePolicy || delta.isWhole { return .whole(policy.tables) }
    return delta.tables.isEmpty ? nil : .deltas(delta.tables)
  }

  private func commit(_ wish: PolicyWish) async throws -> SyncReport {
    switch wish {
    case .whole(let tables): return try await worker.commit(Self.policyPlanner, tables)
    case .deltas(let deltas):
      do {
        return try await worker.commit(Self.policyPlanner, deltas: deltas)
      } catch let error as NftablesError where error.isStale {
        return try await worker.commit(Self.policyPlanner, policy?.tables ?? [])
      }
    }
  }

  /// The safety net behind plans that are kept: everything is planned anew and must be what is in force.
  private func compare() async {
    await takeTurn()
    defer { giveTurn() }
    // Attachments that wait for their turn are not in force yet, and no fault.
    guard hasSynced, !haveAttachmentsChanged, let all = follower.allSettled() else { return }
    do {
      _ = try await proxy.compare(all)
      try await comparePolicy(all)
    } catch {
      failures.increment()
      log.error("rules not compared", metadata: ["error": "\(error)"])
      follower.ring()
    }
  }

  private func comparePolicy(_ all: ViewChanges) async throws {
    guard let kept = policy, !needsWholePolicy else { return }
    var fresh = PolicyPlanner(kept.settings)
    _ = fresh.apply(all, attachments: book?.attachments ?? [])
    policy = fresh
    needsWholePolicy = true
    let commit = try await worker.commit(Self.policyPlanner, fresh.tables)
    needsWholePolicy = false
    if commit.operations > 0 {
      policyDifferences.increment(by: UInt64(commit.operations))
      log.error(
        "policy rules differed from a plan of the whole", metadata: ["operations": "\(commit.operations)"])
    }
  }

  private func report(_ commit: SyncReport, _ changes: ViewChanges) {
    for left in commit.quarantined {
      log.warning("left out", metadata: ["object": "\(left.object)", "reason": "\(left.reason)"])
    }
    // The proxy warns of Services and their slices.
    for (key, unreadable) in changes.quarantined
    where key.kind != "Service" && key.kind != "EndpointSlice" && changes.kinds.contains(key.kind) {
      log.warning(
        "left out", metadata: ["object": "\(unreadable.kind) \(unreadable.key)", "reason": "\(unreadable)"])
    }
  }

  /// A pod has been attached: returns when its policies are in force, so that its first packet meets them.
  public func attach(_ attachment: ContainerAttachment) async throws {
    let pod = attachment.attachment.pod
    let deadline = ContinuousClock.now + Self.podWait
    while !isKnown(pod) {
      guard ContinuousClock.now < deadline else {
        throw WeftError(
          "NET0023", object: "pod \(pod)", cause: "is not known to this node yet",
          next:
            "the runtime tries again by itself; if it goes on, see by `weft status` whether this node still hears of changes",
          isRetryable: true)
      }
      try await Task.sleep(for: .milliseconds(5))
    }
    try book?.add(attachment)
    haveAttachmentsChanged = true
    try await synchronise()
    await departed.wait(for: attachment.attachment.addresses)
    log.debug(
      "pod attached", metadata: ["pod": "\(pod)", "interface": "\(attachment.attachment.hostInterface)"])
  }

  /// Whether all is here that says which policies a pod has. ClusterNetworkPolicies choose by its namespace's labels, which come by
  /// another watch than the pod.
  private func isKnown(_ pod: ObjectKey) -> Bool {
    let view = follower.view
    return view.pods[pod] != nil
      && (view.clusterNetworkPolicies.isEmpty || view.namespaces[pod.namespace] != nil)
  }

  /// A pod has been detached; unknown containers are passed over.
  public func detach(containerID: String) async {
    do {
      let addresses = book?.entries[containerID]?.attachment.addresses ?? []
      if try book?.remove(containerID: containerID) == true {
        haveAttachmentsChanged = true
        departed.add(addresses)
        follower.ring()
      }
    } catch {
      log.error("attachment not forgotten", metadata: ["container": "\(containerID)", "error": "\(error)"])
    }
  }

  public var attachments: [PodAttachment] { book?.attachments ?? [] }
}
