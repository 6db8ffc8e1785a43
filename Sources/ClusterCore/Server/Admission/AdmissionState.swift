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
    guard let kind = kinds.current[resource] else { return [] }
    return Self.objects(caches[kind.storageName], kind, namespace)
  }

  fileprivate static func objects(
    _ cache: ObjectCache, _ kind: ResourceKind, _ namespace: String
  ) -> [CachedObject] {
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

/// The objects of one built-in kind, for plugins that every write asks: the way to their cache is looked up once.
final class AdmissionObjects: Sendable {
  private let resource: GroupVersionResource
  private let state: AdmissionState
  private let found = Mutex<(kind: ResourceKind, cache: ObjectCache)?>(nil)

  init(_ resource: GroupVersionResource, _ state: AdmissionState) {
    self.resource = resource
    self.state = state
  }

  /// Objects of a namespace, or all of them, in order of their keys.
  func all(namespace: String = "") -> [CachedObject] {
    let known = found.withLock { found in
      if found == nil, let kind = state.kinds.current[resource] {
        found = (kind, state.caches[kind.storageName])
      }
      return found
    }
    guard let known else { return [] }
    return AdmissionState.objects(known.cache, known.kind, namespace)
  }
}
