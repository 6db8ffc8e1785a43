// A node that is cut off from the API server, and the node that takes its load balancer addresses over: real neighbours on one link.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNetlink
import NamespaceLab
import Proxy
import Synchronization
import Testing

private func node(_ name: String, ready: Bool = true) -> JSON {
  [
    "kind": "Node", "metadata": ["name": JSON(name)],
    "status": ["conditions": [["type": "Ready", "status": JSON(ready ? "True" : "Unknown")]]],
  ]
}

private struct Away: Error {}

/// Nodes n1 and n2 and a neighbour on one switch, which is the namespace of the calling thread.
private struct Link {
  let prefix = "wly\(getpid())"

  func set() throws {
    var commands = ["ip link add sw type bridge", "ip link set sw up"]
    for (index, end) in ["n1", "n2", "out"].enumerated() {
      commands += [
        "ip netns add \(prefix)-\(end)", "ip link add \(end) type veth peer name eth0 netns \(prefix)-\(end)",
        "ip link set \(end) master sw up",
        "ip -n \(prefix)-\(end) addr add 192.168.50.\(index + 1)/24 dev eth0",
        "ip -n \(prefix)-\(end) addr add fd00:50::\(index + 1)/64 dev eth0 nodad",
        "ip -n \(prefix)-\(end) link set eth0 up",
      ]
    }
    let result = run("sh -e", input: commands.joined(separator: "\n"))
    try #require(result.status == 0, "\(result.output)")
  }

  func remove() { for end in ["n1", "n2", "out"] { _ = run("ip netns del \(prefix)-\(end)") } }

  func mac(_ end: String) -> String {
    let words = run("ip -n \(prefix)-\(end) -br link show eth0").output.split(separator: " ").map(String.init)
    return words.first { MACAddress(text: $0) != nil } ?? "none"
  }

  /// Who answers a neighbour that knows nothing yet.
  func answers(_ address: String) -> Set<String> {
    _ = run("ip -n \(prefix)-out neigh flush dev eth0")
    _ = run("ip netns exec \(prefix)-out timeout 1 bash -c 'exec 3<>/dev/tcp/\(address)/80'")
    let entry = run("ip -n \(prefix)-out neigh show \(address)").output
    return Set(["n1", "n2"].filter { entry.contains(mac($0)) })
  }

  func announcer(_ end: String, _ metrics: Metrics, _ nodes: @escaping LoadBalancerAnnouncer.Question)
    -> LoadBalancerAnnouncer
  {
    LoadBalancerAnnouncer(nodeName: end, besides: [], metrics: metrics, nodes: nodes)
  }
}

@Suite(.serialized, .timeLimit(.minutes(4))) struct YieldedAddressTests {
  @Test
  func `a node that is cut off yields to the one that takes over, and has its addresses back afterwards`()
    throws
  {
    try inFreshNamespace {
      let link = Link()
      defer { link.remove() }
      try link.set()
      let both = [node("n1"), node("n2")]
      func services(_ last: Int) -> [JSON] {
        [("four", "10.43.0.40", "192.168.50.\(last)"), ("six", "fd00:43::40", "fd00:50::\(last)")].map {
          service(
            $0.0, $0.1, [["name": "http", "port": 80]], ["type": "LoadBalancer"], ingress: [$0.2],
            isAnnounced: true)
        }
      }
      // Addresses that are n1's while both are ready.
      let last = try #require(
        (200..<250).first {
          planAnnouncements(ClusterView(objects: services($0) + both), nodeName: "n1").count == 2
        })
      let all = ClusterView(objects: services(last) + both)
      let withoutFirst = ClusterView(objects: services(last) + [node("n1", ready: false), node("n2")])
      let addresses = ["192.168.50.\(last)", "fd00:50::\(last)"]

      // The API server is away for everybody: nothing changes.
      let isAway = Mutex(true)
      let (first, second) = (Metrics(), Metrics())
      let n1 = try runInNamespace("/run/netns/\(link.prefix)-n1") {
        let announcer = link.announcer("n1", first) {
          if isAway.withLock({ $0 }) { throw Away() }
          return [node("n1"), node("n2")]
        }
        announcer.update(all)
        return announcer
      }
      defer { n1.stop() }
      let n2 = try runInNamespace("/run/netns/\(link.prefix)-n2") {
        let announcer = link.announcer("n2", second) { [node("n1", ready: false), node("n2")] }
        announcer.update(all)
        return announcer
      }
      defer { n2.stop() }
      func announced(_ metrics: Metrics, _ count: Int) -> Bool {
        metrics.text().contains("weft_load_balancer_announced_addresses \(count)\n")
      }
      func conflicts(_ metrics: Metrics) -> Int {
        let line = metrics.text().split(separator: "\n").first {
          $0.hasPrefix("weft_load_balancer_conflicts_total ")
        }
        return line.flatMap { $0.split(separator: " ").last }.flatMap { Int($0) } ?? 0
      }
      for address in addresses { #expect(becomesTrue { link.answers(address) == ["n1"] }, "\(address)") }

      isAway.withLock { $0 = false }
      // n2 is mistaken: n1 asks the API server, and stays.
      try runInNamespace("/run/netns/\(link.prefix)-n2") { n2.update(withoutFirst) }
      // Each address is counted again when it was asked about.
      #expect((0..<4).contains { _ in becomesTrue { conflicts(first) > 2 } }, "\(first.text())")
      #expect(announced(second, 2) && announced(first, 2), "\(first.text())")
      n2.update(all)
      #expect(becomesTrue { announced(second, 0) })

      // n1 is cut off, is not ready by what the others know, and n2 takes over.
      isAway.withLock { $0 = true }
      n2.update(withoutFirst)
      #expect((0..<4).contains { _ in becomesTrue { announced(first, 0) } }, "\(first.text())")
      #expect(first.text().contains("weft_load_balancer_yielded_addresses 2\n"))
      for address in addresses { #expect(becomesTrue { link.answers(address) == ["n2"] }, "\(address)") }

      // n1 is back.
      isAway.withLock { $0 = false }
      n2.update(all)
      #expect((0..<4).contains { _ in becomesTrue { announced(first, 2) } }, "\(first.text())")
      for address in addresses { #expect(becomesTrue { link.answers(address) == ["n1"] }, "\(address)") }
    }
  }
}
