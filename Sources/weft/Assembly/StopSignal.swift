// How a running command is told to end. Ctrl-C means: take everything away. SIGTERM means: end, and leave pods and rules in
// force for the next start. A second Ctrl-C does not wait.

import CLinux
import Glibc
import KernelSockets

enum StopSignal: Sendable {
  case interrupt
  case terminate

  /// Waits for the first signal. From then on a second Ctrl-C ends the process at once.
  static func wait() async -> StopSignal {
    let descriptor = weft_watch_signals()
    guard descriptor >= 0 else { return .terminate }
    let first: UInt8 = await withCheckedContinuation { continuation in
      _ = DetachedThread.start {
        continuation.resume(returning: readByte(descriptor))
        while readByte(descriptor) != UInt8(SIGINT) {}
        _exit(130)
      }
    }
    return first == UInt8(SIGINT) ? .interrupt : .terminate
  }

  private static func readByte(_ descriptor: Int32) -> UInt8 {
    var byte: UInt8 = 0
    while read(descriptor, &byte, 1) < 0, errno == EINTR {}
    return byte
  }
}
