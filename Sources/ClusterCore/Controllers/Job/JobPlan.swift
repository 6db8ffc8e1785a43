// The next step of a Job. Pure: the Job and its pods in; pods to make and to end, and the status, out.
//
// A pod is counted exactly once, whatever fails in between: its uid is written into the status first, then
// its finalizer goes, then the uid becomes a number.
//
//   pod ended --status: uncounted += uid--> finalizer removed --status: uncounted -= uid, failed += 1--> forgotten

import ClusterClient
import ClusterObjects
import Diagnostics

struct JobPlan: Equatable {
  var create: [JSON] = []
  /// Pods to delete that count when they have ended.
  var delete: [JSON] = []
  /// Pods to delete that count for nothing: their finalizer goes first.
  var discard: [JSON] = []
  /// Pods whose finalizer may go once the status is written.
  var release: [JSON] = []
  var events: [PlannedEvent] = []
  var status: JSON = .null
  /// Seconds until a deadline or a back-off ends.
  var checkIn: Int?
}

/// `pods` are those that the Job owns.
func planJob(_ job: JSON, pods: [JSON], now: Int64) -> JobPlan {
  var step = JobStep(job, pods, now)
  return step.plan()
}

struct JobStep {
  /// Uids written into one status; the rest follows.
  static let uncountedMax = 500
  /// Pods made in one go; the rest follows when these were seen.
  static let burstMax = 500
  static let backoff: (base: Int, most: Int) = (10, 600)

  let job: JSON
  let now: Int64
  let spec: JSON
  let isIndexed: Bool
  let completions: Int?
  let parallelism: Int
  /// Whether a pod that stops is replaced at once.
  let countsTerminating: Bool
  let perIndexLimit: Int?

  let pods: [JSON]
  var states: [String: JobPodState] = [:]
  var actions: [String: JobFailureAction] = [:]
  var active: [JSON] = []
  var terminating: [JSON] = []
  var completed = JobIndexes()
  var failedIndexes = JobIndexes()
  var uncountedSucceeded: [String] = []
  var uncountedFailed: [String] = []
  var countedSucceeded = 0
  var countedFailed = 0
  var result = JobPlan()
  var changed: JSON

  init(_ job: JSON, _ pods: [JSON], _ now: Int64) {
    self.job = job
    self.now = now
    spec = job.spec
    isIndexed = spec["completionMode"]?.string == "Indexed"
    completions = spec["completions"]?.int
    parallelism = max(0, spec["parallelism"]?.int ?? 1)
    countsTerminating =
      spec["podReplacementPolicy"]?.string != "Failed" && spec["podFailurePolicy"] == nil
    perIndexLimit = isIndexed ? spec["backoffLimitPerIndex"]?.int : nil
    self.pods = pods.sorted { ($0.createdAt, $0.name) < ($1.createdAt, $1.name) }
    changed = job
    if changed["status"]?.object == nil { changed["status"] = .object([:]) }
  }

  var time: String { Timestamp.text(seconds: now) }
  var isSuspended: Bool { spec["suspend"]?.bool ?? false }
  var succeeded: Int { isIndexed ? completed.count : countedSucceeded + uncountedSucceeded.count }
  var failed: Int { countedFailed + uncountedFailed.count }
  func state(_ pod: JSON) -> JobPodState { states[pod.uid] ?? .active }

  mutating func plan() -> JobPlan {
    if job.isJobFinished || job.isTerminating {
      // Nothing is counted any more: the pods may go.
      result.release = pods.filter(\.isTracked)
      result.status = job.status
      return result
    }
    classify()
    count()
    judge()
    let ending = changed.condition("FailureTarget") ?? changed.condition("SuccessCriteriaMet")
    if ending != nil {
      end()
    } else {
      followSuspension()
      if !isSuspended {
        start()
        manage()
      }
    }
    writeStatus()
    return result
  }

  /// Whether a pod still runs, and not for long any more.
  func isStopping(_ pod: JSON) -> Bool { JobPodState(pod, countsTerminating: false) == .terminating }

  mutating func writeStatus() {
    let isEnding = changed.condition("FailureTarget") != nil || changed.condition("SuccessCriteriaMet") != nil
    if !isEnding { result.release = result.release.filter { !isNeededAsRecord($0) } }
    var status = changed.status
    let gone = Set(result.discard.map(\.uid))
    let standing = active.filter { !gone.contains($0.uid) }
    status.count("active", standing.count)
    status["ready"] = JSON(standing.count(where: PodState.isReady))
    status["terminating"] = JSON(pods.count(where: isStopping))
    status.count("succeeded", isIndexed ? completed.count : countedSucceeded)
    status.count("failed", countedFailed)
    if isIndexed {
      status["completedIndexes"] = completed.isEmpty ? nil : JSON(completed.text)
      if perIndexLimit != nil { status["failedIndexes"] = JSON(failedIndexes.text) }
    }
    var uncounted: JSON = [:]
    if !uncountedSucceeded.isEmpty { uncounted["succeeded"] = JSON(uncountedSucceeded) }
    if !uncountedFailed.isEmpty { uncounted["failed"] = JSON(uncountedFailed) }
    status["uncountedTerminatedPods"] = uncounted
    result.status = status
  }
}
