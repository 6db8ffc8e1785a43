// How pods and classes of service share the machine: what is written into control groups of either version.

import CLinux
import ClusterObjects
import Glibc
import SoakLab
import Testing

@testable import ClusterNode

@Suite struct GroupPlanTests {
  private func container(_ limits: [String: String], _ requests: [String: String] = [:]) -> JSON {
    ["name": "c", "resources": ["limits": JSON(limits), "requests": JSON(requests)]]
  }
  private func spec(_ containers: [JSON], initial: [JSON] = []) -> PodSpec {
    PodSpec([
      "metadata": ["name": "p", "uid": "u"],
      "spec": ["containers": .array(containers), "initContainers": .array(initial)],
    ])
  }

  @Test func `a pod may have what its containers may have together`() {
    let sure = spec([
      container(["cpu": "500m", "memory": "64Mi"]), container(["cpu": "250m", "memory": "32Mi"]),
    ])
    #expect(
      planPodLimits(sure, processesMax: 60)
        == GroupLimits(cpuShares: 768, cpuQuota: 75_000, memoryBytes: 96 << 20, processes: 60))
    // One that says nothing of memory leaves the whole pod without a limit of it.
    let burstable = spec([
      container(["cpu": "500m", "memory": "64Mi"], ["cpu": "100m"]), container(["cpu": "100m"]),
    ])
    #expect(
      planPodLimits(burstable, processesMax: nil) == GroupLimits(cpuShares: 204, cpuQuota: 60_000))
    // The larger of what comes first and what stays.
    let staged = spec(
      [container(["cpu": "100m", "memory": "16Mi"])],
      initial: [container(["cpu": "1", "memory": "8Mi"])])
    #expect(
      planPodLimits(staged, processesMax: nil)
        == GroupLimits(cpuShares: 1024, cpuQuota: 100_000, memoryBytes: 16 << 20))
    #expect(planPodLimits(spec([["name": "c"]]), processesMax: nil) == GroupLimits(cpuShares: 2))
  }

  @Test func `classes share by what their pods ask for`() {
    let asks = spec([container([:], ["cpu": "300m"])])
    let limits = planClassLimits(
      [asks, asks, spec([["name": "c"]]), spec([container(["cpu": "1", "memory": "1Mi"])])],
      allocatable: ["cpu": 2000], reserved: ["memory": 1 << 30 * 1000], memory: 4 << 30)
    #expect(limits["/burstable"] == GroupLimits(cpuShares: 614))
    #expect(limits["/besteffort"] == GroupLimits(cpuShares: 2))
    #expect(limits[""]?.cpuShares == 2048)
    let kept = planClassLimits([], allocatable: [:], reserved: ["memory": 1_073_741_824_000], memory: 4 << 30)
    #expect(kept[""] == GroupLimits(memoryBytes: 3 << 30))
    #expect(kept["/burstable"] == GroupLimits(cpuShares: 2))
  }

  @Test func `both versions of control groups are told the same in their own files`() {
    let limits = GroupLimits(cpuShares: 1024, cpuQuota: 50_000, memoryBytes: 1 << 20, processes: 9)
    func lines(_ isUnified: Bool) -> [String] {
      planGroupValues(limits, isUnified: isUnified).map { "\($0.hierarchy) \($0.file) \($0.text)" }
    }
    #expect(
      lines(false) == [
        "cpu cpu.shares 1024", "cpu cpu.cfs_period_us 100000", "cpu cpu.cfs_quota_us 50000",
        "memory memory.limit_in_bytes 1048576", "pids pids.max 9",
      ])
    #expect(
      lines(true) == [
        "cpu cpu.weight 39", "cpu cpu.max 50000 100000", "memory memory.max 1048576", "pids pids.max 9",
      ])
    for (shares, weight) in [(2, 1), (262_144, 10_000)] {
      #expect(
        planGroupValues(GroupLimits(cpuShares: Int64(shares)), isUnified: true).first?.text == "\(weight)")
    }
    #expect(planGroupValues(GroupLimits(), isUnified: true).isEmpty)
  }

  /// Files as the kernel would make them: version 2, where each group has to be given its controllers.
  @Test func `in version 2 each group on the way is given its controllers`() throws {
    let base = try ScratchFolder.make("groups")
    defer { ScratchFolder.remove(base) }
    try Files.write(base + "/cgroup.controllers", "cpu memory pids")
    for folder in ["", "/pods", "/pods/burstable", "/pods/burstable/podu"] {
      try Files.makeDirectory(base + folder)
      for file in ["cgroup.subtree_control", "cpu.weight", "cpu.max", "memory.max"] {
        try Files.write("\(base)\(folder)/\(file)", "")
      }
    }
    let refused = ControlGroups(base: base).limit(
      "/pods/burstable/podu",
      GroupLimits(cpuShares: 2, cpuQuota: 10_000, memoryBytes: 4096, processes: 5))
    // What the kernel does not count is said.
    #expect(refused == ["pids.max"])
    let group = base + "/pods/burstable/podu"
    #expect(
      Files.readText(group + "/cpu.weight") == "1" && Files.readText(group + "/cpu.max") == "10000 100000")
    #expect(Files.readText(group + "/memory.max") == "4096")
    for folder in ["", "/pods", "/pods/burstable"] {
      #expect(Files.readText("\(base)\(folder)/cgroup.subtree_control") == "+pids")
    }
    #expect(Files.readText(group + "/cgroup.subtree_control") == "")
  }

  @Test func `in version 1 a group is made in each hierarchy that is there`() throws {
    let base = try ScratchFolder.make("groups")
    defer { ScratchFolder.remove(base) }
    try Files.makeDirectory(base + "/cpu")
    try Files.makeDirectory(base + "/memory")
    let refused = ControlGroups(base: base).limit("/pods/podu", GroupLimits(processes: 5))
    #expect(refused == ["pids.max"])
    #expect(Files.exists(base + "/cpu/pods/podu") && Files.exists(base + "/memory/pods/podu"))
    #expect(!Files.exists(base + "/pids"))
  }
}
