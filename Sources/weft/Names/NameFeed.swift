// Feeds the book of names of `weft dns`: from an API server or from a folder, one object at a time.
//
//   API server -> ObjectStream  ---+
//                                  +-> NameBook -> ZoneKeeper
//   folder     -> ManifestStream --+

import ClusterClient
import ClusterObjects
import ClusterView
import DNS
import DataPlane
import Diagnostics
import Synchronization

/// What one configuration needs to know of the cluster, kept current.
final class NameFeed: ZoneSource {
  private struct State {
    var book: NameBook
    var streams: [ObjectStream] = []
    var manifests: ManifestStream?
    var imports: Task<Void, Never>?
    /// What has to be listed before anything may be denied.
    var needed: [ObjectStream] = []
    /// Steps taken in.
    var steps: UInt64 = 0
  }
  private let state: Mutex<State>
  private let bell: AsyncStream<Void>.Continuation
  let changes: AsyncStream<Void>
  let wants: NameBook.Wants
  /// What the Corefile said of the API server.
  let access: Corefile.Access
  /// The API server's URL; empty for a folder.
  let cluster: String

  private init(_ wants: NameBook.Wants, _ access: Corefile.Access, cluster: String = "") {
    self.wants = wants
    self.access = access
    self.cluster = cluster
    state = Mutex(State(book: NameBook(wants: wants)))
    (changes, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    bell.yield()
  }

  /// Begins to follow. A folder has been read when this returns; for an API server see `waitForSync`.
  /// - Parameter access: what a Corefile says of the API server. It counts where the command line says nothing.
  /// - Throws: what keeps a folder or a kubeconfig from being read.
  static func begin(
    _ cluster: ClusterOptions, _ access: Corefile.Access, wants: NameBook.Wants
  ) throws -> NameFeed {
    if let folder = cluster.manifests {
      let feed = NameFeed(wants, access)
      try feed.follow(folder: folder)
      return feed
    }
    let isOfCorefile = cluster.server.kubeconfig == nil && cluster.server.context == nil && !access.isEmpty
    let configuration = isOfCorefile ? try access.configuration(cluster) : try cluster.configuration()
    let feed = NameFeed(wants, access, cluster: configuration.server)
    feed.follow(
      api: try RemoteClient(
        kubeconfig: configuration, limits: access.limits, metricPrefix: "coredns_kubernetes_"))
    return feed
  }

  /// Begins to follow, and returns when everything has been read once.
  /// - Throws: as `begin` and `waitForSync` do.
  static func follow(
    _ cluster: ClusterOptions, _ access: Corefile.Access, wants: NameBook.Wants
  ) async throws -> NameFeed {
    let feed = try begin(cluster, access, wants: wants)
    try await feed.waitForSync(timeout: .seconds(30))
    return feed
  }

  /// Returns when everything has been read once, ServiceImports excepted: a cluster may not have them.
  /// - Throws: `API0103` with what is missing after `timeout`; `CancellationError` when cancelled.
  func waitForSync(timeout: Duration) async throws {
    try await ObjectStream.waitForSync(state.withLock { $0.needed }, timeout: timeout)
  }

  /// The same, however long it takes.
  func waitForSync() async throws {
    for stream in state.withLock({ $0.needed }) { try await stream.waitForSync() }
  }

  private func follow(folder: String) throws(WeftError) {
    let resources = state.withLock { $0.book.resources }
    let stream = try ManifestStream(folder: folder, resources: resources) { [bell] in
      bell.yield()
    } plain: { [weak self] resource, key, object in
      self?.take(ViewKind.of(resource), key, plain: object) ?? false
    } handler: { [weak self] resource, step in
      self?.take(ViewKind.of(resource), step)
    }
    state.withLock {
      $0.manifests = stream
      if wants.contains(.imports) { $0.book.markImportsRead() }
    }
  }

  private func follow(api: any ClusterAPI) {
    for resource in state.withLock({ $0.book.resources }) {
      let kind = ViewKind.of(resource)
      let stream = ObjectStream.follow(
        InformerScope(resource), of: api,
        plain: { [weak self] key, object in
          guard let self, take(kind, key, plain: object) else { return false }
          bell.yield()
          return true
        }
      ) { [weak self] step in
        self?.take(kind, step)
        self?.bell.yield()
      }
      let isNeeded = resource != .serviceImports
      state.withLock {
        $0.streams.append(stream)
        if isNeeded { $0.needed.append(stream) }
      }
      if !isNeeded { followImports(stream) }
    }
  }

  private func followImports(_ stream: ObjectStream) {
    let task = Task { [weak self] in
      guard (try? await stream.waitForSync()) != nil, let self else { return }
      self.state.withLock {
        $0.steps += 1
        $0.book.markImportsRead()
      }
      self.bell.yield()
    }
    state.withLock { $0.imports = task }
  }

  private func take(_ kind: String, _ step: ObjectStep) {
    state.withLock { state in
      state.steps += 1
      switch step {
      case .object(let key, let tree): state.book.apply(kind, key, tree)
      case .gone(let key): state.book.remove(kind, key)
      case .listed(let keys): state.book.keep(kind, only: keys)
      }
    }
  }

  private func take(_ kind: String, _ key: ObjectKey, plain object: TapeValue) -> Bool {
    state.withLock {
      $0.steps += 1
      return $0.book.apply(kind, key, plain: object)
    }
  }

  // MARK: - ZoneSource

  var lastFailure: String? { state.withLock { $0.streams }.compactMap(\.lastFailure).first }

  func take(_ body: (ViewChanges) -> Void) {
    while let changes = state.withLock({ $0.book.nextChanges() }) { body(changes) }
  }

  func everything(_ body: (ViewChanges) -> Void) { state.withLock { $0.book }.everything(body) }

  /// What a configuration needs is known when its feed begins.
  func followImports() {}

  func stop() async {
    let (streams, manifests, imports) = state.withLock { ($0.streams, $0.manifests, $0.imports) }
    imports?.cancel()
    for stream in streams { await stream.stop() }
    await manifests?.stop()
    bell.finish()
  }

  // MARK: - What there is

  /// All that is known, and how many steps led there. A copy shares what it is made of until one of both changes.
  var known: (book: NameBook, steps: UInt64) { state.withLock { ($0.book, $0.steps) } }

  var serviceCount: Int { state.withLock { $0.book.serviceCount } }
  var withoutAddress: [ObjectKey] { state.withLock { $0.book.withoutAddress } }
}

extension Corefile.Access {
  /// `apiserver_qps` and its like.
  fileprivate var limits: RequestLimits {
    RequestLimits(perSecond: requestsPerSecond, burst: requestBurst, inFlightMax: requestsInFlightMax)
  }

