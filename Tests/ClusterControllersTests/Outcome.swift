// What a cluster came to, without what depends on how it came there: names that are drawn, versions, times, the history of
// rollouts. Two clusters of one wish must come to the same.

import ClusterClient
import ClusterObjects
import Diagnostics

@testable import ClusterControllers

/// Lines that are equal for two clusters that came to the same.
func outcome(_ api: MemoryClusterAPI) -> [String] {
  let pods = api.objects(.pods)
  let sets = api.objects(.replicaSets)
  var lines: [String] = []
  func add(_ kind: String, _ object: JSON, _ fields: (String, JSON?)...) {
    let values = fields.map { "\($0.0)=\($0.1?.text ?? "-")" }.joined(separator: " ")
    lines.append("\(kind) \(object.namespace)/\(object.name) \(values)")
  }
  for object in api.objects(.namespaces) { add("namespace", object, ("phase", object.status["phase"])) }
  for object in api.objects(.serviceAccounts) { add("account", object) }
  for object in api.objects(.configMaps) { add("map", object, ("data", object["data"])) }
  for object in api.objects(.deployments) {
    add(
      "deployment", object, ("replicas", object.spec["replicas"]),
      ("seen", JSON(object.status["observedGeneration"]?.integer == object.generation)),
      ("available", object.status["availableReplicas"]), ("updated", object.status["updatedReplicas"]),
      ("all", object.status["replicas"]), ("progress", object.condition("Progressing")?["reason"]))
  }
  for object in api.objects(.statefulSets) {
    add(
      "statefulset", object, ("ready", object.status["readyReplicas"]), ("all", object.status["replicas"]),
      ("updated", object.status["updatedReplicas"]))
  }
  for object in api.objects(.jobs) {
    add(
      "job", object, ("succeeded", object.status["succeeded"]),
      ("complete", JSON(object.isConditionTrue("Complete"))), ("active", object.status["active"]))
  }
  for object in api.objects(.disruptionBudgets) {
    add(
      "budget", object, ("expected", object.status["expectedPods"]),
      ("healthy", object.status["currentHealthy"]), ("desired", object.status["desiredHealthy"]),
      ("allowed", object.status["disruptionsAllowed"]))
  }
  for object in api.objects(.resourceQuotas) { add("quota", object, ("used", object.status["used"])) }
  // Of ReplicaSets and pods: whose they are, not what they are called.
  let names = Dictionary(sets.map { ($0.uid, $0.controllerReference?["name"]?.string ?? "") }) { $1 }
  for set in sets where set.spec["replicas"]?.int ?? 0 > 0 {
    lines.append(
      "replicaset of \(set.namespace)/\(names[set.uid] ?? "") \(set.spec["replicas"]?.text ?? "") "
        + "ready=\(set.status["readyReplicas"]?.text ?? "-") image=\(image(set.at("spec", "template") ?? [:]))"
    )
  }
  for pod in pods {
    let owner = pod.controllerReference
    let uid = owner?["uid"]?.string ?? ""
    let of = names[uid] ?? owner?["name"]?.string ?? "nobody"
    let name = owner?["kind"] == "StatefulSet" ? pod.name : ""
    lines.append(
      "pod \(name) of \(pod.namespace)/\(of) image=\(image(pod)) \(pod.status["phase"]?.string ?? "") "
        + "finalizers=\(pod.finalizers) going=\(pod.isTerminating)")
  }
  func count(_ label: String, _ objects: [JSON], _ addresses: (JSON) -> Int) {
    var counts: [String: Int] = [:]
    for object in objects {
      let service = object.labels["kubernetes.io/service-name"] ?? object.name
      counts["\(object.namespace)/\(service)", default: 0] += addresses(object)
    }
    for (service, count) in counts { lines.append("\(label) of \(service): \(count)") }
  }
  count("endpoints", api.objects(.endpointSlices)) { slice in
    (slice["endpoints"]?.elements ?? []).count { $0.at("conditions", "ready")?.bool == true }
  }
  count("subsets", api.objects(.endpoints)) { object in
    var sum = 0
    for subset in object["subsets"]?.elements ?? [] { sum += subset["addresses"]?.elements.count ?? 0 }
    return sum
  }
  // Whoever has an owner that is no more.
  let kinds: [GroupVersionResource] = [
    .pods, .replicaSets, .jobs, .endpointSlices, .controllerRevisions, .configMaps, .serviceAccounts,
  ]
  let everything = kinds + [.deployments, .statefulSets, .services, .namespaces, .endpoints, .cronJobs]
  var living: Set<String> = []
  for kind in everything { for object in api.objects(kind) { living.insert(object.uid) } }
  for object in kinds.flatMap({ api.objects($0) }) {
    for owner in object.at("metadata", "ownerReferences")?.elements ?? []
    where !living.contains(owner["uid"]?.string ?? "") {
      lines.append("orphan \(object["kind"]?.string ?? "") of \(owner["name"]?.string ?? "")")
    }
  }
  return lines.sorted()
}

private func image(_ pod: JSON) -> String { pod.spec["containers"]?[0]?["image"]?.string ?? "" }

/// Whether everything that was wished is there and said: without looking at another cluster.
func isSettled(_ api: MemoryClusterAPI) -> Bool { unsettled(api) == nil }

/// The first thing that is not as it was wished, or not said so.
func unsettled(_ api: MemoryClusterAPI) -> String? {
  var counts: [String: Int] = [:]
  for pod in api.objects(.pods) {
    if let app = pod.labels["app"] { counts["\(pod.namespace)/\(app)", default: 0] += 1 }
  }
  func lacks(_ object: JSON, _ fields: String...) -> String? {
    let wished = object.spec["replicas"]?.int ?? 1
    let count = counts["\(object.namespace)/\(object.name)", default: 0]
    if count == wished, fields.allSatisfy({ (object.status[$0]?.int ?? 0) == wished }) { return nil }
    return "\(object.kind) \(object.key) has \(count) pods of \(wished) and says \(object.status)"
  }
  for object in api.objects(.deployments) {
    guard object.status["observedGeneration"]?.integer == object.generation else {
      return "Deployment \(object.key) was not looked at since generation \(object.generation)"
    }
    if let text = lacks(object, "availableReplicas", "updatedReplicas", "replicas") { return text }
  }
  for object in api.objects(.statefulSets) {
    if let text = lacks(object, "readyReplicas", "updatedReplicas", "replicas") { return text }
  }
  if let job = api.objects(.jobs).first(where: { !$0.isConditionTrue("Complete") }) {
    return "Job \(job.key) says \(job.status)"
  }
  return api.objects(.namespaces).first(where: \.isTerminating).map {
    "Namespace \($0.name) says \($0.status)"
  }
}
