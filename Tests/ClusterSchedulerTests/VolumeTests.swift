// Claims and volumes: where a pod with them can be.

import ClusterClient
import ClusterObjects
import Synchronization
import Testing

@testable import ClusterScheduler

@Suite struct VolumeTests {
  private func using(_ name: String, _ claims: [String]) -> JSON {
    makePod(
      name,
      spec: [
        "volumes": .array(
          claims.map { ["name": JSON($0), "persistentVolumeClaim": ["claimName": JSON($0)]] })
      ])
  }
  private func claim(
    _ name: String, volume: String? = nil, className: String = "local", size: String = "1Gi",
    modes: JSON = ["ReadWriteOnce"]
  ) -> JSON {
    var claim: JSON = [
      "metadata": ["namespace": "demo", "name": JSON(name), "uid": JSON("uid-\(name)")],
      "spec": [
        "storageClassName": JSON(className), "accessModes": modes,
        "resources": ["requests": ["storage": JSON(size)]],
      ],
      "status": ["phase": JSON(volume == nil ? "Pending" : "Bound")],
    ]
    if let volume { claim.set(JSON(volume), at: "spec", "volumeName") }
    return claim
  }
  private func volume(
    _ name: String, node: String? = nil, size: String = "1Gi", labels: [String: String] = [:],
    className: String = "local"
  ) -> JSON {
    var volume: JSON = [
      "metadata": ["name": JSON(name), "labels": JSON(labels)],
      "spec": [
        "storageClassName": JSON(className), "accessModes": ["ReadWriteOnce"],
        "capacity": ["storage": JSON(size)],
      ],
      "status": ["phase": "Available"],
    ]
    if let node {
      volume.set(
        [
          "required": [
            "nodeSelectorTerms": [
              [
                "matchExpressions": [
                  ["key": "kubernetes.io/hostname", "operator": "In", "values": [JSON(node)]]
                ]
              ]
            ]
          ]
        ], at: "spec", "nodeAffinity")
    }
    return volume
  }
  private func objects(
    _ claims: [JSON], _ volumes: [JSON], provisioner: String = "kubernetes.io/no-provisioner"
  )
    -> ClusterObjectsView
  {
    var objects = ClusterObjectsView()
    objects.claims = ObjectSnapshot(claims)
    objects.volumes = ObjectSnapshot(volumes)
    objects.storageClasses = ObjectSnapshot([
      [
        "metadata": ["name": "local"], "provisioner": JSON(provisioner),
        "volumeBindingMode": "WaitForFirstConsumer",
      ],
      ["metadata": ["name": "now"], "provisioner": "example.com/now", "volumeBindingMode": "Immediate"],
    ])
    return objects
  }
  private let nodes = ["n1", "n2"].map { info(makeNode($0)) }

