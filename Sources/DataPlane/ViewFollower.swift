// Keeps the view of the cluster up to date from the process's informers. Changes are parsed as they come, on the informer's
// thread; whoever plans takes a copy.

import ClusterClient
import ClusterObjects
import ClusterView
import Synchronization

/// The process's one `ClusterView`, and a bell that rings when it has changed.
public final class ViewFollower: Sendable {
  private struct State {
    var view = ClusterView()
    var registrations: [InformerRegistration] = []
    var generation: UInt64 = 0
    var bells: [AsyncStream<Void>.Continuation] = []
    var imports: Task<Void, Never>?
  }
  private let state = Mutex(State())
  private let bell: AsyncStream<Void>.Continuation
  /// One element after any number of changes. For one consumer.
  public let changes: AsyncStream<Void>

  public init() {
    (changes, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  }

  /// Follows every resource a view is made of, and returns when each has its first list.
  /// - Parameter resources: fewer, for whoever may not read the others.
  public func start(
    _ informers: SharedInformers, resources: [GroupVersionResource] = ClusterView.resources,
    timeout: Duration = .seconds(30)
  ) async throws {
    follow(informers, resources)
    try await informers.waitForSync(timeout: timeout)
    ring()
  }

  /// Begins to follow without waiting. Once.
  public func follow(_ informers: SharedInformers, _ resources: [GroupVersionResource]) {
    for resource in resources {
      let kind = ViewKind.of(resource)
      let registration = informers.informer(resource).onChange { [weak self] changes in
        self?.take(changes, kind: kind)
      }
      state.withLock { $0.registrations.append(registration) }
    }
  }

  /// Follows ServiceImports too, which need a resource of their own that a cluster may not have yet. Returns at once; the view
  /// says when the first list is in it. Called again it does nothing.
  public func followImports(_ informers: SharedInformers) {
    guard state.withLock({ $0.imports == nil }) else { return }
    follow(informers, [.serviceImports])
    let task = Task { [weak self] in
      guard (try? await informers.informer(.serviceImports).waitForSync()) != nil else { return }
      self?.state.withLock { $0.view.markImportsRead() }
      self?.ring()
    }
    state.withLock { $0.imports = task }
  }

  public func stop() {
    let (bells, imports) = state.withLock { state in
      state.registrations = []
      return (state.bells, state.imports)
    }
    imports?.cancel()
    for bell in [bell] + bells { bell.finish() }
  }

  /// Changes for one more consumer, with a bell and notes of its own: it waits for nobody else's work.
  /// - Parameter withPods: whether the changes name pods; they change often.
  public func subscribe(withPods: Bool = false) -> Subscription {
    let (changes, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let consumer = state.withLock { state in
      state.bells.append(bell)
      return state.view.addConsumer(withPods: withPods)
    }
    bell.yield()
    return Subscription(changes: changes) { [weak self] in
      self?.state.withLock { $0.view.takeChanges(of: consumer) } ?? ViewChanges()
    }
  }

  /// One consumer's changes.
  public struct Subscription: Sendable {
    /// One element after any number of changes, and one at the beginning.
    public let changes: AsyncStream<Void>
    fileprivate let body: @Sendable () -> ViewChanges
    /// What changed since the last call; the first call gives everything. Costs what changed.
    public func take() -> ViewChanges { body() }
    fileprivate init(changes: AsyncStream<Void>, _ body: @escaping @Sendable () -> ViewChanges) {
      self.changes = changes
      self.body = body
    }
  }

  public var view: ClusterView { state.withLock { $0.view } }

  /// What changed since the last call; the first call gives everything. For one consumer. Costs what changed.
  public func takeChanges() -> ViewChanges { state.withLock { $0.view.takeChanges() } }

  /// Has the changes of `takeChanges` name pods from now on.
  public func namePods() { state.withLock { $0.view.namePods() } }

  /// Everything, when nothing has changed since the last `takeChanges`; else nil.
  public func allSettled() -> ViewChanges? {
    state.withLock { $0.view.hasChanges ? nil : $0.view.allChanges }
  }

  /// Rings without a change of objects, for what is planned from other things too.
  public func ring() {
    bell.yield()
    for bell in state.withLock({ $0.bells }) { bell.yield() }
  }

  private func take(_ changes: [ObjectChange], kind: String) {
    state.withLock { state in
      for change in changes {
        if let new = change.new {
          // Items of typed lists come without a kind.
          if new.kind.isEmpty {
            var tree = new
            tree["kind"] = .string(kind)
            state.view.apply(tree)
          } else {
            state.view.apply(new)
          }
        } else {
          state.view.remove(kind: kind, change.key)
        }
      }
      state.generation += 1
    }
    ring()
  }
}
