// A node short of something: which thresholds count, which pod goes, what is said. Faked readings, no clock.

import ClusterObjects
import Testing

@testable import ClusterNode

private let second: Int64 = 1_000_000_000
private let mebi: UInt64 = 1 << 20

private func reading(
  at: Int64 = 0, memory: UInt64 = 4096 * mebi, disk: UInt64 = 50, pods: [PodUsage] = []
) -> NodeUsage {
  var usage = NodeUsage(at: at * second)
  usage.memory = MemoryUsage(usage: 8192 * mebi - memory, workingSet: 8192 * mebi - memory)
  usage.memory.available = memory
  usage.disk = FilesystemUsage(capacity: 100, available: disk, inodes: 100, inodesFree: 50)
  usage.imageDisk = usage.disk
  usage.processes = 100
  usage.processesMax = 1000
  usage.pods = pods
  return usage
}

private func used(_ name: String, memory: UInt64, disk: UInt64 = 0) -> PodUsage {
  var group = CgroupUsage()
  group.memory = MemoryUsage(usage: memory, workingSet: memory)
  return PodUsage(
    namespace: "d", name: name, uid: name, startedAt: 0, group: group,
    containers: [
      ContainerUsage(
        name: "c", id: name, startedAt: 0, group: group, rootfs: DiskUsage(bytes: disk, inodes: 1))
    ])
}

private func pod(_ name: String, request: String? = nil, priority: Int = 0, extra: [String: JSON] = [:])
  -> JSON
{
  var container: JSON = ["name": "c"]
  if let request { container.set(JSON(request), at: "resources", "requests", "memory") }
  for (key, value) in extra where key != "volumes" { container[key] = value }
  var tree: JSON = [
    "metadata": ["name": JSON(name), "namespace": "d", "uid": JSON(name)],
    "spec": ["containers": [container], "priority": JSON(priority)],
  ]
  if let volumes = extra["volumes"] { tree.set(volumes, at: "spec", "volumes") }
  return tree
}

@Suite struct EvictionTests {
  @Test(arguments: [("100Mi", "100Mi"), ("10%", "10%"), ("1Gi", "1Gi"), ("1500", "1500"), ("7.5%", "7.5%")])
  func `thresholds are amounts or parts`(text: String, again: String) {
    #expect(EvictionAmount(text)?.description == again)
  }

  @Test(arguments: ["", "%", "-1%", "101%", "many", "-5"])
  func `what is neither is refused`(text: String) { #expect(EvictionAmount(text) == nil) }

  @Test func `a condition comes at once and stays five minutes after the shortage`() {
    var memory = EvictionMemory()
    let settings = EvictionSettings()
    #expect(memory.step(reading(at: 0), settings).pressures == [])
    let short = memory.step(reading(at: 10, memory: 52 * mebi), settings)
    #expect(short.pressures == [.memory])
    #expect(short.due.map(\.threshold.signal) == [.memoryAvailable] && short.due[0].available == 52 << 20)
    let after = memory.step(reading(at: 20), settings)
    #expect(after.pressures == [.memory] && after.due.isEmpty)
    #expect(memory.step(reading(at: 310), settings).pressures == [.memory])
    #expect(memory.step(reading(at: 311), settings).pressures == [])
  }

  @Test func `a soft threshold waits for its grace and begins anew after a pause`() {
    var memory = EvictionMemory()
    var settings = EvictionSettings()
    settings.soft = [EvictionThreshold(.memoryAvailable, .quantity(500 << 20), graceSeconds: 60)]
    func due(_ at: Int64, _ available: UInt64) -> Int {
      memory.step(reading(at: at, memory: available * mebi), settings).due.count
    }
    #expect(due(0, 400) == 0 && due(50, 400) == 0 && due(55, 600) == 0 && due(60, 400) == 0)
    #expect(due(119, 400) == 0 && due(120, 400) == 1)
  }

  @Test func `a clock that is set evicts nobody early and holds no condition`() {
    var settings = EvictionSettings()
    settings.hard = []
    settings.soft = [EvictionThreshold(.memoryAvailable, .quantity(Int64(100 * mebi)), graceSeconds: 90)]
    var memory = EvictionMemory()
    func look(steady: Int64, wall: Int64, memory available: UInt64) -> (pressed: Bool, due: Int) {
      var usage = reading(at: wall, memory: available * mebi)
      usage.steadyAt = steady * second
      let found = memory.step(usage, settings)
      return (found.pressures == [.memory], found.due.count)
    }
    #expect(look(steady: 0, wall: 0, memory: 52) == (true, 0))
    // An hour ahead: ten seconds have passed.
    #expect(look(steady: 10, wall: 3610, memory: 52) == (true, 0))
    #expect(look(steady: 90, wall: 3690, memory: 52) == (true, 1))
    // Two hours back.
    #expect(look(steady: 100, wall: -3500, memory: 4096) == (true, 0))
    #expect(look(steady: 391, wall: -3209, memory: 4096) == (false, 0))
  }

  @Test func `every signal is read, and an unknown file system is no shortage`() throws {
    var usage = reading(disk: 5)
    usage.imageDisk = FilesystemUsage()
    usage.processes = 999
    let crossed = EvictionSignal.allCases.compactMap {
      crossedThreshold(EvictionThreshold($0, .percent(10)), usage)?.threshold.signal
    }
    #expect(crossed == [.nodefsAvailable, .pidAvailable])
  }

  @Test func `who is above its request goes first, then the least important, then the largest`() throws {
    let settings = EvictionSettings()
    let crossed = try #require(crossedThreshold(settings.hard[0], reading(memory: 52 * mebi)))
    func first(_ pods: [JSON], _ usage: [PodUsage]) -> String? {
      planEviction(crossed, pods: pods, reading(pods: usage), settings)?.uid
    }
    let amounts = [
      used("big", memory: 900 * mebi), used("small", memory: 100 * mebi), used("held", memory: 2000 * mebi),
    ]
    #expect(first([pod("big"), pod("small"), pod("held", request: "3Gi")], amounts) == "big")
    #expect(first([pod("big", priority: 5), pod("small"), pod("held", request: "3Gi")], amounts) == "small")
    #expect(first([pod("held", request: "3Gi")], amounts) == "held")
    var fixed = pod("big")
    fixed.set("file", at: "metadata", "annotations", StaticPodAnnotations.source)
    #expect(first([fixed, pod("small", priority: 2_000_000_001)], amounts) == nil)
  }

  @Test func `an evicted pod is told what was short and how much it used`() throws {
    let settings = EvictionSettings()
    let crossed = try #require(crossedThreshold(settings.hard[0], reading(memory: 52 * mebi)))
    let eviction = planEviction(
      crossed, pods: [pod("web", request: "10Mi")], reading(pods: [used("web", memory: 60 * mebi)]), settings)
    #expect(
      eviction?.message
        == "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
        + "Container c was using 60Mi, request is 10Mi, has larger consumption of memory. ")
    let status = planEndedStatus(
      ["phase": "Running", "conditions": [["type": "Ready", "status": "True"]]],
      PodEnd(reason: "Evicted", message: eviction?.message ?? "", graceSeconds: 1, isDisruption: true),
      now: "t")
    #expect(status["phase"] == "Failed" && status["reason"] == "Evicted")
    #expect(status["conditions"]?[1]?["reason"] == "TerminationByKubelet")
  }

