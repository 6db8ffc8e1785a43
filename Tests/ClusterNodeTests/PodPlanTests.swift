// What to do next for a pod, and what to say of it, without a runtime.

import ClusterObjects
import SwiftProtobuf
import Testing

@testable import ClusterNode

/// A container instance as the runtime would report it.
private func instance(
  _ name: String, _ attempt: UInt32 = 0, exit code: Int32? = nil, started: Int64 = 1_000_000_000,
  finished: Int64 = 2_000_000_000
) -> CRI.ContainerStatus {
  .with {
    $0.id = "\(name)-\(attempt)"
    $0.metadata = .with {
      $0.name = name
      $0.attempt = attempt
    }
    $0.state = code == nil ? .containerRunning : .containerExited
    $0.startedAt = started
    if let code {
      $0.exitCode = code
      $0.finishedAt = finished
    }
  }
}

private func observed(_ instances: CRI.ContainerStatus..., ready: Bool = true) -> ObservedPod {
  var pod = ObservedPod()
  pod.sandboxes = [
    .with {
      $0.id = "s0"
      $0.state = ready ? .sandboxReady : .sandboxNotready
    }
  ]
  for instance in instances { pod.containers[instance.metadata.name, default: []].append(instance) }
  pod.addresses = ["10.42.0.7"]
  return pod
}

private func spec(_ names: [String], policy: String = "Always", initial: [JSON] = []) -> PodSpec {
  PodSpec([
    "metadata": ["name": "web", "namespace": "demo", "uid": "u1"],
    "spec": [
      "restartPolicy": JSON(policy), "initContainers": .array(initial),
      "containers": .array(names.map { ["name": JSON($0), "image": "weft.local/demo:1"] }),
    ],
  ])
}

private func plan(_ spec: PodSpec, _ observed: ObservedPod, now: Int64 = 3_000_000_000) -> PodPlan {
  planPod(PodPlanInputs(spec: spec, observed: observed, now: now))
}

private func status(_ spec: PodSpec, _ observed: ObservedPod, waiting: [String: Waiting] = [:]) -> JSON {
  planPodStatus(
    PodStatusInputs(
      spec: spec, observed: observed, plan: plan(spec, observed), waiting: waiting,
      hostAddresses: ["192.0.2.1"], startTime: "2026-01-01T00:00:00Z", now: "2026-01-01T00:00:05Z"))
}

