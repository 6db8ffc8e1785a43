// A pod's claims by what scheduling has to do about them, and which volumes suit the ones that wait.

import ClusterClient
import ClusterObjects

struct ClaimSort: Sendable {
  var bound: [JSON] = []
  /// Of a class with WaitForFirstConsumer, not bound yet.
  var waiting: [JSON] = []

  /// Fails with upstream's words where no node can help.
  static func sort(_ pod: PodInfo, _ objects: ClusterObjectsView) -> Result<ClaimSort, Problem> {
    var sorted = ClaimSort()
    for name in pod.claims {
      guard let claim = objects.claims[pod.namespace, name] else {
        let words =
          pod.ephemeralClaims.contains(name)
          ? "waiting for ephemeral volume controller to create the persistentvolumeclaim \"\(name)\""
          : "persistentvolumeclaim \"\(name)\" not found"
        return .failure(Problem(words))
      }
      if claim.isTerminating {
        return .failure(Problem("persistentvolumeclaim \"\(name)\" is being deleted"))
      }
      if claim.at("status", "phase")?.string == "Lost" {
        let volume = claim.at("spec", "volumeName")?.string ?? ""
        return .failure(
          Problem("persistentvolumeclaim \"\(name)\" bound to non-existent persistentvolume \"\(volume)\""))
      }
      let volume = claim.at("spec", "volumeName")?.string ?? ""
      let isDone =
        claim.annotations[VolumeSelection.bindCompleted] != nil
        || claim.at("status", "phase")?.string == "Bound"
      if !volume.isEmpty, isDone {
        sorted.bound.append(claim)
      } else if volume.isEmpty, waits(claim, objects) {
        sorted.waiting.append(claim)
      } else {
        return .failure(Problem("pod has unbound immediate PersistentVolumeClaims"))
      }
    }
    return .success(sorted)
  }

  private static func waits(_ claim: JSON, _ objects: ClusterObjectsView) -> Bool {
    let storageClass = objects.storageClasses["", VolumeSelection.className(claim)]
    return storageClass?["volumeBindingMode"]?.string == "WaitForFirstConsumer"
  }
}

extension ClaimSort {
  typealias Problem = Rejection
}
extension Rejection: Error {
  fileprivate init(_ words: String) { self.init([words], isResolvable: false) }
}

/// Which volumes a node can reach, and which suit a claim.
enum VolumeMatch {
  struct Plan: Sendable {
    var matches: [(claim: JSON, volume: JSON)] = []
    var toProvision: [JSON] = []
  }

  static func allows(_ volume: JSON, _ node: NodeInfo) -> Bool {
    guard let terms = volume.at("spec", "nodeAffinity", "required", "nodeSelectorTerms")?.elements else {
      return true
    }
    return terms.contains { NodeTerm($0).matches(name: node.name, labels: node.labels) }
  }

  /// A volume for each claim, or its making; nil when one can have neither on this node.
  static func plan(
    _ claims: [JSON], _ objects: ClusterObjectsView, _ node: NodeInfo, promised: [String: ObjectKey]
  ) -> Plan? {
    var plan = Plan()
    var taken = Set(promised.keys)
    // Smallest demand first, each the smallest volume that will do: a large one stays free for the large.
    let ordered = claims.sorted { VolumeSelection.size(ofClaim: $0) < VolumeSelection.size(ofClaim: $1) }
    for claim in ordered {
      if let selected = claim.annotations[VolumeSelection.selectedNode], !selected.isEmpty {
        // Its making for a node has begun: it is that node or none.
        if selected != node.name { return nil }
        plan.toProvision.append(claim)
        continue
      }
      let fitting = objects.volumes.values.filter {
        !(taken.contains($0.name) && promised[$0.name] != claim.key) && VolumeSelection.suits($0, claim)
          && allows($0, node)
      }
      if let best = VolumeSelection.best(for: claim, among: fitting) {
        taken.insert(best.name)
        plan.matches.append((claim, best))
      } else if provisions(claim, objects, node) {
        plan.toProvision.append(claim)
      } else {
        return nil
      }
    }
    return plan
  }

  private static func provisions(_ claim: JSON, _ objects: ClusterObjectsView, _ node: NodeInfo) -> Bool {
    guard let storageClass = objects.storageClasses["", VolumeSelection.className(claim)] else {
      return false
    }
    let provisioner = storageClass["provisioner"]?.string ?? ""
    if provisioner.isEmpty || provisioner == VolumeSelection.noProvisioner { return false }
    let terms = storageClass["allowedTopologies"]?.elements ?? []
    return terms.isEmpty
      || terms.contains { term in
        (term["matchLabelExpressions"]?.elements ?? []).allSatisfy { expression in
          guard let value = node.labels[expression["key"]?.string ?? ""] else { return false }
          return expression["values"]?.elements.contains { $0.string == value } ?? false
        }
      }
  }
}
