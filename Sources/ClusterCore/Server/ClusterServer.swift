// The API server as its owner sees it: start, where it listens, clients of this process, shutdown.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// What an API server needs to know.
public struct ServerSettings: Sendable {
  /// The store, the certificates and `admin.kubeconfig` live here.
  public var dataFolder: String
  public var store = ServerStore.sqlite
  public var host = "127.0.0.1"
  /// 0 takes any free port.
  public var port = 6443
  /// Where the endpoints of Service `default/kubernetes` point: an address that pods can reach. Also in the
  /// certificate.
  public var advertiseAddress = "127.0.0.1"
  /// More names and addresses that clients may use.
  public var extraNames: [String] = []
  public var extraAddresses: [String] = []
  /// Cluster addresses of Services: an IPv4 block, and an IPv6 block where Services may have both families.
  public var serviceBlocks = [IPPrefix("10.43.0.0/16")].compactMap(\.self)
  /// Superseded versions are kept at least this long.
  public var historySeconds = 300
  /// Who is believed, and by what.
  public var authentication = AuthenticationSettings()
  /// Pods get a volume with a token of their ServiceAccount, the CA and their namespace.
  public var automountServiceAccountTokens = true
  /// Levels of Pod Security for namespaces that say nothing, and exemptions.
  public var podSecurity = PodSecuritySettings()
  /// How long clients may take to say what they want.
  public var limits = ConnectionLimits()
  /// How often nodes are asked what they and their pods use, for metrics.k8s.io.
  public var resourceMetricsPeriod: Duration = .seconds(15)
  /// What is written down of requests.
  public var audit = AuditSettings()

  public init(dataFolder: String) { self.dataFolder = dataFolder }
}

/// A running API server.
public final class ClusterServer: Sendable {
  private let store: OpenStore
  let caches: ObjectCaches
  private let core: RESTCore
  private let listener: HTTPListener
  private let group: MultiThreadedEventLoopGroup
  private let upkeep: CertificateUpkeep
  var authority: CertificateAuthority { upkeep.certificates.authority }
  private let audit: Audit?
  private let chores: Task<Void, Never>
  private let endpoints: ServerEndpoints
  private let aggregator: RoleAggregator
  private let customResources: CustomResources
  private let remotes: RemoteAPIs
  private let scraper: UsageScraper
  private let serviceRanges: ServiceRangeFollower
  private let addresses: AddressKeeper
  let access: Access
  private let reviews: IdentityReviews
  private let isStopped = Atomic(false)
  private let log = Logger(label: "apiserver")

  /// `https://HOST:PORT`.
  public let address: String
  public let port: Int
  public let kubeconfigPath: String
  /// PEM of the authorities that are trusted now: the one that signs, and while another takes its place, both.
  public var authorityPEM: String { authority.pem }

  private init(
    store: OpenStore, caches: ObjectCaches, core: RESTCore, listener: HTTPListener,
    group: MultiThreadedEventLoopGroup, upkeep: CertificateUpkeep, chores: Task<Void, Never>,
    endpoints: ServerEndpoints, aggregator: RoleAggregator, customResources: CustomResources,
    remotes: RemoteAPIs, scraper: UsageScraper, serviceRanges: ServiceRangeFollower,
    addresses: AddressKeeper, access: Access, reviews: IdentityReviews,
    address: String,
    kubeconfigPath: String,
    audit: Audit?
  ) {
    self.audit = audit
    self.store = store
    self.caches = caches
    self.core = core
    self.listener = listener
    self.group = group
    self.upkeep = upkeep
    self.chores = chores
    self.endpoints = endpoints
    self.aggregator = aggregator
    self.customResources = customResources
    self.remotes = remotes
    self.scraper = scraper
    self.serviceRanges = serviceRanges
    self.addresses = addresses
    self.access = access
    self.reviews = reviews
    self.address = address
    self.kubeconfigPath = kubeconfigPath
    port = listener.port
  }

  /// Opens the store, makes what keys are missing, listens, and returns when requests are answered. Errors:
  /// `STO…` of the store, `API0001` address taken, `API0003` files, `API0004` certificates. Nothing is left
  /// behind when it throws.
  public static func start(_ settings: ServerSettings) async throws -> ClusterServer {
    let blocks = settings.serviceBlocks
    guard let first = blocks.first, let base = first.address.v4, (8...28).contains(first.length),
      blocks.count == 1
        || (blocks.count == 2 && blocks[1].family == .v6 && (48...124).contains(blocks[1].length))
    else {
      throw WeftError(
        "API0002", object: blocks.map(\.description).joined(separator: ","),
        cause: "not a usable range of cluster addresses",
        next: "give --service-cidr like 10.43.0.0/16, or 10.43.0.0/16,fd00:43::/108 for both families")
    }
    let store = try await OpenStore(settings.store, folder: settings.dataFolder)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    do {
      return try await start(settings, base: base, store: store, group: group)
    } catch {
      await store.shutdown()
      try? await group.shutdownGracefully()
      throw error
    }
  }

