// The lines of one batch of changes, made for the first watcher that needs them and shared by all others: ten thousand
// watches of a resource cost one encoding a change.

import ClusterObjects
import NIOCore
import Synchronization

/// Lives while a batch is handed to the subscribers of a cache.
final class SharedLines: Sendable {
  /// What decides how an object's line looks.
  struct Form: Hashable, Sendable {
    var apiVersion: String
    var isPartial: Bool
  }
  private struct LineKey: Hashable {
    var form: Form
    var object: ObjectIdentifier
    var kind: CacheEvent.Kind
  }
  private struct BatchKey: Hashable {
    var form: Form
    var namespace: String
  }
  private struct State {
    var lines: [LineKey: ByteBuffer] = [:]
    var batches: [BatchKey: [ByteBuffer]] = [:]
  }
  private let state = Mutex(State())

  /// One object's line.
  func line(_ form: Form, _ object: CachedObject, _ kind: CacheEvent.Kind, make: () -> ByteBuffer)
    -> ByteBuffer
  {
    let key = LineKey(form: form, object: ObjectIdentifier(object), kind: kind)
    if let line = state.withLock({ $0.lines[key] }) { return line }
    let line = make()
    state.withLock { $0.lines[key] = line }
    return line
  }

  /// All that a watcher without selectors sees of the batch.
  func batch(_ form: Form, namespace: String, make: () -> [ByteBuffer]) -> [ByteBuffer] {
    let key = BatchKey(form: form, namespace: namespace)
    if let batch = state.withLock({ $0.batches[key] }) { return batch }
    let batch = make()
    state.withLock { $0.batches[key] = batch }
    return batch
  }
}
