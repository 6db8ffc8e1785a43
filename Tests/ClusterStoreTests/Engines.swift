// The engines that the black-box suite runs against, each on a folder of its own that goes away afterwards.

import ClusterStore
import Diagnostics
import Glibc

enum Engine: String, CaseIterable, Sendable {
  case sqlite

  /// Runs `body` on an empty store.
  func withStore<T>(
    ephemeral: [EphemeralRule] = [EphemeralRule(prefix: "/e/", entriesMax: 3, lifetimeSeconds: 0)],
    _ body: (any Store) async throws -> T
  ) async throws -> T {
    try await withFolder { folder in
      let store = try open(folder, ephemeral: ephemeral)
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

  func open(
    _ folder: String,
    ephemeral: [EphemeralRule] = [EphemeralRule(prefix: "/e/", entriesMax: 3, lifetimeSeconds: 0)]
  ) throws -> any Store {
    try SQLiteStore(settings: SQLiteStoreSettings(folder: folder, ephemeral: ephemeral), metrics: Metrics())
  }
}

func withFolder<T>(_ body: (String) async throws -> T) async throws -> T {
  var template = Array("/tmp/weft-store-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw NoFolder(code: errno) }
  let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  func clean() {
    for file in ["store.db", "store.db-wal", "store.db-shm", "store.lock"] { unlink("\(folder)/\(file)") }
    rmdir(folder)
  }
  do {
    let value = try await body(folder)
    clean()
    return value
  } catch {
    clean()
    throw error
  }
}

struct NoFolder: Error { var code: Int32 }

extension [UInt8] {
  init(text: String) { self = Array(text.utf8) }
}
