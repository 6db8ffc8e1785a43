// A leader's way to the store: whatever it writes stands on its term, and is refused by the store itself once another leads, however
// long the process was stopped between its last look at the clock and the write.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

extension StoreTerm {
  init(_ term: LeaderTerm) {
    self.init(
      name: Self.name("\(term.lease.namespace)/\(term.lease.name)"),
      value: "\(term.transitions) \(term.holder)")
  }

  /// By the Lease's namespace and name.
  static func name(_ lease: String) -> String { "leases/\(lease)" }
}

/// A shared store for the writes of one term. Reading is as it always is.
final class TermStore: Store {
  private let base: ClaimingStore
  private let term: StoreTerm
  private let refused: Counter

  init(_ base: ClaimingStore, during term: StoreTerm, metrics: Metrics = .shared) {
    self.base = base
    self.term = term
    refused = metrics.counter(
      "weft_leader_refused_writes_total",
      "Writes of controllers and scheduler that the store refused because another server leads.",
      labels: ["name"]
    ).child(term.name)
  }

  private func counted(_ error: StoreError) -> StoreError {
    if case .ended = error { refused.increment() }
    return error
  }

  func create(_ key: String, _ value: [UInt8]) async throws(StoreError) -> Revision {
    do throws(StoreError) { return try await base.create(key, value, during: term) } catch {
      throw counted(error)
    }
  }
  func update(_ key: String, _ value: [UInt8], expecting: Revision) async throws(StoreError) -> Revision {
    do throws(StoreError) {
      return try await base.update(key, value, expecting: expecting, during: term)
    } catch { throw counted(error) }
  }
  func delete(_ key: String, expecting: Revision) async throws(StoreError) -> Revision {
    do throws(StoreError) { return try await base.delete(key, expecting: expecting, during: term) } catch {
      throw counted(error)
    }
  }

  // MARK: Passed on

  var currentRevision: Revision { base.currentRevision }
  func latestRevision() async throws(StoreError) -> Revision { try await base.latestRevision() }
  func get(_ key: String) async throws(StoreError) -> StoredValue? { try await base.get(key) }
  func list(
    prefix: String, limit: Int, after: String?, at revision: Revision?
  ) async throws(StoreError) -> StorePage {
    try await base.list(prefix: prefix, limit: limit, after: after, at: revision)
  }
  func watch(prefix: String, after: Revision, queueMax: Int) async throws(StoreError) -> StoreWatch {
    try await base.watch(prefix: prefix, after: after, queueMax: queueMax)
  }
  /// What belongs to the whole store is its owner's to do.
  func compact(to revision: Revision) async throws(StoreError) { try await base.compact(to: revision) }
  func expire() { base.expire() }
  func shutdown() async {}
}
