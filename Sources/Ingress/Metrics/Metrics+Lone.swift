// Families without labels: their one child at once.

import Diagnostics

extension Metrics {
  func loneCounter(_ name: String, _ help: String) -> Counter { counter(name, help).child() }
  func loneGauge(_ name: String, _ help: String) -> Gauge { gauge(name, help).child() }
}
