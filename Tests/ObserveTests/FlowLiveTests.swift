// Real packets between two pods' namespaces, through the rules that policies are compiled to: what passes and what is refused is seen
// by name, asked over the socket; a connection that a changed policy forbids dies, and the one that it allows lives.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNetlink
import KernelNftables
import KernelSockets
import NamespaceLab
import Policy
import Ruleset
import Synchronization
import Testing

@testable import Observe

/// A node, in the calling thread's namespace, that routes between two pods: 10.42.0.10 is the client, 10.42.0.11 the server.
final class PodLab {
  static let (client, server) = (IPAddress("10.42.0.10")!, IPAddress("10.42.0.11")!)
  let names = ["fc", "fs"].map { "\($0)\(getpid())" }

  init() {
    run(
      "sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1"
    )
    for (index, name) in names.enumerated() {
      let address = index == 0 ? Self.client : Self.server
      run(
        "ip netns add \(name) && ip link add v\(index) type veth peer name eth0 netns \(name)"
          + " && ip addr add 10.42.0.1/32 dev v\(index) && ip link set v\(index) up"
          + " && ip netns exec \(name) sh -c 'ip link set lo up; ip addr add \(address)/32 dev eth0;"
          + " ip link set eth0 up; ip route add 10.42.0.1 dev eth0; ip route add default via 10.42.0.1'"
          + " && ip route add \(address)/32 dev v\(index)")
    }
  }

  deinit { for name in names { run("ip netns del \(name)") } }

  private func descriptor(inPod pod: Int, _ body: @escaping () -> Int32) throws -> Int32 {
    try runInNamespace("/run/netns/\(names[pod])") { body() }
  }

  /// A listening socket of the server.
  func listen(_ port: UInt16) throws -> Int32 {
    try descriptor(inPod: 1) {
      let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      var one: Int32 = 1
      setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, 4)
      _ = withSocketAddress(Self.server, port) { bind(listener, $0, $1) }
      _ = Glibc.listen(listener, 16)
      return listener
    }
  }

  /// A socket of the client, connected within `milliseconds`; nil otherwise.
  func connect(_ port: UInt16, milliseconds: Int32 = 20_000) throws -> Int32? {
    try connect(to: Self.server, port, milliseconds: milliseconds)
  }

  func connect(to address: IPAddress, _ port: UInt16, milliseconds: Int32 = 20_000) throws -> Int32? {
    let client = try descriptor(inPod: 0) {
      socket(
        AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0
      )
    }
    _ = withSocketAddress(address, port) { Glibc.connect(client, $0, $1) }
    var watched = pollfd(fd: client, events: Int16(POLLOUT), revents: 0)
    var failure: Int32 = 0
    var length = socklen_t(4)
    if poll(&watched, 1, milliseconds) == 1,
      getsockopt(client, SOL_SOCKET, SO_ERROR, &failure, &length) == 0, failure == 0
    {
      return client
    }
    close(client)
    return nil
  }

  /// One datagram of the client to each port of the server; how many were taken.
  func flood(ports: ClosedRange<UInt16>) throws -> Int {
    let client = try descriptor(inPod: 0) {
      socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    }
    defer { close(client) }
    return ports.count { port in
      withSocketAddress(Self.server, port) { address, length in
        // An answer that a port is closed ends one call.
        (0..<3).contains { _ in sendto(client, "x", 1, 0, address, length) == 1 }
      }
    }
  }

  static func policy(ports: [Int]) -> JSON {
    [
      "kind": "NetworkPolicy", "metadata": ["name": "web-from-client", "namespace": "demo"],
      "spec": [
        "podSelector": ["matchLabels": ["app": "web"]],
        "ingress": [
          [
            "from": [["podSelector": ["matchLabels": ["app": "client"]]]],
            "ports": .array(ports.map { ["port": JSON($0)] }),
          ]
        ],
      ],
    ]
  }

  static func view(ports: [Int]) -> ClusterView {
    ClusterView(objects: flowObjects.filter { $0.kind != "NetworkPolicy" } + [policy(ports: ports)])
  }

  /// Puts a view's policies in force.
  static func apply(_ view: ClusterView, _ socket: NftablesSocket) throws {
    let tables = planPolicy(view: view, attachments: [], settings: PolicySettings(nodeName: "n1"))
    let ruleset = Ruleset(tables)
    try socket.apply(ruleset.operations(from: try socket.observe(tables.map(\.id))))
  }
}

