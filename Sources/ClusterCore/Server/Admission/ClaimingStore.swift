// Several servers on one store: what a Service holds is claimed in the transaction that writes the Service.
//
// Each server's `ServiceAllocator` knows its own choices at once and those of the others a moment later, from the watch. Two
// servers may therefore choose the same address. The claim decides: the second write is refused, its server learns who was
// first, and chooses again. Nothing can leak, since a claim comes and goes with its Service. One server alone (SQLite) does
// not need this and does not pay for it.

import Addresses
import ClusterObjects
import ClusterStore

/// A shared store whose writes of Services carry their claims.
final class ServiceClaimingStore: Store {
  private static let services = "/registry/services/"
  private let base: any SharedStore

  init(_ base: any SharedStore) { self.base = base }

  /// `serviceips/10.43.0.7`, `servicenodeports/30080`.
  private static func claims(_ bytes: [UInt8]) -> Set<String> {
    guard let tree = try? JSON(parsing: bytes) else { return [] }
    return ServiceAllocator.claims(of: tree).names
  }

  private func held(_ key: String, _ revision: Revision) async throws(StoreError) -> Set<String> {
    guard let found = try await base.get(key), found.revision == revision else { return [] }
    return Self.claims(found.value)
  }

  func create(_ key: String, _ value: [UInt8]) async throws(StoreError) -> Revision {
    guard key.hasPrefix(Self.services) else { return try await base.create(key, value) }
    return try await base.create(key, value, claiming: Self.claims(value).sorted())
  }

  func update(_ key: String, _ value: [UInt8], expecting: Revision) async throws(StoreError) -> Revision {
    guard key.hasPrefix(Self.services) else { return try await base.update(key, value, expecting: expecting) }
    let old = try await held(key, expecting)
    let new = Self.claims(value)
    return try await base.update(
      key, value, expecting: expecting, claiming: new.subtracting(old).sorted(),
      releasing: old.subtracting(new).sorted())
  }

  func delete(_ key: String, expecting: Revision) async throws(StoreError) -> Revision {
    guard key.hasPrefix(Self.services) else { return try await base.delete(key, expecting: expecting) }
    return try await base.delete(
      key, expecting: expecting, releasing: try await held(key, expecting).sorted())
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
  func compact(to revision: Revision) async throws(StoreError) { try await base.compact(to: revision) }
  func expire() { base.expire() }
  func shutdown() async { await base.shutdown() }
}

extension ServiceClaims {
  var names: Set<String> {
    Set(
      addresses.map { "serviceips/\($0)" } + ports.map { "servicenodeports/\($0)" })
  }

  /// What a claim's name stands for.
  init(name: String) {
    let parts = name.split(separator: "/")
    guard parts.count == 2 else { return }
    if parts[0] == "serviceips", let address = IPAddress(parts[1]) { addresses = [address] }
    if parts[0] == "servicenodeports", let port = UInt16(parts[1]) { ports = [port] }
  }
}

/// Tells the allocator what other servers' Services take and give back.
final class ServiceFollower: WatchSubscriber {
  private let services: ServiceAllocator

  init(_ services: ServiceAllocator) { self.services = services }

  func begin(_ objects: [CachedObject], end: Revision?) {
    for object in objects { services.adopt(object.tree) }
  }

  func offer(_ events: [CacheEvent]) {
    for event in events {
      let now = event.kind == .deleted ? ServiceClaims() : ServiceAllocator.claims(of: event.object.tree)
      let before = event.previous.map { ServiceAllocator.claims(of: $0.tree) } ?? ServiceClaims()
      services.release(
        ServiceClaims(
          addresses: before.addresses.subtracting(now.addresses), ports: before.ports.subtracting(now.ports)))
      services.adopt(now)
    }
  }

  func bookmark(_ revision: Revision) {}
  func finish() {}
}
