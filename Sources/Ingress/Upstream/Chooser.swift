// Who of a backend's endpoints takes the next request: a value, told how the endpoints are, which answers with one of them. Used for
// backends with settings of their own; the plain way is `BackendRuntime.choose`.
//
//   near, ready -> distant, ready -> leaving      the first of these tiers that has an endpoint which is well and not full
//   then the same with those that failed          better a try than none
//   then the one that has just failed this request

import Glibc

/// How one endpoint is at the moment of a choice.
struct EndpointState: Hashable {
  /// Requests that are there now.
  var active = 0
  /// Passed over for its failures.
  var isOut = false
  /// Its bounds admit no further request.
  var isFull = false
  /// Share of its weight that it gets while it is new, thousandths.
  var warmth = 1000
}

struct Chooser {
  /// Draws until a tier is looked through instead.
  private static let drawsMax = 6

  private struct Tier {
    var members: [Int] = []
    /// Sums of the weights up to and with each member; empty when all weigh the same.
    var sums: [UInt64] = []
    /// Of smooth weighted round robin.
    var credits: [Int] = []
    var next = 0
  }
  private let balancing: Balancing
  private let weights: [Int]
  private let hashes: [UInt64]
  private var tiers: [Tier] = []
  private var random: UInt64

  /// - Parameters:
  ///   - hashes: a number for each endpoint, the same wherever and whenever it is served.
  ///   - traits: one for each endpoint, or none. Those of weight 0 are never chosen.
  init(_ balancing: Balancing, hashes: [UInt64], traits: [EndpointTraits], seed: UInt64) {
    self.balancing = balancing
    self.hashes = hashes
    random = seed
    let traits = traits.count == hashes.count ? traits : hashes.map { _ in EndpointTraits() }
    weights = traits.map { Int($0.weight) }
    var tiers = [Tier(), Tier(), Tier()]
    for (index, trait) in traits.enumerated() where trait.weight > 0 {
      tiers[trait.isDraining ? 2 : trait.isDistant ? 1 : 0].members.append(index)
    }
    self.tiers = tiers.filter { !$0.members.isEmpty }.map { tier in
      var tier = tier
      tier.credits = tier.members.map { _ in 0 }
      guard Set(tier.members.map { weights[$0] }).count > 1 else { return tier }
      var sum: UInt64 = 0
      tier.sums = tier.members.map { member in
        sum += UInt64(weights[member])
        return sum
      }
      return tier
    }
  }

  /// The endpoint for the next request; nil when none may have one. Constant for least requests, and for round robin with equal
  /// weights, while endpoints are well; else linear in their number.
  /// - Parameters:
  ///   - key: what consistent hashing goes by.
  ///   - failed: the endpoint that has just failed this request.
  mutating func choose(key: UInt64, avoiding failed: Int? = nil, state: (Int) -> EndpointState) -> Int? {
    if isPinned, let named = pin(key), named != failed {
      let state = state(named)
      if !state.isFull, !state.isOut { return named }
    }
    for isDesperate in [false, true] {
      for tier in tiers.indices {
        let found = pick(tier, key: key) { index in
          guard index != failed else { return nil }
          let state = state(index)
          return state.isFull || state.isOut && !isDesperate ? nil : state
        }
        if let found { return found }
      }
    }
    guard let failed, weights.indices.contains(failed), weights[failed] > 0, !state(failed).isFull else {
      return nil
    }
    return failed
  }

  /// - Parameter usable: nil for an endpoint that may not be taken.
  private mutating func pick(_ tier: Int, key: UInt64, usable: (Int) -> EndpointState?) -> Int? {
    switch balancing {
    case .leastRequests: leastRequests(tier, usable)
    case .roundRobin: roundRobin(tier, usable)
    case .consistentHash(.endpoint): leastRequests(tier, usable)
    case .consistentHash: highest(tier, key, usable)
    }
  }

  // MARK: - Endpoints by name

  /// Keys are endpoints' own numbers.
  var isPinned: Bool { if case .consistentHash(.endpoint) = balancing { true } else { false } }

