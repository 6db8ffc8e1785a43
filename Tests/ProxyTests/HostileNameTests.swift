// Goal: no name that anybody may write becomes anything but a name: not in the kernel, not in the text that `nft -f` reads.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import NamespaceLab
import Proxy
import Ruleset
import SoakLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct HostileNameTests {
  private static let pieces = [
    "\"", "\\", "\n", "\r\n", "\t", "'", "*", "{", "}", ";", "#", "$x", "@svc-id", "\u{0}", "\u{1b}[31m", " ",
    "/", ":",
    " local", " TCP", "~", "é", "漢字", "🚇", "\u{202e}", "a", "-", "0",
    "\" : 0x1 } ; } ; table ip evil { chain x { type filter hook input priority 0; drop; } } #",
    "\"\n}\ntable inet evil { }\n", "*/ drop /*", "include \"/etc/passwd\"", "%s%n", "$(reboot)", "`id`",
    String(repeating: "x", count: 63), String(repeating: "é", count: 200),
    String(repeating: "\"", count: 300),
  ]

  private static func name(_ random: inout SplitMix) -> String {
    (0..<Int.random(in: 1...4, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }
      .joined()
  }

  /// Services and slices whose every name is hostile; addresses are good, or nothing would come of them.
  private static func cluster(_ random: inout SplitMix, _ count: Int) -> ClusterView {
    var view = ClusterView()
    for index in 0..<count {
      let (name, space, port) = (name(&random), Self.name(&random), Self.name(&random))
      view.apply([
        "kind": "Service",
        "metadata": [
          "name": JSON(name), "namespace": JSON(space),
          "annotations": [
            "weft.dev/endpoint-weights": JSON(Self.name(&random)),
            "weft.dev/balancing": JSON(Self.name(&random)),
          ],
        ],
        "spec": [
          "type": "NodePort", "clusterIP": JSON("10.43.\(index / 250).\(index % 250 + 1)"),
          "externalTrafficPolicy": index % 3 == 0 ? "Local" : "Cluster",
          "sessionAffinity": index % 4 == 0 ? "ClientIP" : "None",
          "ports": [["name": JSON(port), "port": 80, "protocol": "TCP", "nodePort": JSON(30000 + index)]],
        ],
      ])
      view.apply([
        "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": [
          "name": JSON(Self.name(&random)), "namespace": JSON(space),
          "labels": ["kubernetes.io/service-name": JSON(name)],
        ],
        "ports": [["name": JSON(port), "port": 8080, "protocol": "TCP"]],
        "endpoints": [["addresses": ["10.42.0.11"], "nodeName": JSON(Self.name(&random))]],
      ])
    }
    return view
  }

  @Test func `hostile names stay names, in the kernel and in print`() throws {
    var random = SplitMix(state: Soak.seed)
    let tables = ["table ip KUBE-PROXY"]
    for _ in 0..<Soak.rounds(3, long: 100) {
      let view = Self.cluster(&random, 200)
      let plan = planProxy(view, clusterConfiguration)
      #expect(plan.services > 150)
      let text = Ruleset(plan.tables).description
      // Outside of quotes nothing is left of a name: every line reads like one that a good name makes.
      let scalars = text.unicodeScalars.filter {
        $0.value < 32 && $0 != "\n" && $0 != "\t" || $0.value == 127
      }
      #expect(scalars.isEmpty, "control characters in print: \(Array(scalars).prefix(3))")
      for table in plan.tables {
        for set in table.sets {
          for element in set.elements.values {
            #expect(Rule.quotable(element.comment ?? "").utf8.count <= 127)
          }
        }
      }
      try inFreshNamespace {
        let loaded = run("nft -f -", input: text)
        #expect(loaded.status == 0, "\(loaded.output.prefix(300))")
        #expect(run("nft list tables").output.split(separator: "\n").map(String.init) == tables)
      }
      try inFreshNamespace {
        let syncer = try RulesetSyncer(owned: ProxyTables.all)
        let report = try syncer.sync(plan.tables)
        #expect(report.quarantined.isEmpty && report.operations > 600)
        #expect(run("nft list tables").output.split(separator: "\n").map(String.init) == tables)
        // What the kernel shows can be loaded again.
        let listing = run("nft list ruleset").output
        let reloaded = run("nft flush ruleset; nft -f -", input: listing)
        #expect(reloaded.status == 0, "\(reloaded.output.prefix(300))")
      }
    }
  }

  @Test func `after a restart hostile names are known again and nothing is sent`() throws {
    var random = SplitMix(state: Soak.seed &+ 7)
    let view = Self.cluster(&random, 200)
    try inFreshNamespace {
      let first = planProxy(view, clusterConfiguration)
      _ = try RulesetSyncer(owned: ProxyTables.all).sync(first.tables)
      let restarted = try RulesetSyncer(owned: ProxyTables.all)
      let table = try #require(try restarted.observed().tables[ProxyTables.id(.v4)])
      let recovered = ProxyAllocation(recovering: table, family: .v4)
      let again = planProxy(view, clusterConfiguration, previous: [.v4: recovered])
      let report = try restarted.sync(again.tables)
      #expect(
        report.operations == 0, "\(report.operations) of \(first.services) Services were not known again")
    }
  }

  @Test func `names of full length are told apart`() throws {
    // 63 letters of namespace and Service, 15 of the port: three Services that differ in the last letter alone.
    let space = String(repeating: "n", count: 63)
    let stem = String(repeating: "s", count: 62)
    var view = ClusterView()
    for (index, letter) in ["a", "b", "c"].enumerated() {
      view.apply([
        "kind": "Service", "metadata": ["name": JSON(stem + letter), "namespace": JSON(space)],
        "spec": [
          "clusterIP": JSON("10.43.0.\(index + 1)"),
          "ports": [["name": "p23456789012345", "port": 80, "protocol": "TCP"]],
        ],
      ])
    }
    try inFreshNamespace {
      let plan = planProxy(view, clusterConfiguration)
      _ = try RulesetSyncer(owned: ProxyTables.all).sync(plan.tables)
      let restarted = try RulesetSyncer(owned: ProxyTables.all)
      let table = try #require(try restarted.observed().tables[ProxyTables.id(.v4)])
      let elements = table.sets["svc-id"]?.elements ?? [:]
      #expect(elements.count == 3 && Set(elements.values.map(\.comment)).count == 3)
      #expect(elements.values.allSatisfy { ($0.comment ?? "").utf8.count <= 127 })
      let recovered = ProxyAllocation(recovering: table, family: .v4)
      let again = planProxy(view, clusterConfiguration, previous: [.v4: recovered])
      #expect(try restarted.sync(again.tables).operations == 0)
    }
  }
}
