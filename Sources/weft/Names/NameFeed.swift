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
  }
  private let state: Mutex<State>
  private let bell: AsyncStream<Void>.Continuation
  let changes: AsyncStream<Void>
  let wants: NameBook.Wants

  private init(_ wants: NameBook.Wants) {
    self.wants = wants
    state = Mutex(State(book: NameBook(wants: wants)))
    (changes, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    bell.yield()
  }

  /// Begins to follow, and returns when everything has been read once, ServiceImports excepted: a cluster may not have them.
  /// - Parameter access: what a Corefile says of the API server. It counts where the command line says nothing.
  /// - Throws: `API0103` with what is missing after `timeout`; what keeps a folder or a kubeconfig from being read.
  static func follow(
    _ cluster: ClusterOptions, _ access: Corefile.Access, wants: NameBook.Wants,
    timeout: Duration = .seconds(30)
  ) async throws -> NameFeed {
    let feed = NameFeed(wants)
    if let folder = cluster.manifests {
      try feed.follow(folder: folder)
    } else {
      let isOwn = cluster.server.kubeconfig == nil && cluster.server.context == nil && !access.isEmpty
      let api = try RemoteClient(
        kubeconfig: isOwn ? access.configuration(cluster) : cluster.configuration(), limits: access.limits,
        metricPrefix: "coredns_kubernetes_")
      try await feed.follow(api: api, timeout)
    }
    return feed
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

  private func follow(api: any ClusterAPI, _ timeout: Duration) async throws {
    var needed: [ObjectStream] = []
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
      state.withLock { $0.streams.append(stream) }
      if resource == .serviceImports { followImports(stream) } else { needed.append(stream) }
    }
    try await ObjectStream.waitForSync(needed, timeout: timeout)
  }

  private func followImports(_ stream: ObjectStream) {
    let task = Task { [weak self] in
      guard (try? await stream.waitForSync()) != nil, let self else { return }
      self.state.withLock { $0.book.markImportsRead() }
      self.bell.yield()
    }
    state.withLock { $0.imports = task }
  }

  private func take(_ kind: String, _ step: ObjectStep) {
    state.withLock { state in
      switch step {
      case .object(let key, let tree): state.book.apply(kind, key, tree)
      case .gone(let key): state.book.remove(kind, key)
      case .listed(let keys): state.book.keep(kind, only: keys)
      }
    }
  }

  private func take(_ kind: String, _ key: ObjectKey, plain object: TapeValue) -> Bool {
    state.withLock { $0.book.apply(kind, key, plain: object) }
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
