// How much of the machine a pod may take, as its control group says it: of the processor against the others, of it at most, memory,
// processes. Containers have groups of their own below it. Pure.
//
//   kubepods                       what pods may have together
//     podUID                       Guaranteed
//     burstable  podUID …          as much as these ask for together
//     besteffort podUID …          what nobody else wants

import ClusterObjects

/// Limits of a control group; nil for none.
struct GroupLimits: Sendable, Hashable {
  /// Against its neighbours: 1024 is a processor.
  var cpuShares: Int64?
  /// Microseconds of processors in each tenth of a second.
  var cpuQuota: Int64?
  var memoryBytes: Int64?
  var processes: Int?

  static let sharesMin: Int64 = 2
  private static let sharesMax: Int64 = 262_144
  private static let quotaMin: Int64 = 1000

  static func shares(milli: Int64) -> Int64 { min(max(milli * 1024 / 1000, sharesMin), sharesMax) }
  static func quota(milli: Int64) -> Int64 { max(milli * 100, quotaMin) }
}

/// One value of a group: the hierarchy of version 1 that it is in, its file and what is written.
struct GroupValue: Sendable, Hashable {
  var hierarchy: String
  var file: String
  var text: String
}

/// What is written for them, in the files of either version of control groups.
func planGroupValues(_ limits: GroupLimits, isUnified: Bool) -> [GroupValue] {
  var values: [GroupValue] = []
  func add(_ hierarchy: String, _ file: String, _ text: String) {
    values.append(GroupValue(hierarchy: hierarchy, file: file, text: text))
  }
  if let shares = limits.cpuShares {
    // 2 to 262,144 become 1 to 10,000, as runc has it.
    isUnified
      ? add("cpu", "cpu.weight", "\(1 + (shares - 2) * 9999 / 262_142)")
      : add("cpu", "cpu.shares", "\(shares)")
  }
  if let quota = limits.cpuQuota {
    if isUnified {
      add("cpu", "cpu.max", "\(quota) 100000")
    } else {
      add("cpu", "cpu.cfs_period_us", "100000")
      add("cpu", "cpu.cfs_quota_us", "\(quota)")
    }
  }
  if let bytes = limits.memoryBytes {
    add("memory", isUnified ? "memory.max" : "memory.limit_in_bytes", "\(bytes)")
  }
  if let count = limits.processes { add("pids", "pids.max", "\(count)") }
  return values
}

/// The limits of a pod's own group: all that its containers ask for; at most what they may take, when each says so.
func planPodLimits(_ spec: PodSpec, processesMax: Int?) -> GroupLimits {
  var limits = GroupLimits()
  limits.processes = processesMax
  limits.cpuShares = GroupLimits.shares(milli: podRequests(spec)["cpu"] ?? 0)
  guard spec.qosClass != "BestEffort" else {
    limits.cpuShares = GroupLimits.sharesMin
    return limits
  }
  let most = podLimits(spec)
  func isLimited(_ resource: String) -> Bool {
    spec.all.allSatisfy { (PodSpec.amount($0.tree.at("resources", "limits", resource)) ?? 0) > 0 }
  }
  if isLimited("cpu"), let milli = most["cpu"] { limits.cpuQuota = GroupLimits.quota(milli: milli) }
  if isLimited("memory"), let milli = most["memory"] { limits.memoryBytes = milli / 1000 }
  return limits
}

/// The limits of the classes' groups and of the one around them, by path below `cgroupRoot`. `allocatable` is in thousandths; memory is
/// kept from pods only where `reserved` says so.
func planClassLimits(
  _ pods: [PodSpec], allocatable: [String: Int64], reserved: [String: Int64], memory: Int64
)
  -> [String: GroupLimits]
{
  let burstable = pods.filter { $0.qosClass == "Burstable" }
    .reduce(Int64(0)) { $0 + (podRequests($1)["cpu"] ?? 0) }
  var root = GroupLimits()
  root.cpuShares = allocatable["cpu"].map { GroupLimits.shares(milli: $0) }
  if let kept = reserved["memory"], kept > 0, memory > kept / 1000 { root.memoryBytes = memory - kept / 1000 }
  return [
    "": root, "/besteffort": GroupLimits(cpuShares: GroupLimits.sharesMin),
    "/burstable": GroupLimits(cpuShares: GroupLimits.shares(milli: burstable)),
  ]
}
