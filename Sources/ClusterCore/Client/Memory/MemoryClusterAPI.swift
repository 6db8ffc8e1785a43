// An API server's behaviour without a server: revisions, conflicts, finalizers, watches that resume. It
// stands behind manifests read from a folder, and behind the tests of everything that talks to an API
// server.

import ClusterObjects
import Diagnostics
import Synchronization

/// Objects in memory with the semantics that controllers depend on: optimistic concurrency, one revision
/// for all resources, watches from a revision with 410 once the history is cut, graceful deletion of bound
/// pods, finalizers, status and binding as separate parts. It neither validates nor defaults. Thread-safe.
public final class MemoryClusterAPI: ClusterAPI {
  /// Asked before every call; an error that it returns is what the caller sees. For tests of recovery.
  public typealias Fault = @Sendable (_ verb: String, _ resource: GroupVersionResource) -> (any Error)?

  /// Answers `read` for what is no scale of an object; nil is 404.
  public typealias Reader =
    @Sendable (_ path: [String], _ query: [(name: String, value: String)]) throws -> JSON?

  /// Events kept for watches that resume.
  public static let historyMax = 16_384
  /// Events that wait for one slow watcher before its watch is ended.
  public static let watchBufferMax = 65_536

  let state = Mutex(MemoryState())
  private let fault = Mutex<Fault?>(nil)
  private let reader = Mutex<Reader?>(nil)

  public init() {}

  public func inject(_ fault: Fault?) { self.fault.withLock { $0 = fault } }

  public func answer(reads reader: Reader?) { self.reader.withLock { $0 = reader } }

  func check(_ verb: String, _ resource: GroupVersionResource) throws {
    if let error = fault.withLock({ $0 })?(verb, resource) { throw error }
  }

  // MARK: Reading

