// What is measured of Jobs, under upstream's names.

import ClusterClient
import ClusterObjects
import Diagnostics

struct JobMetrics: Sendable {
  private let syncs: MetricFamily<Counter>
  private let durations: MetricFamily<Histogram>
  private let jobsFinished: MetricFamily<Counter>
  private let podsFinished: MetricFamily<Counter>
  private let indexesFinished: MetricFamily<Counter>

  init(_ metrics: Metrics) {
    let prefix = "job_controller_"
    syncs = metrics.counter(
      prefix + "job_syncs_total", "Looks at Jobs.", labels: ["completion_mode", "result", "action"])
    durations = metrics.histogram(
      prefix + "job_sync_duration_seconds", "Time of one look at a Job.",
      labels: ["completion_mode", "result", "action"])
    jobsFinished = metrics.counter(
      prefix + "jobs_finished_total", "Jobs that ended.", labels: ["completion_mode", "result", "reason"])
    podsFinished = metrics.counter(
      prefix + "job_pods_finished_total", "Pods of Jobs that ended and were counted.",
      labels: ["completion_mode", "result"])
    indexesFinished = metrics.counter(
      prefix + "job_finished_indexes_total", "Indexes that ended.", labels: ["status", "backoffLimit"])
  }

  private static func mode(_ job: JSON) -> String { job.at("spec", "completionMode")?.string ?? "NonIndexed" }

  func synced(_ job: JSON, _ plan: JobPlan, failed: Bool, _ duration: Duration) {
    let action =
      !plan.create.isEmpty
      ? "pods_created" : !(plan.delete + plan.discard).isEmpty ? "pods_deleted" : "reconciling"
    let result = failed ? "error" : "success"
    syncs.child(Self.mode(job), result, action).increment()
    durations.child(Self.mode(job), result, action).observe(duration)
  }

  /// After the status was written: nothing is counted twice.
  func wrote(_ old: JSON, _ new: JSON) {
    let mode = Self.mode(old)
    func grown(_ field: String) -> Int {
      max((new.at("status", field)?.int ?? 0) - (old.at("status", field)?.int ?? 0), 0)
    }
    for (field, result) in [("succeeded", "succeeded"), ("failed", "failed")] {
      let count = grown(field)
      if count > 0 { podsFinished.child(mode, result).increment(by: UInt64(count)) }
    }
    let limit = old.at("spec", "backoffLimitPerIndex") == nil ? "global" : "perIndex"
    for (field, status) in [("completedIndexes", "succeeded"), ("failedIndexes", "failed")] {
      func count(_ job: JSON) -> Int {
        JobIndexes(job.at("status", field)?.string, below: job.at("spec", "completions")?.int ?? 0).count
      }
      let count = count(new) - count(old)
      if count > 0 { indexesFinished.child(status, limit).increment(by: UInt64(count)) }
    }
    for (type, result) in [("Complete", "succeeded"), ("Failed", "failed")]
    where new.isConditionTrue(type) && !old.isConditionTrue(type) {
      jobsFinished.child(mode, result, new.condition(type)?["reason"]?.string ?? "").increment()
    }
  }
}
