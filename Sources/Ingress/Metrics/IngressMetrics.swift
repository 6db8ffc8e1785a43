// What a worker counts of requests, connections and tables.

import Diagnostics

/// ingress-nginx's names where it has them, so that its dashboards work.
struct IngressMetrics: Sendable {
  let routes: RouteMeters
  let clients: Gauge
  let refusedClients: Counter
  let refusedRequests: MetricFamily<Counter>
  let retries: Counter
  let upstreamConnects: Counter
  let upstreamReuses: Counter
  let overflows: Counter
  let ejections: MetricFamily<Counter>
  let deniedRetries: Counter
  let copies: MetricFamily<Counter>
  let checks: MetricFamily<Counter>
  let unusableTLS: Counter
  let swaps: Counter
  let certificateSwaps: Counter
  /// HTTP/2 connections that we ended, by reason.
  let http2Ends: MetricFamily<Counter>
  /// By how they ended.
  let handshakes: (full: Counter, resumed: Counter, failed: Counter)

  init(_ metrics: Metrics) {
    routes = RouteMeters(metrics)
    clients = metrics.loneGauge("weft_ingress_client_connections", "Open connections of clients.")
    refusedClients = metrics.loneCounter(
      "weft_ingress_refused_connections_total", "Connections closed for want of room.")
    refusedRequests = metrics.counter(
      "weft_ingress_refused_requests_total", "Requests that no backend saw, by the status they got.",
      labels: ["status"])
    retries = metrics.loneCounter("weft_ingress_retries_total", "Requests sent again to another endpoint.")
    upstreamConnects = metrics.loneCounter(
      "weft_ingress_upstream_connects_total", "Connections opened to endpoints.")
    upstreamReuses = metrics.loneCounter(
      "weft_ingress_upstream_reuses_total", "Requests sent over a connection that stood already.")
    overflows = metrics.loneCounter(
      "weft_ingress_upstream_overflows_total", "Requests that an endpoint's bounds did not admit.")
    ejections = metrics.counter(
      "weft_ingress_endpoint_ejections_total", "Times an endpoint was put out, by why.", labels: ["reason"])
    deniedRetries = metrics.loneCounter(
      "weft_ingress_retries_denied_total", "Retries that a backend's budget did not admit.")
    copies = metrics.counter(
      "weft_ingress_mirrored_requests_total", "Copies of requests for mirrors, by what became of them.",
      labels: ["result"])
    checks = metrics.counter(
      "weft_ingress_health_checks_total", "Active checks of endpoints, by result.", labels: ["result"])
    unusableTLS = metrics.loneCounter(
      "weft_ingress_upstream_tls_unusable_total",
      "Settings of TLS towards endpoints that could not be read: such endpoints are not reached.")
    swaps = metrics.loneCounter("weft_ingress_route_swaps_total", "Route tables put in force.")
    certificateSwaps = metrics.loneCounter(
      "weft_ingress_certificate_swaps_total", "Tables of certificates put in force.")
    http2Ends = metrics.counter(
      "weft_ingress_http2_connections_ended_total", "HTTP/2 connections ended for what the client did.",
      labels: ["reason"])
    let family = metrics.counter(
      "weft_ingress_tls_handshakes_total", "TLS handshakes, by how they ended.", labels: ["result"])
    handshakes = (family.child("full"), family.child("resumed"), family.child("failed"))
  }
}
