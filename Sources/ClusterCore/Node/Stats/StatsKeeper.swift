// Keeps what was last read of every pod, so that rates have something to be compared with and many askers cost one look.

import CLinux
import ClusterObjects
import Diagnostics
import GRPCCore
import Glibc

/// What the node and its pods use. A look at 100 pods costs some ten milliseconds, most of them in the file system.
actor StatsKeeper {
  private let settings: NodeSettings
  private let cri: CRIClient
  private var rates = CPURates()
  private var last: NodeUsage?
  private var disks: [String: (at: Int64, usage: DiskUsage)] = [:]
  /// Nobody gets anything older.
  static let ageMaxNanoseconds: Int64 = 1_000_000_000

  /// Disks change slowly and are walked rarely.
  private let diskAge: Int64

  init(_ settings: NodeSettings, _ cri: CRIClient) {
    let (seconds, attoseconds) = settings.diskUsageInterval.components
    diskAge = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    self.settings = settings
    self.cri = cri
  }

  /// At most a second old.
  func usage() async -> NodeUsage {
    let now = steadyNanoseconds()
    if let last, now - last.steadyAt < Self.ageMaxNanoseconds { return last }
    let fresh = await observe(now)
    last = fresh
    return fresh
  }

  private func observe(_ now: Int64) async -> NodeUsage {
    let settings = settings
    let wall = wallNanoseconds()
    var node = NodeUsage(at: wall, steadyAt: now)
    /// What the kernel or the runtime dates by the time of day.
    func steady(_ moment: Int64) -> Int64 { steadyMoment(of: moment, wallNow: wall, steadyNow: now) }
    let machine = observeMachine(dataDirectory: settings.dataDirectory, runtimeVersion: "")
    let stat = Files.readText("/proc/stat") ?? ""
    node.bootedAt = parseBootTime(stat) * 1_000_000_000
    var keys: Set<String> = ["/"]
    if let spent = parseProcessorTime(stat, ticksPerSecond: UInt64(max(sysconf(Int32(_SC_CLK_TCK)), 1))) {
      node.cpu = CPUUsage(
        coreNanoseconds: spent,
        nanoCores: rates.rate("/", at: now, coreNanoseconds: spent, startedAt: steady(node.bootedAt)))
    }
    let used = UInt64(clamping: machine.memoryBytes - machine.memoryAvailableBytes)
    node.memory = MemoryUsage(usage: used, workingSet: used)
    node.memory.available = UInt64(clamping: machine.memoryAvailableBytes)
    node.interfaces =
      await NetnsThread.run(settings.netnsPath) {
        parseNetworkDevices(Files.readText("/proc/thread-self/net/dev") ?? "")
      } ?? []
    node.disk = UsageFiles.filesystem(settings.dataDirectory)
    node.imageDisk = UsageFiles.filesystem(settings.containerd.rootDirectory)
    node.imageBytes = try? await cri.imageBytes()
    node.processesMax = parseNumber(Files.readText("/proc/sys/kernel/pid_max")) ?? 0
    let load = (Files.readText("/proc/loadavg") ?? "").split(separator: " ")
    if load.count > 3 { node.processes = load[3].split(separator: "/").last.flatMap { UInt64($0) } ?? 0 }
    node.system["pods"] = rated(
      UsageFiles.group(settings.cgroupRoot), settings.cgroupRoot, now, steady(node.bootedAt), &keys)

    let sandboxes = (try? await cri.listSandboxes()) ?? []
    let containers = (try? await cri.listContainers()) ?? []
    let layers = (try? await cri.writableLayers()) ?? [:]
    var places: Set<String> = []
    for sandbox in sandboxes where sandbox.state == .sandboxReady {
      let uid = sandbox.metadata.uid
      var pod = PodUsage(
        namespace: sandbox.metadata.namespace, name: sandbox.metadata.name, uid: uid, sandbox: sandbox.id,
        startedAt: sandbox.createdAt)
      guard let group = Self.group(of: uid, settings) else { continue }
      pod.group = rated(UsageFiles.group(group), group, now, steady(sandbox.createdAt), &keys)
      if let process = UsageFiles.process(in: group + "/" + sandbox.id) {
        pod.interfaces = UsageFiles.interfaces(ofProcess: process)
      }
      let folder = settings.podDirectory(uid) + "/volumes"
      for name in Files.list(folder) {
        pod.volumes[name] = await disk(folder + "/" + name, now, &places)
      }
      let logs = settings.podLogDirectory(pod.namespace, pod.name, uid)
      for container in containers
      where container.podSandboxID == sandbox.id && container.state == .containerRunning {
        let path = group + "/" + container.id
        let name = container.metadata.name
        pod.containers.append(
          ContainerUsage(
            name: name, id: container.id, image: container.image.image, startedAt: container.createdAt,
            group: rated(UsageFiles.group(path), path, now, steady(container.createdAt), &keys),
            rootfs: layers[container.id], logs: await disk(logs + "/" + name, now, &places)))
      }
      pod.containers.sort { $0.name < $1.name }
      node.pods.append(pod)
    }
    node.pods.sort { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
    rates.retain(keys)
    disks = disks.filter { places.contains($0.key) }
    return node
  }

  /// The class of a pod is told by where its group is.
  private static func group(of uid: String, _ settings: NodeSettings) -> String? {
    let base = UsageFiles.isUnified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
    return ["", "/burstable", "/besteffort"].lazy.map { "\(settings.cgroupRoot)\($0)/pod\(uid)" }
      .first { Files.exists(base + $0) }
  }

  private func rated(
    _ usage: CgroupUsage, _ key: String, _ now: Int64, _ startedAt: Int64, _ keys: inout Set<String>
  ) -> CgroupUsage {
    var usage = usage
    if let spent = usage.cpu?.coreNanoseconds {
      keys.insert(key)
      usage.cpu?.nanoCores = rates.rate(key, at: now, coreNanoseconds: spent, startedAt: startedAt)
    }
    return usage
  }

  private func disk(_ path: String, _ now: Int64, _ places: inout Set<String>) async -> DiskUsage {
    places.insert(path)
    if let known = disks[path], now - known.at < diskAge { return known.usage }
    // A walk may take long: it has a thread of its own.
    let usage = await NetnsThread.run(nil) { UsageFiles.tree(path) } ?? DiskUsage()
    disks[path] = (now, usage)
    return usage
  }
}
