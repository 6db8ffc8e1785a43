// The objects of one resource, kept current by one reflector and shared by everyone in the process who asks
// for them.
//
//   API server --list, watch--> Reflector --apply--> Informer --snapshot--> readers (values)
//                                                     |--handlers--> controllers (synchronous, in order)
//                                                     |--changes()-> tasks (merged while they are busy)

import ClusterObjects
import HashTreeCollections
import Diagnostics
import Synchronization

/// What an informer follows. Equal scopes share one informer.
public struct InformerScope: Hashable, Sendable {
  public var resource: GroupVersionResource
  /// Empty for all namespaces.
  public var namespace: String
  public var labelSelector: String?
  public var fieldSelector: String?
  public init(
    _ resource: GroupVersionResource, namespace: String = "", labelSelector: String? = nil,
    fieldSelector: String? = nil
  ) {
    self.resource = resource
    self.namespace = namespace
    self.labelSelector = labelSelector
    self.fieldSelector = fieldSelector
  }
}

/// A shared, current copy of one resource. Thread-safe; reading never waits for the network.
public final class Informer: ReflectorTarget {
  /// Called with each batch of changes, in order, on the reflector's task; must be quick and must not add
  /// handlers to the same informer. The snapshot already shows the changes.
  public typealias Handler = @Sendable ([ObjectChange]) -> Void

  public let scope: InformerScope
  private let state = Mutex(State())
  /// Held while handlers are called: they hear of one batch after the other.
  private let deliveries = Mutex(())
  /// Never held while one is called: whoever drops a registration may hold what a handler waits for.
  private let handlers = Mutex(Handlers())
  private let synced = Latch()
  private let objectsGauge: Gauge
  private let eventsCounter: Counter
  private let foundCounter: Counter

  fileprivate struct State {
    var snapshot = ObjectSnapshot()
    var indexes: [String: FiledKeys] = [:]
    var lastFailure: String?
    /// The list that is coming in.
    var listed: TreeDictionary<ObjectKey, JSON> = [:]
  }
  private struct Handlers {
    private(set) var byID: [(id: Int, handler: Handler)] = []
    private var nextID = 0

    mutating func add(_ handler: @escaping Handler) -> Int {
      defer { nextID += 1 }
      byID.append((nextID, handler))
      return nextID
    }

    /// Gives the handler back: what it holds is released where no lock is held.
    mutating func remove(_ id: Int) -> Handler? {
      byID.firstIndex { $0.id == id }.map { byID.remove(at: $0).handler }
    }
  }

  init(scope: InformerScope, metrics: Metrics) {
    self.scope = scope
    objectsGauge = metrics.gauge(
      "weft_informer_objects", "Objects an informer holds.", labels: ["resource"]
    ).child(scope.resource.description)
    eventsCounter = metrics.counter(
      "weft_informer_changes_total", "Changes an informer has seen.", labels: ["resource"]
    ).child(scope.resource.description)
    foundCounter = metrics.counter(
      "weft_informer_found_total", "Objects that were found by an index of an informer.", labels: ["resource"]
    ).child(scope.resource.description)
  }

  // MARK: Reading

  /// The current objects, as a value.
  public var snapshot: ObjectSnapshot { state.withLock { $0.snapshot } }
  public subscript(_ key: ObjectKey) -> JSON? { state.withLock { $0.snapshot.objects[key] } }
  public subscript(_ namespace: String, _ name: String) -> JSON? { self[ObjectKey(namespace, name)] }
  /// Whether an object that the API answered with has been seen, be it that it has gone again since. An informer that is told nothing out
  /// of order knows everything up to its revision.
  public func hasSeen(_ object: JSON) -> Bool {
    state.withLock { state in
      if state.snapshot.objects[object.key]?.uid == object.uid { return true }
      guard let made = UInt64(object.resourceVersion), let known = UInt64(state.snapshot.resourceVersion)
      else {
        return false
      }
      return made <= known
    }
  }

  /// Whether the whole list was seen at least once.
  public var hasSynced: Bool { synced.isOpen }
  /// Why the reflector is not current at the moment, for `status` pages; nil while all is well.
  public var lastFailure: String? { state.withLock { $0.lastFailure } }

  /// Returns once the first list is complete; at once after that. Throws `CancellationError` when cancelled.
  public func waitForSync() async throws {
    await synced.wait()
    try Task.checkCancellation()
  }

  /// Objects that `index` files under `value`. The first use of an index builds it by a scan; afterwards it
  /// is kept. Costs what is found.
  public func objects(_ index: ObjectIndex, _ value: String) -> [JSON] { objects(index, anyOf: [value]) }

  /// Objects that `index` files under at least one of `values`, each once, all of one moment.
  public func objects(_ index: ObjectIndex, anyOf values: [String]) -> [JSON] {
    objects(index, fewestOf: CollectionOfOne(values))
  }

  /// As `anyOf` with that one of several lists of values under which the fewest objects are filed; nothing when there is no list.
  func objects(_ index: ObjectIndex, fewestOf lists: some Collection<[String]>) -> [JSON] {
    let found = state.withLock { state in
      let filed = state.filed(index)
      guard
        let values = lists.count < 2
          ? lists.first : lists.min(by: { filed.count(underAny: $0) < filed.count(underAny: $1) })
      else { return [JSON]() }
      return filed.filed(underAny: values).compactMap { state.snapshot.objects[$0] }
    }
    foundCounter.increment(by: UInt64(found.count))
    return found
  }

