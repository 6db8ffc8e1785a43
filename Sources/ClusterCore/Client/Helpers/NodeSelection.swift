// Which nodes a pod asks for by name, labels and affinity: what scheduler and DaemonSets agree on.

import ClusterObjects

/// Pure; linear in what the pod asks for.
public enum NodeSelection {
  /// `spec.nodeSelector` and the required node affinity of a pod's spec.
  public static func allows(_ node: JSON, by spec: JSON) -> Bool {
    let labels = node.labels
    let selector = spec["nodeSelector"]?.stringMap ?? [:]
    guard selector.allSatisfy({ labels[$0.key] == $0.value }) else { return false }
    let required = spec.at("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    guard let required else { return true }
    return (required["nodeSelectorTerms"]?.elements ?? []).contains { matches($0, node, labels) }
  }

  /// One NodeSelectorTerm; an empty one matches nothing.
  public static func matches(_ term: JSON, _ node: JSON, _ labels: [String: String]) -> Bool {
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
}
