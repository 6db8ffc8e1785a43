// Carries out a Job's plan, and lets go of pods whose Job is gone.

import ClusterClient
import ClusterObjects
import Diagnostics

func jobController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("job")
  let jobs = context.informers.informer(.jobs)
  let pods = context.informers.informer(.pods)
  let expectations = Expectations()
  let written = WrittenVersions()
  let reconciler = JobReconciler(
    context: context, jobs: jobs, pods: pods, written: written, metrics: JobMetrics(context.metrics),
    control: PodControl(context: context, pods: pods, expectations: expectations, source: "job-controller"))
  let owners = followOwners("Job", jobs, pods: pods, expectations: expectations, queue: queue)
  let registration = jobs.onChange { changes in
    for change in changes where change.isDeletion { written.forget(change.key) }
  }
  return Controller(
    "job", context, queue: queue, registrations: owners + [registration],
    resync: { for key in jobs.snapshot.keys { queue.add(key) } }
  ) { key in try await reconciler.reconcile(key) }
}

private struct JobReconciler: Sendable {
  let context: ControllerContext
  let jobs: Informer
  let pods: Informer
  let written: WrittenVersions
  let metrics: JobMetrics
  let control: PodControl

  func reconcile(_ key: ObjectKey) async throws -> Duration? {
    guard let job = jobs[key] else { return nil }
    // Somebody else's.
    if let manager = job.at("spec", "managedBy")?.string, manager != JobNames.manager { return nil }
    if let wait = try await control.awaited(job) { return wait }
    if written.isStale(job) { return .seconds(1) }
    let membership = PodClaims(job, among: pods, selector: job.at("spec", "selector"))
    for pod in membership.adopt where !job.isJobFinished { try await adopt(pod, by: job) }
    for pod in membership.release {
      try await control.changeOwner(pod, of: job, adopts: false)
    }
    let began = ContinuousClock.now
    let plan = planJob(job, pods: membership.owned, now: context.now)
    var failure: (any Error)?
    do {
      for pod in plan.discard where pod.isTracked { try await letGo(pod) }
      try await control.delete(plan.discard + plan.delete, of: job)
      try await control.create(plan.create, for: job)
    } catch { failure = error }
    if plan.status != job.status {
      var changed = job
      changed["status"] = plan.status
      written.wrote(
        try await context.api.update(.jobs, changed, subresource: "status", options: context.options))
      metrics.wrote(job, changed)
    }
    // Only now: what was counted is written down.
    for event in plan.events { control.record(job, event) }
    for pod in plan.release { try await letGo(pod) }
    metrics.synced(job, plan, failed: failure != nil, ContinuousClock.now - began)
    if let failure { throw failure }
    return plan.checkIn.map { .seconds($0) }
  }

  private func adopt(_ pod: JSON, by job: JSON) async throws {
    let owners = pod.ownerReferences + [job.controllerReferenceToThis]
    var metadata: JSON = ["ownerReferences": .array(owners)]
    if !pod.isTracked { metadata["finalizers"] = JSON(pod.finalizers + [JobNames.finalizer]) }
    try await control.patch(pod, metadata)
  }

  private func letGo(_ pod: JSON) async throws { try await context.removeJobFinalizer(pod) }
}

extension ControllerContext {
  /// Takes the finalizer off a pod as it is now, which may be newer than it was seen.
  func removeJobFinalizer(_ pod: JSON) async throws {
    func patch(_ pod: JSON) async throws {
      let rest = pod.finalizers.filter { $0 != JobNames.finalizer }
      _ = try await api.patch(
        .pods, namespace: pod.namespace, name: pod.name,
        patch: .merge([
          "metadata": [
            "uid": JSON(pod.uid), "resourceVersion": JSON(pod.resourceVersion),
            "finalizers": rest.isEmpty ? .null : JSON(rest),
          ]
        ]), subresource: nil, options: options)
    }
    do { try await patch(pod) } catch let error as APIStatusError where error.isNotFound {}
  }
}

