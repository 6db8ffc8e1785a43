// UDP passed on: a table of flows, each a client and a socket of its own towards one endpoint.
//
//   client --> frontend's socket -(flow by client and address)-> flow's socket --> endpoint
//   client <-- frontend's socket <------------------------------ flow's socket <-- endpoint
//
// Two lines of flows, each in order of last use: those never answered and those that were. The front of a line ends first.

import Addresses
import CLinux
import Diagnostics
import Glibc

/// Who a flow belongs to.
public struct UDPFlowKey: Hashable {
  private var peer: UInt128
  private var local: UInt128
  private var peerPort: UInt16
  private var frontend: Int32

  /// - Parameters:
  ///   - local: the address that the client sends to.
  ///   - frontend: a number that tells frontends of one table apart.
  public init(_ peer: SocketAddress, _ local: SocketAddress?, frontend: Int) {
    self.peer = Self.bits(peer)
    self.local = local.map(Self.bits) ?? 0
    peerPort = peer.port
    self.frontend = Int32(truncatingIfNeeded: frontend)
  }

  private static func bits(_ address: SocketAddress) -> UInt128 {
    if Int32(address.storage.sin6_family) == AF_INET { return UInt128(address.storage.sin6_flowinfo) }
    return withUnsafeBytes(of: address.storage.sin6_addr) { $0.loadUnaligned(as: UInt128.self) }
  }
}

/// The socket that clients of flows send to.
public protocol UDPFlowFrontend: AnyObject {
  /// Passes an endpoint's answer on to a client. False when it could not be sent.
  func send(_ payload: UnsafeRawBufferPointer, to peer: SocketAddress, from local: SocketAddress?) -> Bool
  /// A flow has ended, for whatever reason.
  func ended(_ flow: UDPFlow)
}

/// Bounds of a table of flows.
public struct UDPFlowLimits: Sendable {
  /// For one more the flow that was silent longest goes, first of those that were never answered.
  public var flowsMax: Int
  /// Silence after which a flow ends: one that was never answered, one that was.
  public var silentSeconds: UInt64
  public var answeredSeconds: UInt64

  public init(flowsMax: Int, silentSeconds: UInt64, answeredSeconds: UInt64) {
    self.flowsMax = flowsMax
    self.silentSeconds = silentSeconds
    self.answeredSeconds = answeredSeconds
  }
}

/// What a table of flows counts.
public struct UDPFlowMetrics: Sendable {
  let flows: Gauge
  /// Ended early because the table was full.
  let evicted: Counter
  /// Datagrams that could not be sent on.
  let dropped: Counter

  public init(flows: Gauge, evicted: Counter, dropped: Counter) {
    self.flows = flows
    self.evicted = evicted
    self.dropped = dropped
  }
}

/// One client's datagrams to one endpoint.
public final class UDPFlow: ReadinessHandler {
  /// Datagrams passed back in one go before others get their turn.
  public static let datagramsPerTurnMax = 64

  fileprivate var channel = Channel()
  fileprivate unowned let table: UDPFlowTable
  fileprivate let key: UDPFlowKey
  private let peer: SocketAddress
  /// The address that the client sends to.
  public let local: SocketAddress?
  public let frontend: any UDPFlowFrontend
  public let target: SocketEndpoint
  /// For its frontend: it stands in counts that have to be taken back when it ends.
  public var isCounted = false
  fileprivate(set) var isAnswered = false
  fileprivate var lastUse: UInt64
  fileprivate unowned(unsafe) var next: UDPFlow?
  fileprivate unowned(unsafe) var previous: UDPFlow?

  fileprivate init(
    table: UDPFlowTable, key: UDPFlowKey, peer: SocketAddress, local: SocketAddress?,
    frontend: any UDPFlowFrontend,
    target: SocketEndpoint, now: UInt64
  ) {
    self.table = table
    self.key = key
    self.peer = peer
    self.local = local
    self.frontend = frontend
    self.target = target
    lastUse = now
  }

  public func cancel() { table.remove(self) }

  fileprivate func send(_ payload: UnsafeRawBufferPointer) {
    switch channel.send(payload) {
    case .bytes, .wouldBlock: break
    case .end, .failed:
      // The endpoint's port is shut: the next datagram looks for another one.
      table.metrics.dropped.increment()
      table.remove(self)
    }
  }

