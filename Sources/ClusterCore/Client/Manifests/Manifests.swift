// The objects of manifests, read once: of a file, or of a folder's files.

import ClusterObjects
import Diagnostics
import Glibc

public enum Manifests {
  /// The objects in the order of files and documents, `List` kinds taken apart. Of a folder the YAML and JSON files, not its
  /// subfolders. Throws a `WeftError` that names file and line of what cannot be read.
  public static func read(_ path: String) throws(WeftError) -> [JSON] {
    var status = stat()
    let isFolder = stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    let files = isFolder ? try ManifestFolder.files(path).map { "\(path)/\($0)" } : [path]
    var objects: [JSON] = []
    for file in files { try ManifestFile.read(file) { objects.append($0.object) } }
    return objects
  }
}
