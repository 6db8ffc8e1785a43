// The edge: views in, transactions out, metrics under kube-proxy's names.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import KernelNftables
import Logging
import NamespaceLab
import Proxy
import Ruleset
import Testing

@Test func `a syncer reports what it did, counts it, and does nothing for an equal view`() async throws {
  let worker = try inFreshNamespace { try RulesetWorker(owned: ProxyTables.all) }
  let metrics = Metrics()
  let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
  let syncer = ProxySyncer(
    worker: worker, configuration: clusterConfiguration, logger: logger, metrics: metrics)
  var view = ClusterView(objects: clusterObjects)
  let first = try await syncer.sync(view)
  #expect(first.services == 9)
  #expect(first.operations > 100)
  #expect(first.quarantined.isEmpty)
  let second = try await syncer.sync(view)
  #expect(second.operations == 0 && second.netlinkBytes == 0)
  view.apply(service("broken", "10.43.0.99.1"))
  let third = try await syncer.sync(view)
  #expect(third.quarantined.map(\.object) == ["Service demo/broken"])
  let text = metrics.text()
  #expect(text.contains("kubeproxy_sync_proxy_rules_duration_seconds_count 3"))
  #expect(text.contains("weft_proxy_services 9"))
  #expect(text.contains("weft_proxy_quarantined_objects 1"))

  // A restart, after ids have moved on from what a fresh plan would give, finds its numbers in the kernel.
  view.remove(kind: "Service", ObjectKey("demo", "away"))
  #expect(try await syncer.sync(view).operations > 0)
  let secondWorker = try await worker.perform { _ in try RulesetWorker(owned: ProxyTables.all) }
  let restarted = ProxySyncer(
    worker: secondWorker, configuration: clusterConfiguration, logger: logger, metrics: Metrics())
  let expected = planProxy(
    view, clusterConfiguration,
    previous: [
      .v4: ProxyAllocation(
        recovering: try #require(secondWorker.initially.tables[ProxyTables.id(.v4)]), family: .v4)
    ])
  #expect(Ruleset(expected.tables).operations(from: secondWorker.initially).map(\.description) == [])
  #expect(try await restarted.sync(view).operations == 0)
  secondWorker.stop()
  worker.stop(removingTables: true)
}

@Test func `a burst of views is followed by the newest and its latency is measured`() async throws {
  let worker = try inFreshNamespace { try RulesetWorker(owned: ProxyTables.all) }
  let metrics = Metrics()
  let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
  let syncer = ProxySyncer(
    worker: worker, configuration: clusterConfiguration, logger: logger, metrics: metrics)
  var view = ClusterView(objects: clusterObjects)
  _ = try await syncer.sync(view)
  let (views, feed) = AsyncStream.makeStream(of: ClusterView.self, bufferingPolicy: .bufferingNewest(1))
  for index in 0..<20 {
    view.apply(service("late\(index)", "10.43.1.\(index + 1)"))
    feed.yield(view)
  }
  view.apply(endpointSlice("late19", [podA], trigger: Timestamp.nowText()))
  feed.yield(view)
  feed.finish()
  await syncer.follow(views)
  let tables = try await worker.perform { try $0.observed().tables }
  let services = tables[ProxyTables.id(.v4)]?.sets["cluster-ips"]?.elements.count
  #expect(services == 29)
  let text = metrics.text()
  #expect(text.contains("kubeproxy_sync_proxy_rules_duration_seconds_count 2"))
  #expect(text.contains("kubeproxy_network_programming_duration_seconds_count 1"))
  worker.stop(removingTables: true)
}
