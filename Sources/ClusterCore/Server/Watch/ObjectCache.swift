// Every object of one resource in memory, its recent changes, and who watches.

import ClusterObjects
import ClusterStore
import Synchronization

/// The watch cache of one resource. Fed by `ObjectCaches` in order of revision.
final class ObjectCache: Sendable {
  private struct State {
    var objects = SortedObjects()
    /// Recent changes, oldest first; complete after `recentFrom`.
    var recent: [CacheEvent] = []
    var recentFrom: Revision = 0
    var subscribers: [ObjectIdentifier: any WatchSubscriber] = [:]
    /// Watches on the network, by what they see.
    var audiences: [WatchView.Key: Audience] = [:]
    /// What pages of a list are cut from, by revision, oldest first.
    var snapshots: [(revision: Revision, objects: SortedObjects)] = []

    /// Ends all streams; gives the other subscribers, which are to be told.
    mutating func dismiss() -> [any WatchSubscriber] {
      for audience in audiences.values { audience.finish() }
      audiences = [:]
      defer { subscribers = [:] }
      return Array(subscribers.values)
    }
  }
  /// Changes remembered for watches that resume.
  static let recentMax = 4096
  /// Lists under way whose next page is served from memory.
  static let snapshotsMax = 16

  private let state = Mutex(State())
  /// What stored objects go through when they are read: custom resources are pruned and get their defaults.
  private let reading = Mutex<(@Sendable (JSON) -> JSON)?>(nil)

  private let expected = Mutex(ExpectedForms())

  /// Told before an object is written, so that its bytes need not be parsed when they come back.
  func expect(_ form: WrittenForm, _ key: String) { expected.withLock { $0.expect(form, key) } }
  /// The write failed.
  func forget(_ form: WrittenForm, _ key: String) { expected.withLock { $0.forget(form, key) } }

  var count: Int { state.withLock { $0.objects.count } }
  var watchCount: Int {
    state.withLock { state in
      state.subscribers.count + state.audiences.values.reduce(0) { $0 + $1.count }
    }
  }

  func load(_ objects: [CachedObject], revision: Revision) {
    let orphans = state.withLock { state in
      state.objects = SortedObjects()
      for object in objects { state.objects.insert(object) }
      state.recent = []
      state.recentFrom = revision
      state.snapshots = []
      return state.dismiss()
    }
    for orphan in orphans { orphan.finish() }
  }

  /// From now on objects are read in another way; those that are here are made anew. Watches end: what they
  /// showed was made in the old way.
  func read(with reading: @escaping @Sendable (JSON) -> JSON) {
    self.reading.withLock { $0 = reading }
    let orphans = state.withLock { state in
      var objects = SortedObjects()
      state.objects.forEach(prefix: "", after: nil) { object in
        objects.insert(CachedObject(key: object.key, revision: object.revision, tree: reading(object.tree)))
        return true
      }
      state.objects = objects
      // Watches may resume: what they missed is seen in the new way.
      state.recent = state.recent.map { event in
        func again(_ object: CachedObject) -> CachedObject {
          CachedObject(key: object.key, revision: object.revision, tree: reading(object.tree))
        }
        return CacheEvent(
          kind: event.kind, revision: event.revision, object: again(event.object),
          previous: event.previous.map(again))
      }
      state.snapshots = []
      return state.dismiss()
    }
    for orphan in orphans { orphan.finish() }
  }

  func apply(_ events: [StoreEvent]) {
    // Trees and bytes are made before the lock is taken.
    let reading = self.reading.withLock { $0 }
    let made = events.map { self.made($0, reading) }
    state.withLock { state in
      var changes: [CacheEvent] = []
      for (event, object) in zip(events, made) {
        if event.kind == .delete {
          guard let old = state.objects.remove(event.key) else { continue }
          let last = CachedObject(key: old.key, revision: event.revision, tree: old.tree)
          changes.append(
            CacheEvent(kind: .deleted, revision: event.revision, object: last, previous: old))
        } else if let object {
          let old = state.objects.insert(object)
          changes.append(
            CacheEvent(
              kind: old == nil ? .added : .modified, revision: event.revision, object: object, previous: old))
        }
      }
      state.recent += changes
      if state.recent.count > 2 * Self.recentMax {
        let dropped = state.recent.count - Self.recentMax
        state.recentFrom = state.recent[dropped - 1].revision
        state.recent.removeFirst(dropped)
      }
      let shared = SharedLines()
      for subscriber in state.subscribers.values { subscriber.offer(changes, shared: shared) }
      for audience in state.audiences.values { audience.offer(changes, shared: shared) }
    }
  }

