// Looks at the node every ten seconds, keeps its pressure conditions, gives back disk and sends pods away, one at a time.

import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// The node's conditions of pressure, as last seen. Safe from anywhere.
final class NodePressures: Sendable {
  private let current = Mutex<Set<NodePressure>>([])
  var all: Set<NodePressure> {
    get { current.withLock { $0 } }
    set { current.withLock { $0 = newValue } }
  }
}

actor EvictionManager {
  private let settings: EvictionSettings
  private let stats: StatsKeeper
  private let pods: PodManager
  private let images: ImageCollector
  private let pressures: NodePressures
  private let evicted: MetricFamily<Counter>
  private let log = Logger(label: "node")
  private let onShortage: @Sendable (CrossedThreshold) -> Void
  private var memory = EvictionMemory()
  /// A pod sent away for the node's sake needs time to be gone before the next is chosen.
  private var pauseUntil: Int64 = 0

  init(
    _ settings: EvictionSettings, stats: StatsKeeper, pods: PodManager, images: ImageCollector,
    pressures: NodePressures, metrics: Metrics, onShortage: @escaping @Sendable (CrossedThreshold) -> Void
  ) {
    self.onShortage = onShortage
    self.settings = settings
    self.stats = stats
    self.pods = pods
    self.images = images
    self.pressures = pressures
    evicted = metrics.counter(
      "kubelet_evictions", "Pods evicted by this node, by the signal that was short.",
      labels: ["eviction_signal"])
  }

  func run() async {
    while !Task.isCancelled {
      await look()
      do { try await Task.sleep(for: settings.interval) } catch { return }
    }
  }

  func look() async {
    let usage = await stats.usage()
    let (now, due) = memory.step(usage, settings)
    pressures.all = now
    let specs = await pods.specs()
    for eviction in planStorageEvictions(pods: specs, usage) {
      await evict(eviction, signal: "ephemeral-storage")
    }
    guard let worst = due.min(by: { Self.order($0) < Self.order($1) }) else { return }
    log.warning(
      "the node is short of something",
      metadata: [
        "signal": "\(worst.threshold.signal.rawValue)", "available": "\(worst.available)",
        "limit": "\(worst.limit)",
      ])
    onShortage(worst)
    if worst.threshold.signal.pressure == .disk, await images.removeUnused() > 0 { return }
    guard usage.steadyAt >= pauseUntil, let eviction = planEviction(worst, pods: specs, usage, settings)
    else {
      return
    }
    pauseUntil = usage.steadyAt + Int64(eviction.graceSeconds + 5) * 1_000_000_000
    await evict(eviction, signal: worst.threshold.signal.rawValue)
  }

  /// Memory first: a node without it does nothing more. Hard before soft.
  private static func order(_ crossed: CrossedThreshold) -> Int {
    (crossed.threshold.signal == .memoryAvailable ? 0 : 2) + (crossed.threshold.graceSeconds > 0 ? 1 : 0)
  }

  private func evict(_ eviction: Eviction, signal: String) async {
    guard
      await pods.end(
        eviction.uid,
        PodEnd(
          reason: "Evicted", message: eviction.message, graceSeconds: eviction.graceSeconds,
          isDisruption: true))
    else { return }
    evicted.child(signal).increment()
    log.warning("pod evicted", metadata: ["uid": "\(eviction.uid)", "message": "\(eviction.message)"])
  }
}
