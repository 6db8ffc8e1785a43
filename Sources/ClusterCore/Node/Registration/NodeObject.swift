// The Node object: what this machine offers and how it fares. Pure; `observeMachine` reads the machine.

import Addresses
import CLinux
import ClusterObjects
import Diagnostics
import Glibc

/// What a machine says of itself.
public struct MachineInfo: Sendable, Hashable {
  public var cpus: Int
  public var memoryBytes: Int64
  public var memoryAvailableBytes: Int64
  public var diskBytes: Int64
  public var diskFreeBytes: Int64
  public var machineID: String
  public var bootID: String
  public var kernelVersion: String
  public var osImage: String
  public var runtimeVersion: String

  /// In thousandths, as the downward API needs it.
  var capacity: [String: Int64] { ["cpu": Int64(cpus) * 1000, "memory": memoryBytes * 1000] }
}

/// Reads /proc, /etc and the file system of the data directory.
func observeMachine(dataDirectory: String, runtimeVersion: String) -> MachineInfo {
  func first(_ paths: String...) -> String {
    for path in paths {
      if let text = Files.readText(path)?.split(separator: "\n").first { return String(text) }
    }
    return ""
  }
  var memory: [String: Int64] = [:]
  for line in (Files.readText("/proc/meminfo") ?? "").split(separator: "\n") {
    let words = line.split(separator: " ")
    if words.count > 1, let value = Int64(words[1]) { memory[String(words[0].dropLast())] = value * 1024 }
  }
  var osImage = "Linux"
  for line in (Files.readText("/etc/os-release") ?? "").split(separator: "\n")
  where line.hasPrefix("PRETTY_NAME=") {
    osImage = String(line.dropFirst(12).filter { $0 != "\"" })
  }
  var disk = statvfs()
  let hasDisk = statvfs(dataDirectory, &disk) == 0
  let block = Int64(clamping: disk.f_frsize)
  return MachineInfo(
    cpus: max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1), memoryBytes: memory["MemTotal"] ?? 0,
    memoryAvailableBytes: memory["MemAvailable"] ?? 0,
    diskBytes: hasDisk ? Int64(clamping: disk.f_blocks) * block : 0,
    diskFreeBytes: hasDisk ? Int64(clamping: disk.f_bavail) * block : 0,
    machineID: first("/etc/machine-id", "/var/lib/dbus/machine-id"),
    bootID: first("/proc/sys/kernel/random/boot_id"), kernelVersion: first("/proc/sys/kernel/osrelease"),
    osImage: osImage, runtimeVersion: runtimeVersion)
}

/// Conditions a node has, with their reasons either way: (type, is it bad news, when true, when false).
struct NodeHealth: Sendable, Hashable {
  var isReady: Bool
  var message: String
  var hasMemoryPressure: Bool
  var hasDiskPressure: Bool
  var hasPIDPressure = false
}

func planNodeHealth(failure: String?, _ pressures: Set<NodePressure>) -> NodeHealth {
  NodeHealth(
    isReady: failure == nil, message: failure ?? "the node agent is posting ready status",
    hasMemoryPressure: pressures.contains(.memory), hasDiskPressure: pressures.contains(.disk),
    hasPIDPressure: pressures.contains(.pid))
}

/// What pods may ask for together, in thousandths: all but the memory below which pods are evicted, and
/// what is kept for the machine.
func planAllocatable(_ machine: MachineInfo, _ settings: NodeSettings) -> [String: Int64] {
  var amounts = [
    "cpu": Int64(machine.cpus) * 1000, "memory": max(machine.memoryBytes - 100 << 20, 0) * 1000,
    "ephemeral-storage": machine.diskBytes * 1000,
  ]
  for (name, kept) in settings.reserved { amounts[name] = max((amounts[name] ?? 0) - kept, 0) }
  return amounts
}

