// What every part of Weft needs of an API server, whether it runs in this process or far away. Objects are
// trees.

import ClusterObjects

/// An API server, as its clients see it. Two implementations: `InProcessClient` of ClusterServer, which
/// runs the same admission path without HTTP, and `RemoteClient`, which speaks HTTP to any Kubernetes API
/// server.
///
/// Every call throws `APIStatusError` for what the server answered and `WeftError` for what kept it from
/// answering.
public protocol ClusterAPI: Sendable {
  func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON
  func list(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> ObjectList
  /// Events after `options.resourceVersion`, in order, until the server ends the watch (the stream
  /// finishes) or cannot go on (it throws, 410 `Expired` when the revision is gone). Cancel the task or
  /// drop the stream to stop.
  func watch(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  /// The same events as text, for who needs few fields of many objects. Nil where they do not come as text: ask `watch` then.
  func watchLines(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> WatchLines?
  func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws -> JSON
  /// Replaces the object, or with a `subresource` ("status", "scale", "binding", "eviction") that part of it.
  func update(_ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions)
    async throws -> JSON
  func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON
  /// POST to a subresource: `pods/NAME/binding`, `pods/NAME/eviction`.
  func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON
  func delete(_ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions)
    async throws
  /// What a GET of this path answers, for what is no object of a kind: `…/NAME/scale`, metrics of other servers. `path`
  /// is in parts, not encoded, and begins with `api` or `apis`. Without an implementation of its own: 404.
  func read(path: [String], query: [(name: String, value: String)]) async throws -> JSON
}

extension ClusterAPI {
  public func watchLines(_ resource: GroupVersionResource, namespace: String, options: ListOptions)
    async throws -> WatchLines?
  { nil }

  public func read(path: [String], query: [(name: String, value: String)]) async throws -> JSON {
    throw APIStatusError(
      code: 404, reason: "NotFound", message: "the server could not find the requested resource")
  }
}

/// Query parameters of list and watch. An empty namespace means all of them, or none for what has no
/// namespace.
public struct ListOptions: Sendable, Hashable {
  public var labelSelector: String?
  public var fieldSelector: String?
  public var resourceVersion: String?
  public var resourceVersionMatch: String?
  public var limit: Int?
  public var continueToken: String?
  public var allowBookmarks = false
  public var sendInitialEvents = false
  public var timeoutSeconds: Int?
  public init(
    labelSelector: String? = nil, fieldSelector: String? = nil, resourceVersion: String? = nil,
    limit: Int? = nil, allowBookmarks: Bool = false
  ) {
    self.labelSelector = labelSelector
    self.fieldSelector = fieldSelector
    self.resourceVersion = resourceVersion
    self.limit = limit
    self.allowBookmarks = allowBookmarks
  }
}

/// Query parameters of writes.
public struct WriteOptions: Sendable, Hashable {
  /// Recorded in managedFields; the process's own part, such as `weft-scheduler`.
  public var fieldManager: String?
  public var dryRun = false
  public var force = false
  public var fieldValidation: String?
  public init(fieldManager: String? = nil) { self.fieldManager = fieldManager }
}

/// The body of a delete (metav1.DeleteOptions).
public struct DeleteOptions: Sendable, Hashable {
  public var gracePeriodSeconds: Int?
  /// `Background`, `Foreground` or `Orphan`.
  public var propagationPolicy: String?
  public var uid: String?
  public var resourceVersion: String?
  public init(gracePeriodSeconds: Int? = nil, propagationPolicy: String? = nil, uid: String? = nil) {
    self.gracePeriodSeconds = gracePeriodSeconds
    self.propagationPolicy = propagationPolicy
    self.uid = uid
  }
}

/// A change to part of an object.
public enum Patch: Sendable {
  case json(JSON)
  case merge(JSON)
  case strategicMerge(JSON)
  case apply(JSON)

  public var contentType: String {
    switch self {
    case .json: "application/json-patch+json"
    case .merge: "application/merge-patch+json"
    case .strategicMerge: "application/strategic-merge-patch+json"
    case .apply: "application/apply-patch+yaml"
    }
  }

  public var body: JSON {
    switch self {
    case .json(let body), .merge(let body), .strategicMerge(let body), .apply(let body): body
    }
  }
}

/// A page of a list, at one revision.
public struct ObjectList: Sendable {
  public var resourceVersion: String
  public var continueToken: String?
  public var items: [JSON]
  public init(resourceVersion: String, continueToken: String? = nil, items: [JSON]) {
    self.resourceVersion = resourceVersion
    self.continueToken = continueToken
    self.items = items
  }
}

/// The events of a watch as lines of JSON. For one reader; dropping it ends the watch.
public struct WatchLines: Sendable {
  let read: @Sendable () async throws -> [UInt8]?
  /// Takes what `next` handed out when it is not needed any more, so that the same room is filled again.
  let giveBack: @Sendable (consuming [UInt8]) -> Void
  /// Whole lines, as many as have come, at least one; nil when the server ended the watch.
  func next() async throws -> [UInt8]? { try await read() }
}

/// One event of a watch. A bookmark carries only a revision.
public enum WatchEvent: Sendable {
  case added(JSON)
  case modified(JSON)
  case deleted(JSON)
  case bookmark(resourceVersion: String, isInitialEventsEnd: Bool)
}
