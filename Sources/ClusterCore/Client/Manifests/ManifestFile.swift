// One file of manifests, object by object: what is held of it at once is one object, however large the file.

import ClusterObjects
import Diagnostics
import Glibc

/// An object of a manifest and what it is served as.
struct ManifestItem: Equatable {
  var resource: GroupVersionResource
  var object: JSON
}

enum ManifestFile {
  static let bytesMax = 64 << 20

  /// Hands each object of a YAML or JSON file on, in order: documents, and what stands in a list's `items`. A `.json` file that
  /// turns out to be no JSON is read from its beginning again as YAML, so an object may come twice.
  /// - Throws: `CLI0110` when the file cannot be read, `CLI0111` with its line when it is neither, `CLI0112` for an object
  ///   without a name or kind; what came before has been handed on.
  static func read(_ path: String, _ body: @escaping (ManifestItem) -> Void) throws(WeftError) {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw unreadable(path) }
    defer { close(file) }
    var info = stat()
    guard fstat(file, &info) == 0 else { throw unreadable(path) }
    guard info.st_size <= bytesMax else {
      throw WeftError("CLI0110", object: path, cause: "larger than \(bytesMax) bytes", next: "split it")
    }
    var problem: WeftError?
    func take(_ object: JSON, _ place: String) {
      // Of a list whose items were handed on nothing is left that is an object.
      if object.kind.hasSuffix("List"), object["items"]?.elements.isEmpty ?? false { return }
      guard problem == nil else { return }
      do throws(WeftError) { body(try item(object, place)) } catch { problem = error }
    }
    // JSON's own parser is many times faster, and some JSON (tabs) is no YAML.
    if path.hasSuffix(".json"), try readJSON(file, path, { take($0, path) }) {
      if let problem { throw problem }
      return
    }
    problem = nil
    guard lseek(file, 0, SEEK_SET) == 0 else { throw unreadable(path) }
    do throws(YAMLError) {
      try YAMLReader.stream(file) { take($0.value, "\(path):\($0.line)") }
    } catch {
      throw WeftError(
        "CLI0111", object: error.line > 0 ? "\(path):\(error.line)" : path, cause: error.reason,
        next: "correct the file; it is read again when it changes")
    }
    if let problem { throw problem }
  }

  private static func unreadable(_ path: String) -> WeftError {
    WeftError("CLI0110", object: path, cause: String(cString: strerror(errno)), next: "check the path")
  }

  /// False when the file is no JSON value.
  private static func readJSON(_ file: Int32, _ path: String, _ body: (JSON) -> Void) throws(WeftError)
    -> Bool
  {
    var items = JSONItems()
    var isJSON = true
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while isJSON {
      let count = Glibc.read(file, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw unreadable(path) }
      if count == 0 { break }
      chunk.withUnsafeBufferPointer { buffer in
        do throws(JSONItems.Malformed) {
          try items.feed(UnsafeBufferPointer(rebasing: buffer[..<count])) { element in
            guard isJSON, let object = try? JSON(parsing: element) else { return isJSON = false }
            body(object)
          }
        } catch { isJSON = false }
      }
    }
    guard isJSON, let rest = try? JSON(parsing: items.rest) else { return false }
    body(rest)
    return true
  }

  /// The object with the namespace and uid that a server would give it.
  private static func item(_ object: JSON, _ place: String) throws(WeftError) -> ManifestItem {
    var object = object
    guard !object.kind.isEmpty, !object.apiVersion.isEmpty, !object.name.isEmpty else {
      throw WeftError(
        "CLI0112", object: place, cause: "an object needs apiVersion, kind and metadata.name",
        next: "correct the file; it is read again when it changes")
    }
    let known = KindRegistry.builtin.kind(apiVersion: object.apiVersion, kind: object.kind)
    let gvk = GroupVersionKind(apiVersion: object.apiVersion, kind: object.kind)
    let resource = known?.gvr ?? GroupVersionResource(gvk.group, gvk.version, plural(gvk.kind))
    if known?.isNamespaced ?? true, object.namespace.isEmpty {
      object.set("default", at: "metadata", "namespace")
    }
    if object.uid.isEmpty {
      object.set(JSON("manifest/\(resource)/\(object.key)"), at: "metadata", "uid")
    }
    object.set(nil, at: "metadata", "resourceVersion")
    return ManifestItem(resource: resource, object: object)
  }

  /// What kinds that are not known are most likely served as.
  private static func plural(_ kind: String) -> String {
    let word = kind.lowercased()
    if word.hasSuffix("s") || word.hasSuffix("x") || word.hasSuffix("ch") { return word + "es" }
    if word.hasSuffix("y"), !word.hasSuffix("ay"), !word.hasSuffix("ey") { return word.dropLast() + "ies" }
    return word + "s"
  }
}
