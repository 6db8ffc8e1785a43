// Goal: real connections through the table in the kernel fare as the evaluator says, for every promise of PlanTests.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
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
      #expect(change.operations > 0 && change.operations < 20)
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

  /// A listing without the time that dynamic elements have left.
  private func stable(_ listing: String) -> String {
    listing.split(separator: "\n").filter { !$0.contains("expires") }.joined(separator: "\n")
  }

  @Test func `a UDP client that keeps its source port reaches a live endpoint after the old one left`() throws
  {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      var view = ClusterView(objects: clusterObjects)
      let plan = planProxy(view, clusterConfiguration)
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      _ = try syncer.sync(plan.tables)
      let word = "UDP,10.43.0.11,53,1,45000"
      let first = node.attempt("c", [word])[word]?.first ?? ""
      #expect(first.hasPrefix("a ") || first.hasPrefix("b "))
      let (gone, rest) = first.hasPrefix("a ") ? (podA, podB) : (podB, podA)
      view.apply(endpointSlice("dns", [rest], port: 5353, transport: "UDP", name: "dns"))
      let next = planProxy(view, clusterConfiguration, previous: plan.allocation)
      _ = try syncer.sync(next.tables)
      let stale = node.attempt("c", [word])[word]?.first ?? ""
      #expect(stale.prefix(2) == first.prefix(2))
      let id = try #require(plan.allocation[.v4]?.ids[.init("demo/dns:dns", .udp)])
      try syncer.socket.deleteFlows(
        FlowFilter(
          family: .v4, transport: .udp, mark: id, markMask: ProxyMark.idMask,
          replySource: SocketEndpoint(IPAddress(gone.0)!, 5353)))
      let live = node.attempt("c", [word])[word]?.first ?? ""
      #expect(fate(of: [live]) == .answered([rest.0]), "\(live)")
    }
  }
}
