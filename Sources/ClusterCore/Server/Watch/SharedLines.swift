// The lines of one batch of changes, made for the first that needs them and shared by all others that want objects to look the
// same, whatever they select.

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
  /// Objects are kept while their lines are: an identity must not be given to another.
  private let lines = Mutex<[LineKey: (object: CachedObject, line: ByteBuffer)]>([:])

  /// One object's line.
  func line(_ form: Form, _ object: CachedObject, _ kind: CacheEvent.Kind, make: () -> ByteBuffer)
    -> ByteBuffer
  {
    let key = LineKey(form: form, object: ObjectIdentifier(object), kind: kind)
    if let made = lines.withLock({ $0[key] }) { return made.line }
    let line = make()
    lines.withLock { $0[key] = (object, line) }
    return line
  }
}
