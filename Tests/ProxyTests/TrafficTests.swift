// Goal: real connections through the table in the kernel fare as the evaluator says, for every promise of
// PlanTests.

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

private let names = ["a": "10.42.0.11", "b": "10.42.0.12", "out": "10.42.1.21"]

/// The fate that answers of a client show.
private func fate(of answers: [String]) -> Fate {
  let targets = answers.compactMap { names[String($0.split(separator: " ")[0])] }
  if !targets.isEmpty { return .answered(Set(targets)) }
  return answers.allSatisfy { $0 == "silent" } && !answers.isEmpty ? .silent : .refused
}

@Suite(.serialized) struct TrafficTests {
  @Test func `the kernel does to real connections what the evaluator says`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      let plan = planProxy(ClusterView(objects: clusterObjects), clusterConfiguration)
      let checked = run("nft -c -f -", input: Ruleset(plan.tables).description)
      #expect(checked.status == 0, "nft does not read what we print: \(checked.output)")
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      let report = try syncer.sync(plan.tables)
      #expect(report.operations > 100)
      #expect(report.quarantined.isEmpty)
      let places = ["10.42.0.13": "c", "192.168.50.2": "out", "10.42.0.1": "", "10.42.0.11": "a"]
      for (source, place) in places {
        let mine = promises.filter { $0.source == source && $0.destination != "10.43.0.15" }
        func word(_ promise: Promise) -> String {
          "\(promise.transport.rawValue),\(promise.destination),\(promise.port),24,0"
        }
        guard !mine.isEmpty else { continue }
        let answers = node.attempt(place, mine.map(word))
        for promise in mine {
          let got = answers[word(promise)] ?? []
          #expect(fate(of: got) == promise.fate, "\(promise.testDescription): \(got.prefix(3))")
          if case .answered = promise.fate, place == "c" || place == "out" {
            let isSeen = got.allSatisfy { $0.hasSuffix(" \(source)") }
            #expect(isSeen != promise.isMasqueraded, "\(promise.testDescription): \(got.prefix(3))")
          }
        }
      }
      // A pod that reaches itself is answered too, and a client with affinity keeps its endpoint.
      let own = node.attempt("a", ["TCP,10.43.0.17,80,5,0"])["TCP,10.43.0.17,80,5,0"] ?? []
      #expect(own.count == 5 && own.allSatisfy { $0.hasPrefix("a ") }, "\(own)")
      let sticky = node.attempt("c", ["TCP,10.43.0.15,80,20,0"])["TCP,10.43.0.15,80,20,0"] ?? []
      #expect(Set(sticky).count == 1 && sticky.count == 20, "\(sticky)")
    }
  }

  @Test func `an endpoint that leaves gets no more connections and a restart sends nothing`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      var view = ClusterView(objects: clusterObjects)
      let plan = planProxy(view, clusterConfiguration)
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      _ = try syncer.sync(plan.tables)
      let sticky = node.attempt("c", ["TCP,10.43.0.15,80,1,0"]).values.first?.first ?? ""
      #expect(sticky.hasPrefix("a ") || sticky.hasPrefix("b "))
      // Take away the endpoint that the client is bound to.
      let rest = sticky.hasPrefix("a ") ? podB : podA
      view.apply(endpointSlice("sticky", [rest]))
      view.apply(endpointSlice("web", [rest]))
      let next = planProxy(view, clusterConfiguration, previous: plan.allocation)
      let change = try syncer.sync(next.tables)
      #expect(change.operations > 0 && change.operations < 40)
      let answers = node.attempt("c", ["TCP,10.43.0.15,80,10,0", "TCP,10.43.0.10,80,20,0"])
      for (word, got) in answers { #expect(fate(of: got) == .answered([rest.0]), "\(word): \(got)") }

      let listing = run("nft -a list ruleset").output
      let restarted = try RulesetSyncer(owned: ProxyTables.all)
      let table = try #require(try restarted.observed().tables[ProxyTables.id(.v4)])
      let recovered = ProxyAllocation(recovering: table, family: .v4)
      let again = planProxy(view, clusterConfiguration, previous: [.v4: recovered])
      let report = try restarted.sync(again.tables)
      #expect(report.operations == 0 && report.netlinkBytes == 0)
      #expect(stable(run("nft -a list ruleset").output) == stable(listing))
      try restarted.removeAll()
      #expect(run("nft list ruleset").output == "")
    }
  }

  @Test func `no connection fails while endpoints come and go`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      var view = ClusterView(objects: clusterObjects)
      var plan = planProxy(view, clusterConfiguration)
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      _ = try syncer.sync(plan.tables)
      // Two endpoints, one, the other one, two again: slots move and classes change under the client.
      let sets = [[podA], [podA, podB], [podB], [podB, podA]]
      var transactions = 0
      var answers: [String] = []
      var rounds = 0
      // How many transactions a client's time has room for depends on the machine.
      while transactions <= 100, rounds < 20 {
        rounds += 1
        answers += try node.attempt("c", "TCP,10.43.0.10,80,4000,0") {
          view.apply(endpointSlice("web", sets[transactions % sets.count]))
          plan = planProxy(view, clusterConfiguration, previous: plan.allocation)
          if try syncer.sync(plan.tables).operations > 0 { transactions += 1 }
        }
      }
      #expect(answers.count == rounds * 4000)
      #expect(Set(answers) == ["a 10.42.0.13", "b 10.42.0.13"])
      #expect(transactions > 100)
    }
  }

  @Test func `IPv6 Services carry connections, with affinity too`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      let six = [("fd00:42::11", "n1"), ("fd00:42::12", "n1")]
      // Link-local addresses take a second to become usable.
      for pod in six {
        let direct = "TCP,\(pod.0),8080,1,0"
        for place in ["", "c"] {
          #expect(becomesTrue { node.attempt(place, [direct])[direct]?.first?.contains("fd00") == true })
        }
      }
      let view = ClusterView(objects: [
        service("six", "fd00:43::a"), endpointSlice("six", six, family: "IPv6"),
        service("held", "fd00:43::b", [["name": "http", "port": 80]], ["sessionAffinity": "ClientIP"]),
        endpointSlice("held", six, family: "IPv6"), service("none", "fd00:43::c"),
      ])
      var configuration = clusterConfiguration
      configuration.families = [.v6]
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      _ = try syncer.sync(planProxy(view, configuration).tables)
      let answers = node.attempt(
        "c",
        [
          "TCP,fd00:43::a,80,24,0", "TCP,fd00:43::b,80,20,0", "TCP,fd00:43::a,81,1,0",
          "TCP,fd00:43::c,80,1,0",
        ])
      #expect(Set(answers["TCP,fd00:43::a,80,24,0"] ?? []) == ["a fd00:42::13", "b fd00:42::13"])
      #expect(Set(answers["TCP,fd00:43::b,80,20,0"] ?? []).count == 1)
      #expect(answers["TCP,fd00:43::b,80,20,0"]?.first?.hasSuffix(" fd00:42::13") == true)
      #expect(answers["TCP,fd00:43::a,81,1,0"] == ["refused"])
      #expect(answers["TCP,fd00:43::c,80,1,0"] == ["refused"])
    }
  }

  /// A listing without the time that dynamic elements have left.
  private func stable(_ listing: String) -> String {
    listing.split(separator: "\n").filter { !$0.contains("expires") }.joined(separator: "\n")
  }

  @Test func `a UDP client that keeps its source port reaches a live endpoint after the old one left`()
    async throws
  {
    let (madeNode, worker) = try inFreshNamespace { (try Node(), try RulesetWorker(owned: ProxyTables.all)) }
    // Used by this test and by the worker's thread, which is in the node's namespace, in turns.
    nonisolated(unsafe) let node = madeNode
    defer {
      worker.stop()
      node.tearDown()
    }
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let metrics = Metrics()
    let syncer = ProxySyncer(
      worker: worker, configuration: clusterConfiguration, logger: logger, metrics: metrics)
    func ask() async throws -> String {
      let word = "UDP,10.43.0.11,53,1,45000"
      return try await worker.perform { _ in node.attempt("c", [word])[word]?.first ?? "" }
    }
    var view = ClusterView(objects: clusterObjects)
    _ = try await syncer.sync(view)
    let first = try await ask()
    #expect(first.hasPrefix("a ") || first.hasPrefix("b "))
    #expect(try await ask() == first)
    let rest = first.hasPrefix("a ") ? podB : podA
    view.apply(endpointSlice("dns", [rest], port: 5353, transport: "UDP", name: "dns"))
    _ = try await syncer.sync(view)
    #expect(fate(of: [try await ask()]) == .answered([rest.0]))
    // One deletion when the Service came, for flows refused before, and one for the endpoint that left.
    #expect(metrics.text().contains("kubeproxy_conntrack_reconciler_deleted_entries_total 2"))
    // Refused while there is no endpoint, and served as soon as there is one again.
    view.apply(endpointSlice("dns", [], port: 5353, transport: "UDP", name: "dns"))
    _ = try await syncer.sync(view)
    #expect(try await ask() == "refused")
    view.apply(endpointSlice("dns", [rest], port: 5353, transport: "UDP", name: "dns"))
    _ = try await syncer.sync(view)
    #expect(fate(of: [try await ask()]) == .answered([rest.0]))
  }
}
