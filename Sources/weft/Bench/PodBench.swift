// What `weft bench pods` measures on a node that runs: pods one after the other, each beside one by the runtime's bare calls,
// then many at once.

import ClusterClient
import ClusterNode
import ClusterObjects
import Diagnostics
import Synchronization

/// When a client of the API saw what happened to each pod.
final class PodMoments: Sendable {
  enum Moment: Sendable { case created, seen, running, ready, inSlice, gone }
  typealias Moments = [Moment: ContinuousClock.Instant]
  private let pods = Mutex<[String: Moments]>([:])

  subscript(_ name: String) -> Moments { pods.withLock { $0[name] ?? [:] } }

  /// The first time counts.
  func note(_ name: String, _ moment: Moment) {
    let now = ContinuousClock.now
    pods.withLock { if $0[name]?[moment] == nil { $0[name, default: [:]][moment] = now } }
  }

  /// Follows pods and slices of a namespace until it is cancelled.
  func follow(_ api: any ClusterAPI, namespace: String) async {
    await withTaskGroup(of: Void.self) { group in
      for resource in [GroupVersionResource.pods, .endpointSlices] {
        group.addTask {
          while !Task.isCancelled {
            do {
              let options = ListOptions(resourceVersion: "0")
              for try await event in try await api.watch(resource, namespace: namespace, options: options) {
                self.take(event, resource)
              }
            } catch {
              try? await Task.sleep(for: .milliseconds(100))
            }
          }
        }
      }
    }
  }

  private func take(_ event: WatchEvent, _ resource: GroupVersionResource) {
    switch event {
    case .added(let object), .modified(let object):
      if resource == .endpointSlices {
        for endpoint in object["endpoints"]?.elements ?? []
        where endpoint.at("conditions", "ready")?.bool == true {
          if let pod = endpoint.at("targetRef", "name")?.string { note(pod, .inSlice) }
        }
      } else {
        note(object.name, .seen)
        if object.at("status", "phase")?.string == "Running" { note(object.name, .running) }
        if object.isConditionTrue("Ready") { note(object.name, .ready) }
      }
    case .deleted(let object): if resource == .pods { note(object.name, .gone) }
    case .bookmark: break
    }
  }
}

struct PodBench {
  /// In milliseconds, but for `burst`.
  struct Figures {
    /// Created by a client → Running seen by the same client.
    var running: [Double] = []
    /// Ready seen → in an EndpointSlice seen.
    var slice: [Double] = []
    /// The same pod by bare calls.
    var bare: [Double] = []
    /// The agent's own measure, from seeing the pod to its containers running: the mean.
    var agentMean = 0.0
    /// Seconds until so many pods ran.
    var burst = 0.0
    var burstPods = 0
  }
  let api: RemoteClient
  let runtime: BareRuntime
  let node: String
  private static let namespace = "weft-bench"
  private static let image = "weft.local/demo:1"
  private static let timeout: Duration = .seconds(60)
  /// Pods made before anything is counted.
  private static let warmUp = 3
  private static let createsMax = 16

  func measure(rounds: Int, burst: Int) async throws -> Figures {
    let moments = PodMoments()
    try await prepare()
    let following = Task { await moments.follow(api, namespace: Self.namespace) }
    defer { following.cancel() }
    var figures = Figures()
    do {
      for round in 0..<Self.warmUp { _ = try await one("warm-\(round)", moments) }
      let before = try await agentStarts()
      for round in 0..<rounds { figures.add(try await one("pod-\(round)", moments)) }
      let after = try await agentStarts()
      figures.agentMean = (after.sum - before.sum) / max(after.count - before.count, 1) * 1000
      if burst > 0 { try await many(burst, moments, &figures) }
    } catch {
      await clear()
      throw error
    }
    await clear()
    return figures
  }

