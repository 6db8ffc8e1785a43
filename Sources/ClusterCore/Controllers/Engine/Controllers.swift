// All controllers of the cluster, started and stopped together. Each is a queue of keys, handlers that fill
// it, and a reconcile function that makes one object what it should be: what to do is planned by a pure
// function.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

/// What the controllers may be told.
public struct ControllerSettings: Sendable {
  /// PEM of the cluster's CA, published to every namespace; none is published when empty.
  public var rootCertificate = ""
  /// Makes the tokens that Secrets ask for; without it they stay empty.
  public var secretToken: SecretTokenMaker?
  public var workersPerController = 4
  /// A node whose Lease was not renewed for this long is not ready.
  public var nodeMonitorGracePeriod: Duration = .seconds(40)
  /// How often Leases are compared with the clock.
  public var nodeMonitorPeriod: Duration = .seconds(5)
  /// Pods bound to a node that is gone for this long are deleted.
  public var podGarbageDelay: Duration = .seconds(40)
  /// Addresses for Services of type LoadBalancer, unless the ConfigMap kube-system/weft-load-balancer names others.
  public var loadBalancerPool = AddressPool()
  /// Resources that the namespace controller empties and the garbage collector follows, beside custom ones.
  public var resources: [TrackedResource] = TrackedResource.builtin
  /// What an aggregated API (`GROUP/VERSION`) serves that can be listed and deleted; nil when it does not say.
  /// Without this the content of aggregated APIs is left to them.
  public var aggregatedResources: (@Sendable (_ groupVersion: String) async -> [TrackedResource]?)?
  public init() {}
}

/// What every controller works with.
struct ControllerContext: Sendable {
  let api: any ClusterAPI
  let informers: SharedInformers
  let settings: ControllerSettings
  let events: EventRecorder
  let metrics: Metrics
  let logger = Logger(label: "controllers")
  let options = WriteOptions(fieldManager: "weft-controllers")

  func queue<Key>(_ name: String) -> WorkQueue<Key> { WorkQueue(name: name, metrics: metrics) }
}

/// One controller: what keeps it informed, how it runs, how it ends.
struct Controller: Sendable {
  var name: String
  var registrations: [InformerRegistration]
  var run: @Sendable () async -> Void
  var shutDown: @Sendable () -> Void

  init<Key>(
    _ name: String, _ context: ControllerContext, queue: WorkQueue<Key>,
    registrations: [InformerRegistration], workers: Int? = nil, resync: @escaping @Sendable () -> Void = {},
    reconcile: @escaping @Sendable (Key) async throws -> Duration?
  ) {
    self.name = name
    self.registrations = registrations
    let count = workers ?? context.settings.workersPerController
    run = {
      // Judging by half a list would create what exists and delete what is wanted.
      do { try await context.informers.waitForSync(timeout: .seconds(3600)) } catch {
        if !Task.isCancelled {
          context.logger.error(
            "controller did not start", metadata: ["controller": "\(name)", "error": "\(error)"])
        }
        return
      }
      await queue.runWorkers(count, logger: context.logger, resync: resync, reconcile: reconcile)
    }
    shutDown = { queue.shutDown() }
  }
}

/// Running controllers.
public final class ControllersHandle: Sendable {
  private let controllers: [Controller]
  private let task: Task<Void, Never>
  private let events: EventRecorder

  init(_ controllers: [Controller], events: EventRecorder) {
    self.controllers = controllers
    self.events = events
    task = Task.detached {
      await withTaskGroup(of: Void.self) { group in
        for controller in controllers { group.addTask { await controller.run() } }
      }
    }
  }

  public var names: [String] { controllers.map(\.name) }

  /// Lets every reconciliation that runs come to its end, or cancels it, and returns when none is left.
  public func stop() async {
    for controller in controllers { controller.shutDown() }
    task.cancel()
    await task.value
    await events.stop()
  }
}

/// Starts every controller. Returns at once; each begins when the informers have their first lists.
public func startControllers(
  api: any ClusterAPI, informers: SharedInformers, settings: ControllerSettings = .init(),
  metrics: Metrics = .shared
) -> ControllersHandle {
  let events = EventRecorder(api: api, component: "weft-controllers", metrics: metrics)
  let context = ControllerContext(
    api: api, informers: informers, settings: settings, events: events, metrics: metrics)
  var more: [Controller] = []
  if let maker = settings.secretToken {
    more.append(serviceAccountSecretController(context, token: maker))
  }
  return ControllersHandle(
    [
      namespaceController(context), serviceAccountController(context), rootCertificateController(context),
      deploymentController(context), replicaController(context, of: .replicaSet),
      replicaController(context, of: .replicationController), endpointSliceController(context),
      garbageCollector(context), resourceQuotaController(context),
      claimProtectionController(context), volumeProtectionController(context),
      nodeLifecycleController(context), podGarbageCollector(context), loadBalancerController(context),
    ] + more, events: events)
}
