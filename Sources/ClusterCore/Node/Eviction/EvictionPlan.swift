// Which pod goes when the node is short of something, and what is said about it. Pure: readings in, decisions out.
//
//   readings -> thresholds crossed -> conditions (held five minutes) -> the pod that uses most above its request
//            -> pods above their own limits of local storage, whatever the node has

import ClusterObjects
import Diagnostics

/// A pod that has to go.
struct Eviction: Sendable, Hashable {
  var uid: String
  var message: String
  var graceSeconds: Int
}

/// A threshold that is crossed now.
struct CrossedThreshold: Sendable, Hashable {
  var threshold: EvictionThreshold
  var limit: Int64
  var available: Int64
}

/// What is remembered from one look to the next.
struct EvictionMemory: Sendable {
  /// Since when a threshold is crossed, by the steady clock.
  private var since: [EvictionThreshold: Int64] = [:]
  private var seen: [NodePressure: Int64] = [:]

  /// The node's conditions, and the thresholds to act on: soft ones after their grace.
  mutating func step(
    _ usage: NodeUsage, _ settings: EvictionSettings
  ) -> (pressures: Set<NodePressure>, due: [CrossedThreshold]) {
    let now = usage.steadyAt
    var due: [CrossedThreshold] = []
    for threshold in settings.hard + settings.soft {
      guard let crossed = crossedThreshold(threshold, usage) else {
        since[threshold] = nil
        continue
      }
      let first = since[threshold] ?? now
      since[threshold] = first
      seen[threshold.signal.pressure] = now
      if now - first >= threshold.graceSeconds * 1_000_000_000 { due.append(crossed) }
    }
    let held = settings.transitionSeconds * 1_000_000_000
    seen = seen.filter { now - $0.value <= held }
    return (Set(seen.keys), due)
  }
}

/// Nil when there is enough, or nothing is known.
func crossedThreshold(_ threshold: EvictionThreshold, _ usage: NodeUsage) -> CrossedThreshold? {
  let reading: (available: UInt64, capacity: UInt64)
  switch threshold.signal {
  case .memoryAvailable:
    guard let available = usage.memory.available else { return nil }
    reading = (available, available &+ usage.memory.workingSet)
  case .nodefsAvailable: reading = (usage.disk.available, usage.disk.capacity)
  case .nodefsInodesFree: reading = (usage.disk.inodesFree, usage.disk.inodes)
  case .imagefsAvailable: reading = (usage.imageDisk.available, usage.imageDisk.capacity)
  case .imagefsInodesFree: reading = (usage.imageDisk.inodesFree, usage.imageDisk.inodes)
  case .pidAvailable:
    let free = usage.processesMax > usage.processes ? usage.processesMax - usage.processes : 0
    reading = (free, usage.processesMax)
  }
  // File systems without a count of inodes, or a look that failed.
  guard reading.capacity > 0 else { return nil }
  let limit = threshold.value.amount(of: Int64(clamping: reading.capacity))
  let available = Int64(clamping: reading.available)
  return available < limit
    ? CrossedThreshold(threshold: threshold, limit: limit, available: available) : nil
}

/// The pod to evict first for a threshold; nil when none may be.
func planEviction(_ crossed: CrossedThreshold, pods: [JSON], _ usage: NodeUsage, _ settings: EvictionSettings)
  -> Eviction?
{
  let signal = crossed.threshold.signal
  let used = Dictionary(usage.pods.map { ($0.uid, $0) }, uniquingKeysWith: { $1 })
  let candidates = pods.filter { mayBeEvicted($0) && used[$0.uid] != nil }
  let ranked = candidates.map { pod in EvictionRank(pod, signal, used[pod.uid]) }.sorted()
  guard let first = ranked.first, let pod = candidates.first(where: { $0.uid == first.uid }) else {
    return nil
  }
  var message =
    "The node was low on resource: \(signal.resource). "
    + "Threshold quantity: \(evictionText(crossed.limit)), available: \(evictionText(crossed.available)). "
  for container in used[pod.uid]?.containers ?? [] {
    guard let amount = containerAmount(container, signal) else { continue }
    let spec = PodSpec(pod).containers.first { $0.name == container.name }
    let request = spec.flatMap { PodSpec.amount($0.tree.at("resources", "requests", signal.resource)) } ?? 0
    if amount > request / 1000 {
      message +=
        "Container \(container.name) was using \(evictionText(amount)), "
        + "request is \(evictionText(request / 1000)), has larger consumption of \(signal.resource). "
    }
  }
  let grace = crossed.threshold.graceSeconds > 0 ? settings.podGraceSecondsMax : 1
  return Eviction(uid: pod.uid, message: message, graceSeconds: max(grace, 1))
}

