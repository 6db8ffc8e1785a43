// What the node itself says no to besides room: profiles that it cannot enforce, and taints. Pure.

import ClusterClient
import ClusterObjects

/// Whether the pod wants to be confined by AppArmor, which this node's containerd does not do.
func wantsAppArmor(_ spec: PodSpec) -> Bool {
  func isProfile(_ type: String?) -> Bool { type.map { !$0.isEmpty && $0 != "Unconfined" } ?? false }
  if isProfile(spec.pod.at("spec", "securityContext", "appArmorProfile", "type")?.string) { return true }
  if spec.all.contains(where: { isProfile($0.tree.at("securityContext", "appArmorProfile", "type")?.string) })
  {
    return true
  }
  // As before there was a field.
  return spec.pod.annotations.contains {
    $0.key.hasPrefix("container.apparmor.security.beta.kubernetes.io/") && !$0.value.isEmpty
      && $0.value != "unconfined"
  }
}

/// Whether a taint of the node keeps the pod from running here: those alone that pods are evicted by.
func isTaintedFor(_ pod: JSON, _ taints: [JSON]) -> Bool {
  taints.contains { $0["effect"]?.string == "NoExecute" && !Tolerations.tolerate($0, pod) }
}