  private static func start(
    _ settings: ServerSettings, base: IPv4Address, store open: OpenStore, group: MultiThreadedEventLoopGroup
  ) async throws -> ClusterServer {
    let store = open.store
    let own = IPv4Address(bits: base.bits + 1)
    let names =
      [
        "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
      ] + settings.extraNames
    let texts = ["127.0.0.1", settings.host, settings.advertiseAddress] + settings.extraAddresses
    var addresses = texts.compactMap { IPv4Address($0)?.bytes } + texts.compactMap { IPv6Address($0)?.bytes }
    addresses.append(own.bytes)
    addresses.append(IPv6Address("::1")?.bytes ?? [])
    let certificates = try ServerCertificates(
      folder: settings.dataFolder + "/certificates", names: names,
      addresses: addresses.filter { !$0.isEmpty })
    let authority = certificates.authority

    let caches = ObjectCaches(store: store)
    let tokens = try settings.authentication.serviceAccountTokens(
      folder: settings.dataFolder + "/certificates", objects: caches)
    let authentication = try settings.authentication.authentication(
      authority: authority.pem, tokens: tokens, objects: caches)
    do throws(StoreError) { try await caches.start() } catch {
      if case .failed(let cause) = error { throw cause }
      throw Failure.store(error)
    }
    let audit = try settings.audit.audit()
    let kinds = ServedKinds(.builtin)
    let isShared = store is ClaimingStore
    let services = ServiceAllocator(blocks: settings.serviceBlocks, isShared: isShared)
    let state = AdmissionState(store: store, caches: caches, kinds: kinds)
    let resolver = ServiceResolver(state: state)
    let webhooks = WebhookCaller { (namespace, name, port) throws(WebhookError) in
      try resolver.resolve(namespace, name, port)
    }
    let roles = RBACAuthorizer(caches: caches)
    let access = Access(
      authenticators: [authentication], allowsAnonymous: settings.authentication.anonymous,
      authorizers: [SystemMasters(), NodeAuthorizer(caches: caches), roles])
    let admission = AdmissionChain.builtin(
      state, services: services, webhooks: webhooks,
      settings: AdmissionSettings(
        automountsTokens: settings.automountServiceAccountTokens, podSecurity: settings.podSecurity),
      guards: [
        CertificateApproval(access: access), CertificateSigning(access: access),
        CertificateSubjectRestriction(), RoleEscalation(roles: roles, access: access),
      ])
    let core = RESTCore(
      store: store, caches: caches, kinds: kinds, services: services, admission: admission, tokens: tokens,
      webhooks: webhooks)
    state.connect(core)
    let customResources = try CustomResources(core: core)
    await customResources.start()
    let serviceKind = try core.kind(.services)
    if isShared {
      caches.follow(serviceKind) { ServiceFollower(services) }
    } else {
      core.cache(serviceKind).snapshot.forEach(prefix: ObjectCaches.root, after: nil) { service in
        services.adopt(service.tree)
        return true
      }
    }
    let serviceRanges = ServiceRangeFollower(core: core)
    let isReady = Flag()
    let remotes = RemoteAPIs(
      core: core, client: try FrontProxyClient(folder: settings.dataFolder + "/certificates/front-proxy"),
      resolver: resolver)
    let documents = Documents(
      kinds: kinds, address: "\(settings.advertiseAddress):\(settings.port)", remotes: remotes
    ) { isReady.isSet }
    let given = settings.authentication.serviceAccountKeysURL
    let shownPort = settings.port == 0 ? 443 : settings.port
    let keysURL = given.isEmpty ? "https://\(settings.advertiseAddress):\(shownPort)/openid/v1/jwks" : given
    let nodes = try NodeConnections(authority)
    let reviews = IdentityReviews(authentication: authentication)
    let router = Router(
      core: core, documents: documents, nodes: nodes, access: access, reviews: reviews,
      issuer: IssuerDocuments(tokens: tokens, keysURL: keysURL), audit: audit,
      remotes: remotes)
    let listener: HTTPListener
    do {
      listener = try await HTTPListener.start(
        host: settings.host, port: settings.port, certificate: certificates.current.serving,
        authority: authentication.authoritiesPEM,
        group: group, limits: settings.limits, isPassedOn: { remotes.isPassedOn($0) }
      ) { await router.respond($0) }
    } catch {
      caches.shutdown()
      throw error
    }
    do {
      let endpoints = ServerEndpoints(
        core: core, address: settings.advertiseAddress, port: listener.port, isShared: isShared)
      try await core.createBuiltins(
        serviceAddress: own.description, serviceBlocks: settings.serviceBlocks, port: listener.port)
      try await endpoints.reconcile()
      try await core.reconcileDefaultRoles()
      let shown = settings.host == "0.0.0.0" || settings.host == "::" ? "127.0.0.1" : settings.host
      let address = ClusterInfo.address(host: shown, port: listener.port)
      let kubeconfigPath = settings.dataFolder + "/admin.kubeconfig"
      try Kubeconfig(server: address, authority: authority.pem, client: certificates.current.admin).write(
        to: kubeconfigPath)
      await remotes.prepare(clientAuthority: authority.pem)
      let info = ClusterInfo(core: core, host: settings.advertiseAddress, port: listener.port)
      await info.publish(authority: authority.pem)
      isReady.set()
      remotes.start()
      let upkeep = CertificateUpkeep(
        certificates: certificates, authentication: authentication, settings: settings.authentication,
        listener: listener, nodes: nodes, remotes: remotes, info: info, address: address,
        kubeconfigPath: kubeconfigPath)
      let chores = Task {
        await Self.doChores(store, caches, settings.historySeconds, upkeep) {
          try await core.createBuiltins(
            serviceAddress: own.description, serviceBlocks: settings.serviceBlocks, port: listener.port)
          try await endpoints.reconcile()
        }
      }
      return ClusterServer(
        store: open, caches: caches, core: core, listener: listener, group: group, upkeep: upkeep,
        chores: chores, endpoints: endpoints, aggregator: RoleAggregator(core: core),
        customResources: customResources,
        remotes: remotes,
        scraper: UsageScraper(core: core, nodes: nodes, period: settings.resourceMetricsPeriod),
        serviceRanges: serviceRanges, addresses: AddressKeeper(core: core),
        access: access, reviews: reviews, address: address,
        kubeconfigPath: kubeconfigPath, audit: audit)
    } catch {
      await listener.shutdown(grace: .zero)
      caches.shutdown()
      throw error
    }
  }

