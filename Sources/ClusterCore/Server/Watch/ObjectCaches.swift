// The caches of all resources, fed by one watch of the store, and who waits for them to catch up.

import ClusterClient
import ClusterObjects
import ClusterStore
import Logging
import Synchronization

/// All watch caches. `revision` is what every cache has applied.
final class ObjectCaches: Sendable {
  static let root = "/registry/"
  private struct Waiter {
    var revision: Revision
    var continuation: CheckedContinuation<Bool, Never>
  }
  private struct State {
    var waiters: [UInt64: Waiter] = [:]
    var nextWaiter: UInt64 = 0
    var isClosed = false
  }
  private let store: any Store
  private let log = Logger(label: "apiserver")
  private let caches = Mutex<[String: ObjectCache]>([:])
  /// Held while a batch is applied, so that bookmarks and new watchers see whole batches.
  private let applied = Mutex<Revision>(0)
  private let state = Mutex(State())
  private let feed = Mutex<Task<Void, Never>?>(nil)
  private let followers = Mutex<[(kind: ResourceKind, make: @Sendable () -> any WatchSubscriber)]>([])

  init(store: any Store) { self.store = store }

  var isClosed: Bool { state.withLock { $0.isClosed } }

  var revision: Revision { applied.withLock { $0 } }

  /// The cache of `/registry/RESOURCE/`.
  subscript(_ resource: String) -> ObjectCache {
    caches.withLock { caches in
      if let cache = caches[resource] { return cache }
      let cache = ObjectCache()
      // A resource never seen before has no history to miss since the caches were loaded.
      cache.load([], revision: loadedAt.withLock { $0 })
      caches[resource] = cache
      return cache
    }
  }
  private let loadedAt = Mutex<Revision>(0)

  var all: [(resource: String, cache: ObjectCache)] {
    caches.withLock { $0.map { ($0.key, $0.value) } }.sorted { $0.0 < $1.0 }
  }

  /// Loads everything and begins to follow.
  func start() async throws(StoreError) {
    let watch = try await load()
    feed.withLock { $0 = Task { await self.follow(watch) } }
  }

  private func load() async throws(StoreError) -> StoreWatch {
    let page = try await store.list(prefix: Self.root, limit: 0, after: nil, at: nil)
    let watch = try await store.watch(prefix: Self.root, after: page.revision, queueMax: 100_000)
    var byResource: [String: [CachedObject]] = [:]
    for (value, object) in zip(page.values, await Self.objects(page.values)) {
      guard let object else {
        log.error("stored object is no JSON and is left out", metadata: ["key": "\(value.key)"])
        continue
      }
      byResource[Self.resource(of: value.key), default: []].append(object)
    }
    applied.withLock { applied in
      loadedAt.withLock { $0 = page.revision }
      for (resource, _) in all where byResource[resource] == nil { byResource[resource] = [] }
      for (resource, objects) in byResource { self[resource].load(objects, revision: page.revision) }
      applied = page.revision
    }
    wake(page.revision)
    for (kind, make) in followers.withLock({ $0 }) { start(kind, make) }
    return watch
  }

  /// Parsed on all cores: most of a start is spent here. Nil where the bytes are no JSON.
  private static func objects(_ values: [StoredValue]) async -> [CachedObject?] {
    let share = max(500, values.count / 16)
    return await withTaskGroup(of: (Int, [CachedObject?]).self) { group in
      for start in stride(from: 0, to: values.count, by: share) {
        group.addTask {
          (start, values[start..<min(start + share, values.count)].map { CachedObject($0) })
        }
      }
      var parts: [(Int, [CachedObject?])] = []
      for await part in group { parts.append(part) }
      return parts.sorted { $0.0 < $1.0 }.flatMap(\.1)
    }
  }

  private func follow(_ first: StoreWatch) async {
    var watch = first
    while !Task.isCancelled {
      do throws(StoreError) {
        while let events = try await watch.next() { apply(events) }
        return
      } catch {
        // Cut off or compacted: what is cached can no longer be trusted to be whole.
        log.error("the store's feed broke; loading again", metadata: ["error": "\(error)"])
        do { watch = try await load() } catch { return }
      }
    }
  }

  private func apply(_ events: [StoreEvent]) {
    guard let last = events.last?.revision else { return }
    applied.withLock { applied in
      var from = 0
      while from < events.count {
        let resource = Self.resource(of: events[from].key)
        var to = from + 1
        while to < events.count, Self.resource(of: events[to].key) == resource { to += 1 }
        self[resource].apply(Array(events[from..<to]))
        from = to
      }
      applied = last
    }
    wake(last)
  }

