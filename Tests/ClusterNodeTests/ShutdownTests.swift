// A machine that goes down: which pods end when, and with how much time.

import ClusterObjects
import Testing

@testable import ClusterNode

private func pod(_ uid: String, priority: Int?, grace: Int) -> PodSpec {
  var spec: JSON = ["containers": [["name": "c"]], "terminationGracePeriodSeconds": JSON(grace)]
  if let priority { spec["priority"] = JSON(priority) }
  return PodSpec(["metadata": ["name": JSON(uid), "uid": JSON(uid)], "spec": spec])
}

@Suite struct ShutdownTests {
  @Test func `critical pods end last, each pod with its own time or its group's, whichever is less`() throws {
    let settings = try #require(ShutdownSettings(seconds: 30, criticalSeconds: 10))
    let plan = planShutdown(
      [
        pod("web", priority: nil, grace: 60), pod("dns", priority: 2_000_000_000, grace: 5),
        pod("node", priority: 2_000_001_000, grace: 60), pod("low", priority: -5, grace: 1),
      ], settings)
    #expect(
      plan == [
        ShutdownStage(
          seconds: 20, pods: [.init(uid: "web", graceSeconds: 20), .init(uid: "low", graceSeconds: 1)]),
        ShutdownStage(
          seconds: 10, pods: [.init(uid: "dns", graceSeconds: 5), .init(uid: "node", graceSeconds: 10)]),
      ])
  }

  @Test func `groups by priority are as many as are said, and those without pods take no time`() throws {
    let settings = try #require(
      ShutdownSettings([
        ShutdownPeriod(priority: 100_000, seconds: 10), ShutdownPeriod(priority: 10_000, seconds: 180),
        ShutdownPeriod(priority: 0, seconds: 60),
      ]))
    #expect(settings.seconds == 250)
    let plan = planShutdown(
      [pod("a", priority: 99_999, grace: 30), pod("b", priority: 100_000, grace: 30)], settings)
    #expect(plan.map(\.seconds) == [180, 10] && plan.map { $0.pods.map(\.graceSeconds) } == [[30], [10]])
  }

  @Test func `times that cannot be are none`() {
    #expect(ShutdownSettings(seconds: 0, criticalSeconds: 0) == nil)
    #expect(ShutdownSettings(seconds: 10, criticalSeconds: 11) == nil)
    #expect(ShutdownSettings([]) == nil)
    #expect(
      ShutdownSettings([ShutdownPeriod(priority: 1, seconds: 1), ShutdownPeriod(priority: 1, seconds: 2)])
        == nil)
  }

  @Test func `what is ended so says it to whoever counts disruptions`() {
    let status = planEndedStatus(["phase": "Running"], .shutdown(graceSeconds: 3), now: "t")
    #expect(status["reason"] == "Terminated" && status["phase"] == "Failed")
    #expect(status["message"] == "Pod was terminated in response to imminent node shutdown.")
    #expect(status.at("conditions")?[0]?["type"] == "DisruptionTarget")
  }
}
