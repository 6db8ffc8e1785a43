// Says when connections fail because connection tracking is full or out of ports: without it Services "sometimes time out".

import Diagnostics
import KernelNftables
import Logging

/// What two readings one after the other tell. Pure.
struct ConntrackPressure: Sendable {
  /// Something that an operator should know.
  struct Finding: Sendable, Hashable {
    enum Kind: Sendable, Hashable { case full, taken, nearlyFull }
    var kind: Kind
    /// Packets of new connections that were dropped since the last reading.
    var packets: UInt32
  }

  /// Shares of the limit at which the table is called nearly full, and no longer so.
  static let (nearlyFull, relaxed) = (0.9, 0.8)

  private(set) var last: ConntrackStatistics?
  private var isNearlyFull = false

  /// Since the last reading: packets dropped because the table was full, because no place was free, and flows forgotten early.
  private(set) var rise: (full: UInt32, taken: UInt32, early: UInt32) = (0, 0, 0)

  mutating func take(_ now: ConntrackStatistics) -> [Finding] {
    // What was counted before this process came is not news.
    let before = last ?? now
    last = now
    let taken = now.insertFailed &- before.insertFailed
    let dropped = now.drop &- before.drop
    // Each packet without a place counts as dropped too.
    rise = (dropped > taken ? dropped - taken : 0, taken, now.earlyDrop &- before.earlyDrop)
    var findings: [Finding] = []
    if rise.full > 0 { findings.append(Finding(kind: .full, packets: rise.full)) }
    if rise.taken > 0 { findings.append(Finding(kind: .taken, packets: rise.taken)) }
    let share = now.limit == 0 ? 0 : Double(now.entries) / Double(now.limit)
    if share >= Self.nearlyFull, !isNearlyFull {
      isNearlyFull = true
      if rise.full == 0 { findings.append(Finding(kind: .nearlyFull, packets: 0)) }
    } else if share < Self.relaxed {
      isNearlyFull = false
    }
    return findings
  }
}

/// Looks every `period` and puts what it finds into metrics and the log: at most one line of each kind a look.
public struct ConntrackWatch: Sendable {
  public static let period = Duration.seconds(10)

  private var pressure = ConntrackPressure()
  private let logger: Logger
  private let entries: Gauge
  private let limit: Gauge
  private let full: Counter
  private let taken: Counter
  private let early: Counter

  public init(logger: Logger = Logger(label: "conntrack"), metrics: Metrics = .shared) {
    self.logger = logger
    entries = metrics.gauge("weft_conntrack_entries", "Flows that the kernel tracks in this namespace.")
      .child()
    limit = metrics.gauge("weft_conntrack_entries_limit", "How many flows the kernel tracks at most.").child()
    let dropped = metrics.counter(
      "weft_conntrack_dropped_packets_total", "Packets of new connections that connection tracking dropped.",
      labels: ["reason"])
    full = dropped.child("table_full")
    taken = dropped.child("no_free_tuple")
    early =
      metrics.counter(
        "weft_conntrack_early_drops_total", "Flows that were forgotten before their time to make room."
      ).child()
  }

  /// Takes in one reading.
  public mutating func take(_ now: ConntrackStatistics) {
    let findings = pressure.take(now)
    entries.set(Double(now.entries))
    limit.set(Double(now.limit))
    full.increment(by: UInt64(pressure.rise.full))
    taken.increment(by: UInt64(pressure.rise.taken))
    early.increment(by: UInt64(pressure.rise.early))
    for finding in findings { logger.warning("\(Self.error(finding, now))") }
  }

  /// Looks until the task is cancelled, in the namespace of the worker.
  public static func follow(_ worker: RulesetWorker) async {
    var watch = ConntrackWatch()
    repeat {
      if let now = try? await worker.perform({ _ in ConntrackStatistics.read() }) { watch.take(now) }
    } while (try? await Task.sleep(for: period)) != nil
  }

  static func error(_ finding: ConntrackPressure.Finding, _ now: ConntrackStatistics) -> WeftError {
    switch finding.kind {
    case .full:
      WeftError(
        "PRX0030", object: "connection tracking",
        cause:
          "its table of \(now.limit) flows is full, \(finding.packets) packets of new connections were dropped",
        next: "sysctl -w net.netfilter.nf_conntrack_max=\(max(now.limit, 1 << 16) &* 2)", isRetryable: true)
    case .taken:
      WeftError(
        "PRX0031", object: "connection tracking",
        cause:
          "\(finding.packets) packets of new connections were dropped: their place in the table was taken,"
          + " as when no port is free for a masqueraded source",
        next: "conntrack -L --src-nat, and look for one destination that stands out", isRetryable: true)
    case .nearlyFull:
      WeftError(
        "PRX0032", object: "connection tracking", cause: "\(now.entries) of \(now.limit) flows are in use",
        next: "sysctl -w net.netfilter.nf_conntrack_max=\(max(now.limit, 1 << 16) &* 2)", isRetryable: true)
    }
  }
}
