// A folder of manifests for a reader that keeps what it needs in a form of its own: objects are handed on while files are read.

import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// Follows a folder as `ManifestClient` does, with the same rules for files that cannot be read and for objects in two files, and
/// holds the names of the objects alone.
public final class ManifestStream: Sendable {
  /// Called for each step, in order, while files are read; `gone` and `object` alone.
  public typealias Handler = @Sendable (GroupVersionResource, ObjectStep) -> Void

  /// Called for an object before a tree is made of it. Whoever takes it says so, and `Handler` does not hear of it.
  public typealias PlainHandler = @Sendable (GroupVersionResource, ObjectKey, TapeValue) -> Bool

  private struct File {
    var stamp: ManifestFolder.Stamp
    /// By the resources asked for, in their order.
    var keys: [[ObjectKey]]
    var problem: WeftError?
  }
  private let folder: String
  private let resources: [GroupVersionResource]
  private let handler: Handler
  private let plain: PlainHandler?
  /// Rung after steps that belong together.
  private let changed: @Sendable () -> Void
  private let files = Mutex<[String: File]>([:])
  private let poller = Mutex<Task<Void, Never>?>(nil)
  private let logger = Logger(label: "manifests")

  /// Reads the folder once, handing every object of these resources on, and then follows it until released.
  /// - Throws: a `WeftError` that names file and line when the folder or a file in it cannot be read.
  public init(
    folder: String, resources: [GroupVersionResource], changed: @escaping @Sendable () -> Void,
    plain: PlainHandler? = nil, handler: @escaping Handler
  ) throws(WeftError) {
    self.folder = folder
    self.resources = resources
    self.handler = handler
    self.plain = plain
    self.changed = changed
    if let problem = try refresh(isFirst: true).first { throw problem }
    let task = Task.detached { [weak self] in
      while !Task.isCancelled {
        try? await Task.sleep(for: ManifestFolder.pollPeriod)
        guard let self else { return }
        self.poll()
      }
    }
    poller.withLock { $0 = task }
  }

  deinit { poller.withLock { $0?.cancel() } }

  /// Ends the following. No step comes after it.
  public func stop() async {
    let task = poller.withLock { $0 }
    task?.cancel()
    await task?.value
  }

  /// What cannot be read at the moment.
  public var problems: [WeftError] {
    files.withLock { $0.sorted { $0.key < $1.key }.compactMap(\.value.problem) }
  }

  private func poll() {
    let fresh: [WeftError]
    do { fresh = try refresh(isFirst: false) } catch { fresh = [error] }
    for problem in fresh {
      logger.warning("manifest keeps its previous content", metadata: ["error": "\(problem)"])
    }
  }

  /// Takes changed files over; the problems that are new.
  private func refresh(isFirst: Bool) throws(WeftError) -> [WeftError] {
    let names = try ManifestFolder.files(folder)
    let before = files.withLock { $0 }
    var after = before.filter { names.contains($0.key) }
    var fresh: [WeftError] = []
    var toRead: [String] = []
    for name in names {
      guard let stamp = ManifestFolder.stamp("\(folder)/\(name)"), before[name]?.stamp != stamp else {
        continue
      }
      after[name] = File(stamp: stamp, keys: before[name]?.keys ?? [])
      do throws(WeftError) {
        // Nothing of a file counts that cannot be read to its end. At the start there is nothing before it to keep.
        if !isFirst { try ManifestFile.read("\(folder)/\(name)", plain: { _, _, _ in true }) { _ in } }
        toRead.append(name)
      } catch {
        after[name]?.problem = error
        fresh.append(error)
      }
    }
    guard !toRead.isEmpty || after.count != before.count else {
      files.withLock { $0 = after }
      return fresh
    }
    var read: Set<String> = []
    // Of an object in two files the last by name counts: where files share objects, those after a changed one speak again.
    func hand(_ names: [String]) {
      for name in names where read.insert(name).inserted {
        do throws(WeftError) { after[name]?.keys = try handOn(name) } catch {
          after[name]?.problem = error
          fresh.append(error)
        }
      }
    }
    hand(toRead)
    if !isFirst, Self.sharesObjects(before) || Self.sharesObjects(after) {
      read = []
      hand(names.filter { after[$0]?.problem == nil })
    }
    // At the start there is nothing that could be gone.
    for index in resources.indices where !before.isEmpty {
      for key in Self.keys(before, index).subtracting(Self.keys(after, index)) {
        handler(resources[index], .gone(key))
      }
    }
    files.withLock { $0 = after }
    changed()
    return fresh
  }

  /// Hands a file's objects on; their names.
  private func handOn(_ name: String) throws(WeftError) -> [[ObjectKey]] {
    var keys: [[ObjectKey]] = resources.map { _ in [] }
    let glance: ManifestFile.PlainHandler = { [resources, plain] resource, key, object in
      guard let plain, let index = resources.firstIndex(of: resource), plain(resource, key, object) else {
        return false
      }
      keys[index].append(key)
      return true
    }
    try ManifestFile.read("\(folder)/\(name)", plain: glance) { [resources, handler] item in
      guard let index = resources.firstIndex(of: item.resource) else { return }
      let key = item.object.key
      keys[index].append(key)
      handler(item.resource, .object(key, item.object))
    }
    return keys
  }

  private static func keys(_ files: [String: File], _ index: Int) -> Set<ObjectKey> {
    var keys: Set<ObjectKey> = []
    for file in files.values where file.keys.indices.contains(index) { keys.formUnion(file.keys[index]) }
    return keys
  }

  /// Whether an object stands in two files.
  private static func sharesObjects(_ files: [String: File]) -> Bool {
    guard files.count > 1 else { return false }
    let count = files.values.map(\.keys.count).max() ?? 0
    return (0..<count).contains { index in
      let named = files.values.reduce(0) {
        $0 + ($1.keys.indices.contains(index) ? Set($1.keys[index]).count : 0)
      }
      return named > keys(files, index).count
    }
  }
}
