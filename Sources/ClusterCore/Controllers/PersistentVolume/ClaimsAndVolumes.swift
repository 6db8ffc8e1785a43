// What the binder and a provisioner of volumes have in common: claims and volumes, a queue for each, a controller on each queue.

import ClusterClient
import ClusterObjects

/// Claims and volumes as somebody who brings them together sees them. Each reconciliation runs alone within its queue: two that
/// look for a volume at once would find the same one.
struct ClaimsAndVolumes: Sendable {
  let claims: Informer
  let volumes: Informer
  let claimQueue: WorkQueue<ObjectKey>
  /// Volumes by name: they are of no namespace.
  let volumeQueue: WorkQueue<String>
  private let context: ControllerContext
  private let prefix: String

  /// - Parameter prefix: in front of the names of queues and controllers, `claims` and `volumes`.
  init(_ context: ControllerContext, prefix: String = "") {
    self.context = context
    self.prefix = prefix
    claims = context.informers.informer(.persistentVolumeClaims)
    volumes = context.informers.informer(.persistentVolumes)
    claimQueue = context.queue(prefix + "claims")
    volumeQueue = context.queue(prefix + "volumes")
  }

  /// The two controllers. Everything is looked at once at the start; what is looked at later is what the registrations put
  /// into the queues.
  /// - Parameters:
  ///   - reconcileVolume: answers when to look again, nil for when something changes.
  func controllers(
    claimRegistrations: [InformerRegistration], volumeRegistrations: [InformerRegistration],
    reconcileClaim: @escaping @Sendable (ObjectKey) async throws -> Void,
    reconcileVolume: @escaping @Sendable (String) async throws -> Duration?
  ) -> [Controller] {
    [
      Controller(
        prefix + "claims", context, queue: claimQueue, registrations: claimRegistrations, workers: 1,
        resync: { for key in claims.snapshot.keys { claimQueue.add(key) } }
      ) { key in
        try await reconcileClaim(key)
        return nil
      },
      Controller(
        prefix + "volumes", context, queue: volumeQueue, registrations: volumeRegistrations, workers: 1,
        resync: { for key in volumes.snapshot.keys { volumeQueue.add(key.name) } },
        reconcile: reconcileVolume),
    ]
  }
}
