// The thin edge of the service proxy: view in, transaction out, with kube-proxy's metrics and stale UDP flows
// cleared.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import KernelNftables
import Logging
import Ruleset

/// What `--once -o json` prints, and what logs and metrics are made of.
public struct ProxyReport: Sendable {
  public var services = 0
  public var endpoints = 0
  public var operations = 0
  public var netlinkBytes = 0
  public var readMilliseconds = 0.0
  public var planMilliseconds = 0.0
  public var commitMilliseconds = 0.0
  public var quarantined: [QuarantinedObject] = []
}

/// Keeps KUBE-PROXY in force. Calls of `sync` run one after the other; changes that arrive meanwhile are the
/// next call's.
///
/// Hand in changes (`sync(changes)`) where they are known: that costs what changed. `sync(view)` plans everything; it puts the
/// same in force and is the safety net.
public actor ProxySyncer {
  private let worker: RulesetWorker
  private let configuration: ProxyConfiguration
  let logger: Logger
  private let metrics: ProxyMetrics
  private var planner: ProxyPlanner
  /// What is in force is not known to be the plan: the next synchronisation hands the tables in whole.
  private var needsWhole = true
  private var hasPlan = false
  /// The trigger times already accounted for, by EndpointSlice, of Services that have any.
  private var triggerTimes: [ObjectKey: [ObjectKey: String]] = [:]
  private var hasRecorded = false
  private var warned: Set<QuarantinedObject> = []
  private var isBusy = false
  private var waiting: [CheckedContinuation<Void, Never>] = []
  /// How long `follow` waits before it tries a refused transaction again.
  public static let retryDelay = Duration.seconds(1)
  /// Bound on flow deletions after one synchronisation; more would hold up the next one.
  public static let flowDeletionsMax = 4096

  /// Recovers ids, classes and slots from what the worker found in force.
  public init(
    worker: RulesetWorker, configuration: ProxyConfiguration, logger: Logger, metrics: Metrics = .shared
  ) {
    self.worker = worker
    self.configuration = configuration
    self.logger = logger
    self.metrics = ProxyMetrics(metrics)
    var allocation: [IPFamily: ProxyAllocation] = [:]
    for family in configuration.families {
      if let table = worker.initially.tables[ProxyTables.id(family)] {
        allocation[family] = ProxyAllocation(recovering: table, family: family)
      }
    }
    planner = ProxyPlanner(configuration, previous: allocation)
  }

  /// Plans everything from `view` and returns when the plan is in force. Throws `WeftError` NET0021 when the kernel
  /// refuses the whole.
  public func sync(_ view: ClusterView) async throws -> ProxyReport {
    try await sync(view.allChanges)
  }

  /// Takes in changes and returns when they are in force. The first ones must be whole. Throws `WeftError` NET0021 when the
  /// kernel refuses them; the changes are not lost then, the next call puts them in force.
  public func sync(_ changes: ViewChanges) async throws -> ProxyReport {
    await takeTurn()
    defer { giveTurn() }
    let clock = ContinuousClock()
    let start = clock.now
    let delta = planner.apply(changes)
    // Nothing is known of Services before the first whole view: an empty table would take them out of force.
    hasPlan = hasPlan || changes.isWhole
    guard hasPlan else { return ProxyReport() }
    let isWhole = needsWhole || changes.isWhole
    let tables = isWhole ? planner.tables : []
    let planned = clock.now
    needsWhole = true
    var commit = SyncReport()
    do {
      if isWhole {
        commit = try await worker.commit("proxy", tables)
      } else if !delta.tables.isEmpty {
        commit = try await commitDelta(delta)
      }
    } catch {
      metrics.failures.increment()
      throw WeftError(
        "NET0021", object: "table \(ProxyTables.name)",
        cause: "the kernel refused the service rules: \(error)",
        next: "see `nft list ruleset` and the kernel log for another program that changes these tables",
        exit: .unreachable, isRetryable: (error as? NftablesError)?.isRetryable ?? false, underlying: error)
    }
    // An element that was refused is tried again with the next change.
    needsWhole = !commit.quarantined.isEmpty
    await clearStaleFlows(delta.flows)
    var report = ProxyReport()
    report.services = planner.services
    report.endpoints = planner.endpoints
    report.operations = commit.operations
    report.netlinkBytes = commit.netlinkBytes
    report.readMilliseconds = commit.readMilliseconds
    report.planMilliseconds = Double((planned - start) / .microseconds(1)) / 1000 + commit.diffMilliseconds
    report.commitMilliseconds = commit.commitMilliseconds
    report.quarantined =
      planner.quarantined
      + commit.quarantined.map { .init(object: "Service \($0.object)", reason: $0.reason) }
    metrics.record(report, planner, duration: clock.now - start)
    recordProgrammingLatency(changes)
    if report.operations > 0 {
      logger.info(
        "service rules changed",
        metadata: [
          "operations": "\(report.operations)", "bytes": "\(report.netlinkBytes)",
          "plan_ms": "\(Self.text(report.planMilliseconds))",
          "commit_ms": "\(Self.text(report.commitMilliseconds))",
        ])
    }
    warn(report.quarantined)
    return report
  }

  /// Milliseconds for people: to the microsecond.
  private static func text(_ milliseconds: Double) -> String { "\((milliseconds * 1000).rounded() / 1000)" }

  private func commitDelta(_ delta: ProxyDelta) async throws -> SyncReport {
    do {
      return try await worker.commit("proxy", deltas: delta.tables)
    } catch let error as NftablesError where error.isStale {
      return try await worker.commit("proxy", planner.tables)
    }
  }

  /// Makes the plan anew from the whole view and puts what differs in force. Nothing should: call it when no change waits,
  /// now and then, with a whole set of changes. Differences are counted and said aloud.
  public func compare(_ whole: ViewChanges) async throws -> ProxyReport {
    await takeTurn()
    defer { giveTurn() }
    guard hasPlan, !needsWhole, whole.isWhole else { return ProxyReport() }
    var fresh = ProxyPlanner(configuration, previous: planner.allocation)
    _ = fresh.apply(whole)
    planner = fresh
    needsWhole = true
    let commit = try await worker.commit("proxy", fresh.tables)
    needsWhole = false
    var report = ProxyReport()
    report.operations = commit.operations
    report.netlinkBytes = commit.netlinkBytes
    if commit.operations > 0 {
      metrics.differences.increment(by: UInt64(commit.operations))
      logger.error(
        "service rules differed from a plan of the whole", metadata: ["operations": "\(commit.operations)"])
    }
    return report
  }

  // MARK: - Least connections

  /// Whether any Service shares connections out by how many are open.
  var countsConnections: Bool { hasPlan && planner.countsConnections }

  func connectionCounter() async throws -> ConnectionCounter {
    try await ConnectionCounter(beside: worker, mark: ProxyMark.countedBit, mask: ProxyMark.countedBit) {
      // Of a flow with affinity the bit belongs to its endpoint's number.
      ProxyMark.kind(of: $0) != .affinityFlow
    }
  }

  /// Shares slots out by what is open now; returns when that is in force. Nothing is written while shares are about right.
  /// Throws when the kernel refuses; hand the view in again then.
  @discardableResult
  public func balance(_ open: OpenConnections, duration: Duration = .zero) async throws -> ProxyReport {
    await takeTurn()
    defer { giveTurn() }
    metrics.counted(open, in: duration)
    var report = ProxyReport()
    // What is in force is not known: the next changes tell.
    guard hasPlan, !needsWhole else { return report }
    let delta = planner.apply(open)
    guard !delta.tables.isEmpty else { return report }
    needsWhole = true
    let commit = try await commitDelta(delta)
    needsWhole = !commit.quarantined.isEmpty
    report.operations = commit.operations
    report.netlinkBytes = commit.netlinkBytes
    metrics.shared(report)
    logger.debug("shares follow open connections", metadata: ["operations": "\(report.operations)"])
    return report
  }

  func countingFailed() { metrics.countFailures.increment() }

  /// Says once what is left out, and again when it comes back after it was gone.
  private func warn(_ quarantined: [QuarantinedObject]) {
    let now = Set(quarantined)
    for left in now.subtracting(warned).sorted(by: { $0.object < $1.object }) {
      logger.warning("left out", metadata: ["object": "\(left.object)", "reason": "\(left.reason)"])
    }
    warned = now
  }

  /// Synchronises each view that arrives until the sequence ends or the task is cancelled. Give it a stream
  /// that keeps the newest view only (`bufferingNewest(1)`): then a burst of changes costs two
  /// synchronisations.
  public func follow(_ views: AsyncStream<ClusterView>) async {
    for await view in views {
      while !Task.isCancelled {
        do {
          _ = try await sync(view)
          break
        } catch {
          logger.error("service rules not in force", metadata: ["error": "\(error)"])
          guard (error as? WeftError)?.isRetryable == true else { break }
          try? await Task.sleep(for: Self.retryDelay)
        }
      }
    }
  }

  /// An actor lets another call in at each await; plans must not interleave, they hand numbers on.
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

  /// From the change of a pod or Service, as the EndpointSlice controller noted it, to rules in force.
  private func recordProgrammingLatency(_ changes: ViewChanges) {
    let (seconds, nanoseconds) = Timestamp.now()
    let now = Double(seconds) + Double(nanoseconds) * 1e-9
    for (service, state) in changes.services {
      let before = triggerTimes[service] ?? [:]
      var seen: [ObjectKey: String] = [:]
      for (key, slice) in state?.slices ?? [:] {
        guard let text = slice.triggerTime else { continue }
        seen[key] = text
        // What was there at start was programmed by somebody else's standards.
        guard hasRecorded, before[key] != text, let time = Timestamp.parse(text) else { continue }
        metrics.programming.observe(max(0, now - Double(time.seconds) - Double(time.nanoseconds) * 1e-9))
      }
      triggerTimes[service] = seen.isEmpty ? nil : seen
    }
    hasRecorded = true
  }

  /// Flows that still go to an endpoint that left, or that were refused while there was none.
  private func clearStaleFlows(_ changes: [FlowChange]) async {
    let filters = changes.flatMap(\.filters)
    guard !filters.isEmpty else { return }
    let bounded = Array(filters.prefix(Self.flowDeletionsMax))
    do {
      try await worker.perform { syncer in
        for filter in bounded { try syncer.socket.deleteFlows(filter) }
      }
      metrics.deletedFlows.increment(by: UInt64(bounded.count))
    } catch {
      logger.warning("stale flows stay", metadata: ["error": "\(error)"])
    }
  }
}

extension FlowChange {
  /// What the kernel has to forget.
  var filters: [FlowFilter] {
    guard let now else {
      return [FlowFilter(family: family, transport: transport, mark: id, markMask: ProxyMark.idMask)]
    }
    var filters = before.subtracting(now).sorted().map { gone in
      FlowFilter(
        family: family, transport: transport, mark: id, markMask: ProxyMark.idMask, replySource: gone)
    }
    if before.isEmpty, !now.isEmpty, transport != .tcp {
      filters.append(
        FlowFilter(
          family: family, transport: transport, mark: ProxyMark.make(.reject, class: 0, id: id),
          markMask: ProxyMark.kindMask | ProxyMark.idMask))
    }
    return filters
  }
}
