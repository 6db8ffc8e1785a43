// The watches of a resource that see the same: an event is selected and encoded once for all of them, and posted once to each
// event loop that serves some.

import ClusterObjects
import ClusterStore
import NIOCore

/// Used with the cache's lock held.
struct Audience {
  private struct Share {
    let feed: WatchFeed
    let drain: StreamDrain
    var members: Set<ObjectIdentifier>
  }
  let view: WatchView
  private var shares: [Share] = []

  init(_ view: WatchView) { self.view = view }

  var count: Int { shares.reduce(0) { $0 + $1.members.count } }

  /// From the next event on; what was offered to the writer before comes first.
  mutating func join(_ writer: StreamWriter) {
    let index: Int
    if let known = shares.firstIndex(where: { $0.drain === writer.drain }) {
      index = known
    } else {
      index = shares.count
      shares.append(Share(feed: WatchFeed(), drain: writer.drain, members: []))
    }
    shares[index].members.insert(ObjectIdentifier(writer))
    writer.drain.post(.join(writer, shares[index].feed))
  }

  /// The event loop has let go of the writer already.
  mutating func leave(_ writer: StreamWriter) {
    guard let index = shares.firstIndex(where: { $0.drain === writer.drain }) else { return }
    shares[index].members.remove(ObjectIdentifier(writer))
    if shares[index].members.isEmpty { shares.remove(at: index) }
  }

  func offer(_ events: [CacheEvent], shared: SharedLines) {
    var hasColumns = true
    let lines = view.lines(events, shared: shared, hasColumns: &hasColumns)
    if !lines.isEmpty { post(lines) }
  }

  func bookmark(_ revision: Revision) {
    if view.wantsBookmarks { post([view.bookmark(revision)]) }
  }

  private func post(_ lines: [ByteBuffer]) {
    for share in shares { share.drain.post(.events(share.feed, lines)) }
  }

  func finish() {
    for share in shares { share.drain.post(.endAll(share.feed)) }
  }
}
