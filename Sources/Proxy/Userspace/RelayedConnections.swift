// Exact least connections of the userspace mode: who has how many connections is known here, since all of them are relayed here.
// Shared by all workers: connections of one client may come in on any of them.

import Addresses
import Synchronization

/// A weighted endpoint of a frontend with least connections.
public struct UserspaceShare: Sendable, Hashable {
  public var target: SocketEndpoint
  /// At least 1.
  public var weight: Int
}

/// Connections and flows by endpoint. Thread-safe. Holds endpoints that have any, so it is bounded by the connections' bounds.
final class RelayedConnections: Sendable {
  struct Backend: Hashable {
    var transport: TransportProtocol
    var endpoint: SocketEndpoint
  }

  private let counts = Mutex<[Backend: Int]>([:])

  /// The endpoint with the fewest for its weight, counted as having one more from now on; of several equals the one that
  /// `first` points at or the next. One that was tried in vain is taken again only if there is no other: it may be back. Nil
  /// when there is none. Costs the shares.
  func take(
    _ shares: [UserspaceShare], _ transport: TransportProtocol, besides failed: SocketEndpoint?, first: Int
  ) -> SocketEndpoint? {
    counts.withLock { counts in
      var best: (share: UserspaceShare, count: Int)?
      for step in shares.indices {
        let share = shares[(first + step) % shares.count]
        if share.target == failed, shares.count > 1 { continue }
        let count = counts[Backend(transport: transport, endpoint: share.target)] ?? 0
        // (count + 1) / weight, without dividing: what it would come to with this connection.
        if let found = best, (found.count + 1) * share.weight <= (count + 1) * found.share.weight { continue }
        best = (share, count)
      }
      guard let best else { return nil }
      counts[Backend(transport: transport, endpoint: best.share.target)] = best.count + 1
      return best.share.target
    }
  }

  /// A connection that was taken has ended.
  func release(_ target: SocketEndpoint, _ transport: TransportProtocol) {
    counts.withLock { counts in
      let backend = Backend(transport: transport, endpoint: target)
      let left = (counts[backend] ?? 1) - 1
      counts[backend] = left > 0 ? left : nil
    }
  }

  /// For tests.
  func count(_ target: SocketEndpoint, _ transport: TransportProtocol) -> Int {
    counts.withLock { $0[Backend(transport: transport, endpoint: target)] ?? 0 }
  }

  var isEmpty: Bool { counts.withLock { $0.isEmpty } }
}