/// A view that changes, for a keeper.
final class ChangingView: Sendable {
  private let state: Mutex<ClusterView>
  private let consumer: Int
  init(_ view: ClusterView) {
    var view = view
    consumer = view.addConsumer(withPods: true)
    state = Mutex(view)
  }
  var source: FlowKeeper.Source {
    FlowKeeper.Source(
      changes: { [self] in state.withLock { $0.takeChanges(of: consumer) } },
      view: { [self] in state.withLock { $0 } })
  }
  func change(_ object: JSON) -> ViewChanges {
    state.withLock {
      $0.apply(object)
      return $0.takeChanges(of: consumer)
    }
  }
  func take() -> ViewChanges { state.withLock { $0.takeChanges(of: consumer) } }
  var view: ClusterView { state.withLock { $0 } }
}

func text(_ socket: Int32, milliseconds: Int32) -> String? {
  var watched = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
  guard poll(&watched, 1, milliseconds) == 1 else { return nil }
  var bytes = [UInt8](repeating: 0, count: 256)
  let count = recv(socket, &bytes, bytes.count, 0)
  return count > 0 ? String(decoding: bytes.prefix(count), as: UTF8.self) : nil
}

@Suite(.serialized) struct FlowLiveTests {
  @Test func `what passes and what is refused between pods is seen by name and handed out over the socket`()
    throws
  {
    try inFreshNamespace {
      let lab = PodLab()
      let control = try NftablesSocket()
      let view = PodLab.view(ports: [8080])
      try PodLab.apply(view, control)
      let keeper = try FlowKeeper(
        nodeName: "n1", group: PolicyLogging.defaultGroup, source: ChangingView(view).source,
        metrics: Metrics())
      let path = "/tmp/weft-flows-\(getpid()).sock"
      let server = FlowServer(path: path, keeper: keeper)
      try server.start()
      try keeper.start()
      defer {
        server.stop()
        keeper.stop()
      }
      let listener = try lab.listen(8080)
      defer { close(listener) }
      let client = try #require(try lab.connect(8080))
      let accepted = accept(listener, nil, nil)
      defer { close(accepted) }
      #expect(send(client, "hello", 5, 0) == 5 && text(accepted, milliseconds: 20_000) == "hello")
      #expect(try lab.connect(9090, milliseconds: 300) == nil)
      func all() -> [Flow] { keeper.read(from: 0, limit: 1000).flows }
      #expect(becomesTrue { all().contains { $0.verdict == .denied } && all().contains { $0.event == .new } })
      let passed = try #require(all().first { $0.event == .new })
      #expect(
        passed.source.pod == ObjectKey("demo", "client-1")
          && passed.destination.pod == ObjectKey("demo", "web-1"))
      #expect(passed.destination.endpoint.port == 8080 && passed.verdict == .forwarded)
      #expect(passed.decision?.policies == [ObjectKey("demo", "web-from-client")])
      let refused = try #require(all().first { $0.verdict == .denied })
      #expect(
        refused.destination.endpoint.port == 9090 && refused.source.pod == ObjectKey("demo", "client-1"))
      #expect(refused.decision?.reason == "no ingress rule of demo/web-from-client allows it")
      // Its end, with what it carried.
      close(client)
      try control.forEachFlow(.v4) { _ in }
      var tracked: [FlowRecord] = []
      try control.forEachFlow(.v4) { tracked.append($0) }
      for record in tracked { try control.deleteFlow(record) }
      #expect(becomesTrue { all().contains { $0.event == .end && $0.destination.endpoint.port == 8080 } })
      let ended = try #require(all().first { $0.event == .end })
      #expect(ended.totals.map { $0.bytesSent >= 5 && $0.packetsSent >= 3 && $0.milliseconds != nil } == true)
      #expect(ended.hasReply)