  /// Every ten seconds the builtin objects that somebody deleted come back: without Service `default/kubernetes` no pod
  /// finds the API. Certificates, bookmarks and expiry each minute; compaction to where the store stood `historySeconds` ago.
  private static func doChores(
    _ store: any Store, _ caches: ObjectCaches, _ historySeconds: Int, _ upkeep: CertificateUpkeep,
    restore: () async throws -> Void
  ) async {
    let objects = Metrics.shared.gauge(
      "apiserver_storage_objects", "Objects by resource.", labels: ["resource"])
    let watches = Metrics.shared.gauge(
      "apiserver_longrunning_requests", "Open watches.", labels: ["resource"])
    var past: [Revision] = []
    let minutes = max(1, historySeconds / 60)
    while !Task.isCancelled {
      for (resource, cache) in caches.all {
        objects.child(resource).set(Double(cache.count))
        watches.child(resource).set(Double(cache.watchCount))
      }
      for _ in 0..<6 {
        do { try await Task.sleep(for: .seconds(10)) } catch { return }
        // A writer that was quicker, or a store that is full: the next round tries again.
        try? await restore()
      }
      do { try await upkeep.refresh() } catch {
        upkeep.log.error("certificates stay as they are", metadata: ["error": "\(error)"])
      }
      caches.bookmark()
      store.expire()
      past.append(store.currentRevision)
      if past.count > minutes { try? await forget(store, caches, before: past.removeFirst()) }
    }
  }

  /// Superseded versions up to `revision` go, and what pages of lists were cut from before it.
  private static func forget(_ store: any Store, _ caches: ObjectCaches, before revision: Revision)
    async throws(StoreError)
  {
    try await store.compact(to: revision)
    for (_, cache) in caches.all { cache.forgetSnapshots(before: revision) }
  }

  /// What the chores do with certificates each minute, now. Errors: `API0003`, `API0004`.
  public func refreshCertificates() async throws { try await upkeep.refresh() }

  /// What the chores do after `historySeconds`, now.
  func forgetHistory() async throws {
    try await Self.forget(store.store, caches, before: store.store.currentRevision)
  }

  /// Says which parts of the control plane run in this process now, by the names of `kubectl get componentstatuses`:
  /// `scheduler`, `controller-manager`. Others count as well while they hold their Lease.
  public func setRunning(_ components: Set<String>) { core.components.set(components) }

  /// A client of this process that acts as `user` in `groups` and may do what they may, as over HTTP: refusals are
  /// `APIStatusError` 403.
  /// - Parameter term: on a shared store what this client writes is refused (409) once the lease has begun another; nil for who
  ///   writes at any time.
  public func client(user: String, groups: [String], during term: LeaderTerm? = nil) -> InProcessClient {
    InProcessClient(
      core: term.map { core.writing(in: $0) } ?? core,
      identity: Identity(user: user, groups: groups + ["system:authenticated"]), remotes: remotes,
      access: access, reviews: reviews)
  }

