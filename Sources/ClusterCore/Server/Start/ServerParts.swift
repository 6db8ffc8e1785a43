// A server put together, from its settings to the answer of the first request.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import NIOCore
import NIOPosix
import Synchronization

/// What a running server is made of.
struct ServerParts: Sendable {
  let store: OpenStore
  let objects: ServedObjects
  let group: MultiThreadedEventLoopGroup
  let listener: HTTPListener
  let upkeep: CertificateUpkeep
  let audit: Audit?
  let endpoints: ServerEndpoints
  let remotes: RemoteAPIs
  let reviews: IdentityReviews
  let aggregator: RoleAggregator
  let scraper: UsageScraper
  let addresses: AddressKeeper
  let chores: ServerChores
  let choring: Task<Void, Never>
  let address: String
  let kubeconfigPath: String

  var core: RESTCore { objects.core }
  var caches: ObjectCaches { objects.caches }

  /// Errors and cost: `ClusterServer.start`.
  static func start(_ settings: ServerSettings) async throws -> ServerParts {
    let base = try settings.serviceNetwork()
    let store = try await OpenStore(settings.store, folder: settings.dataFolder)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    do {
      return try await start(settings, own: IPv4Address(bits: base.bits + 1), store: store, group: group)
    } catch {
      await store.shutdown()
      try? await group.shutdownGracefully()
      throw error
    }
  }

  /// - Parameter own: the address of Service `default/kubernetes`.
  private static func start(
    _ settings: ServerSettings, own: IPv4Address, store: OpenStore, group: MultiThreadedEventLoopGroup
  ) async throws -> ServerParts {
    let certificates = try settings.certificates(own: own)
    let objects = try await ServedObjects.start(
      settings, store: store.store, authority: certificates.authority)
    do {
      let audit = try settings.audit.audit()
      let door = try await ServerDoor.open(settings, objects, certificates, group: group, audit: audit)
      do {
        return try await finish(settings, own: own, store, objects, door, certificates, group, audit)
      } catch {
        await door.listener.shutdown(grace: .zero)
        throw error
      }
    } catch {
      objects.caches.shutdown()
      throw error
    }
  }

  /// Builtin objects, the kubeconfig of its owner, and what goes on beside answering.
  private static func finish(
    _ settings: ServerSettings, own: IPv4Address, _ store: OpenStore, _ objects: ServedObjects,
    _ door: ServerDoor, _ certificates: ServerCertificates, _ group: MultiThreadedEventLoopGroup,
    _ audit: Audit?
  ) async throws -> ServerParts {
    let core = objects.core
    let port = door.listener.port
    let endpoints = ServerEndpoints(
      core: core, address: settings.advertiseAddress, port: port, isShared: objects.isShared)
    let restore: @Sendable () async throws -> Void = {
      try await core.createBuiltins(
        serviceAddress: own.description, serviceBlocks: settings.serviceBlocks, port: port)
      try await endpoints.reconcile()
    }
    try await restore()
    try await core.reconcileDefaultRoles()
    let shown = settings.host == "0.0.0.0" || settings.host == "::" ? "127.0.0.1" : settings.host
    let address = ClusterInfo.address(host: shown, port: port)
    let kubeconfigPath = settings.dataFolder + "/admin.kubeconfig"
    let authority = certificates.authority.pem
    try Kubeconfig(server: address, authority: authority, client: certificates.current.admin).write(
      to: kubeconfigPath)
    let info = ClusterInfo(core: core, host: settings.advertiseAddress, port: port)
    await info.publish(authority: authority)
    await door.becomeReady(authority: authority)
    let upkeep = CertificateUpkeep(
      certificates: certificates, authentication: objects.authentication, settings: settings.authentication,
      listener: door.listener, nodes: door.nodes, remotes: door.remotes, info: info, address: address,
      kubeconfigPath: kubeconfigPath)
    let chores = ServerChores(
      store: store.store, caches: objects.caches, upkeep: upkeep, historySeconds: settings.historySeconds)
    return ServerParts(
      store: store, objects: objects, group: group, listener: door.listener, upkeep: upkeep, audit: audit,
      endpoints: endpoints, remotes: door.remotes, reviews: door.reviews,
      aggregator: RoleAggregator(core: core),
      scraper: UsageScraper(core: core, nodes: door.nodes, period: settings.resourceMetricsPeriod),
      addresses: AddressKeeper(core: core), chores: chores,
      choring: Task { await chores.run(restore: restore) }, address: address, kubeconfigPath: kubeconfigPath)
  }
}
