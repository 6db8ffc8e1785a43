// Claims and volumes find each other, are made, kept, and removed: the plans by tables, the controllers on an API in memory.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

private func claim(
  _ name: String, className: String? = "manual", size: String = "1Gi", modes: JSON = ["ReadWriteOnce"],
  volume: String = "", annotations: [String: String] = [:], uid: String? = nil
) -> JSON {
  var claim: JSON = [
    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
    "metadata": [
      "namespace": "demo", "name": JSON(name), "uid": JSON(uid ?? "uid-\(name)"),
      "annotations": JSON(annotations),
    ],
    "spec": ["accessModes": modes, "resources": ["requests": ["storage": JSON(size)]]],
  ]
  if let className { claim.set(JSON(className), at: "spec", "storageClassName") }
  if !volume.isEmpty { claim.set(JSON(volume), at: "spec", "volumeName") }
  return claim
}

private func volume(
  _ name: String, className: String = "manual", size: String = "1Gi", policy: String = "Retain",
  claimRef: JSON? = nil, annotations: [String: String] = [:], phase: String = "Available"
) -> JSON {
  var volume: JSON = [
    "apiVersion": "v1", "kind": "PersistentVolume",
    "metadata": ["name": JSON(name), "uid": JSON("uid-\(name)"), "annotations": JSON(annotations)],
    "spec": [
      "capacity": ["storage": JSON(size)], "accessModes": ["ReadWriteOnce"],
      "storageClassName": JSON(className), "persistentVolumeReclaimPolicy": JSON(policy),
      "hostPath": ["path": JSON("/v/\(name)")],
    ],
    "status": ["phase": JSON(phase)],
  ]
  if let claimRef { volume.set(claimRef, at: "spec", "claimRef") }
  return volume
}

private func reference(_ name: String, uid: String? = nil) -> JSON {
  var reference: JSON = ["namespace": "demo", "name": JSON(name)]
  if let uid { reference["uid"] = JSON(uid) }
  return reference
}

private let classes: [JSON] = [
  [
    "metadata": ["name": "late"], "provisioner": "example.com/p", "volumeBindingMode": "WaitForFirstConsumer",
  ],
  ["metadata": ["name": "now"], "provisioner": "example.com/p", "volumeBindingMode": "Immediate"],
  ["metadata": ["name": "people"], "provisioner": "kubernetes.io/no-provisioner"],
  LocalPath.storageClass,
]

private func plan(_ claim: JSON, _ volumes: [JSON] = [], pods: [String] = []) -> ClaimPlan {
  planClaim(
    claim,
    ClaimSurroundings(
      volumes: ObjectSnapshot(volumes), storageClasses: ObjectSnapshot(classes), waitingPods: pods))
}

@Suite struct ClaimPlanTests {
  @Test func `a claim takes the smallest volume of its class that will do`() {
    let volumes = [
      volume("big", size: "9Gi"), volume("fit", size: "2Gi"), volume("small", size: "500Mi"),
      volume("other", className: "fast", size: "2Gi"), volume("taken", size: "2Gi", claimRef: reference("x")),
    ]
    #expect(plan(claim("c", size: "2Gi"), volumes).volume?.name == "fit")
    #expect(plan(claim("c", size: "5Gi"), volumes).volume?.name == "big")
    #expect(plan(claim("c", size: "10Gi"), volumes).volume == nil)
    #expect(plan(claim("c", modes: ["ReadWriteMany"]), volumes).volume == nil)
  }

  @Test func `a volume that is reserved for a claim goes before all others`() {
    let volumes = [volume("a"), volume("mine", size: "9Gi", claimRef: reference("c"))]
    #expect(plan(claim("c"), volumes).volume?.name == "mine")
    #expect(plan(claim("c", uid: "new"), [volume("a", claimRef: reference("c", uid: "old"))]).volume == nil)
  }

