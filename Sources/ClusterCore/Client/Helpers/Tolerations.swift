// Which taints a pod tolerates, and for how long: what scheduler, DaemonSets and eviction agree on.

import ClusterObjects

/// Pure; linear in the pod's tolerations.
public enum Tolerations {
  /// The first of a pod's tolerations that covers the taint; nil when it does not tolerate it.
  public static func first(_ pod: JSON, for taint: JSON) -> JSON? {
    (pod.at("spec", "tolerations")?.elements ?? []).first { covers($0, taint) }
  }

  public static func tolerate(_ taint: JSON, _ pod: JSON) -> Bool { first(pod, for: taint) != nil }

  private static func covers(_ toleration: JSON, _ taint: JSON) -> Bool {
    let effect = toleration["effect"]?.string ?? ""
    if !effect.isEmpty, effect != taint["effect"]?.string { return false }
    let key = toleration["key"]?.string ?? ""
    let exists = toleration["operator"]?.string == "Exists"
    if key.isEmpty { return exists }
    guard key == taint["key"]?.string else { return false }
    return exists || (toleration["value"]?.string ?? "") == (taint["value"]?.string ?? "")
  }
}
