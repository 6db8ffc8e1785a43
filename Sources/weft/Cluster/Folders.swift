// The folders of a local cluster, and the programs it needs on the machine.

import Diagnostics
import Glibc

enum Folders {
  static func make(_ settings: LocalClusterSettings) throws(WeftError) {
    for (path, mode) in [
      (settings.dataFolder, mode_t(0o711)), (settings.runFolder, 0o711),
      (settings.cniStateFolder, 0o700), (settings.cniConfigFolder, 0o755), (settings.cniBinaryFolder, 0o755),
    ] { try make(path, mode) }
  }

  /// MiB that the objects and images of a new cluster take, and something over.
  private static let roomMin: UInt64 = 32

  /// A cluster that cannot write its first objects would end much later, and say something else. One that is there already is read, however
  /// full its disk is.
  static func checkRoom(_ folder: String) throws(WeftError) {
    var disk = statvfs()
    guard access("\(folder)/store.db", F_OK) != 0, statvfs(folder, &disk) == 0 else { return }
    let free = (UInt64(disk.f_bavail) * UInt64(disk.f_frsize)) >> 20
    guard free < roomMin else { return }
    throw WeftError(
      "CLI0140", object: folder, cause: "has \(free) MiB free, and a new cluster needs \(roomMin)",
      next: "df -h \(folder); choose another folder with --data-dir")
  }

  /// `mkdir -p`.
  private static func make(_ path: String, _ mode: mode_t) throws(WeftError) {
    var partial = ""
    for part in path.split(separator: "/") {
      partial += "/\(part)"
      if mkdir(partial, partial == path ? mode : 0o755) != 0, errno != EEXIST, errno != EISDIR {
        throw WeftError(
          "CLI0005", object: partial, cause: "the folder cannot be made: \(String(cString: strerror(errno)))",
          next: "choose others with --data-dir and --run-dir")
      }
    }
  }

  /// What `make` made, as far as nothing was put into it.
  static func removeEmpty(_ settings: LocalClusterSettings) {
    for path in [
      settings.cniConfigFolder, settings.cniBinaryFolder, "\(settings.runFolder)/cni", settings.runFolder,
      settings.cniStateFolder, settings.dataFolder,
    ] { rmdir(path) }
  }

  /// What only has a meaning while pods run: the run folder and the attachments.
  static func removeRunning(_ dataFolder: String, _ runFolder: String) {
    unlink("\(dataFolder)/attachments.json")
    removeTree(runFolder, depth: 0)
  }

  /// Never leaves the folder it was given: links are removed, not followed, and mounts make `rmdir` fail.
  static func removeTree(_ path: String, depth: Int = 0) {
    guard depth < 32, let folder = opendir(path) else { return }
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name == "." || name == ".." { continue }
      let child = "\(path)/\(name)"
      var status = stat()
      guard lstat(child, &status) == 0 else { continue }
      if status.st_mode & S_IFMT == S_IFDIR { removeTree(child, depth: depth + 1) } else { unlink(child) }
    }
    closedir(folder)
    rmdir(path)
  }
}

enum Programs {
  /// Says what is missing before anything is touched.
  static func check() throws(WeftError) {
    for (code, path): (ErrorCode, String) in [
      ("NOD0001", "/usr/bin/containerd"), ("NOD0002", "/usr/sbin/runc"),
    ]
    where access(path, X_OK) != 0 {
      throw WeftError(
        code, object: path, cause: "the program is missing, and pods cannot run without it",
        next: "apt-get install containerd runc")
    }
    guard access(plugin, X_OK) == 0 else {
      throw WeftError(
        "CNI0001", object: plugin, cause: "the CNI plugin is not beside this program",
        next: "build it: make build")
    }
  }

  /// The CNI plugin beside this program.
  static var plugin: String { "\(folder)/weft-cni" }
  static var own: String { "\(folder)/weft" }

  private static var folder: String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes {
      $0.baseAddress.map { readlink("/proc/self/exe", $0.assumingMemoryBound(to: CChar.self), 4096) } ?? 0
    }
    let path = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
    return path.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
  }
}
