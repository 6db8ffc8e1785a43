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
    let prefix = "weft_ingress_stream_"
    connections = metrics.gauge(prefix + "connections", "Connections of TCP and TLS that are passed on.")
      .child()
    ended = metrics.counter(
      prefix + "connections_total", "Connections of TCP and TLS that were passed on, by how they ended.",
      labels: ["result"])
    refused = metrics.counter(
      prefix + "connections_refused_total", "Connections that reached no endpoint, by why.",
      labels: ["reason"])
    spliced = metrics.counter(
      prefix + "spliced_bytes_total", "Bytes passed on without a copy in this process."
    ).child()
    copied = metrics.counter(
      prefix + "pieces_copied_total", "Pieces copied because no pipe was free."
    ).child()
    sessions = metrics.gauge("weft_ingress_udp_sessions", "Clients whose datagrams are passed on.").child()
    evicted = metrics.counter(
      "weft_ingress_udp_sessions_evicted_total", "Sessions of UDP ended early because the table was full."
    ).child()
    dropped = metrics.counter(
      "weft_ingress_udp_datagrams_dropped_total", "Datagrams that could not be sent on."
    ).child()
    swaps = metrics.counter(prefix + "swaps_total", "Tables of streams put in force.").child()
  }
}

/// Why a connection reached no endpoint.
enum StreamRefusal: String {
  /// As many are passed on as may be.
  case full
  /// Nothing is there for its port or name.
  case noRoute = "no_route"
  /// Its share belongs to nobody, or no endpoint is ready.
  case noEndpoint = "no_endpoint"
  /// Endpoints did not take it.
  case unreachable
  case proxyHeader = "proxy_header"
  case clientHello = "client_hello"
  case handshake
  case timeout
}
