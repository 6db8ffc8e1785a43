// What is measured of EndpointSlices, under upstream's names.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

final class EndpointSliceMetrics: Sendable {
  private let syncs: MetricFamily<Counter>
  private let changes: MetricFamily<Counter>
  private let slices: Gauge
  private let endpoints: Gauge
  private let added: Histogram
  private let removed: Histogram
  /// Slices and endpoints of each Service as last planned.
  private let counts = Mutex<[ObjectKey: (slices: Int, endpoints: Int)]>([:])

  init(_ metrics: Metrics) {
    let prefix = "endpoint_slice_controller_"
    let bounds: [Double] = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768]
    syncs = metrics.counter(prefix + "syncs", "Looks at Services.", labels: ["result"])
    changes = metrics.counter(prefix + "changes", "Slices written.", labels: ["operation"])
    slices = metrics.gauge(prefix + "num_endpoint_slices", "Slices that there are.").child()
    endpoints = metrics.gauge(prefix + "endpoints_desired", "Endpoints that there should be.").child()
    added = metrics.histogram(
      prefix + "endpoints_added_per_sync", "Endpoints that came with one look.", bounds: bounds
    ).child()
    removed = metrics.histogram(
      prefix + "endpoints_removed_per_sync", "Endpoints that went with one look.", bounds: bounds
    ).child()
  }

  /// - Parameter before: the Service's slices as they were.
  func planned(_ key: ObjectKey, _ plan: EndpointSlicePlan, before: [JSON]) {
    func names(_ slices: [JSON]) -> Set<String> {
      Set(
        slices.flatMap { slice in
          (slice["endpoints"]?.elements ?? []).flatMap {
            $0["addresses"]?.elements.compactMap(\.string) ?? []
          }
        })
    }
    let written = Set((plan.update + plan.delete).map(\.name))
    let after = before.filter { !written.contains($0.name) } + plan.create + plan.update
    let (old, new) = (names(before), names(after))
    added.observe(Double(new.subtracting(old).count))
    removed.observe(Double(old.subtracting(new).count))
    set(key, (after.count, new.count))
  }

  func forget(_ key: ObjectKey) { set(key, nil) }

  private func set(_ key: ObjectKey, _ now: (slices: Int, endpoints: Int)?) {
    counts.withLock { counts in
      let was = counts[key] ?? (0, 0)
      counts[key] = now
      slices.add(Double((now?.slices ?? 0) - was.slices))
      endpoints.add(Double((now?.endpoints ?? 0) - was.endpoints))
    }
  }

  func wrote(_ operation: String) { changes.child(operation).increment() }
  func synced(isError: Bool) { syncs.child(isError ? "error" : "success").increment() }
}
