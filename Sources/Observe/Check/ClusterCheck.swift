// What the view tells of the cluster as a whole: nodes that are not ready, objects that no plan contains; and a node's parts as items
// of a check.

import ClusterObjects
import ClusterView

/// An item for each node and each object that is left out.
public func clusterCategory(_ view: ClusterView) -> CheckReport.Category {
  var items = view.nodes.values.sorted { $0.name < $1.name }.map { node in
    node.isReady
      ? CheckReport.Item.ok("node \(node.name)", "ready")
      : .failed("node \(node.name)", "CLI0128", "is not ready", next: "kubectl describe node \(node.name)")
  }
  items += view.quarantined.sorted { "\($0.key.key)" < "\($1.key.key)" }.map { entry in
    .failed(
      "\(entry.key.kind) \(entry.key.key)", "CLI0129", "is left out: \(entry.value)",
      next:
        "kubectl get \(entry.key.kind.lowercased()) -n \(entry.key.key.namespace) \(entry.key.key.name) -o yaml"
    )
  }
  return .init("cluster", items)
}

extension NodeStatus {
  /// Its parts as items of a check.
  public var category: CheckReport.Category {
    .init(
      "node \(node)",
      parts.map { part in
        let state: CheckReport.State =
          switch part.state {
          case .ok: .ok
          case .warning: .warning
          case .failed: .failed
          }
        return CheckReport.Item(
          part.name, state, part.text, code: state == .ok ? nil : "CLI0170", next: part.next)
      })
  }
}

/// Whether what an event warned of is behind its object: a pod that found no node has one by now.
public func isOver(_ reason: String, of kind: String, _ key: ObjectKey, in view: ClusterView) -> Bool {
  reason == "FailedScheduling" && kind == "Pod" && view.pods[key]?.nodeName.isEmpty == false
}
