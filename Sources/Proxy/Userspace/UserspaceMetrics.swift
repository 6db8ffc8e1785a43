// Bounds of the userspace mode, and what it counts.

import Diagnostics

/// How much the userspace mode may hold. Each bound has a metric and a behaviour when it is reached.
public struct UserspaceLimits: Sendable {
  /// Reactors, each with a thread and listeners of its own.
  public var workers = 2
  /// More listeners than this for each address would cost more than they bring.
  public static let workersMax = 8
  /// TCP connections a worker relays at once; one more is reset.
  public var connectionsMax = 32_768
  /// UDP flows a worker keeps; for one more the flow that was silent longest goes.
  public var flowsMax = 16_384
  /// Pipes with bytes on their way, a worker; without one bytes are copied.
  public var pipesMax = 1024
  /// Clients with session affinity that are remembered.
  public var affinityMax = 65_536
  /// Addresses and ports listened on; Services past it are left out by name.
  public var frontendsMax = 16_384
  /// How long an endpoint may take to accept; then the next one is tried, at most `attemptsMax`.
  public var connectSeconds: UInt64 = 5
  public var attemptsMax = 3
  /// Source ports that are tried for a connection that keeps its client's address; then it goes out as this host's.
  public var portAttemptsMax = 16
  /// Silence after which a UDP flow ends: one that was never answered, one that was.
  public var silentFlowSeconds: UInt64 = 30
  public var answeredFlowSeconds: UInt64 = 180
  /// Silence after which TCP peers are asked whether they are still there.
  public var keepAliveSeconds: Int32 = 300
  public init() {}
}

struct UserspaceMetrics: Sendable {
  let connections: Gauge
  let accepted: Counter
  let refusedFull: Counter
  let refusedSource: Counter
  let refusedEndpoint: Counter
  let flows: Gauge
  let flowsEvicted: Counter
  let datagramsDropped: Counter
  let copied: Counter
  let spliced: Counter
  let resetOrphans: Counter
  let frontends: Gauge
  let frontendFailures: Counter
  let transparencyRefused: Counter

  init(_ metrics: Metrics) {
    let prefix = "weft_proxy_userspace_"
    connections = metrics.gauge(prefix + "connections", "TCP connections that are relayed.").child()
    accepted = metrics.counter(prefix + "connections_total", "TCP connections accepted.").child()
    let refused = metrics.counter(
      prefix + "connections_refused_total", "TCP connections reset before any byte, by reason.",
      labels: ["reason"])
    refusedFull = refused.child("full")
    refusedSource = refused.child("source_range")
    refusedEndpoint = refused.child("endpoint")
    flows = metrics.gauge(prefix + "udp_flows", "UDP flows that are kept.").child()
    flowsEvicted =
      metrics.counter(prefix + "udp_flows_evicted_total", "UDP flows ended early because the table was full.")
      .child()
    datagramsDropped =
      metrics.counter(prefix + "datagrams_dropped_total", "Datagrams that could not be sent on.").child()
    copied =
      metrics.counter(prefix + "pieces_copied_total", "Pieces copied because no pipe was free.").child()
    spliced =
      metrics.counter(prefix + "spliced_bytes_total", "Bytes passed on without a copy in this process.")
      .child()
    resetOrphans =
      metrics.counter(
        prefix + "connections_reset_total", "TCP connections reset because their endpoint left."
      ).child()
    frontends = metrics.gauge(prefix + "frontends", "Addresses and ports that are listened on.").child()
    frontendFailures =
      metrics.counter(
        prefix + "frontend_failures_total", "Addresses and ports that could not be listened on."
      ).child()
    transparencyRefused =
      metrics.counter(
        prefix + "transparency_refused_total", "Connections whose source could not be kept."
      ).child()
  }
}