  // MARK: Following

  /// Calls `handler` with what exists now (as additions, one batch, before this returns) and then with
  /// every change. Keep the registration: dropping it ends the calls, but for one that is under way on another
  /// thread; dropping never waits.
  public func onChange(_ handler: @escaping Handler) -> InformerRegistration {
    deliveries.withLock { _ in
      let existing = snapshot.objects.map { ObjectChange(key: $0.key, old: nil, new: $0.value) }
      if !existing.isEmpty { handler(existing) }
      let id = handlers.withLock { $0.add(handler) }
      return InformerRegistration { [weak self] in _ = self?.handlers.withLock { $0.remove(id) } }
    }
  }

  /// Changes as a sequence of batches. While the consumer is busy changes to one object merge into one, so
  /// memory is bounded by the number of objects.
  public func changes() -> InformerChanges { InformerChanges(self) }

  // MARK: The reflector's side

  /// Takes one event over. Events that say nothing new (the same revision again, or one before it) change nothing: who has
  /// seen an object's newer state must not act on the older one again.
  func apply(_ event: WatchEvent) {
    switch event {
    case .bookmark(let revision, _):
      state.withLock { $0.advance(to: revision) }
    case .added(let object), .modified(let object):
      deliver { state in state.isPast(object) ? [] : state.change(object.key, to: object) }
    case .deleted(let object):
      deliver { state in state.isPast(object) ? [] : state.change(object.key, to: nil, after: object) }
    }
  }

  /// Replaces everything by a list, reporting only what differs.
  func replace(_ objects: TreeDictionary<ObjectKey, JSON>, resourceVersion: String) {
    deliver { state in
      var changes: [ObjectChange] = []
      for (key, object) in objects { changes += state.change(key, to: object) }
      for key in state.snapshot.keys where objects[key] == nil { changes += state.change(key, to: nil) }
      state.snapshot.resourceVersion = resourceVersion
      return changes
    }
    synced.open()
  }

  var resourceVersion: String { snapshot.resourceVersion }
  func beginList() { state.withLock { $0.listed = [:] } }
  func take(listed object: JSON) { state.withLock { $0.listed[object.key] = object } }
  func drop(listed key: ObjectKey) { state.withLock { $0.listed[key] = nil } }
  func endList(resourceVersion: String) {
    let listed = state.withLock { state in
      defer { state.listed = [:] }
      return state.listed
    }
    replace(listed, resourceVersion: resourceVersion)
  }

  func report(failure: String?) { state.withLock { $0.lastFailure = failure } }

  private func deliver(_ body: (inout State) -> [ObjectChange]) {
    deliveries.withLock { _ in
      let changes = state.withLock { state in
        let changes = body(&state)
        objectsGauge.set(Double(state.snapshot.count))
        return changes
      }
      if changes.isEmpty { return }
      eventsCounter.increment(by: UInt64(changes.count))
      for (_, handler) in handlers.withLock({ $0.byID }) { handler(changes) }
    }
  }
}

extension Informer.State {
  /// What an index knows; from its first use on.
  fileprivate mutating func filed(_ index: ObjectIndex) -> FiledKeys {
    if let filed = indexes[index.name] { return filed }
    var built = FiledKeys(index)
    for (key, object) in snapshot.objects { built.file(key, old: nil, new: object) }
    indexes[index.name] = built
    return built
  }

  /// Whether an event tells of a time before what is known. Versions of one resource grow, and are compared as numbers (KEP-5504);
  /// what is no number is taken as it comes.
  fileprivate func isPast(_ object: JSON) -> Bool {
    guard let revision = UInt64(object.resourceVersion) else { return false }
    let known = snapshot.objects[object.key]
    // Of an object that is not there (any more) the whole resource's revision says what has been seen.
    let seen = known?.uid == object.uid ? known?.resourceVersion : nil
    return revision < UInt64(seen ?? snapshot.resourceVersion) ?? 0
  }

  /// A watch goes on after the newest revision, also when an older event came last.
  fileprivate mutating func advance(to revision: String) {
    if revision.isEmpty { return }
    if let next = UInt64(revision), let last = UInt64(snapshot.resourceVersion), next < last { return }
    snapshot.resourceVersion = revision
  }

  /// `event` is what told of a deletion.
  fileprivate mutating func change(_ key: ObjectKey, to new: JSON?, after event: JSON? = nil)
    -> [ObjectChange]
  {
    let old = snapshot.objects[key]
    advance(to: (new ?? event)?.resourceVersion ?? "")
    if old == nil, new == nil { return [] }
    if let old, let new, !new.resourceVersion.isEmpty, old.resourceVersion == new.resourceVersion {
      return []
    }
    snapshot.objects[key] = new
    for name in indexes.keys { indexes[name]?.file(key, old: old, new: new) }
    // Of another object under the same name both are told: whoever asks what went must hear of the first one's end.
    if let old, let new, old.uid != new.uid, !old.uid.isEmpty, !new.uid.isEmpty {
      return [ObjectChange(key: key, old: old, new: nil), ObjectChange(key: key, old: nil, new: new)]
    }
    return [ObjectChange(key: key, old: old, new: new)]
  }
}

/// Keeps a handler registered while it is alive.
public final class InformerRegistration: Sendable {
  private let end: @Sendable () -> Void
  init(end: @escaping @Sendable () -> Void) { self.end = end }
  deinit { end() }
}
