// What the API does, without HTTP: the one path that users, controllers and built-in objects all take.
//
//   create/update/patch: decode ─► admission ─► validation ─► store (durable) ─► answer
//   get/list/watch:      watch cache, after it caught up with what was committed

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Logging
import Synchronization

/// The REST core. All functions may be called from any task; they throw `APIStatusError`.
final class RESTCore: Sendable {
  let store: any Store
  let caches: ObjectCaches
  let kinds: ServedKinds
  let admission: AdmissionChain
  let services: ServiceAllocator
  /// Makes the tokens of ServiceAccounts; nil where none are made.
  let tokens: ServiceAccountTokens?
  /// Calls webhooks of every sort.
  let webhooks: WebhookCaller?
  let log = Logger(label: "apiserver")
  let turns: WriteTurns
  let components: LocalComponents
  let usage: ResourceUsage

  init(
    store: any Store, caches: ObjectCaches, kinds: ServedKinds, services: ServiceAllocator,
    admission: AdmissionChain = AdmissionChain(), tokens: ServiceAccountTokens? = nil,
    webhooks: WebhookCaller? = nil
  ) {
    self.tokens = tokens
    self.store = store
    self.caches = caches
    self.kinds = kinds
    self.admission = admission
    self.services = services
    self.webhooks = webhooks
    turns = WriteTurns()
    components = LocalComponents()
    usage = ResourceUsage()
  }

  /// The same with another way to its store.
  private init(_ core: RESTCore, store: any Store) {
    self.store = store
    caches = core.caches
    kinds = core.kinds
    admission = core.admission
    services = core.services
    tokens = core.tokens
    webhooks = core.webhooks
    turns = core.turns
    components = core.components
    usage = core.usage
  }

  /// This core for one leader: on a shared store its writes are refused once the lease has begun another term. A store of this
  /// process alone has no other leader. What admission writes meanwhile (the use of a quota) belongs to no term.
  func writing(in term: LeaderTerm) -> RESTCore {
    guard let shared = store as? ClaimingStore else { return self }
    return RESTCore(self, store: TermStore(shared, during: StoreTerm(term)))
  }

  /// The kinds served now.
  var registry: KindRegistry { kinds.current }

  // MARK: Names

  func kind(_ resource: GroupVersionResource) throws -> ResourceKind {
    guard let kind = registry[resource] else { throw Failure.notServed }
    return kind
  }

  /// `/registry/pods/`, or `/registry/pods/demo/`.
  static func prefix(_ kind: ResourceKind, namespace: String) -> String {
    let root = "\(ObjectCaches.root)\(kind.storageName)/"
    return namespace.isEmpty || !kind.isNamespaced ? root : "\(root)\(namespace)/"
  }

  static func key(_ kind: ResourceKind, _ namespace: String, _ name: String) -> String {
    prefix(kind, namespace: namespace) + name
  }

  func cache(_ kind: ResourceKind) -> ObjectCache { caches[kind.storageName] }

  // MARK: Reading

  func get(
    _ kind: ResourceKind, namespace: String, name: String, resourceVersion: String? = nil
  ) async throws -> CachedObject {
    if let resourceVersion {
      try await wait(forVersion: resourceVersion)
    } else {
      try await caches.requireCaughtUp()
    }
    if Self.isComputed(kind) {
      guard let found = await computed(kind, namespace: namespace, name: name) else {
        throw Failure.notFound(kind, name)
      }
      return found
    }
    guard let found = cache(kind)[Self.key(kind, namespace, name)] else {
      throw Failure.notFound(kind, name)
    }
    return try await served(found, as: kind)
  }

  /// Waits until the caches are as new as a client asks; `0` asks for nothing.
  func wait(forVersion text: String) async throws {
    if text.isEmpty || text == "0" { return }
    guard let revision = Revision(text), revision > 0 else {
      throw Failure.badRequest(
        "resourceVersion: Invalid value: \"\(text)\": strconv.ParseUint: parsing \"\(text)\": invalid syntax")
    }
    guard await caches.wait(for: revision) else {
      throw Failure.tooLargeVersion(revision, current: caches.revision)
    }
  }

  func filter(_ kind: ResourceKind, namespace: String, _ options: ListOptions) throws -> WatchFilter {
    do throws(SelectorError) {
      return WatchFilter(
        kind: kind, namespace: kind.isNamespaced ? namespace : "",
        labels: try LabelSelector(parsing: options.labelSelector ?? ""),
        fields: try kind.fieldSelector(parsing: options.fieldSelector ?? ""))
    } catch {
      throw Failure.badRequest(error.description)
    }
  }

  struct Page {
    var objects: [CachedObject]
    var revision: Revision
    var continueToken: String?
    var remaining: Int?
  }

