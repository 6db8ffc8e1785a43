// Goal: with least connections who has more open connections is given fewer new ones, and that costs what it must.
// Method: shares as a function of counts; plans; real connections with uneven lives between network namespaces.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNftables
import Logging
import Ruleset
import NamespaceLab
import Testing

@testable import Proxy

private let least = ["weft.dev/balancing": "least-connections"]

private func target(_ number: Int) -> SocketEndpoint {
  SocketEndpoint(.v4(IPv4Address(10, 42, UInt8(number / 250), UInt8(number % 250 + 1))), 8080)
}

private func counts(_ slots: [SocketEndpoint]) -> [SocketEndpoint: Int] {
  slots.reduce(into: [:]) { $0[$1, default: 0] += 1 }
}

@Suite struct LeastConnectionsShareTests {
  @Test func `who has more open connections has no more slots, and everybody has one`() {
    var random = SplitMix(state: 11)
    for _ in 0..<500 {
      let endpoints = Int.random(in: 1...80, using: &random)
      let shares = (0..<endpoints).map { (target: target($0), weight: 1) }
      let open = (0..<endpoints).map { _ in
        Int.random(in: 0...Int.random(in: 1...2000, using: &random), using: &random)
      }
      let slots = counts(LeastConnections.slots(shares, open: open, inForce: []))
      #expect(slots.values.reduce(0, +) == LeastConnections.slots(endpoints: endpoints))
      #expect(slots.count == endpoints)
      let order = shares.indices.sorted { open[$0] < open[$1] }
      for (less, more) in zip(order, order.dropFirst()) where open[less] < open[more] {
        #expect(slots[shares[less].target]! >= slots[shares[more].target]!, "\(open[less]) and \(open[more])")
      }
    }
  }

  @Test func `clear differences move most slots, small ones none, and weights count`() {
    let two = [(target: target(0), weight: 1), (target: target(1), weight: 1)]
    func share(
      _ open: [Int]?, _ shares: [(target: SocketEndpoint, weight: Int)], inForce: [SocketEndpoint] = []
    )
      -> [SocketEndpoint]
    {
      LeastConnections.slots(shares, open: open, inForce: inForce)
    }
    let even = share([0, 0], two)
    #expect(counts(even) == [target(0): 16, target(1): 16])
    #expect(counts(share([40, 0], two))[target(0)]! <= 2)
    #expect(share([1, 0], two, inForce: even) != even, "a difference of one counts among few")
    #expect(share([1000, 1010], two, inForce: even) == even, "and not among many")
    let uneven = share([40, 0], two)
    #expect(share(nil, two, inForce: uneven) == uneven, "nobody has counted yet")
    #expect(counts(share(nil, two)) == counts(even))
    let three = two + [(target: target(2), weight: 1)]
    #expect(Set(counts(share(nil, three, inForce: uneven)).values) == [16])
    let weighted = [(target: target(0), weight: 3), (target: target(1), weight: 1)]
    #expect(counts(share([0, 0], weighted)) == [target(0): 24, target(1): 8])
    #expect(counts(share([30, 10], weighted)) == [target(0): 24, target(1): 8], "loaded as they should be")
    let many = (0..<1500).map { (target: target($0), weight: 1) }
    #expect(share([Int](repeating: 0, count: 1500), many).count == 1500)
  }

