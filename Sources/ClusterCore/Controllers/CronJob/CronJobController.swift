// Carries out a CronJob's plan. The queue wakes it at each of its times.

import ClusterClient
import ClusterObjects
import Diagnostics

func cronJobController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("cronjob")
  let crons = context.informers.informer(.cronJobs)
  let jobs = context.informers.informer(.jobs)
  let written = WrittenVersions()
  let reconciler = CronJobReconciler(
    context: context, crons: crons, jobs: jobs, written: written, zones: TimeZones(),
    skew: context.metrics.histogram(
      "cronjob_controller_job_creation_skew_duration_seconds",
      "Time from when a Job was due to when it was made.", bounds: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    ).child())
  let registrations = [
    crons.onChange { changes in
      for change in changes {
        if change.isDeletion { written.forget(change.key) }
        queue.add(change.key)
      }
    },
    jobs.onChange { changes in
      for change in changes {
        guard let owner = change.object.controllerReference, owner["kind"]?.string == "CronJob",
          let name = owner["name"]?.string
        else { continue }
        queue.add(ObjectKey(change.key.namespace, name))
      }
    },
  ]
  return Controller(
    "cronjob", context, queue: queue, registrations: registrations,
    resync: { for key in crons.snapshot.keys { queue.add(key) } }
  ) { key in try await reconciler.reconcile(key) }
}

private struct CronJobReconciler: Sendable {
  static let source = "cronjob-controller"
  /// A schedule's next time is looked at again at the latest after this long: clocks are set.
  static let sleepMax = 600
  let context: ControllerContext
  let crons: Informer
  let jobs: Informer
  let written: WrittenVersions
  let zones: TimeZones
  let skew: Histogram

  func reconcile(_ key: ObjectKey) async throws -> Duration? {
    guard let cron = crons[key] else { return nil }
    if written.isStale(cron) { return .seconds(1) }
    let owned = jobs.objects(.controller, cron.uid)
    var plan = planCronJob(cron, jobs: owned, now: context.now, zone: zones.zone)
    try await keepUnseen(cron, &plan)
    for event in plan.events { record(cron, event) }
    var status = plan.status
    var failure: (any Error)?
    do {
      for job in plan.expired { try await delete(job, of: cron) }
      for job in plan.replace { try await delete(job, of: cron) }
      if let job = plan.create, let made = try await create(job, of: cron) {
        status["active"] = .array((status["active"]?.elements ?? []) + [jobReference(made)])
        if let due = plan.scheduledAt { skew.observe(Double(max(context.now - due, 0))) }
        status["lastScheduleTime"] = plan.scheduledAt.map { JSON(Timestamp.text(seconds: $0)) }
      }
    } catch { failure = error }
    if status != cron.status {
      var changed = cron
      changed["status"] = status
      written.wrote(
        try await context.api.update(.cronJobs, changed, subresource: "status", options: context.options))
    }
    if let failure { throw failure }
    return plan.checkIn.map { .seconds(min($0, Self.sleepMax)) }
  }

  /// An active Job that the informer does not show may be too new for it: only the API knows that it is gone.
  private func keepUnseen(_ cron: JSON, _ plan: inout CronJobPlan) async throws {
    let active = Set((plan.status["active"]?.elements ?? []).compactMap { $0["uid"]?.string })
    for reference in cron.at("status", "active")?.elements ?? [] {
      let (uid, name) = (reference["uid"]?.string ?? "", reference["name"]?.string ?? "")
      guard !active.contains(uid), jobs[cron.namespace, name] == nil else { continue }
      do {
        let job = try await context.api.get(.jobs, namespace: cron.namespace, name: name)
        guard job.uid == uid, !job.isJobFinished else { continue }
        let event = PlannedEvent.normal("MissingJob", "Active job went missing: \(name)")
        plan.events.removeAll { $0 == event }
        plan.status["active"] = .array((plan.status["active"]?.elements ?? []) + [reference])
        if cron.at("spec", "concurrencyPolicy") == "Forbid" { plan.create = nil }
      } catch let error as APIStatusError where error.isNotFound {}
    }
  }

  private func create(_ job: JSON, of cron: JSON) async throws -> JSON? {
    do {
      let made = try await context.api.create(.jobs, job, options: context.options)
      record(cron, .normal("SuccessfulCreate", "Created job \(made.name)"))
      return made
    } catch let error as APIStatusError where error.isAlreadyExists {
      let existing = try await context.api.get(.jobs, namespace: job.namespace, name: job.name)
      if existing.isControlled(by: cron) { return existing }
      record(
        cron,
        .warning("FailedCreate", "Error creating job: \(error.message)"))
      return nil
    } catch let error as APIStatusError {
      if error.isOfEndingNamespace { return nil }
      record(cron, .warning("FailedCreate", "Error creating job: \(error.message)"))
      throw error
    }
  }

  private func delete(_ job: JSON, of cron: JSON) async throws {
    do {
      try await context.api.deleteIfPresent(
        .jobs, job.key, options: DeleteOptions(propagationPolicy: "Background", uid: job.uid))
      record(cron, .normal("SuccessfulDelete", "Deleted job \(job.name)"))
    } catch let error as APIStatusError {
      record(cron, .warning("FailedDelete", "Deleted job: \(error.message)"))
      throw error
    }
  }

  private func record(_ cron: JSON, _ event: PlannedEvent) {
    context.events.record(cron, event.type, event.reason, event.message, from: Self.source)
  }
}
