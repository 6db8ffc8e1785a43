// May a pod run on a node, by the node's name, labels and taints? Asked for pods that do not exist yet.

import ClusterClient
import ClusterObjects

enum NodeFit {
  /// `spec.nodeName`, `spec.nodeSelector` and the required node affinity.
  static func isSelected(_ node: JSON, by spec: JSON) -> Bool {
    if let name = spec["nodeName"]?.string, !name.isEmpty, name != node.name { return false }
    let labels = node.labels
    let selector = spec["nodeSelector"]?.stringMap ?? [:]
    guard selector.allSatisfy({ labels[$0.key] == $0.value }) else { return false }
    let required = spec.at("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    guard let required else { return true }
    return (required["nodeSelectorTerms"]?.elements ?? []).contains { matches($0, node, labels) }
  }

  /// One NodeSelectorTerm; an empty one matches nothing.
  private static func matches(_ term: JSON, _ node: JSON, _ labels: [String: String]) -> Bool {
    let expressions = term["matchExpressions"]?.elements ?? []
    let fields = term["matchFields"]?.elements ?? []
    if expressions.isEmpty, fields.isEmpty { return false }
    return expressions.allSatisfy { matches($0, labels) }
      && fields.allSatisfy {
        $0["key"]?.string == "metadata.name" && matches($0, ["metadata.name": node.name])
      }
  }

  private static func matches(_ expression: JSON, _ labels: [String: String]) -> Bool {
    let words: [String: LabelSelector.Operator] = [
      "In": .in, "NotIn": .notin, "Exists": .exists, "DoesNotExist": .absent, "Gt": .greater, "Lt": .less,
    ]
    guard let word = words[expression["operator"]?.string ?? ""] else { return false }
    let values = expression["values"]?.elements.compactMap(\.string) ?? []
    return LabelSelector.Requirement(expression["key"]?.string ?? "", word, values).matches(labels)
  }

  /// Whether the pod tolerates every taint of the node with one of these effects.
  static func tolerates(_ node: JSON, _ spec: JSON, effects: Set<String>) -> Bool {
    let tolerations = spec["tolerations"]?.elements ?? []
    return (node.at("spec", "taints")?.elements ?? []).allSatisfy { taint in
      !effects.contains(taint["effect"]?.string ?? "") || tolerations.contains { tolerates(taint, $0) }
    }
  }

  private static func tolerates(_ taint: JSON, _ toleration: JSON) -> Bool {
    let effect = toleration["effect"]?.string ?? ""
    if !effect.isEmpty, effect != taint["effect"]?.string { return false }
    let exists = toleration["operator"]?.string == "Exists"
    let key = toleration["key"]?.string ?? ""
    if key.isEmpty { return exists }
    guard key == taint["key"]?.string else { return false }
    return exists || (toleration["value"]?.string ?? "") == (taint["value"]?.string ?? "")
  }
}
