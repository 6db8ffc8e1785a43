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
final class TermStore: LayeredStore {
  private let base: ClaimingStore
  var shown: any Store { base }
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

  /// It is its owner's to close.
  func shutdown() async {}
}
