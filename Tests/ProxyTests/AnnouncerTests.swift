// Load balancer addresses on a link: who announces which, what neighbours are answered, and real packets of a real neighbour.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNetlink
import KernelNftables
import NamespaceLab
@testable import Proxy
import Reactor
import Ruleset
import Testing

private let mac = MACAddress(text: "02:00:00:00:00:01")!
private let asker: [UInt8] = [2, 0, 0, 0, 0, 9]

/// "Who has `target`? Tell 192.168.50.2."
private func arpRequest(_ target: String, operation: UInt8 = 1) -> [UInt8] {
  [UInt8](repeating: 0xff, count: 6) + asker + [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation] + asker
    + [192, 168, 50, 2] + [UInt8](repeating: 0, count: 6) + IPAddress(target)!.bytes
}

private func solicitation(_ target: String, from source: String = "fd00:50::2", hopLimit: UInt8 = 255)
  -> [UInt8]
{
  let six = IPAddress(target)!.v6!
  let group = NeighbourAnswer.solicitedNode(six)
  return [0x33, 0x33] + group[12...] + asker + [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, hopLimit]
    + IPAddress(source)!.bytes + group + [135, 0, 0, 0, 0, 0, 0, 0] + six.bytes + [1, 1] + asker
}

private func answer(_ frame: [UInt8], holding: String...) -> [UInt8]? {
  let held = Set(holding.map { IPAddress($0)! })
  return frame.withUnsafeBytes { NeighbourAnswer.frame(to: $0, mac: mac, holds: { held.contains($0) }) }
}

@Test func `an ARP request for a held address is answered to who asked, and nothing else is`() throws {
  let reply = try #require(answer(arpRequest("192.168.50.200"), holding: "192.168.50.200"))
  #expect(
    reply == asker + mac.array + [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2] + mac.array + [192, 168, 50, 200]
      + asker
      + [192, 168, 50, 2])
  #expect(answer(arpRequest("192.168.50.201"), holding: "192.168.50.200") == nil)
  #expect(answer(arpRequest("192.168.50.200", operation: 2), holding: "192.168.50.200") == nil)
}

@Test func `a neighbour solicitation is answered with a checked advertisement`() throws {
  let reply = try #require(answer(solicitation("fd00:50::200"), holding: "fd00:50::200"))
  #expect(reply[0..<6] == asker[...] && reply[12..<14] == [0x86, 0xdd] && reply[21] == 255)
  #expect(reply[54] == 136 && reply[58] == 0x60, "solicited, override")
  #expect(Array(reply[62..<78]) == IPAddress("fd00:50::200")!.bytes && Array(reply[80..<86]) == mac.array)
  // The sum over pseudo header and message, its own included, is all ones.
  let summed = reply[22..<54] + [0, 0, 0, 32, 0, 0, 0, 58] + reply[54...]
  var sum: UInt32 = 0
  for (place, byte) in summed.enumerated() { sum += place % 2 == 0 ? UInt32(byte) << 8 : UInt32(byte) }
  while sum >> 16 != 0 { sum = (sum & 0xffff) + (sum >> 16) }
  #expect(sum == 0xffff)

  let probe = try #require(answer(solicitation("fd00:50::200", from: "::"), holding: "fd00:50::200"))
  #expect(probe[0..<6] == [0x33, 0x33, 0, 0, 0, 1] && probe[58] == 0x20, "everybody hears that it is taken")
  #expect(
    answer(solicitation("fd00:50::200", hopLimit: 64), holding: "fd00:50::200") == nil, "from elsewhere")
  #expect(answer(solicitation("fd00:50::201"), holding: "fd00:50::200") == nil)
}