  /// The server and the credentials, those of `cluster` where this says nothing.
  fileprivate func configuration(_ cluster: ClusterOptions) throws(WeftError) -> Kubeconfig {
    var result: Kubeconfig
    if let kubeconfig {
      result = try Kubeconfig(path: kubeconfig, context: context)
    } else if let server, !tls.isEmpty {
      result = Kubeconfig(server: server)
    } else {
      result = try cluster.configuration()
    }
    if let server { result.server = server }
    if tls.count == 3 {
      result.clientCertificate = Array(try TextFile.read(tls[0], code: "CLI0030").utf8)
      result.clientKey = Array(try TextFile.read(tls[1], code: "CLI0030").utf8)
      result.certificateAuthority = Array(try TextFile.read(tls[2], code: "CLI0030").utf8)
    }
    return result
  }
}

extension DNSPlan {
  /// What has to be known of the cluster to serve this.
  var wants: NameBook.Wants {
    var wants: NameBook.Wants = []
    if zone.serviceSelector != nil { wants.insert(.labels) }
    if zone.isZonal { wants.insert(.zones) }
    if zone.endpointPodNames { wants.insert(.endpointPods) }
    if !zone.multiclusterZones.isEmpty { wants.formUnion([.imports, .labels]) }
    if zone.pods == .verified || server.blocks.contains(where: { $0.autopath != nil }) { wants.insert(.pods) }
    return wants
  }
}
