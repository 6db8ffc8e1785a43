// The userspace mode with real sockets: both transports, both families, bounds, changes under way.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import NamespaceLab
@testable import Proxy
import Reactor
import Testing

private struct Addresses {
  var cluster: String
  var node: String
  var endpoints: [String]
  var family: String
  init(_ family: IPFamily) {
    cluster = family == .v4 ? "10.43.0.10" : "fd00:43::10"
    node = family == .v4 ? "192.168.50.1" : "fd00:50::1"
    endpoints = RelayLab.endpoints[family]!
    self.family = family.rawValue
  }
}

private func objects(_ family: IPFamily, serving: [String], _ extra: [String: JSON] = [:]) -> [JSON] {
  let at = Addresses(family)
  var fields: [String: JSON] = ["type": "NodePort", "clusterIPs": [JSON(at.cluster)]]
  fields.merge(extra) { $1 }
  let list = serving.map { ($0, "n1") }
  var udp = endpointSlice("web", list, port: 5353, transport: "UDP", name: "dns", family: at.family)
  udp.set("web-2", at: "metadata", "name")
  return [
    service(
      "web", at.cluster, [nodePort(30080), nodePort(30053, "UDP", name: "dns", at: 53)], fields),
    endpointSlice("web", list, family: at.family), udp,
  ]
}

private func inLab(_ limits: UserspaceLimits = UserspaceLimits(), _ body: @escaping (RelayLab) throws -> Void)
  throws
{
  try inFreshNamespace {
    let lab = try RelayLab(limits: limits)
    defer { lab.tearDown() }
    try body(lab)
  }
}

