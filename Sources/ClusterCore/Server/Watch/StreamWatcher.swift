// A watcher on the network: the state at its beginning is its own, what follows it shares with all that see the same.

import ClusterObjects
import ClusterStore
import NIOCore
import Synchronization

final class StreamWatcher: WatchSubscriber {
  let writer: StreamWriter
  let view: WatchView
  /// A table's columns were sent.
  private let hasColumns = Mutex(false)

  init(writer: StreamWriter, view: WatchView) {
    self.writer = writer
    self.view = view
  }

  var stream: StreamWatcher? { self }

  func begin(_ objects: [CachedObject], end: Revision?) {
    writer.offer(hasColumns.withLock { view.initial(objects, hasColumns: &$0) }, isInitial: true)
    if let end { writer.offer([view.bookmark(end, isInitialEnd: true)], isInitial: true) }
  }

  func offer(_ events: [CacheEvent]) { offer(events, shared: SharedLines()) }

  func offer(_ events: [CacheEvent], shared: SharedLines) {
    writer.offer(hasColumns.withLock { view.lines(events, shared: shared, hasColumns: &$0) })
  }

  func bookmark(_ revision: Revision) {
    if view.wantsBookmarks { writer.offer([view.bookmark(revision)]) }
  }

  func finish() { writer.end() }

  func fail(_ status: JSON) {
    writer.offer([ByteBuffer(bytes: (["type": "ERROR", "object": status] as JSON).bytes + [0x0a])])
    writer.end()
  }
}
