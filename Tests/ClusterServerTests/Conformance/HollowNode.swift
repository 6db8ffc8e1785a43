// A node that runs nothing: pods are bound to it, are said to be running, and go when they were told to. Enough
// for controllers and quotas, which only read what a node agent writes.

import ClusterClient
import ClusterObjects
import ClusterServer
import Diagnostics

struct HollowNode {
  static let name = "hollow"
  private let informers: SharedInformers
  private let registration: InformerRegistration
  private let work: Task<Void, Never>

  static func start(_ api: InProcessClient) async throws -> HollowNode {
    _ = try await api.create(.nodes, ["metadata": ["name": JSON(name)]], options: WriteOptions())
    let informers = SharedInformers(api: api, metrics: Metrics())
    let (pods, changed) = AsyncStream<JSON>.makeStream()
    let registration = informers.informer(.pods).onChange { changes in
      for pod in changes.compactMap(\.new) { changed.yield(pod) }
    }
    let work = Task {
      // Somebody else may have changed or deleted the pod: the next change tells.
      for await pod in pods { try? await carryOut(pod, api) }
    }
    return HollowNode(informers: informers, registration: registration, work: work)
  }

  private static func carryOut(_ pod: JSON, _ api: InProcessClient) async throws {
    if pod.isTerminating {
      try await api.delete(
        .pods, namespace: pod.namespace, name: pod.name,
        options: DeleteOptions(gracePeriodSeconds: 0, uid: pod.uid))
    } else if (pod.at("spec", "nodeName")?.string ?? "").isEmpty {
      _ = try await api.createSubresource(
        .pods, namespace: pod.namespace, name: pod.name, subresource: "binding",
        ["metadata": ["name": JSON(pod.name)], "target": ["kind": "Node", "name": JSON(name)]])
    } else if pod.at("status", "phase") != "Running" {
      _ = try await api.patch(
        .pods, namespace: pod.namespace, name: pod.name,
        patch: .merge([
          "status": [
            "phase": "Running", "podIP": "10.42.0.9",
            "conditions": [
              ["type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"]
            ],
          ]
        ]), subresource: "status", options: WriteOptions())
    }
  }

  func stop() async {
    work.cancel()
    await work.value
    await informers.stop()
    _ = registration
  }
}