@Suite struct PodPlanTests {
  @Test func `a new pod gets its sandbox first, then its containers`() {
    let web = spec(["a", "b"])
    #expect(plan(web, ObservedPod()).actions == [.runSandbox(attempt: 0)])
    #expect(
      plan(web, observed()).actions == [
        .start(container: "a", attempt: 0), .start(container: "b", attempt: 0),
      ])
    #expect(plan(web, observed(instance("a"), instance("b"))).actions == [])
  }

  @Test func `a dead sandbox is removed and made anew with the next attempt`() {
    #expect(
      plan(spec(["a"]), observed(ready: false)).actions == [
        .removeSandbox(id: "s0"), .runSandbox(attempt: 1),
      ])
  }

  @Test func `init containers run one after the other and before the rest`() {
    let web = spec(["a"], initial: [["name": "one"], ["name": "two"]])
    #expect(plan(web, observed()).actions == [.start(container: "one", attempt: 0)])
    #expect(plan(web, observed(instance("one"))).actions == [])
    #expect(plan(web, observed(instance("one", exit: 0))).actions == [.start(container: "two", attempt: 0)])
    #expect(
      plan(web, observed(instance("one", exit: 0), instance("two", exit: 0))).actions == [
        .start(container: "a", attempt: 0)
      ])
  }

  @Test func `a failed init container of a pod that never restarts ends the pod`() {
    let job = spec(["a"], policy: "Never", initial: [["name": "one"]])
    let failed = observed(instance("one", exit: 1))
    #expect(plan(job, failed).isFinished)
    #expect(status(job, failed)["phase"] == "Failed")
  }

  @Test func `a sidecar starts before the main container and restarts whatever the pod's policy`() {
    let job = spec(["a"], policy: "Never", initial: [["name": "proxy", "restartPolicy": "Always"]])
    #expect(plan(job, observed()).actions == [.start(container: "proxy", attempt: 0)])
    #expect(plan(job, observed(instance("proxy"))).actions == [.start(container: "a", attempt: 0)])
    #expect(
      plan(job, observed(instance("proxy", exit: 1), instance("a"))).actions == [
        .start(container: "proxy", attempt: 1)
      ])
  }

  @Test(arguments: [(0, 0), (1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (60, 300)])
  func `the wait before a restart doubles up to five minutes`(restarts: Int, seconds: Int) {
    #expect(restartDelaySeconds(restarts: restarts) == seconds)
  }

  @Test func `a crashed container waits its time out, visibly, and then starts again`() {
    let web = spec(["a"])
    let crashed = observed(instance("a", 1, exit: 1, finished: 2_000_000_000))
    let waiting = plan(web, crashed, now: 5_000_000_000)
    #expect(waiting.actions == [] && waiting.waiting["a"]?.reason == "CrashLoopBackOff")
    #expect(waiting.wakeAt == 12_000_000_000)
    #expect(plan(web, crashed, now: 12_000_000_000).actions == [.start(container: "a", attempt: 2)])
  }

  @Test func `a clock that is set makes no container wait longer, or shorter`() {
    let web = spec(["a"])
    for dated: Int64 in [3600, -3600] {
      // Seen to end at the steady clock's second, whatever the runtime dates it.
      let end = (4000 + dated) * 1_000_000_000
      let crashed = observed(instance("a", 1, exit: 1, started: end - 1, finished: end))
      var inputs = PodPlanInputs(spec: web, observed: crashed, now: 5_000_000_000)
      inputs.endedAt = ["a-1": 2_000_000_000]
      #expect(planPod(inputs).actions == [] && planPod(inputs).wakeAt == 12_000_000_000)
      inputs.now = 12_000_000_000
      #expect(planPod(inputs).actions == [.start(container: "a", attempt: 2)])
    }
  }

  @Test(arguments: [
    (100, 160, 1000, 940), (160, 160, 1000, 1000), (3760, 160, 1000, 1000), (0, 160, 1000, 0),
  ])
  func `what others date is as long ago as it was, and never to come`(
    wall: Int64, wallNow: Int64, steadyNow: Int64, moment: Int64
  ) {
    #expect(steadyMoment(of: wall, wallNow: wallNow, steadyNow: steadyNow) == moment)
  }

  @Test func `a run of more than ten minutes wipes the memory of crashes`() {
    let long = observed(instance("a", 9, exit: 1, started: 1, finished: cleanRunNanoseconds + 2))
    #expect(
      plan(spec(["a"]), long, now: cleanRunNanoseconds + 3).actions == [.start(container: "a", attempt: 10)])
  }

  @Test(arguments: [
    ("Never", 0, "Succeeded"), ("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded"),
    ("Always", 0, "Running"),
  ])
  func `the phase after the last container ended follows the restart policy`(
    policy: String, code: Int, phase: String
  ) {
    let ended = observed(instance("a", exit: Int32(code)))
    #expect(status(spec(["a"], policy: policy), ended)["phase"]?.string == phase)
  }

  @Test func `a pod with an address that its node no longer has is ended in order, and begins anew`() {
    var inputs = PodPlanInputs(
      spec: spec(["a", "b"]), observed: observed(instance("b"), instance("a")), now: 0)
    inputs.isAddressForeign = true
    #expect(
      planPod(inputs).actions == [
        .stop(id: "a-0", container: "a", message: "Stopping container a"),
        .stop(id: "b-0", container: "b", message: "Stopping container b"), .removeSandbox(id: "s0"),
      ])
    // With the old sandbox its containers are gone, too.
    let next = plan(spec(["a", "b"], policy: "Never"), ObservedPod())
    #expect(next.actions == [.runSandbox(attempt: 0)])
  }

  @Test func `a container that a probe gave up on is stopped`() {
    var inputs = PodPlanInputs(spec: spec(["a"]), observed: observed(instance("a")), now: 0)
    inputs.unhealthy = ["a-0": "ill"]
    #expect(planPod(inputs).actions == [.stop(id: "a-0", container: "a", message: "ill")])
  }
}

