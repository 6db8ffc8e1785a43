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
public actor ProxySyncer {
  private let worker: RulesetWorker
  private let configuration: ProxyConfiguration
  private let logger: Logger
  private var allocation: [IPFamily: ProxyAllocation] = [:]
  private var udpEndpoints: [IPFamily: [UInt32: Set<SocketEndpoint>]] = [:]
  private let metrics: ProxyMetrics
  /// The trigger times already accounted for, by EndpointSlice.
  private var triggerTimes: [ObjectKey: String]?
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
    for family in configuration.families {
      if let table = worker.initially.tables[ProxyTables.id(family)] {
        allocation[family] = ProxyAllocation(recovering: table, family: family)
        udpEndpoints[family] = allocation[family]?.udpEndpoints
      }
    }
  }

  /// Plans from `view` and returns when the plan is in force. Throws `WeftError` NET0021 when the kernel
  /// refuses the whole.
  public func sync(_ view: ClusterView) async throws -> ProxyReport {
    await takeTurn()
    defer { giveTurn() }
    let clock = ContinuousClock()
    let start = clock.now
    let plan = planProxy(view, configuration, previous: allocation)
    let planned = clock.now
    let commit: SyncReport
    do {
      commit = try await worker.commit("proxy", plan.tables)
    } catch {
      metrics.failures.increment()
      throw WeftError(
        "NET0021", object: "table \(ProxyTables.name)",
        cause: "the kernel refused the service rules: \(error)",
        next: "see `nft list ruleset` and the kernel log for another program that changes these tables",
        exit: .unreachable, isRetryable: (error as? NftablesError)?.isRetryable ?? false, underlying: error)
    }
    allocation = plan.allocation
    await clearStaleFlows(plan)
    var report = ProxyReport()
    report.services = plan.services
    report.endpoints = plan.endpoints
    report.operations = commit.operations
    report.netlinkBytes = commit.netlinkBytes
    report.readMilliseconds = commit.readMilliseconds
    report.planMilliseconds = Double((planned - start) / .microseconds(1)) / 1000 + commit.diffMilliseconds
    report.commitMilliseconds = commit.commitMilliseconds
    report.quarantined =
      plan.quarantined
      + commit.quarantined.map { .init(object: "Service \($0.object)", reason: $0.reason) }
    metrics.record(report, plan, duration: clock.now - start)
    recordProgrammingLatency(view)
    if report.operations > 0 {
      logger.info(
        "service rules changed",
        metadata: [
          "operations": "\(report.operations)", "bytes": "\(report.netlinkBytes)",
          "plan_ms": "\(report.planMilliseconds)", "commit_ms": "\(report.commitMilliseconds)",
        ])
    }
    for left in report.quarantined {
      logger.warning("left out", metadata: ["object": "\(left.object)", "reason": "\(left.reason)"])
    }
    return report
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
  private func recordProgrammingLatency(_ view: ClusterView) {
    let (seconds, nanoseconds) = Timestamp.now()
    let now = Double(seconds) + Double(nanoseconds) * 1e-9
    var seen: [ObjectKey: String] = [:]
    for slices in view.endpointSlices.values {
      for (key, slice) in slices {
        guard let text = slice.triggerTime else { continue }
        seen[key] = text
        // What was there at start was programmed by somebody else's standards.
        guard let triggerTimes, triggerTimes[key] != text, let time = Timestamp.parse(text) else { continue }
        metrics.programming.observe(max(0, now - Double(time.seconds) - Double(time.nanoseconds) * 1e-9))
      }
    }
    triggerTimes = seen
  }

  /// Flows of UDP services that still go to an endpoint that left, or that were refused while there was none.
  private func clearStaleFlows(_ plan: ProxyPlan) async {
    var filters: [FlowFilter] = []
    for (family, ports) in plan.udpEndpoints {
      for (id, now) in ports {
        let before = udpEndpoints[family]?[id] ?? []
        for gone in before.subtracting(now) {
          filters.append(
            FlowFilter(
              family: family, transport: .udp, mark: id, markMask: ProxyMark.idMask, replySource: gone))
        }
        if before.isEmpty, !now.isEmpty {
          filters.append(
            FlowFilter(
              family: family, transport: .udp, mark: ProxyMark.make(.reject, class: 0, id: id),
              markMask: ProxyMark.kindMask | ProxyMark.idMask))
        }
      }
      for (id, before) in udpEndpoints[family] ?? [:] where ports[id] == nil && !before.isEmpty {
        filters.append(
          FlowFilter(family: family, transport: .udp, mark: id, markMask: ProxyMark.idMask))
      }
    }
    udpEndpoints = plan.udpEndpoints
    guard !filters.isEmpty else { return }
    let bounded = Array(filters.prefix(Self.flowDeletionsMax))
    do {
      try await worker.perform { syncer in
        for filter in bounded { try syncer.socket.deleteFlows(filter) }
      }
      metrics.deletedFlows.increment(by: UInt64(bounded.count))
    } catch {
      logger.warning("stale udp flows stay", metadata: ["error": "\(error)"])
    }
  }
}

extension ProxyAllocation {
  /// Endpoints of UDP service ports, by id.
  var udpEndpoints: [UInt32: Set<SocketEndpoint>] {
    var result: [UInt32: Set<SocketEndpoint>] = [:]
    for (key, id) in ids where key.transport == .udp { result[id] = Set(slots[id] ?? []) }
    return result
  }
}
