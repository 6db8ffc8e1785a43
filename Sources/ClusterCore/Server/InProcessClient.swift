// The API for parts of this process: the same core, admission and order as over HTTP, without HTTP.

import ClusterClient
import ClusterObjects
import ClusterStore
import Synchronization

/// `ClusterAPI` on the server of this process, as a named user. Cheap to make; may be shared between tasks.
public final class InProcessClient: ClusterAPI {
  private let core: RESTCore
  private let identity: Identity
  /// Other servers' APIs, of which this client lists and deletes objects; nil for the server's own parts.
  private let remotes: RemoteAPIs?
  /// Whether the user may is asked of it, as for requests over HTTP; nil for the server's own parts, which may.
  private let access: Access?
  /// Answers who somebody is; nil for the server's own parts.
  private let reviews: IdentityReviews?

  init(
    core: RESTCore, identity: Identity, remotes: RemoteAPIs? = nil, access: Access? = nil,
    reviews: IdentityReviews? = nil
  ) {
    self.core = core
    self.identity = identity
    self.remotes = remotes
    self.access = access
    self.reviews = reviews
  }

  /// Throws 403 unless the user may.
  private func require(
    _ verb: String, _ resource: GroupVersionResource, _ namespace: String, _ name: String = "",
    _ subresource: String? = nil, _ options: ListOptions? = nil
  ) async throws {
    guard let access else { return }
    var asked = AccessAttributes(
      identity: identity, verb: verb, group: resource.group, version: resource.version,
      resource: resource.resource, subresource: subresource ?? "", namespace: namespace, name: name)
    if resource == .namespaces { asked.namespace = name }
    if let options {
      asked.fieldSelector = options.fieldSelector.flatMap { try? FieldSelector(parsing: $0) }
      asked.labelSelector = options.labelSelector.flatMap { try? LabelSelector(parsing: $0) }
      if let one = asked.fieldSelector?.name { asked.name = one }
    }
    try await access.require(asked)
  }

  /// Events that may wait for one reader; past that its watch ends with 410 and it lists again.
  public static let watchBufferMax = 16_384

