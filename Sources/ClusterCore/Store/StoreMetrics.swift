// What the store counts.

import Diagnostics

struct StoreMetrics: Sendable {
  private let writes: Counter
  private let revision: Gauge
  private let commit: Histogram
  private let size: Histogram
  let evicted: Counter

  init(_ registry: Metrics) {
    writes = registry.counter("weft_store_operations_total", "Writes asked of the store.").child()
    revision = registry.gauge("weft_store_revision", "The last committed revision.").child()
    commit = registry.histogram(
      "weft_store_commit_duration_seconds", "Time of one commit, shared by its operations."
    ).child()
    size = registry.histogram(
      "weft_store_batch_operations", "Operations that shared one commit.",
      bounds: [1, 2, 4, 8, 16, 32, 64, 128, 200]
    ).child()
    evicted = registry.counter(
      "weft_store_ephemeral_evicted_total", "Leases and Events dropped because their table was full."
    ).child()
  }

  func batch(count: Int, revision: Revision, took: Duration) {
    writes.increment(by: UInt64(count))
    self.revision.set(Double(revision))
    commit.observe(took)
    size.observe(Double(count))
  }
}