  @Test func `a bound claim ties the pod to the nodes of its volume`() throws {
    let objects = objects([claim("c", volume: "v")], [volume("v", node: "n2")])
    #expect(try decide(using("p", ["c"]), nodes, objects) == "n2")
    #expect(
      try decide(using("p", ["c"]), [nodes[0]], objects)
        == "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.")
  }

  @Test func `a claim that waits finds a volume on the node, the smallest that will do`() throws {
    let some = objects([claim("c")], [volume("v", node: "n2")])
    #expect(try decide(using("p", ["c"]), nodes, some) == "n2")
    let none = objects([claim("c", size: "2Gi")], [volume("v", node: "n2")])
    #expect(
      try decide(using("p", ["c"]), nodes, none)
        == "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.")
    let two = objects([claim("c"), claim("d", size: "5Gi")], [volume("big", size: "9Gi"), volume("small")])
    let plan = VolumeMatch.plan(two.claims.values, two, nodes[0], promised: [:])
    #expect(plan?.matches.map(\.volume.name).sorted() == ["big", "small"])
    #expect(plan?.matches.first { $0.claim.name == "c" }?.volume.name == "small")
    #expect(
      VolumeMatch.plan([claim("c")], some, info(makeNode("n2")), promised: ["v": ObjectKey("demo", "x")])
        == nil)
  }

  @Test func `a class that makes volumes needs none, but keeps to its topologies`() {
    var objects = objects([claim("c")], [], provisioner: "example.com/disk")
    #expect(VolumeMatch.plan([claim("c")], objects, nodes[0], promised: [:])?.toProvision.count == 1)
    var restricted = objects.storageClasses["", "local"] ?? .null
    restricted["allowedTopologies"] = [
      ["matchLabelExpressions": [["key": "kubernetes.io/hostname", "values": ["n2"]]]]
    ]
    objects.storageClasses = ObjectSnapshot([restricted])
    #expect(VolumeMatch.plan([claim("c")], objects, nodes[0], promised: [:]) == nil)
    #expect(VolumeMatch.plan([claim("c")], objects, nodes[1], promised: [:]) != nil)
  }

  @Test(arguments: [
    ("missing", "persistentvolumeclaim \"missing\" not found"),
    ("now", "pod has unbound immediate PersistentVolumeClaims"),
    ("lost", "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"v\""),
    ("leaving", "persistentvolumeclaim \"leaving\" is being deleted"),
  ])
  func `a claim that no node can help is said once for all nodes`(name: String, message: String) throws {
    var lost = claim("lost", volume: "v")
    lost.set("Lost", at: "status", "phase")
    var leaving = claim("leaving")
    leaving.set("2026-01-01T00:00:00Z", at: "metadata", "deletionTimestamp")
    let objects = objects([claim("now", className: "now"), lost, leaving], [])
    #expect(try decide(using("p", [name]), nodes, objects) == "0/2 nodes are available: \(message).")
  }

  @Test func `zones of a volume keep the pod in them`() throws {
    let zoned = ["a", "b"].map { info(makeNode("n-\($0)", labels: ["topology.kubernetes.io/zone": $0])) }
    let objects = objects(
      [claim("c", volume: "v")], [volume("v", labels: ["topology.kubernetes.io/zone": "b__c"])])
    #expect(passing(using("p", ["c"]), zoned, objects, VolumeZone()) == ["n-b"])
    #expect(passing(using("p", ["c"]), nodes, objects, VolumeZone()).count == 2)
    #expect(
      try decide(using("p", ["c"]), [zoned[0]], objects)
        == "0/1 nodes are available: 1 node(s) had no available volume zone.")
  }

  @Test func `a ReadWriteOncePod claim is one pod's on all nodes`() throws {
    let objects = objects([claim("c", volume: "v", modes: ["ReadWriteOncePod"])], [volume("v")])
    let taken = [nodes[0].adding(PodInfo(using("x", ["c"]))), nodes[1]]
    #expect(
      try decide(using("p", ["c"]), taken, objects)
        == "0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name and "
        + "ReadWriteOncePod access mode.")
    #expect(passing(using("p", ["c"]), nodes, objects, VolumeRestrictions()).count == 2)
  }

  @Test func `a driver's limit counts volumes, not pods`() {
    func disk(_ name: String) -> JSON {
      var disk = volume(name)
      disk.set(["driver": "example.com/disk", "volumeHandle": JSON(name)], at: "spec", "csi")
      return disk
    }
    var objects = objects(
      [claim("c", volume: "v"), claim("d", volume: "w")], [disk("v"), disk("w")])
    objects.csiNodes = ObjectSnapshot([
      [
        "metadata": ["name": "n1"],
        "spec": ["drivers": [["name": "example.com/disk", "allocatable": ["count": 1]]]],
      ]
    ])
    let full = [nodes[0].adding(PodInfo(using("x", ["c"]))), nodes[1]]
    #expect(passing(using("p", ["d"]), full, objects, NodeVolumeLimits()) == ["n2"])
    #expect(passing(using("p", ["c"]), full, objects, NodeVolumeLimits()) == ["n1", "n2"])
  }

  @Test func `a local volume is promised to one pod, and bound before the pod`() async throws {
    let api = MemoryClusterAPI()
    let claims = [claim("c"), claim("d")]
    for claim in claims { api.put(.persistentVolumeClaims, claim) }
    api.put(.persistentVolumes, volume("v", node: "n1"))
    let view = objects(claims, [volume("v", node: "n1")])
    let plugin = VolumeBinding(bindTimeout: .milliseconds(10)) { view }
    plugin.nodes.withLock { $0 = { name in name == "n1" ? info(makeNode("n1")) : nil } }
    let first = PodInfo(using("p", ["c"]))
    #expect(plugin.reserve(first, on: "n1") == nil)
    let second = PodInfo(using("q", ["d"]))
    #expect(plugin.reserve(second, on: "n1") != nil)
    // Nobody binds the claim here: the attempt ends, with the volume named for the claim.
    await #expect(throws: (any Error).self) { try await plugin.preBind(first, to: "n1", api) }
    let named = try #require(api.objects(.persistentVolumes).first)
    #expect(named.at("spec", "claimRef", "name")?.string == "c")
    #expect(plugin.reserve(second, on: "n1") == nil, "the promise ends with the attempt")
  }
}
