// Announces load balancer addresses from one node: the plan, packet sockets, and what other nodes say, put together.
//
//   view -> planAnnouncements -> held addresses -> ARP, NDP
//   another node announces a held address -> are we sure? ask the API server
//     its nodes now still make it ours     -> announce it once more
//     they do not, or there is no answer   -> give it up, and ask again every two seconds

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Logging
import Reactor
import Synchronization

/// Follows a view until `stop`. Opens its sockets when there is something to announce for the first time; without CAP_NET_RAW it
/// says so once and announces nothing.
///
/// A node that cannot reach the API server goes on announcing what it held: the server may be away for everybody, and then nobody
/// else would. It yields to the node that the others have chosen instead, as soon as that one is heard on the link
/// (docs/decisions/0017).
public final class LoadBalancerAnnouncer: Sendable {
  /// The cluster's nodes as the API server has them now.
  public typealias Question = @Sendable () async throws -> [JSON]

  private enum Phase: Sendable {
    case idle
    case open(AddressAnnouncer)
    case refused
  }
  private struct State {
    var phase = Phase.idle
    var view = ClusterView()
    var planned: Set<IPAddress> = []
    /// Planned ones that another node was heard to announce, until it is known whose they are.
    var contested: Set<IPAddress> = []
    /// Planned ones that another node has meanwhile.
    var yielded: Set<IPAddress> = []
    var asking: Task<Void, Never>?
  }

  static let answerWait: Duration = .seconds(5)
  static let retryPeriod: Duration = .seconds(2)

  private let nodeName: String
  private let besides: Set<String>
  private let metrics: Metrics
  private let nodes: Question
  private let state = Mutex(State())
  private let logger = Logger(label: "load-balancer")
  private let yieldedGauge: Gauge
  private let conflicts: Counter

  /// - Parameters:
  ///   - besides: names of links that lead to pods.
  ///   - nodes: asked when another node announces what is ours by the view.
  public init(
    nodeName: String, besides: Set<String>, metrics: Metrics = .shared, nodes: @escaping Question
  ) {
    self.nodeName = nodeName
    self.besides = besides
    self.metrics = metrics
    self.nodes = nodes
    yieldedGauge =
      metrics.gauge(
        "weft_load_balancer_yielded_addresses",
        "Addresses of this node, as far as it knows, that another node was heard to have."
      ).child()
    conflicts =
      metrics.counter(
        "weft_load_balancer_conflicts_total", "Announcements by others of addresses that this node holds."
      ).child()
  }

  /// Announces what the view makes this node's, and nothing else from now on.
  public func update(_ view: ClusterView) {
    let planned = planAnnouncements(view, nodeName: nodeName)
    state.withLock { state in
      state.view = view
      state.planned = planned
      state.contested.formIntersection(planned)
      state.yielded.formIntersection(planned)
      if case .idle = state.phase, !planned.isEmpty { state.phase = open() }
      announce(state)
    }
  }

  public func stop() {
    let (phase, asking) = state.withLock { state in
      defer { (state.phase, state.asking) = (.refused, nil) }
      return (state.phase, state.asking)
    }
    asking?.cancel()
    // Its thread may be waiting for the lock.
    if case .open(let announcer) = phase { announcer.stop() }
  }

  private func announce(_ state: State) {
    yieldedGauge.set(Double(state.yielded.count))
    if case .open(let announcer) = state.phase {
      announcer.update(state.planned.subtracting(state.yielded))
    }
  }

  private func open() -> Phase {
    do throws(SocketError) {
      return .open(
        try AddressAnnouncer(besides: besides, metrics: metrics) { [weak self] address, mac in
          self?.heard(address, at: mac)
        })
    } catch {
      logger.warning(
        "addresses are not announced: packet sockets need CAP_NET_RAW", metadata: ["error": "\(error)"])
      return .refused
    }
  }

  // MARK: - Others

  private func heard(_ address: IPAddress, at mac: MACAddress) {
    state.withLock { state in
      guard case .open = state.phase, state.planned.contains(address), !state.yielded.contains(address),
        state.contested.insert(address).inserted
      else { return }
      conflicts.increment()
      logger.info(
        "another node announces an address of ours",
        metadata: ["address": "\(address)", "mac": "\(mac)"])
      if state.asking == nil { state.asking = Task.detached { [weak self] in await self?.ask() } }
    }
  }

  /// Asks until nothing is in doubt; at most once in `retryPeriod`.
  private func ask() async {
    repeat {
      let fresh = await Self.answer(nodes)
      state.withLock { settle(&$0, fresh) }
      try? await Task.sleep(for: Self.retryPeriod)
    } while !Task.isCancelled && isInDoubt()
  }

  private func isInDoubt() -> Bool {
    state.withLock { state in
      let isInDoubt = !state.contested.isEmpty || !state.yielded.isEmpty
      if !isInDoubt { state.asking = nil }
      return isInDoubt
    }
  }

  /// - Parameter nodes: nil when there was no answer.
  private func settle(_ state: inout State, _ nodes: [JSON]?) {
    let doubtful = state.contested.union(state.yielded)
    var mine: Set<IPAddress> = []
    if let nodes { mine = planAnnouncements(state.view.with(nodes: nodes), nodeName: nodeName) }
    let kept = doubtful.intersection(mine)
    let lost = state.contested.subtracting(mine)
    if !lost.isEmpty {
      logger.warning(
        "addresses given up: another node announces them, and \(nodes == nil ? "the API server does not answer" : "they are its by now")",
        metadata: ["addresses": "\(lost.sorted().map(\.description).joined(separator: " "))"])
    }
    // Heard by the other one as well, and by those who took it for the holder.
    let defended = state.contested.intersection(kept)
    state.yielded = doubtful.subtracting(mine)
    state.contested = []
    announce(state)
    if case .open(let announcer) = state.phase, !defended.isEmpty { announcer.announceAgain(defended) }
  }

  /// Nil after `answerWait`, and for every failure.
  private static func answer(_ question: @escaping Question) async -> [JSON]? {
    await withCheckedContinuation { continuation in
      let waiting = Waiting(continuation)
      let asked = Task.detached { waiting.end(try? await question()) }
      Task.detached {
        try? await Task.sleep(for: answerWait)
        asked.cancel()
        waiting.end(nil)
      }
    }
  }

  /// Resumed by whoever comes first.
  private final class Waiting: Sendable {
    private let continuation: Mutex<CheckedContinuation<[JSON]?, Never>?>
    init(_ continuation: CheckedContinuation<[JSON]?, Never>) { self.continuation = Mutex(continuation) }
    func end(_ answer: [JSON]?) { continuation.withLock { $0.take() }?.resume(returning: answer) }
  }
}

extension ClusterView {
  /// With these nodes instead of those it has.
  fileprivate func with(nodes: [JSON]) -> ClusterView {
    var view = self
    let names = Set(nodes.map(\.name))
    for name in view.nodes.keys where !names.contains(name) {
      view.remove(kind: "Node", ObjectKey("", name))
    }
    for var node in nodes {
      // Items of typed lists come without a kind.
      if node.kind.isEmpty { node["kind"] = "Node" }
      view.apply(node)
    }
    return view
  }
}