  /// The endpoint that has a number, whatever tier it is in; nil when it is gone or may have nothing. Linear in their number.
  func pin(_ key: UInt64) -> Int? { hashes.firstIndex(of: key).flatMap { weights[$0] > 0 ? $0 : nil } }

  // MARK: - Power of two choices

  private mutating func leastRequests(_ tier: Int, _ usable: (Int) -> EndpointState?) -> Int? {
    var best: (index: Int, active: Int)?
    var found = 0
    for _ in 0..<Self.drawsMax {
      let index = draw(tier)
      guard let state = usable(index), state.warmth >= 1000 || Int(number() % 1000) < state.warmth else {
        continue
      }
      found += 1
      if best.map({ state.active < $0.active }) ?? true { best = (index, state.active) }
      if found == 2 { break }
    }
    if let best { return best.index }
    for index in tiers[tier].members {
      guard let state = usable(index) else { continue }
      if best.map({ state.active < $0.active }) ?? true { best = (index, state.active) }
    }
    return best?.index
  }

  /// A member by chance, each as often as it weighs.
  private mutating func draw(_ tier: Int) -> Int {
    let count = tiers[tier].members.count
    guard let total = tiers[tier].sums.last else { return tiers[tier].members[Int(number() % UInt64(count))] }
    let point = number() % total
    var (low, high) = (0, count - 1)
    while low < high {
      let middle = (low + high) / 2
      if tiers[tier].sums[middle] > point { high = middle } else { low = middle + 1 }
    }
    return tiers[tier].members[low]
  }

  /// xorshift64*: good enough to spread requests, and the same for the same seed.
  private mutating func number() -> UInt64 {
    random ^= random >> 12
    random ^= random << 25
    random ^= random >> 27
    return (random &* 0x2545_f491_4f6c_dd1d) >> 16
  }

  // MARK: - Round robin

  private mutating func roundRobin(_ tier: Int, _ usable: (Int) -> EndpointState?) -> Int? {
    let count = tiers[tier].members.count
    var hasSlow = false
    if tiers[tier].sums.isEmpty {
      for _ in 0..<count {
        let at = tiers[tier].next
        tiers[tier].next = at + 1 < count ? at + 1 : 0
        guard let state = usable(tiers[tier].members[at]) else { continue }
        if state.warmth >= 1000 || Int(number() % 1000) < state.warmth { return tiers[tier].members[at] }
        hasSlow = true
      }
      guard hasSlow else { return nil }
      return tiers[tier].members.first { usable($0) != nil }
    }
    // Smooth: everybody earns its weight, the richest is taken and pays for all.
    var best: Int?
    var total = 0
    for (at, member) in tiers[tier].members.enumerated() {
      guard let state = usable(member) else { continue }
      let weight = max(1, weights[member] * state.warmth / 1000)
      total += weight
      tiers[tier].credits[at] += weight
      if best.map({ tiers[tier].credits[at] > tiers[tier].credits[$0] }) ?? true { best = at }
    }
    guard let best else { return nil }
    tiers[tier].credits[best] -= total
    return tiers[tier].members[best]
  }

  // MARK: - Rendezvous hashing

  /// Each endpoint has a number for each key; the highest wins. One that leaves gives up only its own keys.
  private func highest(_ tier: Int, _ key: UInt64, _ usable: (Int) -> EndpointState?) -> Int? {
    var best: (index: Int, score: Double)?
    let isWeighted = !tiers[tier].sums.isEmpty
    for index in tiers[tier].members {
      guard usable(index) != nil else { continue }
      let unit = (Double(Self.mix(key ^ hashes[index]) >> 11) + 0.5) / Double(1 << 53)
      // Weighted: -weight / ln(u), which takes its share of the keys exactly.
      let score = isWeighted ? -Double(weights[index]) / log(unit) : unit
      if best.map({ score > $0.score }) ?? true { best = (index, score) }
    }
    return best?.index
  }

  /// SplitMix64's finisher.
  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// FNV-1a.
  static func hash(_ bytes: some Sequence<UInt8>) -> UInt64 {
    var state: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { state = (state ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return state
  }
}
