// Jobs, step by step: the plan's effects are applied to pods and status, and the next plan is asked for.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

/// One Job with its pods and a clock. A pod's finalizer keeps it, as the server does.
private struct JobWorld {
  var job: JSON
  var world = PodWorld()
  var now = workloadEpoch
  var events: [String] = []

  init(_ spec: JSON) {
    job = workload("Job", "work", group: "batch/v1", spec: spec)
    if job.at("spec", "template", "spec", "restartPolicy") == nil {
      job.set("Never", at: "spec", "template", "spec", "restartPolicy")
    }
  }

  var status: JSON { job.status }
  var active: [JSON] { world.sorted.filter { JobPodState($0, countsTerminating: false) == .active } }
  func condition(_ type: String) -> String? {
    job.isConditionTrue(type) ? job.condition(type)?["reason"]?.string : nil
  }

  @discardableResult mutating func step() -> JobPlan {
    let plan = planJob(job, pods: world.sorted, now: now)
    for pod in plan.discard { remove(pod, keepsTracked: false) }
    for pod in plan.delete { remove(pod, keepsTracked: true) }
    for pod in plan.create { world.create(pod, at: now) }
    job["status"] = plan.status
    for pod in plan.release {
      world.update(pod.name) {
        var pod = $0
        pod.set(nil, at: "metadata", "finalizers")
        return pod
      }
      if world.pods[pod.name]?.isTerminating == true { world.pods[pod.name] = nil }
    }
    events += plan.events.map(\.reason)
    return plan
  }

  /// Steps until nothing changes any more.
  mutating func settle() {
    for _ in 0..<20 {
      let before = (job, world.pods)
      step()
      if before.0 == job, before.1 == world.pods { return }
    }
  }

  private mutating func remove(_ pod: JSON, keepsTracked: Bool) {
    world.update(pod.name) { $0.terminating(at: now, grace: 0) }
    if !keepsTracked { world.pods[pod.name] = nil }
  }

  mutating func end(_ name: String, _ phase: String, exitCode: Int? = nil) {
    let now = now
    world.update(name) { $0.running().phase(phase, exitCode: exitCode, at: now) }
  }
  mutating func endAll(_ phase: String, exitCode: Int? = nil) {
    for pod in active { end(pod.name, phase, exitCode: exitCode) }
  }
  mutating func endIndex(_ index: Int, _ phase: String, exitCode: Int? = nil) {
    for pod in active where pod.completionIndex == index { end(pod.name, phase, exitCode: exitCode) }
  }
}

@Suite struct JobTests {
  @Test func `a Job runs as many pods at a time as it may until enough have succeeded`() {
    var world = JobWorld(["completions": 5, "parallelism": 2])
    world.settle()
    #expect(world.active.count == 2 && world.status["active"] == 2)
    #expect(world.active.allSatisfy { $0.isTracked })
    for _ in 0..<3 {
      world.endAll("Succeeded")
      world.settle()
      #expect(world.active.count <= 2)
    }
    #expect(world.status["succeeded"] == 5 && world.status["active"] == nil)
    #expect(world.condition("Complete") == "CompletionsReached")
    #expect(world.condition("SuccessCriteriaMet") == "CompletionsReached")
    #expect(world.status["completionTime"] != nil && world.status["uncountedTerminatedPods"] == [:])
    #expect(world.events == ["Completed"])
    #expect(world.world.pods.count == 5 && world.world.sorted.allSatisfy { !$0.isTracked })
  }

  @Test func `a work queue is done when one has succeeded and none runs`() {
    var world = JobWorld(["parallelism": 3])
    world.settle()
    #expect(world.active.count == 3)
    world.end(world.active[0].name, "Succeeded")
    world.settle()
    #expect(world.active.count == 2 && world.condition("Complete") == nil)
    world.endAll("Succeeded")
    world.settle()
    #expect(world.condition("Complete") != nil && world.status["succeeded"] == 3)
  }

