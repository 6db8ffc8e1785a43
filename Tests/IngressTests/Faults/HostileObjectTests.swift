// T-I6: whatever is written into an Ingress harms that Ingress alone: the others' routes are those that they would be without it, and a
// table comes of it that the data plane takes.

import Addresses
import ClusterObjects
import ClusterView
import FuzzLab
import SoakLab
import Testing

@testable import Ingress

@Suite struct HostileObjectTests {
  private static let good = (0..<20).map { index in
    nginxIngress(
      "good-\(index)", index % 3 == 0 ? ["proxy-read-timeout": "7"] : [:], host: "good-\(index).test",
      path: "/p\(index)", service: ["web", "new", "auth"][index % 3], created: "2025-01-01T00:00:00Z")
  }

  /// What the good ones' clients get: backend by Service, and whether there is an action.
  private func outcome(_ table: RouteTable) -> [String] {
    Self.good.indices.map { index in
      guard let match = table.match(host: "good-\(index).test", path: "/p\(index)/x") else { return "none" }
      let backend = table.backends[match.backend]
      return
        "\(backend.service) \(backend.endpoints) \(match.action >= 0) \(backend.policy == BackendPolicy())"
    }
  }

  /// Any value for any other.
  private func replaced(_ tree: JSON, _ numbers: inout SeededNumbers, _ depth: Int = 0) -> JSON {
    if Int.random(in: 0..<(8 - min(depth, 6)), using: &numbers) == 0 {
      let values: [JSON] = [
        .null, true, -1, 4_294_967_296, "", "\u{0}", "*", "*.*.test", "good-3.test", "/p3", "a/../b",
        .array([]), .object([:]),
        JSON(String(repeating: "x", count: 70_000)), .array([.array([.array([])])]), "../../etc/passwd",
        "${x}", "\r\nX: y",
      ]
      return values.randomElement(using: &numbers) ?? .null
    }
    if let members = tree.object {
      var out: JSON = [:]
      for (key, value) in members.sorted(by: { $0.key < $1.key }) {
        out[key] = replaced(value, &numbers, depth + 1)
      }
      return out
    }
    let elements = tree.elements
    if !elements.isEmpty { return .array(elements.map { replaced($0, &numbers, depth + 1) }) }
    return tree
  }

  @Test func `objects of any shape leave everybody else's routes as they are`() throws {
    let wanted = outcome(planRoutesExplained(view: nginxView(Self.good)).table)
    #expect(!wanted.contains("none"))
    var numbers = SeededNumbers(Soak.seed)
    let names = AnnotationCatalogue.honoured.sorted()
    for round in 0..<Soak.rounds(60, long: 3000) {
      let bad = (0..<5).map { index in
        var annotations: [String: String] = [:]
        for name in names where Int.random(in: 0..<6, using: &numbers) == 0 {
          annotations[name] = [
            "true", "\r\n", "(", "-1", "99999999999999999999", "a b", "good-1.test", "demo/none",
          ]
          .randomElement(using: &numbers)
        }
        // Another host than the good ones', or the same one later: the older claim wins.
        let host = ["bad.test", "good-\(index).test", ""].randomElement(using: &numbers) ?? ""
        var tree = nginxIngress("bad-\(index)", annotations, host: host, path: "/p\(index)", service: "new")
        tree["spec"] = replaced(tree["spec"] ?? [:], &numbers)
        return tree
      }
      // Those that share a host with a good one share what its annotations say of the host; they come without any.
      let plan = planRoutesExplained(view: nginxView(Self.good + bad.map(Self.plainOnSharedHosts)))
      #expect(outcome(plan.table) == wanted, "round \(round): \(bad)")
      #expect(try RouteTable(encoded: plan.table.encoded()) == plan.table, "round \(round)")
    }
  }

  @Test func `a name as long as a book reaches the data plane as the same label, cut`() throws {
    let bad = nginxIngress("bad", host: "bad.test", service: String(repeating: "ä", count: 40_000))
    let table = planRoutesExplained(view: nginxView(Self.good + [bad])).table
    let label = try #require(table.backends.first { $0.ingress == "bad" }).service
    #expect(label.utf8.count <= RouteBackend.labelBytesMax + 2 && label.hasPrefix("ää"))
    #expect(try RouteTable(encoded: table.encoded()) == table)
  }

  private static func plainOnSharedHosts(_ tree: JSON) -> JSON {
    guard tree.text.contains("good-") else { return tree }
    var plain = tree
    plain["metadata"] = [
      "name": tree.at("metadata", "name") ?? "x", "namespace": "demo",
      "creationTimestamp": "2026-06-01T00:00:00Z",
    ]
    return plain
  }

  @Test func `an annotation of a megabyte, and one that is none, harm their own Ingress`() throws {
    let wanted = outcome(planRoutesExplained(view: nginxView(Self.good)).table)
    let long = String(repeating: "(a|b)*", count: 175_000)
    for name in AnnotationCatalogue.honoured.sorted() {
      let bad = nginxIngress("bad", [name: long], host: "bad.test")
      let plan = planRoutesExplained(view: nginxView(Self.good + [bad]))
      #expect(outcome(plan.table) == wanted, "\(name)")
      #expect(try RouteTable(encoded: plan.table.encoded()) == plan.table, "\(name)")
    }
  }

  @Test func `ten thousand hosts are planned, and each is found`() throws {
    let count = Soak.rounds(2_000, long: 10_000)
    let view = nginxView(
      (0..<count).map {
        nginxIngress("i\($0)", host: "h\($0).example.test", path: "/a", service: $0 % 2 == 0 ? "web" : "new")
      })
    var table = RouteTable()
    let taken = ContinuousClock().measure { table = planRoutesExplained(view: view).table }
    for index in stride(from: 0, to: count, by: 37) {
      let match = try #require(table.match(host: "H\(index).example.test:80", path: "/a/b"))
      #expect(table.backends[match.backend].service == (index % 2 == 0 ? "web" : "new"))
    }
    #expect(table.match(host: "h\(count).example.test", path: "/a") == nil)
    Soak.report("\(count) hosts planned in \(taken) (debug build)")
  }
}