      // Over the socket: the newest refused one, then what comes.
      var question = FlowQuestion()
      question.verdict = "denied"
      question.limit = 1
      var answers: [FlowAnswer] = []
      try FlowClient.ask(question, at: path) {
        answers.append($0)
        return true
      }
      #expect(answers.count == 1 && answers.first == all().last { $0.verdict == .denied }.map { .flow($0) })
      question.follows = true
      question.limit = 0
      question.port = "9091"
      let follower = Mutex<[FlowAnswer]>([])
      let isAsked = Atomic<Bool>(false)
      DetachedThread.start { [question] in
        try? FlowClient.ask(question, at: path) { answer in
          follower.withLock { $0.append(answer) }
          return false
        }
        isAsked.store(true, ordering: .releasing)
      }
      #expect(
        becomesTrue {
          _ = try? lab.connect(9091, milliseconds: 100)
          return isAsked.load(ordering: .acquiring)
        })
      let followed = follower.withLock { $0 }
      guard case .flow(let flow)? = followed.first else { throw NamespaceError(text: "nothing followed") }
      #expect(flow.verdict == .denied && flow.destination.endpoint.port == 9091)
      question.verdict = "maybe"
      #expect { try FlowClient.ask(question, at: path) { _ in true } } throws: {
        ($0 as? WeftError)?.code == "FLW0006"
      }
      server.stop()
      #expect { try FlowClient.ask(question, at: path) { _ in true } } throws: {
        ($0 as? WeftError)?.code == "FLW0005"
      }
      #expect(keeper.losses.flows == 0 && keeper.losses.packets == 0)
    }
  }

  @Test func `what a policy in audit mode would refuse passes, and is told with that policy's name`() throws {
    try inFreshNamespace {
      let lab = PodLab()
      let control = try NftablesSocket()
      var audited = PodLab.policy(ports: [8080])
      audited["metadata"]?["annotations"] = ["weft.dev/audit": "true"]
      let view = ClusterView(objects: flowObjects.filter { $0.kind != "NetworkPolicy" } + [audited])
      try PodLab.apply(view, control)
      let keeper = try FlowKeeper(
        nodeName: "n1", group: PolicyLogging.defaultGroup, source: ChangingView(view).source,
        metrics: Metrics())
      try keeper.start()
      defer { keeper.stop() }
      let listeners = [try lab.listen(8080), try lab.listen(9090)]
      defer { for listener in listeners { close(listener) } }
      // The port that its rule has, and one that it has not: both are open.
      for port in [8080, 9090] as [UInt16] {
        let client = try #require(try lab.connect(port), "\(port)")
        close(client)
      }
      func all() -> [Flow] { keeper.read(from: 0, limit: 1000).flows }
      func new(_ port: UInt16) -> Flow? {
        all().first { $0.event == .new && $0.destination.endpoint.port == port }
      }
      #expect(
        becomesTrue { all().contains { $0.verdict == .audited } && new(8080) != nil && new(9090) != nil })
      let told = all().filter { $0.verdict == .audited }
      #expect(told.allSatisfy { $0.destination.endpoint.port == 9090 }, "\(told.map { $0.compact() })")
      let flow = try #require(told.first)
      #expect(flow.source.pod == ObjectKey("demo", "client-1") && flow.event == .packet)
      #expect(flow.destination.pod == ObjectKey("demo", "web-1"))
      #expect(flow.decision?.policies == [ObjectKey("demo", "web-from-client")])
      #expect(flow.decision?.direction == "Ingress")
      #expect(!all().contains { $0.verdict == .denied })
      #expect(new(9090)?.verdict == .forwarded)
      // The same policy in force: the kernel and the flows agree again.
      try PodLab.apply(PodLab.view(ports: [8080]), control)
      #expect(try lab.connect(9090, milliseconds: 300) == nil)
      #expect(becomesTrue { all().contains { $0.verdict == .denied } })
    }
  }

  @Test func `a flood of connections is kept or counted as lost, in bounded memory, and the newest are read`()
    throws
  {
    try inFreshNamespace {
      let lab = PodLab()
      let control = try NftablesSocket()
      let view = ClusterView(objects: flowObjects.filter { $0.kind != "NetworkPolicy" })
      try PodLab.apply(view, control)
      let keeper = try FlowKeeper(
        nodeName: "n1", group: nil, source: ChangingView(view).source, metrics: Metrics())
      try keeper.start()
      defer { keeper.stop() }
      let began = ContinuousClock.now
      let sent = try lab.flood(ports: 10_000...39_999)
      let sending = ContinuousClock.now - began
      #expect(sent == 30_000)
      #expect(becomesTrue { keeper.end + keeper.losses.flows >= UInt64(sent) })
      print(
        "\(sent) connections in \(sending), read after \(ContinuousClock.now - began), \(keeper.losses) lost")
      let all = keeper.read(from: 0, limit: .max)
      #expect(all.flows.count <= FlowRing.flowsMax && all.missed + UInt64(all.flows.count) == keeper.end)
      #expect(all.flows.allSatisfy { $0.source.pod == ObjectKey("demo", "client-1") })
      #expect(all.flows.contains { $0.destination.pod == ObjectKey("demo", "web-1") })
    }
  }

  @Test func `a connection that a changed policy forbids dies, and the one that it allows lives`() throws {
    try inFreshNamespace {
      let lab = PodLab()
      let control = try NftablesSocket()
      let changing = ChangingView(PodLab.view(ports: [8080, 8081]))
      try PodLab.apply(changing.view, control)
      let cutter = try FlowCutter(metrics: Metrics())
      #expect(try cutter.apply(changing.take(), attachments: nil, view: changing.view) == 0)
      var ends: [UInt16: (client: Int32, server: Int32)] = [:]
      for port in [UInt16(8080), 8081] {
        let listener = try lab.listen(port)
        let client = try #require(try lab.connect(port))
        ends[port] = (client, accept(listener, nil, nil))
        close(listener)
      }
      defer {
        for (_, end) in ends {
          close(end.client)
          close(end.server)
        }
      }
      let (dying, living) = (try #require(ends[8080]), try #require(ends[8081]))
      for end in [dying, living] {
        #expect(send(end.client, "one", 3, 0) == 3 && text(end.server, milliseconds: 20_000) == "one")
      }
      // A change that forbids nothing cuts nothing.
      let same = changing.change([
        "kind": "Namespace", "metadata": ["name": "demo", "labels": ["team": "x"]],
      ])
      #expect(try cutter.apply(same, attachments: nil, view: changing.view) == 0)
      let changes = changing.change(PodLab.policy(ports: [8081]))
      try PodLab.apply(changing.view, control)
      #expect(
        send(dying.client, "two", 3, 0) == 3 && text(dying.server, milliseconds: 20_000) == "two",
        "not yet cut"
      )
      #expect(try cutter.apply(changes, attachments: nil, view: changing.view) == 1)
      // Both ways: neither end brings it back.
      #expect(send(dying.client, "three", 5, 0) == 5 && send(dying.server, "four", 4, 0) == 4)
      #expect(send(living.client, "three", 5, 0) == 5 && text(living.server, milliseconds: 20_000) == "three")
      #expect(send(living.server, "four", 4, 0) == 4 && text(living.client, milliseconds: 20_000) == "four")
      #expect(text(dying.server, milliseconds: 1000) == nil && text(dying.client, milliseconds: 1000) == nil)
    }
  }
}