/// Pods that a Job counted and that no Job will ever look at again: the finalizer would keep them for ever.
func orphanedJobPodController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("job_orphan_pod")
  let jobs = context.informers.informer(.jobs)
  let pods = context.informers.informer(.pods)

  /// The Job of a pod by what the informer knows; nil when there is none.
  @Sendable func job(of pod: JSON) -> JSON? {
    if let owner = pod.controllerReference {
      guard let name = owner["name"]?.string, let job = jobs[pod.namespace, name] else { return nil }
      return job.uid == owner["uid"]?.string ? job : nil
    }
    return jobs.objects(selecting: pod, by: .labelSelector).first { !$0.isTerminating }
  }
  let registrations = [
    pods.onChange { changes in
      for pod in changes.compactMap(\.new) where pod.isTracked && job(of: pod) == nil { queue.add(pod.key) }
    },
    jobs.onChange { changes in
      for change in changes where change.isDeletion {
        for pod in pods.objects(.controller, change.object.uid) where pod.isTracked { queue.add(pod.key) }
      }
    },
  ]
  return Controller("job_orphan_pod", context, queue: queue, registrations: registrations, workers: 1) {
    key in
    guard let pod = pods[key], pod.isTracked, job(of: pod) == nil else { return nil }
    if let owner = pod.controllerReference {
      guard owner["kind"]?.string == "Job", let name = owner["name"]?.string else { return nil }
      // The informer of Jobs may be behind: the API itself is asked.
      do {
        let job = try await context.api.get(.jobs, namespace: key.namespace, name: name)
        if job.uid == owner["uid"]?.string { return .seconds(5) }
      } catch let error as APIStatusError where error.isNotFound {}
    }
    try await context.removeJobFinalizer(pod)
    return nil
  }
}

/// Deletes Jobs that ended `ttlSecondsAfterFinished` ago.
func finishedJobController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("ttl_jobs_to_delete")
  let jobs = context.informers.informer(.jobs)
  let delays = context.metrics.histogram(
    "ttl_after_finished_controller_job_deletion_duration_seconds",
    "Time from when a Job should have gone to when it was deleted.",
    bounds: [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6, 819.2]
  ).child()
  let registration = jobs.onChange { changes in
    for change in changes {
      guard let job = change.new, job.at("spec", "ttlSecondsAfterFinished") != nil, job.isJobFinished else {
        continue
      }
      queue.add(change.key)
    }
  }
  return Controller(
    "ttl_jobs_to_delete", context, queue: queue, registrations: [registration], workers: 1,
    resync: { for key in jobs.snapshot.keys { queue.add(key) } }
  ) { key in
    guard let known = jobs[key] else { return nil }
    if let left = secondsToLive(known, now: context.now), left > 0 { return .seconds(left) }
    guard secondsToLive(known, now: context.now) != nil else { return nil }
    // The limit may have been raised a moment ago: what cannot be undone is decided by the newest state.
    let job: JSON
    do {
      job = try await context.api.get(.jobs, namespace: key.namespace, name: key.name)
    } catch let error as APIStatusError where error.isNotFound { return nil }
    guard let left = secondsToLive(job, now: context.now) else { return nil }
    if left > 0 { return .seconds(left) }
    try await context.api.deleteIfPresent(
      .jobs, key, options: DeleteOptions(propagationPolicy: "Foreground", uid: job.uid))
    delays.observe(Double(max(context.now - (jobExpiry(job) ?? context.now), 0)))
    return nil
  }
}

/// Seconds until a finished Job is to be deleted; nil for one that stays.
func secondsToLive(_ job: JSON, now: Int64) -> Int? {
  if job.isTerminating { return nil }
  return jobExpiry(job).map { max(0, Int($0 - now)) }
}

/// When a finished Job is to be deleted, in seconds since 1970; nil for one that stays.
private func jobExpiry(_ job: JSON) -> Int64? {
  guard let limit = job.at("spec", "ttlSecondsAfterFinished")?.int,
    let end = ["Complete", "Failed"].compactMap({ type -> Int64? in
      job.isConditionTrue(type) ? job.condition(type)?.time("lastTransitionTime") : nil
    }).first
  else { return nil }
  return end + Int64(limit)
}