  public func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    try await require("get", resource, namespace, name)
    return try await core.get(try core.kind(resource), namespace: namespace, name: name).tree
  }

  public func list(
    _ resource: GroupVersionResource, namespace: String, options: ListOptions
  ) async throws -> ObjectList {
    try await require("list", resource, namespace, "", nil, options)
    if let remotes, let remote = remotes.remote(of: resource) {
      return try await remotes.list(remote, resource, namespace: namespace, as: identity)
    }
    let page = try await core.list(try core.kind(resource), namespace: namespace, options: options)
    return ObjectList(
      resourceVersion: String(page.revision), continueToken: page.continueToken,
      items: page.objects.map(\.tree))
  }

  public func watch(
    _ resource: GroupVersionResource, namespace: String, options: ListOptions
  ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
    try await require("watch", resource, namespace, "", nil, options)
    let kind = try core.kind(resource)
    let filter = try core.filter(kind, namespace: namespace, options)
    let start = try await core.watchStart(kind, namespace: namespace, filter, options)
    let caches = core.caches
    let name = kind.storageName
    // Initial events are delivered before anyone reads: they do not count against the bound.
    let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream(
      bufferingPolicy: .bufferingOldest(Self.watchBufferMax + caches[name].count))
    let watcher = LocalWatcher(
      filter: filter, wantsBookmarks: options.allowBookmarks, continuation: continuation)
    let subscriber: any WatchSubscriber =
      kind.custom?.conversionWebhook == nil ? watcher : ConvertingWatcher(watcher, kind, core)
    if let oldest = caches.subscribe(subscriber, to: name, from: start) {
      throw Failure.tooOld(Revision(options.resourceVersion ?? "") ?? 0, oldest: oldest)
    }
    let timeout = options.timeoutSeconds.map { seconds in
      Task {
        try await Task.sleep(for: .seconds(seconds))
        continuation.finish()
      }
    }
    continuation.onTermination = { _ in
      timeout?.cancel()
      caches[name].unsubscribeLater(subscriber)
      if subscriber !== watcher { subscriber.finish() }
    }
    return stream
  }

  public func create(
    _ resource: GroupVersionResource, _ object: JSON, options: WriteOptions
  ) async throws -> JSON {
    try await require("create", resource, object.namespace)
    let kind = try core.kind(resource)
    // Questions are answered by those who know, and never kept.
    if let access, kind.group == AccessReview.group {
      return try await AccessReview.answer(object, kind, object.namespace, asker: identity, access)
    }
    if kind.group == IdentityReviews.group,
      let answer = try await reviews?.answer(kind.kind, object, asker: identity)
    {
      return answer
    }
    return try await core.create(
      kind, namespace: object.namespace, try normal(object, kind), options: options, identity: identity
    ).object.tree
  }

  public func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    try await require("update", resource, object.namespace, object.name, subresource)
    let kind = try core.kind(resource)
    if subresource == "scale" {
      let changed = try await core.changeScale(
        kind, namespace: object.namespace, name: object.name, options: options, identity: identity
      ) { _ in object }
      return core.scale(of: changed, kind)
    }
    return try await core.update(
      kind, namespace: object.namespace, name: object.name, try normal(object, kind),
      part: try part(subresource), options: options, identity: identity
    ).object.tree
  }

  public func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON {
    try await require("patch", resource, namespace, name, subresource)
    let kind = try core.kind(resource)
    if subresource == "scale" {
      let changed = try await core.changeScale(
        kind, namespace: namespace, name: name, options: options, identity: identity
      ) {
        try RESTCore.applying(patch, to: $0, kind.schema)
      }
      return core.scale(of: changed, kind)
    }
    return try await core.patch(
      kind, namespace: namespace, name: name, patch: patch, part: try part(subresource), options: options,
      identity: identity
    ) {
      // Who may patch may not thereby create.
      try await self.require("create", resource, namespace, name)
    }.object.tree
  }

  public func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON {
    try await require("create", resource, namespace, name, subresource)
    let kind = try core.kind(resource)
    switch subresource {
    case "binding":
      try await core.bind(
        kind, namespace: namespace, name: name, body, options: WriteOptions(), identity: identity)
    case "token" where kind.gvr == .serviceAccounts:
      let (admitted, _) = try await core.admitCreate(
        kind, namespace: namespace, name: name, subresource: "token", body, identity: identity)
      return try await core.requestToken(namespace: namespace, name: name, admitted, isDryRun: false)
    case "eviction":
      try await core.evict(
        kind, namespace: namespace, name: name, body, options: WriteOptions(), identity: identity)
    default: throw Failure.notServed
    }
    return ["kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success"]
  }

  public func delete(
    _ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions
  ) async throws {
    try await require("delete", resource, namespace, name)
    if let remotes, let remote = remotes.remote(of: resource) {
      return try await remotes.delete(
        remote, resource, namespace: namespace, name: name, options, as: identity)
    }
    _ = try await core.delete(
      try core.kind(resource), namespace: namespace, name: name, options: options, identity: identity)
  }

  /// Asks admission about a connection to `exec`, `attach`, `portforward` or `proxy`; opens none.
  public func connect(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ options: JSON
  ) async throws -> [String] {
    try await require("create", resource, namespace, name, subresource)
    return try await core.admitConnect(
      try core.kind(resource), namespace: namespace, name: name, subresource: subresource, options: options,
      identity: identity)
  }

  public func read(path: [String], query: [(name: String, value: String)]) async throws -> JSON {
    guard let target = Target(path) else { throw Failure.notServed }
    let resource = GroupVersionResource(target.group, target.version, target.resource)
    func value(_ name: String) -> String? { query.first { $0.name == name }?.value }
    let options = ListOptions(labelSelector: value("labelSelector"), fieldSelector: value("fieldSelector"))
    try await require(
      target.name == nil ? "list" : "get", resource, target.namespace, target.name ?? "", target.subresource,
      target.name == nil ? options : nil)
    if let remotes, let remote = remotes.remote(path) {
      return try await remotes.read(remote, path, query, as: identity)
    }
    let kind = try core.kind(resource)
    guard let name = target.name else {
      let page = try await core.list(kind, namespace: target.namespace, options: options)
      return [
        "kind": JSON(kind.listKind), "apiVersion": JSON(kind.apiVersion),
        "metadata": ["resourceVersion": JSON(String(page.revision))],
        "items": .array(page.objects.map(\.tree)),
      ]
    }
    let object = try await core.get(kind, namespace: target.namespace, name: name)
    switch target.subresource {
    case nil: return object.tree
    case "scale" where kind.subresource("scale") != nil: return core.scale(of: object, kind)
    default: throw Failure.notServed
    }
  }

  private func part(_ subresource: String?) throws -> Part {
    switch subresource {
    case nil, "": .main
    case "status": .status
    case "finalize": .finalize
    case "ephemeralcontainers": .ephemeralContainers
    case "resize": .resize
    case "approval": .approval
    default: throw Failure.notServed
    }
  }

  private func normal(_ object: JSON, _ kind: ResourceKind) throws -> JSON {
    do throws(DecodeError) { return try kind.schema.decode(tree: object, as: kind.gvk).object } catch {
      throw Failure.badRequest(error.message)
    }
  }
}

private final class LocalWatcher: WatchSubscriber {
  private let filter: WatchFilter
  private let wantsBookmarks: Bool
  private let continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation

  init(
    filter: WatchFilter, wantsBookmarks: Bool,
    continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation
  ) {
    self.filter = filter
    self.wantsBookmarks = wantsBookmarks
    self.continuation = continuation
  }

  func begin(_ objects: [CachedObject], end: Revision?) {
    for object in objects { send(.added(filter.served(object).tree)) }
    if let end { send(.bookmark(resourceVersion: String(end), isInitialEventsEnd: true)) }
  }

  func offer(_ events: [CacheEvent]) {
    for event in events {
      guard let seen = filter.seen(event) else { continue }
      switch seen {
      case .added: send(.added(filter.served(event.object).tree))
      case .modified: send(.modified(filter.served(event.object).tree))
      case .deleted:
        var tree = filter.served(event.previous ?? event.object).tree
        tree.set(JSON(String(event.revision)), at: "metadata", "resourceVersion")
        send(.deleted(tree))
      }
    }
  }

  func bookmark(_ revision: Revision) {
    if wantsBookmarks { send(.bookmark(resourceVersion: String(revision), isInitialEventsEnd: false)) }
  }

  func finish() { continuation.finish() }

  private func send(_ event: WatchEvent) {
    if case .dropped = continuation.yield(event) {
      continuation.finish(throwing: Failure.expired("the watcher was too slow"))
    }
  }
}

extension ObjectCache {
  /// For callers that may hold this cache's lock: a watcher that ends while it is being told of something.
  func unsubscribeLater(_ subscriber: any WatchSubscriber) {
    Task { unsubscribe(subscriber) }
  }
}
