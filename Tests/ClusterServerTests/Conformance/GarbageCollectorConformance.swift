// Upstream's cases of the garbage collector, by their names: the controllers of this process, real pods of a
// node that runs nothing.

import ClusterClient
import ClusterObjects
import Testing

private let labels: JSON = ["app": "gc-test"]
private let template: JSON = [
  "metadata": ["labels": labels],
  "spec": ["terminationGracePeriodSeconds": 0, "containers": [["name": "nginx", "image": "pause"]]],
]

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct GarbageCollectorConformance {
  private func controller(
    _ cluster: Cluster, _ space: String, _ name: String, replicas: Int, selector: JSON = labels
  ) async throws -> JSON {
    var template = template
    template.set(selector, at: "metadata", "labels")
    let made = try await cluster.create(
      .replicationControllers,
      [
        "metadata": ["name": JSON(name), "namespace": JSON(space)],
        "spec": ["replicas": JSON(replicas), "selector": selector, "template": template],
      ])
    try await eventually {
      let now = try await cluster.get(.replicationControllers, space, name)
      return now.at("status", "replicas")?.int == replicas
        && (now.at("status", "readyReplicas")?.int ?? 0) == replicas
    }
    return made
  }

  private func deployment(_ cluster: Cluster, _ space: String) async throws -> JSON {
    try await cluster.create(
      .deployments,
      [
        "metadata": ["name": "simpletest.deployment", "namespace": JSON(space)],
        "spec": ["replicas": 2, "selector": ["matchLabels": labels], "template": template],
      ])
    try await eventually { try await cluster.list(.pods, space).count == 2 }
    return try #require(try await cluster.list(.replicaSets, space).first)
  }

  /// What the policy leaves behind stays: a second look at everything changes nothing.
  private func stays(_ cluster: Cluster, _ space: String, pods: Int) async throws {
    // An object without owner, deleted after: when it is gone, the collector has come this far.
    let owner = try await cluster.create(
      .configMaps, ["metadata": ["name": "late-owner", "namespace": JSON(space)]])
    try await cluster.create(
      .configMaps,
      [
        "metadata": [
          "name": "late", "namespace": JSON(space),
          "ownerReferences": [
            ["apiVersion": "v1", "kind": "ConfigMap", "name": "late-owner", "uid": JSON(owner.uid)]
          ],
        ]
      ])
    try await cluster.delete(.configMaps, space, "late-owner", policy: "Background")
    try await eventually { try await cluster.find(.configMaps, space, "late") == nil }
    let found = try await cluster.list(.pods, space)
    #expect(found.count == pods && found.allSatisfy { !$0.isTerminating })
  }

  @Test func `should delete pods created by rc when not orphaning`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("gc")
    let rc = try await controller(cluster, space, "simpletest.rc", replicas: 2)
    try await cluster.delete(
      .replicationControllers, space, "simpletest.rc", policy: "Background", uid: rc.uid)
    try await eventually { try await cluster.list(.pods, space).isEmpty }
    #expect(try await cluster.find(.replicationControllers, space, "simpletest.rc") == nil)
  }

  @Test func `should orphan pods created by rc if delete options say so`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("gc")
    let rc = try await controller(cluster, space, "simpletest.rc", replicas: 10)
    try await cluster.delete(.replicationControllers, space, "simpletest.rc", policy: "Orphan", uid: rc.uid)
    try await eventually { try await cluster.find(.replicationControllers, space, "simpletest.rc") == nil }
    try await stays(cluster, space, pods: 10)
    #expect(try await cluster.list(.pods, space).allSatisfy { $0.ownerReferences.isEmpty })
  }

  @Test func `should delete RS created by deployment when not orphaning`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("gc")
    _ = try await deployment(cluster, space)
    try await cluster.delete(.deployments, space, "simpletest.deployment", policy: "Background")
    try await eventually { try await cluster.list(.replicaSets, space).isEmpty }
    try await eventually { try await cluster.list(.pods, space).isEmpty }
  }

  @Test
  func `should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan`()
    async throws
  {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("gc")
    let set = try await deployment(cluster, space)
    try await cluster.delete(.deployments, space, "simpletest.deployment", policy: "Orphan")
    try await eventually { try await cluster.find(.deployments, space, "simpletest.deployment") == nil }
    try await stays(cluster, space, pods: 2)
    let left = try await cluster.list(.replicaSets, space)
    #expect(left.map(\.uid) == [set.uid])
    #expect(left.first?.ownerReferences.isEmpty == true)
    #expect(try await cluster.list(.pods, space).allSatisfy { $0.isControlled(by: set) })
  }

  @Test
  func `should keep the rc around until all its pods are deleted if the deleteOptions says so`()
    async throws
  {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("gc")
    let rc = try await controller(cluster, space, "simpletest.rc", replicas: 10)
    let start = try await cluster.api.list(.pods, namespace: space, options: ListOptions())
    let pods = try await cluster.watch(.pods, space, from: start.resourceVersion)
    let owners = try await cluster.watch(.replicationControllers, space, from: start.resourceVersion)
    try await cluster.delete(
      .replicationControllers, space, "simpletest.rc", policy: "Foreground", uid: rc.uid)
    let gone = try await owners.first("DELETED")
    var last: Int64 = 0
    for _ in 0..<10 { last = Int64(try await pods.first("DELETED").resourceVersion) ?? 0 }
    #expect(last > 0 && last < Int64(gone.resourceVersion) ?? 0, "the last pod went before its owner")
    #expect(try await cluster.list(.pods, space).isEmpty)
  }

  @Test
  func
    `should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted`()
    async throws
  {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("gc")
    let doomed = try await controller(cluster, space, "simpletest-rc-to-be-deleted", replicas: 8)
    let kept = try await controller(
      cluster, space, "simpletest-rc-to-stay", replicas: 0, selector: ["another.key": "another.value"])
    let pods = try await cluster.list(.pods, space)
    for pod in pods.prefix(4) {
      _ = try await cluster.replace(.pods, space, pod.name) { pod in
        let more: JSON = [
          "apiVersion": "v1", "kind": "ReplicationController", "name": JSON(kept.name), "uid": JSON(kept.uid),
        ]
        pod.set(.array(pod.ownerReferences + [more]), at: "metadata", "ownerReferences")
      }
    }
    try await cluster.delete(
      .replicationControllers, space, doomed.name, policy: "Foreground", uid: doomed.uid)
    try await eventually { try await cluster.find(.replicationControllers, space, doomed.name) == nil }
    try await stays(cluster, space, pods: 4)
    let left = try await cluster.list(.pods, space)
    #expect(Set(left.map(\.name)) == Set(pods.prefix(4).map(\.name)))
    #expect(left.allSatisfy { $0.ownerReferences.map { $0["uid"]?.string } == [kept.uid] })
  }

  @Test func `should not be blocked by dependency circle`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("gc")
    var pods: [JSON] = []
    for name in ["pod1", "pod2", "pod3"] {
      pods.append(
        try await cluster.create(
          .pods,
          ["metadata": ["name": JSON(name), "namespace": JSON(space)], "spec": template.spec]))
    }
    for (position, owner) in [(0, 2), (1, 0), (2, 1)] {
      try await cluster.merge(
        .pods, space, pods[position].name,
        [
          "metadata": [
            "ownerReferences": [
              [
                "apiVersion": "v1", "kind": "Pod", "name": JSON(pods[owner].name),
                "uid": JSON(pods[owner].uid), "controller": true, "blockOwnerDeletion": true,
              ]
            ]
          ]
        ])
    }
    try await cluster.delete(.pods, space, "pod1", policy: "Foreground", uid: pods[0].uid)
    try await eventually { try await cluster.list(.pods, space).isEmpty }
  }
}
