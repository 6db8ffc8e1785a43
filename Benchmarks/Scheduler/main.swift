// How many pods a second the scheduler places on 1,000 nodes. The API is in memory, so that what is
// measured is the scheduler: informers, queue, filters, scores, bindings.
//
//   SchedulerBenchmark [NODES [PODS]]

import ClusterClient
import ClusterObjects
import ClusterScheduler
import Diagnostics
import Glibc
import Synchronization

let numbers = CommandLine.arguments.dropFirst().compactMap { Int($0) }
let nodeCount = numbers.first ?? 1000
let podCount = numbers.dropFirst().first ?? 10_000

/// CPU seconds of this process.
func cpuSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func rounded(_ value: Double, _ digits: Int = 0) -> String {
  let scale = digits == 0 ? 1.0 : 10.0
  let value = (value * scale).rounded() / scale
  return digits == 0 ? "\(Int64(value))" : "\(value)"
}

enum Shape: String, CaseIterable {
  /// Requests alone.
  case plain
  /// Replicas of ReplicaSets: spread by default over nodes and zones.
  case replicas
  /// Required anti-affinity among ten of a kind, and a preferred one.
  case affinity
}

func node(_ number: Int) -> JSON {
  let name = "node-\(number)"
  return [
    "apiVersion": "v1", "kind": "Node",
    "metadata": [
      "name": JSON(name),
      "labels": [
        "kubernetes.io/hostname": JSON(name), "topology.kubernetes.io/zone": JSON("zone-\(number % 3)"),
      ],
    ],
    "status": ["allocatable": ["cpu": "32", "memory": "128Gi", "pods": "110"]],
  ]
}

func pod(_ number: Int, _ shape: Shape) -> JSON {
  let app = "app-\(number / 10)"
  var pod: JSON = [
    "apiVersion": "v1", "kind": "Pod",
    "metadata": [
      "namespace": "default", "name": JSON("pod-\(number)"), "uid": JSON("uid-\(number)"),
      "labels": ["app": JSON(app)],
    ],
    "spec": [
      "schedulerName": "default-scheduler",
      "containers": [
        ["name": "c", "image": "i", "resources": ["requests": ["cpu": "100m", "memory": "128Mi"]]]
      ],
    ],
  ]
  switch shape {
  case .plain: break
  case .replicas:
    pod.set(
      [["kind": "ReplicaSet", "name": JSON(app), "uid": JSON(app), "controller": true]], at: "metadata",
      "ownerReferences")
  case .affinity:
    let term: JSON = [
      "labelSelector": ["matchLabels": ["app": JSON(app)]], "topologyKey": "kubernetes.io/hostname",
    ]
    pod.set(
      ["podAntiAffinity": ["requiredDuringSchedulingIgnoredDuringExecution": [term]]], at: "spec", "affinity")
  }
  return pod
}

func measure(_ shape: Shape, pods: Int) async throws -> Double {
  let api = MemoryClusterAPI()
  for number in 0..<nodeCount { api.put(.nodes, node(number)) }
  if shape == .replicas {
    for number in 0...(pods / 10) {
      api.put(
        .replicaSets,
        [
          "apiVersion": "apps/v1", "kind": "ReplicaSet",
          "metadata": ["namespace": "default", "name": JSON("app-\(number)")],
          "spec": ["selector": ["matchLabels": ["app": JSON("app-\(number)")]]],
        ])
    }
  }
  let metrics = Metrics()
  let informers = SharedInformers(api: api, metrics: metrics)
  let bound = Mutex(0)
  let watching = informers.informer(.pods).onChange { changes in
    let count = changes.count {
      ($0.old?.at("spec", "nodeName")?.string ?? "").isEmpty
        && !($0.new?.at("spec", "nodeName")?.string ?? "").isEmpty
    }
    bound.withLock { $0 += count }
  }
  try await informers.waitForSync()
  for number in 0..<pods { api.put(.pods, pod(number, shape)) }
  let clock = ContinuousClock()
  let began = clock.now
  let cpu = cpuSeconds()
  let scheduler = try startScheduler(api: api, informers: informers, metrics: metrics)
  while bound.withLock({ $0 }) < pods {
    try await Task.sleep(for: .milliseconds(5))
    if clock.now - began > .seconds(300) { break }
  }
  let seconds = (clock.now - began) / .seconds(1)
  let used = cpuSeconds() - cpu
  let placed = bound.withLock { $0 }
  await scheduler.stop()
  await informers.stop()
  withExtendedLifetime(watching) {}
  let rate = Double(placed) / seconds
  let line =
    "\(shape.rawValue): \(placed) pods on \(nodeCount) nodes in \(rounded(seconds, 1)) s: \(rounded(rate)) pods/s, "
    + "\(rounded(used / Double(max(placed, 1)) * 1e6)) us CPU a pod"
  print(line)
  return rate
}

var plainRate = 0.0
for shape in Shape.allCases {
  let rate = try await measure(shape, pods: shape == .plain ? podCount : podCount / 2)
  if shape == .plain { plainRate = rate }
}
let isGood = plainRate >= 2000
print(isGood ? "pass: at least 2,000 pods/s" : "FAIL: fewer than 2,000 pods/s")
exit(isGood ? 0 : 1)
