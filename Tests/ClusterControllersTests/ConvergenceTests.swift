// T-A16 and T-A17: whatever happens to controllers and to what they hear, the cluster comes to what it would have come to. Each
// test drives two clusters by the same wishes, one of them with the fault, and compares.

import ClusterClient
import ClusterObjects
import Diagnostics
import SoakLab
import Synchronization
import Testing

@testable import ClusterControllers

/// What a user does, drawn from a seed.
private struct Wish: Sendable {
  var text: String
  var fulfil: @Sendable (MemoryClusterAPI) async throws -> Void
}

private struct Wishes {
  var random: SeededRandom
  let deployments: Int
  /// Every deployment and StatefulSet that there may be.
  private func name(_ number: Int) -> String { "d\(number)" }

  init(seed: UInt64, deployments: Int) {
    random = SeededRandom(seed: seed)
    self.deployments = deployments
  }

  /// What is there from the beginning.
  func first() -> [Wish] {
    [
      Wish(text: "namespaces") { api in
        for name in ["demo", "short"] {
          _ = try await api.create(.namespaces, namespaceObject(name), options: WriteOptions())
        }
      },
      Wish(text: "quota") { api in
        let quota: JSON = [
          "apiVersion": "v1", "kind": "ResourceQuota", "metadata": ["namespace": "demo", "name": "q"],
          "spec": ["hard": ["pods": "100k", "services": "100k"]],
        ]
        _ = try await api.create(.resourceQuotas, quota, options: WriteOptions())
      },
    ]
  }

  mutating func next() -> Wish {
    let name = name(Int.random(in: 0..<deployments, using: &random))
    let replicas = Int.random(in: 0...4, using: &random)
    let image = ["a", "b", "c"].randomElement(using: &random) ?? "a"
    let kind = Int.random(in: 0..<20, using: &random)
    switch kind {
    case 0..<5:
      let object = deploymentObject(name, replicas: replicas, image: image)
      return Wish(text: "create \(name)") { api in
        _ = try await api.create(.deployments, object, options: WriteOptions())
      }
    case 5..<8: return change(.deployments, name) { $0.set(JSON(replicas), at: "spec", "replicas") }
    case 8..<10:
      let template = deploymentObject(name, replicas: 0, image: image).at("spec", "template")
      return change(.deployments, name) { $0.set(template, at: "spec", "template") }
    case 10, 11: return delete(.deployments, name)
    case 12:
      return Wish(text: "service \(name)") { api in
        _ = try await api.create(.services, serviceObject(name), options: WriteOptions())
      }
    case 13: return delete(.services, name)
    case 14:
      let budget: JSON = [
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": ["namespace": "demo", "name": JSON(name)],
        "spec": ["maxUnavailable": 1, "selector": ["matchLabels": ["app": JSON(name)]]],
      ]
      return Wish(text: "budget \(name)") { api in
        _ = try await api.create(.disruptionBudgets, budget, options: WriteOptions())
      }
    case 15:
      var set = workload(
        "StatefulSet", "s-" + name, image: image,
        spec: [
          "replicas": JSON(replicas), "serviceName": JSON(name), "podManagementPolicy": "Parallel",
          "updateStrategy": ["type": "RollingUpdate", "rollingUpdate": ["partition": 0]],
        ])
      set.set(nil, at: "metadata", "uid")
      let made = set
      return Wish(text: "stateful \(name)") { api in
        _ = try await api.create(.statefulSets, made, options: WriteOptions())
      }
    case 16: return change(.statefulSets, "s-" + name) { $0.set(JSON(replicas), at: "spec", "replicas") }
    // Jobs count what ended, and so show every pod that was made twice.
    case 17:
      let job: JSON = [
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": ["namespace": "demo", "name": JSON("j-" + name)],
        "spec": [
          "completions": JSON(1 + replicas), "parallelism": 2, "backoffLimit": 6,
          "selector": ["matchLabels": ["job-name": JSON("j-" + name)]],
          "template": [
            "metadata": ["labels": ["job-name": JSON("j-" + name)]],
            "spec": ["restartPolicy": "Never", "containers": [["name": "c", "image": JSON(image)]]],
          ],
        ],
      ]
      return Wish(text: "job \(name)") { api in
        _ = try await api.create(.jobs, job, options: WriteOptions())
      }
    case 18:
      return Wish(text: "a pod of \(name) is lost") { api in
        let pod = api.objects(.pods).first { $0.labels["app"] == name && $0.namespace == "demo" }
        if let pod { api.remove(.pods, pod.key) }
      }
    default:
      var object = deploymentObject(name, replicas: replicas, image: image)
      object.set("short", at: "metadata", "namespace")
      let made = object
      let ends = Int.random(in: 0..<4, using: &random) == 0
      return Wish(text: "in short: \(name), ends \(ends)") { api in
        _ = try? await api.create(.deployments, made, options: WriteOptions())
        if ends {
          try await api.delete(.namespaces, namespace: "", name: "short", options: DeleteOptions())
        }
      }
    }
  }

