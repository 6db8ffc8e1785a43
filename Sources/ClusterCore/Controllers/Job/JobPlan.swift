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
  private static let backoff: (base: Int, most: Int) = (10, 600)

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
  private var states: [String: JobPodState] = [:]
  private var actions: [String: JobFailureAction] = [:]
  private var active: [JSON] = []
  private var terminating: [JSON] = []
  private var completed = JobIndexes()
  private var failedIndexes = JobIndexes()
  private var uncountedSucceeded: [String] = []
  private var uncountedFailed: [String] = []
  private var countedSucceeded = 0
  private var countedFailed = 0
  private var result = JobPlan()
  private var changed: JSON

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

  private var time: String { Timestamp.text(seconds: now) }
  private var isSuspended: Bool { spec["suspend"]?.bool ?? false }
  private var succeeded: Int { isIndexed ? completed.count : countedSucceeded + uncountedSucceeded.count }
  private var failed: Int { countedFailed + uncountedFailed.count }
  private func state(_ pod: JSON) -> JobPodState { states[pod.uid] ?? .active }

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
  private func isStopping(_ pod: JSON) -> Bool { JobPodState(pod, countsTerminating: false) == .terminating }

  // MARK: Counting

  private mutating func classify() {
    for pod in pods {
      let state = JobPodState(pod, countsTerminating: countsTerminating)
      states[pod.uid] = state
      switch state {
      case .active: active.append(pod)
      case .terminating: terminating.append(pod)
      case .failed: actions[pod.uid] = jobFailureAction(job, pod)
      case .succeeded: break
      }
    }
  }

  private mutating func count() {
    let status = job.status
    let bound = completions ?? 0
    completed = JobIndexes(status["completedIndexes"]?.string, below: bound)
    failedIndexes = JobIndexes(status["failedIndexes"]?.string, below: bound)
    countedSucceeded = status["succeeded"]?.int ?? 0
    countedFailed = status["failed"]?.int ?? 0
    // What no longer carries the finalizer becomes a number.
    let tracked = Set(pods.filter(\.isTracked).map(\.uid))
    func uids(_ field: String) -> [String] {
      status.at("uncountedTerminatedPods", field)?.elements.compactMap(\.string) ?? []
    }
    uncountedSucceeded = uids("succeeded").filter(tracked.contains)
    countedSucceeded += uids("succeeded").count - uncountedSucceeded.count
    uncountedFailed = uids("failed").filter(tracked.contains)
    countedFailed += uids("failed").count - uncountedFailed.count

    var known = Set(uncountedSucceeded + uncountedFailed)
    for pod in pods where pod.isTracked {
      switch state(pod) {
      case .active, .terminating: continue
      case .succeeded:
        if isIndexed {
          // The index is enough to count it once.
          if let index = pod.completionIndex, index >= 0, index < bound { completed.insert(index) }
        } else if !known.contains(pod.uid) {
          guard known.count < Self.uncountedMax else { continue }
          uncountedSucceeded.append(pod.uid)
          known.insert(pod.uid)
        }
      case .failed:
        let action = actions[pod.uid] ?? .count
        if action != .ignore, !known.contains(pod.uid) {
          guard known.count < Self.uncountedMax else { continue }
          uncountedFailed.append(pod.uid)
          known.insert(pod.uid)
        }
        if let limit = perIndexLimit, let index = pod.completionIndex, index >= 0, index < bound,
          action == .failIndex || (action == .count && pod.indexFailures >= limit)
        {
          failedIndexes.insert(index)
        }
      }
      result.release.append(pod)
    }
    // An index both succeeded and failed has succeeded.
    failedIndexes = JobIndexes(failedIndexes.values.subtracting(completed.values))
  }

  /// The newest failed pod of an index tells how often the index failed; it stays until a later one tells
  /// more.
  private func isNeededAsRecord(_ pod: JSON) -> Bool {
    guard perIndexLimit != nil, state(pod) == .failed, let index = pod.completionIndex,
      !completed.contains(index), !failedIndexes.contains(index)
    else { return false }
    return !pods.contains {
      $0.completionIndex == index && $0.uid != pod.uid && isLaterAttempt($0, than: pod)
    }
  }

  private func isLaterAttempt(_ a: JSON, than b: JSON) -> Bool {
    func rank(_ pod: JSON) -> (Int, Int64, String) {
      (pod.indexFailures + pod.ignoredIndexFailures, pod.createdAt, pod.uid)
    }
    return rank(a) > rank(b)
  }

  // MARK: Has it ended?

  private mutating func judge() {
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

  private var isComplete: Bool {
    guard active.isEmpty else { return false }
    guard let completions else { return succeeded > 0 }
    return succeeded >= completions
  }

  private func failure() -> (reason: String, message: String)? {
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
  private var restarts: Int {
    guard spec.at("template", "spec", "restartPolicy")?.string == "OnFailure" else { return 0 }
    return active.flatMap { pod in
      ["initContainerStatuses", "containerStatuses"].flatMap { pod.status[$0]?.elements ?? [] }
    }.compactMap { $0["restartCount"]?.int }.reduce(0, +)
  }

  /// Pods that still run are ended; when all have been counted, the Job is over.
  private mutating func end() {
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

  // MARK: Running

  private mutating func start() {
    if job.at("status", "startTime") == nil { changed.set(JSON(time), at: "status", "startTime") }
  }

  private mutating func followSuspension() {
    let was = job.condition("Suspended")?["status"]?.string
    if isSuspended {
      result.discard += active
      guard was != "True" else { return }
      changed.setCondition("Suspended", "True", reason: "JobSuspended", message: "Job suspended", now: time)
      result.events.append(.normal("Suspended", "Job suspended"))
    } else if was == "True" {
      changed.setCondition("Suspended", "False", reason: "JobResumed", message: "Job resumed", now: time)
      // The deadline runs from here.
      changed.set(JSON(time), at: "status", "startTime")
      result.events.append(.normal("Resumed", "Job resumed"))
    }
  }

  private mutating func manage() {
    if let deadline = spec["activeDeadlineSeconds"]?.int {
      let started = changed.time("status", "startTime") ?? now
      result.checkIn = max(1, deadline - Int(now - started))
    }
    if isIndexed { discardStrays() }
    let wanted: Int
    if let completions {
      wanted = min(max(0, completions - succeeded - failedIndexes.count), parallelism)
    } else {
      wanted = succeeded > 0 ? min(active.count, parallelism) : parallelism
    }
    if active.count > wanted {
      let ranked = rankedForDeletion(active, now: now)
      result.discard += ranked.prefix(active.count - wanted)
      return
    }
    let waited = countsTerminating ? 0 : terminating.count
    let missing = min(wanted - active.count - waited, Self.burstMax)
    guard missing > 0 else { return }
    if perIndexLimit == nil, let wait = remainingBackoff(of: pods) {
      result.checkIn = earlier(result.checkIn, wait)
      return
    }
    guard isIndexed, let completions else {
      result.create = Array(repeating: jobPod(job), count: missing)
      return
    }
    var busy = completed.values.union(failedIndexes.values).union(active.compactMap(\.completionIndex))
    if !countsTerminating { busy.formUnion(terminating.compactMap(\.completionIndex)) }
    var index = 0
    while result.create.count < missing, index < completions {
      defer { index += 1 }
      if busy.contains(index) { continue }
      if let pod = nextPod(of: index) { result.create.append(pod) }
    }
  }

  /// The next attempt at an index; nil while the index must wait.
  private mutating func nextPod(of index: Int) -> JSON? {
    guard perIndexLimit != nil else { return jobPod(job, index: index) }
    let attempts = pods.filter { $0.completionIndex == index }
    if let wait = remainingBackoff(of: attempts) {
      result.checkIn = earlier(result.checkIn, wait)
      return nil
    }
    guard let last = attempts.max(by: { isLaterAttempt($1, than: $0) }) else {
      return jobPod(job, index: index)
    }
    let isIgnored = actions[last.uid] == .ignore
    return jobPod(
      job, index: index, failures: last.indexFailures + (isIgnored ? 0 : 1),
      ignoredFailures: last.ignoredIndexFailures + (isIgnored ? 1 : 0))
  }

  /// Two pods of one index, or one of an index that there is not (any more).
  private mutating func discardStrays() {
    var seen: Set<Int> = []
    var kept: [JSON] = []
    for pod in active {
      let index = pod.completionIndex ?? -1
      let isWanted =
        index >= 0 && index < completions ?? 0 && !completed.contains(index)
        && !failedIndexes.contains(index)
      if isWanted, seen.insert(index).inserted { kept.append(pod) } else { result.discard.append(pod) }
    }
    active = kept
  }

  /// Seconds until another pod may be tried: ten after a failure, doubled for each one more since the last
  /// success.
  private func remainingBackoff(of pods: [JSON]) -> Int? {
    var lastSuccess = Int64.min
    for pod in pods where state(pod) == .succeeded {
      lastSuccess = max(lastSuccess, jobPodEnd(pod, now: now))
    }
    // One that was told to go, and counts for nothing, is no failure.
    let failures = pods.filter {
      state($0) == .failed && actions[$0.uid] != .ignore
        && ($0.isTracked || (PodState.phase($0) == "Failed" && !$0.isTerminating))
    }.map { jobPodEnd($0, now: now) }.filter { $0 > lastSuccess }
    guard let last = failures.max() else { return nil }
    let delay = min(Self.backoff.most, Self.backoff.base << min(failures.count - 1, 10))
    let left = Int(last - now) + delay
    return left > 0 ? left : nil
  }

  // MARK: Status

  private mutating func writeStatus() {
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
