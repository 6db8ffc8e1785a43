// The control groups of pods, as the kernel has them.

import CLinux
import Glibc
import Logging

/// Makes and limits groups. A few file operations each; nothing is kept.
struct ControlGroups: Sendable {
  /// Where the kernel shows its hierarchies.
  var base = "/sys/fs/cgroup"

  /// One hierarchy (version 2) or one for each controller.
  var isUnified: Bool { Files.exists(base + "/cgroup.controllers") }

  private static let controllers = ["cpu", "memory", "pids"]

  private func path(_ hierarchy: String, _ group: String) -> String {
    isUnified ? base + group : "\(base)/\(hierarchy)\(group)"
  }

  /// Makes the group with all above it where it is not there, and limits it. Returns what the kernel did not take, by file: controllers
  /// that it has not, and limits below what is used already.
  @discardableResult func limit(_ group: String, _ limits: GroupLimits) -> [String] {
    var refused: [String] = []
    let isUnified = isUnified
    for hierarchy in isUnified ? [""] : Self.controllers {
      make(group, in: isUnified ? base : "\(base)/\(hierarchy)")
    }
    for value in planGroupValues(limits, isUnified: isUnified) {
      let file = "\(path(value.hierarchy, group))/\(value.file)"
      if !Files.exists(file) || (try? Files.write(file, value.text)) == nil { refused.append(value.file) }
    }
    return refused
  }

  private func make(_ group: String, in hierarchy: String) {
    guard Files.info(hierarchy, followingLinks: true)?.isDirectory == true else { return }
    var path = hierarchy
    for part in group.split(separator: "/") {
      // Version 2 gives a group's controllers to those below it only when it is told to.
      if isUnified {
        for name in Self.controllers { try? Files.write(path + "/cgroup.subtree_control", "+" + name) }
      }
      path += "/" + part
      if !Files.exists(path) { mkdir(path, 0o755) }
    }
  }
}

extension PodWorker {
  /// Before the pod's sandbox is made in it.
  func limitGroup(_ spec: PodSpec) {
    let group = podCgroup(spec, root: context.settings.cgroupRoot)
    let refused = ControlGroups().limit(
      group, planPodLimits(spec, processesMax: context.settings.podPIDsMax))
    guard !refused.isEmpty else { return }
    context.log.warning(
      "the kernel does not limit a pod as a whole",
      metadata: ["pod": "\(key)", "files": "\(refused.joined(separator: ","))"])
  }
}
