// `kubectl get componentstatuses`: how scheduler, controllers and store stand now. Computed when asked for, never stored.
// Upstream asks ports of the parts; here they run in this process, or in another one that leads.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Synchronization

/// The parts of the control plane that run in this process.
final class LocalComponents: Sendable {
  private let names = Mutex<Set<String>>([])

  func set(_ running: Set<String>) { names.withLock { $0 = running } }
  func contains(_ name: String) -> Bool { names.withLock { $0.contains(name) } }
}

extension RESTCore {
  static func isComponentStatus(_ kind: ResourceKind) -> Bool {
    kind.group.isEmpty && kind.kind == "ComponentStatus"
  }
  /// Made when asked for: there is nothing to be listed in the store.
  static func isComputed(_ kind: ResourceKind) -> Bool {
    isComponentStatus(kind) || kind.group == ResourceUsage.group
  }

  /// One of what is computed; nil when there is none of that name.
  func computed(_ kind: ResourceKind, namespace: String, name: String) async -> CachedObject? {
    if kind.group == ResourceUsage.group { return metrics(kind, namespace: namespace, name: name) }
    return await componentStatuses(kind).first { $0.name == name }
  }

  /// What is computed and a filter matches.
  func computed(_ kind: ResourceKind, namespace: String, _ filter: WatchFilter) async -> [CachedObject] {
    if kind.group == ResourceUsage.group { return metrics(kind, namespace: namespace, filter) }
    return await componentStatuses(kind).filter { filter.matches($0) }
  }

  static let componentStatusWarning = "v1 ComponentStatus is deprecated in v1.19+"

  /// All of them, by name.
  func componentStatuses(_ kind: ResourceKind) async -> [CachedObject] {
    [
      status(kind, "controller-manager", problem: managerProblem("controller-manager")),
      status(kind, "etcd-0", problem: await storeProblem()),
      status(kind, "scheduler", problem: managerProblem("scheduler")),
    ]
  }

  private func status(_ kind: ResourceKind, _ name: String, problem: String?) -> CachedObject {
    CachedObject(
      key: Self.key(kind, "", name), revision: 0,
      tree: [
        "apiVersion": "v1", "kind": "ComponentStatus", "metadata": ["name": JSON(name)],
        "conditions": [
          ["type": "Healthy", "status": problem == nil ? "True" : "False", "message": JSON(problem ?? "ok")]
        ],
      ])
  }

  /// Nil when it runs here, or when somebody holds its Lease. One Lease stands for both where one process runs both.
  private func managerProblem(_ name: String) -> String? {
    if components.contains(name) { return nil }
    guard let leases = registry[GroupVersionKind("coordination.k8s.io", "v1", "Lease")] else { return nil }
    let now = KubeTime.now.seconds
    for lease in ["kube-\(name)", "kube-controller-manager"] {
      guard let spec = cache(leases)[Self.key(leases, "kube-system", lease)]?.tree.spec,
        spec["holderIdentity"]?.string?.isEmpty == false,
        let renewed = spec["renewTime"]?.string.flatMap({ KubeTime($0) })
      else { continue }
      if now - renewed.seconds <= spec["leaseDurationSeconds"]?.integer ?? 15 { return nil }
    }
    return "runs in no process: nobody holds Lease kube-system/kube-\(name)"
  }

  private func storeProblem() async -> String? {
    do throws(StoreError) {
      _ = try await store.get(ObjectCaches.root + "namespaces/default")
      return nil
    } catch {
      return Failure.store(error).message
    }
  }
}
