// Remarks that parts of the server add to the audit event of the request they serve.

import Synchronization

/// Annotations of one request. Reached from anywhere on its task.
final class AuditAnnotation: Sendable {
  @TaskLocal static var current: AuditAnnotation?

  /// Annotations of one event; more are left out.
  static let countMax = 64

  private let values = Mutex<[String: String]>([:])

  /// Adds to the present request's event, if one is kept. The first value of a key stays.
  static func add(_ key: String, _ value: String) { current?.add(key, value) }

  func add(_ key: String, _ value: String) {
    values.withLock { values in
      if values[key] == nil, values.count < Self.countMax { values[key] = value }
    }
  }

  var all: [String: String] { values.withLock { $0 } }
}
