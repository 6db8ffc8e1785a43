// Leases of nodes, which their Nodes own.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

@Suite(.timeLimit(.minutes(2))) struct NodeLeaseGarbageTests {
  private func node(_ name: String) -> JSON {
    ["apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(name)], "spec": [:]]
  }

  private func lease(_ name: String, owner: String, namespace: String = "kube-node-lease") -> JSON {
    [
      "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
      "metadata": [
        "name": JSON(name), "namespace": JSON(namespace),
        "ownerReferences": [["apiVersion": "v1", "kind": "Node", "name": JSON(name), "uid": JSON(owner)]],
      ],
      "spec": ["holderIdentity": JSON(name), "renewTime": "2026-01-01T00:00:00.000000Z"],
    ]
  }

  @Test func `the Lease of a node goes with it, and of a namesake it stays`() async throws {
    let cluster = TestCluster(runsPods: false)
    for name in ["gone", "kept"] {
      try await cluster.create(.nodes, node(name))
      let uid = try #require(cluster.get(.nodes, name, "")?.uid)
      try await cluster.create(.leases, lease(name, owner: uid))
    }
    func found(_ name: String) -> JSON? { cluster.get(.leases, name, "kube-node-lease") }
    try await cluster.api.delete(.nodes, namespace: "", name: "gone", options: DeleteOptions())
    #expect(await eventually { found("gone") == nil })
    // Heartbeats go on.
    for second in 1...3 {
      _ = try await cluster.api.patch(
        .leases, namespace: "kube-node-lease", name: "kept",
        patch: .merge(["spec": ["renewTime": JSON("2026-01-01T00:00:0\(second).000000Z")]]), subresource: nil,
        options: WriteOptions())
    }
    // Made anew: what was the first one's goes, what is the second one's stays.
    try await cluster.api.delete(.nodes, namespace: "", name: "kept", options: DeleteOptions())
    try await cluster.create(.nodes, node("kept"))
    let uid = try #require(cluster.get(.nodes, "kept", "")?.uid)
    #expect(await eventually { found("kept") == nil })
    try await cluster.create(.leases, lease("kept", owner: uid))
    try await cluster.create(.nodes, node("last"))
    try await cluster.create(.leases, lease("last", owner: "somebody"))
    #expect(await eventually { found("last") == nil })
    #expect(found("kept") != nil)
    await cluster.stop()
  }
}
