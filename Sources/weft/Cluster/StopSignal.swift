// How a running command is told to end. Ctrl-C means: take everything away. SIGTERM means: end, and leave pods and rules in
// force for the next start. A second Ctrl-C does not wait. SIGUSR1 and SIGUSR2 ask a running part for something else, and nobody
// where no part has use for them.

import CLinux
import Glibc
import KernelSockets
import Synchronization

enum StopSignal: Sendable {
  case interrupt
  case terminate
  /// Another program goes on in this process: `Upgrade.become`.
  case upgrade

  /// What stands for it among the numbers of signals.
  private static let upgradeByte: UInt8 = 255

  private static let others = Mutex<[UInt8: @Sendable () -> Void]>([:])

  /// Has `body` run on a thread of its own whenever this signal comes: SIGUSR1 or SIGUSR2.
  static func on(_ signal: Int32, _ body: @escaping @Sendable () -> Void) {
    // An earlier one is let go outside the lock.
    _ = others.withLock { $0.updateValue(body, forKey: UInt8(signal)) }
  }

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
    return first == UInt8(SIGINT) ? .interrupt : first == upgradeByte ? .upgrade : .terminate
  }

  /// Has `wait` return as if a signal had come. Does nothing while nobody waits for signals.
  static func askForUpgrade() { weft_tell_signals(upgradeByte) }

  /// The next signal to end; runs what the others ask for.
  private static func readByte(_ descriptor: Int32) -> UInt8 {
    while true {
      var byte: UInt8 = 0
      let count = read(descriptor, &byte, 1)
      if count < 0, errno == EINTR { continue }
      guard count == 1, byte != UInt8(SIGINT), byte != UInt8(SIGTERM), byte != upgradeByte else {
        return byte
      }
      if let body = others.withLock({ $0[byte] }) { _ = DetachedThread.start(body) }
    }
  }
}
