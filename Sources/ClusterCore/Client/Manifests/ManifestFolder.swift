// Which files of a folder are manifests, and when one of them is another.

import Diagnostics
import Glibc

enum ManifestFolder {
  static let pollPeriod: Duration = .milliseconds(500)

  /// What a file is known by: when this differs, it is read again.
  struct Stamp: Equatable {
    var seconds: Int
    var nanoseconds: Int
    var size: Int
    var inode: UInt64
  }

  /// Names of the YAML and JSON files, not of those in subfolders, sorted. Throws `CLI0110`.
  static func files(_ folder: String) throws(WeftError) -> [String] {
    guard let directory = opendir(folder) else {
      throw WeftError(
        "CLI0110", object: folder, cause: String(cString: strerror(errno)),
        next: "give --manifests a folder with YAML or JSON files")
    }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      let isManifest = [".yaml", ".yml", ".json"].contains { name.hasSuffix($0) }
      if isManifest, !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }

  /// Nil when there is no such file any more.
  static func stamp(_ path: String) -> Stamp? {
    var info = stat()
    guard stat(path, &info) == 0 else { return nil }
    return Stamp(
      seconds: Int(info.st_mtim.tv_sec), nanoseconds: Int(info.st_mtim.tv_nsec), size: Int(info.st_size),
      inode: UInt64(info.st_ino))
  }
}
