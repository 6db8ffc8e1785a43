// The next step of a CronJob. Pure: the CronJob, its Jobs and the time in; a Job to make, Jobs to delete
// and the status out.

import ClusterClient
import ClusterObjects
import Diagnostics

struct CronJobPlan: Equatable {
  /// The Job of the time that has come.
  var create: JSON?
  /// Jobs that make room for it (`Replace`).
  var replace: [JSON] = []
  /// Finished Jobs past the history limits.
  var expired: [JSON] = []
  var events: [PlannedEvent] = []
  /// Without the Job to be made.
  var status: JSON = .null
  var scheduledAt: Int64?
  /// Seconds until the next time.
  var checkIn: Int?
}

enum CronNames {
  static let scheduled = "batch.kubernetes.io/cronjob-scheduled-timestamp"
  /// Missed times after which somebody is told.
  static let missedMax = 100
}

/// `jobs` are those that the CronJob owns. `zone` finds time zones by name.
func planCronJob(
  _ cron: JSON, jobs: [JSON], now: Int64, zone: (String) -> TimeZoneRules?
) -> CronJobPlan {
  var plan = CronJobPlan()
  plan.expired = expiredJobs(cron, jobs)
  var status = cron.status.object == nil ? JSON.object([:]) : cron.status
  noteEnds(cron, jobs, &status, &plan)
  plan.status = status
  guard !cron.isTerminating, cron.at("spec", "suspend")?.bool != true else { return plan }

  var rules = TimeZoneRules.utc
  let zoneName = cron.at("spec", "timeZone")?.string
  if let zoneName {
    guard let found = zone(zoneName) else {
      plan.events.append(
        .warning("UnknownTimeZone", "invalid timeZone: \"\(zoneName)\": unknown time zone \(zoneName)"))
      return plan
    }
    rules = found
  }
  let text = cron.at("spec", "schedule")?.string ?? ""
  guard let schedule = CronSchedule(text) else {
    plan.events.append(
      .warning("UnparseableSchedule", "unparseable schedule: \(text) : cannot be understood"))
    return plan
  }
  if let next = schedule.next(after: now, in: rules) { plan.checkIn = max(1, Int(next - now)) }
  let deadline = cron.at("spec", "startingDeadlineSeconds")?.int
  let missed = lastMissed(cron, schedule, rules, deadline: deadline, now: now)
  if missed.tooMany {
    plan.events.append(
      .warning(
        "TooManyMissedTimes",
        "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"))
  }
  guard let due = missed.time else { return plan }
  if let deadline, due + Int64(deadline) < now {
    plan.events.append(
      .warning("MissSchedule", "Missed scheduled time to start a job: \(Timestamp.text(seconds: due))"))
    return plan
  }
  let name = "\(cron.name)-\(due / 60)"
  let active = status["active"]?.elements ?? []
  guard !active.contains(where: { $0["name"]?.string == name }), status.time("lastScheduleTime") != due else {
    return plan
  }
  switch cron.at("spec", "concurrencyPolicy")?.string {
  case "Forbid" where !active.isEmpty:
    plan.events.append(
      .normal(
        "JobAlreadyActive",
        "Not starting job because prior execution is running and concurrency policy is Forbid"))
    return plan
  case "Replace":
    let uids = Set(active.compactMap { $0["uid"]?.string })
    plan.replace = jobs.filter { uids.contains($0.uid) }
    plan.status["active"] = nil
  default: break
  }
  plan.scheduledAt = due
  plan.create = cronJobsJob(cron, name: name, due: due, zone: rules)
  return plan
}

/// The latest time that has come and was not acted upon.
private func lastMissed(
  _ cron: JSON, _ schedule: CronSchedule, _ zone: TimeZoneRules, deadline: Int?, now: Int64
) -> (time: Int64?, tooMany: Bool) {
  var from = cron.time("status", "lastScheduleTime") ?? cron.createdAt
  if let deadline { from = max(from, now - Int64(deadline)) }
  if schedule.every > 0 {
    guard now - from >= schedule.every else { return (nil, false) }
    let rounds = (now - from) / schedule.every
    return (from + rounds * schedule.every, deadline == nil && rounds > CronNames.missedMax)
  }
  guard let first = schedule.next(after: from, in: zone), first <= now else { return (nil, false) }
  // Years may lie between: the last time is looked for backwards, in spans that double.
  var last = first
  var count = 1
  var cursor = first
  while count <= CronNames.missedMax + 1, let next = schedule.next(after: cursor, in: zone), next <= now {
    last = next
    cursor = next
    count += 1
  }
  if count > CronNames.missedMax {
    var span: Int64 = 60
    while span < now - first {
      if let next = schedule.next(after: now - span, in: zone), next <= now {
        last = next
        while let later = schedule.next(after: last, in: zone), later <= now { last = later }
        break
      }
      span *= 2
    }
  }
  return (last, deadline == nil && count > CronNames.missedMax)
}

