// Counts and durations of requests, under upstream's names. What was counted once is found again by a look at few bytes.

import Diagnostics
import Synchronization

final class RequestMeters: Sendable {
  private struct Series: Hashable {
    var verb: String
    var resource: String
    /// 0 for durations.
    var code: UInt
  }
  private let requests = Metrics.shared.counter(
    "apiserver_request_total", "Requests by verb, resource and code.", labels: ["verb", "resource", "code"])
  private let durations = Metrics.shared.histogram(
    "apiserver_request_duration_seconds", "Time to answer, watches excepted.", labels: ["verb", "resource"])
  // As many as there are series; `Metrics` bounds these.
  private let counters = Mutex<[Series: Counter]>([:])
  private let histograms = Mutex<[Series: Histogram]>([:])
  private static let seriesMax = 4096

  /// `resource` must be one that is served: a stranger must not fill the table.
  func requests(_ verb: String, _ resource: String, _ code: UInt) -> Counter {
    let series = Series(verb: verb, resource: resource, code: code)
    return counters.withLock { counters in
      if let known = counters[series] { return known }
      let made = requests.child(verb, resource, String(code))
      if counters.count < Self.seriesMax { counters[series] = made }
      return made
    }
  }

  func durations(_ verb: String, _ resource: String) -> Histogram {
    let series = Series(verb: verb, resource: resource, code: 0)
    return histograms.withLock { histograms in
      if let known = histograms[series] { return known }
      let made = durations.child(verb, resource)
      if histograms.count < Self.seriesMax { histograms[series] = made }
      return made
    }
  }
}
