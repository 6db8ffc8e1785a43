// Whether a Job is over, why, and what is still to be done then.

import ClusterClient
import ClusterObjects
import Diagnostics

extension JobStep {
  mutating func judge() {
    guard changed.condition("FailureTarget") == nil, changed.condition("SuccessCriteriaMet") == nil else {
      return
    }
    if let (reason, message) = failure() {
      changed.setCondition("FailureTarget", "True", reason: reason, message: message, now: time)
    } else if let completions, let rule = metSuccessRule(job, completed: completed, completions: completions)
    {
      changed.setCondition(
        "SuccessCriteriaMet", "True", reason: "SuccessPolicy", message: "Matched rules at index \(rule)",
        now: time)
    } else if isComplete {
      changed.setCondition(
        "SuccessCriteriaMet", "True", reason: "CompletionsReached",
        message: "Reached expected number of succeeded pods", now: time)
    }
  }

  var isComplete: Bool {
    guard active.isEmpty else { return false }
    guard let completions else { return succeeded > 0 }
    return succeeded >= completions
  }

  func failure() -> (reason: String, message: String)? {
    for pod in pods where pod.isTracked {
      if case .failJob(let message)? = actions[pod.uid] { return ("PodFailurePolicy", message) }
    }
    let limit = spec["backoffLimit"]?.int ?? (perIndexLimit == nil ? 6 : Int.max)
    if failed > limit || (limit == 0 ? restarts > 0 : restarts >= limit) {
      return ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    }
    if let deadline = spec["activeDeadlineSeconds"]?.int, !isSuspended, !job.isConditionTrue("Suspended"),
      let started = job.time("status", "startTime"), now - started >= Int64(deadline)
    {
      return ("DeadlineExceeded", "Job was active longer than specified deadline")
    }
    guard perIndexLimit != nil, let completions, !failedIndexes.isEmpty else { return nil }
    if let most = spec["maxFailedIndexes"]?.int, failedIndexes.count > most {
      return (
        "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
      )
    }
    if failedIndexes.count + completed.count >= completions {
      return ("FailedIndexes", "Job has failed indexes")
    }
    return nil
  }

  /// Restarts within pods count like failed pods, where the pods restart by themselves.
  var restarts: Int {
    guard spec.at("template", "spec", "restartPolicy")?.string == "OnFailure" else { return 0 }
    return active.flatMap { pod in
      ["initContainerStatuses", "containerStatuses"].flatMap { pod.status[$0]?.elements ?? [] }
    }.compactMap { $0["restartCount"]?.int }.reduce(0, +)
  }

  /// Pods that still run are ended; when all have been counted, the Job is over.
  mutating func end() {
    let failure = changed.condition("FailureTarget")
    if failure != nil { result.delete += active } else { result.discard += active }
    let isSettled =
      active.isEmpty && !pods.contains(where: isStopping) && uncountedSucceeded.isEmpty
      && uncountedFailed.isEmpty && result.release.isEmpty
    guard isSettled else { return }
    if let failure {
      let (reason, message) = (failure["reason"]?.string ?? "", failure["message"]?.string ?? "")
      changed.setCondition("Failed", "True", reason: reason, message: message, now: time)
      result.events.append(.warning(reason, message))
    } else if let success = changed.condition("SuccessCriteriaMet") {
      changed.setCondition(
        "Complete", "True", reason: success["reason"]?.string ?? "",
        message: success["message"]?.string ?? "", now: time)
      changed.set(JSON(time), at: "status", "completionTime")
      start()
      result.events.append(.normal("Completed", "Job completed"))
    }
  }
}
