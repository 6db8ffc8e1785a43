// What is counted of the access log.

import Diagnostics

struct AccessLogMetrics: Sendable {
  let dropped: Counter
  let failed: Counter
  let reopened: Counter

  init(_ metrics: Metrics) {
    dropped = metrics.loneCounter(
      "weft_ingress_access_log_dropped_total", "Lines that found the access log's buffer full.")
    failed = metrics.loneCounter(
      "weft_ingress_access_log_failures_total", "Writes and openings of the access log that failed.")
    reopened = metrics.loneCounter(
      "weft_ingress_access_log_reopened_total", "Times the access log was opened anew.")
  }
}
