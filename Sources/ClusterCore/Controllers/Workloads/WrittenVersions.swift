// Which version of its objects a controller wrote last: deciding by an older one would do everything twice.

import ClusterObjects
import Synchronization

/// The versions last written, by object. Each is forgotten when its object goes.
final class WrittenVersions: Sendable {
  private let versions = Mutex<[ObjectKey: Int64]>([:])

  func wrote(_ object: JSON) {
    guard let version = Int64(object.resourceVersion) else { return }
    versions.withLock { $0[object.key] = version }
  }

  /// Whether the informer has not shown yet what was written. Versions of one resource can be compared as
  /// numbers.
  func isStale(_ object: JSON) -> Bool {
    guard let version = Int64(object.resourceVersion) else { return false }
    return versions.withLock { version < $0[object.key] ?? 0 }
  }

  func forget(_ key: ObjectKey) { versions.withLock { $0[key] = nil } }
}
