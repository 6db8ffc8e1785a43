// The identity of a StatefulSet's pods: name, number, labels and claims, which outlive each of them.

import ClusterClient
import ClusterObjects
import Diagnostics

enum StatefulNames {
  static let podName = "statefulset.kubernetes.io/pod-name"
  static let podIndex = "apps.kubernetes.io/pod-index"
  /// On pods the name of their revision.
  static let revision = "controller-revision-hash"
  /// On ControllerRevisions the hash of their state.
  static let revisionHash = "controller.kubernetes.io/hash"
}

extension JSON {
  /// The number at the end of a pod's name, when the pod is named after this set.
  func ordinal(of pod: JSON) -> Int? {
    guard pod.name.hasPrefix(name + "-") else { return nil }
    let digits = pod.name.utf8.dropFirst(name.utf8.count + 1)
    guard !digits.isEmpty, digits.count <= 10, digits.allSatisfy({ $0 >= 48 && $0 <= 57 }) else { return nil }
    return Int(pod.name.dropFirst(name.count + 1))
  }

  var firstOrdinal: Int { at("spec", "ordinals", "start")?.int ?? 0 }
  fileprivate var claimTemplates: [JSON] { at("spec", "volumeClaimTemplates")?.elements ?? [] }
  func retention(_ field: String) -> String {
    at("spec", "persistentVolumeClaimRetentionPolicy", field)?.string ?? "Retain"
  }
}

/// The labels that say who a pod of a StatefulSet is.
func statefulIdentity(_ set: JSON, ordinal: Int) -> [String: String] {
  [StatefulNames.podName: "\(set.name)-\(ordinal)", StatefulNames.podIndex: "\(ordinal)"]
}

/// The pod of a number, from the template of a revision.
func statefulPod(_ set: JSON, revision: JSON, ordinal: Int) -> JSON {
  let name = "\(set.name)-\(ordinal)"
  let template = revisionTemplate(revision)
  var labels = template.at("metadata", "labels")?.stringMap ?? [:]
  labels.merge(statefulIdentity(set, ordinal: ordinal)) { $1 }
  labels[StatefulNames.revision] = revision.name
  var metadata: JSON = [
    "name": JSON(name), "generateName": JSON("\(set.name)-"), "namespace": JSON(set.namespace),
    "labels": JSON(labels), "ownerReferences": [set.controllerReferenceToThis],
  ]
  for field in ["annotations", "finalizers"] {
    if let value = template.at("metadata", field) { metadata[field] = value }
  }
  var spec = template.spec
  spec["hostname"] = JSON(name)
  if let service = set.at("spec", "serviceName")?.string, !service.isEmpty {
    spec["subdomain"] = JSON(service)
  }
  let claims = set.claimTemplates
  if !claims.isEmpty {
    let named = Set(claims.map(\.name))
    let volumes: [JSON] = claims.map {
      [
        "name": JSON($0.name),
        "persistentVolumeClaim": ["claimName": JSON(claimName($0, set, ordinal)), "readOnly": false],
      ]
    }
    spec["volumes"] = .array(
      volumes + (spec["volumes"]?.elements ?? []).filter { !named.contains($0["name"]?.string ?? "") })
  }
  return ["apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec]
}

private func claimName(_ template: JSON, _ set: JSON, _ ordinal: Int) -> String {
  "\(template.name)-\(set.name)-\(ordinal)"
}

/// The claims that the pod of a number needs.
func statefulClaims(_ set: JSON, ordinal: Int) -> [JSON] {
  let selected = set.at("spec", "selector", "matchLabels")?.stringMap ?? [:]
  return set.claimTemplates.map { template in
    var claim: JSON = ["apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": template.metadata]
    claim.set(JSON(claimName(template, set, ordinal)), at: "metadata", "name")
    claim.set(JSON(set.namespace), at: "metadata", "namespace")
    claim.set(nil, at: "metadata", "creationTimestamp")
    let labels = template.labels.merging(selected) { $1 }
    if !labels.isEmpty { claim.set(JSON(labels), at: "metadata", "labels") }
    claim["spec"] = template.spec
    return claim
  }
}

/// Who a claim is to go with, by the set's retention policy: with the set, with a pod that is one too many,
/// or with nobody. References of others stay. `pod` is the pod of the claim's number, when there is one.
func claimOwners(_ claim: JSON, set: JSON, pod: JSON?, isCondemned: Bool) -> [JSON] {
  let goesWithPod = set.retention("whenScaled") == "Delete" && isCondemned
  let goesWithSet = set.retention("whenDeleted") == "Delete" && !goesWithPod
  var owners = claim.ownerReferences.filter { reference in
    switch reference["kind"]?.string {
    case "StatefulSet": reference["uid"]?.string != set.uid
    case "Pod": reference["name"]?.string != pod?.name
    default: true
    }
  }
  func reference(_ owner: JSON, _ apiVersion: String, _ kind: String) -> JSON {
    [
      "apiVersion": JSON(apiVersion), "kind": JSON(kind), "name": JSON(owner.name), "uid": JSON(owner.uid),
    ]
  }
  if goesWithSet { owners.append(reference(set, "apps/v1", "StatefulSet")) }
  if goesWithPod, let pod { owners.append(reference(pod, "v1", "Pod")) }
  return owners
}
