// Keeps the view of the cluster up to date from the process's informers. Changes are parsed as they come, on the informer's
// thread; whoever plans takes a copy.

import Addresses
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
    /// When the oldest change came that nobody has taken, and the oldest of those that were taken and are not in force.
    var oldest: ContinuousClock.Instant?
    var oldestTaken: ContinuousClock.Instant?
    var bells: [AsyncStream<Void>.Continuation] = []
    var imports: Task<Void, Never>?
    var clusterPolicies: Task<Void, Never>?
    var gateways: Task<Void, Never>?
  }
  private let state = Mutex(State())
  private let bell: AsyncStream<Void>.Continuation
  /// One element after any number of changes. For one consumer.
  public let changes: AsyncStream<Void>

  public init() {
    (changes, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  }

  /// Follows every resource a view is made of, and returns when each has its first list.
  /// - Parameters:
  ///   - resources: fewer, for whoever may not read the others.
  ///   - scope: what of each is read: all, unless it says otherwise.
  public func start(
    _ informers: SharedInformers, resources: [GroupVersionResource] = ClusterView.resources,
    timeout: Duration = .seconds(30),
    scope: (GroupVersionResource) -> InformerScope = { InformerScope($0) }
  ) async throws {
    follow(informers, resources, scope: scope)
    try await informers.waitForSync(timeout: timeout)
    ring()
  }

  /// Begins to follow without waiting. Once.
  public func follow(
    _ informers: SharedInformers, _ resources: [GroupVersionResource],
    scope: (GroupVersionResource) -> InformerScope = { InformerScope($0) }
  ) {
    for resource in resources {
      let kind = ViewKind.of(resource)
      let registration = informers.informer(scope(resource)).onChange { [weak self] changes in
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

  /// How often it is asked whether kinds that a cluster may lack have come to be served.
  public static let servedPeriod: Duration = .seconds(15)

  /// Follows ClusterNetworkPolicies where they are served; elsewhere asks again and again whether they are. To be called before
  /// `start`, which then waits for their first list too: rules that are planned without them let through what they deny.
  /// An API that does not answer is asked again; throws when it has not answered for `timeout`.
  public func followClusterPolicies(_ informers: SharedInformers, timeout: Duration = .seconds(30))
    async throws
  {
    let deadline = ContinuousClock.now + timeout
    var isServed: Bool?
    while isServed == nil {
      do {
        isServed = try await Self.areClusterPoliciesServed(informers.api)
      } catch {
        guard ContinuousClock.now < deadline else { throw error }
        try await Task.sleep(for: .milliseconds(200))
      }
    }
    if isServed == true { return follow(informers, [.clusterNetworkPolicies]) }
    let task = Task { [weak self] in
      while (try? await Task.sleep(for: Self.servedPeriod)) != nil {
        guard (try? await Self.areClusterPoliciesServed(informers.api)) == true else { continue }
        self?.follow(informers, [.clusterNetworkPolicies])
        return
      }
    }
    state.withLock { $0.clusterPolicies = task }
  }

  /// Whether this process is given them: a cluster without the definition has none, and one whose roles do not name them shows none.
  public static func areClusterPoliciesServed(_ api: any ClusterAPI) async throws -> Bool {
    try await isServed(.clusterNetworkPolicies, api)
  }

  private static func isServed(_ resource: GroupVersionResource, _ api: any ClusterAPI) async throws -> Bool {
    do {
      var one = ListOptions()
      one.limit = 1
      _ = try await api.list(resource, namespace: "", options: one)
      return true
    } catch let refusal as APIStatusError where refusal.isNotFound || refusal.reason == "Forbidden" {
      return false
    }
  }

  /// Follows the resources of Gateway API that are served, and asks again and again for the others: a cluster may have none, some or
  /// all. To be called before `start`, which then waits for the first lists of those that are there.
  /// - Parameters:
  ///   - more: followed the same way, for who follows them for nothing else.
  ///   - period: how often the others are asked for.
  public func followGateways(
    _ informers: SharedInformers, with more: [GroupVersionResource] = [],
    asking period: Duration = servedPeriod
  ) async {
    let missing = await follow(servedOf: ClusterView.gatewayResources + more, informers)
    guard !missing.isEmpty else { return }
    let task = Task { [weak self] in
      var missing = missing
      while !missing.isEmpty, (try? await Task.sleep(for: period)) != nil {
        guard let self else { return }
        missing = await follow(servedOf: missing, informers)
      }
    }
    state.withLock { $0.gateways = task }
  }

  /// Returns those that are not served, or of which nothing could be learned.
  private func follow(servedOf resources: [GroupVersionResource], _ informers: SharedInformers) async
    -> [GroupVersionResource]
  {
    var missing: [GroupVersionResource] = []
    for resource in resources {
      if (try? await Self.isServed(resource, informers.api)) == true {
        follow(informers, [resource])
      } else {
        missing.append(resource)
      }
    }
    return missing
  }

  public func stop() {
    // Released outside the lock that their handlers take.
    let (registrations, bells, tasks) = state.withLock { state in
      defer { state.registrations = [] }
      return (state.registrations, state.bells, [state.imports, state.clusterPolicies, state.gateways])
    }
    _ = registrations
    for task in tasks { task?.cancel() }
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
  public func takeChanges() -> ViewChanges {
    state.withLock { state in
      state.oldestTaken = state.oldestTaken ?? state.oldest
      state.oldest = nil
      return state.view.takeChanges()
    }
  }

  /// What was taken is in force. Called by who takes the changes.
  func markInForce() { state.withLock { $0.oldestTaken = nil } }

  /// For how long the oldest change that was heard of waits to be in force; zero when none does.
  public var behind: Duration {
    let now = ContinuousClock.now
    return state.withLock { state in
      (state.oldestTaken ?? state.oldest).map { max(.zero, now - $0) } ?? .zero
    }
  }

  /// Puts the addresses of a name into the view, as cluster DNS has answered them here; none: forgotten. Rings.
  public func resolve(_ name: String, to addresses: Set<IPAddress>) {
    state.withLock { $0.view.resolve(name, to: addresses) }
    ring()
  }

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
    let now = ContinuousClock.now
    state.withLock { state in
      if state.oldest == nil { state.oldest = now }
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
