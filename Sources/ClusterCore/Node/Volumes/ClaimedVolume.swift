// What stands behind a volume that names a claim: a folder of this node. Pure.

import ClusterObjects

struct ClaimedVolume: Sendable, Hashable {
  enum Source: Sendable, Hashable {
    /// A folder that was thought out for the claim and need not be there yet.
    case made(path: String)
    case hostPath(JSON)
    /// A folder or mount that people keep.
    case local(path: String)
  }
  /// The PersistentVolume's name.
  var volume: String
  var source: Source
  var isReadOnly = false

  /// The claim that a volume of a pod names, or that was made for it.
  static func claimName(_ volume: JSON, pod: JSON) -> String? {
    if let name = volume.at("persistentVolumeClaim", "claimName")?.string { return name }
    return volume["ephemeral"] == nil ? nil : "\(pod.name)-\(volume["name"]?.string ?? "")"
  }
}

/// - Parameters:
///   - claim: as the API has it; nil when there is none.
///   - object: the PersistentVolume that the claim names.
func planClaimedVolume(_ volume: JSON, pod: JSON, claim: JSON?, volume object: JSON?)
  throws(MissingReference) -> ClaimedVolume
{
  let name = ClaimedVolume.claimName(volume, pod: pod) ?? ""
  func refused(_ words: String) -> MissingReference {
    MissingReference(message: "error processing PVC \(pod.namespace)/\(name): \(words)")
  }
  guard let claim else { throw refused("persistentvolumeclaim \"\(name)\" not found") }
  if volume["ephemeral"] != nil, claim.controllerReference?["uid"]?.string != pod.uid {
    throw refused("PVC \(name) was not created for pod \(pod.name) (pod is not owner)")
  }
  guard claim.at("status", "phase")?.string == "Bound" else { throw refused("PVC is not bound") }
  guard let object, object.at("spec", "claimRef", "uid")?.string == claim.uid else {
    throw refused("the volume \"\(claim.at("spec", "volumeName")?.string ?? "")\" is not the claim's")
  }
  let isReadOnly = volume.at("persistentVolumeClaim", "readOnly")?.bool ?? false
  let source: ClaimedVolume.Source
  if let host = object.at("spec", "hostPath") {
    let isMade = object.annotations["pv.kubernetes.io/provisioned-by"] == "weft.dev/local-path"
    source = isMade ? .made(path: host["path"]?.string ?? "") : .hostPath(host)
  } else if let path = object.at("spec", "local", "path")?.string {
    source = .local(path: path)
  } else {
    throw MissingReference(
      message:
        "volume \"\(object.name)\" is of a kind this node does not offer: it is no hostPath and not local")
  }
  return ClaimedVolume(volume: object.name, source: source, isReadOnly: isReadOnly)
}
