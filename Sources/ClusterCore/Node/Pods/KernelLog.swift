// What the kernel wrote of processes that it killed for want of memory. The runtime is told by another way (an event of the control group),
// which is lost when the group is removed first: then it calls the end of such a container an error.

import CLinux
import Glibc

/// The kernel's log, `/dev/kmsg`. Needs root; without it nothing is found.
enum KernelLog {
  /// Bound on records of one look; the kernel keeps some thousands.
  private static let recordsMax = 100_000
  private static let recordBytesMax = 8192

  /// Whether a process of the container was killed because its memory group was full. Costs about 1 µs for each record that is kept.
  /// The kernel writes the line that names the group at most ten times in five seconds (`oom_rs` in mm/oom_kill.c): when more are killed
  /// at once, those that the runtime missed too are not found.
  static func saysMemoryKill(of containerID: String, path: String = "/dev/kmsg") -> Bool {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0, !containerID.isEmpty else { return false }
    defer { close(descriptor) }
    var record = [UInt8](repeating: 0, count: recordBytesMax)
    for _ in 0..<recordsMax {
      let count = read(descriptor, &record, record.count)
      if count > 0 {
        if isMemoryKill(String(decoding: record[..<count], as: UTF8.self), of: containerID) { return true }
      } else if count == 0 || errno != EPIPE {
        // EPIPE: the record was overwritten meanwhile; the next read goes on behind it.
        return false
      }
    }
    return false
  }

  /// Whether a record is the kernel's line of such a kill (`oom-kill:constraint=CONSTRAINT_MEMCG,…,task_memcg=/…/ID,…`).
  static func isMemoryKill(_ record: String, of containerID: String) -> Bool {
    record.contains("oom-kill:constraint=CONSTRAINT_MEMCG") && record.contains(containerID)
  }
}
