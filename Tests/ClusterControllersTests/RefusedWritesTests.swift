// Controllers that may not write for a while: it is told, and they go on when they may.

import ClusterClient
import ClusterObjects
import Synchronization
import Testing

@testable import ClusterControllers

/// Refuses creates of one resource until it is told otherwise.
private final class Refusal: Sendable {
  private let count = Mutex(0)
  private let isOver = Mutex(false)
  var times: Int { count.withLock { $0 } }
  func end() { isOver.withLock { $0 = true } }

  init(_ api: MemoryClusterAPI, of refused: GroupVersionResource) {
    api.inject { [self] verb, resource in
      guard verb == "create", resource == refused, !isOver.withLock({ $0 }) else { return nil }
      count.withLock { $0 += 1 }
      return APIStatusError(
        code: 403, reason: "Forbidden", message: "\(resource.resource) is forbidden: User cannot create")
    }
  }
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct RefusedWritesTests {
  @Test func `a ServiceAccount that may not be made is tried again until it may`() async throws {
    let cluster = TestCluster()
    let refusal = Refusal(cluster.api, of: .serviceAccounts)
    cluster.api.put(.namespaces, ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": "late"]])
    #expect(await eventually { refusal.times >= 2 })
    #expect(cluster.get(.serviceAccounts, "default", "late") == nil)
    refusal.end()
    #expect(await eventually { cluster.get(.serviceAccounts, "default", "late") != nil })
    await cluster.stop()
  }

  @Test func `EndpointSlices that may not be made are told of and tried again until they may`() async throws {
    let cluster = TestCluster()
    let refusal = Refusal(cluster.api, of: .endpointSlices)
    cluster.api.put(
      .services,
      [
        "apiVersion": "v1", "kind": "Service",
        "metadata": ["namespace": "demo", "name": "web", "uid": "s1"],
        "spec": ["selector": ["app": "web"], "ports": [["port": 80]], "clusterIPs": ["10.43.0.9"]],
      ])
    #expect(await eventually { refusal.times >= 2 })
    #expect(
      await eventually {
        cluster.api.objects(.events).contains {
          $0["reason"] == "FailedToUpdateEndpointSlices" && $0["type"] == "Warning"
            && $0.at("involvedObject", "name") == "web"
            && $0["message"]
              == "Error updating Endpoint Slices for Service demo/web: endpointslices is forbidden: User cannot create"
        }
      })
    refusal.end()
    #expect(await eventually { !cluster.api.objects(.endpointSlices).isEmpty })
    await cluster.stop()
  }

  @Test func `pods that were made though nobody said so are not made again`() async throws {
    let api = MemoryClusterAPI()
    let view = FaultyView(api, seed: 1, unanswered: .pods)
    view.calm()
    let cluster = TestCluster(api: api, seen: view)
    try await cluster.create(
      .jobs,
      [
        "apiVersion": "batch/v1", "kind": "Job", "metadata": ["namespace": "demo", "name": "j"],
        "spec": [
          "completions": 4, "parallelism": 2, "selector": ["matchLabels": ["job-name": "j"]],
          "template": [
            "metadata": ["labels": ["job-name": "j"]],
            "spec": ["restartPolicy": "Never", "containers": [["name": "c", "image": "i"]]],
          ],
        ],
      ])
    try await cluster.create(.deployments, deploymentObject("r", replicas: 3))
    #expect(
      await eventually {
        cluster.get(.jobs, "j")?.isConditionTrue("Complete") == true
          && cluster.get(.deployments, "r")?.status["availableReplicas"] == 3
      })
    await cluster.stop()
    #expect(cluster.get(.jobs, "j")?.status["succeeded"] == 4)
    #expect(cluster.pods().count { $0.labels["job-name"] == "j" } == 4)
    #expect(cluster.pods().count { $0.labels["app"] == "r" } == 3)
    #expect(view.counts.lostAnswers == 7, "each pod was asked for once")
  }
}
