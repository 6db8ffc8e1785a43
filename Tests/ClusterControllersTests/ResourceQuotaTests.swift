// The quota controller: what is gone is taken off, what was charged a moment ago is not.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

private func quota(_ hard: JSON, used: JSON? = nil) -> JSON {
  var quota: JSON = [
    "apiVersion": "v1", "kind": "ResourceQuota", "metadata": ["name": "q", "namespace": "demo"],
    "spec": ["hard": hard],
  ]
  if let used { quota["status"] = ["hard": hard, "used": used] }
  return quota
}

private func object(_ kind: String, _ name: String) -> JSON {
  ["apiVersion": "v1", "kind": JSON(kind), "metadata": ["name": JSON(name), "namespace": "demo"]]
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct ResourceQuotaTests {
  @Test func `a quota's status is calculated promptly and follows creations and deletions`() async throws {
    let cluster = TestCluster()
    try await cluster.informers.waitForSync()
    try await cluster.create(.configMaps, object("ConfigMap", "one"))
    try await cluster.create(.resourceQuotas, quota(["configmaps": "5", "count/secrets": "2"]))
    func used() -> JSON? { cluster.get(.resourceQuotas, "q")?.at("status", "used") }
    // `kube-root-ca.crt` of the namespace counts as well, where one is published.
    #expect(await eventually { used()?["count/secrets"] == "0" })
    let first = Int(used()?["configmaps"]?.string ?? "") ?? 0
    #expect(first >= 1)
    #expect(cluster.get(.resourceQuotas, "q")?.at("status", "hard", "configmaps") == "5")
    try await cluster.api.delete(.configMaps, namespace: "demo", name: "one", options: DeleteOptions())
    #expect(await eventually { used()?["configmaps"] == JSON("\(first - 1)") })
    await cluster.stop()
  }

  @Test func `what was charged and never stored is taken off after a while`() async throws {
    let cluster = TestCluster()
    try await cluster.informers.waitForSync()
    try await cluster.create(.resourceQuotas, quota(["secrets": "3"]))
    #expect(await eventually { cluster.get(.resourceQuotas, "q")?.at("status", "used", "secrets") == "0" })
    try await cluster.api.modify(.resourceQuotas, ObjectKey("demo", "q"), subresource: "status") { current in
      var changed = current
      changed.set("2", at: "status", "used", "secrets")
      return changed
    }
    #expect(
      await eventually {
        cluster.get(.resourceQuotas, "q")?.at("status", "used", "secrets") == "0"
      })
    await cluster.stop()
  }

  @Test func `counting asks for what the quota names, once, and keeps what nobody can count`() async throws {
    var asked: [String] = []
    let planned = try await planQuotaStatus(
      quota(
        ["pods": "3", "requests.cpu": "2", "count/widgets.example.com": "9"],
        used: ["pods": "0", "requests.cpu": "0", "count/widgets.example.com": "4"])
    ) { resource in
      asked.append("\(resource)")
      return [
        ["spec": ["containers": [["name": "a", "resources": ["requests": ["cpu": "500m"]]]]]],
        ["spec": ["containers": [["name": "a"]]], "status": ["phase": "Succeeded"]],
      ]
    }
    #expect(asked == ["pods"])
    #expect(
      planned?["used"] == ["count/widgets.example.com": "4", "pods": "1", "requests.cpu": "500m"])
  }
}