  public func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    try check("get", resource)
    return try state.withLock { try $0.existing(resource, ObjectKey(namespace, name)) }
  }

  public func list(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> ObjectList
  {
    try check("list", resource)
    return state.withLock { state in
      let items = state.sorted(resource) { options.selects($0, namespace: namespace) }
      return ObjectList(resourceVersion: "\(state.revision)", items: items)
    }
  }

  public func watch(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  {
    try check("watch", resource)
    let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream(
      bufferingPolicy: .bufferingOldest(Self.watchBufferMax))
    let ended = try state.withLock { state in
      try state.addWatcher(resource, namespace: namespace, options: options, continuation)
    }
    // Not by the state's lock: who cancels a task holds that task's own, and who yields under the state's lock waits for it.
    continuation.onTermination = { _ in ended.value.store(true, ordering: .relaxed) }
    return stream
  }

  // MARK: Writing

  public func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws
    -> JSON
  {
    try check("create", resource)
    return try state.withLock { try $0.create(resource, object) }
  }

  public func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    try check("update", resource)
    return try state.withLock { try $0.update(resource, object, subresource: subresource) }
  }

  public func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON {
    try check("patch", resource)
    guard case .merge(let change) = patch else {
      throw APIStatusError(
        code: 415, reason: "UnsupportedMediaType", message: "only merge patches are served from memory")
    }
    return try state.withLock { state in
      let object = try state.existing(resource, ObjectKey(namespace, name))
      return try state.update(resource, object.merging(change), subresource: subresource)
    }
  }

  public func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON {
    try check("create/\(subresource)", resource)
    return try state.withLock { state in
      let key = ObjectKey(namespace, name)
      var object = try state.existing(resource, key)
      switch subresource {
      case "binding":
        guard (object.at("spec", "nodeName")?.string ?? "").isEmpty else {
          throw APIStatusError(
            code: 409, reason: "Conflict", message: "pod \(key) is already assigned to a node")
        }
        object.set(body.at("target", "name"), at: "spec", "nodeName")
        object.set(
          .array(
            (object.at("status", "conditions")?.elements ?? []).filter {
              $0["type"]?.string != "PodScheduled"
            } + [["type": "PodScheduled", "status": "True"]]), at: "status", "conditions")
        state.store(resource, object)
      case "eviction": try state.delete(resource, key, DeleteOptions())
      default: throw APIStatusError.notFound(resource, "\(name)/\(subresource)")
      }
      return ["kind": "Status", "apiVersion": "v1", "status": "Success"]
    }
  }

  public func delete(
    _ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions
  ) async throws {
    try check("delete", resource)
    try state.withLock { try $0.delete(resource, ObjectKey(namespace, name), options) }
  }

  public func read(path: [String], query: [(name: String, value: String)]) async throws -> JSON {
    if path.last == "scale", path.count == 8, path[0] == "apis" {
      let resource = GroupVersionResource(path[1], path[2], path[5])
      try check("get/scale", resource)
      return try state.withLock { Self.scale(of: try $0.existing(resource, ObjectKey(path[4], path[6]))) }
    }
    try check("read", GroupVersionResource(path.dropFirst().first ?? "", "", path.last ?? ""))
    guard let answer = try reader.withLock({ $0 })?(path, query) else {
      throw APIStatusError(
        code: 404, reason: "NotFound", message: "the server could not find the requested resource")
    }
    return answer
  }

  static func scale(of object: JSON) -> JSON {
    let selector = (try? LabelSelector(object.at("spec", "selector"))) ?? .everything
    return [
      "kind": "Scale", "apiVersion": "autoscaling/v1",
      "metadata": [
        "name": JSON(object.name), "namespace": JSON(object.namespace), "uid": JSON(object.uid),
        "resourceVersion": JSON(object.resourceVersion),
      ],
      "spec": ["replicas": object.at("spec", "replicas") ?? 1],
      "status": [
        "replicas": object.at("status", "replicas") ?? 0, "selector": JSON(selector.description),
      ],
    ]
  }

  // MARK: For tests and for sources that are no API

  /// Stores an object as it is, whatever was there.
  public func put(_ resource: GroupVersionResource, _ object: JSON) {
    state.withLock { _ = $0.store(resource, object) }
  }

  /// Removes an object at once, whatever its finalizers say.
  public func remove(_ resource: GroupVersionResource, _ key: ObjectKey) {
    state.withLock { $0.remove(resource, key) }
  }

  public func objects(_ resource: GroupVersionResource) -> [JSON] {
    state.withLock { $0.sorted(resource) { _ in true } }
  }

  /// Ends every watch, as a restart of the server or a broken connection does.
  public func dropWatches() {
    let watchers = state.withLock { state in
      defer { state.watchers = [:] }
      return state.watchers.values.map(\.continuation)
    }
    let broken = WeftError(
      "API0102", object: "watch", cause: "connection lost", next: "wait", exit: .unreachable,
      isRetryable: true)
    for continuation in watchers { continuation.finish(throwing: broken) }
  }

  /// Forgets old events, so that resuming a watch from before answers 410 Expired.
  public func expireHistory() { state.withLock { $0.history = [] } }
}

extension ListOptions {
  func selects(_ object: JSON, namespace: String) -> Bool {
    if !namespace.isEmpty, object.namespace != namespace { return false }
    if let labelSelector, !SelectorMatch.matches(text: labelSelector, object.labels) { return false }
    if let fieldSelector, !SelectorMatch.matches(fields: fieldSelector, object) { return false }
    return true
  }
}

extension APIStatusError {
  /// 404 with upstream's words.
  public static func notFound(_ resource: GroupVersionResource, _ name: String) -> APIStatusError {
    APIStatusError(
      code: 404, reason: "NotFound", message: "\(resource) \"\(name)\" not found",
      details: ["name": JSON(name), "group": JSON(resource.group), "kind": JSON(resource.resource)])
  }
}

extension JSON {
  /// RFC 7386: objects merge, null removes, everything else replaces.
  public func merging(_ patch: JSON) -> JSON {
    guard case .object(let changes) = patch else { return patch }
    var result = object == nil ? JSON.object(JSONObject()) : self
    for (key, change) in changes {
      if change.isNull {
        result[key] = nil
      } else {
        result[key] = (result[key] ?? .null).merging(change)
      }
    }
    return result
  }
}
