// An object as the server keeps it: its tree for selecting and patching, its bytes for answering. Made once
// a change, shared by every list and watch.

import ClusterObjects
import ClusterStore
import Diagnostics
import NIOCore
import Synchronization

/// One version of one object. Immutable.
final class CachedObject: Sendable {
  let key: String
  let revision: Revision
  /// With `metadata.resourceVersion`.
  let tree: JSON
  /// The tree as JSON.
  let bytes: ByteBuffer
  let name: String
  let namespace: String
  let labels: [String: String]
  /// Itself in other versions, made when first asked for.
  private let others = Mutex<[CachedObject]>([])

  init(key: String, revision: Revision, tree: JSON) {
    var tree = tree
    // What is computed has none.
    if revision > 0 { tree.set(JSON(String(revision)), at: "metadata", "resourceVersion") }
    self.key = key
    self.revision = revision
    self.tree = tree
    var out: [UInt8] = []
    out.reserveCapacity(1024)
    tree.write(to: &out)
    bytes = ByteBuffer(bytes: out)
    name = tree.name
    namespace = tree.namespace
    labels = tree.labels
  }

  /// What was serialized already.
  init(key: String, revision: Revision, form: WrittenForm) {
    var tree = form.tree
    tree.set(JSON(String(revision)), at: "metadata", "resourceVersion")
    self.key = key
    self.revision = revision
    self.tree = tree
    bytes = form.bytes(revision) ?? ByteBuffer(bytes: tree.bytes)
    name = tree.name
    namespace = tree.namespace
    labels = tree.labels
  }

  /// Nil when the stored bytes are no JSON, which only damage outside of this process can cause.
  convenience init?(_ stored: StoredValue, reading: (JSON) -> JSON = { $0 }) {
    guard let tree = try? JSON(parsing: stored.value) else { return nil }
    self.init(key: stored.key, revision: stored.revision, tree: reading(tree))
  }
}

extension CachedObject {
  /// The object as a kind serves it; a conversion is made once and shared by all who read.
  func served(as kind: ResourceKind) -> CachedObject {
    if kind.isStoredAsServed || tree.apiVersion == kind.apiVersion { return self }
    // What a webhook converts was converted ahead (`convertAhead`).
    if kind.custom?.conversionWebhook != nil { return made(kind.apiVersion) ?? self }
    return others.withLock { others in
      if let made = others.first(where: { $0.tree.apiVersion == kind.apiVersion }) { return made }
      let made = CachedObject(key: key, revision: revision, tree: kind.served(tree))
      others.append(made)
      return made
    }
  }

  /// Itself in another version, when that was made already.
  func made(_ apiVersion: String) -> CachedObject? {
    others.withLock { $0.first { $0.tree.apiVersion == apiVersion } }
  }

  /// Keeps what somebody else made of it.
  func adopt(_ tree: JSON) -> CachedObject {
    others.withLock { others in
      if let made = others.first(where: { $0.tree.apiVersion == tree.apiVersion }) { return made }
      let made = CachedObject(key: key, revision: revision, tree: tree)
      others.append(made)
      return made
    }
  }
}

/// One change of one object, with the state before it: a selector may have matched only that.
struct CacheEvent: Sendable {
  enum Kind: Sendable { case added, modified, deleted }
  var kind: Kind
  var revision: Revision
  /// The state after the change; for a deletion the last state, at the deletion's revision.
  var object: CachedObject
  var previous: CachedObject?
}

/// What a watcher wants to see.
struct WatchFilter: Sendable {
  /// What its objects are read as.
  var kind: ResourceKind
  var namespace: String
  var labels: LabelSelector
  var fields: FieldSelector

  func matches(_ object: CachedObject) -> Bool {
    (namespace.isEmpty || object.namespace == namespace)
      && (labels.isEmpty || labels.matches(object.labels))
      && (fields.isEmpty || fields.matches(served(object).tree))
  }

  func served(_ object: CachedObject) -> CachedObject { object.served(as: kind) }

  /// The event as this watcher sees it: an object that comes to match is added, one that ceases to is
  /// deleted.
  func seen(_ event: CacheEvent) -> CacheEvent.Kind? {
    let before = event.previous.map(matches) ?? false
    let after = event.kind != .deleted && matches(event.object)
    return switch (before, after) {
    case (false, true): .added
    case (true, true): .modified
    case (true, false): .deleted
    case (false, false): nil
    }
  }
}

/// Who is told of changes. Called with the cache's lock held, in order: must be quick and must not call back.
protocol WatchSubscriber: AnyObject, Sendable {
  /// The state at the beginning. `end` is the revision it shows, when the watcher asked to be told.
  func begin(_ objects: [CachedObject], end: Revision?)
  func offer(_ events: [CacheEvent])
  /// The same; `shared` is the same for all subscribers of a cache.
  func offer(_ events: [CacheEvent], shared: SharedLines)
  func bookmark(_ revision: Revision)
  /// The server is stopping, or history was lost.
  func finish()
  /// Set for a stream that may be told together with others that see the same, once it was told the beginning.
  var stream: StreamWatcher? { get }
}

extension WatchSubscriber {
  var stream: StreamWatcher? { nil }
  func offer(_ events: [CacheEvent], shared: SharedLines) { offer(events) }
}

extension KubeTime {
  init(wallClock: Void) {
    let now = Timestamp.now()
    self.init(seconds: now.seconds, nanoseconds: Int32(truncatingIfNeeded: now.nanoseconds))
  }
}
