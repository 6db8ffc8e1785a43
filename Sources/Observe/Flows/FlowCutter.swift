// Option `strict`: connections that a change of policies has made forbidden end, instead of living on as established.
//
//   change -> could it forbid? -> dump of what is tracked -> the evaluator -> deletion one by one
//
// A deleted TCP connection's next segment is new without SYN, which the chains drop; a datagram meets the policies again.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import KernelNftables
import Policy
import Synchronization

/// Judges tracked connections. Pure.
public struct FlowJudge: Sendable {
  var names = FlowNames()
  private var labels: [ObjectKey: [String: String]] = [:]

  public init() {}

  /// Takes changes in; they must name pods.
  /// - Returns: whether they could forbid what was allowed: a policy, a namespace's labels or a known pod's labels changed.
  public mutating func apply(_ changes: ViewChanges, now: UInt64) -> Bool {
    names.apply(changes, now: now)
    var couldForbid = !changes.isWhole && !(changes.networkPolicies.isEmpty && changes.namespaces.isEmpty)
    for (key, pod) in changes.pods {
      if let before = labels[key], let pod, before != pod.labels { couldForbid = true }
      labels[key] = pod?.labels
    }
    return couldForbid
  }

  public mutating func apply(_ attachments: [PodAttachment], now: UInt64) {
    names.apply(attachments, now: now)
  }

  /// Whether policies refuse it as they are now. Connections without a pod are nobody's business.
  func isForbidden(_ record: FlowRecord, _ view: ClusterView) -> Bool {
    guard let transport = TransportProtocol(number: record.transport) else { return false }
    // Translated or not: it went to where its answers come from.
    let target = record.reply.source
    let source = record.original.source.address
    let sender = names.holder(of: source, at: 0)?.pod
    let receiver = names.holder(of: target.address, at: 0)?.pod
    if sender == nil, receiver == nil { return false }
    return !decidePolicy(
      view: view, from: PolicyParty(address: source, pod: sender),
      to: PolicyParty(address: target.address, pod: receiver), port: target.port, transport: transport
    ).isAllowed
  }
}

/// Cuts in the network namespace in which it was made. One run at a time.
public final class FlowCutter: Sendable {
  /// Connections that one run looks at; what is beyond lives on, and is counted.
  public static let flowsMax = 1 << 18

  private struct State {
    var judge = FlowJudge()
    let socket: NftablesSocket
  }
  private final class Box: @unchecked Sendable {
    // Guarded by the lock around it.
    var state: State
    init(_ state: State) { self.state = state }
  }

  private let box: Mutex<Box>
  private let cut: Counter
  private let unseen: Counter

  /// Throws `POL0030` when the kernel's connections cannot be read.
  public init(metrics: Metrics = .shared) throws(WeftError) {
    do throws(NftablesError) {
      box = Mutex(Box(State(socket: try NftablesSocket())))
    } catch {
      throw WeftError(
        "POL0030", object: "strict policies", cause: "connections cannot be read (\(error))",
        next: "run as root, or leave --strict-policies away", underlying: error)
    }
    cut =
      metrics.counter(
        "weft_policy_cut_connections_total", "Connections that ended because a policy came to forbid them."
      ).child()
    unseen =
      metrics.counter(
        "weft_policy_unjudged_connections_total", "Connections beyond the bound of one look, which live on."
      ).child()
  }

  /// Takes a change in whose rules are in force; cuts what it forbids. Costs nothing unless it could forbid something; then a dump,
  /// and a decision for each pair of ends and port.
  /// - Parameter attachments: all of them, when they changed.
  /// - Returns: how many connections were cut.
  @discardableResult
  public func apply(
    _ changes: ViewChanges, attachments: [PodAttachment]?, view: @autoclosure () -> ClusterView
  ) throws(NftablesError) -> Int {
    let now = UInt64(clamping: Timestamp.now().seconds) &* 1_000_000_000
    return try box.withLock { box throws(NftablesError) -> Int in
      if let attachments { box.state.judge.apply(attachments, now: now) }
      guard box.state.judge.apply(changes, now: now) else { return 0 }
      return try run(box.state, view())
    }
  }

  private func run(_ state: State, _ view: ClusterView) throws(NftablesError) -> Int {
    var forbidden: [FlowRecord] = []
    var looked = 0
    var known: [FlowRecord.Tuple: Bool] = [:]
    for family in IPFamily.allCases {
      try state.socket.forEachFlow(family) { record in
        looked += 1
        guard looked <= Self.flowsMax else { return }
        // Connections of one client to one port are judged once, whatever their own ports.
        var ends = FlowRecord.Tuple(source: record.original.source, destination: record.reply.source)
        ends.source.port = UInt16(record.transport)
        let isForbidden = known[ends] ?? state.judge.isForbidden(record, view)
        if known.count < 1 << 16 { known[ends] = isForbidden }
        if isForbidden { forbidden.append(record) }
      }
    }
    if looked > Self.flowsMax { unseen.increment(by: UInt64(looked - Self.flowsMax)) }
    for record in forbidden { try state.socket.deleteFlow(record) }
    cut.increment(by: UInt64(forbidden.count))
    return forbidden.count
  }
}
