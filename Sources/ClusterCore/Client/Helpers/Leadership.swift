// What a leader may do while it leads. A process that was stopped for a while, or whose renewals do not come back, is
// not told that another leads by now: before each write it looks at its own clock. What is stopped between that look and the
// store is refused by a shared store, which compares the write's term with the lease's (decision 0037).

import ClusterObjects
import Synchronization

/// Until when this process leads. Safe from any thread; one look costs as much as one at the clock.
public final class Leadership: Sendable {
  private let now: @Sendable () -> Duration
  private let end = Mutex<Duration?>(nil)
  private let latest = Mutex<LeaderTerm?>(nil)

  init(now: @escaping @Sendable () -> Duration) { self.now = now }

  /// Whether this process leads now. No other does while this is true.
  public var isHeld: Bool { remaining > .zero }

  /// How long it still leads if the lease is never renewed again.
  var remaining: Duration { end.withLock { $0.map { $0 - now() } } ?? .zero }

  /// The term in which this process leads, or led last; nil before it ever did.
  public var term: LeaderTerm? { latest.withLock { $0 } }

  func hold(until end: Duration, in term: LeaderTerm?) {
    latest.withLock { $0 = term }
    self.end.withLock { $0 = end }
  }
  func giveUp() { end.withLock { $0 = nil } }

  /// Throws `APIStatusError` 409 unless this process leads.
  func check() throws(APIStatusError) {
    guard isHeld else {
      throw APIStatusError(
        code: 409, reason: "Conflict", message: "this process does not hold its lease any more")
    }
  }
}

/// The API for a leader: what it reads is whatever is there, and its writes are refused (409) once it no longer leads. A write
/// that has begun is not taken back here: `api` is one that writes in the leader's term where several servers share a store.
public struct LeaderAPI: ClusterAPI {
  private let api: any ClusterAPI
  private let leadership: Leadership

  public init(_ api: any ClusterAPI, while leadership: Leadership) {
    self.api = api
    self.leadership = leadership
  }

  public func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    try await api.get(resource, namespace: namespace, name: name)
  }

  public func list(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> ObjectList
  { try await api.list(resource, namespace: namespace, options: options) }

  public func watch(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  { try await api.watch(resource, namespace: namespace, options: options) }

  public func read(path: [String], query: [(name: String, value: String)]) async throws -> JSON {
    try await api.read(path: path, query: query)
  }

  public func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws
    -> JSON
  {
    try leadership.check()
    return try await api.create(resource, object, options: options)
  }

  public func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    try leadership.check()
    return try await api.update(resource, object, subresource: subresource, options: options)
  }

  public func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON {
    try leadership.check()
    return try await api.patch(
      resource, namespace: namespace, name: name, patch: patch, subresource: subresource, options: options)
  }

  public func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON {
    try leadership.check()
    return try await api.createSubresource(
      resource, namespace: namespace, name: name, subresource: subresource, body)
  }

  public func delete(
    _ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions
  ) async throws {
    try leadership.check()
    try await api.delete(resource, namespace: namespace, name: name, options: options)
  }
}
