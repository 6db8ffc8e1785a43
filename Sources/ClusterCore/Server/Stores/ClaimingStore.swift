// Several servers on one store: what an object stands for beyond itself is written in the transaction that writes the object.
//
//   Service                   claims its addresses and node ports
//   Lease of kube-system      begins its holder's term
//
// Each server's `ServiceAllocator` knows its own choices at once and those of the others a moment later, from the watch. Two
// servers may therefore choose the same address. The claim decides: the second write is refused, its server learns who was
// first, and chooses again. Nothing can leak, since a claim comes and goes with its Service. One server alone (SQLite) does
// not need this and does not pay for it.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterStore

/// A shared store whose writes of Services carry their claims, and those of Leases their terms.
final class ClaimingStore: LayeredStore {
  private static let services = "/registry/services/"
  private static let leases = "/registry/leases/"
  /// Where leaders of the control plane have theirs. Those of nodes are elsewhere, and many.
  private static let leadersLeases = leases + "kube-system/"
  private let base: any SharedStore
  var shown: any Store { base }

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

  /// Every write of a Lease sets the term anew: so it is right whoever wrote the Lease before.
  private static func claims(lease key: String, _ value: [UInt8]?) -> StoreClaims {
    guard let value, let lease = try? JSON(parsing: value), let term = LeaderTerm(lease) else {
      return StoreClaims(ending: StoreTerm.name(String(key.dropFirst(leases.count))))
    }
    return StoreClaims(beginning: StoreTerm(term))
  }

  // MARK: Writing, with what the write stands on

  func create(
    _ key: String, _ value: [UInt8], during term: StoreTerm?
  ) async throws(StoreError) -> Revision {
    var claims = StoreClaims()
    if key.hasPrefix(Self.services) { claims.claiming = Self.claims(value).sorted() }
    if key.hasPrefix(Self.leadersLeases) { claims = Self.claims(lease: key, value) }
    claims.during = term
    return try await base.create(key, value, claims: claims)
  }

  func update(
    _ key: String, _ value: [UInt8], expecting: Revision, during term: StoreTerm?
  ) async throws(StoreError) -> Revision {
    var claims = StoreClaims()
    if key.hasPrefix(Self.services) {
      let old = try await held(key, expecting)
      let new = Self.claims(value)
      claims.claiming = new.subtracting(old).sorted()
      claims.releasing = old.subtracting(new).sorted()
    }
    if key.hasPrefix(Self.leadersLeases) { claims = Self.claims(lease: key, value) }
    claims.during = term
    return try await base.update(key, value, expecting: expecting, claims: claims)
  }

  func delete(
    _ key: String, expecting: Revision, during term: StoreTerm?
  ) async throws(StoreError) -> Revision {
    var claims = StoreClaims()
    if key.hasPrefix(Self.services) { claims.releasing = try await held(key, expecting).sorted() }
    if key.hasPrefix(Self.leadersLeases) { claims = Self.claims(lease: key, nil) }
    claims.during = term
    return try await base.delete(key, expecting: expecting, claims: claims)
  }

  // MARK: As a store

  func create(_ key: String, _ value: [UInt8]) async throws(StoreError) -> Revision {
    try await create(key, value, during: nil)
  }
  func update(_ key: String, _ value: [UInt8], expecting: Revision) async throws(StoreError) -> Revision {
    try await update(key, value, expecting: expecting, during: nil)
  }
  func delete(_ key: String, expecting: Revision) async throws(StoreError) -> Revision {
    try await delete(key, expecting: expecting, during: nil)
  }

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
