// What the kernel still tracks of pods that left ends with them. Else a client that never pauses, such as a UDP sender with one port, stays
// established, and reaches the next pod of that address past its policies.

import Addresses
import Diagnostics
import KernelNftables
import Logging
import Synchronization

/// Addresses that pods gave back, until nothing of theirs is tracked any more. Work is done on the thread of the rules.
final class DepartedFlows: Sendable {
  /// Addresses that wait at once; a node has fewer pods. Beyond it they are counted and passed over.
  static let addressesMax = 4096

  private let worker: RulesetWorker
  /// By address the number of the time at which it was given back: it may be again while the time before is worked on.
  private let waiting = Mutex((entries: [IPAddress: UInt64](), last: UInt64(0)))
  private let log = Logger(label: "data-plane")
  private let failures: Counter

  init(_ worker: RulesetWorker, metrics: Metrics = .shared) {
    self.worker = worker
    failures =
      metrics.counter(
        "weft_dataplane_departed_flow_failures_total",
        "Addresses of pods that left whose tracked connections could not be ended."
      ).child()
  }

  /// Notes the addresses at once, and ends their connections soon.
  func add(_ addresses: [IPAddress]) {
    let isAccepted = waiting.withLock { waiting in
      guard waiting.entries.count + addresses.count <= Self.addressesMax else { return false }
      waiting.last += 1
      for address in addresses { waiting.entries[address] = waiting.last }
      return true
    }
    guard isAccepted else { return failures.increment(by: UInt64(addresses.count)) }
    Task { await settle() }
  }

  /// Returns when nothing of an earlier pod is tracked for these addresses. At once unless one of them was given back just now.
  func wait(for addresses: [IPAddress]) async {
    if waiting.withLock({ waiting in addresses.contains { waiting.entries[$0] != nil } }) { await settle() }
  }

  private func settle() async {
    let taken = waiting.withLock { $0.entries }
    let addresses = taken.keys.sorted()
    guard !addresses.isEmpty else { return }
    do {
      try await worker.perform { try $0.socket.deleteFlows(of: addresses) }
    } catch {
      failures.increment(by: UInt64(addresses.count))
      log.warning(
        "connections of departed pods stay",
        metadata: ["addresses": "\(addresses.count)", "error": "\(error)"])
    }
    waiting.withLock { waiting in
      for (address, number) in taken where waiting.entries[address] == number {
        waiting.entries[address] = nil
      }
    }
  }
}
