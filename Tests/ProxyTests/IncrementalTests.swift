// Goal: a planner that keeps its plan is always where a plan of the whole would be, and what it sends depends on the change
// alone. Method: random changes against a plan of the whole and an oracle; counted bytes and operations.
// `make soak` walks 100,000 operations; WEFT_PROXY_OPERATIONS sets another number, WEFT_SOAK_SEED another walk.

import Addresses
import ClusterObjects
import ClusterView
import Glibc
import KernelNftables
import NamespaceLab
import Proxy
import Ruleset
import SoakLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 120 : 10))) struct IncrementalTests {
  @Test func `after every change the kept plan is the plan of the whole and what the API promises`() throws {
    let given = getenv("WEFT_PROXY_OPERATIONS").flatMap { Int(String(cString: $0)) }
    let operations = given ?? Soak.rounds(2500, long: 100_000)
    var random = SplitMix(state: 20_261_120 &+ Soak.seed)
    var model = ModelCluster()
    var view = ClusterView(objects: [model.nodeObject])
    var planner = ProxyPlanner(clusterConfiguration)
    _ = planner.apply(view.takeChanges())
    var inForce = InForce(Ruleset(planner.tables))
    let id = ProxyTables.id(.v4)
    let names = TableReading.ChainNames()
    for operation in 1...operations {
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let (object, gone) = model.step(&random)
        if let object { view.apply(object) }
        if let gone { view.remove(kind: gone.kind, gone.key) }
      }
      let delta = planner.apply(view.takeChanges())
      for table in delta.tables {
        _ = try #require(inForce.tables[id]?.operations(table))
        inForce.tables[id]?.apply(table)
      }
      let reading = TableReading(table: try #require(inForce.tables[id]), names: names).expectations
      let expected = model.expectations
      if reading != expected {
        let keys = Set(reading.keys).union(expected.keys).filter { reading[$0] != expected[$0] }.sorted()
        for key in keys.prefix(3) {
          let text =
            "\(key): \(reading[key]?.description ?? "-") and not \(expected[key]?.description ?? "-")"
          Issue.record("operation \(operation): \(text)")
        }
        return
      }
      guard operation % 50 == 0 else { continue }
      let whole = planProxy(view, clusterConfiguration, previous: planner.allocation)
      let difference = Ruleset(whole.tables).operations(from: inForce)
      #expect(difference.map(\.description) == [], "operation \(operation)")
      #expect(whole.quarantined == planner.quarantined)
      #expect((whole.services, whole.endpoints) == (planner.services, planner.endpoints))
      // A restart recovers every number, but for Services that have lost all their addresses to others.
      guard planner.quarantined.isEmpty else { continue }
      let recovered = ProxyAllocation(recovering: try #require(inForce.tables[id]), family: .v4)
      let again = planProxy(view, clusterConfiguration, previous: [.v4: recovered])
      #expect(Ruleset(again.tables).operations(from: inForce).map(\.description) == [])
      if !difference.isEmpty { return }
    }
    Soak.report(
      "proxy: \(operations) random operations agree with the oracle (\(planner.services) Services at the end)"
    )
  }

  @Test func `what one change sends is the same among a hundred Services and among five thousand`() throws {
    func sent(among count: Int) throws -> [SyncReport] {
      try inFreshNamespace {
        var view = manyServices(count)
        var planner = ProxyPlanner(clusterConfiguration)
        _ = planner.apply(view.takeChanges())
        let syncer = try RulesetSyncer(owned: ProxyTables.all)
        _ = try syncer.sync(planner.tables)
        let changes: [(inout ClusterView) -> Void] = [
          // Another endpoint in place of one, one less, one more, a Service that goes, one that comes.
          { $0.apply(endpointSlice("s7", pair(7, shifted: 1))) },
          { $0.apply(endpointSlice("s7", [pair(7)[0]])) },
          { $0.apply(endpointSlice("s7", pair(7))) },
          { $0.remove(kind: "Service", ObjectKey("demo", "s9")) },
          { $0.apply(service("s9", "10.43.0.10")) },
        ]
        return try changes.map { change in
          change(&view)
          var report = try syncer.sync([], deltas: planner.apply(view.takeChanges()).tables)
          #expect(report.operations > 0)
          report.commitMilliseconds = 0
          report.diffMilliseconds = 0
          return report
        }
      }
    }
    let few = try sent(among: 100)
    #expect(few == (try sent(among: 5000)))
    #expect(few.map(\.operations).max() ?? 0 <= 6)
    #expect(few.map(\.netlinkBytes).max() ?? 0 <= 1000)
  }

  @Test func `an unchanged object, and a change that comes to nothing, send nothing`() {
    var view = ClusterView(objects: clusterObjects)
    var planner = ProxyPlanner(clusterConfiguration)
    _ = planner.apply(view.takeChanges())
    view.apply(clusterObjects[0])
    view.apply(endpointSlice("web", [podA, podB], trigger: "2026-11-21T12:00:00Z"))
    #expect(planner.apply(view.takeChanges()).isEmpty)
    view.apply(endpointSlice("web", [podA]))
    view.apply(endpointSlice("web", [podA, podB]))
    #expect(planner.apply(view.takeChanges()).isEmpty)
    view.remove(kind: "Service", ObjectKey("demo", "web"))
    view.apply(clusterObjects[0])
    #expect(planner.apply(view.takeChanges()).isEmpty)
    #expect(!view.hasChanges)
  }
}
