// A UDP port: each client's datagrams stay with one endpoint for as long as they keep coming (`UDPFlowTable`).

import Addresses
import Diagnostics
import Reactor

final class DatagramPort: DatagramHandler, UDPFlowFrontend {
  /// The longest datagram there is.
  private static let datagramBytesMax = 65_535

  private unowned let streams: StreamWorker
  /// Tells sessions of different ports apart.
  private let number: Int
  let port: UInt16
  private var socket: UDPSocket?

  init(_ descriptor: consuming Descriptor, number: Int, streams: StreamWorker) throws(SocketError) {
    self.streams = streams
    self.number = number
    port = Sockets.localEndpoint(descriptor)?.port ?? 0
    socket = try UDPSocket(
      descriptor, reactor: streams.worker.reactor, batch: 8, receiveBytes: Self.datagramBytesMax + 1,
      replyBytes: 16, handler: self)
  }

  func close() {
    socket?.close()
    socket = nil
  }

  func send(_ payload: UnsafeRawBufferPointer, to peer: SocketAddress, from local: SocketAddress?) -> Bool {
    socket?.send(payload, to: peer, from: local) ?? false
  }

  func ended(_ flow: UDPFlow) {}

  /// - Parameter local: that a client sends to; nil when the kernel does not say.
  func place(_ local: SocketAddress?) -> ListenerPlace {
    ListenerPlace(port, streams.snapshot.namesAddresses ? local?.endpoint?.address : nil)
  }

  func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
    let sessions = streams.sessions
    let key = UDPFlowKey(datagram.peer, datagram.local, frontend: number)
    if let session = sessions.flow(key) {
      sessions.send(datagram.payload, by: session)
      return 0
    }
    guard let peer = datagram.peer.endpoint,
      let backend = streams.snapshot.datagrams(to: place(datagram.local))?.only?.next(),
      let pool = backend.choose(for: peer.address, now: streams.worker.reactor.now, avoiding: nil),
      let session = sessions.begin(
        key, peer: datagram.peer, local: datagram.local, frontend: self, target: pool.endpoint,
        open: { try? Sockets.connectUDP($0) })
    else {
      streams.metrics.dropped.increment()
      return 0
    }
    sessions.send(datagram.payload, by: session)
    return 0
  }
}
