// Looks at control groups, disks and devices. Each costs some microseconds; a walk over a tree costs by its files.

import CLinux
import Glibc

enum UsageFiles {
  private static let base = "/sys/fs/cgroup"
  static let isUnified = Files.exists(base + "/cgroup.controllers")

  /// What a control group says; `path` begins below the hierarchies, as `/kubepods/burstable/podUID`.
  static func group(_ path: String) -> CgroupUsage {
    var usage = CgroupUsage()
    if isUnified {
      let folder = base + path
      if let text = Files.readText(folder + "/cpu.stat"),
        let microseconds = parseFlatTable(text)["usage_usec"]
      {
        usage.cpu = CPUUsage(coreNanoseconds: microseconds &* 1000)
      }
      if let bytes = parseNumber(Files.readText(folder + "/memory.current")) {
        usage.memory = planMemoryUsage(
          usage: bytes, statistics: parseFlatTable(Files.readText(folder + "/memory.stat") ?? ""),
          limit: parseNumber(Files.readText(folder + "/memory.max")))
      }
      usage.processes = parseNumber(Files.readText(folder + "/pids.current"))
      return usage
    }
    if let nanoseconds = parseNumber(Files.readText("\(base)/cpuacct\(path)/cpuacct.usage")) {
      usage.cpu = CPUUsage(coreNanoseconds: nanoseconds)
    }
    let folder = base + "/memory" + path
    if let bytes = parseNumber(Files.readText(folder + "/memory.usage_in_bytes")) {
      let statistics = parseFlatTable(Files.readText(folder + "/memory.stat") ?? "")
      usage.memory = planMemoryUsage(
        usage: bytes, statistics: statistics, limit: statistics["hierarchical_memory_limit"])
    }
    usage.processes = parseNumber(Files.readText("\(base)/pids\(path)/pids.current"))
    return usage
  }

  /// A process of the group; nil when it has none.
  static func process(in path: String) -> Int? {
    let folder = isUnified ? base + path : "\(base)/memory\(path)"
    guard let text = Files.readText(folder + "/cgroup.procs") else { return nil }
    return text.split(separator: "\n").first.flatMap { Int($0) }
  }

  static func interfaces(ofProcess id: Int) -> [InterfaceUsage] {
    parseNetworkDevices(Files.readText("/proc/\(id)/net/dev") ?? "")
  }

  static func filesystem(_ path: String) -> FilesystemUsage {
    var disk = statvfs()
    guard statvfs(path, &disk) == 0 else { return FilesystemUsage() }
    let block = UInt64(disk.f_frsize)
    return FilesystemUsage(
      capacity: UInt64(disk.f_blocks) &* block, available: UInt64(disk.f_bavail) &* block,
      free: UInt64(disk.f_bfree) &* block,
      inodes: UInt64(disk.f_files), inodesFree: UInt64(disk.f_ffree))
  }

  /// A tree's files walked at most, so that a volume of millions does not hold the node up.
  static let filesMax = 200_000

  /// `du -s`, without following links or crossing into other file systems.
  static func tree(_ path: String) -> DiskUsage {
    guard let top = Files.info(path) else { return DiskUsage() }
    var usage = DiskUsage(bytes: UInt64(clamping: top.allocated), inodes: 1)
    var waiting = top.isDirectory ? [path] : []
    while let folder = waiting.popLast(), usage.inodes < filesMax {
      for name in Files.list(folder) {
        guard let info = Files.info(folder + "/" + name), info.device == top.device else { continue }
        usage = usage + DiskUsage(bytes: UInt64(clamping: info.allocated), inodes: 1)
        if info.isDirectory { waiting.append(folder + "/" + name) }
      }
    }
    return usage
  }
}
