// Who speaks to which Service, and how it goes: flows of the last minute or two gathered by pairs.
//
//   flow ──> (workload, Service or workload) ──> counts of this half and the half before ──> FlowEdge
//
// A half lasts `halfSeconds`; what is older than two halves is forgotten, so that a pair that is silent disappears.

import Addresses
import ClusterObjects

/// Counts of the recent past, by pair. Bounded by `pairsMax`; pairs beyond are counted together in `others`. Not for several threads
/// at once.
public struct FlowEdges: Sendable {
  /// About 3 MB when full.
  public static let pairsMax = 4096
  public static let halfSeconds: UInt64 = 30

  struct Pair: Hashable {
    var from: FlowParty
    var to: FlowParty
  }

  private struct Gathered {
    var now = FlowSignals()
    var before = FlowSignals()
  }

  private var pairs: [Pair: Gathered] = [:]
  private var rest = Gathered()
  /// Number of the half that is being filled, since 1970.
  private var half: UInt64 = 0
  /// Of the first flow: a rate is not thinned out by a time when nobody listened.
  private var began: UInt64 = .max
  private let capacity: Int

  public init(capacity: Int = FlowEdges.pairsMax) {
    precondition(capacity > 0)
    self.capacity = capacity
  }

  /// Counts a flow at its own time. Costs a look-up.
  public mutating func count(_ flow: Flow) {
    turn(to: flow.time)
    began = min(began, flow.time)
    let pair = Pair(from: FlowParty(flow.source), to: FlowParty(flow))
    if pairs[pair] != nil || pairs.count < capacity {
      pairs[pair, default: Gathered()].now.count(flow)
    } else {
      rest.now.count(flow)
    }
  }

  /// What was counted within the last one to two halves before `now` (nanoseconds since 1970), the busiest first.
  /// - Parameter limit: so many at most.
  public mutating func read(now: UInt64, limit: Int = pairsMax) -> FlowEdgeList {
    turn(to: now)
    let start = max(half == 0 ? 0 : (half - 1) * Self.halfSeconds * 1_000_000_000, min(began, now))
    var list = FlowEdgeList(seconds: max(1, now > start ? Double(now - start) / 1e9 : 0))
    for (pair, gathered) in pairs {
      var edge = FlowEdge(from: pair.from, to: pair.to, signals: gathered.before)
      edge.signals.add(gathered.now)
      list.edges.append(edge)
    }
    list.edges.sort { $0.isBusier(than: $1) }
    list.isCut = list.edges.count > limit
    list.edges.removeLast(max(0, list.edges.count - limit))
    list.others = rest.before
    list.others.add(rest.now)
    return list
  }

  private mutating func turn(to time: UInt64) {
    let now = time / 1_000_000_000 / Self.halfSeconds
    guard now > half else { return }
    let isNext = now == half + 1
    half = now
    if !isNext {
      pairs = [:]
      rest = Gathered()
      return
    }
    for (pair, gathered) in pairs {
      pairs[pair] = gathered.now.isEmpty ? nil : Gathered(before: gathered.now)
    }
    rest = Gathered(before: rest.now)
  }
}

/// The golden signals of one pair, as far as connections tell them.
public struct FlowSignals: Sendable, Hashable {
  /// Milliseconds up to which ended connections lasted, by bucket; the last bucket is above all.
  public static let bounds: [UInt64] = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536]

  public var connections: UInt64 = 0
  /// Ended without one answer.
  public var unanswered: UInt64 = 0
  /// Packets that were refused, as far as they were told.
  public var denied: UInt64 = 0
  public var audited: UInt64 = 0
  public var bytesSent: UInt64 = 0
  public var bytesReceived: UInt64 = 0
  /// Ended connections by how long they lasted.
  public var lasted: [UInt64] = []
  /// Who refused last.
  public var deniedBy: [ObjectKey] = []
  public var deniedReason = ""
  /// A pod of each end that was seen last, for whoever wants to look closer.
  public var sourcePod: ObjectKey?
  public var destinationPod: ObjectKey?
  /// Where the last one went to, after translation.
  public var port: UInt16 = 0
  public var transport = ""

  public init() {}

  var isEmpty: Bool { connections == 0 && unanswered == 0 && denied == 0 && audited == 0 && lasted.isEmpty }

  mutating func count(_ flow: Flow) {
    sourcePod = flow.source.pod ?? sourcePod
    destinationPod = flow.destination.pod ?? destinationPod
    port = flow.service?.asked.port ?? flow.destination.endpoint.port
    transport = flow.transportName
    switch flow.event {
    case .new: connections += 1
    case .packet:
      if flow.verdict == .audited { audited += 1 } else { denied += 1 }
      deniedBy = flow.decision?.policies ?? []
      deniedReason = flow.decision?.reason ?? ""
    case .end:
      if !flow.hasReply { unanswered += 1 }
      guard let totals = flow.totals else { return }
      bytesSent &+= totals.bytesSent
      bytesReceived &+= totals.bytesReceived
      guard let milliseconds = totals.milliseconds else { return }
      if lasted.isEmpty { lasted = [UInt64](repeating: 0, count: Self.bounds.count + 1) }
      lasted[Self.bounds.firstIndex { milliseconds <= $0 } ?? Self.bounds.count] += 1
    }
  }

  mutating func add(_ other: FlowSignals) {
    connections += other.connections
    unanswered += other.unanswered
    denied += other.denied
    audited += other.audited
    bytesSent &+= other.bytesSent
    bytesReceived &+= other.bytesReceived
    if lasted.isEmpty {
      lasted = other.lasted
    } else {
      for (index, count) in other.lasted.enumerated() { lasted[index] += count }
    }
    // The later one speaks.
    if other.denied + other.audited > 0 { (deniedBy, deniedReason) = (other.deniedBy, other.deniedReason) }
    sourcePod = other.sourcePod ?? sourcePod
    destinationPod = other.destinationPod ?? destinationPod
    if !other.transport.isEmpty { (port, transport) = (other.port, other.transport) }
  }

  /// The bound, in milliseconds, below which this share of ended connections lasted; nil when none has ended with a time, or the
  /// share lies above all bounds.
  public func lasted(share: Double) -> UInt64? {
    let total = lasted.reduce(0, +)
    guard total > 0 else { return nil }
    var seen: UInt64 = 0
    for (bound, count) in zip(Self.bounds, lasted) {
      seen += count
      if Double(seen) >= Double(total) * share { return bound }
    }
    return nil
  }
}
