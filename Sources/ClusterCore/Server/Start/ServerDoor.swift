// Where requests come in: listener, router, other servers' APIs, nodes.

import Diagnostics
import NIOPosix
import Synchronization

/// A listener and what its requests reach beside the objects.
struct ServerDoor: Sendable {
  let listener: HTTPListener
  let nodes: NodeConnections
  let remotes: RemoteAPIs
  let reviews: IdentityReviews
  private let isReady: Flag

  /// Listens; `/readyz` says no until `becomeReady`. Errors: `API0001` address taken, `API0003` files.
  static func open(
    _ settings: ServerSettings, _ objects: ServedObjects, _ certificates: ServerCertificates,
    group: MultiThreadedEventLoopGroup, audit: Audit?
  ) async throws -> ServerDoor {
    let core = objects.core
    let isReady = Flag()
    let remotes = RemoteAPIs(
      core: core, client: try FrontProxyClient(folder: settings.dataFolder + "/certificates/front-proxy"),
      resolver: objects.resolver)
    let documents = Documents(
      kinds: core.kinds, address: "\(settings.advertiseAddress):\(settings.port)", remotes: remotes
    ) { isReady.isSet }
    let given = settings.authentication.serviceAccountKeysURL
    let shownPort = settings.port == 0 ? 443 : settings.port
    let keysURL = given.isEmpty ? "https://\(settings.advertiseAddress):\(shownPort)/openid/v1/jwks" : given
    let nodes = try NodeConnections(certificates.authority)
    let reviews = IdentityReviews(authentication: objects.authentication)
    let router = Router(
      core: core, documents: documents, nodes: nodes, access: objects.access, reviews: reviews,
      issuer: IssuerDocuments(tokens: objects.tokens, keysURL: keysURL), audit: audit, remotes: remotes)
    let listener = try await HTTPListener.start(
      host: settings.host, port: settings.port, certificate: certificates.current.serving,
      authority: objects.authentication.authoritiesPEM, group: group, limits: settings.limits,
      isPassedOn: { remotes.isPassedOn($0) }
    ) { await router.respond($0) }
    return ServerDoor(listener: listener, nodes: nodes, remotes: remotes, reviews: reviews, isReady: isReady)
  }

  /// Other servers' APIs are asked for from now on, and `/readyz` says yes.
  func becomeReady(authority: String) async {
    await remotes.prepare(clientAuthority: authority)
    isReady.set()
    remotes.start()
  }
}

private final class Flag: Sendable {
  private let value = Atomic(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}
