// The pods of a Job that goes on: suspended or not, how many, of which indexes, and when again after a failure.

import ClusterClient
import ClusterObjects
import Diagnostics

extension JobStep {
  mutating func start() {
    if job.at("status", "startTime") == nil { changed.set(JSON(time), at: "status", "startTime") }
  }

  mutating func followSuspension() {
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

  mutating func manage() {
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
  mutating func nextPod(of index: Int) -> JSON? {
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
  mutating func discardStrays() {
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
  func remainingBackoff(of pods: [JSON]) -> Int? {
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
}
