// The engine for several machines: etcd v3. Revisions, history, durability and agreement are etcd's.

import ClusterStore
import Diagnostics
import FoundationEssentials
import GRPCCore
import Logging
import SwiftProtobuf
import Synchronization

/// A `Store` in an etcd cluster. Several processes may use one etcd.
///
/// Cost: a call to etcd for each operation, 0.2–1 ms on one machine; a stream for each watch. A write whose connection broke
/// is asked about on another member: it returns as done when its very value is found written on the revision it expected.
public final class EtcdStore: SharedStore {
  let keys: EtcdKeys
  let members: EtcdMembers
  let log = Logger(label: "store")
  /// What is older was before a restore.
  let oldest: Revision
  private let settings: EtcdStoreSettings
  private let revision = Atomic<Revision>(0)
  private let watches = Mutex<[ObjectIdentifier: (watch: StoreWatch, feed: Task<Void, Never>)]?>([:])
  private let leases: EtcdLeases
  private let heads = Coalescer<Revision>()
  private let latency: MetricFamily<Histogram>
  private static let pageMax: Int64 = 500

  /// Connects and asks for etcd's revision. Errors: `STO0010` no answer within `patience`, `STO0012` certificates or rights,
  /// `STO0024` a restore was cut off.
  public init(settings: EtcdStoreSettings, metrics: Metrics = .shared) async throws(WeftError) {
    self.settings = settings
    members = try EtcdMembers(settings)
    leases = EtcdLeases(members: members, slackSeconds: settings.leaseSlackSeconds)
    latency = metrics.histogram(
      "etcd_request_duration_seconds", "Duration of requests to etcd by operation.", labels: ["operation"])
    var keys = EtcdKeys(root: settings.root, prefix: settings.prefix)
    do throws(WeftError) {
      let found = try await EtcdRestore.find(members, keys)
      if let mark = found.mark {
        guard mark.isDone || settings.isRestoring else { throw EtcdRestore.unfinished(members.text) }
        keys.offset = mark.offset
        oldest = mark.oldest
      } else {
        oldest = 0
      }
      self.keys = keys
      note(keys.revision(found.head))
    } catch {
      members.close()
      throw error
    }
  }

  public var currentRevision: Revision { revision.load(ordering: .acquiring) }

  func note(_ seen: Revision) {
    var known = revision.load(ordering: .relaxed)
    while known < seen {
      let (isExchanged, original) = revision.compareExchange(
        expected: known, desired: seen, ordering: .acquiringAndReleasing)
      if isExchanged { return }
      known = original
    }
  }

  func failure(_ error: RPCError) -> StoreError {
    members.isClosed ? .closed : .failed(error.explained(members.text))
  }

  // MARK: Reading

  public func get(_ key: String) async throws(StoreError) -> StoredValue? {
    let response = try await range("get", .with { $0.key = keys.bytes(key) })
    return response.kvs.first.map(keys.value)
  }

  public func list(
    prefix: String, limit: Int, after: String?, at revision: Revision?
  ) async throws(StoreError) -> StorePage {
    if let revision, revision < oldest { throw .compacted(oldest: oldest) }
    var request = Etcdserverpb_RangeRequest()
    let start = keys.bytes(prefix)
    request.key = start
    request.rangeEnd = EtcdKeys.end(of: start)
    if let after, after >= prefix { request.key = keys.bytes(after) + [0] }
    request.revision = revision.map(keys.theirs) ?? 0
    var page = StorePage(values: [], revision: revision ?? 0, hasMore: false)
    while true {
      let left = limit > 0 ? Int64(limit - page.values.count) : Self.pageMax
      request.limit = min(left, Self.pageMax)
      let response = try await range("list", request)
      // All pages show the state that the first one showed.
      if page.revision == 0 { page.revision = keys.revision(response.header.revision) }
      if request.revision == 0 { request.revision = response.header.revision }
      page.values += response.kvs.map(keys.value)
      page.hasMore = response.more
      guard response.more, limit == 0 || page.values.count < limit, let last = response.kvs.last else {
        return page
      }
      request.key = last.key + [0]
    }
  }

  func range(
    _ operation: String, _ request: Etcdserverpb_RangeRequest
  ) async throws(StoreError) -> Etcdserverpb_RangeResponse {
    let start = ContinuousClock.now
    defer { latency.child(operation).observe(ContinuousClock.now - start) }
    do throws(RPCError) {
      return try await members.call { member, options, _ in
        try await member.kv.range(request, metadata: EtcdMembers.metadata, options: options)
      }
    } catch {
      if error.isCompacted { throw .compacted(oldest: await mark(besides: keys.revision(request.revision))) }
      if error.isFuture { throw .future(current: try await head()) }
      throw failure(error)
    }
  }

