// The race that makes a resolver wait five seconds: an A and an AAAA question from one socket at once, both new to connection tracking.
// Questions to cluster DNS on a node are not tracked, so there is nothing to race for.

import Addresses
import CLinux
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Glibc
import KernelNetlink
import KernelNftables
import NamespaceLab
import Reactor
import Testing

@testable import DNS

/// A node and a pod, each a network namespace, and a server of names on two addresses of the node.
private final class Lab {
  /// Cluster DNS, and an address that nothing is said of.
  static let dns = "10.43.0.10"
  static let other = "10.43.0.11"
  let node: String
  let pod: String
  private let label = "weft-uq-\(getpid())"
  private var server: DNSServer?

  init() throws {
    for end in ["node", "pod"] { _ = try NetworkNamespace.delete(named: "\(label)-\(end)") }
    node = try NetworkNamespace.create(named: "\(label)-node")
    pod = try NetworkNamespace.create(named: "\(label)-pod")
    try runInNamespace(node) {
      for command in [
        "ip link set lo up", "ip addr add \(Self.dns)/32 dev lo", "ip addr add \(Self.other)/32 dev lo",
        "ip link add vp0 type veth peer name eth0 netns \(label)-pod", "ip addr add 10.42.0.1/24 dev vp0",
        "ip link set vp0 up",
        // A rule about connections makes the kernel track what it sees.
        "nft 'add table ip other; add chain ip other in { type filter hook prerouting priority 0; }'",
        "nft 'add chain ip other out { type filter hook output priority 0; }'",
        "nft 'add rule ip other in ct state new accept; add rule ip other out ct state new accept'",
      ] { try Self.done(command) }
      let address = try #require(IPAddress(Self.dns))
      _ = try RulesetSyncer(owned: UntrackedDNS.tables).sync(UntrackedDNS.plan(address))
    }
    try runInNamespace(pod) {
      for command in [
        "ip addr add 10.42.0.2/24 dev eth0", "ip link set eth0 up",
        "ip route add 10.43.0.0/16 via 10.42.0.1",
      ] { try Self.done(command) }
    }
    let view = ClusterView(objects: [
      ["kind": "Namespace", "metadata": ["name": "demo"]],
      [
        "kind": "Service", "metadata": ["name": "web", "namespace": "demo"],
        "spec": ["clusterIP": "10.43.7.20", "ports": [["port": 80]]],
      ],
    ])
    let server = DNSServer(
      settings: DNSServerSettings(), zone: planZone(view: view, settings: ZoneSettings()),
      metrics: Metrics())
    let sockets = try runInNamespace(node) {
      try [Self.dns, Self.other].map { text in
        try Sockets.bindUDP(SocketEndpoint(try #require(IPAddress(text)), 53)).release()
      }
    }
    try server.start(datagrams: sockets, listeners: [])
    self.server = server
  }

  func remove() {
    server?.stop()
    for end in ["node", "pod"] { _ = try? NetworkNamespace.delete(named: "\(label)-\(end)") }
  }

  private static func done(_ command: String) throws {
    let (status, output) = run(command)
    try #require(status == 0, "\(command): \(output)")
  }

  var tracked: ConntrackStatistics {
    get throws { try #require(try runInNamespace(node) { ConntrackStatistics.read() }) }
  }

  /// Sends an A and an AAAA question at once from each of `count` fresh sockets; how many answers came to questions sent once.
  func ask(_ address: String, from namespace: String, _ count: Int) throws -> Int {
    let server = SocketEndpoint(try #require(IPAddress(address)), 53)
    let name = try #require(DomainName("web.demo.svc.cluster.local"))
    let questions = [RecordType.a, .aaaa].map { Message(query: name, $0, id: $0.rawValue).encoded }
    var answers = 0
    var asked = 0
    while asked < count {
      let sockets = try runInNamespace(namespace) {
        try (0..<min(50, count - asked)).map { _ in try Sockets.connectUDP(server).release() }
      }
      asked += sockets.count
      defer { for socket in sockets { close(socket) } }
      for socket in sockets {
        for question in questions { _ = send(socket, question, question.count, 0) }
      }
      for socket in sockets {
        var types: Set<UInt16> = []
        var space = [UInt8](repeating: 0, count: 2048)
        var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        // Generous: an answer that was lost never comes.
        while types.count < 2, poll(&entry, 1, 20_000) == 1 {
          let got = recv(socket, &space, space.count, 0)
          guard got > 0, let reply = try? Message(Array(space[..<got]).span.bytes) else { break }
          types.insert(reply.id)
        }
        answers += types.count
      }
    }
    return answers
  }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct UntrackedQuestionsTests {
  @Test func `two questions of one socket at once are both answered, and no table has a place to lose them`()
    throws
  {
    let lab = try Lab()
    defer { lab.remove() }
    let before = try lab.tracked
    for namespace in [lab.pod, lab.node] {
      let answers = try lab.ask(Lab.dns, from: namespace, 400)
      #expect(answers == 800)
    }
    let after = try lab.tracked
    #expect(after.entries == 0, "nothing is remembered of a question")
    #expect(after.insertFailed == before.insertFailed && after.drop == before.drop)
    // The same kernel remembers each socket's questions where nothing says otherwise.
    let answers = try lab.ask(Lab.other, from: lab.pod, 100)
    #expect(answers > 0)
    let tracked = try lab.tracked.entries
    #expect(tracked >= 50, "\(tracked)")
  }
}
