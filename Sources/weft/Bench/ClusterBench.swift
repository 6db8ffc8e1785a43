// What `weft bench cluster` measures: nodes, pods, and a reader who looks at the API all the while.

import ClusterClient
import ClusterControllers
import ClusterNode
import ClusterObjects
import ClusterScheduler
import ClusterServer
import Diagnostics
import Synchronization

struct ClusterBench {
  let server: ClusterServer
  let informers: SharedInformers
  let nodes: Int
  let pods: Int

  private static let podTimeout: Duration = .seconds(1800)

  /// The report as a table.
  func measure(hold: Int) async throws -> String {
    var controllers = ControllerSettings(of: server)
    controllers.nodeIPAM = nil
    let (running, scheduler) = try server.startManagers(informers, controllers, SchedulerSettings())
    let client = server.client(user: "weft-bench", groups: ["system:masters"])
    let hollow = HollowNodes(nodes, api: client, informers: informers)
    let probe = LatencyProbe(try RemoteClient(kubeconfig: Kubeconfig(path: server.kubeconfigPath)))
    let clock = ContinuousClock()
    var rows = [["", "seconds", ""]]
    func row(_ what: String, _ seconds: Double, _ note: String = "") {
      rows.append([what, Self.text(seconds, 2), note])
    }
    let probing = Task { await probe.run() }
    do {
      try await informers.waitForSync()
      let began = clock.now
      // From the first on they renew their Leases: on a slow machine the last registers when the first would be silent.
      hollow.start()
      try await hollow.register()
      row("registered", (clock.now - began) / .seconds(1), "\(nodes) nodes")
      try await hollow.becomeReady()
      try await waitForReady(clock)
      row("ready", (clock.now - began) / .seconds(1), "the taints of new nodes are gone")
      try await measurePods(client, clock, &rows)
      if hold > 0 { try await Task.sleep(for: .seconds(hold)) }
    } catch {
      probing.cancel()
      await probing.value
      await hollow.stop()
      await scheduler.stop()
      await running.stop()
      throw error
    }
    probing.cancel()
    await probing.value
    let latencies = probe.sorted
    func share(_ part: Double) -> String {
      guard !latencies.isEmpty else { return "-" }
      return Self.text(latencies[min(latencies.count - 1, Int(Double(latencies.count) * part))] * 1000, 1)
    }
    rows.append(
      [
        "API get, ms", "p50 \(share(0.5))",
        "p99 \(share(0.99)) of \(latencies.count) over TLS, one at a time",
      ])
    await hollow.stop()
    await scheduler.stop()
    await running.stop()
    return Terminal.table(rows)
  }

  /// Until the control plane has taken the taints off that every new node has.
  private func waitForReady(_ clock: ContinuousClock) async throws {
    let objects = informers.informer(.nodes)
    let deadline = clock.now + .seconds(600)
    func isReady(_ node: JSON) -> Bool {
      node.isConditionTrue("Ready") && (node.at("spec", "taints")?.elements ?? []).isEmpty
    }
    while objects.snapshot.values.count(where: isReady) < nodes {
      guard clock.now < deadline else {
        throw WeftError(
          "SCH0007", object: "weft bench cluster", cause: "not all nodes were ready within ten minutes",
          next: "ask for fewer: --nodes", exit: .timedOut)
      }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  private func measurePods(
    _ client: any ClusterAPI, _ clock: ContinuousClock, _ rows: inout [[String]]
  ) async throws {
    let counts = Mutex((bound: 0, running: 0))
    let watching = informers.informer(.pods).onChange { changes in
      counts.withLock { counts in
        for change in changes where change.key.name.hasPrefix("bench-") {
          let wasBound = !(change.old?.at("spec", "nodeName")?.string ?? "").isEmpty
          if !wasBound, !(change.new?.at("spec", "nodeName")?.string ?? "").isEmpty { counts.bound += 1 }
          let wasRunning = change.old?.at("status", "phase")?.string == "Running"
          if !wasRunning, change.new?.at("status", "phase")?.string == "Running" { counts.running += 1 }
        }
      }
    }
    defer { withExtendedLifetime(watching) {} }
    let began = clock.now
    func row(_ what: String, _ note: String = "") {
      let seconds = (clock.now - began) / .seconds(1)
      let rate = Double(pods) / max(seconds, 0.001)
      rows.append([what, Self.text(seconds, 2), "\(Self.text(rate, 0)) pods/s\(note)"])
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<pods {
        if number >= HollowNodes.writesMax { try await group.next() }
        group.addTask {
          _ = try await client.create(
            .pods, Self.pod(number), options: WriteOptions(fieldManager: "weft-bench"))
        }
      }
      try await group.waitForAll()
    }
    row("pods created")
    for (what, count) in [
      ("scheduled", { counts.withLock { $0.bound } }), ("running", { counts.withLock { $0.running } }),
    ] {
      while count() < pods {
        guard clock.now - began < Self.podTimeout else {
          throw WeftError(
            "SCH0007", object: "weft bench cluster",
            cause: "\(count()) of \(pods) pods were \(what) within \(Self.podTimeout)",
            next: "are there nodes enough? 110 pods fit on one", exit: .timedOut)
        }
        try await Task.sleep(for: .milliseconds(5))
      }
      row(what)
    }
  }

  private static func pod(_ number: Int) -> JSON {
    [
      "apiVersion": "v1", "kind": "Pod",
      "metadata": [
        "namespace": "default", "name": JSON("bench-\(number)"),
        "labels": ["app": JSON("app-\(number / 10)")],
      ],
      "spec": [
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [
          ["name": "c", "image": "hollow", "resources": ["requests": ["cpu": "10m", "memory": "16Mi"]]]
        ],
      ],
    ]
  }

  static func text(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let whole = Int64((value * scale).rounded())
    if digits == 0 { return "\(whole)" }
    let fraction = String(whole % Int64(scale))
    return "\(whole / Int64(scale))." + String(repeating: "0", count: digits - fraction.count) + fraction
  }
}

/// Asks the API for one object over and over, as a user with kubectl would, and notes how long it took.
final class LatencyProbe: Sendable {
  private let client: RemoteClient
  private let seconds = Mutex<[Double]>([])
  /// Kept; with a hundred a second that is an hour and a half.
  static let samplesMax = 500_000

  init(_ client: RemoteClient) { self.client = client }

  var sorted: [Double] { seconds.withLock { $0.sorted() } }

  func run() async {
    while !Task.isCancelled {
      let began = ContinuousClock.now
      guard (try? await client.get(.namespaces, namespace: "", name: "default")) != nil else {
        try? await Task.sleep(for: .milliseconds(100))
        continue
      }
      let took = (ContinuousClock.now - began) / .seconds(1)
      seconds.withLock { if $0.count < Self.samplesMax { $0.append(took) } }
      try? await Task.sleep(for: .milliseconds(10))
    }
  }
}
