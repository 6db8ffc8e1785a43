// One file of manifests, object by object: what is held of it at once is one object, however large the file.

import ClusterObjects
import Diagnostics
import Glibc
import Synchronization

/// An object of a manifest and what it is served as.
struct ManifestItem: Equatable {
  var resource: GroupVersionResource
  var object: JSON
}

/// Every object of a file, or of the YAML and JSON files of a folder; `-` is standard input. Of an object that comes twice the last counts.
/// - Throws: `CLI0110` when something cannot be read, `CLI0111` with its line when it is neither YAML nor JSON, `CLI0112` for an
///   object without a name or kind.
public func readManifests(_ path: String) throws(WeftError) -> [JSON] {
  var info = stat()
  var files = [path == "-" ? "/dev/stdin" : path]
  if stat(path, &info) == 0, info.st_mode & S_IFMT == S_IFDIR {
    files = try ManifestFolder.files(path).map { "\(path)/\($0)" }
  }
  let found = Mutex<(order: [String], objects: [String: JSON])>(([], [:]))
  for file in files {
    try ManifestFile.read(file) { item in
      found.withLock { found in
        let key = "\(item.resource) \(item.object.key)"
        if found.objects[key] == nil { found.order.append(key) }
        found.objects[key] = item.object
      }
    }
  }
  return found.withLock { found in found.order.compactMap { found.objects[$0] } }
}

enum ManifestFile {
  /// What an object is served as, its name, and the object. Whether it is taken.
  typealias PlainHandler = (GroupVersionResource, ObjectKey, TapeValue) -> Bool

  static let bytesMax = 64 << 20
  private static let chunkBytes = 128 << 10

  /// Hands each object of a YAML or JSON file on, in order: documents, and what stands in a list's `items`. A `.json` file that
  /// turns out to be no JSON is read from its beginning again as YAML, so an object may come twice.
  /// - Parameter plain: hears of an object before a tree is made of it; `body` does not hear of what it takes.
  /// - Throws: `CLI0110` when the file cannot be read, `CLI0111` with its line when it is neither, `CLI0112` for an object
  ///   without a name or kind; what came before has been handed on.
  static func read(
    _ path: String, plain: PlainHandler? = nil, _ body: @escaping (ManifestItem) -> Void
  ) throws(WeftError) {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw unreadable(path) }
    defer { close(file) }
    var info = stat()
    guard fstat(file, &info) == 0 else { throw unreadable(path) }
    guard info.st_size <= bytesMax else {
      throw WeftError("CLI0110", object: path, cause: "larger than \(bytesMax) bytes", next: "split it")
    }
    var problem: WeftError?
    var kinds = PlainKinds()
    func take(_ object: JSON, _ place: String) {
      // Of a list whose items were handed on nothing is left that is an object.
      if object.kind.hasSuffix("List"), object["items"]?.elements.isEmpty ?? false { return }
      guard problem == nil else { return }
      do throws(WeftError) { body(try item(object, place)) } catch { problem = error }
    }
    // JSON's own parser is many times faster, and some JSON (tabs) is no YAML.
    let taken = { (object: TapeValue) in
      guard problem == nil, let plain, let (resource, key) = kinds.place(of: object) else { return false }
      return plain(resource, key, object)
    }
    if path.hasSuffix(".json"), try readJSON(file, path, taken, { take($0, path) }) {
      if let problem { throw problem }
      return
    }
    problem = nil
    // A pipe has no beginning to go back to, and needs none.
    guard !path.hasSuffix(".json") || lseek(file, 0, SEEK_SET) == 0 else { throw unreadable(path) }
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
  private static func readJSON(
    _ file: Int32, _ path: String, _ isTaken: (TapeValue) -> Bool, _ body: (JSON) -> Void
  ) throws(WeftError) -> Bool {
    var items = JSONItems()
    var tape = JSONTape()
    var isJSON = true
    var chunk = [UInt8](repeating: 0, count: chunkBytes)
    while isJSON {
      let count = Glibc.read(file, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw unreadable(path) }
      if count == 0 { break }
      chunk.withUnsafeBufferPointer { buffer in
        do throws(JSONItems.Malformed) {
          try items.feed(UnsafeBufferPointer(rebasing: buffer[..<count])) { bytes in
            // An element that goes on in the next chunk is gathered first.
            tape.read(bytes) { object, count in
              if !isTaken(object), let tree = object.tree { body(tree) }
              return count
            }
          } each: { element in
            let isWhole = element.withUnsafeBufferPointer { bytes in
              tape.read(bytes) { object, count in count == bytes.count && isTaken(object) }
            }
            if isWhole == true { return }
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
    let known = knownKind(object.apiVersion, object.kind)
    let gvk = GroupVersionKind(apiVersion: object.apiVersion, kind: object.kind)
    let resource = known?.resource ?? GroupVersionResource(gvk.group, gvk.version, plural(gvk.kind))
    if known?.isNamespaced ?? true, object.namespace.isEmpty {
      object.set("default", at: "metadata", "namespace")
    }
    if object.uid.isEmpty {
      object.set(JSON("manifest/\(resource)/\(object.key)"), at: "metadata", "uid")
    }
    object.set(nil, at: "metadata", "resourceVersion")
    return ManifestItem(resource: resource, object: object)
  }

  /// What a kind is served as. Those that names are made of are known by heart: to read all kinds in takes milliseconds of a start.
  fileprivate static func knownKind(_ apiVersion: String, _ kind: String) -> (
    resource: GroupVersionResource, isNamespaced: Bool
  )? {
    switch (apiVersion, kind) {
    case ("v1", "Namespace"): (.namespaces, false)
    case ("v1", "Service"): (.services, true)
    case ("discovery.k8s.io/v1", "EndpointSlice"): (.endpointSlices, true)
    default:
      KindRegistry.builtin.kind(apiVersion: apiVersion, kind: kind).map { ($0.gvr, $0.isNamespaced) }
    }
  }

  /// What kinds that are not known are most likely served as.
  private static func plural(_ kind: String) -> String {
    let word = kind.lowercased()
    if word.hasSuffix("s") || word.hasSuffix("x") || word.hasSuffix("ch") { return word + "es" }
    if word.hasSuffix("y"), !word.hasSuffix("ay"), !word.hasSuffix("ey") { return word.dropLast() + "ies" }
    return word + "s"
  }
}

/// What plainly written objects are served as. Those of one kind most often stand together: the last kind is remembered.
private struct PlainKinds {
  private var last: (apiVersion: String, kind: String, resource: GroupVersionResource)?

  /// Nil when the object has to be looked at as a tree: it is of no kind that is known to stand in a namespace, or has no name.
  mutating func place(of object: TapeValue) -> (GroupVersionResource, ObjectKey)? {
    guard let apiVersion = object["apiVersion"], let kind = object["kind"],
      let key = object.key, !key.name.isEmpty
    else { return nil }
    if !(last.map { kind.isString($0.kind) && apiVersion.isString($0.apiVersion) } ?? false) {
      guard let apiVersion = apiVersion.string, let kind = kind.string,
        let known = ManifestFile.knownKind(apiVersion, kind), known.isNamespaced
      else { return nil }
      last = (apiVersion, kind, known.resource)
    }
    guard let last else { return nil }
    return (last.resource, ObjectKey(key.namespace.isEmpty ? "default" : key.namespace, key.name))
  }
}
