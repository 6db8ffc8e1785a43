// The control groups of pods: the runtime makes them on the way and never removes them.

import CLinux
import Glibc

/// Mount points of every hierarchy: one for version 2, several for version 1.
func cgroupHierarchies() -> [String] {
  let base = "/sys/fs/cgroup"
  if Files.exists(base + "/cgroup.controllers") { return [base] }
  return Files.list(base).map { base + "/" + $0 }.filter { Files.info($0)?.isDirectory == true }
}

/// `rmdir`, children first. A group with processes in it stays.
func removeCgroup(_ path: String) {
  guard Files.info(path)?.isDirectory == true else { return }
  for name in Files.list(path) {
    let child = path + "/" + name
    if Files.info(child)?.isDirectory == true { removeCgroup(child) }
  }
  rmdir(path)
}

/// The empty class groups and the root: what is left when the last pod went. Groups that others use stay.
func removeEmptyCgroups(_ settings: NodeSettings) {
  for hierarchy in cgroupHierarchies() {
    for path in ["/burstable", "/besteffort", ""] { rmdir(hierarchy + settings.cgroupRoot + path) }
  }
}
