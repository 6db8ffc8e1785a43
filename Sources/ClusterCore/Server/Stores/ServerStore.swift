// Where a server keeps its objects, and how that is opened.

import ClusterStore
import Diagnostics

/// Which store a server uses.
public enum ServerStore: Sendable {
  /// In the data folder. One server.
  case sqlite
  /// In a store that other servers may use too, such as an `EtcdStore`; opened at start, closed at shutdown. Servers of one
  /// cluster share the folder `certificates` of their data folders: copy it before the second one starts.
  case shared(@Sendable () async throws(WeftError) -> any SharedStore)
}

/// A store and what must be held while it is open.
struct OpenStore: Sendable {
  var store: any Store
  private var lock: DataFolderLock?

  /// Errors: `STO0001`–`STO0007` of the folder, and those of the shared store.
  init(_ choice: ServerStore, folder: String) async throws(WeftError) {
    switch choice {
    case .sqlite:
      store = try SQLiteStore(settings: SQLiteStoreSettings(folder: folder))
    case .shared(let open):
      lock = try DataFolderLock(folder: folder)
      store = ClaimingStore(try await open())
    }
  }

  func shutdown() async {
    await store.shutdown()
    lock?.release()
  }
}