@Suite struct PodStatusTests {
  private func condition(_ status: JSON, _ type: String) -> JSON? {
    status["conditions"]?.elements.first { $0["type"]?.string == type }
  }

  @Test func `a running pod is ready, says its addresses, and keeps others' conditions`() {
    var tree = spec(["a"]).pod
    tree["status"] = ["conditions": [["type": "PodScheduled", "status": "True"]]]
    let result = status(PodSpec(tree), observed(instance("a")))
    #expect(result["phase"] == "Running" && result["podIP"] == "10.42.0.7" && result["hostIP"] == "192.0.2.1")
    for type in ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled"] {
      #expect(condition(result, type)?["status"] == "True", "\(type)")
    }
    let container = result["containerStatuses"]?[0]
    #expect(container?.at("state", "running", "startedAt") == "1970-01-01T00:00:01Z")
    #expect(container?["containerID"] == "containerd://a-0" && container?["started"] == true)
  }

  @Test func `a pod whose image is missing is pending and says why`() {
    let result = status(
      spec(["a"]), observed(), waiting: ["a": Waiting(reason: "ErrImagePull", message: "no")])
    #expect(result["phase"] == "Pending")
    #expect(result["containerStatuses"]?[0]?.at("state", "waiting", "reason") == "ErrImagePull")
    #expect(condition(result, "Ready")?["message"] == "containers with unready status: [a]")
  }

  @Test func `a restarted container tells of its last end`() {
    var pod = observed()
    pod.containers["a"] = [instance("a", 1), instance("a", 0, exit: 137)]
    let container = status(spec(["a"]), pod)["containerStatuses"]?[0]
    #expect(container?["restartCount"] == 1)
    #expect(container?.at("lastState", "terminated", "exitCode") == 137)
    #expect(container?.at("lastState", "terminated", "signal") == 9)
  }

  @Test func `a closed readiness gate keeps the pod from being ready`() {
    var tree = spec(["a"]).pod
    tree.set([["conditionType": "example.com/warm"]], at: "spec", "readinessGates")
    let result = status(PodSpec(tree), observed(instance("a")))
    #expect(condition(result, "ContainersReady")?["status"] == "True")
    #expect(condition(result, "Ready")?["reason"] == "ReadinessGatesNotReady")
  }

  @Test func `a condition that did not change keeps its time`() {
    var tree = spec(["a"]).pod
    tree["status"] = [
      "conditions": [["type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"]]
    ]
    let result = status(PodSpec(tree), observed(instance("a")))
    #expect(condition(result, "Ready")?["lastTransitionTime"] == "2020-01-01T00:00:00Z")
  }

  @Test(arguments: [
    ("", "", "BestEffort"), ("100m", "", "Burstable"), ("", "100m", "Burstable"), ("1", "1", "Guaranteed"),
  ])
  func `the quality of service follows requests and limits`(request: String, limit: String, qos: String) {
    var container: JSON = ["name": "a", "image": "x"]
    for (field, value) in [("requests", request), ("limits", limit)] where !value.isEmpty {
      container.set(
        ["cpu": JSON(value), "memory": JSON(value == "1" ? "1Mi" : "2Mi")], at: "resources", field)
    }
    if qos == "Burstable" { container.set(nil, at: "resources", "requests", "memory") }
    if limit == "100m" { container.set("50m", at: "resources", "requests", "cpu") }
    #expect(PodSpec(["spec": ["containers": [container]]]).qosClass == qos)
  }
}
