// UDP of the userspace mode: a table of flows, each a client and a socket of its own towards one endpoint.
//
//   client --> frontend's socket -(flow by client and address)-> flow's socket --> endpoint
//   client <-- frontend's socket <------------------------------ flow's socket <-- endpoint
//
// Two lines of flows, each in order of last use: those never answered and those that were. The front of a line ends first.

import Addresses
import Diagnostics
import Glibc
import Reactor

/// Who a flow belongs to.
struct UDPFlowKey: Hashable {
  private var peer: UInt128
  private var local: UInt128
  private var peerPort: UInt16
  private var frontend: Int32

  init(_ peer: SocketAddress, _ local: SocketAddress?, frontend: Int) {
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

/// One client's datagrams to one endpoint.
final class UDPFlow: ReadinessHandler {
  /// Datagrams passed back in one go before others get their turn.
  static let datagramsPerTurnMax = 64

  fileprivate var channel = Channel()
  fileprivate unowned let table: UDPFlowTable
  fileprivate let key: UDPFlowKey
  private let peer: SocketAddress
  private let local: SocketAddress?
  let frontend: UDPFrontend
  let target: SocketEndpoint
  /// It stands in the counts of least connections.
  fileprivate var isCounted = false
  fileprivate(set) var isAnswered = false
  fileprivate var lastUse: UInt64
  fileprivate unowned(unsafe) var next: UDPFlow?
  fileprivate unowned(unsafe) var previous: UDPFlow?

  fileprivate init(
    table: UDPFlowTable, key: UDPFlowKey, peer: SocketAddress, local: SocketAddress?, frontend: UDPFrontend,
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

  func cancel() { table.remove(self) }

  fileprivate func send(_ payload: UnsafeRawBufferPointer) {
    switch channel.send(payload) {
    case .bytes, .wouldBlock: break
    case .end, .failed:
      // The endpoint's port is shut: the next datagram looks for another one.
      table.metrics.datagramsDropped.increment()
      table.remove(self)
    }
  }

  func ready(_ readiness: Readiness) {
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
      if !frontend.send(payload, to: peer, from: local) { table.metrics.datagramsDropped.increment() }
    }
    channel.callAgain(.readable)
  }
}

/// The flows of one worker. Looking one up allocates nothing; beginning one allocates it and opens a socket.
final class UDPFlowTable: TimerHandler {
  private static let sweepNanoseconds: UInt64 = 1_000_000_000

  private struct Line {
    unowned(unsafe) var first: UDPFlow?
    unowned(unsafe) var last: UDPFlow?
  }

  let reactor: Reactor
  let metrics: UserspaceMetrics
  private let limits: UserspaceLimits
  private let connections: RelayedConnections
  private var flows: [UDPFlowKey: UDPFlow] = [:]
  private var silent = Line()
  private var answered = Line()
  private var timer = TimerToken.none

  init(
    reactor: Reactor, limits: UserspaceLimits, metrics: UserspaceMetrics, connections: RelayedConnections
  ) {
    self.reactor = reactor
    self.connections = connections
    self.limits = limits
    self.metrics = metrics
  }

  var count: Int { flows.count }

  func flow(_ key: UDPFlowKey) -> UDPFlow? { flows[key] }

  /// Begins a flow. When the table is full the flow that was silent longest ends for it.
  func begin(
    _ key: UDPFlowKey, peer: SocketAddress, local: SocketAddress?, frontend: UDPFrontend,
    target: SocketEndpoint, open: (SocketEndpoint) -> Descriptor?
  ) -> UDPFlow? {
    if flows.count >= limits.flowsMax {
      guard let oldest = silent.first ?? answered.first else { return nil }
      metrics.flowsEvicted.increment()
      remove(oldest)
    }
    guard let descriptor = open(target) else { return nil }
    let flow = UDPFlow(
      table: self, key: key, peer: peer, local: local, frontend: frontend, target: target, now: reactor.now)
    guard let channel = try? reactor.register(descriptor, handler: flow) else { return nil }
    flow.channel = channel
    flow.isCounted = frontend.frontend.choosesByLoad
    flows[key] = flow
    append(flow, to: &silent)
    metrics.flows.add(1)
    if timer == .none { timer = reactor.setTimer(after: Self.sweepNanoseconds, handler: self) }
    return flow
  }

  func remove(_ flow: UDPFlow) {
    guard flows[flow.key] === flow else { return }
    if flow.isAnswered { unlink(flow, &answered) } else { unlink(flow, &silent) }
    flows[flow.key] = nil
    flow.channel.close()
    metrics.flows.add(-1)
    if flow.isCounted { connections.release(flow.target, .udp) }
  }

  /// Ends flows that may not go on, such as those to an endpoint that is gone.
  func removeAll(where isOver: (UDPFlow) -> Bool) {
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

  func send(_ payload: UnsafeRawBufferPointer, by flow: UDPFlow) {
    touch(flow)
    flow.send(payload)
  }

  fileprivate func answered(_ flow: UDPFlow) {
    unlink(flow, &silent)
    flow.isAnswered = true
    append(flow, to: &answered)
  }

  func timerEnded(tag: Int) {
    let now = reactor.now
    while let flow = silent.first, now &- flow.lastUse >= limits.silentFlowSeconds * 1_000_000_000 {
      remove(flow)
    }
    while let flow = answered.first, now &- flow.lastUse >= limits.answeredFlowSeconds * 1_000_000_000 {
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

/// A UDP address of a Service.
final class UDPFrontend: DatagramHandler {
  /// The longest datagram there is.
  static let datagramBytesMax = 65_535

  private unowned let worker: UserspaceWorker
  var frontend: UserspaceFrontend
  /// Tells flows of different frontends apart; never used again.
  let number: Int
  private var socket: UDPSocket?

  init(_ frontend: UserspaceFrontend, number: Int, worker: UserspaceWorker) throws(SocketError) {
    self.frontend = frontend
    self.number = number
    self.worker = worker
    let descriptor = try Sockets.bindUDP(
      frontend.endpoint, receiveBufferBytes: 1 << 20, v6Only: true, freely: true)
    socket = try UDPSocket(
      descriptor, reactor: worker.reactor, batch: 8, receiveBytes: Self.datagramBytesMax + 1, replyBytes: 16,
      handler: self)
  }

  func close() {
    socket?.close()
    socket = nil
  }

  private func open(_ target: SocketEndpoint, for peer: SocketEndpoint) -> Descriptor? {
    if let address = worker.keptSource(of: peer, frontend, target) {
      let opened = worker.open(as: address) { source throws(SocketError) in
        try Sockets.connectUDP(target, from: source)
      }
      if let opened { return opened }
    }
    return try? Sockets.connectUDP(target)
  }

  func send(_ payload: UnsafeRawBufferPointer, to peer: SocketAddress, from local: SocketAddress?) -> Bool {
    socket?.send(payload, to: peer, from: local) ?? false
  }

  func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
    let key = UDPFlowKey(datagram.peer, datagram.local, frontend: number)
    let table = worker.flows
    if let flow = table.flow(key) {
      table.send(datagram.payload, by: flow)
      return 0
    }
    guard let peer = datagram.peer.endpoint, worker.mayEnter(frontend, peer.address),
      let target = worker.choose(frontend, for: peer)
    else {
      worker.metrics.datagramsDropped.increment()
      return 0
    }
    guard
      let flow = table.begin(
        key, peer: datagram.peer, local: datagram.local, frontend: self, target: target,
        open: { open($0, for: peer) })
    else {
      worker.release(target, frontend)
      worker.metrics.datagramsDropped.increment()
      return 0
    }
    worker.remember(target, of: peer, frontend)
    table.send(datagram.payload, by: flow)
    return 0
  }
}
