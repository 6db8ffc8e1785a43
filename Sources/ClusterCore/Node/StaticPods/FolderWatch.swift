// Wakes whoever looks at a folder, or at a file, when something about it changes: inotify(7). What changed is not told: the
// looker reads it all anyway, and a queue that overflows loses nothing then.

import CLinux
import Glibc

/// One watch. Safe from anywhere; one task at a time waits.
final class FolderWatch: Sendable {
  /// A writer that renames, or writes a few files one after the other, is looked at once.
  private static let quietMilliseconds: Int32 = 20
  private static let quietRoundsMax = 50
  private static let mask = UInt32(
    IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF
      | IN_MOVE_SELF)

  private let path: String
  private let descriptor: Int32
  /// Readable from when nobody shall wait any more.
  private let stop: Int32

  /// Nil when the machine has no more of them (`fs.inotify.max_user_instances`).
  init?(_ path: String) {
    self.path = path
    descriptor = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
    guard descriptor >= 0 else { return nil }
    stop = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard stop >= 0 else {
      close(descriptor)
      return nil
    }
  }

  deinit {
    close(descriptor)
    if stop >= 0 { close(stop) }
  }

  /// From now on changes of what is at the path now are told. To be called before each look: another folder may have come to be
  /// there. False when there is nothing, or no watch is left (`fs.inotify.max_user_watches`).
  func arm() -> Bool { inotify_add_watch(descriptor, path, Self.mask) >= 0 }

  /// Returns when something changed since the last call, after `time`, or when the task is cancelled.
  func wait(_ time: Duration) async {
    let milliseconds = Int32(
      clamping: time.components.seconds * 1000
        + time.components.attoseconds / 1_000_000_000_000_000)
    await withTaskCancellationHandler {
      // The thread holds the watch as long as it waits.
      _ = await NetnsThread.run(nil) { [self] in waitBlocking(milliseconds) }
    } onCancel: {
      eventfd_write(stop, 1)
    }
  }

  private func waitBlocking(_ milliseconds: Int32) {
    var sources = [
      pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: stop, events: Int16(POLLIN), revents: 0),
    ]
    guard poll(&sources, 2, milliseconds) > 0, sources[1].revents == 0 else { return }
    for _ in 0..<Self.quietRoundsMax {
      drain()
      guard poll(&sources, 2, Self.quietMilliseconds) > 0, sources[1].revents == 0 else { return }
    }
  }

  private func drain() {
    withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 8) { buffer in
      while read(descriptor, buffer.baseAddress, buffer.count) > 0 {}
    }
  }
}
