// Memory that a process may still take, where somebody has set a bound, and limits that keep to it. A process that gets no memory ends;
// with limits that fit it answers 503, closes what it cannot serve, or leaves clients in the kernel's queue, and goes on.

import Glibc

/// What bounds the memory of this process.
struct MemoryRoom: Equatable {
  /// Bytes that are left; nil without a bound.
  var bytes: UInt64?

  /// - Parameters:
  ///   - addressSpace: RLIMIT_AS (`ulimit -v`), nil for none, and what of it is in use.
  ///   - group: the control group's bound, nil for none. Half of it is others': the process that knows the cluster is in the same
  ///     group, and so is what the kernel keeps for sockets.
  init(addressSpace: UInt64?, used: UInt64, group: UInt64?) {
    let own = addressSpace.map { $0 > used ? $0 - used : 0 }
    bytes = [own, group.map { $0 / 2 }].compactMap(\.self).min()
  }

  /// Looks at the process as it is now. Costs some files of /proc and /sys.
  static func observe() -> MemoryRoom {
    var limit = rlimit()
    let isKnown = getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0
    let space = isKnown && limit.rlim_cur != .max ? UInt64(limit.rlim_cur) : nil
    let pages = text("/proc/self/statm").split(separator: " ").first.flatMap { UInt64($0) } ?? 0
    return MemoryRoom(
      addressSpace: space, used: pages * UInt64(sysconf(Int32(_SC_PAGESIZE))),
      group: bound(ofGroups: text("/proc/self/cgroup")) { text($0) })
  }

  /// The memory bound of the process's group; nil when it has none.
  /// - Parameters:
  ///   - groups: `/proc/self/cgroup`, of either version.
  ///   - read: a file's text, empty when there is none.
  static func bound(ofGroups groups: String, _ read: (String) -> String) -> UInt64? {
    for line in groups.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let isUnified = parts[0] == "0" && parts[1].isEmpty
      guard isUnified || parts[1].split(separator: ",").contains("memory") else { continue }
      let (folder, file) =
        isUnified ? ("/sys/fs/cgroup", "memory.max") : ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
      // In a container the group's own folder may be all there is.
      for path in ["\(folder)\(parts[2])/\(file)", "\(folder)/\(file)"] {
        // "max", or of version 1 a number beyond all machines.
        guard let value = UInt64(read(path).filter { !$0.isNewline }) else { continue }
        if value < 1 << 60 { return value }
      }
    }
    return nil
  }

  private static func text(_ path: String) -> String {
    let raw = open(path, O_RDONLY | O_CLOEXEC)
    guard raw >= 0 else { return "" }
    defer { close(raw) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(raw, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }
}

extension IngressLimits {
  /// Bytes of a client's connection with TLS, without what it holds of the pools.
  static let clientBytes = 16 << 10
  /// Bytes that are not the pools' and not the connections': tables, stacks, what the heap wastes.
  static let reservedBytes: UInt64 = 48 << 20

  /// These limits for one of `workers`, lowered so that pools and connections fit into `room` at their fullest: a quarter of what is not
  /// reserved for clients' connections, as much for streams', and the rest for the buffers of requests and slow readers. However small it
  /// is, some of each are left.
  func fitting(_ room: MemoryRoom, workers: Int) -> IngressLimits {
    guard let bytes = room.bytes else { return self }
    let free = bytes > Self.reservedBytes ? bytes - Self.reservedBytes : 0
    let quarter = Int(clamping: free / 4 / UInt64(max(1, workers)))
    var limits = self
    limits.clientsMax = min(clientsMax, max(64, quarter / Self.clientBytes))
    limits.streamsMax = min(streamsMax, max(64, quarter / Self.clientBytes))
    limits.requestBuffersMax = min(requestBuffersMax, max(64, quarter / Self.requestBufferBytes))
    limits.bulkBuffersMax = min(bulkBuffersMax, max(16, quarter / bulkBufferBytes))
    return limits
  }
}
