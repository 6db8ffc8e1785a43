// The thin edge of the service proxy: view in, transaction out, with kube-proxy's metrics and stale UDP flows
// cleared.

import Addresses
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
