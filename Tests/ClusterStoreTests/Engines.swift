// The engines that the black-box suite runs against, each with an empty store that goes away afterwards: SQLite on a folder
// of its own, etcd under a prefix of its own in a real etcd that this process starts once.

import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import StoreLab

enum Engine: String, CaseIterable, Sendable {
  case sqlite
  /// The newer etcd, and Debian's.
  case etcd35, etcd34

  static let testRules = [EphemeralRule(prefix: "/e/", entriesMax: 3, lifetimeSeconds: 0)]

  /// Runs `body` on an empty store.
  func withStore<T>(_ body: (any Store) async throws -> T) async throws -> T {
    try await withScratch { folder in
      let store = try await open(folder)
      do {
        let value = try await body(store)
        await store.shutdown()
        return value
      } catch {
        await store.shutdown()
        throw error
      }
    }
  }

  /// The store that belongs to `folder`, as it was left.
  func open(_ folder: String) async throws -> any Store {
    if let version = etcdVersion {
      return try await EtcdServer.shared(version).open(prefix: folder)
    }
    return try SQLiteStore(
      settings: SQLiteStoreSettings(folder: folder, ephemeral: Self.testRules), metrics: Metrics())
  }

  var etcdVersion: EtcdServer.Version? {
    switch self {
    case .sqlite: nil
    case .etcd35: .newer
    case .etcd34: .debian
    }
  }

  /// Whether every revision is one of ours: other stores of the same etcd take some.
  var isAlone: Bool { self == .sqlite }
}

extension [UInt8] {
  init(text: String) { self = Array(text.utf8) }
}

/// Looks until `condition` holds or `limit` is over.
func until(_ limit: Duration = .seconds(60), _ condition: () async throws -> Bool) async throws -> Bool {
  let start = ContinuousClock.now
  while ContinuousClock.now - start < limit {
    if try await condition() { return true }
    try await Task.sleep(for: .milliseconds(5))
  }
  return try await condition()
}
