// What plugins know of the cluster: objects from the watch caches, never a request of their own.

import ClusterClient
import ClusterObjects
import ClusterStore
import Synchronization

/// The plugins' view. The few that write objects do so through `core`, as the server itself.
final class AdmissionState: Sendable {
  let store: any Store
  let caches: ObjectCaches
  let kinds: ServedKinds
  private struct Core { weak var core: RESTCore? }
  private let reference = Mutex(Core())

  init(store: any Store, caches: ObjectCaches, kinds: ServedKinds) {
    self.store = store
    self.caches = caches
    self.kinds = kinds
  }

  /// Nil before the server is assembled and while it goes.
  var core: RESTCore? { reference.withLock { $0.core } }
  func connect(_ core: RESTCore) { reference.withLock { $0.core = core } }

  private func cache(_ resource: GroupVersionResource) -> ObjectCache? {
    kinds.current[resource].map { caches[$0.storageName] }
  }

  /// The object, from memory; nil too when its kind is not served.
  func object(_ resource: GroupVersionResource, namespace: String = "", name: String) -> CachedObject? {
    guard let kind = kinds.current[resource] else { return nil }
    return caches[kind.storageName][RESTCore.key(kind, namespace, name)]
  }

  /// The object, once more after the caches caught up when it is not there at first.
  func lookUp(_ resource: GroupVersionResource, namespace: String = "", name: String) async -> CachedObject? {
    if let found = object(resource, namespace: namespace, name: name) { return found }
    await caches.catchUp()
    return object(resource, namespace: namespace, name: name)
  }

  /// Objects of a namespace, or all of them, in order of their keys.
  func objects(_ resource: GroupVersionResource, namespace: String = "") -> [CachedObject] {
    guard let kind = kinds.current[resource], let cache = cache(resource) else { return [] }
    let snapshot = cache.snapshot
    if snapshot.count == 0 { return [] }
    var found: [CachedObject] = []
    snapshot.forEach(prefix: RESTCore.prefix(kind, namespace: namespace), after: nil) { object in
      found.append(object)
      return true
    }
    return found
  }

  func namespaceLabels(_ name: String) -> [String: String] { object(.namespaces, name: name)?.labels ?? [:] }
}
