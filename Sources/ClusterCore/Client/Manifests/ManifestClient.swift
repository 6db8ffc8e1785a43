// A folder of manifests as an API that can be read and watched but not written: what `--manifests DIR`
// stands for.

import ClusterObjects
import Diagnostics
import Glibc
import Logging
import Synchronization

/// Objects from the YAML and JSON files of a folder (not of its subfolders), any number of documents a
/// file, `List` kinds taken apart. Changes in the folder are seen within a second. A file that cannot be
/// read keeps its previous content and is reported with its line. Of an object in two files the last by
/// file name counts.
public final class ManifestClient: ClusterAPI {
  public static let pollPeriod: Duration = .milliseconds(500)

  private struct Item: Equatable {
    var resource: GroupVersionResource
    var object: JSON
  }
  private struct File {
    var stamp: Stamp
    var items: [Item]
    var problem: WeftError?
  }
  private struct Stamp: Equatable {
    var seconds: Int
    var nanoseconds: Int
    var size: Int
    var inode: UInt64
  }
  private let folder: String
  private let memory = MemoryClusterAPI()
  private let files = Mutex<[String: File]>([:])
  private let poller = Mutex<Task<Void, Never>?>(nil)
  private let logger = Logger(label: "manifests")

  /// Reads the folder once, and then follows it until released. Throws a `WeftError` that names file and
  /// line when the folder or a file in it cannot be read.
  public init(folder: String) throws {
    self.folder = folder
    _ = try refresh()
    if let problem = problems.first { throw problem }
    let task = Task.detached { [weak self] in
      while !Task.isCancelled {
        try? await Task.sleep(for: Self.pollPeriod)
        guard let self else { return }
        self.poll()
      }
    }
    poller.withLock { $0 = task }
  }

  deinit { poller.withLock { $0?.cancel() } }

  /// What cannot be read at the moment.
  public var problems: [WeftError] {
    files.withLock { $0.sorted { $0.key < $1.key }.compactMap(\.value.problem) }
  }

  private func poll() {
    let fresh: [WeftError]
    do { fresh = try refresh() } catch { fresh = [error] }
    for problem in fresh {
      logger.warning("manifest keeps its previous content", metadata: ["error": "\(problem)"])
    }
  }

  // MARK: Reading the folder

  /// Takes changed files over; the problems that are new.
  private func refresh() throws(WeftError) -> [WeftError] {
    let names = try fileNames()
    var fresh: [WeftError] = []
    let wanted: [TrackedKey: Item]? = files.withLock { files in
      var didChange = false
      for name in files.keys where !names.contains(name) {
        files[name] = nil
        didChange = true
      }
      for name in names {
        guard let stamp = Self.stamp("\(folder)/\(name)"), files[name]?.stamp != stamp else { continue }
        didChange = true
        do throws(WeftError) {
          files[name] = File(stamp: stamp, items: try Self.read("\(folder)/\(name)"))
        } catch {
          files[name] = File(stamp: stamp, items: files[name]?.items ?? [], problem: error)
          fresh.append(error)
        }
      }
      guard didChange else { return nil }
      var wanted: [TrackedKey: Item] = [:]
      for (_, file) in files.sorted(by: { $0.key < $1.key }) {
        for item in file.items { wanted[TrackedKey(resource: item.resource, key: item.object.key)] = item }
      }
      return wanted
    }
    if let wanted { store(wanted) }
    return fresh
  }

  private struct TrackedKey: Hashable {
    var resource: GroupVersionResource
    var key: ObjectKey
  }

  private func store(_ wanted: [TrackedKey: Item]) {
    let (present, resources) = memory.state.withLock { ($0.objects, Array($0.objects.keys)) }
    for resource in resources {
      for key in (present[resource] ?? [:]).keys where wanted[TrackedKey(resource: resource, key: key)] == nil
      {
        memory.remove(resource, key)
      }
    }
    for (tracked, item) in wanted.sorted(by: { $0.key.key < $1.key.key }) {
      var old = present[tracked.resource]?[tracked.key]
      old?.set(nil, at: "metadata", "resourceVersion")
      if old != item.object { memory.put(tracked.resource, item.object) }
    }
  }

  private func fileNames() throws(WeftError) -> [String] {
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

  private static func stamp(_ path: String) -> Stamp? {
    var info = stat()
    guard stat(path, &info) == 0 else { return nil }
    return Stamp(
      seconds: Int(info.st_mtim.tv_sec), nanoseconds: Int(info.st_mtim.tv_nsec), size: Int(info.st_size),
      inode: UInt64(info.st_ino))
  }

  private static func read(_ path: String) throws(WeftError) -> [Item] {
    let bytes = try readFile(path, code: "CLI0110")
    let documents: [YAML.Document]
    // JSON's own parser is many times faster, and some JSON (tabs) is no YAML.
    if path.hasSuffix(".json"), let value = try? JSON(parsing: bytes) {
      documents = [YAML.Document(value: value, line: 1)]
    } else {
      do throws(YAMLError) {
        documents = try YAML.parseAll(String(decoding: bytes, as: UTF8.self))
      } catch {
        throw WeftError(
          "CLI0111", object: error.line > 0 ? "\(path):\(error.line)" : path, cause: error.reason,
          next: "correct the file; it is read again when it changes")
      }
    }
    var items: [Item] = []
    for document in documents {
      let objects = document.value.kind.hasSuffix("List") ? document.value["items"]?.array : nil
      for object in objects ?? [document.value] {
        items.append(try item(object, "\(path):\(document.line)"))
      }
    }
    return items
  }

  private static func item(_ object: JSON, _ place: String) throws(WeftError) -> Item {
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
    return Item(resource: resource, object: object)
  }

  /// What kinds that are not known are most likely served as.
  private static func plural(_ kind: String) -> String {
    let word = kind.lowercased()
    if word.hasSuffix("s") || word.hasSuffix("x") || word.hasSuffix("ch") { return word + "es" }
    if word.hasSuffix("y"), !word.hasSuffix("ay"), !word.hasSuffix("ey") { return word.dropLast() + "ies" }
    return word + "s"
  }

  // MARK: ClusterAPI

  public func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    try await memory.get(resource, namespace: namespace, name: name)
  }
  public func list(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> ObjectList
  { try await memory.list(resource, namespace: namespace, options: options) }
  public func watch(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  { try await memory.watch(resource, namespace: namespace, options: options) }

  private func refuse(_ verb: String) -> APIStatusError {
    APIStatusError(
      code: 405, reason: "MethodNotAllowed", message: "\(verb): manifests in \(folder) are only read")
  }
  public func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws
    -> JSON
  { throw refuse("create") }
  public func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON { throw refuse("update") }
  public func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON { throw refuse("patch") }
  public func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON { throw refuse("create") }
  public func delete(
    _ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions
  ) async throws { throw refuse("delete") }
}
