// The chooser as a value: shares, failures, tiers and keys, over many choices with a fixed seed.

import FuzzLab
import Testing

@testable import Ingress

@Suite struct ChooserTests {
  private static let ways: [Balancing] = [.leastRequests, .roundRobin, .consistentHash(.source)]

  private func hashes(_ count: Int) -> [UInt64] { (0..<count).map { Chooser.hash("10.0.0.\($0)".utf8) } }

  /// How often each endpoint is chosen in `turns` choices with keys of their own.
  private func shares(
    _ chooser: inout Chooser, _ count: Int, turns: Int = 20_000,
    _ state: (Int) -> EndpointState = { _ in .init() }
  ) -> [Double] {
    var counts = [Int](repeating: 0, count: count)
    for turn in 0..<turns {
      if let index = chooser.choose(key: UInt64(turn) &* 0x9e37_79b9_7f4a_7c15, state: state) {
        counts[index] += 1
      }
    }
    return counts.map { Double($0) / Double(turns) }
  }

  @Test(arguments: ways) func `endpoints that are alike get equal shares, weighted ones theirs`(
    way: Balancing
  ) {
    var equal = Chooser(way, hashes: hashes(5), traits: [], seed: 7)
    for share in shares(&equal, 5) { #expect(abs(share - 0.2) < 0.02, "\(way)") }
    let weights: [UInt16] = [1, 2, 7, 0]
    var weighted = Chooser(
      way, hashes: hashes(4), traits: weights.map { EndpointTraits(weight: $0) }, seed: 7)
    for (share, weight) in zip(shares(&weighted, 4), weights) {
      #expect(abs(share - Double(weight) / 10) < 0.02, "\(way) \(weight)")
    }
  }

  @Test(arguments: ways)
  func `what is out, full, distant or leaving is taken only when nothing better is there`(
    way: Balancing
  ) {
    let traits = [
      EndpointTraits(), EndpointTraits(), EndpointTraits(isDistant: true), EndpointTraits(isDraining: true),
    ]
    var states = [EndpointState](repeating: .init(), count: 4)
    func used() -> Set<Int> {
      var chooser = Chooser(way, hashes: hashes(4), traits: traits, seed: 3)
      var found: Set<Int> = []
      for key in 0..<200 {
        if let index = chooser.choose(key: UInt64(key) << 40 | 5, state: { states[$0] }) {
          found.insert(index)
        }
      }
      return found
    }
    #expect(used() == [0, 1])
    states[0].isOut = true
    #expect(used() == [1])
    states[1].isFull = true
    #expect(used() == [2])
    states[2].isOut = true
    #expect(used() == [3])
    states[3].isOut = true
    // All failed: better a try than none, but never one that is full.
    #expect(used() == [0])
    states[0].isFull = true
    states[2].isFull = true
    states[3].isFull = true
    #expect(used() == [])
  }

  @Test(arguments: ways) func `the endpoint that just failed is the last resort`(way: Balancing) {
    var chooser = Chooser(way, hashes: hashes(3), traits: [], seed: 3)
    for key in 0..<100 {
      #expect(chooser.choose(key: UInt64(key), avoiding: 1, state: { _ in .init() }) != 1)
      #expect(chooser.choose(key: UInt64(key), avoiding: 1, state: { .init(isOut: $0 != 1) }) != 1)
      #expect(chooser.choose(key: UInt64(key), avoiding: 1, state: { .init(isFull: $0 != 1) }) == 1)
    }
    var alone = Chooser(way, hashes: hashes(1), traits: [], seed: 3)
    #expect(alone.choose(key: 1, avoiding: 0, state: { _ in .init() }) == 0)
    var none = Chooser(way, hashes: [], traits: [], seed: 3)
    #expect(none.choose(key: 1, state: { _ in .init() }) == nil)
  }

  @Test func `of two draws the one with fewer requests wins, so nobody is far ahead`() {
    var chooser = Chooser(.leastRequests, hashes: hashes(100), traits: [], seed: 11)
    var active = [Int](repeating: 0, count: 100)
    // Nobody finishes: the load is the number of choices.
    for _ in 0..<10_000 {
      guard let index = chooser.choose(key: 0, state: { .init(active: active[$0]) }) else { continue }
      active[index] += 1
    }
    #expect((active.max() ?? 0) - (active.min() ?? 0) <= 12)
  }

  @Test func `round robin of weights 5, 1, 1 is smooth`() {
    let traits = [5, 1, 1].map { EndpointTraits(weight: $0) }
    var chooser = Chooser(.roundRobin, hashes: hashes(3), traits: traits, seed: 1)
    let turns = (0..<14).compactMap { _ in chooser.choose(key: 0, state: { _ in .init() }) }
    #expect(turns == [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0])
  }

  @Test(arguments: [false, true]) func `an endpoint that leaves gives up its own keys and no others`(
    weighted: Bool
  ) {
    let all = hashes(10)
    func owners(_ kept: [Int]) -> [Int] {
      let traits = weighted ? kept.map { EndpointTraits(weight: UInt16($0 % 3 + 1)) } : []
      var chooser = Chooser(.consistentHash(.source), hashes: kept.map { all[$0] }, traits: traits, seed: 1)
      return (0..<2000).map { key in
        chooser.choose(key: Chooser.hash("user-\(key)".utf8), state: { _ in .init() }).map { kept[$0] } ?? -1
      }
    }
    let (before, after) = (owners(Array(0..<10)), owners((0..<10).filter { $0 != 4 }))
    for (old, new) in zip(before, after) where old != 4 { #expect(old == new) }
    #expect(before.contains(4) && !after.contains(4))
  }

  @Test(arguments: ways.prefix(2)) func `a new endpoint begins with a small share`(way: Balancing) {
    var chooser = Chooser(way, hashes: hashes(4), traits: [], seed: 5)
    let found = shares(&chooser, 4) { $0 == 3 ? .init(warmth: 100) : .init() }
    #expect(found[3] > 0.005 && found[3] < 0.08, "\(found)")
    // Alone it takes everything all the same.
    let alone = shares(&chooser, 4) { $0 == 3 ? .init(warmth: 100) : .init(isOut: true) }
    #expect(alone[3] == 1)
  }

  @Test func `a budget lets a share of the requests be retried, and a few for nothing`() {
    var budget = RetryBudget(percent: 20, free: 3)
    let second: UInt64 = 1_000_000_000
    #expect((0..<10).filter { _ in budget.take(now: second) }.count == 3)
    for _ in 0..<100 { budget.noteRequest() }
    #expect((0..<100).filter { _ in budget.take(now: second) }.count == 20)
    #expect((0..<10).filter { _ in budget.take(now: 2 * second) }.count == 3)
    // What is saved has an end.
    for _ in 0..<1_000_000 { budget.noteRequest() }
    #expect((0..<1000).filter { _ in budget.take(now: 2 * second) }.count == 100)
    var none = RetryBudget(percent: 0, free: 0)
    #expect((0..<1000).allSatisfy { _ in none.take(now: 0) })
  }

  @Test func `failures in a row put an endpoint out, longer each time, and being well is remembered`() {
    let policy = HealthPolicy(failures: 3, ejection: 1000)
    var state = OutlierState()
    let second: UInt64 = 1_000_000_000
    func fail(_ now: UInt64, mayGo: Bool = true) -> Bool {
      state.noteFailure(policy, now: now, mayGo: { mayGo })
    }
    #expect(!fail(second) && !fail(second))
    state.noteSuccess(now: second)
    #expect(!fail(second) && !fail(second) && fail(second))
    #expect(state.isOut(now: second) && state.outUntil == 2 * second && !state.isOut(now: 2 * second))
    #expect(!fail(2 * second) && !fail(2 * second) && fail(2 * second))
    #expect(state.outUntil == 4 * second)
    // So many others are out that it has to stay.
    #expect(!fail(5 * second) && !fail(5 * second) && !fail(5 * second, mayGo: false))
    #expect(!state.isOut(now: 5 * second))
    state.noteSuccess(now: 60 * second)
    state.noteSuccess(now: 120 * second)
    #expect(!fail(200 * second) && !fail(200 * second) && fail(200 * second))
    #expect(state.outUntil == 201 * second)
    var never = OutlierState()
    #expect(!(0..<100).contains { _ in never.noteFailure(HealthPolicy(), now: 0, mayGo: { true }) })
  }
}
