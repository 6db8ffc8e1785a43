// The API server as its owner sees it: start, where it listens, clients of this process, shutdown.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Logging
import NIOCore
import Synchronization

/// A running API server.
public final class ClusterServer: Sendable {
  private let parts: ServerParts
  private let isStopped = Atomic(false)
  private let log = Logger(label: "apiserver")

  private var core: RESTCore { parts.core }
  private var remotes: RemoteAPIs { parts.remotes }
  var caches: ObjectCaches { parts.caches }
  var access: Access { parts.objects.access }
  var authority: CertificateAuthority { parts.upkeep.certificates.authority }

  /// `https://HOST:PORT`.
  public var address: String { parts.address }
  public var port: Int { parts.listener.port }
  public var kubeconfigPath: String { parts.kubeconfigPath }
  /// PEM of the authorities that are trusted now: the one that signs, and while another takes its place, both.
  public var authorityPEM: String { authority.pem }

  private init(_ parts: ServerParts) { self.parts = parts }

  /// Opens the store, makes what keys are missing, listens, and returns when requests are answered. Errors:
  /// `STO…` of the store, `API0001` address taken, `API0002` blocks of addresses, `API0003` files, `API0004` certificates. Nothing is
  /// left behind when it throws.
  public static func start(_ settings: ServerSettings) async throws -> ClusterServer {
    ClusterServer(try await ServerParts.start(settings))
  }

  /// What the chores do with certificates each minute, now. Errors: `API0003`, `API0004`.
  public func refreshCertificates() async throws { try await parts.upkeep.refresh() }

  /// What the chores do after `historySeconds`, now.
  func forgetHistory() async throws {
    try await parts.chores.forget(before: parts.chores.store.currentRevision)
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
      access: access, reviews: parts.reviews)
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
    await parts.choring.value
    let withdrawal = Task { [parts, log] in
      do { try await parts.endpoints.withdraw() } catch {
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
    parts.choring.cancel()
    await withdraw()
    core.webhooks?.shutdown()
    parts.aggregator.stop()
    parts.objects.customResources.shutdown()
    remotes.shutdown()
    parts.scraper.stop()
    await parts.addresses.stop()
    caches.shutdown()
    await parts.listener.shutdown(grace: .milliseconds(200))
    await parts.audit?.shutdown()
    await parts.store.shutdown()
    try? await parts.group.shutdownGracefully()
    log.debug("stopped")
  }
}
