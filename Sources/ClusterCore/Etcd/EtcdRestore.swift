// Putting a copy of a store into etcd. etcd counts revisions itself and cannot be told to begin higher; clients that saw newer
// ones must not be shown other changes under the same number. So the store adds an offset to all of etcd's revisions, which
// the restore writes down:
//
//   PREFIX.restored   OFFSET OLDEST begun|done      history before OLDEST is refused as compacted

import ClusterStore
import Diagnostics
import FoundationEssentials
import GRPCCore
import SwiftProtobuf

enum EtcdRestore {
  /// What the key says.
  struct Mark: Equatable {
    var offset: Revision
    var oldest: Revision
    var isDone: Bool

    init(offset: Revision, oldest: Revision, isDone: Bool) {
      self.offset = offset
      self.oldest = oldest
      self.isDone = isDone
    }

    init?(_ bytes: Data) {
      let words = String(decoding: bytes, as: UTF8.self).split(separator: " ")
      guard words.count == 3, let offset = Revision(words[0]), let oldest = Revision(words[1]),
        (0...Revision.max / 2).contains(offset), (0...Revision.max / 2).contains(oldest),
        ["begun", "done"].contains(words[2])
      else { return nil }
      self.init(offset: offset, oldest: oldest, isDone: words[2] == "done")
    }

    var bytes: Data { Data("\(offset) \(oldest) \(isDone ? "done" : "begun")".utf8) }
  }

  static func find(
    _ members: EtcdMembers, _ keys: EtcdKeys
  ) async throws(WeftError) -> (mark: Mark?, head: Int64) {
    let response = try await ask(members) { member, options, _ in
      try await member.kv.range(
        .with { $0.key = keys.restored }, metadata: EtcdMembers.metadata, options: options)
    }
    guard let found = response.kvs.first else { return (nil, response.header.revision) }
    guard let mark = Mark(found.value) else {
      throw WeftError(
        "STO0024", object: String(decoding: keys.restored, as: UTF8.self),
        cause: "this key is not as we wrote it", next: "restore a copy under another --etcd-prefix")
    }
    return (mark, response.header.revision)
  }

  static func ask<T: Sendable>(
    _ members: EtcdMembers, _ body: (EtcdMember, CallOptions, Int) async throws -> T
  ) async throws(WeftError) -> T {
    do throws(RPCError) { return try await members.call(body) } catch { throw error.explained(members.text) }
  }

  static func unfinished(_ etcd: String) -> WeftError {
    WeftError(
      "STO0024", object: etcd, cause: "a restore into it was cut off",
      next: "run `weft server restore FILE --store etcd:…` again")
  }
}

extension EtcdStore {
  /// Opens a store for a restore: nothing may be under its prefix, but for the beginning of a restore that was cut off, which is
  /// removed. Its revisions lie above `revision`. No server can open it before `endRestore()` returned. Errors: `STO0022`
  /// something is there, and those of opening.
  public static func beginRestore(
    settings: EtcdStoreSettings, above revision: Revision, metrics: Metrics = .shared
  ) async throws(WeftError) -> EtcdStore {
    let keys = EtcdKeys(root: settings.root, prefix: settings.prefix)
    let members = try EtcdMembers(settings)
    defer { members.close() }
    let found = try await EtcdRestore.find(members, keys)
    let ranges = [keys.bytes(keys.root + "/"), keys.claim("")].map { ($0, EtcdKeys.end(of: $0)) }
    for (start, end) in ranges {
      let response = try await EtcdRestore.ask(members) { member, options, _ in
        try await member.kv.range(
          .with {
            $0.key = start; $0.rangeEnd = end; $0.countOnly = true
          }, metadata: EtcdMembers.metadata, options: options)
      }
      if response.count == 0 { continue }
      guard let mark = found.mark, !mark.isDone else {
        throw WeftError(
          "STO0022", object: members.text, cause: "there are \(response.count) keys under \(settings.prefix)",
          next: "choose another --etcd-prefix, or remove them: etcdctl del --prefix \(settings.prefix)")
      }
    }
    let mark = EtcdRestore.Mark(
      offset: max(0, revision - found.head, found.mark?.offset ?? 0), oldest: 0, isDone: false)
    let request = Etcdserverpb_TxnRequest.with {
      $0.success =
        [EtcdStore.put(keys.restored, mark.bytes, 0)]
        + ranges.map { start, end in
          .with {
            $0.requestDeleteRange = .with {
              $0.key = start; $0.rangeEnd = end
            }
          }
        }
    }
    _ = try await EtcdRestore.ask(members) { member, options, _ in
      try await member.kv.txn(request, metadata: EtcdMembers.metadata, options: options)
    }
    var settings = settings
    settings.isRestoring = true
    return try await EtcdStore(settings: settings, metrics: metrics)
  }

  /// The restore is whole: servers may open the store. Gives its revision.
  public func endRestore() async throws(WeftError) -> Revision {
    do throws(StoreError) {
      let last = try await latestRevision()
      let mark = EtcdRestore.Mark(offset: keys.offset, oldest: last, isDone: true)
      let request = Etcdserverpb_TxnRequest.with {
        $0.success = [EtcdStore.put(keys.restored, mark.bytes, 0)]
      }
      return keys.revision(try await commit("restore", request).response.header.revision)
    } catch {
      if case .failed(let cause) = error { throw cause }
      throw WeftError("STO0014", object: members.text, cause: "\(error)", next: "restore again")
    }
  }
}
