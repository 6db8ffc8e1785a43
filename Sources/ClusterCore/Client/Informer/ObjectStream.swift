// One resource for a reader that keeps what it needs in a form of its own: objects are handed on as they come, and none is kept.
//
//   API server --list, watch--> Reflector --one object--> ObjectStream --one step--> reader

import ClusterObjects
import Diagnostics
import Synchronization

/// What changed of a resource, object by object.
public enum ObjectStep: Sendable {
  /// An object is like this now; perhaps it was before.
  case object(ObjectKey, JSON)
  case gone(ObjectKey)
  /// A list that is not the first is complete: objects with other keys than these are gone.
  case listed(Set<ObjectKey>)
}

/// Follows one resource until it is stopped or released. Where an `Informer` holds every object as a tree, this holds only the
/// names of a list while it comes in, and none of the first list: there is nothing yet that could be gone. Thread-safe.
public final class ObjectStream: ReflectorTarget {
  /// Called for each step, in order, on the reflector's task; must be quick.
  public typealias Handler = @Sendable (ObjectStep) -> Void

  /// Called for an object before a tree is made of it. Whoever takes it says so, and `Handler` does not hear of it.
  public typealias PlainHandler = @Sendable (ObjectKey, TapeValue) -> Bool

  public let scope: InformerScope
  private struct State {
    var resourceVersion = ""
    var failure: String?
    var listed: Set<ObjectKey> = []
    /// Lists begun: of the first nobody has to know what it holds.
    var lists = 0
    var task: Task<Void, Never>?
  }
  private let state = Mutex(State())
  private let handler: Handler
  private let plain: PlainHandler?
  private let synced = Latch()
  private let changes: Counter

  private init(
    _ scope: InformerScope, _ metrics: Metrics, _ plain: PlainHandler?, _ handler: @escaping Handler
  ) {
    self.scope = scope
    self.plain = plain
    self.handler = handler
    changes = metrics.counter(
      "weft_informer_changes_total", "Changes an informer has seen.", labels: ["resource"]
    ).child(scope.resource.description)
  }

  deinit { state.withLock { $0.task?.cancel() } }

  /// Begins to follow. `handler` hears of the first list object by object and of every change from then on; of a later list object by
  /// object, and `.listed` after them.
  public static func follow(
    _ scope: InformerScope, of api: any ClusterAPI, settings: InformerSettings = .init(),
    metrics: Metrics = .shared, plain: PlainHandler? = nil, handler: @escaping Handler
  ) -> ObjectStream {
    let stream = ObjectStream(scope, metrics, plain, handler)
    let reflector = Reflector(
      api: api, target: WeakTarget(stream), settings: settings, metrics: metrics)
    let task = Task.detached { await reflector.run() }
    stream.state.withLock { $0.task = task }
    return stream
  }

  /// Ends the watch and waits until the last step has been handed on.
  public func stop() async {
    let task = state.withLock { $0.task }
    task?.cancel()
    await task?.value
  }

  /// Whether the whole list was seen at least once.
  public var hasSynced: Bool { synced.isOpen }
  /// Why it is not current at the moment; nil while all is well.
  public var lastFailure: String? { state.withLock { $0.failure } }

  /// Returns once the first list is complete. Throws `CancellationError` when cancelled.
  public func waitForSync() async throws {
    await synced.wait()
    try Task.checkCancellation()
  }

  // MARK: The reflector's side

  var resourceVersion: String { state.withLock { $0.resourceVersion } }

  func report(failure: String?) { state.withLock { $0.failure = failure } }

  func apply(_ event: WatchEvent) {
    switch event {
    case .bookmark(let revision, _): note(revision)
    case .added(let object), .modified(let object):
      note(object.resourceVersion)
      changes.increment()
      handler(.object(object.key, object))
    case .deleted(let object):
      note(object.resourceVersion)
      changes.increment()
      handler(.gone(object.key))
    }
  }

  private func note(_ revision: String) {
    if !revision.isEmpty { state.withLock { $0.resourceVersion = revision } }
  }

  func beginList() {
    state.withLock { state in
      state.listed = []
      state.lists += 1
    }
  }

  func take(listed object: JSON) {
    let key = object.key
    note(listed: key)
    changes.increment()
    handler(.object(key, object))
  }

  private func note(listed key: ObjectKey) {
    state.withLock { if $0.lists > 1 { $0.listed.insert(key) } }
  }

  func drop(listed key: ObjectKey) {
    let isFirst = state.withLock { state in
      state.listed.remove(key)
      return state.lists == 1
    }
    if isFirst { handler(.gone(key)) }
  }

  var readsPlain: Bool { plain != nil }

  func take(plain object: TapeValue, isListed: Bool) -> Bool {
    guard let plain, let key = object.key, let revision = object["metadata"]?["resourceVersion"]?.string,
      plain(key, object)
    else { return false }
    if isListed { note(listed: key) } else { note(revision) }
    changes.increment()
    return true
  }

  func endList(resourceVersion: String) {
    let listed = state.withLock { state in
      defer { state.listed = [] }
      state.resourceVersion = resourceVersion
      return state.lists > 1 ? state.listed : nil
    }
    if let listed { handler(.listed(listed)) }
    synced.open()
  }
}

/// The reflector's task lives as long as it is not cancelled: it must not keep alive who cancels it.
private final class WeakTarget: ReflectorTarget {
  private weak let stream: ObjectStream?
  let scope: InformerScope
  init(_ stream: ObjectStream) {
    self.stream = stream
    scope = stream.scope
  }
  var resourceVersion: String { stream?.resourceVersion ?? "" }
  func report(failure: String?) { stream?.report(failure: failure) }
  func apply(_ event: WatchEvent) { stream?.apply(event) }
  func beginList() { stream?.beginList() }
  func take(listed object: JSON) { stream?.take(listed: object) }
  func drop(listed key: ObjectKey) { stream?.drop(listed: key) }
  var readsPlain: Bool { stream?.readsPlain ?? false }
  func take(plain object: TapeValue, isListed: Bool) -> Bool {
    stream?.take(plain: object, isListed: isListed) ?? false
  }
  func endList(resourceVersion: String) { stream?.endList(resourceVersion: resourceVersion) }
}