  func list(_ kind: ResourceKind, namespace: String, options: ListOptions) async throws -> Page {
    let filter = try filter(kind, namespace: namespace, options)
    try RequestOptions.checkVersion(options)
    let limit = options.limit ?? 0
    if limit < 0 { throw Failure.badRequest("limit must not be negative") }
    let prefix = Self.prefix(kind, namespace: namespace)
    if Self.isComputed(kind) {
      return Page(
        objects: await computed(kind, namespace: namespace, filter), revision: caches.revision)
    }
    let cache = cache(kind)
    var after: String?
    let objects: SortedObjects
    let revision: Revision
    if let token = options.continueToken, !token.isEmpty {
      guard let page = ContinueToken(token) else {
        throw Failure.badRequest("continue key is not valid: illegal base64 data or an unknown version")
      }
      after = prefix + page.after
      if page.revision == 0 {
        // A token given with 410: goes on from here in the present state.
        try await caches.requireCaughtUp()
        (revision, objects) = (caches.revision, cache.snapshot)
      } else {
        revision = page.revision
        objects = try await past(kind, revision, page.after)
      }
    } else {
      let asked = options.resourceVersion ?? ""
      switch options.resourceVersionMatch {
      case nil, "":
        if asked.isEmpty { try await caches.requireCaughtUp() } else { try await wait(forVersion: asked) }
        revision = caches.revision
        objects = cache.snapshot
      case "NotOlderThan" where !asked.isEmpty:
        try await wait(forVersion: asked)
        revision = caches.revision
        objects = cache.snapshot
      case "Exact" where !asked.isEmpty && asked != "0":
        try await wait(forVersion: asked)
        revision = Revision(asked) ?? 0
        objects = try await past(kind, revision, nil)
      case .some(let match):
        throw Failure.invalidOptions([
          FieldError.forbidden(
            "resourceVersionMatch", "\(match) needs a resourceVersion that it can apply to")
        ])
      }
    }
    if kind.custom?.conversionWebhook != nil {
      var all: [CachedObject] = []
      objects.forEach(prefix: prefix, after: after) { object in
        if filter.labels.isEmpty || filter.labels.matches(object.labels) { all.append(object) }
        return limit == 0 || !filter.fields.isEmpty || all.count < limit
      }
      try await convertAhead(all, kind)
    }
    var page = Page(objects: [], revision: revision)
    var rest = 0
    objects.forEach(prefix: prefix, after: after) { object in
      guard filter.matches(object) else { return true }
      if limit > 0, page.objects.count == limit {
        rest += 1
        return filter.labels.isEmpty && filter.fields.isEmpty
      }
      page.objects.append(object.served(as: kind))
      return true
    }
    if rest > 0, let last = page.objects.last {
      cache.keep(objects, revision: revision)
      page.continueToken =
        ContinueToken(revision: revision, after: String(last.key.dropFirst(prefix.count))).text
      if filter.labels.isEmpty, filter.fields.isEmpty { page.remaining = rest }
    }
    return page
  }

  /// The objects as they were: from a kept snapshot, else from the store's log.
  private func past(_ kind: ResourceKind, _ revision: Revision, _ after: String?) async throws
    -> SortedObjects
  {
    let cache = cache(kind)
    if let kept = cache.kept(revision) { return kept }
    if revision >= caches.revision { return cache.snapshot }
    do throws(StoreError) {
      let page = try await store.list(
        prefix: Self.prefix(kind, namespace: ""), limit: 0, after: nil, at: revision)
      var objects = SortedObjects()
      for value in page.values { if let object = CachedObject(value) { objects.insert(object) } }
      return objects
    } catch {
      if case .compacted = error {
        var message = "The provided continue parameter is too old to display a consistent list result."
        var status = Failure.expired(message)
        if let after {
          message +=
            " You can start a new list without the continue parameter, or use the continue token in this "
          message += "response to retrieve the remainder of the results, which will be inconsistent."
          status = Failure.expired(message)
          status.continueToken = ContinueToken(revision: 0, after: after).text
        }
        throw status
      }
      throw Failure.store(error)
    }
  }
}

/// Where a list goes on. Opaque to clients.
struct ContinueToken {
  var revision: Revision
  var after: String

  init(revision: Revision, after: String) {
    self.revision = revision
    self.after = after
  }

  init?(_ text: String) {
    guard let bytes = Base64.decode(text), let tree = try? JSON(parsing: bytes),
      let revision = tree["rv"]?.integer, let after = tree["start"]?.string
    else { return nil }
    self.revision = revision
    self.after = after
  }

  var text: String {
    Base64.encode((["v": "meta.k8s.io/v1", "rv": JSON(revision), "start": JSON(after)] as JSON).bytes)
  }
}
