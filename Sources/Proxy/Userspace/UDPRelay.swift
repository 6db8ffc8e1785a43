// UDP of the userspace mode: the sockets that Services answer on. Each client's datagrams go their own way (`UDPFlowTable`).

import Addresses
import Diagnostics
import Reactor

/// A UDP address of a Service.
final class UDPFrontend: DatagramHandler, UDPFlowFrontend {
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

  func ended(_ flow: UDPFlow) {
    if flow.isCounted { worker.releaseFlow(flow.target) }
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
    flow.isCounted = frontend.choosesByLoad
    worker.remember(target, of: peer, frontend)
    table.send(datagram.payload, by: flow)
    return 0
  }
}
