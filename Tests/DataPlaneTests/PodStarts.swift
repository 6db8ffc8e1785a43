// A node whose pods come and go as under a runtime, with a recorder on every link: which packets passed, and when.
import Addresses
import CLinux
import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Glibc
import KernelNetlink
import KernelNftables
import Logging
import NamespaceLab
import Policy
import Proxy
import Synchronization
import Testing

/// One packet, as far as it says whose it is.
struct RecordedPacket: Equatable, CustomStringConvertible {
  var source: IPAddress
  /// `udp 40000 > 7777`, `icmp 3 3`.
  var description: String

  init?(_ frame: [UInt8]) {
    guard frame.count >= 38, let source = IPAddress(bytes: frame[26..<30]) else { return nil }
    self.source = source
    let start = 14 + Int(frame[14] & 15) * 4
    func number(_ at: Int) -> Int { at + 1 < frame.count ? Int(frame[at]) << 8 | Int(frame[at + 1]) : -1 }
    description =
      switch frame[23] {
      case 1: "icmp \(number(start) >> 8) \(number(start) & 255)"
      case let other: "protocol \(other) \(number(start)) > \(number(start + 2))"
      }
    description = "\(source) \(description)"
  }
}

/// Every IPv4 packet that arrives in a namespace, seen below IP: nothing that was sent away from there.
final class Recorder {
  private let descriptor: Int32
  /// Packets that found no room: a recording that lost some proves nothing.
  private(set) var lost: UInt32 = 0

  init(in namespace: String) throws {
    descriptor = try runInNamespace(namespace) {
      // ETH_P_IP, in network order.
      let made = socket(AF_PACKET, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0x0008)
      guard made >= 0 else { throw NetlinkError(errno: errno, command: "record packets in \(namespace)") }
      return made
    }
    // SOL_PACKET, PACKET_IGNORE_OUTGOING
    var yes: Int32 = 1
    try #require(setsockopt(descriptor, 263, 23, &yes, 4) == 0)
    var room: Int32 = 16 << 20
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, 4)
  }

  deinit { close(descriptor) }

  /// The packets of one source since the last call; others are forgotten.
  func take(from source: IPAddress) -> [RecordedPacket] {
    var packets: [RecordedPacket] = []
    var frame = [UInt8](repeating: 0, count: 2048)
    while true {
      let count = recv(descriptor, &frame, frame.count, Int32(MSG_DONTWAIT))
      guard count >= 0 else { break }
      if let packet = RecordedPacket(Array(frame[..<count])), packet.source == source {
        packets.append(packet)
      }
    }
    // PACKET_STATISTICS: received, dropped; reading begins anew.
    var statistics: (UInt32, UInt32) = (0, 0)
    var length = socklen_t(8)
    if getsockopt(descriptor, 263, 6, &statistics, &length) == 0 { lost += statistics.1 }
    return packets
  }
}

/// Sends datagrams to two places without a pause, as an impatient pod and its impatient neighbour would.
final class Hammer: @unchecked Sendable {
  private let state = Mutex((rounds: 0, isOver: false))
  private let ends: [Int32]
  private var thread = pthread_t()
  /// Microseconds between two datagrams: the rest of the machine goes on.
  private static let pause: UInt32 = 200

  /// - Parameter ways: the namespace to send from, and the address to send to.
  init(_ ways: [(from: String, to: IPAddress)]) throws {
    ends = try ways.map { way in
      let made = try runInNamespace(way.from) {
        socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      }
      var place = sockaddr_in()
      place.sin_family = sa_family_t(AF_INET)
      place.sin_port = UInt16(7777).bigEndian
      inet_pton(AF_INET, way.to.description, &place.sin_addr)
      let connected = withUnsafePointer(to: &place) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(made, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      try #require(made >= 0 && connected == 0)
      return made
    }
    let status = pthread_create(
      &thread, nil,
      { raw in
        guard let raw else { return nil }
        Unmanaged<Hammer>.fromOpaque(raw).takeUnretainedValue().work()
        return nil
      }, Unmanaged.passUnretained(self).toOpaque())
    try #require(status == 0)
  }

  private func work() {
    while !state.withLock({ $0.isOver }) {
      // A refusal of the datagram before tells nothing here.
      for end in ends { _ = send(end, "x", 1, Int32(MSG_DONTWAIT)) }
      state.withLock { $0.rounds += 1 }
      usleep(Self.pause)
    }
  }

  /// Returns when so many more have been sent in each direction; at most after 20 seconds.
  func more(_ count: Int) async throws {
    let start = state.withLock { $0.rounds }
    for _ in 0..<4000 where state.withLock({ $0.rounds }) - start < count {
      try await Task.sleep(for: .milliseconds(5))
    }
    try #require(state.withLock { $0.rounds } - start >= count)
  }

  /// To be called once.
  func stop() {
    state.withLock { $0.isOver = true }
    pthread_join(thread, nil)
    for end in ends { close(end) }
  }
}

/// One node with a bridge, the rules of a whole data plane, and a neighbour pod whom everybody may reach.
final class StartingNode {
  static let neighbour = "10.42.0.2"
  let api = MemoryClusterAPI()
  let node: String
  let neighbourPod: String
  let recorder: Recorder
  private let label: String
  private let book: String
  private var informers: SharedInformers?
  private var follower: ViewFollower?
  private var worker: RulesetWorker?
  private var loop: Task<Void, Never>?
  private(set) var network: NodeNetwork?