/// Takes what has ended out of the active list.
private func noteEnds(_ cron: JSON, _ jobs: [JSON], _ status: inout JSON, _ plan: inout CronJobPlan) {
  var active = status["active"]?.elements ?? []
  for job in jobs.sorted(by: { ($0.createdAt, $0.name) < ($1.createdAt, $1.name) }) {
    let position = active.firstIndex { $0["uid"]?.string == job.uid }
    if job.isJobFinished {
      if job.isConditionTrue("Complete"), let ended = job.time("status", "completionTime"),
        ended > status.time("lastSuccessfulTime") ?? Int64.min
      {
        status["lastSuccessfulTime"] = JSON(Timestamp.text(seconds: ended))
      }
      guard let position else { continue }
      active.remove(at: position)
      let condition = job.isConditionTrue("Complete") ? "Complete" : "Failed"
      plan.events.append(
        .normal("SawCompletedJob", "Saw completed job: \(job.name), condition: \(condition)"))
    } else if position == nil, !job.isTerminating {
      // Somebody's own (`kubectl create job --from`): no policy counts it. One of ours whose status could not be written is
      // met again when it is made again.
      plan.events.append(
        .warning(
          "UnexpectedJob", "Saw a job that the controller did not create or forgot: \(job.name)"))
    }
  }
  let uids = Set(jobs.map(\.uid))
  for gone in active where !uids.contains(gone["uid"]?.string ?? "") {
    plan.events.append(.normal("MissingJob", "Active job went missing: \(gone["name"]?.string ?? "")"))
  }
  active.removeAll { !uids.contains($0["uid"]?.string ?? "") }
  status["active"] = active.isEmpty ? nil : .array(active)
}

func jobReference(_ job: JSON) -> JSON {
  [
    "kind": "Job", "namespace": JSON(job.namespace), "name": JSON(job.name), "uid": JSON(job.uid),
    "apiVersion": "batch/v1", "resourceVersion": JSON(job.resourceVersion),
  ]
}

private func expiredJobs(_ cron: JSON, _ jobs: [JSON]) -> [JSON] {
  func expired(_ condition: String, _ limit: Int?) -> [JSON] {
    guard let limit else { return [] }
    let ended = jobs.filter { $0.isConditionTrue(condition) && !$0.isTerminating }.sorted {
      ($0.time("status", "startTime") ?? 0, $0.name) < ($1.time("status", "startTime") ?? 0, $1.name)
    }
    return Array(ended.prefix(max(0, ended.count - limit)))
  }
  return expired("Complete", cron.at("spec", "successfulJobsHistoryLimit")?.int ?? 3)
    + expired("Failed", cron.at("spec", "failedJobsHistoryLimit")?.int ?? 1)
}

private func cronJobsJob(_ cron: JSON, name: String, due: Int64, zone: TimeZoneRules) -> JSON {
  let template = cron.at("spec", "jobTemplate") ?? .null
  var annotations = template.annotations
  annotations[CronNames.scheduled] = zonedTime(due, zone)
  var metadata: JSON = [
    "name": JSON(name), "namespace": JSON(cron.namespace), "annotations": JSON(annotations),
    "ownerReferences": [cron.controllerReferenceToThis],
  ]
  if let labels = template.at("metadata", "labels") { metadata["labels"] = labels }
  return ["apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template.spec]
}

/// RFC 3339 with the zone's offset: `2026-11-21T06:00:00+01:00`.
func zonedTime(_ seconds: Int64, _ zone: TimeZoneRules) -> String {
  let offset = zone.offset(at: seconds)
  if offset == 0 { return Timestamp.text(seconds: seconds) }
  func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
  let minutes = abs(offset) / 60
  return Timestamp.text(seconds: seconds + Int64(offset)).dropLast() + (offset < 0 ? "-" : "+")
    + "\(two(minutes / 60)):\(two(minutes % 60))"
}