  @Test(
    arguments: [
      (nil, "FailedBinding", "no persistent volumes available for this claim and no storage class is set"),
      ("late", "WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
      ("missing", "ProvisioningFailed", "storageclass.storage.k8s.io \"missing\" not found"),
      ("people", "ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner"),
    ] as [(String?, String, String)])
  func `why a claim waits is said in upstream's words`(className: String?, reason: String, message: String) {
    let plan = plan(claim("c", className: className))
    #expect(plan.event?.reason == reason && plan.event?.message == message && plan.phase == "Pending")
    #expect(plan.volume == nil && plan.provisioner == nil)
  }

  @Test func `a class that makes volumes is asked, at once or when the node is known`() {
    #expect(plan(claim("c", className: "now")).provisioner == "example.com/p")
    let waiting = claim("c", className: "late")
    #expect(plan(waiting, pods: ["p"]).event?.message == "waiting for pod p to be scheduled")
    #expect(plan(waiting, pods: ["q", "p"]).event?.message == "waiting for pods p,q to be scheduled")
    let chosen = claim("c", className: "late", annotations: [VolumeSelection.selectedNode: "n1"])
    #expect(
      plan(chosen).provisioner == "example.com/p" && plan(chosen).event?.reason == "ExternalProvisioning")
    // Without a node even a volume that suits is left: the pod might not reach it.
    #expect(plan(waiting, [volume("v", className: "late")]).volume == nil)
  }

  @Test func `a volume asked for by name must suit, and must be free`() {
    let wish = claim("c", volume: "v")
    #expect(plan(wish).phase == "Pending" && plan(wish).event == nil)
    #expect(plan(wish, [volume("v")]).volume?.name == "v")
    #expect(
      plan(wish, [volume("v", size: "1Mi")]).event?.message
        == "Cannot bind to requested volume \"v\": requested PV is too small")
    #expect(
      plan(wish, [volume("v", className: "fast")]).event?.message
        == "Cannot bind to requested volume \"v\": storageClassName does not match")
    #expect(
      plan(wish, [volume("v", claimRef: reference("x", uid: "y"))]).event?.message
        == "volume \"v\" already bound to a different claim.")
  }

  @Test func `a claim whose volume is gone or somebody else's is lost`() {
    let done = [VolumeSelection.bindCompleted: "yes"]
    let bound = claim("c", volume: "v", annotations: done)
    #expect(plan(bound).phase == "Lost" && plan(bound).event?.reason == "ClaimLost")
    #expect(
      plan(bound, [volume("v", claimRef: reference("c", uid: "other"))]).event?.reason == "ClaimMisbound")
    #expect(plan(bound, [volume("v", claimRef: reference("c", uid: "uid-c"))]).volume?.name == "v")
    #expect(plan(claim("c", annotations: done)).phase == "Lost")
  }
}

@Suite struct VolumePlanTests {
  @Test func `a volume follows its claim`() {
    let mine = reference("c", uid: "uid-c")
    #expect(planVolume(volume("v"), claim: nil) == .phase("Available"))
    #expect(planVolume(volume("v", claimRef: reference("c")), claim: nil) == .phase("Available"))
    #expect(
      planVolume(volume("v", claimRef: reference("c")), claim: claim("c"))
        == .askClaim(ObjectKey("demo", "c")))
    #expect(planVolume(volume("v", claimRef: mine), claim: claim("c", volume: "v")) == .phase("Bound"))
    #expect(planVolume(volume("v", claimRef: mine), claim: nil) == .released(.keep))
    #expect(planVolume(volume("v", claimRef: mine), claim: claim("c", uid: "new")) == .released(.keep))
    #expect(
      planVolume(volume("v", claimRef: mine), claim: claim("c", volume: "w"))
        == .unbind(keepsReservation: true))
    #expect(
      planVolume(
        volume("v", claimRef: mine, annotations: [VolumeSelection.boundByController: "yes"]),
        claim: claim("c", volume: "w")) == .unbind(keepsReservation: false))
  }

  @Test func `who reclaims a volume depends on its policy and its maker`() {
    func reclaim(_ policy: String, _ annotations: [String: String] = [:]) -> VolumePlan {
      planVolume(
        volume("v", policy: policy, claimRef: reference("c", uid: "u"), annotations: annotations), claim: nil)
    }
    #expect(reclaim("Delete", [VolumeNames.provisionedBy: "example.com/p"]) == .released(.byProvisioner))
    guard case .released(.failed(let event)) = reclaim("Delete") else {
      Issue.record("nobody can delete it")
      return
    }
    #expect(event.reason == "VolumeFailedDelete")
    guard case .released(.failed(let event)) = reclaim("Recycle") else {
      Issue.record("nobody can recycle it")
      return
    }
    #expect(event.message == "No recycler plugin found for the volume!")
  }
}

