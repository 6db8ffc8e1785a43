// What a claim comes to next: a volume, the making of one, or why neither. Pure.
//
//   Pending ─► (a volume that suits, or one made by the class) ─► Bound ─► Lost, when the volume goes

import ClusterClient
import ClusterObjects

struct ClaimPlan: Equatable {
  /// The volume that the claim is to have; to be completed on both sides.
  var volume: JSON?
  /// What the status says while nothing is bound; nil leaves it.
  var phase: String?
  /// Who is asked to make a volume.
  var provisioner: String?
  var event: PlannedEvent?
}

/// What is known beside the claim.
struct ClaimSurroundings {
  var volumes: ObjectSnapshot
  var storageClasses: ObjectSnapshot
  /// Pods without a node that name the claim.
  var waitingPods: [String] = []
}

func planClaim(_ claim: JSON, _ known: ClaimSurroundings) -> ClaimPlan {
  let name = claim.at("spec", "volumeName")?.string ?? ""
  if claim.annotations[VolumeSelection.bindCompleted] != nil { return planBoundClaim(claim, name, known) }
  if claim.isTerminating { return ClaimPlan() }
  if !name.isEmpty { return planNamedVolume(claim, name, known) }
  let className = VolumeSelection.className(claim)
  let storageClass = className.isEmpty ? nil : known.storageClasses["", className]
  let isDelayed = storageClass?["volumeBindingMode"]?.string == "WaitForFirstConsumer"
  let volumes = known.volumes.values
  let volume =
    isDelayed
    ? volumes.first { VolumeSelection.isReserved($0, for: claim) }
    : VolumeSelection.best(for: claim, among: volumes)
  if let volume { return ClaimPlan(volume: volume) }
  if isDelayed, (claim.annotations[VolumeSelection.selectedNode] ?? "").isEmpty {
    return ClaimPlan(phase: "Pending", event: waiting(known.waitingPods))
  }
  if className.isEmpty {
    return ClaimPlan(
      phase: "Pending",
      event: .normal(
        "FailedBinding", "no persistent volumes available for this claim and no storage class is set"))
  }
  return planMaking(className, storageClass)
}

private func waiting(_ pods: [String]) -> PlannedEvent {
  switch pods.count {
  case 0:
    .normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
  case 1: .normal("WaitForPodScheduled", "waiting for pod \(pods[0]) to be scheduled")
  default:
    .normal("WaitForPodScheduled", "waiting for pods \(pods.sorted().joined(separator: ",")) to be scheduled")
  }
}

private func planMaking(_ className: String, _ storageClass: JSON?) -> ClaimPlan {
  guard let provisioner = storageClass?["provisioner"]?.string else {
    return ClaimPlan(
      phase: "Pending",
      event: .warning("ProvisioningFailed", "storageclass.storage.k8s.io \"\(className)\" not found"))
  }
  // Upstream's own provisioners are gone; what is left of the prefix names classes whose volumes people make.
  if provisioner == VolumeSelection.noProvisioner {
    return ClaimPlan(
      phase: "Pending",
      event: .warning("ProvisioningFailed", "no volume plugin matched name: \(provisioner)"))
  }
  let message =
    "Waiting for a volume to be created either by the external provisioner '\(provisioner)' or manually by the "
    + "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
    + "correctly registered."
  return ClaimPlan(
    phase: "Pending", provisioner: provisioner, event: .normal("ExternalProvisioning", message))
}

/// The claim asks for one volume by name.
private func planNamedVolume(_ claim: JSON, _ name: String, _ known: ClaimSurroundings) -> ClaimPlan {
  // It may come yet.
  guard let volume = known.volumes["", name] else { return ClaimPlan(phase: "Pending") }
  if volume.at("spec", "claimRef") == nil {
    let objection =
      VolumeSelection.className(volume) == VolumeSelection.className(claim)
      ? VolumeSelection.objection(volume, claim) : "storageClassName does not match"
    guard let objection else { return ClaimPlan(volume: volume) }
    return ClaimPlan(
      phase: "Pending",
      event: .warning("VolumeMismatch", "Cannot bind to requested volume \"\(name)\": \(objection)"))
  }
  if VolumeSelection.isReserved(volume, for: claim) { return ClaimPlan(volume: volume) }
  return ClaimPlan(
    phase: "Pending",
    event: .warning("FailedBinding", "volume \"\(name)\" already bound to a different claim."))
}

/// Bound once: its data are on that volume and no other.
private func planBoundClaim(_ claim: JSON, _ name: String, _ known: ClaimSurroundings) -> ClaimPlan {
  func lost(_ reason: String, _ message: String) -> ClaimPlan {
    let isNew = claim.at("status", "phase")?.string != "Lost"
    return ClaimPlan(phase: "Lost", event: isNew ? .warning(reason, message) : nil)
  }
  if name.isEmpty {
    return lost(
      "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
  }
  guard let volume = known.volumes["", name] else {
    return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
  }
  guard let reference = volume.at("spec", "claimRef") else { return ClaimPlan(volume: volume) }
  if reference["uid"]?.string == claim.uid { return ClaimPlan(volume: volume) }
  return lost(
    "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}
