// Goal: no packet of a starting pod passes before its policies hold. Everything on the wire is recorded while pods start, under fire
// from both sides from the moment their link is up. `make soak` starts 1,000 pods.
import Addresses
import ClusterClient
import ClusterObjects
import DataPlane
import KernelSockets
import Glibc
import KernelNetlink
import NamespaceLab
import SoakLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(20))) struct FirstPacketTests {
  /// Addresses are used again after so many starts, by a pod of the other kind.
  private static let addresses = 7

  @Test func `no packet of a starting pod passes that its policies forbid`() async throws {
    let count = Soak.rounds(14, long: 1000)
    let lab = try StartingNode("first")
    defer { lab.remove() }
    lab.pod("neighbour", app: "open")
    try await lab.start()
    let neighbour = try #require(IPAddress(StartingNode.neighbour))
    try lab.link(lab.neighbourPod, neighbour, "vpnb")
    try await lab.attach("neighbour", neighbour, "vpnb")
    var leaked = 0
    var reached = 0
    for round in 0..<count {
      // The first half of the rounds that an address has is closed, open, closed; its neighbour in the row begins with the other.
      let isOpen = (round + round / Self.addresses) % 2 == 1
      let name = "p\(round)"
      let interface = "vp\(round)"
      let address = try #require(IPAddress("10.42.0.\(10 + round % Self.addresses)"))
      let pod = try NetworkNamespace.create(named: "weft-ps-\(getpid())-\(name)")
      defer { _ = try? NetworkNamespace.delete(named: "weft-ps-\(getpid())-\(name)") }
      let recorder = try Recorder(in: pod)
      // Closed by a NetworkPolicy, or by a ClusterNetworkPolicy.
      lab.pod(name, app: isOpen ? "open" : round % 3 == 0 ? "barred" : "closed")
      try lab.link(pod, address, interface)
      let hammer = try Hammer([(pod, neighbour), (lab.neighbourPod, address)])
      do {
        defer { hammer.stop() }
        try await hammer.more(10)
        // Nobody has said yet who this is: neither direction is open for anybody.
        let early = lab.recorder.take(from: address) + recorder.take(from: neighbour)
        #expect(early == [], "\(name) before its rules")
        leaked += early.count
        // The fire goes on while the rules are made.
        try await lab.attach(name, address, interface)
        try await hammer.more(10)
      }
      let out = lab.recorder.take(from: address)
      let back = recorder.take(from: neighbour)
      if isOpen {
        // Else a recorder that sees nothing would prove everything.
        #expect(!out.isEmpty && !back.isEmpty, "\(name) is open")
        reached += 1
      } else {
        #expect(out + back == [], "\(name) is closed: \(out.count) out, \(back.count) in")
        leaked += out.count + back.count
      }
      #expect(recorder.lost == 0 && lab.recorder.lost == 0, "the recording is whole")
      await lab.network?.detach(containerID: name)
      lab.api.remove(.pods, ObjectKey("demo", name))
      var host = try RouteSession(inNamespace: lab.node)
      try host.deleteLink(named: interface)
    }
    #expect(leaked == 0 && reached >= count / 3)
    await lab.stop()
    Soak.report(
      "policy: \(count) pods started under fire: \(leaked) packets leaked, \(reached) open ones reached")
  }

  @Test func `a connection that a pod left behind is not its successor's`() async throws {
    let lab = try StartingNode("heir")
    defer { lab.remove() }
    lab.pod("neighbour", app: "open")
    try await lab.start()
    let neighbour = try #require(IPAddress(StartingNode.neighbour))
    let address = try #require(IPAddress("10.42.0.10"))
    try lab.link(lab.neighbourPod, neighbour, "vpnb")
    try await lab.attach("neighbour", neighbour, "vpnb")
    func place(_ name: String) throws -> String {
      try NetworkNamespace.create(named: "weft-ps-\(getpid())-\(name)")
    }
    func datagrams(in namespace: String) throws -> Int32 {
      let made = try runInNamespace(namespace) {
        socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      }
      try #require(made >= 0)
      return made
    }
    func arrives(_ descriptor: Int32) -> Bool {
      var watched = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      return poll(&watched, 1, 10_000) == 1
    }
    for app in ["closed", "open"] {
      let first = try place("first\(app)")
      defer { _ = try? NetworkNamespace.delete(named: "weft-ps-\(getpid())-first\(app)") }
      lab.pod("first\(app)", app: "open")
      try lab.link(first, address, "vp0")
      try await lab.attach("first\(app)", address, "vp0")
      let server = try datagrams(in: first)
      try #require(withSocketAddress(address, 7777) { bind(server, $0, $1) } == 0)
      // One socket, one port, for the pod's life and beyond it; answered once, and so established.
      let client = try datagrams(in: lab.neighbourPod)
      defer { close(client) }
      try #require(withSocketAddress(neighbour, 4000) { bind(client, $0, $1) } == 0)
      try #require(withSocketAddress(address, 7777) { connect(client, $0, $1) } == 0)
      try #require(send(client, "x", 1, 0) == 1 && arrives(server))
      _ = receiveDatagram(server)
      try #require(withSocketAddress(neighbour, 4000) { sendto(server, "y", 1, 0, $0, $1) } == 1)
      try #require(arrives(client))
      close(server)
      await lab.network?.detach(containerID: "first\(app)")
      lab.api.remove(.pods, ObjectKey("demo", "first\(app)"))
      var host = try RouteSession(inNamespace: lab.node)
      try host.deleteLink(named: "vp0")

      let second = try place("second\(app)")
      defer { _ = try? NetworkNamespace.delete(named: "weft-ps-\(getpid())-second\(app)") }
      let recorder = try Recorder(in: second)
      lab.pod("second\(app)", app: app)
      try lab.link(second, address, "vp0")
      try await lab.attach("second\(app)", address, "vp0")
      for _ in 0..<20 { _ = send(client, "x", 1, 0) }
      let seen = recorder.take(from: neighbour)
      // An open one gets them: else nothing would be proved.
      #expect(seen.isEmpty == (app == "closed"), "\(app): \(seen)")
      await lab.network?.detach(containerID: "second\(app)")
      lab.api.remove(.pods, ObjectKey("demo", "second\(app)"))
      try host.deleteLink(named: "vp0")
    }
    await lab.stop()
  }

  @Test func `no packet passes while the data plane is away and comes back`() async throws {
    let lab = try StartingNode("again")
    defer { lab.remove() }
    lab.pod("neighbour", app: "open")
    lab.pod("quiet", app: "closed")
    try await lab.start()
    let neighbour = try #require(IPAddress(StartingNode.neighbour))
    let address = try #require(IPAddress("10.42.0.10"))
    let pod = try NetworkNamespace.create(named: "weft-ps-\(getpid())-quiet")
    defer { _ = try? NetworkNamespace.delete(named: "weft-ps-\(getpid())-quiet") }
    try lab.link(lab.neighbourPod, neighbour, "vpnb")
    try await lab.attach("neighbour", neighbour, "vpnb")
    let recorder = try Recorder(in: pod)
    try lab.link(pod, address, "vp0")
    let hammer = try Hammer([(pod, neighbour), (lab.neighbourPod, address)])
    do {
      defer { hammer.stop() }
      try await lab.attach("quiet", address, "vp0")
      for _ in 0..<Soak.rounds(3, long: 50) {
        await lab.stop()
        try await hammer.more(10)
        try await lab.start()
        try await hammer.more(10)
      }
      #expect(lab.recorder.take(from: address) + recorder.take(from: neighbour) == [])
      // The policy goes: now the same packets pass, by the same links and recorders.
      lab.api.remove(.networkPolicies, ObjectKey("demo", "closed"))
      var isOpen = false
      for _ in 0..<200 where !isOpen {
        try await hammer.more(5)
        let (out, back) = (lab.recorder.take(from: address), recorder.take(from: neighbour))
        isOpen = !out.isEmpty && !back.isEmpty
      }
      #expect(isOpen)
    }
    #expect(recorder.lost == 0 && lab.recorder.lost == 0)
    await lab.stop()
  }
}
