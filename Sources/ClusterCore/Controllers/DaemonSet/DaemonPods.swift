// The pods of a DaemonSet: which node each is for, and what they stand that other pods need not.

import ClusterClient
import ClusterObjects
import Diagnostics

enum DaemonNames {
  static let hash = "controller-revision-hash"
  static let generation = "pod-template-generation"
  static let templateGeneration = "deprecated.daemonset.template.generation"

  /// Taints that never keep a daemon away: it may be what mends the node.
  static let tolerated: [(key: String, effect: String)] = [
    ("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"), ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"), ("node.kubernetes.io/unschedulable", "NoSchedule"),
  ]
}

/// The template's spec with the tolerations that every daemon has.
func daemonSpec(_ set: JSON) -> JSON {
  var spec = set.at("spec", "template")?.spec ?? .object([:])
  var tolerations = spec["tolerations"]?.elements ?? []
  var added = DaemonNames.tolerated
  if spec["hostNetwork"]?.bool == true {
    added.append(("node.kubernetes.io/network-unavailable", "NoSchedule"))
  }
  for (key, effect) in added {
    let toleration: JSON = ["key": JSON(key), "operator": "Exists", "effect": JSON(effect)]
    tolerations.removeAll { $0 == toleration }
    tolerations.append(toleration)
  }
  spec["tolerations"] = .array(tolerations)
  return spec
}

/// The pod for a node. The scheduler binds it, and may bind it nowhere else.
func daemonPod(_ set: JSON, spec: JSON, hash: String, node: String) -> JSON {
  var spec = spec
  spec.set(
    [
      "nodeSelectorTerms": [
        ["matchFields": [["key": "metadata.name", "operator": "In", "values": [JSON(node)]]]]
      ]
    ], at: "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
  let template = set.at("spec", "template") ?? .null
  var labels = template.at("metadata", "labels")?.stringMap ?? [:]
  labels[DaemonNames.hash] = hash
  if let generation = set.annotations[DaemonNames.templateGeneration] {
    labels[DaemonNames.generation] = generation
  }
  var metadata: JSON = [
    "generateName": JSON("\(set.name)-"), "namespace": JSON(set.namespace), "labels": JSON(labels),
    "ownerReferences": [set.controllerReferenceToThis],
  ]
  for field in ["annotations", "finalizers"] {
    if let value = template.at("metadata", field) { metadata[field] = value }
  }
  return ["apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec]
}

/// The node that a daemon's pod is on, or is made for.
func daemonNode(_ pod: JSON) -> String? {
  if let name = pod.at("spec", "nodeName")?.string, !name.isEmpty { return name }
  let required = pod.at(
    "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
  for term in required?.elements ?? [] {
    for field in term["matchFields"]?.elements ?? []
    where field["key"] == "metadata.name" && field["operator"] == "In" {
      if let values = field["values"]?.elements, values.count == 1 { return values[0].string }
    }
  }
  return nil
}

/// Whether a node is to get a daemon, and whether one that is there may stay.
func daemonVerdict(_ node: JSON, _ spec: JSON) -> (shouldRun: Bool, mayStay: Bool) {
  guard NodeFit.isSelected(node, by: spec) else { return (false, false) }
  if NodeFit.tolerates(node, spec, effects: ["NoSchedule", "NoExecute"]) { return (true, true) }
  return (false, NodeFit.tolerates(node, spec, effects: ["NoExecute"]))
}
