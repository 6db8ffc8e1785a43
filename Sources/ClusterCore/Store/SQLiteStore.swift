// The default engine: SQLite in WAL mode with synchronous=FULL, group commit, watches fed by the writer.

import Diagnostics
import Logging

/// Where the store lies and what it bounds.
public struct SQLiteStoreSettings: Sendable {
  public var folder: String
  public var ephemeral: [EphemeralRule]
  /// Writes that may wait for the disk; more are refused with `overloaded`.
  public var pendingMax = 20_000
  /// Reads that may wait for a reader thread.
  public var readsMax = 4096
  /// Pages of 4 KiB in the write-ahead log from which on they are copied into the database.
  public var checkpointPages = 1000
  /// Seconds since 1970, for lifetimes; replaced in tests.
  public var now: @Sendable () -> Int64 = { Timestamp.now().seconds }

  /// Leases and Events, with Kubernetes' hour for Events, are what `ephemeral` holds unless told otherwise.
  public init(
    folder: String,
    ephemeral: [EphemeralRule] = [
      EphemeralRule(prefix: "/registry/events/", entriesMax: 20_000, lifetimeSeconds: 3600),
      EphemeralRule(prefix: "/registry/leases/", entriesMax: 50_000, lifetimeSeconds: 0),
    ]
  ) {
    self.folder = folder
    self.ephemeral = ephemeral
  }
}

/// A `Store` in one file, `store.db`, for one process. Two threads: a writer and a reader.
///
/// Cost: a write is one share of a commit (0.5–1 ms alone); a read is a queue hop and a few microseconds.
public final class SQLiteStore: Store {
  private let settings: SQLiteStoreSettings
  private let file: String
  private let lock: DataFolderLock
  private let hub: WatchHub
  private let writes: WorkerThread<WriteRequest>
  private let reads: WorkerThread<@Sendable (SQLiteReader) -> Void>
  private let metrics: StoreMetrics

  /// Opens or creates the store. Errors: `STO0001`–`STO0007`, each naming the file and the next command.
  /// Blocks for the few milliseconds that opening takes.
  public init(settings: SQLiteStoreSettings, metrics registry: Metrics = .shared) throws(WeftError) {
    self.settings = settings
    lock = try DataFolderLock(folder: settings.folder)
    let file = settings.folder + "/store.db"
    self.file = file
    metrics = StoreMetrics(registry)
    let log = Logger(label: "store")
    do throws(SQLiteFailure) {
      if let damage = WALCheck.damage(in: file + "-wal") { throw SQLiteCheck.damaged(damage) }
      let writer = try SQLiteWriter(
        path: file, rules: settings.ephemeral, metrics: metrics, log: log,
        checkpointPages: settings.checkpointPages, now: settings.now)
      try Self.check(file: file)
      let reader = try SQLiteReader(path: file, ephemeralPrefixes: settings.ephemeral.map(\.prefix))
      hub = WatchHub(revision: writer.revision)
      writes = WorkerThread(pendingMax: settings.pendingMax)
      reads = WorkerThread(pendingMax: settings.readsMax)
      Self.startWriter(writer, writes, hub, settings, log)
      Self.startReader(reader, reads)
    } catch {
      throw error.explained(file: file)
    }
  }

