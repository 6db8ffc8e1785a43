// Which volume suits a claim: what the scheduler, which looks for one on a node, and the binder agree on.

import ClusterObjects

public enum VolumeSelection {
  /// Set by whoever bound a volume to a claim without being asked to by name.
  public static let boundByController = "pv.kubernetes.io/bound-by-controller"
  /// On a claim whose binding is finished on both sides.
  public static let bindCompleted = "pv.kubernetes.io/bind-completed"
  /// On a claim: the node that its pod goes to, for which its volume is to be made.
  public static let selectedNode = "volume.kubernetes.io/selected-node"
  /// A class of volumes that exist already: none is made.
  public static let noProvisioner = "kubernetes.io/no-provisioner"

  /// Of a claim or a volume; empty for none.
  public static func className(_ object: JSON) -> String {
    object.annotations["volume.beta.kubernetes.io/storage-class"]
      ?? object.at("spec", "storageClassName")?.string ?? ""
  }

  public static func size(ofClaim claim: JSON) -> Quantity {
    Quantity(claim.at("spec", "resources", "requests", "storage")) ?? Quantity(0)
  }

  public static func capacity(ofVolume volume: JSON) -> Quantity {
    Quantity(volume.at("spec", "capacity", "storage")) ?? Quantity(0)
  }

  /// Whether the volume names this claim. One without a uid was reserved by a person, for whoever has the name.
  public static func isReserved(_ volume: JSON, for claim: JSON) -> Bool {
    guard let reference = volume.at("spec", "claimRef") else { return false }
    let uid = reference["uid"]?.string ?? ""
    return reference["namespace"]?.string == claim.namespace && reference["name"]?.string == claim.name
      && (uid.isEmpty || uid == claim.uid)
  }

  /// Whether the claim may have the volume: reserved for it, or free and large enough, of its class, modes and labels.
  public static func suits(_ volume: JSON, _ claim: JSON) -> Bool {
    if volume.at("spec", "claimRef") != nil { return isReserved(volume, for: claim) }
    if volume.isTerminating || volume.at("status", "phase")?.string ?? "Available" != "Available" {
      return false
    }
    return objection(volume, claim) == nil && className(volume) == className(claim)
      && isSelected(volume, by: claim)
  }

  /// The smallest volume that suits; one that is reserved for the claim goes before all others.
  public static func best(for claim: JSON, among volumes: some Sequence<JSON>) -> JSON? {
    var best: (volume: JSON, capacity: Quantity)?
    for volume in volumes where suits(volume, claim) {
      if volume.at("spec", "claimRef") != nil { return volume }
      let capacity = capacity(ofVolume: volume)
      if best.map({ (capacity, volume.name) < ($0.capacity, $0.volume.name) }) ?? true {
        best = (volume, capacity)
      }
    }
    return best?.volume
  }

  /// What speaks against a volume that a claim asks for by name, in upstream's words; nil for nothing.
  public static func objection(_ volume: JSON, _ claim: JSON) -> String? {
    if capacity(ofVolume: volume) < size(ofClaim: claim) { return "requested PV is too small" }
    let filesystem = "Filesystem"
    if (volume.at("spec", "volumeMode")?.string ?? filesystem)
      != (claim.at("spec", "volumeMode")?.string ?? filesystem)
    {
      return "incompatible volumeMode"
    }
    let modes = Set(volume.at("spec", "accessModes")?.elements.compactMap(\.string) ?? [])
    let wanted = claim.at("spec", "accessModes")?.elements.compactMap(\.string) ?? []
    return wanted.allSatisfy(modes.contains) ? nil : "incompatible accessMode"
  }

  private static func isSelected(_ volume: JSON, by claim: JSON) -> Bool {
    guard let selector = claim.at("spec", "selector") else { return true }
    return (try? LabelSelector(selector))?.matches(volume.labels) ?? false
  }
}
