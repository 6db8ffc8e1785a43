// What a ReplicaSet lacks or has too many of. Pure: pods and numbers in, a plan out.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Steps that bring a ReplicaSet's pods to what its spec says.
struct ReplicaSetPlan: Equatable {
  /// Pods to make from the template.
  var create = 0
  /// Pods to delete, those first that are missed least.
  var delete: [JSON] = []
  /// Pods without an owner that the selector matches.
  var adopt: [JSON] = []
  /// Pods owned whose labels left the selector.
  var release: [JSON] = []
  /// `status`, to be written when it differs.
  var status: JSON = .null
  /// When a ready pod becomes available (`minReadySeconds`), in seconds from now.
  var availableIn: Int?
}

enum PodState {
  static func phase(_ pod: JSON) -> String { pod.at("status", "phase")?.string ?? "Pending" }
  static func isFinished(_ pod: JSON) -> Bool { ["Succeeded", "Failed"].contains(phase(pod)) }
  static func isActive(_ pod: JSON) -> Bool { !isFinished(pod) && !pod.isTerminating }
  static func isReady(_ pod: JSON) -> Bool { pod.isConditionTrue("Ready") }
  /// Seconds since 1970 at which the pod became ready.
  static func readySince(_ pod: JSON) -> Int64? {
    guard isReady(pod) else { return nil }
    return pod.condition("Ready")?["lastTransitionTime"]?.string.flatMap { Timestamp.parse($0)?.seconds }
  }
  /// Seconds until a ready pod counts as available; 0 when it does, nil when it is not ready.
  static func availableIn(_ pod: JSON, minReadySeconds: Int, now: Int64) -> Int? {
    guard isReady(pod) else { return nil }
    guard minReadySeconds > 0, let since = readySince(pod) else { return 0 }
    return max(0, Int(since) + minReadySeconds - Int(now))
  }
}

extension JSON {
  fileprivate var isReplicationController: Bool { kind == "ReplicationController" }

  /// The selector of a ReplicaSet; that of a ReplicationController, which is labels alone, in the same form.
  var podSelector: JSON? {
    let selector = at("spec", "selector")
    guard isReplicationController, let selector else { return selector }
    return ["matchLabels": selector]
  }
}

/// `pods` are those of the namespace that the set owns, and those that nobody owns and the selector matches. Others change nothing.
func planReplicaSet(_ set: JSON, pods: [JSON], now: Int64 = Timestamp.now().seconds) -> ReplicaSetPlan {
  var plan = ReplicaSetPlan()
  let selector = SelectorMatch.selector(set.podSelector)
  var owned: [JSON] = []
  for pod in pods {
    let matches = selector.matches(pod.labels)
    if pod.isControlled(by: set) {
      if matches { owned.append(pod) } else if !set.isTerminating { plan.release.append(pod) }
    } else if pod.controllerReference == nil, matches, PodState.isActive(pod), !set.isTerminating {
      plan.adopt.append(pod)
      owned.append(pod)
    }
  }
  let active = owned.filter(PodState.isActive)
  let wanted = set.at("spec", "replicas")?.int ?? 1
  if !set.isTerminating {
    if active.count < wanted { plan.create = wanted - active.count }
    if active.count > wanted {
      plan.delete = Array(rankedForDeletion(active, now: now).prefix(active.count - wanted))
    }
  }
  let minReady = set.at("spec", "minReadySeconds")?.int ?? 0
  let templateLabels = set.at("spec", "template", "metadata", "labels")?.stringMap ?? [:]
  let availability = active.map { PodState.availableIn($0, minReadySeconds: minReady, now: now) }
  plan.availableIn = availability.compactMap(\.self).filter { $0 > 0 }.min()
  var status = set.status.object == nil ? JSON.object(JSONObject()) : set.status
  status["replicas"] = JSON(active.count)
  func count(_ field: String, _ value: Int) { status[field] = value == 0 ? nil : JSON(value) }
  count("fullyLabeledReplicas", active.count { SelectorMatch.contains(templateLabels, $0.labels) })
  count("readyReplicas", active.count(where: PodState.isReady))
  count("availableReplicas", availability.count { $0 == 0 })
  if !set.isReplicationController {
    count("terminatingReplicas", owned.count { $0.isTerminating && !PodState.isFinished($0) })
  }
  status["observedGeneration"] = JSON(set.generation)
  plan.status = status
  return plan
}

/// Pods in the order in which they should go: unbound, pending, not ready, cheap by annotation, sharing a
/// node with more of their kind, ready for a shorter time, restarted more, younger.
func rankedForDeletion(_ pods: [JSON], now: Int64) -> [JSON] {
  var perNode: [String: Int] = [:]
  for pod in pods { perNode[pod.at("spec", "nodeName")?.string ?? "", default: 0] += 1 }
  func rank(_ pod: JSON) -> [Int64] {
    let node = pod.at("spec", "nodeName")?.string ?? ""
    let phase = ["Pending": 0, "Unknown": 1, "Running": 2][PodState.phase(pod)] ?? 2
    let cost = pod.annotations["controller.kubernetes.io/pod-deletion-cost"].flatMap { Int64($0) } ?? 0
    let readyFor = PodState.readySince(pod).map { now - $0 } ?? 0
    let restarts = (pod.at("status", "containerStatuses")?.elements ?? []).compactMap {
      $0["restartCount"]?.integer
    }.max()
    let created = Timestamp.parse(pod.creationTimestamp)?.seconds ?? 0
    return [
      node.isEmpty ? 0 : 1, Int64(phase), PodState.isReady(pod) ? 1 : 0, cost, -Int64(perNode[node] ?? 0),
      readyFor, -(restarts ?? 0), -created,
    ]
  }
  return pods.map { (rank($0), $0) }.sorted {
    $0.0 == $1.0 ? $0.1.key < $1.1.key : $0.0.lexicographicallyPrecedes($1.0)
  }.map(\.1)
}

/// A pod of the set's template, without a name: the server chooses one.
func podFromTemplate(of set: JSON) -> JSON {
  let template = set.at("spec", "template") ?? .null
  var metadata: JSON = [
    "generateName": JSON("\(set.name)-"), "namespace": JSON(set.namespace),
    "ownerReferences": [set.controllerReferenceToThis],
  ]
  for field in ["labels", "annotations", "finalizers"] {
    if let value = template.at("metadata", field) { metadata[field] = value }
  }
  return ["apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec]
}
