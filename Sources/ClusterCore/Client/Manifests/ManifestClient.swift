// A folder of manifests as an API that can be read and watched but not written: what `--manifests DIR`
// stands for.

import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// Objects from the YAML and JSON files of a folder (not of its subfolders), any number of documents a
/// file, `List` kinds taken apart. Changes in the folder are seen within a second. A file that cannot be
/// read keeps its previous content and is reported with its line. Of an object in two files the last by
/// file name counts.
public final class ManifestClient: ClusterAPI {
  public static let pollPeriod = ManifestFolder.pollPeriod

  private struct File {
    var stamp: ManifestFolder.Stamp
    var items: [ManifestItem]
    var problem: WeftError?
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
    let names = try ManifestFolder.files(folder)
    var fresh: [WeftError] = []
    let wanted: [TrackedKey: ManifestItem]? = files.withLock { files in
      var didChange = false
      for name in files.keys where !names.contains(name) {
        files[name] = nil
        didChange = true
      }
      for name in names {
        guard let stamp = ManifestFolder.stamp("\(folder)/\(name)"), files[name]?.stamp != stamp else {
          continue
        }
        didChange = true
        do throws(WeftError) {
          var items: [ManifestItem] = []
          try ManifestFile.read("\(folder)/\(name)") { items.append($0) }
          files[name] = File(stamp: stamp, items: items)
        } catch {
          files[name] = File(stamp: stamp, items: files[name]?.items ?? [], problem: error)
          fresh.append(error)
        }
      }
      guard didChange else { return nil }
      var wanted: [TrackedKey: ManifestItem] = [:]
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

  private func store(_ wanted: [TrackedKey: ManifestItem]) {
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
