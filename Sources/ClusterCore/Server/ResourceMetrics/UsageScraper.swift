// Asks every node's agent for `/stats/summary` every 15 seconds, and soon again while something waits for its second
// point.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// Runs from its making to `stop`.
final class UsageScraper: Sendable {
  /// Nodes that are asked at the same time.
  static let concurrencyMax = 16
  /// Time that one node may take.
  static let timeout: TimeAmount = .seconds(10)
  /// Bytes of one answer.
  static let answerBytesMax = 16 << 20
  /// Until the second look, so that `kubectl top` answers soon after the start.
  private static let secondLook: Duration = .seconds(5)

  private let task: Task<Void, Never>

  init(core: RESTCore, nodes: NodeConnections, period: Duration, metrics: Metrics = .shared) {
    let round = ScrapeRound(core: core, nodes: nodes, metrics: metrics)
    task = Task {
      while !Task.isCancelled {
        await round.run()
        let pause: Duration =
          core.usage.history.withLock(\.isYoung) ? min(Self.secondLook, period) : period
        do { try await Task.sleep(for: pause) } catch { return }
      }
    }
  }

  /// Does not wait for nodes: what is under way ends by itself.
  func stop() { task.cancel() }
}

/// One look at every node.
private struct ScrapeRound: Sendable {
  let core: RESTCore
  let nodes: NodeConnections
  let log = Logger(label: "resource-metrics")
  let durations: MetricFamily<Histogram>
  let requests: MetricFamily<Counter>
  let points: MetricFamily<Gauge>
  let begin = ContinuousClock.now

  init(core: RESTCore, nodes: NodeConnections, metrics: Metrics) {
    self.core = core
    self.nodes = nodes
    durations = metrics.histogram(
      "metrics_server_kubelet_request_duration_seconds", "Time until a node had said what it uses.")
    requests = metrics.counter(
      "metrics_server_kubelet_request_total", "Questions to nodes about what they use.",
      labels: ["success"])
    points = metrics.gauge(
      "metrics_server_storage_points", "Nodes and pods of which it is known what they use.",
      labels: ["type"])
  }

  private var now: Int64 {
    let (seconds, attoseconds) = (ContinuousClock.now - begin).components
    return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
  }

  func run() async {
    guard let kind = core.registry[.nodes] else { return }
    var asked: [JSON] = []
    core.cache(kind).snapshot.forEach(prefix: RESTCore.prefix(kind, namespace: ""), after: nil) {
      // A node that is not ready would cost the whole timeout.
      if $0.tree.isConditionTrue("Ready") { asked.append($0.tree) }
      return true
    }
    await withTaskGroup(of: Void.self) { group in
      for (index, node) in asked.enumerated() {
        if index >= UsageScraper.concurrencyMax { await group.next() }
        group.addTask { await ask(node) }
      }
    }
    let moment = now - ResourceUsage.silenceSecondsMax * 1_000_000_000
    let (nodeCount, podCount) = core.usage.history.withLock { history in
      history.forget(before: moment)
      return (history.nodes.count, history.podCount)
    }
    points.child("node").set(Double(nodeCount))
    points.child("container").set(Double(podCount))
  }

  private func ask(_ node: JSON) async {
    if Task.isCancelled { return }
    let start = ContinuousClock.now
    do {
      let body = try await nodes.fetch(
        node, uri: "/stats/summary", bytesMax: UsageScraper.answerBytesMax, timeout: UsageScraper.timeout)
      let stats = NodeStats(summary: try JSON(parsing: body))
      let moment = now
      core.usage.history.withLock { $0.take(stats, of: node.name, now: moment) }
      requests.child("true").increment()
    } catch {
      if Task.isCancelled { return }
      requests.child("false").increment()
      log.debug("a node did not say what it uses", metadata: ["node": "\(node.name)", "error": "\(error)"])
    }
    durations.child().observe(ContinuousClock.now - start)
  }
}