/// Metadata and spec: written once, then only what is missing.
func planNode(_ settings: NodeSettings, certificateDigest: String? = nil) -> JSON {
  let architecture = OCIImage.architecture
  var labels = [
    "kubernetes.io/hostname": settings.nodeName, "kubernetes.io/os": "linux",
    "kubernetes.io/arch": architecture, "beta.kubernetes.io/os": "linux",
    "beta.kubernetes.io/arch": architecture,
  ]
  labels.merge(settings.labels) { $1 }
  var spec: JSON = [:]
  if let first = settings.podCIDRs.first {
    spec["podCIDR"] = JSON(first.description)
    spec["podCIDRs"] = JSON(settings.podCIDRs.map(\.description))
  }
  if !settings.taints.isEmpty {
    spec["taints"] = .array(
      settings.taints.map { ["key": JSON($0.key), "value": JSON($0.value), "effect": JSON($0.effect)] })
  }
  // Where volumes of class local-path are made.
  var annotations = ["weft.dev/local-path": settings.volumeDirectory]
  if let certificateDigest { annotations[ServingCertificate.annotation] = certificateDigest }
  let metadata: JSON = [
    "name": JSON(settings.nodeName), "labels": JSON(labels), "annotations": JSON(annotations),
  ]
  return ["apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec]
}

func planNodeStatus(
  _ settings: NodeSettings, _ machine: MachineInfo, _ health: NodeHealth, images: [JSON], old: JSON,
  now: String, extended: ExtendedResources = ExtendedResources()
) -> JSON {
  var amounts: JSON = [
    "cpu": JSON("\(machine.cpus)"), "memory": JSON("\(machine.memoryBytes / 1024)Ki"),
    "ephemeral-storage": JSON("\(machine.diskBytes / 1024)Ki"), "pods": JSON("\(settings.podsMax)"),
    "hugepages-1Gi": "0", "hugepages-2Mi": "0",
  ]
  var allocatable = amounts
  let amountsLeft = planAllocatable(machine, settings)
  let cpu = amountsLeft["cpu"] ?? 0
  allocatable["cpu"] = JSON(cpu % 1000 == 0 ? "\(cpu / 1000)" : "\(cpu)m")
  for name in ["memory", "ephemeral-storage"] {
    allocatable[name] = JSON("\((amountsLeft[name] ?? 0) / 1000 / 1024)Ki")
  }
  for (name, count) in extended.capacity { amounts[name] = JSON("\(count)") }
  for (name, count) in extended.allocatable { allocatable[name] = JSON("\(count)") }
  var addresses: [JSON] = settings.addresses.map { ["type": "InternalIP", "address": JSON($0.description)] }
  addresses.append(["type": "Hostname", "address": JSON(settings.nodeName)])
  func condition(_ type: String, _ value: Bool, _ reason: String, _ message: String) -> JSON {
    let before = old["conditions"]?.elements.first { $0["type"]?.string == type }
    let word = value ? "True" : "False"
    let since = before?["status"]?.string == word ? before?["lastTransitionTime"]?.string ?? now : now
    return [
      "type": JSON(type), "status": JSON(word), "lastHeartbeatTime": JSON(now),
      "lastTransitionTime": JSON(since),
      "reason": JSON(reason), "message": JSON(message),
    ]
  }
  let memory = health.hasMemoryPressure
  let disk = health.hasDiskPressure
  let processes = health.hasPIDPressure
  let conditions: [JSON] = [
    condition(
      "MemoryPressure", memory, memory ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
      memory ? "kubelet has insufficient memory available" : "kubelet has sufficient memory available"),
    condition(
      "DiskPressure", disk, disk ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
      disk ? "kubelet has disk pressure" : "kubelet has no disk pressure"),
    condition(
      "PIDPressure", processes, processes ? "KubeletHasInsufficientPID" : "KubeletHasSufficientPID",
      processes ? "kubelet has insufficient PID available" : "kubelet has sufficient PID available"),
    condition("Ready", health.isReady, health.isReady ? "KubeletReady" : "KubeletNotReady", health.message),
  ]
  return [
    "capacity": amounts, "allocatable": allocatable, "conditions": .array(conditions),
    "addresses": .array(addresses),
    "daemonEndpoints": ["kubeletEndpoint": ["Port": JSON(settings.kubeletPort)]],
    "nodeInfo": [
      "machineID": JSON(machine.machineID), "systemUUID": JSON(machine.machineID),
      "bootID": JSON(machine.bootID),
      "kernelVersion": JSON(machine.kernelVersion), "osImage": JSON(machine.osImage),
      "containerRuntimeVersion": JSON("containerd://\(machine.runtimeVersion)"),
      "kubeletVersion": JSON(settings.version), "kubeProxyVersion": JSON(settings.version),
      "operatingSystem": "linux", "architecture": JSON(OCIImage.architecture),
    ],
    "images": .array(images),
  ]
}