  /// etcd's revision, as agreed by its members at this moment.
  private func head() async throws(StoreError) -> Revision {
    // No key has an empty name; the answer carries nothing but its header.
    keys.revision(
      try await range(
        "head",
        .with {
          $0.key = Data([0]); $0.countOnly = true
        }
      ).header.revision)
  }

  /// etcd tells the mark of compaction only to watches.
  private func mark(besides revision: Revision) async -> Revision {
    let start = keys.bytes(keys.root)
    do {
      try await EtcdFeed(store: self, key: start, end: EtcdKeys.end(of: start)).follow(
        from: max(keys.revision(1), revision)
      ) { _ in
        false
      }
    } catch let StoreError.compacted(oldest) {
      return oldest
    } catch {}
    return revision + 1
  }

  // MARK: Agreement between servers

  public func latestRevision() async throws(StoreError) -> Revision {
    try await heads.join { [self] () async throws(StoreError) in try await reachable() }
  }

  /// etcd counts changes of all keys, also of those that are not ours. When its count is ahead of what our watches saw, the
  /// change is on its way, or it is somebody else's and will never come: then a mark of our own is written behind it.
  /// (Progress notifications would say the same, but before etcd 3.4.25 and 3.5.8 they overtake events.)
  private func reachable() async throws(StoreError) -> Revision {
    let head = try await head()
    for _ in 0..<15 {
      if currentRevision >= head { return head }
      try? await Task.sleep(for: .milliseconds(2))
    }
    let put = Etcdserverpb_RequestOp.with {
      $0.requestPut = .with {
        $0.key = keys.bytes(keys.root + "/weft-mark")
        $0.value = Data("{}".utf8)
      }
    }
    let response = try await commit("mark", .with { $0.success = [put] }).response
    let made = keys.revision(response.header.revision)
    note(made)
    return made
  }

  func commit(
    _ operation: String, _ request: Etcdserverpb_TxnRequest
  ) async throws(StoreError) -> (response: Etcdserverpb_TxnResponse, tries: Int) {
    let start = ContinuousClock.now
    defer { latency.child(operation).observe(ContinuousClock.now - start) }
    do throws(RPCError) {
      return try await members.call { member, options, tries in
        (try await member.kv.txn(request, metadata: EtcdMembers.metadata, options: options), tries)
      }
    } catch {
      if error.isLeaseGone { leases.forget() }
      throw failure(error)
    }
  }

  func lease(for key: String) async throws(StoreError) -> Int64 {
    guard let rule = settings.ephemeral.first(where: { $0.lifetimeSeconds > 0 && key.hasPrefix($0.prefix) })
    else { return 0 }
    do throws(RPCError) {
      return try await leases.lease(seconds: rule.lifetimeSeconds)
    } catch {
      throw failure(error)
    }
  }

  public func compact(to revision: Revision) async throws(StoreError) {
    if keys.offset > 0, revision <= oldest { return }
    do throws(RPCError) {
      _ = try await members.call { member, options, _ in
        // Physical: returns when what it promised is on the disk.
        try await member.kv.compact(
          .with {
            $0.revision = keys.theirs(revision); $0.physical = true
          }, metadata: EtcdMembers.metadata, options: options)
      }
    } catch {
      // Another server, or etcd itself, was there first.
      if error.isCompacted { return }
      if error.isFuture { throw .future(current: try await head()) }
      throw failure(error)
    }
  }

  // MARK: Watching

  public func watch(
    prefix: String, after: Revision, queueMax: Int = 10_000
  ) async throws(StoreError) -> StoreWatch {
    if after < oldest { throw .compacted(oldest: oldest) }
    // A question about that revision is refused when its history is gone, or when it does not exist yet. etcd's first
    // revision is 1, and empty.
    _ = try await range(
      "head",
      .with {
        $0.key = Data([0])
        $0.countOnly = true
        $0.revision = max(1, keys.theirs(after))
      })
    let watch = StoreWatch(prefix: prefix, queueMax: queueMax) { [weak self] watch in self?.drop(watch) }
    watch.begin(with: [])
    let start = keys.bytes(prefix)
    let feed = EtcdFeed(store: self, key: start, end: EtcdKeys.end(of: start))
    let isKept = watches.withLock { watches in
      if watches == nil { return false }
      let task = Task { await feed.run(after: after, into: watch) }
      watches?[ObjectIdentifier(watch)] = (watch, task)
      return true
    }
    if !isKept { throw .closed }
    return watch
  }

  func drop(_ watch: StoreWatch) {
    let entry = watches.withLock { $0?.removeValue(forKey: ObjectIdentifier(watch)) }
    entry?.feed.cancel()
  }

  public func shutdown() async {
    let open = watches.withLock { watches in
      defer { watches = nil }
      return watches.map { Array($0.values) } ?? []
    }
    for (watch, feed) in open {
      watch.finish(nil)
      feed.cancel()
    }
    members.close()
  }
}
