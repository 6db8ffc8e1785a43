// The way of a query from an encrypted connection to a serving thread and back: connections live on NIO's loop, zones and
// caches on the reactors.

import Addresses
import Reactor
import Synchronization

/// A serving thread as others reach it. Only that thread touches what is inside.
final class WorkerSeat: @unchecked Sendable {
  var worker: DNSWorker?
  /// The blocks of each encrypted port, in the order of the ports.
  var sites: [Site] = []
}

/// Hands queries to the threads in turn.
final class QueryDoor: Sendable {
  /// Never empty.
  private let threads: [(reactor: Reactor, seat: WorkerSeat)]
  private let port: Int
  private let next = Atomic<Int>(0)

  init(_ threads: [(reactor: Reactor, seat: WorkerSeat)], port: Int) {
    self.threads = threads
    self.port = port
  }

  /// Answers a query on one of the threads. `reply` is called once, from that thread; with no octets when there is no answer.
  /// False when the thread's mailbox is full: `reply` is not called then.
  func ask(_ query: [UInt8], peer: SocketEndpoint, reply: @escaping @Sendable ([UInt8]) -> Void) -> Bool {
    let turn = next.add(1, ordering: .relaxed).oldValue
    let (reactor, seat) = threads[Int(UInt(bitPattern: turn) % UInt(threads.count))]
    let port = port
    return reactor.submit { _ in
      guard let worker = seat.worker else { return reply([]) }
      worker.serveEncrypted(query, seat.sites[port], peer: peer, reply: reply)
    }
  }
}

extension DNSWorker {
  func serveEncrypted(
    _ query: [UInt8], _ site: Site, peer: SocketEndpoint, reply: @escaping @Sendable ([UInt8]) -> Void
  ) {
    let address = SocketAddress(peer)
    let path = ClientPath(socket: nil, connection: nil, peer: address, local: nil, handOver: reply)
    let count = serve(query.span.bytes, space, site, isTCP: true, isEncrypted: true, peer: address) { path }
    if count > 0 {
      reply(Array(space[..<count]))
    } else if count == Self.dropped {
      reply([])
    }
  }
}
