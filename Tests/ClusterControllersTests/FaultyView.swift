// The API as a client sees it to whom nothing comes as it should: events twice, again, in another order or not at all, watches
// that end, lists from the start, writes that fail, and writes that were done though the answer says that they failed.

import ClusterClient
import ClusterObjects
import Synchronization

/// A view of an API in memory with faults drawn from a seed. Whoever was told something wrong hears soon (410) that he has
/// to list again, as an API server promises no more than that. Thread-safe.
final class FaultyView: ClusterAPI {
  struct Counts {
    var repeated = 0
    var reordered = 0
    var lost = 0
    var relists = 0
    var failedWrites = 0
    var lostAnswers = 0
  }
  private let api: MemoryClusterAPI
  private let random: Mutex<SeededRandom>
  private let isCalm = Atomic(false)
  private let counted = Mutex(Counts())
  var counts: Counts { counted.withLock { $0 } }

  private let unanswered: GroupVersionResource?

  /// `unanswered` is made whenever that is asked for, and the answer says each time that it failed.
  init(_ api: MemoryClusterAPI, seed: UInt64, unanswered: GroupVersionResource? = nil) {
    self.api = api
    self.unanswered = unanswered
    random = Mutex(SeededRandom(seed: seed))
  }

  /// From now on nothing fails.
  func calm() { isCalm.store(true, ordering: .relaxed) }

  /// True once in `sides` times, while there are faults.
  private func befalls(oneIn sides: Int) -> Bool {
    !isCalm.load(ordering: .relaxed) && random.withLock { Int.random(in: 0..<sides, using: &$0) } == 0
  }
  private func count(_ body: (inout Counts) -> Void) { counted.withLock { body(&$0) } }

  // MARK: Watching

  func watch(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  {
    if befalls(oneIn: 10) { throw Self.failure }
    let source = try await api.watch(resource, namespace: namespace, options: options)
    let (stream, out) = AsyncThrowingStream<WatchEvent, any Error>.makeStream()
    let task = Task {
      do {
        var before: [WatchEvent] = []
        var held: WatchEvent?
        var isWhole = true
        for try await event in source {
          let isBookmark = if case .bookmark = event { true } else { false }
          // A list that lacks something is never called complete, by any server.
          if case .bookmark(_, isInitialEventsEnd: true) = event, !isWhole { continue }
          if isBookmark || !befalls(oneIn: 6) {
            out.yield(event)
          } else {
            isWhole = damage(event, before, &held, out) && isWhole
          }
          if let late = held, befalls(oneIn: 2) {
            out.yield(late)
            held = nil
          }
          if !isBookmark { before = before.suffix(7) + [event] }
        }
        out.finish()
      } catch { out.finish(throwing: error) }
    }
    out.onTermination = { _ in task.cancel() }
    return stream
  }

  /// False when the watch has told something wrong: it ends soon, and whoever listens lists again.
  private func damage(
    _ event: WatchEvent, _ before: [WatchEvent], _ held: inout WatchEvent?,
    _ out: AsyncThrowingStream<WatchEvent, any Error>.Continuation
  ) -> Bool {
    switch random.withLock({ Int.random(in: 0..<5, using: &$0) }) {
    case 0:
      count { $0.repeated += 1 }
      out.yield(event)
      out.yield(event)
      return true
    case 1:
      count { $0.repeated += 1 }
      out.yield(event)
      for earlier in before { out.yield(earlier) }
    case 2 where held == nil:
      count { $0.reordered += 1 }
      held = event
    case 3:
      count { $0.lost += 1 }
    default:
      out.yield(event)
    }
    count { $0.relists += 1 }
    let wait = random.withLock { Int.random(in: 0...8, using: &$0) }
    Task {
      try? await Task.sleep(for: .milliseconds(wait))
      out.finish(
        throwing: APIStatusError(code: 410, reason: "Expired", message: "too old resource version"))
    }
    return false
  }

  // MARK: Reading

  func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    if befalls(oneIn: 12) { throw Self.failure }
    return try await api.get(resource, namespace: namespace, name: name)
  }

  func list(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> ObjectList
  {
    if befalls(oneIn: 10) { throw Self.failure }
    return try await api.list(resource, namespace: namespace, options: options)
  }

  func read(path: [String], query: [(name: String, value: String)]) async throws -> JSON {
    try await api.read(path: path, query: query)
  }

  // MARK: Writing

  private static let failure = APIStatusError(code: 500, reason: "InternalError", message: "injected")

  private func write<Answer>(isAnswered: Bool = true, _ body: () async throws -> Answer) async throws
    -> Answer
  {
    if befalls(oneIn: 12) {
      count { $0.failedWrites += 1 }
      throw Self.failure
    }
    let answer = try await body()
    if !isAnswered || befalls(oneIn: 12) {
      count { $0.lostAnswers += 1 }
      throw APIStatusError(code: 504, reason: "Timeout", message: "injected")
    }
    return answer
  }

  func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws -> JSON {
    try await write(isAnswered: resource != unanswered) {
      try await api.create(resource, object, options: options)
    }
  }
  func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    try await write {
      try await api.update(resource, object, subresource: subresource, options: options)
    }
  }
  func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON {
    try await write {
      try await api.patch(
        resource, namespace: namespace, name: name, patch: patch, subresource: subresource, options: options)
    }
  }
  func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON {
    try await write {
      try await api.createSubresource(
        resource, namespace: namespace, name: name, subresource: subresource, body)
    }
  }
  func delete(
    _ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions
  ) async throws {
    try await write { try await api.delete(resource, namespace: namespace, name: name, options: options) }
  }
}