@Suite struct LocalPathPlanTests {
  private let node: JSON = [
    "metadata": [
      "name": "n1", "labels": ["kubernetes.io/hostname": "host-1"],
      "annotations": ["weft.dev/local-path": "/var/lib/weft/volumes"],
    ]
  ]

  @Test func `a volume is a folder of the node that was chosen, and ties pods to it`() throws {
    let made = try planLocalVolume(
      claim("c", className: "local-path"), storageClass: LocalPath.storageClass, nodeName: "n1", node: node)
    #expect(made.at("spec", "hostPath", "path") == "/var/lib/weft/volumes/pvc-uid-c_demo_c")
    #expect(made.localPathHost == "host-1" && made.at("spec", "claimRef", "uid") == "uid-c")
    #expect(made.at("spec", "persistentVolumeReclaimPolicy") == "Delete")
    let pod = try #require(planRemoval(of: made, on: "n1", image: "i"))
    #expect(pod.at("spec", "nodeName") == "n1")
    #expect(
      pod.at("spec", "containers")?.elements.first?["command"]?.elements.last == "/volumes/pvc-uid-c_demo_c")
    #expect(
      pod.at("spec", "volumes")?.elements.first?.at("hostPath", "path") == "/var/lib/weft/volumes")
  }

  @Test(arguments: ["/", "/etc", "/var/lib/other", "/var/../uid", "", "v"])
  func `nothing but a folder that was made for the volume is removed`(path: String) {
    var volume = volume("pvc-1")
    volume.set(JSON(path), at: "spec", "hostPath", "path")
    #expect(planRemoval(of: volume, on: "n1", image: "i") == nil)
  }

  @Test func `what a folder cannot be is refused, and a node without one is another's turn`() {
    func problem(_ claim: JSON, _ node: JSON?) -> LocalPathProblem? {
      do {
        _ = try planLocalVolume(claim, storageClass: LocalPath.storageClass, nodeName: "n1", node: node)
        return nil
      } catch { return error }
    }
    #expect(problem(claim("c", modes: ["ReadWriteMany"]), node)?.isOfNode == false)
    #expect(problem(claim("c"), nil)?.isOfNode == true)
    #expect(problem(claim("c"), ["metadata": ["name": "n1"]])?.isOfNode == true)
    #expect(problem(claim("c"), node) == nil)
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct PersistentVolumeTests {
  private func phase(_ cluster: TestCluster, _ name: String) -> String? {
    cluster.get(.persistentVolumeClaims, name)?.at("status", "phase")?.string
  }
  private func volumePhase(_ cluster: TestCluster, _ name: String) -> String? {
    cluster.get(.persistentVolumes, name, "")?.at("status", "phase")?.string
  }

  @Test func `a claim is bound on both sides, and its volume is kept when it goes`() async throws {
    let cluster = TestCluster(runsPods: false)
    try await cluster.informers.waitForSync()
    cluster.api.put(.persistentVolumeClaims, claim("c", size: "1Gi"))
    #expect(await eventually { phase(cluster, "c") == "Pending" })
    cluster.api.put(.persistentVolumes, volume("v", size: "2Gi", phase: ""))
    #expect(await eventually { phase(cluster, "c") == "Bound" && volumePhase(cluster, "v") == "Bound" })
    let bound = try #require(cluster.get(.persistentVolumeClaims, "c"))
    #expect(bound.at("spec", "volumeName") == "v" && bound.at("status", "capacity", "storage") == "2Gi")
    #expect(bound.annotations[VolumeSelection.bindCompleted] == "yes")
    cluster.api.remove(.persistentVolumeClaims, ObjectKey("demo", "c"))
    #expect(await eventually { volumePhase(cluster, "v") == "Released" })
    // Another claim does not get what is on it.
    cluster.api.put(.persistentVolumeClaims, claim("d"))
    #expect(await eventually { phase(cluster, "d") == "Pending" })
    await cluster.stop()
  }

  @Test func `a claim whose volume goes is lost`() async throws {
    let cluster = TestCluster(runsPods: false)
    try await cluster.informers.waitForSync()
    cluster.api.put(.persistentVolumes, volume("v"))
    cluster.api.put(.persistentVolumeClaims, claim("c"))
    #expect(await eventually { phase(cluster, "c") == "Bound" })
    cluster.api.remove(.persistentVolumes, ObjectKey("", "v"))
    #expect(await eventually { phase(cluster, "c") == "Lost" })
    await cluster.stop()
  }

  @Test func `a folder is made on the node that was chosen, and removed there when the claim goes`()
    async throws
  {
    let cluster = TestCluster(runsPods: false)
    try await cluster.informers.waitForSync()
    cluster.api.put(GroupVersionResource("storage.k8s.io", "v1", "storageclasses"), LocalPath.storageClass)
    cluster.api.put(
      .nodes,
      [
        "apiVersion": "v1", "kind": "Node",
        "metadata": ["name": "n1", "annotations": ["weft.dev/local-path": "/v"]],
      ])
    cluster.api.put(.persistentVolumeClaims, claim("c", className: "local-path", uid: "u"))
    #expect(await eventually { phase(cluster, "c") == "Pending" })
    // What the scheduler writes.
    _ = try await cluster.api.modify(.persistentVolumeClaims, ObjectKey("demo", "c")) { old in
      var new = old
      new.set("n1", at: "metadata", "annotations", VolumeSelection.selectedNode)
      return new
    }
    #expect(await eventually { phase(cluster, "c") == "Bound" && volumePhase(cluster, "pvc-u") == "Bound" })
    cluster.api.remove(.persistentVolumeClaims, ObjectKey("demo", "c"))
    func remover() -> JSON? { cluster.get(.pods, "remove-pvc-u", "kube-system") }
    #expect(await eventually { remover() != nil })
    var pod = try #require(remover())
    #expect(volumePhase(cluster, "pvc-u") == "Released")
    pod.set("Succeeded", at: "status", "phase")
    cluster.api.put(.pods, pod)
    #expect(await eventually { volumePhase(cluster, "pvc-u") == nil && remover() == nil })
    await cluster.stop()
  }

  @Test func `a node that offers no folder is given back to the scheduler`() async throws {
    let cluster = TestCluster(runsPods: false)
    try await cluster.informers.waitForSync()
    cluster.api.put(GroupVersionResource("storage.k8s.io", "v1", "storageclasses"), LocalPath.storageClass)
    cluster.api.put(.nodes, ["apiVersion": "v1", "kind": "Node", "metadata": ["name": "bare"]])
    cluster.api.put(
      .persistentVolumeClaims,
      claim("c", className: "local-path", annotations: [VolumeSelection.selectedNode: "bare"]))
    #expect(
      await eventually {
        cluster.get(.persistentVolumeClaims, "c")?.annotations[VolumeSelection.selectedNode] == nil
      })
    #expect(cluster.api.objects(.persistentVolumes).isEmpty)
    await cluster.stop()
  }

  @Test func `an ephemeral volume has a claim of its own, and nobody else's`() async throws {
    let cluster = TestCluster(runsPods: false)
    try await cluster.informers.waitForSync()
    func pod(_ name: String) -> JSON {
      var pod = podObject(name)
      pod.set(
        [
          [
            "name": "scratch",
            "ephemeral": [
              "volumeClaimTemplate": [
                "metadata": ["labels": ["a": "b"]], "spec": ["storageClassName": "late"],
              ]
            ],
          ]
        ], at: "spec", "volumes")
      return pod
    }
    cluster.api.put(.persistentVolumeClaims, claim("second-scratch"))
    cluster.api.put(.pods, pod("first"))
    cluster.api.put(.pods, pod("second"))
    #expect(await eventually { cluster.get(.persistentVolumeClaims, "first-scratch") != nil })
    let made = try #require(cluster.get(.persistentVolumeClaims, "first-scratch"))
    #expect(made.labels["a"] == "b" && made.controllerReference?["uid"] == "uid-first")
    #expect(cluster.get(.persistentVolumeClaims, "second-scratch")?.ownerReferences.isEmpty == true)
    await cluster.stop()
  }
}