  private func change(
    _ resource: GroupVersionResource, _ name: String, _ body: @escaping @Sendable (inout JSON) -> Void
  ) -> Wish {
    Wish(text: "change \(name)") { api in
      try await api.modify(resource, ObjectKey("demo", name), attempts: 100) { current in
        var changed = current
        body(&changed)
        return changed
      }
    }
  }

  private func delete(_ resource: GroupVersionResource, _ name: String) -> Wish {
    Wish(text: "delete \(name)") { api in
      try await api.delete(resource, namespace: "demo", name: name, options: DeleteOptions())
    }
  }
}

/// Lines that one has and the other has not, and what either still has to do.
private func difference(_ one: MemoryClusterAPI, _ other: MemoryClusterAPI) -> String {
  let difference = outcome(one).difference(from: outcome(other))
  let lines = difference.map { change in
    switch change {
    case .insert(_, let line, _): "+ \(line)"
    case .remove(_, let line, _): "- \(line)"
    }
  }
  let open = [("+", one), ("-", other)].compactMap { sign, api in
    unsettled(api).map { "\(sign) not settled: \($0)" }
  }
  return (lines.sorted() + open).joined(separator: "\n")
}

private func areAlike(_ one: MemoryClusterAPI, _ other: MemoryClusterAPI) -> Bool {
  isSettled(one) && isSettled(other) && outcome(one) == outcome(other)
}

private func settings(_ clock: ControllerClock = .system) -> ControllerSettings {
  var settings = ControllerSettings()
  settings.rootCertificate = { "PEM" }
  settings.workersPerController = 2
  settings.clock = clock
  // There are no nodes here, and a run may take its time.
  settings.podGarbageDelay = .seconds(100_000)
  // What failed often while there were faults is tried again soon after them: a namespace asks thirty times in a pass, and would
  // wait for most of a minute.
  settings.retry = RetryPolicy(initial: .milliseconds(5), maximum: .milliseconds(250))
  return settings
}

/// Stops both, whatever they are doing, and says whether they are alike. What was begun when they agreed may still be written, such as a
/// quota's use by a count of a moment ago: whoever comes after them mends it, and nothing else of it stays.
private func stop(_ one: TestCluster, _ other: TestCluster, _ clock: ControllerClock = .system) async -> Bool
{
  await one.stop()
  await other.stop()
  if areAlike(one.api, other.api) { return true }
  let next = [one, other].map { TestCluster(settings: settings(clock), api: $0.api, addressesFrom: 50_000) }
  let isMended = await eventually(within: .seconds(240), every: .milliseconds(10)) {
    areAlike(one.api, other.api)
  }
  for cluster in next { await cluster.stop() }
  return isMended
}

