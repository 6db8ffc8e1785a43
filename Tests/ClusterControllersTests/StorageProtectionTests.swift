// Claims and volumes in use outlive their deletion, and no longer.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

@Suite(.serialized, .timeLimit(.minutes(10))) struct StorageProtectionTests {
  private func held(_ kind: String, _ name: String, _ namespace: String, _ finalizer: String, _ more: JSON)
    -> JSON
  {
    var object: JSON = [
      "apiVersion": "v1", "kind": JSON(kind),
      "metadata": [
        "name": JSON(name), "uid": JSON("uid-\(name)"), "finalizers": [JSON(finalizer)],
        "deletionTimestamp": "2026-01-01T00:00:00Z",
      ],
    ]
    if !namespace.isEmpty { object.set(JSON(namespace), at: "metadata", "namespace") }
    for (key, value) in more.object ?? [:] { object[key] = value }
    return object
  }

  @Test func `a deleted claim goes with the last pod that uses it`() async throws {
    let cluster = TestCluster(runsPods: false)
    try await cluster.informers.waitForSync()
    cluster.api.put(
      .pods,
      [
        "apiVersion": "v1", "kind": "Pod", "metadata": ["name": "user", "namespace": "demo"],
        "spec": [
          "nodeName": "n1", "containers": [["name": "c"]],
          "volumes": [["name": "v", "persistentVolumeClaim": ["claimName": "used"]]],
        ],
      ])
    for name in ["used", "free"] {
      cluster.api.put(
        .persistentVolumeClaims,
        held("PersistentVolumeClaim", name, "demo", "kubernetes.io/pvc-protection", [:]))
    }
    func finalizers(_ name: String) -> [String]? {
      cluster.get(.persistentVolumeClaims, name).map(\.finalizers)
    }
    #expect(await eventually { finalizers("free") ?? [] == [] })
    #expect(finalizers("used") == ["kubernetes.io/pvc-protection"])
    cluster.api.remove(.pods, ObjectKey("demo", "user"))
    #expect(await eventually { finalizers("used") ?? [] == [] })
    await cluster.stop()
  }

  @Test func `a bound volume stays`() async throws {
    let cluster = TestCluster(runsPods: false)
    try await cluster.informers.waitForSync()
    cluster.api.put(
      .persistentVolumeClaims,
      [
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": [
          "namespace": "demo", "name": "c", "uid": "uid-c",
          "annotations": ["pv.kubernetes.io/bind-completed": "yes"],
        ], "spec": ["volumeName": "bound"], "status": ["phase": "Bound"],
      ])
    for (name, phase) in [("bound", "Bound"), ("released", "Released")] {
      cluster.api.put(
        .persistentVolumes,
        held(
          "PersistentVolume", name, "", "kubernetes.io/pv-protection",
          [
            "spec": [
              "claimRef": [
                "namespace": "demo", "name": name == "bound" ? "c" : "gone", "uid": JSON("uid-c"),
              ]
            ], "status": ["phase": JSON(phase)],
          ]))
    }
    func finalizers(_ name: String) -> [String]? {
      cluster.get(.persistentVolumes, name, "").map(\.finalizers)
    }
    #expect(await eventually { finalizers("released") ?? [] == [] })
    #expect(finalizers("bound") == ["kubernetes.io/pv-protection"])
    await cluster.stop()
  }
}
