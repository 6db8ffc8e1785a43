// Which endpoint a client of a Service with session affinity had last. Shared by all reactors of the userspace mode: a client's
// connections may come in on any of them.

import Addresses
import Diagnostics
import Synchronization

/// Clients and their endpoints. Thread-safe, bounded: when `entriesMax` clients are remembered and none has lapsed, new ones
/// are served without being remembered, and counted.
final class AffinityTable: Sendable {
  private struct Client: Hashable {
    var service: String
    var address: IPAddress
  }
  private struct Entry {
    var target: SocketEndpoint
    var ends: UInt64
  }
  private struct State {
    var entries: [Client: Entry] = [:]
    var nextPurge: UInt64 = 0
  }

  private let entriesMax: Int
  private let state = Mutex(State())
  private let full: Counter
  private let size: Gauge
  /// Time between two searches for lapsed entries.
  private static let purgeNanoseconds: UInt64 = 1_000_000_000

  init(entriesMax: Int, metrics: Metrics) {
    self.entriesMax = entriesMax
    full =
      metrics.counter(
        "weft_proxy_userspace_affinity_full_total", "Clients not remembered because the table was full."
      ).child()
    size =
      metrics.gauge("weft_proxy_userspace_affinity_entries", "Clients with an endpoint of their own.").child()
  }

  /// The endpoint the client had, if it has one still and the endpoint serves. Its time starts anew.
  func target(
    of client: IPAddress, service: String, seconds: UInt32, among targets: [SocketEndpoint], now: UInt64
  )
    -> SocketEndpoint?
  {
    let client = Client(service: service, address: client)
    return state.withLock { state in
      guard let entry = state.entries[client] else { return nil }
      guard entry.ends > now, targets.contains(entry.target) else {
        state.entries[client] = nil
        size.set(Double(state.entries.count))
        return nil
      }
      state.entries[client]?.ends = now &+ UInt64(seconds) &* 1_000_000_000
      return entry.target
    }
  }

  func remember(_ target: SocketEndpoint, of client: IPAddress, service: String, seconds: UInt32, now: UInt64)
  {
    let client = Client(service: service, address: client)
    let entry = Entry(target: target, ends: now &+ UInt64(seconds) &* 1_000_000_000)
    state.withLock { state in
      if state.entries[client] == nil, state.entries.count >= entriesMax {
        if now >= state.nextPurge {
          state.entries = state.entries.filter { $0.value.ends > now }
          state.nextPurge = now &+ Self.purgeNanoseconds
        }
        guard state.entries.count < entriesMax else {
          full.increment()
          return
        }
      }
      state.entries[client] = entry
      size.set(Double(state.entries.count))
    }
  }

  var count: Int { state.withLock { $0.entries.count } }
}