  private func made(_ event: StoreEvent, _ reading: (@Sendable (JSON) -> JSON)?) -> CachedObject? {
    if event.kind == .delete { return nil }
    if let form = expected.withLock({ $0.take(event.key, event.value) }) {
      guard let reading else { return form.cached(event.key, event.revision) }
      return CachedObject(key: event.key, revision: event.revision, tree: reading(form.tree))
    }
    return CachedObject(
      StoredValue(
        key: event.key, value: event.value, createRevision: event.createRevision, revision: event.revision),
      reading: reading ?? { $0 })
  }

  subscript(_ key: String) -> CachedObject? { state.withLock { $0.objects[key] } }

  var snapshot: SortedObjects { state.withLock { $0.objects } }

  func keep(_ objects: SortedObjects, revision: Revision) {
    state.withLock { state in
      if state.snapshots.contains(where: { $0.revision == revision }) { return }
      state.snapshots.append((revision, objects))
      if state.snapshots.count > Self.snapshotsMax { state.snapshots.removeFirst() }
    }
  }

  func kept(_ revision: Revision) -> SortedObjects? {
    state.withLock { state in state.snapshots.first { $0.revision == revision }?.objects }
  }

  /// A list that began before is too old to go on with, as everything of that time is.
  func forgetSnapshots(before revision: Revision) {
    state.withLock { state in state.snapshots.removeAll { $0.revision < revision } }
  }

  enum Start {
    /// The present state first; told its end when `marksEnd`.
    /// Without a filter: every object, as it is stored.
    case state(prefix: String, filter: WatchFilter?, marksEnd: Bool)
    case after(Revision)
  }

  /// Adds a watcher. Gives the oldest revision that can be resumed from when `after` is older than that.
  func subscribe(_ subscriber: any WatchSubscriber, from start: Start, current: Revision) -> Revision? {
    state.withLock { state in
      switch start {
      case .state(let prefix, let filter, let marksEnd):
        var objects: [CachedObject] = []
        state.objects.forEach(prefix: prefix, after: nil) { object in
          if filter?.matches(object) ?? true { objects.append(object) }
          return true
        }
        subscriber.begin(objects, end: marksEnd ? current : nil)
      case .after(let revision):
        if revision < state.recentFrom { return state.recentFrom }
        var low = 0
        var high = state.recent.count
        while low < high {
          let middle = (low + high) / 2
          if state.recent[middle].revision <= revision { low = middle + 1 } else { high = middle }
        }
        if low < state.recent.count { subscriber.offer(Array(state.recent[low...])) }
      }
      if let stream = subscriber.stream, let key = stream.view.key {
        state.audiences[key, default: Audience(stream.view)].join(stream.writer)
      } else {
        state.subscribers[ObjectIdentifier(subscriber)] = subscriber
      }
      return nil
    }
  }

  /// For a stream: on its event loop.
  func unsubscribe(_ subscriber: any WatchSubscriber) {
    state.withLock { state in
      if let stream = subscriber.stream, let key = stream.view.key {
        state.audiences[key]?.leave(stream.writer)
        if state.audiences[key]?.count == 0 { state.audiences[key] = nil }
      } else {
        state.subscribers.removeValue(forKey: ObjectIdentifier(subscriber))
      }
    }
  }

  /// The view that watches with an equal one share.
  func shared(_ view: WatchView) -> WatchView {
    guard let key = view.key else { return view }
    return state.withLock { $0.audiences[key]?.view ?? view }
  }

  func bookmark(_ revision: Revision) {
    state.withLock { state in
      for subscriber in state.subscribers.values { subscriber.bookmark(revision) }
      for audience in state.audiences.values { audience.bookmark(revision) }
    }
  }

  func finishAll() {
    for orphan in state.withLock({ $0.dismiss() }) { orphan.finish() }
  }
}
