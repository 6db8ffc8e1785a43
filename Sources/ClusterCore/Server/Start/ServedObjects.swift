// From the store to the core: what answers requests, before anything listens.

import ClusterObjects
import ClusterStore
import Diagnostics

/// Objects, who may do what with them, and what becomes of a write.
struct ServedObjects: Sendable {
  let caches: ObjectCaches
  let core: RESTCore
  let access: Access
  let authentication: Authentication
  let tokens: ServiceAccountTokens
  let resolver: ServiceResolver
  let customResources: CustomResources
  let serviceRanges: ServiceRangeFollower
  /// Whether other servers write into the store, too.
  let isShared: Bool

  /// Reads the store and makes the core. Errors: `STO…` of the store, those of keys and settings. Nothing is left behind when it throws.
  static func start(
    _ settings: ServerSettings, store: any Store, authority: CertificateAuthority
  ) async throws -> ServedObjects {
    let caches = ObjectCaches(store: store)
    do { return try await start(settings, store, authority, caches) } catch {
      caches.shutdown()
      throw error
    }
  }

  private static func start(
    _ settings: ServerSettings, _ store: any Store, _ authority: CertificateAuthority, _ caches: ObjectCaches
  ) async throws -> ServedObjects {
    let tokens = try settings.authentication.serviceAccountTokens(
      folder: settings.dataFolder + "/certificates", objects: caches)
    let authentication = try settings.authentication.authentication(
      authority: authority.pem, tokens: tokens, objects: caches)
    do throws(StoreError) { try await caches.start() } catch {
      if case .failed(let cause) = error { throw cause }
      throw Failure.store(error)
    }
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
    try adoptServices(core, isShared: isShared)
    return ServedObjects(
      caches: caches, core: core, access: access, authentication: authentication, tokens: tokens,
      resolver: resolver, customResources: customResources, serviceRanges: ServiceRangeFollower(core: core),
      isShared: isShared)
  }

  /// What Services hold is taken: on a store of our own once, on a shared one as others write.
  private static func adoptServices(_ core: RESTCore, isShared: Bool) throws {
    let kind = try core.kind(.services)
    let services = core.services
    if isShared {
      core.caches.follow(kind) { ServiceFollower(services) }
    } else {
      core.cache(kind).snapshot.forEach(prefix: ObjectCaches.root, after: nil) { service in
        services.adopt(service.tree)
        return true
      }
    }
  }
}