  /// A client that acts as a controller's ServiceAccount in `kube-system`, whose role is `system:controller:NAME`.
  public func controllerClient(_ name: String, during term: LeaderTerm? = nil) -> InProcessClient {
    client(
      user: "system:serviceaccount:kube-system:\(name)",
      groups: ["system:serviceaccounts", "system:serviceaccounts:kube-system"], during: term)
  }

  /// What an aggregated API (`GROUP/VERSION`) serves that can be listed and deleted through `client`. Nil when the
  /// group version is no other server's, or that server does not answer.
  public func aggregatedResources(
    _ groupVersion: String
  ) -> [(resource: GroupVersionResource, kind: String, isNamespaced: Bool)]? {
    remotes.deletable(groupVersion)
  }

  /// A token without end for a ServiceAccount, to be kept in the Secret `secret`: it is believed while the
  /// Secret holds it. Errors of the signing library, which a sound key does not give.
  public func secretToken(namespace: String, account: String, uid: String, secret: String) throws -> String {
    var claims = ServiceAccountClaims(namespace: namespace, account: TokenReference(account, uid))
    claims.secret = TokenReference(secret, "")
    return try core.tokens?.issueForSecret(claims) ?? ""
  }

  /// Whether a resource is served here and now.
  public func serves(_ resource: GroupVersionResource) -> Bool { core.registry[resource] != nil }

  /// Creates a CustomResourceDefinition, or brings the one that is there to this spec, and returns when its
  /// kind is served. For Weft's own kinds. Errors: `APIStatusError` for what a client would be refused,
  /// `API0040` when it is not served within ten seconds.
  /// - Parameter replacing: false leaves one that is there to whoever changed it.
  public func install(crd: JSON, replacing: Bool = true) async throws {
    let api = client(user: Identity.system.user, groups: Identity.system.groups)
    let resource = CustomResourceDefinition.resource
    do {
      _ = try await api.create(resource, crd, options: WriteOptions(fieldManager: "weft-apiserver"))
    } catch let error as APIStatusError where error.isAlreadyExists {
      guard replacing else { return }
      _ = try await api.patch(
        resource, namespace: "", name: crd.name, patch: .merge(["spec": crd.spec]), subresource: nil,
        options: WriteOptions(fieldManager: "weft-apiserver"))
    }
    let definition = CustomResourceDefinition(crd)
    let start = ContinuousClock.now
    while ContinuousClock.now - start < .seconds(10) {
      if let kind = core.registry[
        GroupVersionResource(definition.group, definition.storageVersion, definition.plural)],
        kind.custom != nil
      {
        return
      }
      try await Task.sleep(for: .milliseconds(1))
    }
    throw WeftError(
      "API0040", object: crd.name, cause: "the kind is not served: another definition has its names",
      next: "see who: kubectl get crd \(crd.name) -o jsonpath={.status.conditions}")
  }

  /// A kubeconfig for a component, such as a node agent: `system:node:NAME` in `system:nodes`. Kept under
  /// `name`.
  public func kubeconfig(name: String, user: String, groups: [String]) throws(WeftError) -> Kubeconfig {
    Kubeconfig(
      server: address, authority: authority.pem,
      client: try authority.client(file: name, user: user, groups: groups))
  }

  /// Other servers' clients are not sent here any more. A store that does not answer is not waited for: the lease ends by itself.
  private func withdraw() async {
    await chores.value
    let withdrawal = Task { [endpoints, log] in
      do { try await endpoints.withdraw() } catch {
        log.debug("the lease of this server is left to end", metadata: ["error": "\(error)"])
      }
    }
    let limit = Task {
      try await Task.sleep(for: .seconds(2))
      withdrawal.cancel()
    }
    await withdrawal.value
    limit.cancel()
  }

  /// Refuses new connections, ends watches, answers what is under way, checkpoints and closes the store.
  /// A second call does nothing.
  public func shutdown() async {
    if isStopped.exchange(true, ordering: .relaxed) { return }
    chores.cancel()
    await withdraw()
    core.webhooks?.shutdown()
    aggregator.stop()
    customResources.shutdown()
    remotes.shutdown()
    scraper.stop()
    await addresses.stop()
    caches.shutdown()
    await listener.shutdown(grace: .milliseconds(200))
    await audit?.shutdown()
    await store.shutdown()
    try? await group.shutdownGracefully()
    log.debug("stopped")
  }
}

private final class Flag: Sendable {
  private let value = Atomic(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}