  @Test func `counts change slots of the Services that ask, once, and a restart changes nothing`() throws {
    func annotated(_ object: JSON) -> JSON {
      var object = object
      object.set(JSON(least), at: "metadata", "annotations")
      return object
    }
    var view = ClusterView(objects: [
      annotated(service("lc", "10.43.0.30")), endpointSlice("lc", [podA, podB, remote]),
      service("web", "10.43.0.31"), endpointSlice("web", [podA, podB, remote]),
    ])
    var planner = ProxyPlanner(clusterConfiguration)
    _ = planner.apply(view.takeChanges())
    #expect(planner.countsConnections)
    let before = planner.tables
    let id = ProxyTables.id(.v4)
    #expect(before.first { $0.id == id }?.chains.contains { $0.name == "KUBE-LEAST-TCP-48" } == true)
    let open = OpenConnections([
      .init(.tcp, SocketEndpoint("10.42.0.11:8080")!): 100,
      .init(.tcp, SocketEndpoint("10.42.0.12:8080")!): 3,
      .init(.udp, SocketEndpoint("10.42.1.21:8080")!): 100,
    ])
    let delta = planner.apply(open)
    #expect(delta.flows.isEmpty)
    var inForce = InForce(Ruleset(before))
    let table = try #require(delta.tables.first)
    let operations = try #require(inForce.tables[id]?.operations(table))
    #expect(!operations.isEmpty && operations.count <= 2 * 48)
    #expect(operations.allSatisfy { "\($0)".contains("backends") }, "\(operations)")
    inForce.tables[id]?.apply(table)
    #expect(planner.apply(open).isEmpty)
    #expect(planner.apply(view.takeChanges()).isEmpty)
    // The safety net and a process that starts anew, which knows slots and no counts.
    for allocation in [
      planner.allocation, [.v4: ProxyAllocation(recovering: try #require(inForce.tables[id]), family: .v4)],
    ] {
      let again = planProxy(view, clusterConfiguration, previous: allocation)
      #expect(Ruleset(again.tables).operations(from: inForce).map(\.description) == [])
    }
    let affine = { (service: JSON) in
      var service = service
      service.set("ClientIP", at: "spec", "sessionAffinity")
      return service
    }
    view.apply(affine(annotated(service("lc", "10.43.0.30"))))
    _ = planner.apply(view.takeChanges())
    #expect(!planner.countsConnections, "affinity goes before it")
  }
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct LeastConnectionsTests {
  /// Opens connections, tells who answered, and holds those to `held`: an answer for every line of its input.
  private static let client = """
    import os, socket, sys, time
    folder, host = sys.argv[1:3]
    held = []
    def connect():
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET); s.settimeout(20)
        s.connect((host, 90)); s.sendall(b"x"); return s.recv(1).decode(), s
    for number in range(1000):
        path = f"{folder}/order{number}"
        for _ in range(6000):
            if os.path.exists(path): break
            time.sleep(0.01)
        else: break
        count, keep = open(path).read().split()
        met = {}
        kept = []
        for _ in range(int(count)):
            name, s = connect()
            met[name] = met.get(name, 0) + 1
            if name in keep: kept.append(s)
            else: s.close()
        for s in held: s.close()
        held = kept
        with open(path + ".tmp", "w") as f: f.write(f"{met.get('a', 0)} {met.get('b', 0)} {len(held)}")
        os.rename(path + ".tmp", path + ".done")
    """

  /// A client in place c that does as it is told.
  /// Used in turns, on the worker's thread.
  private final class Client: @unchecked Sendable {
    private let node: Node
    private let folder: String
    private var number = 0

    init(_ node: Node, _ host: String) {
      self.node = node
      let script = node.file("least.py", LeastConnectionsTests.client)
      folder =
        script.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/\(host.contains(":") ? 6 : 4)"
      _ = run("mkdir -p \(folder)")
      node.execute(
        in: "c", "\(Node.python) \(script) \(folder) \(host) > \(folder)/log 2>&1 < /dev/null &")
    }

    /// Opens so many, one after the other, lets those of before go, and keeps those to `pods`.
    func connect(_ count: Int, keeping pods: String) -> (a: Int, b: Int, held: Int) {
      let order = "\(folder)/order\(number)"
      number += 1
      _ = run("echo '\(count) \(pods)' > \(order).new; mv \(order).new \(order)")
      for _ in 0..<1200 where run("test -e \(order).done").status != 0 { usleep(50_000) }
      let words = run("cat \(order).done").output.split(separator: " ").compactMap { Int($0) }
      return words.count == 3 ? (words[0], words[1], words[2]) : (-1, -1, -1)
    }

    func stop() { _ = run("echo 0 > \(folder)/order\(number)") }
  }

  private struct Lab {
    nonisolated(unsafe) let node: Node
    let worker: RulesetWorker
    let syncer: ProxySyncer
    let metrics = Metrics()

    init() throws {
      (node, worker) = try inFreshNamespace { (try Node(), try RulesetWorker(owned: ProxyTables.all)) }
      syncer = ProxySyncer(
        worker: worker, configuration: featureConfiguration,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, metrics: metrics)
    }

    /// On the worker's thread, which is in the node's namespace.
    func inNode<Value: Sendable>(_ body: @escaping @Sendable (Node) -> Value) async throws -> Value {
      nonisolated(unsafe) let node = node
      return try await worker.perform { _ in body(node) }
    }

    func tearDown() {
      worker.stop()
      node.tearDown()
    }
  }

  @Test(arguments: [IPFamily.v4, .v6])
  func `new connections go where fewer are open, and nothing is written while nothing changes`(
    family: IPFamily
  ) async throws {
    let lab = try Lab()
    defer { lab.tearDown() }
    let view = ClusterView(
      objects: feature(40, [End("a"), End("b")], annotations: least) + feature(41, [End("a"), End("b")]))
    _ = try await lab.syncer.sync(view)
    let host = address("vip 40", family)
    let other = address("vip 41", family)
    let client = try await lab.inNode { node in
      #expect(node.settle(), "the node's network does not carry packets")
      return Client(node, host)
    }
    let counter = try await lab.syncer.connectionCounter()
    func endpoint(_ pod: String) -> SocketEndpoint { SocketEndpoint(IPAddress(address(pod, family))!, 9090) }

    // Connections to a live long, those to b end at once.
    let first = try await lab.inNode { _ in client.connect(80, keeping: "a") }
    #expect(first.a + first.b == 80 && first.held == first.a && first.a >= 15, "\(first)")
    // A closed connection is known as closed when both ends have said so.
    var open = OpenConnections()
    for _ in 0..<600 {
      open = try await counter.count()
      if open[.tcp, endpoint("b")] == 0 { break }
      try await Task.sleep(for: .milliseconds(50))
    }
    #expect(open[.tcp, endpoint("a")] == first.held && open[.tcp, endpoint("b")] == 0, "\(open)")
    let report = try await lab.syncer.balance(open)
    #expect(report.operations > 0 && report.operations <= 2 * 32 * 6, "\(report)")
    #expect(try await lab.syncer.balance(open).operations == 0)
    let generation = try await lab.worker.perform { try $0.socket.generation() }
    for _ in 0..<3 { _ = try await lab.syncer.balance(try await counter.count()) }
    #expect(try await lab.worker.perform { try $0.socket.generation() } == generation, "nothing is written")

    // Of 100 a fair draw gives each 50, give or take 5.
    let second = try await lab.inNode { _ in client.connect(100, keeping: "b") }
    #expect(second.a <= 30 && second.a + second.b == 100, "\(second)")
    // Now b holds them all.
    for _ in 0..<600 {
      open = try await counter.count()
      if open[.tcp, endpoint("a")] == 0 { break }
      try await Task.sleep(for: .milliseconds(50))
    }
    #expect(open[.tcp, endpoint("b")] == second.held, "\(open)")
    _ = try await lab.syncer.balance(open)
    let third = try await lab.inNode { _ in client.connect(100, keeping: "-") }
    #expect(third.b <= 30 && third.a + third.b == 100, "\(third)")

    // What does not ask for it is not even read.
    let before = try await counter.count().flows
    _ = try await lab.inNode { node in
      node.attempt("c", [word("TCP", family, from: "c", to: "vip 41", 80, count: 20)])
    }
    #expect(try await counter.count().flows <= before, "\(other) is counted")
    try await lab.inNode { _ in client.stop() }
  }

  @Test func `a proxy that runs follows open connections by itself`() async throws {
    let lab = try Lab()
    defer { lab.tearDown() }
    _ = try await lab.syncer.sync(
      ClusterView(objects: feature(40, [End("a"), End("b")], annotations: least)))
    let client = try await lab.inNode { node in
      #expect(node.settle(), "the node's network does not carry packets")
      return Client(node, address("vip 40", .v4))
    }
    let loop = Task { await lab.syncer.followOpenConnections { Issue.record("a change was refused") } }
    defer { loop.cancel() }
    let first = try await lab.inNode { _ in client.connect(80, keeping: "a") }
    #expect(first.a + first.b == 80, "\(first)")
    func operations() -> Double {
      lab.metrics.text().split(separator: "\n")
        .first { $0.hasPrefix("weft_proxy_least_connections_operations_total ") }
        .flatMap { Double($0.split(separator: " ")[1]) } ?? 0
    }
    for _ in 0..<600 where operations() == 0 { try await Task.sleep(for: .milliseconds(50)) }
    #expect(operations() > 0)
    // Some of the 80 may have been counted before they were closed; a second look is right.
    var second = (a: 100, b: 0, held: 0)
    for _ in 0..<20 where second.a > 30 {
      second = try await lab.inNode { _ in client.connect(100, keeping: "a") }
      try await Task.sleep(for: .milliseconds(500))
    }
    #expect(second.a <= 30, "\(second)")
    try await lab.inNode { _ in client.stop() }
  }
}
