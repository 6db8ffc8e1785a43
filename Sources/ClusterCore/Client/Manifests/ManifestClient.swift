// A folder of manifests in place of an API server: read-only, followed once a second. A file that cannot be read keeps what it
// said before.

import ClusterObjects
import Diagnostics
import Glibc
import Logging
import Synchronization

/// Objects of every `.yaml`, `.yml` and `.json` file of a folder. Writes are refused.
public final class ManifestClient: ClusterAPI {
  /// Files past this size are refused: nobody writes them by hand.
  public static let fileBytesMax = 64 << 20
  private static let interval: Duration = .seconds(1)

  private struct File {
    var stamp: [Int]
    var objects: [JSON]
  }

  private let folder: String
  private let registry: KindRegistry
  private let files: Mutex<[String: File]>
  private let log = Logger(label: "manifests")

  /// Reads the folder. Throws `CLI0030` when there is none and `CLI0031` for a file that cannot be read: at the start
  /// there is nothing to keep.
  public init(folder: String, registry: KindRegistry = .builtin) throws(WeftError) {
    self.folder = folder
    self.registry = registry
    var found: [String: File] = [:]
    guard let names = Self.names(folder) else {
      throw WeftError(
        "CLI0030", object: "folder \(folder)", cause: "cannot be read: \(String(cString: strerror(errno)))",
        next: "name a folder of manifests with --manifests")
    }
    for name in names { found[name] = try Self.read("\(folder)/\(name)") }
    files = Mutex(found)
  }

  public func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    guard let object = objects(resource)[ObjectKey(namespace, name)] else {
      throw APIStatusError(code: 404, reason: "NotFound", message: "\(resource) \"\(name)\" not found")
    }
    return object
  }

  public func list(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> ObjectList
  {
    let labels = try LabelSelector(parsing: options.labelSelector ?? "")
    let fields = try FieldSelector(parsing: options.fieldSelector ?? "")
    let items = objects(resource).values.filter {
      (namespace.isEmpty || $0.namespace == namespace) && labels.matches($0.labels) && fields.matches($0)
    }
    return ObjectList(resourceVersion: "1", items: items.sorted { $0.key < $1.key })
  }

  public func watch(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  {
    guard !options.sendInitialEvents else {
      throw APIStatusError(
        code: 422, reason: "Invalid", message: "sendInitialEvents is not served from manifests")
    }
    return AsyncThrowingStream { output in
      let task = Task.detached { [self] in
        var known = objects(resource)
        while !Task.isCancelled {
          try await Task.sleep(for: Self.interval)
          refresh()
          let now = objects(resource)
          for (key, object) in now where known[key] != object {
            output.yield(known[key] == nil ? .added(object) : .modified(object))
          }
          for (key, object) in known where now[key] == nil { output.yield(.deleted(object)) }
          known = now
        }
      }
      output.onTermination = { _ in task.cancel() }
    }
  }

  public func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws
    -> JSON
  { throw readOnly }
  public func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    throw readOnly
  }
  public func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON { throw readOnly }
  public func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON { throw readOnly }
  public func delete(
    _ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions
  ) async throws {
    throw readOnly
  }

  private var readOnly: APIStatusError {
    APIStatusError(code: 405, reason: "MethodNotAllowed", message: "manifests are read, not written")
  }

  // MARK: - Files

  private func objects(_ resource: GroupVersionResource) -> [ObjectKey: JSON] {
    var found: [ObjectKey: JSON] = [:]
    for (_, file) in files.withLock({ $0 }).sorted(by: { $0.key < $1.key }) {
      for object in file.objects {
        guard let kind = registry.kind(apiVersion: object.apiVersion, kind: object.kind), kind.gvr == resource
        else { continue }
        var tree = object
        if kind.isNamespaced, tree.namespace.isEmpty { tree.set("default", at: "metadata", "namespace") }
        found[tree.key] = tree
      }
    }
    return found
  }

  private func refresh() {
    guard let names = Self.names(folder) else { return }
    files.withLock { files in
      for name in files.keys where !names.contains(name) { files[name] = nil }
      for name in names where files[name]?.stamp != Self.stamp("\(folder)/\(name)") {
        do throws(WeftError) {
          files[name] = try Self.read("\(folder)/\(name)")
        } catch {
          log.warning("manifest left as it was", metadata: ["file": "\(name)", "error": "\(error)"])
          if var kept = files[name] {
            kept.stamp = Self.stamp("\(folder)/\(name)")
            files[name] = kept
          }
        }
      }
    }
  }

  private static func names(_ folder: String) -> Set<String>? {
    guard let directory = opendir(folder) else { return nil }
    defer { closedir(directory) }
    var names: Set<String> = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix("."), [".yaml", ".yml", ".json"].contains(where: name.hasSuffix) {
        names.insert(name)
      }
    }
    return names
  }

  /// Changes when the file does: inode, size, time of change.
  private static func stamp(_ path: String) -> [Int] {
    var status = stat()
    guard stat(path, &status) == 0 else { return [] }
    return [Int(status.st_ino), Int(status.st_size), Int(status.st_mtim.tv_sec), Int(status.st_mtim.tv_nsec)]
  }

  private static func read(_ path: String) throws(WeftError) -> File {
    let stamp = stamp(path)
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw WeftError(
        "CLI0031", object: path, cause: "cannot be read: \(String(cString: strerror(errno)))",
        next: "check its owner and mode")
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count > 0 else { break }
      bytes += chunk[..<count]
      guard bytes.count <= fileBytesMax else {
        throw WeftError(
          "CLI0031", object: path, cause: "is larger than \(fileBytesMax) bytes", next: "split it")
      }
    }
    do {
      return File(stamp: stamp, objects: try Manifest.objects(String(decoding: bytes, as: UTF8.self)))
    } catch {
      throw WeftError(
        "CLI0031", object: path, cause: "\(error)",
        next: "mend it, and try: kubectl apply --dry-run=client -f \(path)")
    }
  }
}
