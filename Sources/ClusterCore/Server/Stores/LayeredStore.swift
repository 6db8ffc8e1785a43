// What lies between the server and a store's engine changes writes alone.

import ClusterStore

/// A store that shows what another does, and writes in its own way.
protocol LayeredStore: Store {
  var shown: any Store { get }
}

extension LayeredStore {
  var currentRevision: Revision { shown.currentRevision }
  func latestRevision() async throws(StoreError) -> Revision { try await shown.latestRevision() }
  func get(_ key: String) async throws(StoreError) -> StoredValue? { try await shown.get(key) }
  func list(
    prefix: String, limit: Int, after: String?, at revision: Revision?
  ) async throws(StoreError) -> StorePage {
    try await shown.list(prefix: prefix, limit: limit, after: after, at: revision)
  }
  func watch(prefix: String, after: Revision, queueMax: Int) async throws(StoreError) -> StoreWatch {
    try await shown.watch(prefix: prefix, after: after, queueMax: queueMax)
  }
  func compact(to revision: Revision) async throws(StoreError) { try await shown.compact(to: revision) }
  func expire() { shown.expire() }
}
