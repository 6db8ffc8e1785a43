// A volume that names a claim becomes a folder of the node, once the claim is bound.

import CLinux
import ClusterObjects
import Glibc
import SoakLab
import Testing

@testable import ClusterNode

@Suite struct ClaimedVolumeTests {
  private let pod: JSON = ["metadata": ["namespace": "demo", "name": "web-0", "uid": "pod-uid"]]
  private let volume: JSON = ["name": "data", "persistentVolumeClaim": ["claimName": "data-web-0"]]

  private func claim(phase: String = "Bound") -> JSON {
    [
      "metadata": ["namespace": "demo", "name": "data-web-0", "uid": "claim-uid"],
      "spec": ["volumeName": "pv"], "status": ["phase": JSON(phase)],
    ]
  }
  private func object(_ source: JSON, uid: String = "claim-uid", isMade: Bool = false) -> JSON {
    var object: JSON = ["metadata": ["name": "pv"], "spec": source]
    object.set(["uid": JSON(uid)], at: "spec", "claimRef")
    if isMade {
      object.set("weft.dev/local-path", at: "metadata", "annotations", "pv.kubernetes.io/provisioned-by")
    }
    return object
  }

  @Test func `hostPath and local volumes are folders of the node, others are refused`() throws {
    func source(_ object: JSON) throws -> ClaimedVolume.Source {
      try planClaimedVolume(volume, pod: pod, claim: claim(), volume: object).source
    }
    let host: JSON = ["path": "/v/a", "type": "DirectoryOrCreate"]
    #expect(try source(object(["hostPath": host])) == .hostPath(host))
    #expect(try source(object(["hostPath": host], isMade: true)) == .made(path: "/v/a"))
    #expect(try source(object(["local": ["path": "/mnt/disk"]])) == .local(path: "/mnt/disk"))
    #expect(throws: MissingReference.self) { try source(object(["nfs": ["server": "s", "path": "/"]])) }
  }

  @Test(arguments: [
    ("missing", "not found"), ("pending", "PVC is not bound"), ("stolen", "is not the claim's"),
  ])
  func `a claim without its volume is said`(state: String, words: String) {
    let claim = state == "missing" ? nil : claim(phase: state == "pending" ? "Pending" : "Bound")
    let object = object(["local": ["path": "/d"]], uid: state == "stolen" ? "other" : "claim-uid")
    do {
      _ = try planClaimedVolume(volume, pod: pod, claim: claim, volume: object)
      Issue.record("it was accepted")
    } catch {
      #expect(error.message.contains(words), "\(error.message)")
    }
  }

  @Test func `the claim of an ephemeral volume must be the pod's own`() throws {
    let volume: JSON = ["name": "scratch", "ephemeral": ["volumeClaimTemplate": [:]]]
    #expect(ClaimedVolume.claimName(volume, pod: pod) == "web-0-scratch")
    var claim = claim()
    #expect(throws: MissingReference.self) {
      try planClaimedVolume(volume, pod: pod, claim: claim, volume: object(["local": ["path": "/d"]]))
    }
    claim.set([["uid": "pod-uid", "controller": true]], at: "metadata", "ownerReferences")
    let planned = try planClaimedVolume(
      volume, pod: pod, claim: claim, volume: object(["local": ["path": "/d"]]))
    #expect(planned.source == .local(path: "/d"))
  }

  @Test func `a folder made for a claim is there for any user, and read-only when the pod says so`() throws {
    let root = try ScratchFolder.make("claimed")
    defer { ScratchFolder.remove(root) }
    var pod = pod
    pod["spec"] = [
      "containers": [["name": "c", "volumeMounts": [["name": "data", "mountPath": "/data"]]]],
      "volumes": [volume],
    ]
    var data = PodData()
    data.claimed["data"] = ClaimedVolume(
      volume: "pv", source: .made(path: root + "/volumes/pv"), isReadOnly: true)
    let volumes = Volumes(podDirectory: root + "/pod", capacity: [:])
    let places = try volumes.prepare(pod, data: data)
    #expect(places == ["data": root + "/volumes/pv"])
    #expect(Files.info(root + "/volumes/pv").map { $0.mode & 0o777 } == 0o777)
    let container = try #require(PodSpec(pod).all.first)
    let mounts = try volumes.mounts(container, places: places, environment: [:], readOnly: ["data"])
    #expect(mounts.first?.readonly == true && mounts.first?.hostPath == root + "/volumes/pv")
    data.claimed["data"]?.source = .local(path: root + "/none")
    #expect(throws: MissingReference.self) { try volumes.prepare(pod, data: data) }
  }
}
