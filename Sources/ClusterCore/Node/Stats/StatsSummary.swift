// `/stats/summary`: kubelet's shape, as metrics-server, `kubectl top` and autoscalers read it. Pure.

import ClusterObjects

func planStatsSummary(nodeName: String, _ usage: NodeUsage) -> JSON {
  let now = time(usage.at)
  var node: JSON = [
    "nodeName": JSON(nodeName), "startTime": JSON(time(usage.bootedAt)),
    "memory": planMemory(usage.memory, now), "fs": planFilesystem(usage.disk, now),
    "rlimit": [
      "time": JSON(now), "maxpid": JSON(usage.processesMax), "curproc": JSON(usage.processes),
    ],
  ]
  if let cpu = usage.cpu { node["cpu"] = planCPU(cpu, now) }
  if !usage.interfaces.isEmpty { node["network"] = planNetwork(usage.interfaces, now) }
  var images = planFilesystem(usage.imageDisk, now)
  if let bytes = usage.imageBytes { images["usedBytes"] = JSON(bytes) }
  node["runtime"] = ["imageFs": images]
  node["systemContainers"] = .array(
    usage.system.sorted { $0.key < $1.key }.map { name, group in
      var entry: JSON = ["name": JSON(name), "startTime": JSON(time(usage.bootedAt))]
      add(group, to: &entry, now)
      return entry
    })
  return ["node": node, "pods": .array(usage.pods.map { planPodStats($0, usage, now) })]
}

private func planPodStats(_ pod: PodUsage, _ node: NodeUsage, _ now: String) -> JSON {
  var entry: JSON = [
    "podRef": ["name": JSON(pod.name), "namespace": JSON(pod.namespace), "uid": JSON(pod.uid)],
    "startTime": JSON(time(pod.startedAt)),
    "containers": .array(pod.containers.map { planContainerStats($0, node, now) }),
  ]
  add(pod.group, to: &entry, now)
  if !pod.interfaces.isEmpty { entry["network"] = planNetwork(pod.interfaces, now) }
  if !pod.volumes.isEmpty {
    entry["volume"] = .array(
      pod.volumes.sorted { $0.key < $1.key }.map { name, disk in
        var volume = planDisk(disk, node.disk, now)
        volume["name"] = JSON(name)
        return volume
      })
  }
  entry["ephemeral-storage"] = planDisk(pod.ephemeralStorage, node.disk, now)
  if let processes = pod.group.processes { entry["process_stats"] = ["process_count": JSON(processes)] }
  return entry
}

private func planContainerStats(_ container: ContainerUsage, _ node: NodeUsage, _ now: String) -> JSON {
  var entry: JSON = ["name": JSON(container.name), "startTime": JSON(time(container.startedAt))]
  add(container.group, to: &entry, now)
  if let rootfs = container.rootfs { entry["rootfs"] = planDisk(rootfs, node.imageDisk, now) }
  if let logs = container.logs { entry["logs"] = planDisk(logs, node.disk, now) }
  return entry
}

private func add(_ group: CgroupUsage, to entry: inout JSON, _ now: String) {
  if let cpu = group.cpu { entry["cpu"] = planCPU(cpu, now) }
  if let memory = group.memory { entry["memory"] = planMemory(memory, now) }
}

private func planCPU(_ cpu: CPUUsage, _ now: String) -> JSON {
  [
    "time": JSON(now), "usageNanoCores": JSON(cpu.nanoCores),
    "usageCoreNanoSeconds": JSON(cpu.coreNanoseconds),
  ]
}

private func planMemory(_ memory: MemoryUsage, _ now: String) -> JSON {
  var entry: JSON = [
    "time": JSON(now), "usageBytes": JSON(memory.usage), "workingSetBytes": JSON(memory.workingSet),
    "rssBytes": JSON(memory.resident), "pageFaults": JSON(memory.pageFaults),
    "majorPageFaults": JSON(memory.majorPageFaults),
  ]
  if let available = memory.available { entry["availableBytes"] = JSON(available) }
  return entry
}

/// The first interface is the one that everybody means.
private func planNetwork(_ interfaces: [InterfaceUsage], _ now: String) -> JSON {
  func plan(_ interface: InterfaceUsage) -> JSON {
    [
      "name": JSON(interface.name), "rxBytes": JSON(interface.receivedBytes),
      "rxErrors": JSON(interface.receiveErrors), "txBytes": JSON(interface.sentBytes),
      "txErrors": JSON(interface.sendErrors),
    ]
  }
  let main = interfaces.first { $0.name == "eth0" } ?? interfaces.first
  var entry = main.map(plan) ?? [:]
  entry["time"] = JSON(now)
  entry["interfaces"] = .array(interfaces.map(plan))
  return entry
}

private func planFilesystem(_ disk: FilesystemUsage, _ now: String) -> JSON {
  [
    "time": JSON(now), "availableBytes": JSON(disk.available), "capacityBytes": JSON(disk.capacity),
    "usedBytes": JSON(disk.used), "inodesFree": JSON(disk.inodesFree), "inodes": JSON(disk.inodes),
    "inodesUsed": JSON(disk.inodesUsed),
  ]
}

/// A part of a file system.
private func planDisk(_ part: DiskUsage, _ whole: FilesystemUsage, _ now: String) -> JSON {
  var entry = planFilesystem(whole, now)
  entry["usedBytes"] = JSON(part.bytes)
  entry["inodesUsed"] = JSON(part.inodes)
  return entry
}
