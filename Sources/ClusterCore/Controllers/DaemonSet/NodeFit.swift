// May a pod run on a node, by the node's name, labels and taints? Asked for pods that do not exist yet.

import ClusterClient
import ClusterObjects

enum NodeFit {
  /// `spec.nodeName`, `spec.nodeSelector` and the required node affinity.
  static func isSelected(_ node: JSON, by spec: JSON) -> Bool {
    if let name = spec["nodeName"]?.string, !name.isEmpty, name != node.name { return false }
    return NodeSelection.allows(node, by: spec)
  }

  /// Whether the pod tolerates every taint of the node with one of these effects.
  static func tolerates(_ node: JSON, _ spec: JSON, effects: Set<String>) -> Bool {
    let pod: JSON = ["spec": spec]
    return (node.at("spec", "taints")?.elements ?? []).allSatisfy { taint in
      !effects.contains(taint["effect"]?.string ?? "") || Tolerations.tolerate(taint, pod)
    }
  }
}
