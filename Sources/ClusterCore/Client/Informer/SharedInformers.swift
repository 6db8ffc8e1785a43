// One informer for each resource in the process: two controllers that follow pods cost one watch.

import ClusterObjects
import Diagnostics
import Synchronization

/// Bounds and times of informers. Zero cost to make; the defaults suit a process beside its API server.
public struct InformerSettings: Sendable {
  public var retry = RetryPolicy(initial: .milliseconds(50), maximum: .seconds(30))
  /// Objects asked for in one list request.
  public var pageSize = 500
  public var usesWatchList = true
  /// How long a WatchList may take to say that the list is complete, before listing the old way.
  public var initialEventsTimeout: Duration = .seconds(20)
  /// Watches are ended by the server after a time drawn from here, so that many clients do not come back
  /// together.
  public var watchSecondsRange = 300...600
  public init() {}
  func watchSeconds() -> Int { Int.random(in: watchSecondsRange) }
}

/// The informers of one process. Asking starts one; equal scopes get the same one.
public final class SharedInformers: Sendable {
  public let api: any ClusterAPI
  private let settings: InformerSettings
  private let metrics: Metrics
  private struct State {
    var informers: [InformerScope: (informer: Informer, task: Task<Void, Never>)] = [:]
    var isStopped = false
  }
  private let state = Mutex(State())

  public init(api: any ClusterAPI, settings: InformerSettings = .init(), metrics: Metrics = .shared) {
    self.api = api
    self.settings = settings
    self.metrics = metrics
  }

  deinit {
    for entry in state.withLock({ $0.informers.values }) { entry.task.cancel() }
  }

  /// The informer of a resource, started on first use. After `stop()` it stays empty.
  public func informer(
    _ resource: GroupVersionResource, namespace: String = "", labelSelector: String? = nil,
    fieldSelector: String? = nil
  ) -> Informer {
    informer(
      InformerScope(
        resource, namespace: namespace, labelSelector: labelSelector, fieldSelector: fieldSelector))
  }

  public func informer(_ scope: InformerScope) -> Informer {
    state.withLock { state in
      if let entry = state.informers[scope] { return entry.informer }
      let informer = Informer(scope: scope, metrics: metrics)
      let reflector = Reflector(api: api, target: informer, settings: settings, metrics: metrics)
      let isStopped = state.isStopped
      let task = Task.detached { if !isStopped { await reflector.run() } }
      state.informers[scope] = (informer, task)
      return informer
    }
  }

  /// Ends the informer of a resource that is no longer served. Asking again starts another.
  public func forget(_ resource: GroupVersionResource) { forget(InformerScope(resource)) }

  /// Ends the informer of a scope that nobody needs any more. Asking again starts another.
  public func forget(_ scope: InformerScope) {
    let entry = state.withLock { $0.informers.removeValue(forKey: scope) }
    entry?.task.cancel()
  }

  /// What is known of a resource now; empty before its first sync.
  public func snapshot(_ resource: GroupVersionResource) -> ObjectSnapshot { informer(resource).snapshot }

  public func hasSynced(_ resource: GroupVersionResource) -> Bool { informer(resource).hasSynced }

  /// Waits until every informer asked for so far has its first list, at most `timeout`. Throws a retryable
  /// `WeftError` that names what is missing.
  public func waitForSync(timeout: Duration = .seconds(30)) async throws {
    try await FirstLists.wait(for: state.withLock { $0.informers.values.map(\.informer) }, timeout: timeout)
  }

  /// Ends every watch and waits until the last task has returned. Snapshots stay readable.
  public func stop() async {
    let tasks = state.withLock { state in
      state.isStopped = true
      return state.informers.values.map(\.task)
    }
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }
}