@Test func `frames that are cut off or damaged never trap, and answers are for held addresses alone`() {
  var random = SystemLikeRandom(seed: 0x5eed)
  let corpus = [
    arpRequest("192.168.50.200"), solicitation("fd00:50::200"), solicitation("fd00:50::200", from: "::"),
    Announcement.frames(IPAddress("192.168.50.200")!, mac: mac)[0],
    Announcement.frames(IPAddress("fd00:50::200")!, mac: mac)[0],
  ]
  let held = Set([IPAddress("192.168.50.200")!, IPAddress("fd00:50::200")!])
  for _ in 0..<20_000 {
    var frame = corpus[Int(random.next() % UInt64(corpus.count))]
    for _ in 0..<(random.next() % 4) {
      frame[Int(random.next() % UInt64(frame.count))] = UInt8(truncatingIfNeeded: random.next())
    }
    if random.next() % 3 == 0 { frame.removeLast(Int(random.next() % UInt64(frame.count))) }
    if let claim = frame.withUnsafeBytes({ NeighbourClaim($0) }) { #expect(claim.mac.array[0] & 1 == 0) }
    let reply = frame.withUnsafeBytes {
      NeighbourAnswer.frame(to: $0, mac: mac, holds: { held.contains($0) })
    }
    guard let reply else { continue }
    let target = reply[13] == 0x06 ? Array(reply[28..<32]) : Array(reply[62..<78])
    #expect(held.contains(IPAddress(bytes: target)!) && Array(reply[6..<12]) == mac.array)
  }
}

@Test func `an announcement says whose an address is, and a question does not`() throws {
  for address in ["192.168.50.200", "fd00:50::200"].compactMap({ IPAddress($0) }) {
    for frame in Announcement.frames(address, mac: mac) {
      let claim = try #require(frame.withUnsafeBytes { NeighbourClaim($0) })
      #expect(claim.address == address && claim.mac == mac)
    }
  }
  let questions = [
    arpRequest("192.168.50.200"), solicitation("fd00:50::200"), solicitation("fd00:50::200", from: "::"),
  ]
  for frame in questions { #expect(frame.withUnsafeBytes { NeighbourClaim($0) } == nil) }
  // From another link, and under a name for many.
  var far = Announcement.frames(try #require(IPAddress("fd00:50::200")), mac: mac)[0]
  far[21] = 64
  #expect(far.withUnsafeBytes { NeighbourClaim($0) } == nil)
  let many = try #require(MACAddress(text: "03:00:00:00:00:01"))
  let frame = Announcement.frames(try #require(IPAddress("192.168.50.200")), mac: many)[0]
  #expect(frame.withUnsafeBytes { NeighbourClaim($0) } == nil)
}

private struct SystemLikeRandom {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}

private func node(_ name: String, ready: Bool = true, labels: JSON = [:]) -> JSON {
  [
    "kind": "Node", "metadata": ["name": JSON(name), "labels": labels],
    "status": ["conditions": [["type": "Ready", "status": JSON(ready ? "True" : "False")]]],
  ]
}

@Test func `every address has one announcer, and few move when a node goes`() throws {
  let services = (1...90).map {
    service(
      "s\($0)", "10.43.1.\($0)", [["port": 80]], ["type": "LoadBalancer"], ingress: ["203.0.113.\($0)"],
      isAnnounced: true)
  }
  func holders(_ nodes: [JSON]) -> [IPAddress: [String]] {
    let view = ClusterView(objects: services + nodes)
    var holders: [IPAddress: [String]] = [:]
    for name in nodes.map(\.name) {
      for address in planAnnouncements(view, nodeName: name) {
        holders[address, default: []].append(name)
      }
    }
    return holders
  }
  let three = holders([node("n1"), node("n2"), node("n3")])
  #expect(three.count == 90 && three.values.allSatisfy { $0.count == 1 })
  for name in ["n1", "n2", "n3"] {
    #expect(three.values.filter { $0 == [name] }.count > 12, "each has its share")
  }
  let two = holders([node("n1"), node("n2", ready: false), node("n3")])
  #expect(two.count == 90)
  #expect(three.allSatisfy { $0.value == ["n2"] || two[$0.key] == $0.value }, "only those of n2 move")
  let label: JSON = ["node.kubernetes.io/exclude-from-external-load-balancers": ""]
  #expect(Set(holders([node("n1"), node("n2", labels: label)]).values) == [["n1"]])
}

@Test func `policy Local is announced where an endpoint is, and foreign addresses nowhere`() throws {
  let local: [String: JSON] = ["type": "LoadBalancer", "externalTrafficPolicy": "Local"]
  let view = ClusterView(objects: [
    service(
      "local", "10.43.0.1", [["name": "http", "port": 80]], local, ingress: ["203.0.113.1"], isAnnounced: true
    ),
    endpointSlice("local", [("10.42.1.21", "n2")]),
    service("none", "10.43.0.2", [["port": 80]], local, ingress: ["203.0.113.2"], isAnnounced: true),
    service("cloud", "10.43.0.3", [["port": 80]], ["type": "LoadBalancer"], ingress: ["198.51.100.1"]),
    node("n1"), node("n2"),
  ])
  #expect(planAnnouncements(view, nodeName: "n1") == [])
  #expect(planAnnouncements(view, nodeName: "n2") == [IPAddress("203.0.113.1")!])
}

@Suite(.serialized) struct AnnouncerTests {
  @Test(.timeLimit(.minutes(2)))
  func `a neighbour on the link reaches a load balancer's address by ARP and NDP, and learns of a move`()
    throws
  {
    try inFreshNamespace {
      let out = "wlb\(getpid())"
      defer { _ = run("ip netns del \(out)") }
      for command in [
        "ip netns add \(out)", "ip link add ext0 type veth peer name eth0 netns \(out)",
        "ip addr add 192.168.50.1/24 dev ext0", "ip addr add fd00:50::1/64 dev ext0 nodad",
        "ip link set ext0 up", "ip addr add 10.42.0.11/32 dev lo", "ip addr add fd00:42::11/128 dev lo nodad",
        "ip -n \(out) addr add 192.168.50.2/24 dev eth0",
        "ip -n \(out) addr add fd00:50::2/64 dev eth0 nodad",
        "ip -n \(out) link set eth0 up",
        // The former holder, as the neighbour remembers it.
        "ip -n \(out) neigh replace 192.168.50.200 lladdr 02:00:00:00:00:99 dev eth0 nud stale",
        "ip -n \(out) neigh replace fd00:50::200 lladdr 02:00:00:00:00:99 dev eth0 nud stale",
      ] {
        let result = run(command)
        try #require(result.status == 0, "\(command): \(result.output)")
      }
      // Their handshakes are the kernel's; nobody needs to accept.
      let listener = try Sockets.listenTCP(SocketEndpoint("10.42.0.11:8080")!)
      let listenerOf6 = try Sockets.listenTCP(SocketEndpoint("[fd00:42::11]:8080")!)
      let view = ClusterView(objects: [
        service(
          "lb", "10.43.0.40", [["name": "http", "port": 80]], ["type": "LoadBalancer"],
          ingress: ["192.168.50.200"], isAnnounced: true),
        endpointSlice("lb", [podA]),
        service(
          "six", "fd00:43::40", [["name": "http", "port": 80]], ["type": "LoadBalancer"],
          ingress: ["fd00:50::200"], isAnnounced: true),
        endpointSlice("six", [("fd00:42::11", "n1")], family: "IPv6"), node("n1"),
      ])
      var configuration = clusterConfiguration
      configuration.families = [.v4, .v6]
      let syncer = try RulesetSyncer(owned: ProxyTables.all)
      _ = try syncer.sync(planProxy(view, configuration).tables)
      let metrics = Metrics()
      let announcer = try AddressAnnouncer(besides: [], metrics: metrics)
      defer { announcer.stop() }
      func neighbour(_ address: String) -> String { run("ip -n \(out) neigh show \(address)").output }
      func connects(_ address: String, seconds: Int = 10) -> Bool {
        run(
          "ip netns exec \(out) timeout \(seconds) bash -c 'exec 3<>/dev/tcp/\(address)/80 && echo connected'"
        )
        .output
        .contains("connected")
      }
      let mine = try #require(
        run("ip -br link show ext0").output.split(separator: " ").map(String.init).first {
          MACAddress(text: $0) != nil
        })

      announcer.update(planAnnouncements(view, nodeName: "n1"))
      for address in ["192.168.50.200", "fd00:50::200"] {
        #expect(becomesTrue { neighbour(address).contains(mine) }, "unasked: \(neighbour(address))")
        #expect(connects(address), "\(address)")
        // And when asked, by somebody who knows nothing.
        _ = run("ip -n \(out) neigh del \(address) dev eth0")
        #expect(connects(address), "\(address) \(neighbour(address))")
        #expect(neighbour(address).contains(mine))
      }
      #expect(metrics.text().contains("weft_load_balancer_announced_addresses 2"))

      announcer.update([])
      #expect(becomesTrue { metrics.text().contains("weft_load_balancer_announced_addresses 0") })
      for address in ["192.168.50.200", "fd00:50::200"] {
        _ = run("ip -n \(out) neigh del \(address) dev eth0")
        #expect(!connects(address, seconds: 1) && !neighbour(address).contains(mine), "nobody answers")
      }
      _ = (listener.isOpen, listenerOf6.isOpen)
    }
  }
}
