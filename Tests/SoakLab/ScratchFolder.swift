// A folder of one test, gone with all that is in it when the test ends.

import Glibc

/// Why there is no folder.
public struct ScratchError: Error, CustomStringConvertible {
  public var description: String
}

/// Makes and removes folders of tests. They are under /tmp, whatever TMPDIR says: paths of sockets have 107 bytes.
public enum ScratchFolder {
  /// A new folder `/tmp/weft-NAME-XXXXXX`, of mode 0700.
  public static func make(_ name: String) throws -> String {
    var template = Array("/tmp/weft-\(name)-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ScratchError(description: "mkdtemp: errno \(errno)") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Removes a folder with all that is in it; links are removed and not followed. What cannot be removed stays.
  public static func remove(_ path: String) {
    if let directory = opendir(path) {
      var names: [String] = []
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { names.append(name) }
      }
      closedir(directory)
      // A link to a folder can be unlinked, a folder cannot.
      for name in names where unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
    }
    rmdir(path)
  }
}