  init(_ name: String) throws {
    label = "weft-ps-\(getpid())-\(name)"
    book = "/tmp/\(label).json"
    for end in ["node", "peer"] { _ = try NetworkNamespace.delete(named: "\(label)-\(end)") }
    node = try NetworkNamespace.create(named: "\(label)-node")
    neighbourPod = try NetworkNamespace.create(named: "\(label)-peer")
    recorder = try Recorder(in: neighbourPod)
    let links = NodeLinks(
      podBlocks: [try #require(IPPrefix("10.42.0.0/24"))],
      serviceBlocks: [try #require(IPPrefix("10.43.0.0/16"))],
      dnsAddress: try #require(IPAddress("10.43.0.10")))
    try runInNamespace(node) { try links.apply() }
    api.put(
      .namespaces, ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": "demo"]])
    api.put(
      .networkPolicies,
      [
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": ["name": "closed", "namespace": "demo"],
        "spec": [
          "podSelector": ["matchLabels": ["app": "closed"]], "policyTypes": ["Ingress", "Egress"],
        ],
      ])
    let everyone: JSON = [["namespaces": [:]]]
    api.put(
      .clusterNetworkPolicies,
      [
        "apiVersion": "policy.networking.k8s.io/v1beta1", "kind": "ClusterNetworkPolicy",
        "metadata": ["name": "barred"],
        "spec": [
          "tier": "Admin", "priority": 1,
          "subject": ["pods": ["podSelector": ["matchLabels": ["app": "barred"]]]],
          "ingress": [["action": "Deny", "from": everyone]], "egress": [["action": "Deny", "to": everyone]],
        ],
      ])
  }

  func pod(_ name: String, app: String) {
    api.put(
      .pods,
      [
        "apiVersion": "v1", "kind": "Pod",
        "metadata": ["name": JSON(name), "namespace": "demo", "labels": ["app": JSON(app)]],
        "spec": ["nodeName": "n1"],
      ])
  }

  /// Starts the data plane as a node agent does; after `stop`, starts it again over the rules in force.
  func start() async throws {
    let informers = SharedInformers(api: api, metrics: Metrics())
    let follower = ViewFollower()
    let worker = try runInNamespace(node) {
      try RulesetWorker(
        owned: NodeNetwork.tables, expecting: [NodeNetwork.proxyPlanner, NodeNetwork.policyPlanner])
    }
    let syncer = ProxySyncer(
      worker: worker, configuration: ProxyConfiguration(nodeName: "n1", families: [.v4]),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, metrics: Metrics())
    let settings = PolicySettings(
      nodeName: "n1", podBlocks: [try #require(IPPrefix("10.42.0.0/24"))],
      gateways: [try #require(IPAddress("10.42.0.1"))])
    let network = NodeNetwork(
      follower: follower, worker: worker, proxy: syncer, policy: settings,
      book: try AttachmentBook(path: book))
    try await follower.followClusterPolicies(informers)
    try await follower.start(informers)
    loop = Task { await network.run() }
    try await network.synchronise()
    (self.informers, self.follower, self.worker, self.network) = (informers, follower, worker, network)
  }

  /// The rules stay.
  func stop() async {
    follower?.stop()
    loop?.cancel()
    await loop?.value
    await informers?.stop()
    worker?.stop()
    (informers, follower, worker, network, loop) = (nil, nil, nil, nil, nil)
  }

  /// Namespaces and all that is in them go.
  func remove() {
    for end in ["node", "peer"] { _ = try? NetworkNamespace.delete(named: "\(label)-\(end)") }
    unlink(book)
  }

  /// A pod's namespace and link, as far as the CNI plugin makes them before it reports: up, in the bridge, addressed. Neighbours
  /// know each other beforehand, so that the first packet need not wait for a question and its answer.
  func link(_ pod: String, _ address: IPAddress, _ interface: String) throws {
    let mac = try Self.mac(address)
    var host = try RouteSession(inNamespace: node)
    let bridge = try #require(try host.link(named: "cni0"))
    let namespace = try NetworkNamespace(path: pod)
    try host.createVeth(
      VethEnd(name: interface, master: bridge.index, isUp: true),
      peer: VethEnd(name: "eth0", mac: mac, namespace: namespace.descriptor))
    var inside = try RouteSession(inNamespace: pod)
    let eth0 = try #require(try inside.link(named: "eth0"))
    try inside.addAddress(try #require(InterfaceAddress(address, prefixLength: 24)), to: eth0.index)
    try inside.setLink(eth0.index, isUp: true)
    guard let neighbour = IPAddress(Self.neighbour), address != neighbour else { return }
    try inside.setNeighbour(
      Neighbour(interface: eth0.index, address: neighbour, mac: try Self.mac(neighbour)))
    var other = try RouteSession(inNamespace: neighbourPod)
    let otherLink = try #require(try other.link(named: "eth0"))
    try other.setNeighbour(Neighbour(interface: otherLink.index, address: address, mac: mac))
  }

  static func mac(_ address: IPAddress) throws -> MACAddress {
    try #require(address.v4.map { MACAddress(derivedFrom: $0) })
  }

  /// The plugin's report. It returns when the pod's rules are in force; a runtime tries again when the pod is not known yet.
  func attach(_ name: String, _ address: IPAddress, _ interface: String) async throws {
    let report = ContainerAttachment(
      containerID: name, interface: "eth0",
      attachment: PodAttachment(
        pod: ObjectKey("demo", name), addresses: [address], hardwareAddress: try Self.mac(address),
        hostInterface: interface))
    let network = try #require(network)
    for attempt in 1... {
      do {
        return try await network.attach(report)
      } catch let error as WeftError where error.isRetryable && attempt < 10 {
        continue
      }
    }
  }
}
