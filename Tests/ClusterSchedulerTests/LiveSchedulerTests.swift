// The scheduler against an API in memory.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterScheduler

@Suite(.serialized, .timeLimit(.minutes(10))) struct LiveSchedulerTests {
  private struct Running {
    let api: MemoryClusterAPI
    let informers: SharedInformers
    let scheduler: SchedulerHandle
    let metrics: Metrics

    func stop() async {
      await scheduler.stop()
      await informers.stop()
    }
    func create(_ pod: JSON) async throws {
      _ = try await api.create(.pods, pod, options: WriteOptions())
    }
    func nodeName(_ name: String) -> String? {
      api.objects(.pods).first { $0.name == name }?.at("spec", "nodeName")?.string
    }
    func message(_ name: String) -> String? {
      api.objects(.pods).first { $0.name == name }?.condition("PodScheduled")?["message"]?.string
    }
    var bound: [JSON] { api.objects(.pods).filter { $0.at("spec", "nodeName") != nil } }
    func hasEvent(_ reason: String, _ text: String = "") -> Bool {
      api.objects(.events).contains {
        $0["reason"]?.string == reason && ($0["message"]?.string ?? "").contains(text)
      }
    }
  }

  private func start(
    _ api: MemoryClusterAPI = MemoryClusterAPI(), _ settings: SchedulerSettings = SchedulerSettings()
  ) async throws -> Running {
    let metrics = Metrics()
    let informers = SharedInformers(api: api, metrics: metrics)
    let scheduler = try startScheduler(api: api, informers: informers, settings: settings, metrics: metrics)
    try await informers.waitForSync()
    return Running(api: api, informers: informers, scheduler: scheduler, metrics: metrics)
  }

  @Test func `a pod that fits nowhere says why and is bound when a node comes`() async throws {
    let running = try await start()
    try await running.create(makePod("p"))
    #expect(
      await eventually {
        running.api.objects(.pods).first?.condition("PodScheduled")?["reason"] == "Unschedulable"
          && running.hasEvent("FailedScheduling", "no nodes available to schedule pods")
      })
    running.api.put(.nodes, makeNode("n1"))
    #expect(await eventually { running.nodeName("p") == "n1" })
    #expect(await eventually { running.hasEvent("Scheduled", "Successfully assigned demo/p to n1") })
    let text = running.metrics.text()
    #expect(
      text.contains("scheduler_schedule_attempts_total{result=\"scheduled\",profile=\"default-scheduler\"} 1")
    )
    #expect(text.contains("scheduler_pending_pods{queue=\"active\"} 0"))
    #expect(
      text.contains("scheduler_framework_extension_point_duration_seconds_count{extension_point=\"Filter\""))
    await running.stop()
  }

  @Test func `what cannot be placed waits, and is not tried over and over`() async throws {
    let running = try await start()
    try await running.create(makePod("p"))
    #expect(await eventually { running.message("p") != nil })
    // Another pod goes all the way round meanwhile: a loop that spins would have had its turns.
    for number in 0..<20 {
      try await running.create(makePod("q\(number)"))
      #expect(await eventually { running.message("q\(number)") != nil })
    }
    let attempts = running.metrics.text().split(separator: "\n").first {
      $0.hasPrefix("scheduler_schedule_attempts_total{result=\"unschedulable\"")
    }
    #expect(attempts?.split(separator: " ").last == "21", "\(attempts ?? "")")
    await running.stop()
  }

  @Test func `a node that is not ready takes only pods that tolerate it, and the others when it is`()
    async throws
  {
    let running = try await start()
    let taints: [JSON] = ["NoSchedule", "NoExecute"].map {
      ["key": "node.kubernetes.io/not-ready", "effect": JSON($0)]
    }
    running.api.put(.nodes, makeNode("n1", taints: taints))
    let tolerations: JSON = [["key": "node.kubernetes.io/not-ready", "operator": "Exists"]]
    try await running.create(makePod("tolerant", spec: ["tolerations": tolerations]))
    try await running.create(makePod("other"))
    #expect(await eventually { running.nodeName("tolerant") == "n1" })
    #expect(
      await eventually {
        running.hasEvent(
          "FailedScheduling",
          "0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes are available: "
            + "1 Preemption is not helpful for scheduling.")
      })
    #expect((running.nodeName("other") ?? "").isEmpty)
    running.api.put(.nodes, makeNode("n1"))
    #expect(await eventually { running.nodeName("other") == "n1" })
    await running.stop()
  }

  @Test func `capacity is never given twice, and room made is used`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1", cpu: "1"))
    let running = try await start(api)
    for number in 0..<20 { try await running.create(makePod("p\(number)", cpu: "100m")) }
    #expect(await eventually { running.bound.count == 10 })
    #expect(
      await eventually {
        api.objects(.pods).count { $0.condition("PodScheduled")?["status"] == "False" } == 10
      })
    #expect(running.bound.count == 10)
    for pod in running.bound.prefix(3) { api.remove(.pods, pod.key) }
    #expect(await eventually { running.bound.count == 10 && api.objects(.pods).count == 17 })
    await running.stop()
  }

  @Test func `the more important pod gets the room that appears`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1", cpu: "1"))
    let running = try await start(api)
    try await running.create(makePod("first", cpu: "1", priority: 100))
    #expect(await eventually { running.nodeName("first") == "n1" })
    for (name, priority) in [("low", 1), ("high", 50), ("middle", 20)] {
      try await running.create(makePod(name, cpu: "1", priority: priority))
    }
    #expect(await eventually { running.message("middle") != nil && running.message("high") != nil })
    api.remove(.pods, ObjectKey("demo", "first"))
    #expect(await eventually { running.nodeName("high") == "n1" })
    #expect(running.nodeName("middle") == nil && running.nodeName("low") == nil)
    await running.stop()
  }

  @Test func `a more important pod takes the place of lesser ones, and says so on both`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1", cpu: "1"))
    api.put(.nodes, makeNode("n2", cpu: "1"))
    let running = try await start(api)
    try await running.create(makePod("a", cpu: "1", priority: 5))
    try await running.create(makePod("b", cpu: "1", priority: 3))
    #expect(await eventually { running.bound.count == 2 })
    let victimsNode = running.nodeName("b")
    // The victim stays a while, as a pod with a grace period does.
    var b = try #require(api.objects(.pods).first { $0.name == "b" })
    b.set(["example.com/slow"], at: "metadata", "finalizers")
    api.put(.pods, b)
    try await running.create(makePod("vip", cpu: "1", priority: 10))
    #expect(
      await eventually {
        let pods = api.objects(.pods)
        let vip = pods.first { $0.name == "vip" }
        let victim = pods.first { $0.name == "b" }
        return vip?.at("status", "nominatedNodeName")?.string == victimsNode && victim?.isTerminating == true
          && victim?.condition("DisruptionTarget")?["reason"] == "PreemptionByScheduler"
          && running.hasEvent("Preempted", "Preempted by pod uid-vip on node \(victimsNode ?? "")")
      })
    api.remove(.pods, ObjectKey("demo", "b"))
    #expect(await eventually { running.nodeName("vip") == victimsNode })
    #expect(running.nodeName("a") != nil)
    await running.stop()
  }

  @Test func `a pod with preemptionPolicy Never waits`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1", cpu: "1"))
    let running = try await start(api)
    try await running.create(makePod("a", cpu: "1"))
    #expect(await eventually { running.nodeName("a") == "n1" })
    try await running.create(makePod("p", cpu: "1", priority: 10, spec: ["preemptionPolicy": "Never"]))
    #expect(
      await eventually {
        running.message("p")
          == "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to "
          + "preemptionPolicy=Never."
      })
    #expect(running.nodeName("a") == "n1")
    await running.stop()
  }

  @Test func `gates hold a pod back, and another scheduler's pods are left alone`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1"))
    let running = try await start(api)
    try await running.create(makePod("gated", spec: ["schedulingGates": [["name": "g"]]]))
    try await running.create(makePod("theirs", spec: ["schedulerName": "other"]))
    try await running.create(makePod("ours"))
    #expect(await eventually { running.nodeName("ours") == "n1" })
    #expect(running.nodeName("gated") == nil && running.nodeName("theirs") == nil)
    #expect(await eventually { running.metrics.text().contains("scheduler_pending_pods{queue=\"gated\"} 1") })
    var gated = try #require(api.objects(.pods).first { $0.name == "gated" })
    gated.set(nil, at: "spec", "schedulingGates")
    api.put(.pods, gated)
    #expect(await eventually { running.nodeName("gated") == "n1" })
    await running.stop()
  }

  @Test func `a binding that fails gives its place back, and the pod is tried again`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1", cpu: "1"))
    let failures = Mutex(2)
    api.inject { verb, _ in
      guard verb == "create/binding" else { return nil }
      return failures.withLock { left in
        left -= 1
        return left >= 0 ? APIStatusError(code: 500, reason: "InternalError", message: "no") : nil
      }
    }
    let running = try await start(api)
    try await running.create(makePod("p", cpu: "1"))
    #expect(await eventually { running.nodeName("p") == "n1" })
    #expect(
      running.metrics.text().contains(
        "scheduler_schedule_attempts_total{result=\"error\",profile=\"default-scheduler\"} 2"))
    await running.stop()
  }

  @Test func `two profiles place the pods of their own names by their own plugins`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1", taints: [["key": "k", "effect": "NoSchedule"]]))
    var settings = SchedulerSettings()
    var careless = ProfileConfiguration(schedulerName: "careless")
    careless.plugins["multiPoint"] = PluginSetConfiguration()
    careless.plugins["multiPoint"]?.disabled = ["TaintToleration"]
    settings.configuration.profiles.append(careless)
    let running = try await start(api, settings)
    try await running.create(makePod("careful"))
    try await running.create(makePod("careless", spec: ["schedulerName": "careless"]))
    #expect(await eventually { running.nodeName("careless") == "n1" })
    #expect(await eventually { running.message("careful")?.contains("untolerated taint(s)") == true })
    await running.stop()
  }

  /// A plugin of somebody else's: lets pods pass once it is told to.
  private final class Valve: PermitPlugin, ReservePlugin {
    let name = "Valve"
    let isOpen = Mutex(false)
    let reserved = Mutex(0)
    func reserve(_ pod: PodInfo, on node: String) -> Rejection? {
      reserved.withLock { $0 += 1 }
      return nil
    }
    func unreserve(_ pod: PodInfo, from node: String) { reserved.withLock { $0 -= 1 } }
    func permit(_ pod: PodInfo, on node: String) -> PermitResult {
      isOpen.withLock { $0 } ? .allow : .wait(timeout: .seconds(300))
    }
  }

  /// Denies the first two times it is asked.
  private final class Grudge: PermitPlugin {
    let name = "Grudge"
    let asked = Mutex(0)
    func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
      if case .nodeAdded = event { return true }
      return false
    }
    func permit(_ pod: PodInfo, on node: String) -> PermitResult {
      asked.withLock { asked in
        asked += 1
        return asked > 2 ? .allow : .deny(Rejection("not yet"))
      }
    }
  }

  @Test func `a pod that Permit denies waits for an event that the plugin cares for`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1"))
    let grudge = Grudge()
    var settings = SchedulerSettings()
    settings.registry.add("Grudge") { _, _ in grudge }
    settings.configuration.profiles[0].plugins["permit"] = PluginSetConfiguration()
    settings.configuration.profiles[0].plugins["permit"]?.enabled = [EnabledPlugin("Grudge")]
    let running = try await start(api, settings)
    try await running.create(makePod("p"))
    #expect(await eventually { running.message("p") == "not yet" })
    #expect(grudge.asked.withLock { $0 } == 1)
    api.put(.nodes, makeNode("n2"))
    #expect(await eventually { grudge.asked.withLock { $0 } == 2 })
    api.put(.nodes, makeNode("n3"))
    #expect(await eventually { running.nodeName("p") != nil })
    await running.stop()
  }

  @Test func `a plugin of one's own is registered, enabled and asked`() async throws {
    let api = MemoryClusterAPI()
    api.put(.nodes, makeNode("n1"))
    let valve = Valve()
    var settings = SchedulerSettings()
    settings.registry.add("Valve") { _, _ in valve }
    settings.configuration.profiles[0].plugins["multiPoint"] = PluginSetConfiguration()
    settings.configuration.profiles[0].plugins["multiPoint"]?.enabled = [EnabledPlugin("Valve")]
    let running = try await start(api, settings)
    try await running.create(makePod("p"))
    #expect(await eventually { valve.reserved.withLock { $0 } == 1 })
    #expect(running.nodeName("p") == nil)
    valve.isOpen.withLock { $0 = true }
    #expect(await eventually { running.nodeName("p") == "n1" })
    await running.stop()
  }
}