@Suite(.serialized) struct UserspaceTests {
  @Test(.timeLimit(.minutes(2)), arguments: IPFamily.allCases)
  func `connections and datagrams reach endpoints by ClusterIP and node port, and change with them`(
    family: IPFamily
  ) throws {
    try inLab { lab in
      let at = Addresses(family)
      let report = lab.sync(ClusterView(objects: objects(family, serving: at.endpoints)))
      #expect(report.frontends == 4 && report.quarantined == [], "\(report)")
      for (host, tcp) in [(at.cluster, 80), (at.node, 30080)] {
        let answers = lab.ask(.tcp, host, tcp, count: 40, size: 1000)
        #expect(Set(answers.keys) == Set(at.endpoints), "\(answers)")
        #expect(answers.values.reduce(0, +) == 40)
      }
      let datagrams = lab.ask(.udp, at.cluster, 53, count: 20, size: 3)
      #expect(Set(datagrams.keys) == Set(at.endpoints), "\(datagrams)")
      #expect(datagrams.values.allSatisfy { $0 % 3 == 0 }, "a flow stays with its endpoint: \(datagrams)")
      // Half-closed long before its answer has come: nothing may be lost.
      let bulk = lab.ask(.tcp, at.cluster, 80, count: 2, size: 2 << 20)
      #expect(bulk.values.reduce(0, +) == 2 && Set(bulk.keys).isSubset(of: at.endpoints), "\(bulk)")

      lab.sync(ClusterView(objects: objects(family, serving: [at.endpoints[1]])))
      for _ in 0..<5 { #expect(lab.connect(at.cluster, 80)?.greeting() == at.endpoints[1]) }
      #expect(lab.ask(.udp, at.node, 30053, count: 5, size: 2) == [at.endpoints[1]: 10])
      lab.sync(ClusterView(objects: objects(family, serving: [])))
      #expect(lab.connect(at.cluster, 80) == nil && lab.connectError == ECONNREFUSED)
      #expect(lab.connect(at.node, 30080) == nil && lab.connectError == ECONNREFUSED)
      #expect(lab.ask(.udp, at.cluster, 53) == ["refused": 1])
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_connections") == 0 })
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_udp_flows") == 0 })
    }
  }

  @Test(.timeLimit(.minutes(2)))
  func `a thousand connections at once are all relayed and leave nothing behind`()
    throws
  {
    try inLab { lab in
      let at = Addresses(.v4)
      lab.sync(ClusterView(objects: objects(.v4, serving: at.endpoints)))
      let answers = lab.ask(.tcp, at.cluster, 80, count: 1000, size: 4000)
      #expect(answers.values.reduce(0, +) == 1000 && Set(answers.keys) == Set(at.endpoints), "\(answers)")
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_connections_total") == 1000 })
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_connections") == 0 })
    }
  }

  @Test(.timeLimit(.minutes(2))) func `an endpoint that does not answer is passed over`() throws {
    try inLab { lab in
      let at = Addresses(.v4)
      // Nobody listens on 10.42.0.99.
      _ = run("ip addr add 10.42.0.99/32 dev lo")
      lab.sync(ClusterView(objects: objects(.v4, serving: [at.endpoints[0], "10.42.0.99"])))
      for _ in 0..<30 { #expect(lab.connect(at.cluster, 80)?.greeting() == at.endpoints[0]) }
      lab.sync(ClusterView(objects: objects(.v4, serving: ["10.42.0.99"])))
      for _ in 0..<3 { #expect(lab.connect(at.cluster, 80)?.greeting() == nil) }
    }
  }

  @Test(.timeLimit(.minutes(2))) func `a client with affinity stays, whatever it asks by`() throws {
    try inLab { lab in
      let at = Addresses(.v4)
      let sticky: [String: JSON] = ["sessionAffinity": "ClientIP"]
      lab.sync(ClusterView(objects: objects(.v4, serving: at.endpoints, sticky)))
      let chosen = try #require(lab.connect(at.cluster, 80)?.greeting())
      for _ in 0..<20 { #expect(lab.connect(at.cluster, 80)?.greeting() == chosen) }
      let other = try #require(at.endpoints.first { $0 != chosen })
      lab.sync(ClusterView(objects: objects(.v4, serving: [other], sticky)))
      for _ in 0..<5 { #expect(lab.connect(at.cluster, 80)?.greeting() == other) }
      lab.sync(ClusterView(objects: objects(.v4, serving: at.endpoints, sticky)))
      for _ in 0..<20 { #expect(lab.connect(at.cluster, 80)?.greeting() == other) }
    }
  }

  @Test(.timeLimit(.minutes(2))) func `source ranges are for the load balancer's address`() throws {
    try inLab { lab in
      let at = Addresses(.v4)
      func view(_ range: String) -> ClusterView {
        var all = objects(
          .v4, serving: at.endpoints,
          ["type": "LoadBalancer", "loadBalancerSourceRanges": [JSON(range)]])
        all[0].set([["ip": "203.0.113.7"]], at: "status", "loadBalancer", "ingress")
        return ClusterView(objects: all)
      }
      lab.sync(view("172.16.0.0/12"))
      #expect(lab.ask(.tcp, "203.0.113.7", 80) == ["reset": 1])
      #expect(at.endpoints.contains(lab.connect(at.node, 30080)?.greeting() ?? ""))
      #expect(
        becomesTrue {
          lab.metric("weft_proxy_userspace_connections_refused_total{reason=\"source_range\"}") == 1
        })
      // A client of this host reaches the address from itself.
      lab.sync(view("203.0.113.7/32"))
      #expect(at.endpoints.contains(lab.connect("203.0.113.7", 80)?.greeting() ?? ""))
    }
  }

  @Test(.timeLimit(.minutes(2))) func `full tables mean a reset or the end of the oldest flow`() throws {
    var limits = UserspaceLimits()
    limits.workers = 1
    limits.connectionsMax = 4
    limits.flowsMax = 3
    try inLab(limits) { lab in
      let at = Addresses(.v4)
      lab.sync(ClusterView(objects: objects(.v4, serving: at.endpoints)))
      var held: [LabConnection] = []
      for _ in 0..<4 {
        let connection = try #require(lab.connect(at.cluster, 80))
        #expect(connection.greeting() != nil)
        held.append(connection)
      }
      #expect(lab.connect(at.cluster, 80)?.greeting() == nil)
      #expect(
        becomesTrue { lab.metric("weft_proxy_userspace_connections_refused_total{reason=\"full\"}") == 1 })
      held.removeLast()
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_connections") == 3 })
      #expect(at.endpoints.contains(lab.connect(at.cluster, 80)?.greeting() ?? ""))

      #expect(lab.ask(.udp, at.cluster, 53, count: 8, size: 1).values.reduce(0, +) == 8)
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_udp_flows") == 3 })
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_udp_flows_evicted_total") == 5 })
    }
  }

  @Test(.timeLimit(.minutes(2))) func `who does not read holds up nobody else, and loses nothing`() throws {
    var limits = UserspaceLimits()
    limits.workers = 1
    limits.pipesMax = 1
    try inLab(limits) { lab in
      let at = Addresses(.v4)
      lab.sync(ClusterView(objects: objects(.v4, serving: at.endpoints)))
      let slow = try #require(lab.connect(at.cluster, 80))
      #expect(slow.greeting() != nil)
      slow.wait(seconds: 0, microseconds: 300_000)
      var sent = 0
      func copied() -> Double { lab.metric("weft_proxy_userspace_pieces_copied_total") ?? 0 }
      // Until every buffer on the way is full, and the one pipe with them; a slow machine takes several rounds.
      for _ in 0..<10 where copied() == 0 {
        sent += slow.send((256 << 20) - sent)
        try #require(sent < 256 << 20, "back pressure reaches the sender")
        let bulk = lab.ask(.tcp, at.cluster, 80, count: 3, size: 1 << 20)
        #expect(bulk.values.reduce(0, +) == 3 && Set(bulk.keys).isSubset(of: at.endpoints), "\(bulk)")
      }
      #expect(copied() > 0)
      slow.wait(seconds: 20)
      slow.finishSending()
      #expect(slow.receive() == (sent, 0), "its echo is whole, and ends")
    }
  }

  @Test(.timeLimit(.minutes(2)))
  func `a connection outlives its endpoint's place unless resets are asked for`()
    throws
  {
    try inLab { lab in
      let at = Addresses(.v4)
      func sync(_ serving: [String], _ annotations: JSON) {
        var all = objects(.v4, serving: serving)
        all[0].set(annotations, at: "metadata", "annotations")
        lab.sync(ClusterView(objects: all))
      }
      for resets in [false, true] {
        let annotations: JSON = resets ? ["weft.dev/reset-connections": "true"] : [:]
        sync([at.endpoints[0]], annotations)
        let held = try #require(lab.connect(at.cluster, 80))
        #expect(held.greeting() == at.endpoints[0])
        sync([at.endpoints[1]], annotations)
        if resets {
          #expect(held.receive() == (0, ECONNRESET))
        } else {
          #expect(held.send(1000) == 1000 && held.receive(1000) == (1000, 0))
        }
        #expect(lab.connect(at.cluster, 80)?.greeting() == at.endpoints[1])
      }
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_connections_reset_total") == 1 })
    }
  }

  @Test(.timeLimit(.minutes(2))) func `connections during endpoint churn are all answered`() throws {
    try inLab { lab in
      let at = Addresses(.v4)
      lab.sync(ClusterView(objects: objects(.v4, serving: at.endpoints)))
      var served: Set<String> = []
      for round in 0..<150 {
        let kept = [at.endpoints[round % 2]]
        if round % 5 == 0 { lab.sync(ClusterView(objects: objects(.v4, serving: kept))) }
        let connection = try #require(lab.connect(at.cluster, 80), "round \(round)")
        let name = try #require(connection.greeting(), "round \(round)")
        served.insert(name)
        connection.finishSending()
        #expect(connection.receive() == (0, 0))
      }
      #expect(served == Set(at.endpoints))
    }
  }

  @Test(.timeLimit(.minutes(2))) func `an address that is taken is told, retried, and stops no other`() throws
  {
    try inLab { lab in
      let at = Addresses(.v4)
      let view = ClusterView(objects: objects(.v4, serving: at.endpoints))
      var taken = Optional(
        try Sockets.listenTCP(SocketEndpoint(IPAddress(at.node)!, 30080), reusePort: false))
      let report = lab.sync(view)
      #expect(report.unopened.map(\.endpoint.description) == ["\(at.node):30080"], "\(report)")
      #expect(report.newlyUnopened.map(\.service) == [ObjectKey("demo", "web")])
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_frontends") == 3 })
      #expect(at.endpoints.contains(lab.connect(at.cluster, 80)?.greeting() ?? ""))
      #expect(lab.sync(view).newlyUnopened == [], "told once")
      taken = nil
      _ = consume taken
      #expect(lab.sync(view).unopened == [])
      #expect(at.endpoints.contains(lab.connect(at.node, 30080)?.greeting() ?? ""))
    }
  }

  @Test(.timeLimit(.minutes(2)))
  func `with least connections each new one goes where fewest are open, to the very number`() throws {
    try inLab { lab in
      let at = Addresses(.v4)
      func view(_ weights: String?) -> ClusterView {
        var all = objects(.v4, serving: at.endpoints)
        var annotations: JSON = ["weft.dev/balancing": "least-connections"]
        if let weights { annotations.set(JSON(weights), at: "weft.dev/endpoint-weights") }
        all[0].set(annotations, at: "metadata", "annotations")
        return ClusterView(objects: all)
      }
      lab.sync(view(nil))
      var held: [String: [LabConnection]] = [:]
      /// Opens so many, and says how many went where.
      func open(_ count: Int) throws -> [Int] {
        var met = at.endpoints.map { _ in 0 }
        for _ in 0..<count {
          let connection = try #require(lab.connect(at.cluster, 80))
          let name = try #require(connection.greeting())
          held[name, default: []].append(connection)
          met[try #require(at.endpoints.firstIndex(of: name))] += 1
        }
        return met
      }
      func expect(_ count: Int, _ wanted: [Int], _ why: Comment? = nil) throws {
        let met = try open(count)
        #expect(met == wanted, why)
      }
      func close(_ endpoint: Int, _ count: Int, leaving left: Double) {
        held[at.endpoints[endpoint]]?.removeLast(count)
        #expect(becomesTrue { lab.metric("weft_proxy_userspace_connections") == left })
      }
      try expect(20, [10, 10])
      close(0, 8, leaving: 12)
      try expect(8, [8, 0])
      try expect(2, [1, 1])
      // Three to one from now on: 11 and 11 open, 12 and 4 for every 16.
      lab.sync(view("\(at.endpoints[0])=3"))
      try expect(22, [22, 0])
      try expect(4, [3, 1])
      held = [:]
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_connections") == 0 })
      lab.sync(view(nil))
      try expect(10, [5, 5], "all were given back")

      let flows = lab.ask(.udp, at.cluster, 53, count: 12, size: 1)
      #expect(flows == [at.endpoints[0]: 6, at.endpoints[1]: 6])
    }
  }

  @Test(.timeLimit(.minutes(2))) func `bytes of TCP pass through pipes, and none is copied here`() throws {
    try inLab { lab in
      let at = Addresses(.v4)
      lab.sync(ClusterView(objects: objects(.v4, serving: at.endpoints)))
      let bulk = lab.ask(.tcp, at.cluster, 80, count: 2, size: 3 << 20)
      #expect(bulk.values.reduce(0, +) == 2 && Set(bulk.keys).isSubset(of: at.endpoints), "\(bulk)")
      // There and back, and two greetings with their line's end.
      let greetings = bulk.reduce(0) { $0 + ($1.key.utf8.count + 1) * $1.value }
      #expect(
        becomesTrue {
          lab.metric("weft_proxy_userspace_spliced_bytes_total") == Double(2 * 2 * (3 << 20) + greetings)
        })
      #expect(becomesTrue { lab.metric("weft_proxy_userspace_pieces_copied_total") == 0 })
    }
  }

  @Test(.timeLimit(.minutes(2)))
  func `addresses of Services are local while they are Services, and go on request`()
    throws
  {
    try inFreshNamespace {
      let lab = try RelayLab()
      func local() -> String {
        run("ip route show table local proto 87; ip -6 route show table local proto 87").output
      }
      lab.sync(
        ClusterView(objects: objects(.v4, serving: []) + [service("six", "fd00:43::11")]))
      #expect(local().contains("local 10.43.0.10") && local().contains("fd00:43::11"), "\(local())")
      lab.sync(ClusterView(objects: [service("six", "fd00:43::11")]))
      #expect(!local().contains("10.43.0.10"))
      lab.tearDown()
      #expect(local() == "", "\(local())")
    }
  }
}
