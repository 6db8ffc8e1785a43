// Controllers and scheduler of a control plane: at once when it is the only one, else while it leads.

import ClusterClient
import ClusterControllers
import ClusterObjects
import ClusterScheduler
import ClusterServer
import ClusterView
import Diagnostics
import Synchronization

/// Two servers on one store must not both run them: each would make the pods of every ReplicaSet.
final class Managers: Sendable {
  private struct State {
    var controllers: ControllersHandle?
    var scheduler: SchedulerHandle?
    var election: Task<Void, Never>?
  }
  private let server: ClusterServer
  private let informers: SharedInformers
  private let settings: ControllerSettings
  private let scheduling: SchedulerSettings
  private let state = Mutex(State())

  /// Throws what is wrong with the scheduler's configuration.
  init(
    server: ClusterServer, informers: SharedInformers, settings: ControllerSettings,
    scheduling: SchedulerSettings = SchedulerSettings()
  ) throws(WeftError) {
    try scheduling.validate()
    self.scheduling = scheduling
    self.server = server
    self.informers = informers
    self.settings = settings
  }

  /// - Parameter leadership: while it is held these may write; nil when there is no other server.
  func start(while leadership: Leadership? = nil) async {
    guard
      let (controllers, scheduler) = try? server.startManagers(
        informers, settings, scheduling, while: leadership)
    else {
      // Checked in `init`: it cannot become wrong.
      return
    }
    state.withLock {
      $0.controllers = controllers
      $0.scheduler = scheduler
    }
  }

  /// Over Lease `kube-system/kube-controller-manager`, upstream's name.
  func startWhenLeading(_ times: LeaderElectionOptions.Times) {
    var candidate = LeaderElection(
      api: server.client(user: ClusterServer.controllerManager, groups: []),
      lease: ObjectKey("kube-system", "kube-controller-manager"),
      identity: "\(NodeAddress.hostName)_\(UInt64.random(in: 0...UInt64.max))")
    candidate.duration = times.duration
    candidate.renewDeadline = times.renewDeadline
    candidate.retryPeriod = times.retryPeriod
    let election = candidate
    let task = Task {
      while !Task.isCancelled {
        try? await election.run { [self] leadership in
          await start(while: leadership)
          while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
          await stopBoth()
        }
      }
    }
    state.withLock { $0.election = task }
  }

  func stop() async {
    let election = state.withLock { $0.election }
    election?.cancel()
    await election?.value
    await stopBoth()
  }

  private func stopBoth() async {
    let (controllers, scheduler) = state.withLock { state in
      defer {
        state.controllers = nil
        state.scheduler = nil
      }
      return (state.controllers, state.scheduler)
    }
    server.setRunning([])
    await scheduler?.stop()
    await controllers?.stop()
  }
}

extension ControllerSettings {
  /// What the controllers of a server in this process need of it.
  init(of server: ClusterServer) {
    self.init()
    take(server)
  }

  mutating func take(_ server: ClusterServer) {
    hasClusterNetworkPolicies = server.serves(.clusterNetworkPolicies)
    rootCertificate = { server.authorityPEM }
    secretToken = { namespace, account, uid, secret in
      try server.secretToken(namespace: namespace, account: account, uid: uid, secret: secret)
    }
    bootstrapSignature = { DetachedSignature.make($0, keyID: $1, secret: $2) }
    certificateSigner = CertificateSigner(
      inspect: { request in
        let content = try CertificateAuthority.inspect(request: request)
        return RequestedCertificate(
          commonName: content.commonName, organizations: content.organizations, dnsNames: content.dnsNames,
          addresses: content.addresses, hasOtherNames: content.hasOtherNames)
      },
      sign: { try server.sign(request: $0, usages: $1, seconds: $2) },
      isPermitted: { await server.mayRequest($0, $1) })
    aggregatedResources = { groupVersion in
      server.aggregatedResources(groupVersion)?.map {
        TrackedResource($0.resource, kind: $0.kind, isNamespaced: $0.isNamespaced)
      }
    }
  }
}

extension ClusterServer {
  static let controllerManager = "system:kube-controller-manager"

  /// What every part of the process reads of the cluster, once. Only the controllers' role may read it all.
  func sharedInformers() -> SharedInformers {
    SharedInformers(api: client(user: Self.controllerManager, groups: []))
  }

  /// Each under its own name, with the role that upstream gives it. They write only while `leadership` is held, if it is
  /// given, and in its present term.
  func startManagers(
    _ informers: SharedInformers, _ settings: ControllerSettings, _ scheduling: SchedulerSettings,
    while leadership: Leadership? = nil
  ) throws(WeftError) -> (ControllersHandle, SchedulerHandle) {
    let term = leadership?.term
    @Sendable func leading(_ api: InProcessClient) -> any ClusterAPI {
      leadership.map { LeaderAPI(api, while: $0) } ?? api
    }
    let scheduler = try startScheduler(
      api: leading(client(user: "system:kube-scheduler", groups: [], during: term)), informers: informers,
      settings: scheduling)
    setRunning(["controller-manager", "scheduler"])
    return (
      startControllers(
        api: leading(client(user: Self.controllerManager, groups: [], during: term)),
        account: { leading(self.controllerClient($0, during: term)) },
        informers: informers, settings: settings),
      scheduler
    )
  }
}
