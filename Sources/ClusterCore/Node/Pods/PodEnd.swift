// A pod that the node itself ends or never starts: why, and how its status says so. Pure.

import ClusterObjects

/// Why a node ended a pod.
struct PodEnd: Sendable, Hashable {
  /// `Evicted`, `Terminated`, `OutOfcpu` …
  var reason: String
  var message: String
  var graceSeconds: Int
  /// Not the pod's own fault: `DisruptionTarget` says so, and Jobs count it apart.
  var isDisruption = false

  /// The machine goes down.
  static func shutdown(graceSeconds: Int) -> PodEnd {
    PodEnd(
      reason: "Terminated", message: "Pod was terminated in response to imminent node shutdown.",
      graceSeconds: graceSeconds, isDisruption: true)
  }
}

/// The status of a pod that the node ended: failed, with the reason.
func planEndedStatus(_ status: JSON, _ end: PodEnd, now: String) -> JSON {
  var status = status
  status["phase"] = "Failed"
  status["reason"] = JSON(end.reason)
  status["message"] = JSON(end.message)
  guard end.isDisruption else { return status }
  var conditions = status["conditions"]?.elements ?? []
  let before = conditions.first { $0["type"]?.string == "DisruptionTarget" }
  conditions.removeAll { $0["type"]?.string == "DisruptionTarget" }
  conditions.append([
    "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet",
    "message": JSON(end.message), "lastProbeTime": .null,
    "lastTransitionTime": before?["lastTransitionTime"] ?? JSON(now),
  ])
  status["conditions"] = .array(conditions)
  return status
}
