// A Job's pods: what each has come to, and what new ones are made of.

import ClusterClient
import ClusterObjects
import Diagnostics

enum JobNames {
  static let finalizer = "batch.kubernetes.io/job-tracking"
  static let index = "batch.kubernetes.io/job-completion-index"
  static let failures = "batch.kubernetes.io/job-index-failure-count"
  static let ignoredFailures = "batch.kubernetes.io/job-index-ignored-failure-count"
  static let indexVariable = "JOB_COMPLETION_INDEX"
  static let manager = "kubernetes.io/job-controller"
}

extension JSON {
  var isTracked: Bool { finalizers.contains(JobNames.finalizer) }
  var completionIndex: Int? { annotations[JobNames.index].flatMap { Int($0) } }
  fileprivate func counter(_ annotation: String) -> Int { annotations[annotation].flatMap { Int($0) } ?? 0 }
  /// How often pods of this one's index had failed before it was made.
  var indexFailures: Int { counter(JobNames.failures) }
  var ignoredIndexFailures: Int { counter(JobNames.ignoredFailures) }

  var isJobFinished: Bool { isConditionTrue("Complete") || isConditionTrue("Failed") }
}

/// What a pod of a Job is, for counting.
enum JobPodState {
  case active, terminating, succeeded, failed

  /// With `countsTerminating` a pod that is being stopped counts as failed at once, else when it has ended.
  init(_ pod: JSON, countsTerminating: Bool) {
    switch PodState.phase(pod) {
    case "Succeeded": self = .succeeded
    case "Failed": self = .failed
    default:
      guard pod.isTerminating else {
        self = .active
        return
      }
      // Nobody will say how it ended: it ran nowhere, or its time is up.
      let hasEnded =
        (pod.at("spec", "nodeName")?.string ?? "").isEmpty
        || pod.at("metadata", "deletionGracePeriodSeconds")?.int == 0
      self = countsTerminating || hasEnded ? .failed : .terminating
    }
  }
}

/// When a pod ended, as far as it says.
func jobPodEnd(_ pod: JSON, now: Int64) -> Int64 {
  let ends = (pod.at("status", "containerStatuses")?.elements ?? []).compactMap {
    $0.time("state", "terminated", "finishedAt")
  }
  if let last = ends.max() { return last }
  if let deleted = pod.time("metadata", "deletionTimestamp") { return min(deleted, now) }
  return PodState.readySince(pod) ?? pod.condition("Ready")?.time("lastTransitionTime") ?? pod.createdAt
}

/// A pod of the Job; of an index when it is an Indexed one.
func jobPod(_ job: JSON, index: Int? = nil, failures: Int = 0, ignoredFailures: Int = 0) -> JSON {
  var pod = podFromTemplate(of: job)
  let finalizers = pod.finalizers + [JobNames.finalizer]
  pod.set(JSON(finalizers), at: "metadata", "finalizers")
  guard let index else { return pod }
  pod.set(JSON("\(job.name)-\(index)-"), at: "metadata", "generateName")
  pod.set(JSON("\(job.name)-\(index)"), at: "spec", "hostname")
  pod.set(JSON("\(index)"), at: "metadata", "annotations", JobNames.index)
  pod.set(JSON("\(index)"), at: "metadata", "labels", JobNames.index)
  if job.at("spec", "backoffLimitPerIndex") != nil {
    pod.set(JSON("\(failures)"), at: "metadata", "annotations", JobNames.failures)
    if ignoredFailures > 0 {
      pod.set(JSON("\(ignoredFailures)"), at: "metadata", "annotations", JobNames.ignoredFailures)
    }
  }
  let variable: JSON = [
    "name": JSON(JobNames.indexVariable),
    "valueFrom": ["fieldRef": ["fieldPath": JSON("metadata.annotations['\(JobNames.index)']")]],
  ]
  for list in ["initContainers", "containers"] {
    guard let containers = pod.spec[list]?.array else { continue }
    pod.set(
      .array(
        containers.map { container in
          var container = container
          let environment = container["env"]?.elements ?? []
          if !environment.contains(where: { $0["name"]?.string == JobNames.indexVariable }) {
            container["env"] = .array(environment + [variable])
          }
          return container
        }), at: "spec", list)
  }
  return pod
}

// MARK: - What failures mean

/// What a failed pod does to its Job.
enum JobFailureAction: Equatable {
  case count
  case ignore
  case failIndex
  case failJob(message: String)
}

/// The first rule of `podFailurePolicy` that a failed pod meets.
func jobFailureAction(_ job: JSON, _ pod: JSON) -> JobFailureAction {
  guard PodState.phase(pod) == "Failed" else { return .count }
  for (position, rule) in (job.at("spec", "podFailurePolicy", "rules")?.elements ?? []).enumerated() {
    let what: String
    if let codes = rule["onExitCodes"] {
      guard let (container, code) = matchedExit(pod, codes) else { continue }
      what = "Container \(container) for pod \(pod.namespace)/\(pod.name) failed with exit code \(code)"
    } else {
      guard let condition = matchedCondition(pod, rule["onPodConditions"]?.elements ?? []) else { continue }
      what = "Pod \(pod.namespace)/\(pod.name) has condition \(condition)"
    }
    switch rule["action"]?.string {
    case "Ignore": return .ignore
    case "FailIndex": return .failIndex
    case "FailJob": return .failJob(message: "\(what) matching FailJob rule at index \(position)")
    default: return .count
    }
  }
  return .count
}

private func matchedExit(_ pod: JSON, _ rule: JSON) -> (container: String, code: Int)? {
  let values = Set((rule["values"]?.elements ?? []).compactMap(\.int))
  let named = rule["containerName"]?.string
  for list in ["initContainerStatuses", "containerStatuses"] {
    for status in pod.status[list]?.elements ?? [] {
      let name = status["name"]?.string ?? ""
      guard named == nil || named == name, let code = status.at("state", "terminated", "exitCode")?.int,
        code != 0
      else { continue }
      if values.contains(code) == (rule["operator"]?.string == "In") { return (name, code) }
    }
  }
  return nil
}

private func matchedCondition(_ pod: JSON, _ patterns: [JSON]) -> String? {
  for pattern in patterns {
    guard let type = pattern["type"]?.string, let condition = pod.condition(type) else { continue }
    if condition["status"]?.string == pattern["status"]?.string ?? "True" { return type }
  }
  return nil
}

/// The place of the first rule of `successPolicy` that these indexes meet.
func metSuccessRule(_ job: JSON, completed: JobIndexes, completions: Int) -> Int? {
  (job.at("spec", "successPolicy", "rules")?.elements ?? []).firstIndex { rule in
    var counted = completed.values
    var needed = rule["succeededCount"]?.int
    if let text = rule["succeededIndexes"]?.string {
      let wanted = JobIndexes(text, below: completions)
      if wanted.isEmpty { return false }
      counted.formIntersection(wanted.values)
      needed = needed ?? wanted.count
    }
    return needed.map { counted.count >= $0 } ?? false
  }
}
