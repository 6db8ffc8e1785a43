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
  /// PEM of the cluster's authorities now, published to every namespace; none is published when empty. Asked again when the
  /// ConfigMap kube-system/extension-apiserver-authentication changes.
  public var rootCertificate: @Sendable () -> String = { "" }
  /// Makes the tokens that Secrets ask for; without it they stay empty.
  public var secretToken: SecretTokenMaker?
  /// Approves and signs requests for certificates; without it nobody does.
  public var certificateSigner: CertificateSigner?
  /// Signs ConfigMap kube-public/cluster-info with bootstrap tokens; without it nobody does.
  public var bootstrapSignature: BootstrapSignature?
  public var workersPerController = 4
  /// A node whose Lease was not renewed for this long is not ready.
  public var nodeMonitorGracePeriod: Duration = .seconds(40)
  /// The same for a node that has never said anything.
  public var nodeStartupGracePeriod: Duration = .seconds(60)
  /// How fast pods of nodes that are not ready are evicted.
  public var nodeEviction = NodeEvictionSettings()
  /// How often Leases are compared with the clock.
  public var nodeMonitorPeriod: Duration = .seconds(5)
  /// Pods bound to a node that is gone for this long are deleted.
  public var podGarbageDelay: Duration = .seconds(40)
  /// How often pods that nobody else removes are looked for.
  public var podGarbagePeriod: Duration = .seconds(20)
  /// Finished pods kept in the cluster; the oldest above that go. 0 keeps all.
  public var terminatedPodsMax = 12_500
  /// How often each autoscaler looks at its metrics.
  public var autoscalerPeriod: Duration = .seconds(15)
  /// By which workloads count deadlines and schedules, and silent nodes are judged.
  var clock = ControllerClock.system
  /// How long a key waits that failed.
  var retry = RetryPolicy(initial: .milliseconds(5), maximum: .seconds(60))
  /// Blocks of pod addresses for nodes; nil leaves them to somebody else (kube-controller-manager's
  /// `--allocate-node-cidrs=false`).
  public var nodeIPAM: NodeIPAMSettings?
  /// Addresses for Services of type LoadBalancer, unless the ConfigMap kube-system/weft-load-balancer names others.
  public var loadBalancerPool = AddressPool()
  /// Has `/bin/rm`, and is on every node: removes the folders of volumes that nobody claims any more.
  public var localPathImage = "weft.local/demo:1"
  /// Resources that the namespace controller empties and the garbage collector follows, beside custom ones.
  public var resources: [TrackedResource] = TrackedResource.builtin
  /// What an aggregated API (`GROUP/VERSION`) serves that can be listed and deleted; nil when it does not say.
  /// Without this the content of aggregated APIs is left to them.
  public var aggregatedResources: (@Sendable (_ groupVersion: String) async -> [TrackedResource]?)?
  /// Whether ClusterNetworkPolicies are served, so that their status is kept.
  public var hasClusterNetworkPolicies = false
  public init() {}
}

/// What every controller works with.
struct ControllerContext: Sendable {
  var api: any ClusterAPI
  let informers: SharedInformers
  let settings: ControllerSettings
  let events: EventRecorder
  let metrics: Metrics
  let logger = Logger(label: "controllers")
  let options = WriteOptions(fieldManager: "weft-controllers")

  /// The same for a controller that writes under its own name.
  func acting(with api: any ClusterAPI) -> ControllerContext {
    var context = self
    context.api = api
    return context
  }

  var now: Int64 { settings.clock.read().wall }

  func queue<Key>(_ name: String) -> WorkQueue<Key> {
    WorkQueue(name: name, retry: settings.retry, metrics: metrics)
  }
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

extension APIStatusError {
  /// A namespace on its way out takes nothing new: nothing is wrong, and trying again would not help.
  var isOfEndingNamespace: Bool { reason == "Forbidden" && message.contains("being terminated") }
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
/// - Parameters:
///   - api: records events and fills Secrets with tokens, which upstream does as `system:kube-controller-manager`.
///   - account: the API as the ServiceAccount of this name in `kube-system` may use it; each controller writes
///     through its own, under upstream's name. Nil: all use `api`.
public func startControllers(
  api: any ClusterAPI, account: ((String) -> any ClusterAPI)? = nil, informers: SharedInformers,
  settings: ControllerSettings = .init(), metrics: Metrics = .shared
) -> ControllersHandle {
  let events = EventRecorder(api: api, component: "weft-controllers", metrics: metrics)
  let context = ControllerContext(
    api: api, informers: informers, settings: settings, events: events, metrics: metrics)
  var more: [Controller] = []
  if let maker = settings.secretToken {
    more.append(serviceAccountSecretController(context, token: maker))
  }
  if let signer = settings.certificateSigner {
    more.append(certificateController(acting(as: "certificate-controller"), signer: signer))
  }
  if let signature = settings.bootstrapSignature {
    more.append(bootstrapSigner(acting(as: "bootstrap-signer"), signature: signature))
  }
  func acting(as name: String) -> ControllerContext { context.acting(with: account?(name) ?? api) }
  if settings.hasClusterNetworkPolicies {
    more.append(clusterNetworkPolicyController(acting(as: "cluster-network-policy-controller")))
  }
  if let nodeIPAM = settings.nodeIPAM {
    more.append(nodeIPAMController(acting(as: "node-controller"), nodeIPAM))
  }
  return ControllersHandle(
    [
      namespaceController(acting(as: "namespace-controller")),
      serviceAccountController(acting(as: "service-account-controller")),
      rootCertificateController(acting(as: "root-ca-cert-publisher")),
      deploymentController(acting(as: "deployment-controller")),
      replicaController(acting(as: "replicaset-controller"), of: .replicaSet),
      replicaController(acting(as: "replication-controller"), of: .replicationController),
      statefulSetController(acting(as: "statefulset-controller")),
      daemonSetController(acting(as: "daemon-set-controller")),
      jobController(acting(as: "job-controller")),
      orphanedJobPodController(acting(as: "job-controller")),
      finishedJobController(acting(as: "ttl-after-finished-controller")),
      cronJobController(acting(as: "cronjob-controller")),
      autoscalerController(acting(as: "horizontal-pod-autoscaler")),
      disruptionController(acting(as: "disruption-controller")),
      endpointSliceController(acting(as: "endpointslice-controller")),
      endpointsController(acting(as: "endpoint-controller")),
      endpointSliceMirroringController(acting(as: "endpointslicemirroring-controller")),
      garbageCollector(acting(as: "generic-garbage-collector")),
      resourceQuotaController(acting(as: "resourcequota-controller")),
      ephemeralVolumeController(acting(as: "ephemeral-volume-controller")),
      claimProtectionController(acting(as: "pvc-protection-controller")),
      volumeProtectionController(acting(as: "pv-protection-controller")),
      nodeLifecycleController(acting(as: "node-controller")),
      taintEvictionController(acting(as: "node-controller")),
      podGarbageCollector(acting(as: "pod-garbage-collector")),
      objectTTLController(acting(as: "ttl-controller")),
      tokenCleaner(acting(as: "token-cleaner")),
      serviceRangeController(acting(as: "service-cidrs-controller")),
      loadBalancerController(acting(as: "service-controller")),
    ] + volumeBinder(acting(as: "persistent-volume-binder"))
      + localPathProvisioner(acting(as: "persistent-volume-binder")) + more, events: events)
}
