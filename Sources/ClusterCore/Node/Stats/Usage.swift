// What containers, pods and the node use: readings as values, and the rate of processor time. Pure.

import ClusterObjects
import Diagnostics

/// Processor time, in nanoseconds, and the rate of late in billionths of a processor.
struct CPUUsage: Sendable, Hashable {
  var coreNanoseconds: UInt64
  var nanoCores: UInt64 = 0
}

/// Bytes of memory. The working set is what the kernel cannot give back by itself.
struct MemoryUsage: Sendable, Hashable {
  var usage: UInt64 = 0
  var workingSet: UInt64 = 0
  var resident: UInt64 = 0
  var pageFaults: UInt64 = 0
  var majorPageFaults: UInt64 = 0
  /// What is left below the limit; nil without a limit.
  var available: UInt64?
}

/// One interface's counters since it was made.
struct InterfaceUsage: Sendable, Hashable {
  var name: String
  var receivedBytes: UInt64 = 0
  var receiveErrors: UInt64 = 0
  var sentBytes: UInt64 = 0
  var sendErrors: UInt64 = 0
}

/// Bytes and files in a place on a disk.
struct DiskUsage: Sendable, Hashable {
  var bytes: UInt64 = 0
  var inodes: UInt64 = 0

  static func + (a: DiskUsage, b: DiskUsage) -> DiskUsage {
    DiskUsage(bytes: a.bytes &+ b.bytes, inodes: a.inodes &+ b.inodes)
  }
}

/// A file system as a whole.
struct FilesystemUsage: Sendable, Hashable {
  var capacity: UInt64 = 0
  /// For everybody; what is `free` counts root's reserve too.
  var available: UInt64 = 0
  var free: UInt64 = 0
  var inodes: UInt64 = 0
  var inodesFree: UInt64 = 0
  var used: UInt64 { capacity > free ? capacity - free : 0 }
  var inodesUsed: UInt64 { inodes > inodesFree ? inodes - inodesFree : 0 }
}

/// What one control group says.
struct CgroupUsage: Sendable, Hashable {
  var cpu: CPUUsage?
  var memory: MemoryUsage?
  var processes: UInt64?
}

struct ContainerUsage: Sendable {
  var name: String
  var id: String
  var image: String = ""
  /// Nanoseconds since 1970.
  var startedAt: Int64
  var group = CgroupUsage()
  /// The layer the container writes to.
  var rootfs: DiskUsage?
  var logs: DiskUsage?
}

struct PodUsage: Sendable {
  var namespace: String
  var name: String
  var uid: String
  var sandbox: String = ""
  var startedAt: Int64
  var group = CgroupUsage()
  var interfaces: [InterfaceUsage] = []
  /// Volumes that take the node's own disk, by name.
  var volumes: [String: DiskUsage] = [:]
  var containers: [ContainerUsage] = []

  /// Written layers, logs and volumes on the node's disk.
  var ephemeralStorage: DiskUsage {
    containers.reduce(volumes.values.reduce(DiskUsage(), +)) {
      $0 + ($1.rootfs ?? DiskUsage()) + ($1.logs ?? DiskUsage())
    }
  }
}

/// Everything, at one moment.
struct NodeUsage: Sendable {
  /// Nanoseconds since 1970.
  var at: Int64
  /// The same moment by a clock that nobody sets: what lasts is measured by it.
  var steadyAt: Int64
  var bootedAt: Int64 = 0
  var cpu: CPUUsage?
  var memory = MemoryUsage()
  var interfaces: [InterfaceUsage] = []
  var disk = FilesystemUsage()
  var imageDisk = FilesystemUsage()
  var imageBytes: UInt64?
  var processesMax: UInt64 = 0
  var processes: UInt64 = 0
  /// `kubelet`, `runtime` and `pods`, as far as they are known.
  var system: [String: CgroupUsage] = [:]
  var pods: [PodUsage] = []

  init(at: Int64, steadyAt: Int64? = nil) {
    self.at = at
    self.steadyAt = steadyAt ?? at
  }
}

/// Rates from counters: the newest reading against one at least `windowNanoseconds` older.
struct CPURates: Sendable {
  private struct Reading: Hashable {
    var at: Int64
    var coreNanoseconds: UInt64
  }
  private var readings: [String: (older: Reading, newer: Reading)] = [:]
  static let windowNanoseconds: Int64 = 5_000_000_000

  /// Billionths of a processor. The first reading of a group counts from its start.
  mutating func rate(_ key: String, at: Int64, coreNanoseconds: UInt64, startedAt: Int64) -> UInt64 {
    let now = Reading(at: at, coreNanoseconds: coreNanoseconds)
    var known = readings[key] ?? (Reading(at: startedAt, coreNanoseconds: 0), now)
    // The counter of a group that was made anew begins at zero again.
    if known.newer.coreNanoseconds > coreNanoseconds {
      known = (Reading(at: startedAt, coreNanoseconds: 0), now)
    }
    if at - known.newer.at >= Self.windowNanoseconds { known = (known.newer, now) }
    readings[key] = known
    let passed = at - known.older.at
    guard passed > 0, coreNanoseconds >= known.older.coreNanoseconds else { return 0 }
    let used = Double(coreNanoseconds - known.older.coreNanoseconds)
    return UInt64(min(used * 1e9 / Double(passed), 1e15))
  }

  /// Forgets all but these.
  mutating func retain(_ keys: Set<String>) { readings = readings.filter { keys.contains($0.key) } }

  var count: Int { readings.count }
}