  @Test func `a pod is counted once, whatever fails between its steps`() {
    var world = JobWorld(["completions": 1])
    world.step()
    world.endAll("Succeeded")
    // The finalizer goes only after the uid is in the status.
    let pods = world.world.sorted
    let plan = planJob(world.job, pods: pods, now: world.now)
    #expect(plan.status.at("uncountedTerminatedPods", "succeeded")?.elements.count == 1)
    #expect(plan.status["succeeded"] == nil && plan.release.map(\.name) == pods.map(\.name))
    world.job["status"] = plan.status
    // The finalizers stayed, because the controller was killed: the same again.
    #expect(planJob(world.job, pods: pods, now: world.now).status == plan.status)
    let released = pods.map { pod in
      var pod = pod
      pod.set(nil, at: "metadata", "finalizers")
      return pod
    }
    let counted = planJob(world.job, pods: released, now: world.now)
    #expect(counted.status["succeeded"] == 1)
    // Gone altogether, it counts all the same.
    #expect(planJob(world.job, pods: [], now: world.now).status["succeeded"] == 1)
  }

  @Test func `failures are tried again later and later until the limit`() {
    var world = JobWorld(["completions": 1, "backoffLimit": 2])
    world.settle()
    var waits: [Int] = []
    for _ in 0..<2 {
      world.endAll("Failed")
      world.settle()
      let plan = planJob(world.job, pods: world.world.sorted, now: world.now)
      #expect(plan.create.isEmpty)
      waits.append(plan.checkIn ?? 0)
      world.now += Int64(plan.checkIn ?? 0)
      world.settle()
      #expect(world.active.count == 1)
    }
    #expect(waits == [10, 20])
    world.endAll("Failed")
    world.settle()
    #expect(world.condition("Failed") == "BackoffLimitExceeded" && world.status["failed"] == 3)
    #expect(world.condition("FailureTarget") == "BackoffLimitExceeded")
    #expect(world.events == ["BackoffLimitExceeded"] && world.status["completionTime"] == nil)
  }

  @Test func `restarts count where pods restart by themselves`() {
    var world = JobWorld(["completions": 1, "backoffLimit": 1])
    world.job.set("OnFailure", at: "spec", "template", "spec", "restartPolicy")
    world.settle()
    for pod in world.active {
      world.world.update(pod.name) {
        var pod = $0.running()
        pod.set([["name": "c", "restartCount": 1]], at: "status", "containerStatuses")
        return pod
      }
    }
    world.settle()
    #expect(world.condition("Failed") == "BackoffLimitExceeded")
  }

  @Test func `a deadline ends the pods that still run`() {
    var world = JobWorld(["completions": 1, "activeDeadlineSeconds": 60])
    world.settle()
    #expect(world.step().checkIn == 60)
    world.now += 60
    world.settle()
    #expect(world.condition("Failed") == "DeadlineExceeded" && world.active.isEmpty)
    #expect(world.status["failed"] == 1)
  }

  @Test func `an Indexed Job gives each pod its number`() {
    var world = JobWorld(["completions": 4, "parallelism": 3, "completionMode": "Indexed"])
    world.settle()
    #expect(Set(world.active.compactMap(\.completionIndex)) == [0, 1, 2])
    let pod = world.active.first { $0.completionIndex == 1 } ?? .null
    #expect(pod.name.hasPrefix("work-1-") && pod.at("spec", "hostname") == "work-1")
    #expect(pod.labels["batch.kubernetes.io/job-completion-index"] == "1")
    #expect(pod.spec["containers"]?[0]?["env"]?[0]?["name"] == "JOB_COMPLETION_INDEX")
    world.endIndex(1, "Succeeded")
    world.endIndex(0, "Failed")
    world.settle()
    world.now += 10
    world.settle()
    #expect(world.status["completedIndexes"] == "1" && world.status["succeeded"] == 1)
    #expect(Set(world.active.compactMap(\.completionIndex)) == [0, 2, 3])
    world.endAll("Succeeded")
    world.settle()
    #expect(world.status["completedIndexes"] == "0-3" && world.condition("Complete") != nil)
  }

  @Test func `each index has its own limit of failures`() {
    var world = JobWorld([
      "completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
    ])
    world.settle()
    world.endIndex(0, "Failed")
    world.settle()
    #expect(world.active.count == 1)
    world.now += 10
    world.settle()
    let again = world.active.first { $0.completionIndex == 0 }
    #expect(again?.indexFailures == 1)
    world.endIndex(0, "Failed")
    world.settle()
    #expect(world.status["failedIndexes"] == "0" && world.condition("Failed") == nil)
    world.endIndex(1, "Succeeded")
    world.settle()
    #expect(world.condition("Failed") == "FailedIndexes" && world.status["failed"] == 2)
    #expect(world.status["completedIndexes"] == "1")
  }