@Suite(.serialized, .timeLimit(.minutes(60))) struct ConvergenceTests {
  @Test func `events twice, late, in disorder or never, and writes that fail, change nothing in the end`()
    async throws
  {
    var sum = FaultyView.Counts()
    let seeds = Soak.rounds(3, long: 1000)
    for number in 0..<seeds {
      let seed = Soak.seed &* 7_919 &+ UInt64(number)
      var wishes = Wishes(seed: seed, deployments: 6)
      let quiet = TestCluster(settings: settings())
      let api = MemoryClusterAPI()
      let view = FaultyView(api, seed: seed &+ 1)
      // A controller that was never told of its own pod waits for it, more than once in a row.
      let faulty = Expectations.$defaultTimeout.withValue(.milliseconds(500)) {
        TestCluster(settings: settings(), api: api, seen: view)
      }
      for wish in wishes.first() + (0..<40).map({ _ in wishes.next() }) {
        // What is there already is not made again, and what is not there is not changed: in both alike.
        try? await wish.fulfil(quiet.api)
        try? await wish.fulfil(faulty.api)
        if Bool.random(using: &wishes.random) { await Task.yield() }
      }
      view.calm()
      let agree = await eventually(within: .seconds(240), every: .milliseconds(10)) {
        areAlike(quiet.api, faulty.api)
      }
      #expect(agree, "seed \(seed):\n\(difference(faulty.api, quiet.api))")
      let isKept = await stop(quiet, faulty)
      #expect(isKept, "seed \(seed), stopped:\n\(difference(faulty.api, quiet.api))")
      let counts = view.counts
      sum.repeated += counts.repeated
      sum.reordered += counts.reordered
      sum.lost += counts.lost
      sum.failedWrites += counts.failedWrites
      sum.lostAnswers += counts.lostAnswers
      if !agree { break }
    }
    #expect(min(sum.repeated, sum.reordered, sum.lost, sum.failedWrites, sum.lostAnswers) > 0, "\(sum)")
    if Soak.isLong { Soak.report("convergence: \(seeds) seeds, \(sum)") }
  }

  @Test func `controllers that were away for ten minutes come to the same as if they had been there`()
    async throws
  {
    let deployments = Soak.rounds(30, long: 1200)
    let wishesEach = Soak.rounds(100, long: 5000)
    let away = Atomic<Int64>(0)
    let system = ControllerClock.system
    let clock = ControllerClock {
      let reading = system.read()
      let more = away.load(ordering: .relaxed)
      return ControllerClock.Reading(steady: reading.steady + more, wall: reading.wall + more)
    }
    var wishes = Wishes(seed: Soak.seed &+ 41, deployments: deployments)
    let quiet = TestCluster(settings: settings())
    let before = TestCluster(settings: settings(clock))
    func act(_ list: [Wish], _ api: MemoryClusterAPI) async {
      for wish in list { try? await wish.fulfil(api) }
    }
    let first = wishes.first() + (0..<wishesEach).map { _ in wishes.next() }
    await act(first, quiet.api)
    await act(first, before.api)
    // In the midst of their work, and of what they have to do.
    await before.stop()
    let meanwhile = (0..<wishesEach).map { _ in wishes.next() }
    await act(meanwhile, quiet.api)
    await act(meanwhile, before.api)
    // Ten minutes are enough for those who stayed: what is waited for below is the others' work.
    #expect(
      await eventually(
        within: .seconds(Soak.isLong ? 1200 : 120), every: .milliseconds(Soak.isLong ? 2000 : 20)
      ) {
        isSettled(quiet.api)
      })
    away.store(600, ordering: .relaxed)
    let began = ContinuousClock.now
    let after = TestCluster(settings: settings(clock), api: before.api, addressesFrom: 40_000)
    #expect(
      await eventually(
        within: .seconds(Soak.isLong ? 600 : 120), every: .milliseconds(Soak.isLong ? 1000 : 20)
      ) { areAlike(quiet.api, after.api) },
      "\(difference(after.api, quiet.api))")
    let taken = ContinuousClock.now - began
    if Soak.isLong {
      // T-A16's promise, for five thousand changes.
      #expect(taken <= .seconds(60), "alike after \(taken)")
      Soak.report("controllers away: \(2 * wishesEach) changes, alike after \(taken)")
    }
    let isKept = await stop(quiet, after, clock)
    #expect(isKept, "stopped:\n\(difference(after.api, quiet.api))")
  }
}
