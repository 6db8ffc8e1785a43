// Where a zone's objects come from: the view a node shares with its proxy and policies, or a book of names that nobody shares.

import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane

/// Changes for one keeper of zones. Thread-safe.
protocol ZoneSource: Sendable {
  /// One element after any number of changes, and one at the beginning.
  var changes: AsyncStream<Void> { get }
  /// Why one of the resources is not current at the moment; nil when all are.
  var lastFailure: String? { get }
  /// What changed since the last call, in pieces, the first time everything. Costs what changed.
  func take(_ body: (ViewChanges) -> Void)
  /// Everything there is, in pieces, for a plan that begins anew.
  func everything(_ body: (ViewChanges) -> Void)
  /// ServiceImports are needed too. Returns at once.
  func followImports()
  func stop() async
}

/// A view that others plan from too.
struct SharedViewSource: ZoneSource {
  let follower: ViewFollower
  private let informers: SharedInformers
  private let subscription: ViewFollower.Subscription

  init(_ follower: ViewFollower, _ informers: SharedInformers) {
    self.follower = follower
    self.informers = informers
    // With pods whatever the settings: a reloaded configuration may ask for them.
    subscription = follower.subscribe(withPods: true)
  }

  var changes: AsyncStream<Void> { subscription.changes }
  var lastFailure: String? {
    [GroupVersionResource.services, .endpointSlices, .namespaces]
      .compactMap { informers.informer($0).lastFailure }.first
  }
  func take(_ body: (ViewChanges) -> Void) { body(subscription.take()) }
  func everything(_ body: (ViewChanges) -> Void) { body(follower.view.allChanges) }
  func followImports() { follower.followImports(informers) }
  func stop() async {}
}
