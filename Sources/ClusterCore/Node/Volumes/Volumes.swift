// Volumes on disk: emptyDir, hostPath and those made of objects, which change under a running pod in one rename.
//
//   volumes/config/..2026_1/key      the files
//   volumes/config/..data -> ..2026_1
//   volumes/config/key -> ..data/key

import CLinux
import ClusterObjects
import Diagnostics
import Glibc
import SwiftProtobuf

/// The volumes of one pod below `<podDirectory>/volumes`.
struct Volumes {
  var podDirectory: String
  var capacity: [String: Int64]

  private func path(_ name: String) -> String { "\(podDirectory)/volumes/\(name)" }

  /// Makes or refreshes every volume. Returns where each is on the node. Repeating it changes only what changed.
  func prepare(_ pod: JSON, data: PodData) throws -> [String: String] {
    var places: [String: String] = [:]
    let group = pod.at("spec", "securityContext", "fsGroup")?.integer
    let ownership = VolumeOwnership(pod)
    for volume in pod.at("spec", "volumes")?.elements ?? [] {
      guard let name = volume["name"]?.string, isSafeRelativePath(name) else { continue }
      do {
        if let empty = volume["emptyDir"] {
          places[name] = try emptyDirectory(name, empty, group: group)
        } else if let host = volume["hostPath"] {
          places[name] = try hostPath(host)
        } else if let claimed = data.claimed[name] {
          places[name] = try claimedVolume(name, claimed, ownership)
        } else if let files = try planVolumeFiles(volume, pod: pod, data: data, capacity: capacity) {
          places[name] = try objectVolume(name, files, group: group)
        } else {
          let kind = volume.object?.keys.first { $0 != "name" } ?? "unknown"
          throw MissingReference(message: "it is of a kind this node does not offer: \(kind)")
        }
      } catch var missing as MissingReference {
        missing.volume = name
        throw missing
      }
    }
    return places
  }

  /// Brings the files of object volumes up to date, each by itself: one whose object is gone keeps what it has. Returns what
  /// kept a volume from it, in words.
  func refresh(_ pod: JSON, data: PodData) -> [String] {
    var failures: [String] = []
    let group = pod.at("spec", "securityContext", "fsGroup")?.integer
    for volume in pod.at("spec", "volumes")?.elements ?? [] {
      guard let name = volume["name"]?.string, isSafeRelativePath(name) else { continue }
      do {
        if let files = try planVolumeFiles(volume, pod: pod, data: data, capacity: capacity) {
          _ = try objectVolume(name, files, group: group)
        }
      } catch {
        failures.append("MountVolume.SetUp failed for volume \"\(name)\" : \(runtimeMessage(error))")
      }
    }
    return failures
  }

  private func emptyDirectory(_ name: String, _ source: JSON, group: Int64?) throws -> String {
    let path = path(name)
    if !Files.exists(path) {
      try Files.makeDirectory(path, mode: 0o777)
      if source["medium"]?.string == "Memory" {
        let limit = PodSpec.amount(source["sizeLimit"]).map { ",size=\($0 / 1000)" } ?? ""
        guard mount("tmpfs", path, "tmpfs", 0, "mode=1777" + limit) == 0 else {
          throw Files.failure(path, "mount a tmpfs")
        }
      }
      if let group { chown(path, uid_t.max, gid_t(truncatingIfNeeded: group)); chmod(path, 0o2777) }
    }
    return path
  }

  /// Folders of this node that a PersistentVolume names. One made for its claim is there with the first pod, for any user.
  private func claimedVolume(_ name: String, _ claimed: ClaimedVolume, _ ownership: VolumeOwnership?) throws
    -> String
  {
    /// Once a pod: what its containers make of it is theirs.
    func own(_ path: String) throws {
      let mark = "\(podDirectory)/volumes-owned/\(name)"
      guard let ownership, !Files.exists(mark) else { return }
      ownership.apply(path, isReadOnly: claimed.isReadOnly)
      try Files.makeDirectory(mark)
    }
    switch claimed.source {
    case .made(let path):
      if !Files.exists(path) {
        try Files.makeDirectory(path, mode: 0o777)
        chmod(path, 0o777)
      }
      try own(path)
      return path
    case .hostPath(let source): return try hostPath(source)
    case .local(let path):
      guard Files.exists(path) else {
        throw MissingReference(
          message: "MountVolume.NewMounter initialization failed for volume \"\(claimed.volume)\" : "
            + "path \"\(path)\" does not exist")
      }
      try own(path)
      return path
    }
  }