  /// `pods`, or `example.com/widgets`: a group before its plural is known by its dot.
  static func resource(of key: String) -> String {
    let rest = key.utf8.dropFirst(root.utf8.count)
    let first = rest.prefix { $0 != UInt8(ascii: "/") }
    guard first.contains(UInt8(ascii: ".")), first.endIndex < rest.endIndex else {
      return String(Substring(first))
    }
    let second = rest[first.endIndex...].dropFirst().prefix { $0 != UInt8(ascii: "/") }
    return String(Substring(rest[rest.startIndex..<second.endIndex]))
  }

  /// Forgets a resource that is no longer served; its watches end.
  func drop(_ resource: String) {
    caches.withLock { $0.removeValue(forKey: resource) }?.finishAll()
  }

  // MARK: Catching up

  /// Returns when everything up to `revision` is applied; false when that takes longer than `limit`.
  func wait(for revision: Revision, limit: Duration = .seconds(3)) async -> Bool {
    if self.revision >= revision { return true }
    return await withCheckedContinuation { continuation in
      let id: UInt64? = state.withLock { state in
        // The feed may have passed between the look above and this lock; `wake` takes the lock after it
        // applied.
        if state.isClosed || applied.withLock({ $0 }) >= revision { return nil }
        state.nextWaiter += 1
        state.waiters[state.nextWaiter] = Waiter(revision: revision, continuation: continuation)
        return state.nextWaiter
      }
      guard let id else {
        continuation.resume(returning: self.revision >= revision)
        return
      }
      Task {
        try? await Task.sleep(for: limit)
        state.withLock { $0.waiters.removeValue(forKey: id) }?.continuation.resume(returning: false)
      }
    }
  }

  private func wake(_ revision: Revision) {
    let ready = state.withLock { state in
      if state.waiters.isEmpty { return [Waiter]() }
      let ids = state.waiters.filter { $0.value.revision <= revision }.map(\.key)
      return ids.compactMap { state.waiters.removeValue(forKey: $0) }
    }
    for waiter in ready { waiter.continuation.resume(returning: true) }
  }

  /// The caches show at least what was committed when this was called, by whatever server. Throws the Status for a store
  /// that does not answer.
  func requireCaughtUp() async throws(APIStatusError) {
    let latest: Revision
    do throws(StoreError) { latest = try await store.latestRevision() } catch { throw Failure.store(error) }
    if await !wait(for: latest) { throw Failure.tooLargeVersion(latest, current: revision) }
  }

  // MARK: Watchers

  /// The same for who makes do with what is cached when the store does not answer.
  func catchUp() async { try? await requireCaughtUp() }

  /// A watcher of this process, from the present state on; made anew when the caches had to be loaded again.
  func follow(_ kind: ResourceKind, make: @escaping @Sendable () -> any WatchSubscriber) {
    followers.withLock { $0.append((kind, make)) }
    start(kind, make)
  }

  private func start(_ kind: ResourceKind, _ make: @Sendable () -> any WatchSubscriber) {
    let all = WatchFilter(kind: kind, namespace: "", labels: LabelSelector(), fields: FieldSelector())
    _ = subscribe(
      make(), to: kind.storageName, from: .state(prefix: Self.root, filter: all, marksEnd: false))
  }

  func subscribe(_ subscriber: any WatchSubscriber, to resource: String, from start: ObjectCache.Start)
    -> Revision?
  {
    applied.withLock { self[resource].subscribe(subscriber, from: start, current: $0) }
  }

  /// Tells every watcher the revision that all caches have reached.
  func bookmark() {
    applied.withLock { revision in
      for (_, cache) in all { cache.bookmark(revision) }
    }
  }

  /// Tells one watcher, in order with the changes it is told.
  func bookmark(_ subscriber: any WatchSubscriber) { applied.withLock { subscriber.bookmark($0) } }

  func shutdown() {
    feed.withLock { $0?.cancel() }
    let waiters = state.withLock { state in
      state.isClosed = true
      defer { state.waiters = [:] }
      return Array(state.waiters.values)
    }
    for waiter in waiters { waiter.continuation.resume(returning: false) }
    for (_, cache) in all { cache.finishAll() }
  }
}