/// Static pods and those the cluster cannot do without stay.
private func mayBeEvicted(_ pod: JSON) -> Bool {
  let isCritical = (pod.at("spec", "priority")?.integer ?? 0) >= 2_000_000_000
  let phase = pod.at("status", "phase")?.string ?? ""
  return !isCritical && !pod.isStaticPod && !pod.isTerminating && phase != "Failed" && phase != "Succeeded"
}

private func containerAmount(_ container: ContainerUsage, _ signal: EvictionSignal) -> Int64? {
  switch signal {
  case .memoryAvailable: container.group.memory.map { Int64(clamping: $0.workingSet) }
  case .nodefsAvailable, .imagefsAvailable:
    Int64(clamping: (container.rootfs?.bytes ?? 0) &+ (container.logs?.bytes ?? 0))
  default: nil
  }
}

/// The order of leaving: above the request before below it, low priority before high, more above before less.
private struct EvictionRank: Comparable {
  var uid: String
  var isAbove: Bool
  var priority: Int64
  var excess: Int64

  init(_ pod: JSON, _ signal: EvictionSignal, _ usage: PodUsage?) {
    uid = pod.uid
    priority = pod.at("spec", "priority")?.integer ?? 0
    let amount: Int64 =
      switch signal {
      case .memoryAvailable: Int64(clamping: usage?.group.memory?.workingSet ?? 0)
      case .nodefsAvailable, .imagefsAvailable: Int64(clamping: usage?.ephemeralStorage.bytes ?? 0)
      case .nodefsInodesFree, .imagefsInodesFree: Int64(clamping: usage?.ephemeralStorage.inodes ?? 0)
      case .pidAvailable: Int64(clamping: usage?.group.processes ?? 0)
      }
    let request = (podRequests(PodSpec(pod))[signal.resource] ?? 0) / 1000
    excess = amount - request
    // Of processes and inodes nobody asks for a number.
    isAbove = signal == .pidAvailable ? false : excess > 0
  }

  static func < (a: EvictionRank, b: EvictionRank) -> Bool {
    if a.isAbove != b.isAbove { return a.isAbove }
    if a.priority != b.priority { return a.priority < b.priority }
    return a.excess == b.excess ? a.uid < b.uid : a.excess > b.excess
  }
}

/// Pods above what they may have of the node's disk.
func planStorageEvictions(pods: [JSON], _ usage: NodeUsage) -> [Eviction] {
  let used = Dictionary(usage.pods.map { ($0.uid, $0) }, uniquingKeysWith: { $1 })
  return pods.compactMap { pod in
    guard !pod.isTerminating, !pod.isStaticPod, let usage = used[pod.uid],
      let message = storageExcess(PodSpec(pod), usage)
    else { return nil }
    return Eviction(uid: pod.uid, message: message, graceSeconds: 1)
  }
}

private func storageExcess(_ spec: PodSpec, _ usage: PodUsage) -> String? {
  for volume in spec.pod.at("spec", "volumes")?.elements ?? [] {
    guard let name = volume["name"]?.string, let limit = volume.at("emptyDir", "sizeLimit"),
      let bytes = PodSpec.amount(limit), bytes > 0, let used = usage.volumes[name]?.bytes,
      Int64(clamping: used) > bytes / 1000
    else { continue }
    return "Usage of EmptyDir volume \"\(name)\" exceeds the limit \"\(limit.string ?? "\(bytes / 1000)")\". "
  }
  func limit(_ container: ContainerSpec) -> (text: String, bytes: Int64)? {
    guard let value = container.tree.at("resources", "limits", "ephemeral-storage"),
      let milli = PodSpec.amount(value), milli > 0
    else { return nil }
    return (value.string ?? "\(milli / 1000)", milli / 1000)
  }
  let limits = spec.containers.map(limit)
  let total = limits.reduce(Int64(0)) { $0 + ($1?.bytes ?? 0) }
  // Only when every container says a limit do they add up to one of the pod.
  if !limits.contains(where: { $0 == nil }), total > 0, Int64(clamping: usage.ephemeralStorage.bytes) > total
  {
    return
      "Pod ephemeral local storage usage exceeds the total limit of containers \(evictionText(total)). "
  }
  for container in spec.containers {
    guard let limit = limit(container),
      let used = usage.containers.first(where: { $0.name == container.name }),
      Int64(clamping: (used.rootfs?.bytes ?? 0) &+ (used.logs?.bytes ?? 0)) > limit.bytes
    else { continue }
    return "Container \(container.name) exceeded its local ephemeral storage limit \"\(limit.text)\". "
  }
  return nil
}
