// What is counted of connections and datagrams that are passed on.

import Diagnostics

struct StreamMetrics: Sendable {
  let connections: Gauge
  /// By how they ended.
  let ended: MetricFamily<Counter>
  /// Connections that never reached an endpoint, by why.
  let refused: MetricFamily<Counter>
  let spliced: Counter
  let copied: Counter
  let sessions: Gauge
  let evicted: Counter
  let dropped: Counter
  let swaps: Counter

  init(_ metrics: Metrics) {
    connections = metrics.loneGauge(
      "weft_ingress_stream_connections", "Connections of TCP and TLS that are passed on.")
    ended = metrics.counter(
      "weft_ingress_stream_connections_total",
      "Connections of TCP and TLS that were passed on, by how they ended.",
      labels: ["result"])
    refused = metrics.counter(
      "weft_ingress_stream_connections_refused_total", "Connections that reached no endpoint, by why.",
      labels: ["reason"])
    spliced = metrics.loneCounter(
      "weft_ingress_stream_spliced_bytes_total", "Bytes passed on without a copy in this process.")
    copied = metrics.loneCounter(
      "weft_ingress_stream_pieces_copied_total", "Pieces copied because no pipe was free.")
    sessions = metrics.loneGauge("weft_ingress_udp_sessions", "Clients whose datagrams are passed on.")
    evicted = metrics.loneCounter(
      "weft_ingress_udp_sessions_evicted_total", "Sessions of UDP ended early because the table was full.")
    dropped = metrics.loneCounter(
      "weft_ingress_udp_datagrams_dropped_total", "Datagrams that could not be sent on.")
    swaps = metrics.loneCounter("weft_ingress_stream_swaps_total", "Tables of streams put in force.")
  }
}
