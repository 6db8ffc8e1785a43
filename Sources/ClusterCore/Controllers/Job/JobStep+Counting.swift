// Which pods of a Job have ended, and that each is counted once.

import ClusterClient
import ClusterObjects
import Diagnostics

extension JobStep {
  mutating func classify() {
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

  mutating func count() {
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
  func isNeededAsRecord(_ pod: JSON) -> Bool {
    guard perIndexLimit != nil, state(pod) == .failed, let index = pod.completionIndex,
      !completed.contains(index), !failedIndexes.contains(index)
    else { return false }
    return !pods.contains {
      $0.completionIndex == index && $0.uid != pod.uid && isLaterAttempt($0, than: pod)
    }
  }

  func isLaterAttempt(_ a: JSON, than b: JSON) -> Bool {
    func rank(_ pod: JSON) -> (Int, Int64, String) {
      (pod.indexFailures + pod.ignoredIndexFailures, pod.createdAt, pod.uid)
    }
    return rank(a) > rank(b)
  }
}