  public func ready(_ readiness: Readiness) {
    guard !readiness.isDisjoint(with: [.readable, .error, .hangUp]) else { return }
    let space = UnsafeMutableRawBufferPointer(rebasing: table.reactor.scratch[..<65_536])
    for _ in 0..<Self.datagramsPerTurnMax {
      guard channel.isOpen else { return }
      let count = recv(channel.raw, space.baseAddress, space.count, Int32(MSG_DONTWAIT))
      guard count >= 0 else {
        if errno != EAGAIN, errno != EINTR { table.remove(self) }
        return
      }
      if !isAnswered { table.answered(self) }
      table.touch(self)
      let payload = UnsafeRawBufferPointer(rebasing: space[..<count])
      if !frontend.send(payload, to: peer, from: local) { table.metrics.dropped.increment() }
    }
    channel.callAgain(.readable)
  }
}

/// The flows of one worker. Looking one up allocates nothing; beginning one allocates it and opens a socket.
public final class UDPFlowTable: TimerHandler {
  private static let sweepNanoseconds: UInt64 = 1_000_000_000

  private struct Line {
    unowned(unsafe) var first: UDPFlow?
    unowned(unsafe) var last: UDPFlow?
  }

  fileprivate let reactor: Reactor
  fileprivate let metrics: UDPFlowMetrics
  private let limits: UDPFlowLimits
  private var flows: [UDPFlowKey: UDPFlow] = [:]
  private var silent = Line()
  private var answered = Line()
  private var timer = TimerToken.none

  public init(reactor: Reactor, limits: UDPFlowLimits, metrics: UDPFlowMetrics) {
    self.reactor = reactor
    self.limits = limits
    self.metrics = metrics
  }

  public var count: Int { flows.count }

  public func flow(_ key: UDPFlowKey) -> UDPFlow? { flows[key] }

  /// Begins a flow. When the table is full the flow that was silent longest ends for it.
  public func begin(
    _ key: UDPFlowKey, peer: SocketAddress, local: SocketAddress?, frontend: any UDPFlowFrontend,
    target: SocketEndpoint, open: (SocketEndpoint) -> Descriptor?
  ) -> UDPFlow? {
    if flows.count >= limits.flowsMax {
      guard let oldest = silent.first ?? answered.first else { return nil }
      metrics.evicted.increment()
      remove(oldest)
    }
    guard let descriptor = open(target) else { return nil }
    let flow = UDPFlow(
      table: self, key: key, peer: peer, local: local, frontend: frontend, target: target, now: reactor.now)
    guard let channel = try? reactor.register(descriptor, handler: flow) else { return nil }
    flow.channel = channel
    flows[key] = flow
    append(flow, to: &silent)
    metrics.flows.add(1)
    if timer == .none { timer = reactor.setTimer(after: Self.sweepNanoseconds, handler: self) }
    return flow
  }

  public func remove(_ flow: UDPFlow) {
    guard flows[flow.key] === flow else { return }
    if flow.isAnswered { unlink(flow, &answered) } else { unlink(flow, &silent) }
    flows[flow.key] = nil
    flow.channel.close()
    metrics.flows.add(-1)
    flow.frontend.ended(flow)
  }

  /// Ends flows that may not go on, such as those to an endpoint that is gone.
  public func removeAll(where isOver: (UDPFlow) -> Bool) {
    for flow in flows.values.filter(isOver) { remove(flow) }
  }

  fileprivate func touch(_ flow: UDPFlow) {
    flow.lastUse = reactor.now
    if flow.isAnswered {
      unlink(flow, &answered)
      append(flow, to: &answered)
    } else {
      unlink(flow, &silent)
      append(flow, to: &silent)
    }
  }

  /// Sends a client's datagram on.
  public func send(_ payload: UnsafeRawBufferPointer, by flow: UDPFlow) {
    touch(flow)
    flow.send(payload)
  }

  fileprivate func answered(_ flow: UDPFlow) {
    unlink(flow, &silent)
    flow.isAnswered = true
    append(flow, to: &answered)
  }

  public func timerEnded(tag: Int) {
    let now = reactor.now
    while let flow = silent.first, now &- flow.lastUse >= limits.silentSeconds * 1_000_000_000 {
      remove(flow)
    }
    while let flow = answered.first, now &- flow.lastUse >= limits.answeredSeconds * 1_000_000_000 {
      remove(flow)
    }
    timer = flows.isEmpty ? .none : reactor.setTimer(after: Self.sweepNanoseconds, handler: self)
  }

  private func append(_ flow: UDPFlow, to line: inout Line) {
    flow.previous = line.last
    flow.next = nil
    if let last = line.last { last.next = flow } else { line.first = flow }
    line.last = flow
  }

  private func unlink(_ flow: UDPFlow, _ line: inout Line) {
    if let previous = flow.previous { previous.next = flow.next } else { line.first = flow.next }
    if let next = flow.next { next.previous = flow.previous } else { line.last = flow.previous }
    flow.next = nil
    flow.previous = nil
  }
}