  @Test func `local storage has limits of its own`() {
    let usage = used("web", memory: 0, disk: 3 * mebi)
    var filled = usage
    filled.volumes = ["cache": DiskUsage(bytes: 11 * mebi, inodes: 1)]
    func message(_ pod: JSON, _ usage: PodUsage) -> String? {
      planStorageEvictions(pods: [pod], reading(pods: [usage])).first?.message
    }
    let limit: [String: JSON] = ["resources": ["limits": ["ephemeral-storage": "2Mi"]]]
    #expect(
      message(pod("web", extra: limit), usage)
        == "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ")
    let volumes: [String: JSON] = ["volumes": [["name": "cache", "emptyDir": ["sizeLimit": "10Mi"]]]]
    #expect(
      message(pod("web", extra: volumes), filled)
        == "Usage of EmptyDir volume \"cache\" exceeds the limit \"10Mi\". ")
    #expect(message(pod("web", extra: volumes), usage) == nil)
    var two = pod("web", extra: limit)
    two.set(
      .array((two.at("spec", "containers")?.elements ?? []) + [["name": "free"]]), at: "spec", "containers")
    #expect(message(two, usage) == "Container c exceeded its local ephemeral storage limit \"2Mi\". ")
  }
}

@Suite struct NodeAdmissionTests {
  private func room(_ pods: [JSON] = [], labels: [String: String] = [:]) -> NodeRoom {
    NodeRoom(
      allocatable: ["cpu": 2000, "memory": 1_000_000_000], pods: pods.map { PodSpec($0) }, podsMax: 3,
      nodeName: "n1", labels: labels)
  }
  private func pod(cpu: String, extra: [String: JSON] = [:]) -> JSON {
    var spec: JSON = ["containers": [["name": "c", "resources": ["requests": ["cpu": JSON(cpu)]]]]]
    for (key, value) in extra { spec[key] = value }
    return ["metadata": ["name": "p"], "spec": spec]
  }

