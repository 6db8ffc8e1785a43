// `fsGroup`: whose group a volume's files are, so that a pod's processes may read and write them whatever user they run as.

import CLinux
import ClusterObjects
import Glibc

/// The group, and when it is looked for in every file.
struct VolumeOwnership: Sendable, Hashable {
  var group: gid_t
  /// `fsGroupChangePolicy: OnRootMismatch`: a volume whose own folder is as it has to be is left as it is.
  var isByRoot: Bool

  /// Nil for a pod without `fsGroup`.
  init?(_ pod: JSON) {
    let security = pod.at("spec", "securityContext")
    guard let group = security?["fsGroup"]?.integer.flatMap({ gid_t(exactly: $0) }) else { return nil }
    self.group = group
    isByRoot = security?["fsGroupChangePolicy"]?.string == "OnRootMismatch"
  }

  /// Gives everything below the folder, and the folder last, to the group, with kubelet's rights: reading, and writing unless the volume
  /// is read-only; folders pass the group on. Links are left alone, as is what is mounted below. Costs two calls a file.
  func apply(_ path: String, isReadOnly: Bool) {
    guard let top = Files.info(path, followingLinks: true) else { return }
    let rights = mode_t(isReadOnly ? 0o440 : 0o660)
    if isByRoot, top.mode & 0o2110 == 0o2110, top.mode & UInt32(rights) == UInt32(rights),
      owner(path) == group
    {
      return
    }
    var folders = [path]
    var waiting = [path]
    while let folder = waiting.popLast() {
      for name in Files.list(folder) {
        let child = folder + "/" + name
        guard let info = Files.info(child), info.device == top.device else { continue }
        if info.isDirectory {
          folders.append(child)
          waiting.append(child)
        } else {
          give(child, info.mode, rights)
        }
      }
    }
    // From within: whoever is stopped in the middle begins anew, because the volume's own folder is not right yet.
    for folder in folders.reversed() {
      give(folder, (Files.info(folder, followingLinks: true)?.mode ?? 0o777), rights | 0o2110)
    }
  }

  private func give(_ path: String, _ mode: UInt32, _ rights: mode_t) {
    lchown(path, uid_t.max, group)
    if mode & UInt32(Glibc.S_IFMT) != UInt32(Glibc.S_IFLNK) { chmod(path, mode_t(mode & 0o7777) | rights) }
  }

  private func owner(_ path: String) -> gid_t? {
    var found = stat()
    return stat(path, &found) == 0 ? found.st_gid : nil
  }
}
