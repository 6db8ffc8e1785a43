// Files, by the system's own calls: what the agent needs of them and no more.

import CLinux
import Diagnostics
import Glibc

/// File operations that throw `WeftError` NOD0010 with the path and the system's reason.
enum Files {
  static func failure(_ path: String, _ doing: String) -> WeftError {
    let reason = String(cString: strerror(errno))
    return WeftError(
      "NOD0010", object: path, cause: "cannot \(doing): \(reason)",
      next: "check the path, its owner and the room on its disk: df -h \(path)")
  }

  static func exists(_ path: String) -> Bool {
    info(path) != nil
  }

  /// What the path is; nil when it is not.
  static func info(_ path: String, followingLinks: Bool = false) -> weft_file_info? {
    var info = weft_file_info()
    return weft_stat(path, followingLinks ? 1 : 0, &info) == 0 ? info : nil
  }

  static func isExecutable(_ path: String) -> Bool { access(path, X_OK) == 0 }

  /// `mkdir -p`.
  static func makeDirectory(_ path: String, mode: mode_t = 0o755) throws(WeftError) {
    if mkdir(path, mode) == 0 {
      chmod(path, mode)
      return
    }
    if errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex {
      try makeDirectory(String(path[..<slash]))
      if mkdir(path, mode) == 0 || errno == EEXIST { return }
    }
    guard errno == EEXIST, info(path, followingLinks: true)?.isDirectory == true else {
      throw failure(path, "make the directory")
    }
  }

  /// Writes the whole file anew. With `atomically` readers see the old bytes or the new, never a part.
  static func write(
    _ path: String, _ bytes: some Collection<UInt8>, mode: mode_t = 0o644, atomically: Bool = false
  ) throws(WeftError) {
    let target = atomically ? "\(path).\(getpid()).tmp" : path
    let descriptor = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw failure(target, "write the file") }
    defer { close(descriptor) }
    fchmod(descriptor, mode)
    let bytes = Array(bytes)
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress! + written, bytes.count - written)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw failure(target, "write the file") }
      written += count
    }
    if atomically, rename(target, path) != 0 { throw failure(path, "put the file in place") }
  }

  static func write(_ path: String, _ text: String, mode: mode_t = 0o644) throws(WeftError) {
    try write(path, text.utf8, mode: mode)
  }

  /// The bytes of a file, at most `bytesMax` from its start; nil when it cannot be read.
  static func read(_ path: String, bytesMax: Int = 4 << 20) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var out: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while out.count < bytesMax {
      let count = Glibc.read(descriptor, &chunk, min(chunk.count, bytesMax - out.count))
      if count < 0, errno == EINTR { continue }
      if count <= 0 { break }
      out.append(contentsOf: chunk[..<count])
    }
    return out
  }

  static func readText(_ path: String, bytesMax: Int = 4 << 20) -> String? {
    read(path, bytesMax: bytesMax).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Names in a directory, without `.` and `..`; none when it cannot be read.
  static func list(_ path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// `rm -rf`, without following links and without crossing into what is mounted below.
  static func removeTree(_ path: String) {
    if let info = info(path) { removeTree(path, device: info.device) }
  }

  private static func removeTree(_ path: String, device: UInt64) {
    guard let info = info(path), info.device == device else { return }
    if info.isDirectory {
      for name in list(path) { removeTree(path + "/" + name, device: device) }
      rmdir(path)
    } else {
      unlink(path)
    }
  }

  /// Mount points at or below `prefix`, deepest first (`/proc/self/mountinfo`).
  static func mounts(below prefix: String) -> [String] {
    guard let table = readText("/proc/self/mountinfo", bytesMax: 64 << 20) else { return [] }
    return table.split(separator: "\n").compactMap { line -> String? in
      let fields = line.split(separator: " ")
      guard fields.count > 4 else { return nil }
      let path = fields[4].replacing("\\040", with: " ")
      return path == prefix || path.hasPrefix(prefix + "/") ? String(path) : nil
    }.reversed()
  }

  /// `umount -l` of everything at or below `prefix`. Returns how many there were.
  @discardableResult static func unmountAll(below prefix: String) -> Int {
    let found = mounts(below: prefix)
    for path in found { umount2(path, Int32(MNT_DETACH)) }
    return found.count
  }
}

extension weft_file_info {
  var kind: UInt32 { mode & UInt32(Glibc.S_IFMT) }
  var isDirectory: Bool { kind == UInt32(Glibc.S_IFDIR) }
  var isSocket: Bool { kind == UInt32(Glibc.S_IFSOCK) }
}
