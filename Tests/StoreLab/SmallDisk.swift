// A disk for tests to fill, fail and cut off.

import Glibc

/// An ext4 file system in a file, mounted while it is used.
public final class SmallDisk {
  private let image: String
  public let folder: String
  private var isMounted = false

  public init(_ scratch: String, mebibytes: Int) throws {
    image = "\(scratch)/disk.img"
    folder = "\(scratch)/disk"
    mkdir(folder, 0o755)
    try Self.must("/usr/bin/truncate", ["-s", "\(mebibytes)M", image])
    try Self.must("/sbin/mkfs.ext4", ["-q", "-F", "-m", "0", image])
    try mount()
  }

  public func mount() throws {
    try Self.must("/bin/mount", ["-o", "loop", image, folder])
    isMounted = true
  }

  public func unmount() throws {
    if isMounted { try Self.must("/bin/umount", [folder]) }
    isMounted = false
  }

  /// As if the power went: what was not synced is gone, every later call fails. A call that is under way meanwhile may succeed
  /// and be lost all the same: a loop of `pwrite` and `fdatasync` on a file loses its last block in one cut of some hundred. What
  /// is to be there afterwards is what was acknowledged before this was called.
  public func cutPower() throws {
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    defer { close(descriptor) }
    // FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
    var flags: UInt32 = 2
    guard ioctl(descriptor, 0x8004_587d, &flags) == 0 else {
      throw Failed(text: "FS_IOC_SHUTDOWN: errno \(errno)")
    }
  }

  deinit { if isMounted { _ = try? Program.run("/bin/umount", ["-l", folder]) } }

  private static func must(_ path: String, _ arguments: [String]) throws {
    let result = try Program.run(path, arguments)
    guard result.status == 0 else { throw Failed(text: "\(path) \(arguments): \(result.output)") }
  }
}
