// Addresses that cluster DNS has answered here for names that ClusterNetworkPolicies speak of. An answer waits until the rules let
// its addresses be reached; they stay for as long as clients may keep them.
//
//   upstream answer -> take -> view, rules -> done -> the client has it
//                               forgotten after its TTL and a grace

import Addresses
import ClusterView
import Diagnostics
import Synchronization

/// Thread-safe.
public final class AnswerBook: Sendable {
  private struct State {
    var patterns: [DomainPattern] = []
    /// By name, until when each address may be reached.
    var names: [String: [IPAddress: ContinuousClock.Instant]] = [:]
    /// How many answers of a name wait for the rules.
    var waiting: [String: Int] = [:]
    var synchronise: @Sendable () async -> Void = {}
    var sweeping: Task<Void, Never>?
  }

  /// Names, and addresses of one name, that are kept; more are answered and not let through.
  public static let namesMax = 4096
  public static let addressesMax = 64
  /// Programs keep addresses longer than they may; connections begin a while after the answer.
  static let grace: Duration = .seconds(60)
  private static let sweepPeriod: Duration = .seconds(10)

  private let follower: ViewFollower
  private let isWatching = Atomic<Bool>(false)
  private let state = Mutex(State())
  private let refusals = Metrics.shared.counter(
    "weft_policy_answers_refused_total", "Answers of watched names that found no room.", labels: []
  ).child()

  public init(_ follower: ViewFollower) { self.follower = follower }

  deinit { state.withLock { $0.sweeping?.cancel() } }

  /// - Parameter synchronise: puts in force what is in the view, and returns when it is.
  public func begin(_ synchronise: @escaping @Sendable () async -> Void) {
    let task = Task { [weak self] in
      while (try? await Task.sleep(for: Self.sweepPeriod)) != nil {
        guard let self else { return }
        sweep(now: .now)
      }
    }
    state.withLock {
      $0.synchronise = synchronise
      $0.sweeping = task
    }
  }

  /// Whether any policy speaks of names.
  public var isActive: Bool { isWatching.load(ordering: .relaxed) }

  /// Takes the names over that policies speak of now.
  public func watch(_ view: ClusterView) {
    var patterns: Set<DomainPattern> = []
    for policy in view.clusterNetworkPolicies.values {
      for rule in policy.egress {
        guard case .peers(let peers) = rule.reach else { continue }
        for case .domains(let named) in peers { patterns.formUnion(named) }
      }
    }
    let isAny = !patterns.isEmpty
    let forgotten: [String] = state.withLock { state in
      state.patterns = Array(patterns)
      let gone = state.names.keys.filter { name in !patterns.contains { $0.matches(name) } }
      for name in gone { state.names[name] = nil }
      return gone
    }
    isWatching.store(isAny, ordering: .relaxed)
    for name in forgotten { follower.resolve(name, to: []) }
  }

  /// Whether a name is spoken of, and nothing is known of it.
  public func isMissing(_ name: String) -> Bool {
    state.withLock { state in
      (state.names[name] == nil || state.waiting[name] != nil) && state.patterns.contains { $0.matches(name) }
    }
  }

  /// True: `done` is called when the addresses may be reached; false: there is nothing to wait for.
  public func take(
    _ name: String, _ addresses: [IPAddress], seconds: UInt32, now: ContinuousClock.Instant = .now,
    done: @escaping @Sendable () -> Void
  ) -> Bool {
    let end = now + .seconds(Int64(seconds)) + Self.grace
    let change: (all: Set<IPAddress>, synchronise: @Sendable () async -> Void)? = state.withLock { state in
      guard state.patterns.contains(where: { $0.matches(name) }) else { return nil }
      var known = state.names[name] ?? [:]
      guard state.names[name] != nil || state.names.count < Self.namesMax else {
        refusals.increment()
        return nil
      }
      let before = known.count
      for address in addresses where known[address] != nil || known.count < Self.addressesMax {
        known[address] = max(known[address] ?? end, end)
      }
      state.names[name] = known
      // Somebody else's answer may still be on its way into the rules.
      guard known.count > before || state.waiting[name] != nil else { return nil }
      state.waiting[name, default: 0] += 1
      return (Set(known.keys), state.synchronise)
    }
    guard let change else { return false }
    follower.resolve(name, to: change.all)
    Task {
      await change.synchronise()
      state.withLock { state in
        let left = (state.waiting[name] ?? 1) - 1
        state.waiting[name] = left > 0 ? left : nil
      }
      done()
    }
    return true
  }

  /// Forgets what has had its time.
  func sweep(now: ContinuousClock.Instant) {
    let changed: [(name: String, rest: Set<IPAddress>)] = state.withLock { state in
      var changed: [(String, Set<IPAddress>)] = []
      for (name, addresses) in state.names where addresses.values.contains(where: { $0 <= now }) {
        let rest = addresses.filter { $0.value > now }
        state.names[name] = rest.isEmpty ? nil : rest
        changed.append((name, Set(rest.keys)))
      }
      return changed
    }
    for (name, rest) in changed { follower.resolve(name, to: rest) }
  }
}
