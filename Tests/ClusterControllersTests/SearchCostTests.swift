// What controllers look at: who changes one workload of many must not make them look at the others. Counted, not timed.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

@Suite(.timeLimit(.minutes(10))) struct SearchCostTests {
  /// Makes so many groups of workloads in one namespace and changes them all; objects found in indexes for each group.
  private func cost(groups: Int) async throws -> Int {
    let cluster = TestCluster()
    let api = cluster.api
    try await cluster.create(.namespaces, namespaceObject("demo"))
    for number in 0..<groups {
      let name = "g\(number)"
      try await cluster.create(.deployments, deploymentObject(name, replicas: 2))
      try await cluster.create(.services, serviceObject(name))
      let budget: JSON = [
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": ["namespace": "demo", "name": JSON(name)],
        "spec": ["maxUnavailable": 1, "selector": ["matchLabels": ["app": JSON(name)]]],
      ]
      try await cluster.create(.disruptionBudgets, budget)
      var set = workload(
        "StatefulSet", "s-" + name,
        spec: ["replicas": 1, "serviceName": "s", "podManagementPolicy": "Parallel"])
      set.set(nil, at: "metadata", "uid")
      try await cluster.create(.statefulSets, set)
      let labels: JSON = ["job-name": JSON("j-" + name)]
      let job: JSON = [
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": ["namespace": "demo", "name": JSON("j-" + name)],
        "spec": [
          "completions": 1, "parallelism": 1, "backoffLimit": 6, "selector": ["matchLabels": labels],
          "template": [
            "metadata": ["labels": labels],
            "spec": ["restartPolicy": "Never", "containers": [["name": "c", "image": "a"]]],
          ],
        ],
      ]
      try await cluster.create(.jobs, job)
    }
    func settled() async -> Bool { await eventually(within: .seconds(120)) { isSettled(api) } }
    #expect(await settled())
    for number in 0..<groups {
      for (resource, name) in [
        (GroupVersionResource.deployments, "g\(number)"), (.statefulSets, "s-g\(number)"),
      ] {
        try await api.modify(resource, ObjectKey("demo", name), attempts: 100) { current in
          var changed = current
          changed.set(3, at: "spec", "replicas")
          return changed
        }
      }
    }
    #expect(await settled())
    await cluster.stop()
    let resources: [GroupVersionResource] = [
      .pods, .services, .endpointSlices, .deployments, .replicaSets, .statefulSets, .jobs, .disruptionBudgets,
      .controllerRevisions,
    ]
    let family = cluster.informerMetrics.counter("weft_informer_found_total", "", labels: ["resource"])
    return resources.reduce(0) { $0 + Int(family.child("\($1)").current) } / groups
  }

  @Test func `what controllers look at for a workload does not grow with the workloads beside it`()
    async throws
  {
    let few = try await cost(groups: 5)
    let many = try await cost(groups: 60)
    print("objects looked at for each group: \(few) of five, \(many) of sixty")
    // Twelve times as many beside it: looks at all of them would be twelve times as much.
    #expect(few > 0 && many < 3 * few)
  }
}