  @Test func `what does not fit is refused in kubelet's words`() {
    let refusal = planAdmission(PodSpec(pod(cpu: "1500m")), room([pod(cpu: "1")]))
    #expect(refusal?.reason == "OutOfcpu")
    #expect(
      refusal?.message
        == "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 1000, "
        + "capacity: 2000")
    #expect(planAdmission(PodSpec(pod(cpu: "1")), room([pod(cpu: "1")])) == nil)
    let full = room([pod(cpu: "0"), pod(cpu: "0"), pod(cpu: "0")])
    #expect(planAdmission(PodSpec(pod(cpu: "0")), full)?.reason == "OutOfpods")
  }

  @Test func `init containers count by the largest, sidecars beside all, overhead on top`() {
    let spec = PodSpec([
      "spec": [
        "initContainers": [
          ["name": "a", "restartPolicy": "Always", "resources": ["requests": ["cpu": "100m"]]],
          ["name": "b", "resources": ["requests": ["cpu": "1"]]],
        ],
        "containers": [
          ["name": "c", "resources": ["limits": ["cpu": "300m"]]],
          ["name": "d", "resources": ["requests": ["cpu": "200m"]]],
        ], "overhead": ["cpu": "50m"],
      ]
    ])
    #expect(podRequests(spec)["cpu"] == 1150)
  }

  @Test func `selectors, affinity and the node's own name are obeyed`() {
    let selector = pod(cpu: "0", extra: ["nodeSelector": ["disk": "ssd"]])
    #expect(planAdmission(PodSpec(selector), room())?.reason == "NodeAffinity")
    #expect(planAdmission(PodSpec(selector), room(labels: ["disk": "ssd"])) == nil)
    func affinity(_ term: JSON) -> JSON {
      pod(
        cpu: "0",
        extra: [
          "affinity": [
            "nodeAffinity": [
              "requiredDuringSchedulingIgnoredDuringExecution": ["nodeSelectorTerms": [term]]
            ]
          ]
        ])
    }
    let field: JSON = ["matchFields": [["key": "metadata.name", "operator": "In", "values": ["n1"]]]]
    #expect(
      matchesNode(affinity(field), [:], nodeName: "n1") && !matchesNode(affinity(field), [:], nodeName: "n2"))
    let more: JSON = ["matchExpressions": [["key": "cores", "operator": "Gt", "values": ["4"]]]]
    #expect(matchesNode(affinity(more), ["cores": "8"], nodeName: "n1"))
    #expect(
      !matchesNode(affinity(more), ["cores": "4"], nodeName: "n1")
        && !matchesNode(affinity(more), [:], nodeName: "n1"))
    #expect(!matchesNode(affinity([:]), ["cores": "8"], nodeName: "n1"))
  }

  @Test func `a taken port, a taint and a profile that nobody enforces are refused in kubelet's words`() {
    func ports(_ entries: JSON, isHost: Bool = false) -> JSON {
      [
        "metadata": ["name": "p"],
        "spec": ["hostNetwork": JSON(isHost), "containers": [["name": "c", "ports": entries]]],
      ]
    }
    let web = ports([["containerPort": 80, "hostPort": 8080]])
    let other = ports([["containerPort": 8080]], isHost: true)
    let apart = ports([["containerPort": 80, "hostPort": 8080, "protocol": "UDP"]])
    #expect(planAdmission(PodSpec(web), room([other]))?.reason == "NodePorts")
    #expect(
      planAdmission(PodSpec(other), room([web]))?.message
        == "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    )
    #expect(planAdmission(PodSpec(apart), room([web])) == nil)
    #expect(planAdmission(PodSpec(ports([["containerPort": 80]])), room([web])) == nil)

    var tainted = room()
    tainted.taints = [["key": "broken", "value": "yes", "effect": "NoExecute"]]
    #expect(planAdmission(PodSpec(pod(cpu: "0")), tainted)?.reason == "TaintToleration")
    let tolerant = pod(cpu: "0", extra: ["tolerations": [["key": "broken", "operator": "Exists"]]])
    #expect(planAdmission(PodSpec(tolerant), tainted) == nil)
    // Whoever is bound all the same may come: NoSchedule is the scheduler's.
    tainted.taints = [["key": "broken", "effect": "NoSchedule"]]
    #expect(planAdmission(PodSpec(pod(cpu: "0")), tainted) == nil)

    let confined = pod(
      cpu: "0", extra: ["securityContext": ["appArmorProfile": ["type": "RuntimeDefault"]]])
    #expect(planAdmission(PodSpec(confined), room())?.reason == "AppArmor")
    #expect(
      planAdmission(PodSpec(confined), room())?.message
        == "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host")
    var old = pod(cpu: "0")
    old.set("localhost/x", at: "metadata", "annotations", "container.apparmor.security.beta.kubernetes.io/c")
    #expect(planAdmission(PodSpec(old), room())?.reason == "AppArmor")
    let free = pod(cpu: "0", extra: ["securityContext": ["appArmorProfile": ["type": "Unconfined"]]])
    #expect(planAdmission(PodSpec(free), room()) == nil)
  }

  @Test func `sysctls that reach beyond the pod need leave`() {
    let unsafe = pod(
      cpu: "0", extra: ["securityContext": ["sysctls": [["name": "kernel.msgmax", "value": "1"]]]])
    #expect(
      planAdmission(PodSpec(unsafe), room())?.message
        == "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted")
    var generous = room()
    generous.allowedSysctls = ["kernel.msg*"]
    #expect(planAdmission(PodSpec(unsafe), generous) == nil)
    let safe = pod(
      cpu: "0", extra: ["securityContext": ["sysctls": [["name": "net.ipv4.tcp_syncookies", "value": "1"]]]])
    #expect(planAdmission(PodSpec(safe), room()) == nil)
  }
}
