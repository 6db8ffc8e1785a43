// A cluster in memory: the API, the controllers, and a node that runs every pod at once.

import ClusterObjects
import Diagnostics
import Synchronization

@testable import ClusterClient
@testable import ClusterControllers

extension MemoryClusterAPI {
  /// Changes an object as it is at this moment; one that has gone stays gone.
  func change(_ resource: GroupVersionResource, _ key: ObjectKey, _ body: (inout JSON) -> Void) {
    state.withLock { state in
      guard var object = state.objects[resource]?[key] else { return }
      body(&object)
      state.store(resource, object)
    }
  }
}

struct SeededRandom: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

/// Polls until `body` is true, at most so long.
func eventually(
  within limit: Duration = .seconds(60), every pause: Duration = .milliseconds(2), _ body: () -> Bool
) async -> Bool {
  let deadline = ContinuousClock.now + limit
  while ContinuousClock.now < deadline {
    if body() { return true }
    try? await Task.sleep(for: pause)
  }
  return body()
}

/// The API, running controllers, and a stand-in for node agents: pods become ready with an address, those of Jobs succeed,
/// terminating pods disappear.
final class TestCluster: Sendable {
  let api: MemoryClusterAPI
  let informers: SharedInformers
  let controllers: ControllersHandle
  /// Of the controllers.
  let metrics = Metrics()
  /// Of what they follow.
  let informerMetrics = Metrics()
  private let nodeInformers: SharedInformers
  private let nodeRegistration: InformerRegistration

  /// - Parameters:
  ///   - api: what is there already, for controllers that come back.
  ///   - seen: the API as the controllers see it.
  ///   - addressesFrom: pods get addresses from this number on.
  init(
    settings: ControllerSettings = .init(), runsPods: Bool = true, api: MemoryClusterAPI = MemoryClusterAPI(),
    seen: (any ClusterAPI)? = nil, addressesFrom: Int = 0
  ) {
    self.api = api
    var times = InformerSettings()
    times.retry = RetryPolicy(initial: .milliseconds(1), maximum: .milliseconds(20))
    informers = SharedInformers(api: seen ?? api, settings: times, metrics: informerMetrics)
    controllers = startControllers(
      api: seen ?? api, informers: informers, settings: settings, metrics: metrics)
    nodeInformers = SharedInformers(api: api, settings: times, metrics: Metrics())
    let address = Atomic<Int>(addressesFrom)
    nodeRegistration = nodeInformers.informer(.pods).onChange { changes in
      for pod in changes.compactMap(\.new) where runsPods {
        if pod.isTerminating {
          api.remove(.pods, pod.key)
        } else if pod.at("status", "podIP") == nil {
          let number = address.add(1, ordering: .relaxed).newValue
          let ends = pod.labels["job-name"] != nil
          api.change(.pods, pod.key) { running in
            running.set(JSON("10.42.\(number / 250).\(number % 250 + 1)"), at: "status", "podIP")
            running.set(ends ? "Succeeded" : "Running", at: "status", "phase")
            running.setCondition("Ready", ends ? "False" : "True", reason: "Test", message: "")
            running.set("n1", at: "spec", "nodeName")
          }
        }
      }
    }
  }

  func stop() async {
    await controllers.stop()
    await informers.stop()
    await nodeInformers.stop()
  }

  func pods(_ namespace: String = "demo") -> [JSON] {
    api.objects(.pods).filter { $0.namespace == namespace }
  }

  func get(_ resource: GroupVersionResource, _ name: String, _ namespace: String = "demo") -> JSON? {
    api.objects(resource).first { $0.key == ObjectKey(namespace, name) }
  }

  func create(_ resource: GroupVersionResource, _ object: JSON) async throws {
    _ = try await api.create(resource, object, options: WriteOptions())
  }
}

func namespaceObject(_ name: String) -> JSON {
  ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": JSON(name)]]
}

func deploymentObject(_ name: String, replicas: Int, image: String = "a", strategy: JSON? = nil) -> JSON {
  var spec: JSON = [
    "replicas": JSON(replicas), "selector": ["matchLabels": ["app": JSON(name)]],
    "template": [
      "metadata": ["labels": ["app": JSON(name)]],
      "spec": [
        "containers": [
          ["name": "c", "image": JSON(image), "ports": [["name": "http", "containerPort": 8080]]]
        ]
      ],
    ],
  ]
  if let strategy { spec["strategy"] = strategy }
  return [
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": ["namespace": "demo", "name": JSON(name)],
    "spec": spec,
  ]
}

func serviceObject(_ name: String, targetPort: JSON = 8080) -> JSON {
  [
    "apiVersion": "v1", "kind": "Service", "metadata": ["namespace": "demo", "name": JSON(name)],
    "spec": [
      "selector": ["app": JSON(name)], "clusterIP": "10.43.0.20",
      "ports": [["name": "http", "port": 80, "targetPort": targetPort, "protocol": "TCP"]],
    ],
  ]
}

/// A pod as the plans see it.
func podObject(
  _ name: String, labels: [String: String] = ["app": "web"], owner: JSON? = nil, ready: Bool = true,
  node: String = "n1", ip: String? = nil, phase: String = "Running"
) -> JSON {
  var pod: JSON = [
    "apiVersion": "v1", "kind": "Pod",
    "metadata": [
      "namespace": "demo", "name": JSON(name), "uid": JSON("uid-\(name)"), "labels": JSON(labels),
      "resourceVersion": "1",
    ],
    "spec": [
      "nodeName": JSON(node),
      "containers": [["name": "c", "ports": [["name": "http", "containerPort": 8080]]]],
    ],
    "status": [
      "phase": JSON(phase),
      "conditions": [
        [
          "type": "Ready", "status": ready ? "True" : "False", "lastTransitionTime": "2026-01-01T00:00:00Z",
        ]
      ],
    ],
  ]
  if let owner { pod.set([owner.controllerReferenceToThis], at: "metadata", "ownerReferences") }
  if let ip { pod.set(JSON(ip), at: "status", "podIP") }
  return pod
}

/// So many calls fail.
final class FaultCount: Sendable {
  private let left: Mutex<Int>
  init(left: Int) { self.left = Mutex(left) }
  func take() -> Bool {
    left.withLock { left in
      defer { left = max(left - 1, 0) }
      return left > 0
    }
  }
}