  @Test func `too many failed indexes end the Job at once`() {
    var world = JobWorld([
      "completions": 5, "parallelism": 5, "completionMode": "Indexed", "backoffLimitPerIndex": 0,
      "maxFailedIndexes": 1,
    ])
    world.settle()
    world.endIndex(0, "Failed")
    world.settle()
    #expect(world.condition("FailureTarget") == nil)
    world.endIndex(1, "Failed")
    world.settle()
    #expect(world.condition("Failed") == "MaxFailedIndexesExceeded" && world.active.isEmpty)
  }

  @Test(arguments: [
    (42, "FailJob", "PodFailurePolicy"), (7, "Ignore", nil), (1, "Count", "BackoffLimitExceeded"),
  ])
  func `the policy says what an exit code means`(code: Int, action: String, reason: String?) {
    var world = JobWorld([
      "completions": 1, "backoffLimit": 0,
      "podFailurePolicy": [
        "rules": [
          ["action": JSON(action), "onExitCodes": ["operator": "In", "values": [JSON(code)]]]
        ]
      ],
    ])
    world.settle()
    let name = world.active.first?.name ?? ""
    world.endAll("Failed", exitCode: code)
    world.settle()
    #expect(world.condition("Failed") == reason)
    if action == "FailJob" {
      #expect(
        world.job.condition("Failed")?["message"]
          == JSON(
            "Container c for pod demo/\(name) failed with exit code 42 matching FailJob rule at index 0"))
    }
    if action == "Ignore" { #expect(world.status["failed"] == nil && world.active.count == 1) }
  }

  @Test func `a condition such as a disruption can be ignored`() {
    var world = JobWorld([
      "completions": 1, "backoffLimit": 0,
      "podFailurePolicy": [
        "rules": [["action": "Ignore", "onPodConditions": [["type": "DisruptionTarget"]]]]
      ],
    ])
    world.settle()
    let name = world.active.first?.name ?? ""
    world.end(name, "Failed")
    world.world.update(name) {
      var pod = $0
      pod.setCondition("DisruptionTarget", "True", reason: "Preempted", message: "")
      return pod
    }
    world.settle()
    #expect(world.condition("Failed") == nil && world.status["failed"] == nil && world.active.count == 1)
  }

  static let successRules: [(rule: JSON, done: [Int], isMet: Bool)] = [
    (["succeededIndexes": "0,2-3"], [0, 2], false), (["succeededIndexes": "0,2-3"], [0, 2, 3], true),
    (["succeededCount": 2], [1, 4], true), (["succeededCount": 2], [1], false),
    (["succeededIndexes": "0-2", "succeededCount": 2], [0, 4], false),
    (["succeededIndexes": "0-2", "succeededCount": 2], [0, 1], true),
  ]

