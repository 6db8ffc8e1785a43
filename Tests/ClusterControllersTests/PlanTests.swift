// The pure cores, by table.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

@Suite struct PlanTests {
  let service: JSON = {
    var service = serviceObject("web", targetPort: "http")
    service.set("svc", at: "metadata", "uid")
    return service
  }()

  func stored(_ slices: [JSON]) -> [JSON] {
    slices.enumerated().map { number, slice in
      var slice = slice
      slice.set(JSON("web-\(number)"), at: "metadata", "name")
      slice.set(JSON("\(number)"), at: "metadata", "uid")
      return slice
    }
  }

  @Test func `two hundred and fifty endpoints fill three slices of at most a hundred`() {
    let pods = (0..<250).map { podObject("p\($0)", ip: "10.0.\($0 / 200).\($0 % 200)") }
    let plan = planEndpointSlices(service, pods: pods, nodes: { _ in nil }, slices: [])
    #expect(plan.create.map { $0["endpoints"]?.elements.count } == [100, 100, 50])
  }

  @Test func `one pod more changes one slice and a second plan changes nothing`() {
    var pods = (0..<150).map { podObject("p\($0)", ip: "10.0.0.\($0)") }
    let first = planEndpointSlices(service, pods: pods, nodes: { _ in nil }, slices: [])
    var slices = stored(first.create)
    #expect(planEndpointSlices(service, pods: pods, nodes: { _ in nil }, slices: slices).isEmpty)
    pods.append(podObject("extra", ip: "10.0.1.1"))
    let second = planEndpointSlices(service, pods: pods, nodes: { _ in nil }, slices: slices)
    #expect(second.update.count == 1 && second.create.isEmpty && second.delete.isEmpty)
    for changed in second.update { slices = slices.map { $0.name == changed.name ? changed : $0 } }
    #expect(planEndpointSlices(service, pods: pods, nodes: { _ in nil }, slices: slices).isEmpty)
  }

  @Test func `a Service without endpoints keeps one empty slice`() {
    let plan = planEndpointSlices(service, pods: [], nodes: { _ in nil }, slices: [])
    #expect(plan.create.count == 1)
    #expect(plan.create.first?["endpoints"]?.elements.isEmpty == true)
    #expect(planEndpointSlices(service, pods: [], nodes: { _ in nil }, slices: stored(plan.create)).isEmpty)
  }

  @Test func `conditions say ready, serving and terminating as upstream does`() {
    var leaving = podObject("leaving", ip: "10.0.0.3")
    leaving.set("2026-01-01T00:00:00Z", at: "metadata", "deletionTimestamp")
    let pods = [
      podObject("a", ip: "10.0.0.1"), podObject("b", ready: false, ip: "10.0.0.2"), leaving,
      podObject("done", ip: "10.0.0.4", phase: "Succeeded"), podObject("no-address"),
    ]
    let plan = planEndpointSlices(service, pods: pods, nodes: { _ in nil }, slices: [])
    let conditions = (plan.create.first?["endpoints"]?.elements ?? []).map { $0["conditions"] }
    #expect(
      conditions == [
        ["ready": true, "serving": true, "terminating": false],
        ["ready": false, "serving": false, "terminating": false],
        ["ready": false, "serving": true, "terminating": true],
      ])
    var publishing = service
    publishing.set(true, at: "spec", "publishNotReadyAddresses")
    let all = planEndpointSlices(publishing, pods: pods, nodes: { _ in nil }, slices: [])
    #expect(
      (all.create.first?["endpoints"]?.elements ?? []).allSatisfy { $0.at("conditions", "ready") == true })
  }

  @Test func `a port named differently by two pods makes two slices`() {
    var other = podObject("b", ip: "10.0.0.2")
    other.set([["name": "c", "ports": [["name": "http", "containerPort": 9090]]]], at: "spec", "containers")
    let plan = planEndpointSlices(
      service, pods: [podObject("a", ip: "10.0.0.1"), other], nodes: { _ in nil }, slices: [])
    #expect(plan.create.map { $0["ports"]?[0]?["port"] } == [8080, 9090])
  }

  @Test(arguments: [
    ("25%", "25%", 4, 1, 1), ("25%", "25%", 10, 3, 2), ("0", "0", 3, 0, 1), ("100%", "50%", 3, 3, 1),
  ])
  func `percentages round up for surge and down for unavailable`(
    surge: String, unavailable: String, replicas: Int, wantedSurge: Int, wantedUnavailable: Int
  ) {
    func value(_ text: String) -> JSON { Int64(text).map { JSON.integer($0) } ?? JSON(text) }
    let bounds = RolloutBounds(
      deploymentObject(
        "web", replicas: replicas,
        strategy: ["rollingUpdate": ["maxSurge": value(surge), "maxUnavailable": value(unavailable)]]))
    #expect(bounds.maxSurge == wantedSurge)
    #expect(bounds.maxUnavailable == wantedUnavailable)
  }

  @Test func `the pod that is missed least goes first`() {
    var cheap = podObject("cheap")
    cheap.set("-5", at: "metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost")
    let pods = [
      podObject("ready"), cheap, podObject("unready", ready: false), podObject("pending", phase: "Pending"),
      podObject("unbound", node: ""),
    ]
    #expect(
      rankedForDeletion(pods, now: 0).map(\.name) == ["unbound", "pending", "unready", "cheap", "ready"])
  }

  @Test func `an object is garbage when its last owner is gone, not before`() {
    var object = podObject("p")
    object.set([["uid": "a"], ["uid": "b"]], at: "metadata", "ownerReferences")
    #expect(planGarbage(object, isGone: { _ in false }) == .keep)
    #expect(planGarbage(object, isGone: { $0["uid"] == "a" }) == .keepReferences([["uid": "b"]]))
    #expect(planGarbage(object, isGone: { _ in true }) == .delete)
    #expect(planGarbage(podObject("free"), isGone: { _ in true }) == .keep)
  }

  @Test func `a rollout past its deadline says so`() throws {
    var deployment = deploymentObject("web", replicas: 1)
    deployment.set(60, at: "spec", "progressDeadlineSeconds")
    deployment.set("d", at: "metadata", "uid")
    let created = planDeployment(deployment, sets: [], hasOldPods: false, now: 1000)
    var set = try #require(created.create)
    set.set("s", at: "metadata", "uid")
    deployment["status"] = created.status
    #expect(deployment.condition("Progressing")?["reason"] == "NewReplicaSetCreated")
    let waiting = planDeployment(deployment, sets: [set], hasOldPods: false, now: 1030)
    #expect(waiting.checkIn == 31)
    let late = planDeployment(deployment, sets: [set], hasOldPods: false, now: 1061)
    deployment["status"] = late.status
    #expect(deployment.condition("Progressing")?["reason"] == "ProgressDeadlineExceeded")
    #expect(deployment.condition("Progressing")?["status"] == "False")
  }
}
