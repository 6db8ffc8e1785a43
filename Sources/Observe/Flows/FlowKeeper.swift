// The node's memory of flows: reads the kernel's events, names them by the view, keeps the newest, counts them.
//
//   NetfilterEvents ──batch──> FlowTranslator (names: view's changes, attachments) ──> FlowRing ──> FlowServer, follow()
//                                                                                 └──> FlowMetrics

import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNftables
import Policy
import Synchronization

/// Runs from `start` to `stop`. Memory is bounded by the ring, the remembered names and decisions; the rest waits in the kernel's
/// socket buffers or is lost there, and counted.
public final class FlowKeeper: Sendable {
  /// Where names come from.
  public struct Source: Sendable {
    /// What changed since the last call, with pods; the first call gives everything.
    public var changes: @Sendable () -> ViewChanges
    public var view: @Sendable () -> ClusterView
    public init(
      changes: @escaping @Sendable () -> ViewChanges, view: @escaping @Sendable () -> ClusterView
    ) {
      self.changes = changes
      self.view = view
    }
  }

  private struct State {
    var translator: FlowTranslator
    var ring = FlowRing()
    var edges = FlowEdges()
    var metrics: FlowMetrics
    var attachments: [String: PodAttachment] = [:]
    /// Pods of those.
    var own: Set<ObjectKey> = []
    var hasNewAttachments = false
    var hasPolicies = false

    mutating func keep(_ flow: Flow) {
      metrics.count(flow)
      ring.append(flow)
      // A connection between two nodes is seen by both: the asking pod's node counts it.
      if flow.event == .packet || flow.source.pod.map({ own.contains($0) }) ?? true { edges.count(flow) }
    }
  }

  private let events: NetfilterEvents
  private let source: Source
  private let state: Mutex<State>

  /// Opens the kernel's sockets in the calling thread's network namespace. Throws `FLW0001` when another program reads the group.
  /// - Parameter group: of the rules that tell what they refuse; nil: refused packets are not read.
  public init(
    nodeName: String, group: UInt16?, source: Source, metrics: Metrics = .shared,
    timeouts: FlowTimeouts = FlowTimeouts()
  ) throws(WeftError) {
    do throws(NftablesError) {
      events = try NetfilterEvents(group: group, withFlows: true)
    } catch {
      guard error.errno == EBUSY, let group else {
        throw WeftError(
          "FLW0003", object: "flows", cause: "the kernel does not let them be read (\(error))",
          next: "run as root, and check that the kernel has nf_conntrack_netlink and nfnetlink_log",
          underlying: error)
      }
      throw WeftError(
        "FLW0001", object: "nflog group \(group)", cause: "is read by another program",
        next: "find it by: cat /proc/net/netfilter/nfnetlink_log; or choose another with --policy-log-group",
        underlying: error)
    }
    self.source = source
    var translator = FlowTranslator(nodeName: nodeName)
    translator.timeouts = timeouts
    state = Mutex(State(translator: translator, metrics: FlowMetrics(metrics)))
  }

  public func start() throws(WeftError) {
    do throws(NftablesError) {
      try events.start { [weak self] in self?.take($0) }
    } catch {
      throw WeftError(
        "FLW0003", object: "flows", cause: "their thread cannot be started (\(error))",
        next: "look at: ulimit -u", underlying: error)
    }
  }

  public func stop() { events.stop() }

  /// A pod of this node has been attached under a container's ID: its address is known from now on.
  public func attach(_ attachment: PodAttachment, containerID: String) {
    state.withLock {
      $0.attachments[containerID] = attachment
      $0.own.insert(attachment.pod)
      $0.hasNewAttachments = true
    }
  }

  public func detach(containerID: String) {
    state.withLock {
      guard $0.attachments.removeValue(forKey: containerID) != nil else { return }
      $0.own = Set($0.attachments.values.map(\.pod))
      $0.hasNewAttachments = true
    }
  }

  /// Reads kept flows that the filter takes.
  /// - Returns: the flows, oldest first; the number to go on with; how many were overwritten before they could be read.
  public func read(from: UInt64, limit: Int, filter: FlowFilter = FlowFilter())
    -> (flows: [Flow], next: UInt64, missed: UInt64)
  {
    let (flows, next, missed) = state.withLock { $0.ring.read(from: from, limit: limit) }
    return (flows.filter(filter.matches), next, missed)
  }

  /// Who spoke to whom within the last minute or less, the busiest first; so many pairs at most.
  public func edges(limit: Int = FlowEdges.pairsMax) -> FlowEdgeList {
    let clock = Timestamp.now()
    let now = UInt64(clock.seconds) * 1_000_000_000 + UInt64(clock.nanoseconds)
    return state.withLock { $0.edges.read(now: now, limit: limit) }
  }

  /// The number of the next flow to come.
  public var end: UInt64 { state.withLock { $0.ring.end } }
  public var losses: NetfilterEvents.Losses { events.losses }

  private func take(_ batch: NetfilterEvents.Batch) {
    let clock = Timestamp.now()
    let now = UInt64(clock.seconds) * 1_000_000_000 + UInt64(clock.nanoseconds)
    let changes = source.changes()
    let losses = events.losses
    // Taken for the whole batch and only when a policy is asked about: a view that is held makes the next change copy it.
    var view: ClusterView?
    let ask: () -> ClusterView = { [source] in
      if let view { return view }
      let taken = source.view()
      view = taken
      return taken
    }
    state.withLock { state in
      if !changes.isEmpty {
        state.translator.names.apply(changes, now: now)
        if changes.concernsPolicy { state.translator.forgetDecisions() }
        if changes.isWhole || changes.kinds.contains("NetworkPolicy") {
          state.hasPolicies = !ask().networkPolicies.isEmpty
        }
      }
      if state.hasNewAttachments {
        state.hasNewAttachments = false
        state.translator.names.apply(Array(state.attachments.values), now: now)
      }
      state.metrics.setLost(flows: losses.flows, packets: losses.packets)
      for told in batch.packets {
        if let flow = state.translator.translate(told, now: now, view: ask) { state.keep(flow) }
      }
      for record in batch.flows {
        let flow = state.translator.translate(
          record, now: now, view: state.hasPolicies && record.event == .new ? ask : nil)
        if let flow { state.keep(flow) }
      }
    }
  }
}