  private func hostPath(_ source: JSON) throws -> String {
    let path = source["path"]?.string ?? ""
    let info = Files.info(path, followingLinks: true)
    let exists = info != nil
    func expect(_ wanted: mode_t, _ word: String) throws {
      if info?.kind != UInt32(wanted) {
        throw MissingReference(message: "hostPath type check failed: \(path) is not a \(word)")
      }
    }
    switch source["type"]?.string ?? "" {
    case "DirectoryOrCreate": try exists ? expect(S_IFDIR, "directory") : Files.makeDirectory(path)
    case "FileOrCreate": try exists ? expect(S_IFREG, "file") : Files.write(path, "")
    case "Directory": try expect(S_IFDIR, "directory")
    case "File": try expect(S_IFREG, "file")
    case "Socket": try expect(S_IFSOCK, "socket")
    case "CharDevice": try expect(S_IFCHR, "character device")
    case "BlockDevice": try expect(S_IFBLK, "block device")
    default:
      // Without a type a missing path becomes a directory, as the runtime does.
      if !exists { try Files.makeDirectory(path) }
    }
    return path
  }

  /// Writes the files beside the ones in use, then turns one link. Nothing is touched when nothing changed.
  private func objectVolume(_ name: String, _ files: [VolumeFile], group: Int64?) throws -> String {
    let path = path(name)
    try Files.makeDirectory(path)
    let isSame =
      files.allSatisfy { Files.read("\(path)/..data/\($0.path)") == $0.bytes }
      && Set(Files.list(path).filter { !$0.hasPrefix("..") })
        == Set(files.map { String($0.path.split(separator: "/")[0]) })
      && Files.exists(path + "/..data")
    if isSame { return path }
    let (seconds, nanoseconds) = Timestamp.now()
    let version = "..\(seconds)_\(nanoseconds)"
    try Files.makeDirectory("\(path)/\(version)")
    for file in files {
      let target = "\(path)/\(version)/\(file.path)"
      if let slash = target.lastIndex(of: "/") { try Files.makeDirectory(String(target[..<slash])) }
      let mode = group == nil ? file.mode : file.mode | 0o440
      try Files.write(target, file.bytes, mode: mode)
      if let group { chown(target, uid_t.max, gid_t(truncatingIfNeeded: group)) }
    }
    unlink("\(path)/..data_next")
    guard symlink(version, "\(path)/..data_next") == 0, rename("\(path)/..data_next", "\(path)/..data") == 0
    else {
      throw Files.failure(path, "put the new files in place")
    }
    let heads = Set(files.map { String($0.path.split(separator: "/")[0]) })
    for head in heads where !Files.exists("\(path)/\(head)") { symlink("..data/\(head)", "\(path)/\(head)") }
    for old in Files.list(path) where old != version && old != "..data" && !heads.contains(old) {
      Files.removeTree("\(path)/\(old)")
    }
    return path
  }

  /// The mounts of one container. `places` is what `prepare` returned; nobody writes to the volumes in `readOnly`.
  func mounts(
    _ container: ContainerSpec, places: [String: String], environment: [String: String],
    readOnly: Set<String> = []
  ) throws -> [Runtime_V1_Mount] {
    var mounts: [Runtime_V1_Mount] = []
    for (index, entry) in (container.tree["volumeMounts"]?.elements ?? []).enumerated() {
      guard let name = entry["name"]?.string, let target = entry["mountPath"]?.string else { continue }
      guard var source = places[name] else {
        throw MissingReference(message: "volume \"\(name)\" of a mount is not in the pod")
      }
      let sub =
        entry["subPathExpr"]?.string.map { expandVariables($0, environment) } ?? entry["subPath"]?.string
        ?? ""
      if !sub.isEmpty {
        source = try SubPaths(podDirectory: podDirectory).mount(
          sub, of: source, name: name, container: container.name, index: index)
      }
      mounts.append(
        .with {
          $0.containerPath = target.hasPrefix("/") ? target : "/" + target
          $0.hostPath = source
          $0.readonly = entry["readOnly"]?.bool ?? false || readOnly.contains(name)
          switch entry["mountPropagation"]?.string {
          case "HostToContainer": $0.propagation = .propagationHostToContainer
          case "Bidirectional": $0.propagation = .propagationBidirectional
          default: break
          }
        })
    }
    return mounts
  }

  /// Unmounts and removes everything of the pod.
  func remove() {
    Files.unmountAll(below: podDirectory)
    Files.removeTree(podDirectory)
  }
}