  /// One pod from its creation to its end, then the same by bare calls.
  private func one(_ name: String, _ moments: PodMoments) async throws -> (
    seen: PodMoments.Moments, bare: Duration
  ) {
    try await create(name, moments)
    try await wait(name) { moments[name][.running] != nil && moments[name][.inSlice] != nil }
    let seen = moments[name]
    try await api.delete(
      .pods, namespace: Self.namespace, name: name, options: DeleteOptions(gracePeriodSeconds: 0))
    try await wait(name) { moments[name][.gone] != nil }
    // The agent tidies up behind a pod that is gone.
    try await Task.sleep(for: .milliseconds(300))
    return (seen, try await bare("bare-\(name)", moments))
  }

  /// The node's network admits only pods that it knows: this one is said to be another node's, which has no agent.
  private func bare(_ name: String, _ moments: PodMoments) async throws -> Duration {
    var object = Self.pod(name)
    object.set("weft-bench-nobody", at: "spec", "nodeName")
    let pod = try await api.create(.pods, object, options: WriteOptions(fieldManager: "weft-bench"))
    try await wait(name) { moments[name][.seen] != nil }
    try await Task.sleep(for: .milliseconds(200))
    let bare = try await runtime.start(pod)
    await runtime.remove(bare)
    do {
      try await api.delete(
        .pods, namespace: Self.namespace, name: name, options: DeleteOptions(gracePeriodSeconds: 0))
    } catch let error as APIStatusError where error.isNotFound {
      // Pods of a node that nobody knows are collected after a while: on a slow machine before this.
    }
    try await Task.sleep(for: .milliseconds(200))
    return bare.took
  }

