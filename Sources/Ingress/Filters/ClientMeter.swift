// How much each client address asks for. One for all workers of a process; only routes with limits come here.

import Addresses
import Synchronization

/// Counts requests by route and client address: a rate with a burst (a leaking bucket, as `limit_req` has it), and how many run
/// at once. Thread-safe; a look-up takes one uncontended lock.
final class ClientMeter: Sendable {
  /// Addresses that are known at once, all routes together. Beyond it the ones that are at rest are forgotten, and when none is,
  /// a new client is refused: memory stays bounded.
  static let entriesMax = 65_536

  fileprivate struct Key: Hashable {
    var name: String
    var address: IPAddress
  }
  private struct Entry {
    /// Requests that the bucket holds, times 60,000 (a minute's milliseconds), and when that was.
    var level: UInt64 = 0
    var at: UInt64 = 0
    var running: UInt32 = 0
  }
  private let entries = Mutex<[Key: Entry]>([:])

  /// One request that runs; gives its place back when it goes.
  final class Ticket {
    private let meter: ClientMeter
    private let key: Key
    fileprivate init(_ meter: ClientMeter, _ key: Key) {
      self.meter = meter
      self.key = key
    }
    deinit { meter.leave(key) }
  }

  enum Outcome {
    case admitted(Ticket?)
    case refused
  }

  /// - Parameter now: milliseconds of any steady clock.
  func enter(_ limit: RouteLimit, _ address: IPAddress, now: UInt64) -> Outcome {
    if limit.exempt.contains(where: { $0.contains(address) }) { return .admitted(nil) }
    let key = Key(name: limit.name, address: address)
    let isAdmitted = entries.withLock { entries in
      if entries[key] == nil, entries.count >= Self.entriesMax { Self.sweep(&entries, now) }
      guard entries[key] != nil || entries.count < Self.entriesMax else { return false }
      var entry = entries[key] ?? Entry(at: now)
      if limit.atOnce > 0, entry.running >= limit.atOnce { return false }
      if limit.perMinute > 0 {
        let drained = (now &- entry.at) &* UInt64(limit.perMinute)
        let level = entry.level > drained ? entry.level - drained : 0
        // One request in hand and the burst behind it.
        guard level <= UInt64(limit.burst) * Self.one else {
          entry.level = level
          entry.at = now
          entries[key] = entry
          return false
        }
        entry.level = level + Self.one
      }
      entry.at = now
      if limit.atOnce > 0 { entry.running += 1 }
      entries[key] = entry
      return true
    }
    guard isAdmitted else { return .refused }
    return .admitted(limit.atOnce > 0 ? Ticket(self, key) : nil)
  }

  private static let one: UInt64 = 60_000

  private func leave(_ key: Key) {
    entries.withLock { entries in
      guard var entry = entries[key], entry.running > 0 else { return }
      entry.running -= 1
      entries[key] = entry
    }
  }

  /// Forgets who has not asked for a minute.
  private static func sweep(_ entries: inout [Key: Entry], _ now: UInt64) {
    entries = entries.filter { $0.value.running > 0 || now &- $0.value.at < 60_000 }
  }

  /// Known addresses, for tests.
  var count: Int { entries.withLock { $0.count } }
}
