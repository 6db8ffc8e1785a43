// A change costs what changed, counted in things made anew: no clock is asked.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import DNS

private func service(_ number: Int, _ last: Int = 1) -> JSON {
  Fixture.service(
    "s\(number)", ["clusterIP": JSON("10.43.\(number / 200).\(number % 200 + 1)"), "ports": Fixture.http])
}

private func slice(_ number: Int, _ version: Int = 0) -> JSON {
  Fixture.slice(
    "s\(number)", "IPv4",
    (0..<3).map { Fixture.endpoint("10.\(100 + $0).\(number / 200).\((number + version) % 200 + 1)") })
}

/// What one changed EndpointSlice costs among `count` Services.
private func work(among count: Int) -> ZonePlanner.Work {
  var settings = Fixture.settings
  settings.compatibility = .coreDNS
  var planner = ZonePlanner(settings: settings)
  var view = ClusterView()
  view.apply(["kind": "Namespace", "metadata": ["name": "demo"]])
  for number in 0..<count {
    view.apply(service(number))
    view.apply(slice(number))
  }
  _ = planner.plan(view.takeChanges())
  view.apply(slice(7, 3))
  _ = planner.plan(view.takeChanges())
  return planner.work
}

@Test func `a changed Service is planned alone, however many there are`() {
  let few = work(among: 50)
  let many = work(among: 4000)
  #expect(few.services == 1)
  #expect(many.services == 1)
  #expect(few.groups == many.groups)
  // One path for each record put in or taken out; a path grows with the logarithm of the number.
  #expect(many.nodes < few.nodes + 80, "\(few) \(many)")
  #expect(many.nodes < 120, "\(many)")
}

@Test func `nothing changed, nothing planned, and the serial stays`() {
  var planner = ZonePlanner(settings: Fixture.settings)
  var view = ClusterView(objects: Fixture.objects)
  let first = planner.plan(view.takeChanges())
  let second = planner.plan(view.takeChanges())
  #expect(first === second)
  view.apply(["kind": "Node", "metadata": ["name": "n"]])
  #expect(planner.plan(view.takeChanges()) === first)
  view.remove(kind: "Service", ObjectKey("demo", "web"))
  let third = planner.plan(view.takeChanges())
  #expect(third.serial == first.serial + 1)
  #expect(
    Fixture.texts(first, "web.demo.svc.cluster.local", .a) == ["10.43.0.20"],
    "a zone handed out never changes")
}

@Test func `each consumer of a view's changes gets all of them`() {
  var view = ClusterView()
  let other = view.addConsumer(withPods: true)
  _ = view.takeChanges()
  _ = view.takeChanges(of: other)
  view.apply(service(1))
  view.apply(["kind": "Pod", "metadata": ["name": "p", "namespace": "demo"]])
  let mine = view.takeChanges()
  let others = view.takeChanges(of: other)
  #expect(mine.services.count == 1 && others.services.count == 1)
  #expect(mine.pods.isEmpty && others.pods.count == 1)
  #expect(view.takeChanges(of: other).isEmpty)
}

@Test func `a change of endpoints says when it began`() {
  var planner = ZonePlanner(settings: Fixture.settings)
  var view = ClusterView(objects: Fixture.objects)
  _ = planner.plan(view.takeChanges())
  var changed = Fixture.slice("db", "IPv4", [Fixture.endpoint("10.42.0.50")])
  changed.set(
    "2026-11-21T00:00:00Z", at: "metadata", "annotations", "endpoints.kubernetes.io/last-change-trigger-time")
  view.apply(changed)
  _ = planner.plan(view.takeChanges())
  #expect(planner.triggers.map(\.serviceKind) == ["headless_without_selector"])
  #expect(planner.triggers.map(\.time) == ["2026-11-21T00:00:00Z"])
}

private struct Number: TrieEntry, Hashable {
  var key: UInt128
  var value: Int
  static func isBefore(_ a: Self, _ b: Self) -> Bool { a.value < b.value }
}

@Test(arguments: 1...6) func `a trie holds what a dictionary holds, and older ones stay as they were`(
  _ seed: Int
) {
  var random = SeededRandom(state: UInt64(seed))
  var trie = Trie<Number>()
  var oracle: Set<Number> = []
  var kept: [(Trie<Number>, Set<Number>)] = []
  for step in 0..<300 {
    // Few bits at the top and few at the bottom: shared prefixes, full leaves, equal keys.
    func number() -> Number {
      let key = UInt128(random.next() % 3) << 120 | UInt128(random.next() % 64) << (step % 2 == 0 ? 0 : 64)
      return Number(key: key, value: Int(random.next() % 3))
    }
    let removed = Set((0..<Int(random.next() % 4)).map { _ in number() })
    var added: Set<Number> = []
    for _ in 0..<(step == 100 ? 400 : Int(random.next() % 5)) { added.insert(number()) }
    added.subtract(oracle.subtracting(removed))
    trie.update(removed: removed.map(\.key), where: { removed.contains($0) }, added: added.map { ($0, nil) })
    oracle.subtract(removed)
    oracle.formUnion(added)
    #expect(trie.count == oracle.count && Set(trie.all) == oracle, "seed \(seed), step \(step)")
    let probe = number()
    #expect(trie.view.candidates(probe.key).contains(probe) == oracle.contains(probe))
    for bits in [0, 4, 8, 64, 124] {
      let shift = UInt128(128 - bits)
      let isThere = bits == 0 ? !oracle.isEmpty : oracle.contains { $0.key >> shift == probe.key >> shift }
      #expect(
        trie.view.hasPrefix(probe.key, bits: bits) == isThere, "seed \(seed), step \(step), \(bits) bits")
    }
    if step % 50 == 0 { kept.append((trie, oracle)) }
  }
  for (trie, oracle) in kept { #expect(Set(trie.all) == oracle) }
}
