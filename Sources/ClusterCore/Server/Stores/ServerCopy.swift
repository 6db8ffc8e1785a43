// Copies of a cluster that move from one store to another.

import ClusterStore
import Diagnostics

/// What a server keeps in its store, as a file: made from any store, put into any.
public enum ServerCopy {
  /// Writes under way at once.
  private static let writersMax = 64

  /// Copies what `store` holds at one revision to `file`; servers may run. Not carried: leases of the servers themselves, claims
  /// (made anew from the Services and Leases), certificates. Errors: those of `SQLiteBackup.write`.
  public static func write(_ store: any Store, to file: String) async throws(WeftError) -> StoreCopy {
    try await SQLiteBackup.write(
      store, prefix: ObjectCaches.root, besides: [ServerEndpoints.leases, ObjectCaches.root + "weft-mark"],
      to: file)
  }

  /// Writes what `copy` holds into an empty store, Services with what they claim. Errors: of reading and writing, `STO0025` when
  /// two Services of the copy hold one address.
  public static func fill(_ store: any SharedStore, from copy: StoreCopyReader) async throws(WeftError) {
    let store = ClaimingStore(store)
    var last = ""
    while true {
      let page = try copy.values(after: last, limit: 512)
      guard let end = page.last?.key else { return }
      last = end
      let values = page.filter { !$0.key.hasPrefix(ServerEndpoints.leases) }
      do {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for (index, value) in values.enumerated() {
            if index >= writersMax { try await group.next() }
            group.addTask { _ = try await store.create(value.key, value.value) }
          }
          try await group.waitForAll()
        }
      } catch {
        if case StoreError.failed(let cause) = error { throw cause }
        throw WeftError(
          "STO0025", object: "the copy", cause: "cannot be written: \(error)",
          next: "restore into an --etcd-prefix of its own, or use another copy")
      }
    }
  }
}
