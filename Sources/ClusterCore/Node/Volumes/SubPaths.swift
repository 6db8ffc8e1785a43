// `subPath`: a part of a volume as a mount of its own. Whoever writes into the volume may put links there, at any moment; none of them
// leads out of it. The part is found by resolving it once within the volume, opened step by step without following links, and what was
// opened is mounted, so that nothing can be exchanged between the look and the mount.

import CLinux
import ClusterObjects
import Glibc

/// Parts of one pod's volumes, mounted at `<podDirectory>/volume-subpaths/VOLUME/CONTAINER/INDEX`. They go with the pod's other mounts.
struct SubPaths {
  var podDirectory: String

  /// Mounts `part` of the folder `volume`; what is not there becomes a folder with the volume's own mode. Returns where. Throws
  /// `MissingReference` for what leads out of the volume, and `NOD0010` for what the system refuses.
  func mount(_ part: String, of volume: String, name: String, container: String, index: Int) throws -> String
  {
    guard isSafeRelativePath(part) else { throw outside(part) }
    let target = "\(podDirectory)/volume-subpaths/\(name)/\(container)/\(index)"
    let descriptor = try opened(part, of: volume)
    defer { close(descriptor) }
    // A container that starts again gets what is there now.
    umount2(target, Int32(MNT_DETACH))
    let opened = "/proc/self/fd/\(descriptor)"
    if Files.info(opened, followingLinks: true)?.isDirectory == true {
      try Files.makeDirectory(target, mode: 0o750)
    } else {
      try Files.makeDirectory(String(target[..<(target.lastIndex(of: "/") ?? target.endIndex)]), mode: 0o750)
      if !Files.exists(target) { try Files.write(target, "") }
    }
    guard Glibc.mount(opened, target, nil, UInt(MS_BIND | MS_REC), nil) == 0 else {
      throw Files.failure(target, "mount a part of the volume \(name)")
    }
    return target
  }

  private func outside(_ part: String) -> MissingReference {
    MissingReference(message: "subPath \"\(part)\" leaves its volume")
  }

  /// `O_PATH` of open(2), which the C library shows to programs of the GNU dialect alone.
  private static let pathOnly: Int32 = 0o10_000_000

  /// A descriptor that names the part and opens nothing else of it, which the caller closes.
  private func opened(_ part: String, of volume: String) throws -> Int32 {
    guard let base = resolved(volume) else { throw Files.failure(volume, "find the volume") }
    let flags = Self.pathOnly | O_NOFOLLOW | O_CLOEXEC
    var current = open(base, flags | O_DIRECTORY)
    guard current >= 0 else { throw Files.failure(base, "open the volume") }
    let mode = mode_t((Files.info(base)?.mode ?? 0o755) & 0o7777)
    for step in try steps(part, base) {
      var next = openat(current, step, flags)
      if next < 0, errno == ENOENT, mkdirat(current, step, mode) == 0 || errno == EEXIST {
        next = openat(current, step, flags)
        if next >= 0 { chmod("/proc/self/fd/\(next)", mode) }
      }
      let code = errno
      close(current)
      errno = code
      guard next >= 0 else { throw Files.failure("\(base)/\(part)", "open \(step)") }
      current = next
      // Exchanged meanwhile: a link itself is not what was asked for.
      if Files.info("/proc/self/fd/\(current)", followingLinks: true)?.kind == UInt32(Glibc.S_IFLNK) {
        close(current)
        throw outside(part)
      }
    }
    return current
  }

  /// The way from `base`, without links: as far as it is there, resolved; then what is to be made.
  private func steps(_ part: String, _ base: String) throws -> [String] {
    var there = part.split(separator: "/").filter { $0 != "." }.map(String.init)
    var missing: [String] = []
    while !there.isEmpty {
      let path = base + "/" + there.joined(separator: "/")
      if let real = resolved(path) {
        guard real == base || real.hasPrefix(base + "/") else { throw outside(part) }
        return real.dropFirst(base.count).split(separator: "/").map(String.init) + missing.reversed()
      }
      // A link to nothing is no place for a folder.
      guard !Files.exists(path) else { throw outside(part) }
      missing.append(there.removeLast())
    }
    return missing.reversed()
  }

  private func resolved(_ path: String) -> String? {
    guard let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
  }
}