  private func many(_ count: Int, _ moments: PodMoments, _ figures: inout Figures) async throws {
    let names = (0..<count).map { "many-\($0)" }
    let began = ContinuousClock.now
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (number, name) in names.enumerated() {
        if number >= Self.createsMax { try await group.next() }
        group.addTask { try await create(name, moments) }
      }
      try await group.waitForAll()
    }
    for name in names { try await wait(name) { moments[name][.running] != nil } }
    let last = names.compactMap { moments[$0][.running] }.max() ?? began
    figures.burst = (last - began) / .seconds(1)
    figures.burstPods = count
  }

  private func create(_ name: String, _ moments: PodMoments) async throws {
    moments.note(name, .created)
    _ = try await api.create(.pods, Self.pod(name), options: WriteOptions(fieldManager: "weft-bench"))
  }

  private func wait(_ name: String, _ isDone: () -> Bool) async throws {
    let deadline = ContinuousClock.now + Self.timeout
    while !isDone() {
      guard ContinuousClock.now < deadline else {
        throw WeftError(
          "CTL0011", object: "pod \(Self.namespace)/\(name)", cause: "it did not get where it should in time",
          next: "kubectl describe pod \(name) -n \(Self.namespace)", exit: .timedOut)
      }
      try await Task.sleep(for: .milliseconds(2))
    }
  }

  private static func pod(_ name: String) -> JSON {
    [
      "apiVersion": "v1", "kind": "Pod",
      "metadata": ["namespace": JSON(namespace), "name": JSON(name), "labels": ["app": "bench"]],
      "spec": [
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "enableServiceLinks": false,
        "containers": [["name": "c", "image": JSON(image), "args": ["serve", "8080"]]],
      ],
    ]
  }

  private func prepare() async throws {
    await clear()
    let deadline = ContinuousClock.now + Self.timeout
    func make(_ resource: GroupVersionResource, _ object: JSON) async throws {
      while true {
        do {
          _ = try await api.create(resource, object, options: WriteOptions(fieldManager: "weft-bench"))
          return
        } catch let refusal as APIStatusError
          where (refusal.isAlreadyExists || refusal.reason == "Forbidden") && ContinuousClock.now < deadline
        {
          // The namespace of an earlier run is still going.
          try await Task.sleep(for: .milliseconds(100))
        }
      }
    }
    try await make(
      .namespaces, ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": JSON(Self.namespace)]])
    try await make(
      .services,
      [
        "apiVersion": "v1", "kind": "Service",
        "metadata": ["namespace": JSON(Self.namespace), "name": "bench"],
        "spec": ["selector": ["app": "bench"], "ports": [["port": 80, "targetPort": 8080]]],
      ])
    while (try? await api.get(.serviceAccounts, namespace: Self.namespace, name: "default")) == nil {
      guard ContinuousClock.now < deadline else { return }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  private func clear() async {
    try? await api.deleteIfPresent(.namespaces, ObjectKey("", Self.namespace))
  }

  /// Sum in seconds and number of the agent's pod starts so far.
  private func agentStarts() async throws -> (sum: Double, count: Double) {
    let (status, body) = try await api.raw("/api/v1/nodes/\(node)/proxy/metrics")
    let text = String(decoding: body, as: UTF8.self)
    func value(_ name: String) -> Double? {
      text.split(separator: "\n").first { $0.hasPrefix(name + " ") }.flatMap {
        Double($0.dropFirst(name.count + 1))
      }
    }
    guard status == 200, let sum = value("kubelet_pod_start_duration_seconds_sum"),
      let count = value("kubelet_pod_start_duration_seconds_count")
    else {
      throw WeftError(
        "CTL0012", object: "node \(node)", cause: "its metrics do not say how long pods took to start",
        next: "kubectl get --raw /api/v1/nodes/\(node)/proxy/metrics")
    }
    return (sum, count)
  }
}

extension PodBench.Figures {
  static func share(_ values: [Double], _ part: Double) -> Double {
    let sorted = values.sorted()
    if sorted.isEmpty { return 0 }
    return sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))]
  }
  static func mean(_ values: [Double]) -> Double {
    values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
  }

  mutating func add(_ pod: (seen: PodMoments.Moments, bare: Duration)) {
    guard let created = pod.seen[.created], let began = pod.seen[.running], let ready = pod.seen[.ready],
      let inSlice = pod.seen[.inSlice]
    else { return }
    running.append((began - created) / .milliseconds(1))
    slice.append(max((inSlice - ready) / .milliseconds(1), 0))
    bare.append(pod.bare / .milliseconds(1))
  }

  /// What the agent adds to the runtime's own time.
  var overhead: Double { agentMean - Self.mean(bare) }

  var json: JSON {
    func number(_ value: Double) -> JSON { JSON.number("\((value * 10).rounded() / 10)") }
    return [
      "runningP50Milliseconds": number(Self.share(running, 0.5)),
      "runningP99Milliseconds": number(Self.share(running, 0.99)),
      "sliceP50Milliseconds": number(Self.share(slice, 0.5)),
      "sliceP99Milliseconds": number(Self.share(slice, 0.99)),
      "bareMeanMilliseconds": number(Self.mean(bare)), "agentMeanMilliseconds": number(agentMean),
      "overheadMilliseconds": number(overhead), "burstPods": JSON(burstPods), "burstSeconds": number(burst),
      "rounds": JSON(running.count),
    ]
  }

  var table: String {
    func text(_ value: Double) -> String { ClusterBench.text(max(value, 0), 1) }
    func both(_ values: [Double]) -> String {
      "p50 \(text(Self.share(values, 0.5)))   p99 \(text(Self.share(values, 0.99)))"
    }
    var rows = [
      ["", "milliseconds"], ["created to Running", both(running)],
      ["Ready to in an EndpointSlice", both(slice)], ["the runtime's calls alone", both(bare)],
      [
        "agent, seen to running",
        "mean \(text(agentMean)), \(ClusterBench.text(abs(overhead), 1)) "
          + (overhead < 0 ? "below" : "above") + " the calls alone",
      ],
    ]
    if burstPods > 0 { rows.append(["\(burstPods) pods at once", "\(text(burst)) seconds"]) }
    return Terminal.table(rows)
  }
}