  @Test(arguments: successRules)
  func `a success policy says which indexes are enough`(rule: JSON, done: [Int], isMet: Bool) {
    var world = JobWorld([
      "completions": 5, "parallelism": 5, "completionMode": "Indexed", "successPolicy": ["rules": [rule]],
    ])
    world.settle()
    for index in done { world.endIndex(index, "Succeeded") }
    world.settle()
    #expect(world.condition("Complete") == (isMet ? "SuccessPolicy" : nil))
    #expect(world.active.isEmpty == isMet)
    if isMet { #expect(world.status["failed"] == nil) }
  }

  @Test func `a suspended Job has no pods and counts none, and goes on later`() {
    var world = JobWorld(["completions": 2, "parallelism": 2, "suspend": true, "activeDeadlineSeconds": 5])
    world.settle()
    #expect(world.active.isEmpty && world.status["startTime"] == nil)
    #expect(world.condition("Suspended") == "JobSuspended")
    world.job.set(false, at: "spec", "suspend")
    world.settle()
    #expect(world.active.count == 2 && world.job.condition("Suspended")?["reason"] == "JobResumed")
    world.job.set(true, at: "spec", "suspend")
    world.settle()
    #expect(world.active.isEmpty && world.status["failed"] == nil)
    world.now += 100
    world.job.set(false, at: "spec", "suspend")
    world.settle()
    #expect(world.active.count == 2 && world.condition("Failed") == nil)
    #expect(world.events == ["Suspended", "Resumed", "Suspended", "Resumed"])
  }

  @Test func `less parallelism ends pods that count for nothing`() {
    var world = JobWorld(["completions": 5, "parallelism": 3])
    world.settle()
    world.job.set(1, at: "spec", "parallelism")
    world.settle()
    #expect(world.active.count == 1 && world.status["failed"] == nil)
    world.job.set(2, at: "spec", "parallelism")
    world.settle()
    #expect(world.active.count == 2)
  }

  @Test func `a stopping pod is replaced at once, or after its end`() {
    for (policy, count) in [("TerminatingOrFailed", 1), ("Failed", 0)] {
      var world = JobWorld(["completions": 1, "podReplacementPolicy": JSON(policy), "backoffLimit": 6])
      world.settle()
      let name = world.active.first?.name ?? ""
      world.world.update(name) { $0.running().terminating(at: workloadEpoch, grace: 30) }
      world.settle()
      #expect(world.status["terminating"] == (count == 0 ? 1 : 0) || policy == "TerminatingOrFailed")
      world.now += 10
      world.settle()
      #expect(world.active.count == count)
    }
  }

  @Test func `a finished or deleted Job lets go of its pods`() {
    var world = JobWorld(["completions": 1])
    world.settle()
    var job = world.job
    job.set("2026-01-01T00:00:00Z", at: "metadata", "deletionTimestamp")
    let plan = planJob(job, pods: world.world.sorted, now: world.now)
    #expect(plan.release.count == 1 && plan.create.isEmpty)
  }

  @Test func `a finished Job goes when its time is up`() {
    var job = workload("Job", "work", group: "batch/v1", spec: ["ttlSecondsAfterFinished": 30])
    #expect(secondsToLive(job, now: workloadEpoch) == nil)
    job.setCondition(
      "Complete", "True", reason: "", message: "", now: Timestamp.text(seconds: workloadEpoch))
    #expect(secondsToLive(job, now: workloadEpoch + 10) == 20)
    #expect(secondsToLive(job, now: workloadEpoch + 99) == 0)
  }

  @Test(arguments: [
    ("", [], ""), ("0", [0], "0"), ("0,1", [0, 1], "0,1"), ("1,3-5,7", [1, 3, 4, 5, 7], "1,3-5,7"),
    ("2-4,9-99", [2, 3, 4, 9], "2-4,9"), ("x,-1,4-2,3", [3], "3"), ("5-,6", [6], "6"),
  ])
  func `indexes read as they are written`(text: String, values: [Int], written: String) {
    let indexes = JobIndexes(text, below: 10)
    #expect(indexes.values == Set(values))
    #expect(indexes.text == written)
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct JobClusterTests {
  /// Ends every pod as soon as it exists.
  static func finishing(_ cluster: TestCluster, _ phase: String) -> InformerRegistration {
    cluster.informers.informer(.pods).onChange { changes in
      for pod in changes.compactMap(\.new) where !PodState.isFinished(pod) && pod.finalizers != [] {
        guard let current = cluster.api.objects(.pods).first(where: { $0.key == pod.key }) else { continue }
        cluster.api.put(.pods, current.phase(phase))
      }
    }
  }

  @Test func `a Job of six is complete, its pods are counted and free`() async throws {
    let cluster = TestCluster(runsPods: false)
    let registration = Self.finishing(cluster, "Succeeded")
    var job = workload("Job", "work", group: "batch/v1", spec: ["completions": 6, "parallelism": 2])
    job.set(nil, at: "metadata", "uid")
    try await cluster.create(.jobs, job)
    #expect(await eventually { cluster.get(.jobs, "work")?.isConditionTrue("Complete") == true })
    #expect(cluster.get(.jobs, "work")?.at("status", "succeeded") == 6)
    #expect(cluster.pods().count == 6)
    #expect(await eventually { cluster.pods().allSatisfy { !$0.isTracked } })
    _ = registration
    await cluster.stop()
  }

  @Test func `pods of a Job that went are freed`() async throws {
    let cluster = TestCluster(runsPods: false)
    var job = workload("Job", "work", group: "batch/v1", spec: ["completions": 2, "parallelism": 2])
    job.set(nil, at: "metadata", "uid")
    try await cluster.create(.jobs, job)
    #expect(await eventually { cluster.pods().count == 2 })
    try await cluster.api.delete(
      .jobs, namespace: "demo", name: "work", options: DeleteOptions(propagationPolicy: "Background"))
    #expect(await eventually { cluster.pods().isEmpty && cluster.get(.jobs, "work") == nil })
    await cluster.stop()
  }
}
