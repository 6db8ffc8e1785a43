// Reading `nodes` and `pods` of metrics.k8s.io: only what exists and has been measured twice.

import ClusterClient
import ClusterObjects
import ClusterStore

extension RESTCore {
  /// One of them; nil when it does not exist or has no measure yet.
  func metrics(_ kind: ResourceKind, namespace: String, name: String) -> CachedObject? {
    guard let measured = registry[GroupVersionResource("", "v1", kind.plural)],
      let object = cache(measured)[Self.key(measured, namespace, name)]
    else { return nil }
    return metrics(kind, of: object)
  }

  /// All that a filter matches, by namespace and name.
  func metrics(_ kind: ResourceKind, namespace: String, _ filter: WatchFilter) -> [CachedObject] {
    guard let measured = registry[GroupVersionResource("", "v1", kind.plural)] else { return [] }
    var found: [CachedObject] = []
    cache(measured).snapshot.forEach(prefix: Self.prefix(measured, namespace: namespace), after: nil) {
      object in
      if filter.labels.isEmpty || filter.labels.matches(object.labels),
        let made = metrics(kind, of: object), filter.matches(made)
      {
        found.append(made)
      }
      return true
    }
    return found
  }

  private func metrics(_ kind: ResourceKind, of object: CachedObject) -> CachedObject? {
    let tree: JSON
    if kind.isNamespaced {
      guard let containers = usage.pod(ObjectKey(object.namespace, object.name)) else { return nil }
      tree = ResourceUsage.podMetrics(object.tree, containers)
    } else {
      guard let node = usage.node(object.name) else { return nil }
      tree = ResourceUsage.nodeMetrics(object.tree, node)
    }
    return CachedObject(key: Self.key(kind, object.namespace, object.name), revision: 0, tree: tree)
  }
}
