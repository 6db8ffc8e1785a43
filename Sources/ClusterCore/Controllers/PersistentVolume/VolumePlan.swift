// What a volume comes to next. Pure.
//
//   Available ─► Bound ─► Released ─► deleted, or kept; Failed, when nobody can reclaim it

import ClusterClient
import ClusterObjects

enum VolumePlan: Equatable {
  case phase(String)
  /// Its claim decides.
  case askClaim(ObjectKey)
  /// Free again. A person's own reservation keeps the name and forgets the uid.
  case unbind(keepsReservation: Bool)
  /// The claim is gone.
  case released(VolumeReclaim)
}

enum VolumeReclaim: Equatable {
  case keep
  /// Whoever made the volume removes it.
  case byProvisioner
  case failed(PlannedEvent)
}

enum VolumeNames {
  static let provisionedBy = "pv.kubernetes.io/provisioned-by"
}

/// - Parameter claim: what the volume's `claimRef` names, as the API has it now; another uid is another claim.
func planVolume(_ volume: JSON, claim: JSON?) -> VolumePlan {
  guard let reference = volume.at("spec", "claimRef") else { return .phase("Available") }
  let key = ObjectKey(reference["namespace"]?.string ?? "", reference["name"]?.string ?? "")
  let uid = reference["uid"]?.string ?? ""
  if uid.isEmpty { return claim == nil ? .phase("Available") : .askClaim(key) }
  guard let claim, claim.uid == uid else { return .released(planReclaim(volume)) }
  let bound = claim.at("spec", "volumeName")?.string ?? ""
  if bound == volume.name { return .phase("Bound") }
  if bound.isEmpty { return .askClaim(key) }
  // The claim has another volume.
  let isOurs = volume.annotations[VolumeSelection.boundByController] != nil
  if isOurs, volume.annotations[VolumeNames.provisionedBy] != nil, reclaimPolicy(volume) == "Delete" {
    return .released(planReclaim(volume))
  }
  return .unbind(keepsReservation: !isOurs)
}

private func reclaimPolicy(_ volume: JSON) -> String {
  volume.at("spec", "persistentVolumeReclaimPolicy")?.string ?? "Retain"
}

private func planReclaim(_ volume: JSON) -> VolumeReclaim {
  switch reclaimPolicy(volume) {
  case "Delete":
    if volume.annotations[VolumeNames.provisionedBy] != nil { return .byProvisioner }
    return .failed(
      .warning(
        "VolumeFailedDelete",
        "Error getting deleter volume plugin for volume \"\(volume.name)\": no deletable volume plugin matched"
      ))
  case "Recycle":
    return .failed(.warning("VolumeFailedRecycle", "No recycler plugin found for the volume!"))
  default: return .keep
  }
}