  /// Every row is checked against its sum and all against their digest. Small stores' page structure is checked besides,
  /// for what no query of ours reads.
  private static func check(file: String) throws(SQLiteFailure) {
    let connection = try SQLiteConnection(path: file, readOnly: true)
    try SQLiteCheck.run(connection)
    let size = try connection.prepare(
      "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    let bytes = try size.step() ? size.int(0) : 0
    guard bytes <= 16 << 20 else { return }
    let check = try connection.prepare("PRAGMA quick_check(1)")
    if try check.step(), check.text(0) != "ok" {
      // The first line only says which of the attached databases it is.
      let finding = check.text(0).split(separator: "\n").last.map(String.init) ?? "no finding"
      throw SQLiteFailure(code: 11, text: finding, doing: "checking")
    }
  }

  // The writer belongs to its thread from here on; it is handed over once and touched by nobody else.
  private struct Handover<T>: @unchecked Sendable { var value: T }

  private static func startWriter(
    _ writer: SQLiteWriter, _ queue: WorkerThread<WriteRequest>, _ hub: WatchHub,
    _ settings: SQLiteStoreSettings, _ log: Logger
  ) {
    let owned = Handover(value: writer)
    let file = settings.folder + "/store.db"
    let prefixes = settings.ephemeral.map(\.prefix)
    queue.start(name: "weft-store-w") {
      let writer = owned.value
      while let batch = queue.take(max: SQLiteWriter.batchMax, wait: !writer.hasBackgroundWork) {
        if !batch.isEmpty {
          writer.carryOut(
            batch,
            publish: { events, revision in
              hub.publish(events, revision: revision) { key in prefixes.contains { key.hasPrefix($0) } }
            }, explain: { $0.explained(file: file) })
          if batch.contains(where: { if case .expire = $0 { true } else { false } }) {
            try? writer.giveBack()
          }
        }
        guard writer.hasBackgroundWork else { continue }
        do throws(SQLiteFailure) {
          try writer.compactSome()
        } catch {
          log.error("compaction slice failed", metadata: ["error": "\(error.explained(file: file))"])
          // Waits for the next write instead of spinning on a sick disk.
          guard let next = queue.take(max: SQLiteWriter.batchMax, wait: true) else { break }
          writer.carryOut(
            next,
            publish: { events, revision in
              hub.publish(events, revision: revision) { key in prefixes.contains { key.hasPrefix($0) } }
            }, explain: { $0.explained(file: file) })
        }
      }
      try? writer.finish()
    }
  }

  private static func startReader(
    _ reader: SQLiteReader, _ queue: WorkerThread<@Sendable (SQLiteReader) -> Void>
  ) {
    let owned = Handover(value: reader)
    queue.start(name: "weft-store-r") {
      while let batch = queue.take(max: 64, wait: true) {
        for read in batch { read(owned.value) }
      }
    }
  }

  // MARK: Store

  public var currentRevision: Revision { hub.revision }

  public func get(_ key: String) async throws(StoreError) -> StoredValue? {
    try await read { reader throws(SQLiteFailure) in .success(try reader.get(key)) }
  }

  public func list(
    prefix: String, limit: Int, after: String?, at revision: Revision?
  ) async throws(StoreError) -> StorePage {
    try await read { reader throws(SQLiteFailure) in
      try reader.list(prefix: prefix, limit: limit, after: after, at: revision)
    }
  }

  public func create(_ key: String, _ value: [UInt8]) async throws(StoreError) -> Revision {
    try await write(WriteChange(kind: .create, key: key, value: value))
  }

  public func update(
    _ key: String, _ value: [UInt8], expecting: Revision
  ) async throws(StoreError) -> Revision {
    try await write(WriteChange(kind: .update(expecting: expecting), key: key, value: value))
  }

  public func delete(_ key: String, expecting: Revision) async throws(StoreError) -> Revision {
    try await write(WriteChange(kind: .delete(expecting: expecting), key: key, value: []))
  }

  public func watch(
    prefix: String, after: Revision, queueMax: Int = 10_000
  ) async throws(StoreError) -> StoreWatch {
    let watch = StoreWatch(prefix: prefix, queueMax: queueMax) { [hub] in hub.remove($0) }
    let seen = try hub.add(watch)
    do throws(StoreError) {
      guard after <= seen.revision else { throw .future(current: seen.revision) }
      var history: [StoreEvent] = []
      if after < seen.revision {
        let prefixes = settings.ephemeral.map(\.prefix)
        let isAllEphemeral = prefixes.contains { prefix.hasPrefix($0) }
        let hasEphemeral = isAllEphemeral || prefixes.contains { $0.hasPrefix(prefix) }
        if hasEphemeral, after < seen.ephemeralLost { throw .compacted(oldest: seen.ephemeralLost) }
        if !isAllEphemeral {
          history = try await read { reader throws(SQLiteFailure) in
            try reader.changes(prefix: prefix, after: after, through: seen.revision)
          }
        }
        let recent = seen.ephemeral.filter { $0.revision > after && $0.key.hasPrefix(prefix) }
        if !recent.isEmpty { history = (history + recent).sorted { $0.revision < $1.revision } }
      }
      watch.begin(with: history)
      return watch
    } catch {
      hub.remove(watch)
      throw error
    }
  }

  public func compact(to revision: Revision) async throws(StoreError) {
    _ = try await submit { .compact(revision, $0) }
  }

  /// Drops entries of `EphemeralRule`s that outlived their time. Called once a minute by the server.
  public func expire() { _ = writes.submit(.expire) }

  public func shutdown() async {
    await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
      // Joining threads blocks: not on the cooperative pool.
      let joiner = WorkerThread<Void>(pendingMax: 1)
      joiner.start(name: "weft-store-end") { [self] in
        writes.stopAndWait()
        hub.close()
        reads.stopAndWait()
        lock.release()
        done.resume()
      }
    }
  }

  // MARK: Between tasks and threads

  private func write(_ change: WriteChange) async throws(StoreError) -> Revision {
    try await submit { .change(change, $0) }
  }

  private func submit(
    _ request: (@escaping @Sendable (Result<Revision, StoreError>) -> Void) -> WriteRequest
  ) async throws(StoreError) -> Revision {
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<Revision, StoreError>, Never>) in
      let refusal = writes.submit(request { continuation.resume(returning: $0) })
      if let refusal {
        continuation.resume(returning: .failure(refusal == .full ? .overloaded : .closed))
      }
    }
    return try result.get()
  }

  private func read<T: Sendable>(
    _ body: @escaping @Sendable (SQLiteReader) throws(SQLiteFailure) -> Result<T, StoreError>
  ) async throws(StoreError) -> T {
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<T, StoreError>, Never>) in
      let refusal = reads.submit { [file] reader in
        do throws(SQLiteFailure) {
          continuation.resume(returning: try body(reader))
        } catch {
          continuation.resume(returning: .failure(.failed(error.explained(file: file))))
        }
      }
      if let refusal {
        continuation.resume(returning: .failure(refusal == .full ? .overloaded : .closed))
      }
    }
    return try result.get()
  }
}
