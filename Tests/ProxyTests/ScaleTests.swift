// Many Services: one transaction, a small one for a small change, nothing when nothing changed.
// `WEFT_BENCH_SERVICES=10000 swift test
// -c release --filter Scale` prints the figures that the README quotes.

import Addresses
import ClusterObjects
import ClusterView
import Glibc
import KernelNftables
import NamespaceLab
import Proxy
import Ruleset
import Testing

func manyServices(_ count: Int) -> ClusterView {
  var view = ClusterView()
  for index in 0..<count {
    let name = "s\(index)"
    let extra: [String: JSON] =
      index % 10 == 0 ? ["type": "NodePort"] : index % 20 == 1 ? ["sessionAffinity": "ClientIP"] : [:]
    let port: JSON = index % 10 == 0 ? nodePort(Int64(30000 + index / 10)) : ["name": "http", "port": 80]
    view.apply(service(name, "10.43.\(index / 250).\(index % 250 + 1)", [port], extra))
    view.apply(endpointSlice(name, pair(index)))
  }
  return view
}

func pair(_ index: Int, shifted: Int = 0) -> [(String, String)] {
  (0..<2).map {
    ("10.42.\((index * 2 + $0 + shifted) / 250 % 250).\((index * 2 + $0 + shifted) % 250 + 1)", "n2")
  }
}

private func milliseconds<Value>(_ body: () throws -> Value) rethrows -> (value: Value, milliseconds: Double)
{
  let clock = ContinuousClock()
  let start = clock.now
  let value = try body()
  return (value, Double((clock.now - start) / .microseconds(1)) / 1000)
}

@Suite(.serialized) struct ScaleTests {
  @Test func `a thousand Services load in one transaction and a change sends only itself`() throws {
    let count = getenv("WEFT_BENCH_SERVICES").flatMap { Int(String(cString: $0)) } ?? 1000
    var view = manyServices(count)
    try inFreshNamespace {
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      var plan = planProxy(view, clusterConfiguration)
      let first = milliseconds { planProxy(view, clusterConfiguration) }.milliseconds
      let load = try syncer.sync(plan.tables)
      #expect(load.operations >= count * 4)
      var lines = [
        "load: plan \(first) ms, diff \(load.diffMilliseconds), commit \(load.commitMilliseconds), "
          + "\(load.operations) operations, \(load.netlinkBytes) bytes"
      ]
      for round in 1...3 {
        view.apply(endpointSlice("s7", pair(7, shifted: round)))
        let (next, planning) = milliseconds {
          planProxy(view, clusterConfiguration, previous: plan.allocation)
        }
        let (change, all) = try milliseconds { try syncer.sync(next.tables) }
        plan = next
        #expect(change.operations <= 6)
        lines.append(
          "one endpoint: plan \(planning), diff \(change.diffMilliseconds), "
            + "commit \(change.commitMilliseconds), sync in all \(all), \(change.operations) operations, "
            + "\(change.netlinkBytes) bytes")
      }
      let (restarted, reading) = try milliseconds { try RulesetSyncer(owned: ProxyTables.all) }
      let (recovered, recovering) = try milliseconds {
        let table = try #require(try restarted.observed().tables[ProxyTables.id(.v4)])
        return ProxyAllocation(recovering: table, family: .v4)
      }
      let again = planProxy(view, clusterConfiguration, previous: [.v4: recovered])
      let report = try restarted.sync(again.tables)
      #expect(report.operations == 0)
      lines.append(
        "restart: read \(reading), recover \(recovering), diff \(report.diffMilliseconds), "
          + "\(report.netlinkBytes) bytes")
      let removal = try milliseconds { try restarted.removeAll() }.milliseconds
      lines.append("delete \(removal)")
      let text = lines.map { "\(count) services x 2: \($0)\n" }.joined()
      _ = Array(text.utf8).withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
    }
  }
}
