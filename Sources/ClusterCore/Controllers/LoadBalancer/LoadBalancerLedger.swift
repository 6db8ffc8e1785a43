// Who has which address of the pool: what statuses say, and what was written and is not seen yet.

import Addresses
import ClusterObjects
import Synchronization

/// Thread-safe. Handlers tell it of every change before the controller looks.
final class LoadBalancerLedger: Sendable {
  /// An older Service keeps an address that two list.
  private struct Claim: Comparable {
    var created: String
    var key: ObjectKey
    static func < (a: Self, b: Self) -> Bool { (a.created, a.key) < (b.created, b.key) }
  }
  private struct State {
    var claims: [IPAddress: [Claim]] = [:]
    /// The same by Service.
    var claimed: [ObjectKey: Set<IPAddress>] = [:]
    var listed: [ObjectKey: Set<IPAddress>] = [:]
    /// Written, and not yet in a status that was seen.
    var reserved: [ObjectKey: Set<IPAddress>] = [:]
    /// Services that wait for an address.
    var starved: Set<ObjectKey> = []
  }
  private let state = Mutex(State())

  /// Takes a change in. Returns the Services that may find a free address now.
  func see(_ key: ObjectKey, _ service: JSON?) -> [ObjectKey] {
    state.withLock { state in
      let now = Set(service?.loadBalancerAddresses ?? [])
      if service == nil {
        state.reserved[key] = nil
        state.starved.remove(key)
      } else if state.reserved[key] == now {
        state.reserved[key] = nil
      }
      let freed = !(state.listed[key] ?? []).isSubset(of: now)
      state.listed[key] = now.isEmpty ? nil : now
      claim(key, service?.creationTimestamp ?? "", &state)
      guard freed else { return [] }
      defer { state.starved = [] }
      return state.starved.sorted()
    }
  }

  private func claim(_ key: ObjectKey, _ created: String, _ state: inout State) {
    let wanted = (state.listed[key] ?? []).union(state.reserved[key] ?? [])
    let before = state.claimed[key] ?? []
    for address in before.subtracting(wanted) {
      let others = (state.claims[address] ?? []).filter { $0.key != key }
      state.claims[address] = others.isEmpty ? nil : others
    }
    for address in wanted.subtracting(before) {
      state.claims[address, default: []].append(Claim(created: created, key: key))
    }
    state.claimed[key] = wanted.isEmpty ? nil : wanted
  }

  func isFree(_ address: IPAddress, for service: JSON) -> Bool {
    let mine = Claim(created: service.creationTimestamp, key: service.key)
    return state.withLock { state in
      let claims = state.claims[address] ?? []
      let others = claims.filter { $0.key != mine.key }
      guard let oldest = others.min() else { return true }
      return others.count < claims.count && mine < oldest
    }
  }

  /// Keeps addresses for a Service until its status is seen to list them. Nil gives them back after a failed write.
  func reserve(_ addresses: [IPAddress]?, for service: JSON) {
    state.withLock { state in
      state.reserved[service.key] = addresses.map { Set($0) }
      claim(service.key, service.creationTimestamp, &state)
    }
  }

  func isStarved(_ key: ObjectKey) { state.withLock { _ = $0.starved.insert(key) } }
}
