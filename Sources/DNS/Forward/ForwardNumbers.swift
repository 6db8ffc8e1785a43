// Counters of one upstream server on one thread: children are looked up once, so that a question costs no look-up by text.

import Addresses
import Diagnostics

/// For one thread.
final class ForwardNumbers {
  private let families: ForwardMetrics
  private let name: String
  let requests: Counter
  private let duration: Histogram
  let unanswered: (old: Counter, new: Counter)
  /// Questions over a connection that had to be opened: `udp`, `tcp`.
  let datagrams: Counter
  let streams: Counter
  private var byCode: [UInt16: (replies: Counter, duration: Histogram)] = [:]

  init(_ endpoint: SocketEndpoint, _ families: ForwardMetrics) {
    self.families = families
    name = "\(endpoint)"
    requests = families.requests.child(name)
    duration = families.duration.child(name)
    unanswered = (
      families.healthcheckFailures.child(name), families.proxyHealthcheckFailures.child("forward", name)
    )
    datagrams = families.connectionMisses.child("forward", name, "udp")
    streams = families.connectionMisses.child("forward", name, "tcp")
  }

  func noteReply(_ code: ResponseCode, seconds: Double) {
    duration.observe(seconds)
    let known: (replies: Counter, duration: Histogram)
    if let child = byCode[code.rawValue] {
      known = child
    } else {
      let text = code.rawValue < 24 ? "\(code)" : "other"
      known = (families.responses.child(name, text), families.proxyDuration.child("forward", name, text))
      byCode[code.rawValue] = known
    }
    known.replies.increment()
    known.duration.observe(seconds)
  }
}

/// Families of forwarding's numbers, under CoreDNS's names of today and of before.
struct ForwardMetrics: Sendable {
  let requests: MetricFamily<Counter>
  let responses: MetricFamily<Counter>
  let duration: MetricFamily<Histogram>
  let healthcheckBroken: Counter
  let healthcheckFailures: MetricFamily<Counter>
  let proxyDuration: MetricFamily<Histogram>
  let proxyHealthcheckFailures: MetricFamily<Counter>
  let connectionHits: MetricFamily<Counter>
  let connectionMisses: MetricFamily<Counter>

  init(_ metrics: Metrics) {
    requests = metrics.counter("coredns_forward_requests_total", "Queries sent upstream.", labels: ["to"])
    responses = metrics.counter(
      "coredns_forward_responses_total", "Replies of upstream servers.", labels: ["to", "rcode"])
    duration = metrics.histogram(
      "coredns_forward_request_duration_seconds", "Seconds an upstream server took.", labels: ["to"],
      bounds: Tally.bounds)
    healthcheckBroken = metrics.counter(
      "coredns_forward_healthcheck_broken_total", "Queries sent although every upstream server was failing."
    ).child()
    healthcheckFailures = metrics.counter(
      "coredns_forward_healthcheck_failures_total",
      "Questions to a failing upstream server whether it is back that it did not answer.", labels: ["to"])
    proxyDuration = metrics.histogram(
      "coredns_proxy_request_duration_seconds", "Seconds an upstream server took.",
      labels: ["proxy_name", "to", "rcode"], bounds: Tally.bounds)
    proxyHealthcheckFailures = metrics.counter(
      "coredns_proxy_healthcheck_failures_total",
      "Questions to a failing upstream server whether it is back that it did not answer.",
      labels: ["proxy_name", "to"])
    connectionHits = metrics.counter(
      "coredns_proxy_conn_cache_hits_total", "Queries sent upstream over a connection that was open.",
      labels: ["proxy_name", "to", "proto"])
    connectionMisses = metrics.counter(
      "coredns_proxy_conn_cache_misses_total", "Queries sent upstream over a new socket or connection.",
      labels: ["proxy_name", "to", "proto"])
  }
}
