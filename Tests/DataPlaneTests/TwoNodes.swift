// Two nodes as network namespaces, on one link or with a router between them, each with a bridge and a pod.
import Addresses
import CLinux
import ClusterObjects
import ClusterView
import DataPlane
import Glibc
import KernelNetlink
import Testing

/// Removed when the test ends.
final class TwoNodes {
  let nodes: [String]
  let pods: [String]
  private var names: [String] = []
  private let label: String
  static let podAddresses = ["10.42.0.9", "10.42.1.9"]
  let nodeAddresses: [String]
  private(set) var objects: [String: Node] = [:]

  /// - Parameters:
  ///   - isRouted: the nodes are on links of their own, with a router between.
  ///   - hasV6: the nodes have IPv6 addresses and no others.
  init(_ label: String, isRouted: Bool, hasV6: Bool = false) throws {
    self.label = "weft-dp-\(getpid())-\(label)"
    nodeAddresses =
      hasV6 ? ["2001:db8::1", "2001:db8::2"] : ["192.0.2.1", isRouted ? "198.51.100.2" : "192.0.2.2"]
    var made: [String] = []
    func namespace(_ name: String) throws -> String {
      let full = "weft-dp-\(getpid())-\(label)-\(name)"
      _ = try NetworkNamespace.delete(named: full)
      made.append(full)
      return try NetworkNamespace.create(named: full)
    }
    nodes = [try namespace("a"), try namespace("b")]
    pods = [try namespace("pa"), try namespace("pb")]
    let between = isRouted ? try namespace("router") : nil
    names = made
    if let between {
      try Self.pair(nodes[0], "eth0", "192.0.2.1/24", between, "r0", "192.0.2.254/24")
      try Self.pair(nodes[1], "eth0", "198.51.100.2/24", between, "r1", "198.51.100.254/24")
      try Sysctl.write("net/ipv4/ip_forward", "1", inNamespace: between)
      for (node, gateway) in zip(nodes, ["192.0.2.254", "198.51.100.254"]) {
        var session = try RouteSession(inNamespace: node)
        try session.addRoute(try Self.everything(by: gateway))
      }
    } else {
      let length = hasV6 ? 64 : 24
      try Self.pair(
        nodes[0], "eth0", "\(nodeAddresses[0])/\(length)", nodes[1], "eth0", "\(nodeAddresses[1])/\(length)")
    }
    for (index, name) in ["a", "b"].enumerated() {
      objects[name] = try clusterNode(name, ["10.42.\(index).0/24"], [nodeAddresses[index]])
    }
  }

  deinit { for name in names { _ = try? NetworkNamespace.delete(named: name) } }

  func keeper(_ index: Int, _ mode: NetworkMode) throws -> NodePathKeeper {
    NodePathKeeper(
      try pathSettings(mode, own: "10.42.\(index).0/24", name: ["a", "b"][index]),
      addresses: [try #require(IPAddress(nodeAddresses[index]))], namespace: nodes[index])
  }

  /// Bridge, addresses and one pod on each node, with the MTU that the mode gives.
  func addPods(_ mode: NetworkMode) throws -> UInt32 {
    var mtu: UInt32 = 0
    for (index, node) in nodes.enumerated() {
      let address = try #require(IPAddress(nodeAddresses[index]))
      let found = try runInNamespace(node) { try Uplink.observe([address]) }
      let uplink = try #require(found)
      mtu = mode.podMTU(uplink)
      let links = NodeLinks(
        podBlocks: [try #require(IPPrefix("10.42.\(index).0/24"))],
        serviceBlocks: [try #require(IPPrefix("10.43.0.0/16"))],
        dnsAddress: try #require(IPAddress("10.43.0.10")), mtu: mtu)
      try runInNamespace(node) { try links.apply() }
      try Self.pair(
        pods[index], "eth0", "\(Self.podAddresses[index])/24", node, "vp\(index)", nil, mtu: mtu)
      var session = try RouteSession(inNamespace: node)
      let bridge = try #require(try session.link(named: "cni0"))
      let port = try #require(try session.link(named: "vp\(index)"))
      try session.setLink(port.index, master: bridge.index)
      var pod = try RouteSession(inNamespace: pods[index])
      try pod.addRoute(try Self.everything(by: "10.42.\(index).1"))
    }
    return mtu
  }

  private static func everything(by gateway: String) throws -> Route {
    let way = try #require(IPAddress(gateway))
    return Route(try #require(IPPrefix("0.0.0.0/0")), gateway: way)
  }

  private static func pair(
    _ one: String, _ oneName: String, _ oneAddress: String, _ other: String, _ otherName: String,
    _ otherAddress: String?, mtu: UInt32? = nil
  ) throws {
    let namespace = try NetworkNamespace(path: other)
    var session = try RouteSession(inNamespace: one)
    try session.createVeth(
      VethEnd(name: oneName, mtu: mtu),
      peer: VethEnd(name: otherName, mtu: mtu, namespace: namespace.descriptor))
    var far = try RouteSession(inNamespace: other)
    let near = try #require(try session.link(named: oneName))
    let distant = try #require(try far.link(named: otherName))
    try far.setLink(distant.index, isUp: true)
    try session.setLink(near.index, isUp: true)
    try session.addAddress(try #require(InterfaceAddress(oneAddress)), to: near.index)
    if let otherAddress {
      try far.addAddress(try #require(InterfaceAddress(otherAddress)), to: distant.index)
    }
  }

  /// A UDP datagram whose IP packet is `bytes` long goes from a pod to the other, not to be cut on the way (DF).
  /// - Returns: the source address that the other pod saw; nil when the sender's kernel refused the length.
  func send(_ bytes: Int, from: Int) throws -> String? {
    let to = 1 - from
    let receiver = try Self.datagramSocket(in: pods[to])
    let sender = try Self.datagramSocket(in: pods[from])
    defer {
      close(receiver)
      close(sender)
    }
    var any = Self.endpoint("0.0.0.0", 7777)
    let bound = withUnsafePointer(to: &any) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(receiver, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(bound == 0)
    // IP_MTU_DISCOVER, IP_PMTUDISC_DO
    var always: Int32 = 2
    setsockopt(sender, Int32(IPPROTO_IP), 10, &always, socklen_t(MemoryLayout<Int32>.size))
    var place = Self.endpoint(Self.podAddresses[to], 7777)
    let payload = [UInt8](repeating: 7, count: bytes - 28)
    // The first packet waits for neighbours to answer, which takes a moment of its own; lost ones are sent again.
    for _ in 0..<20 {
      let sent = withUnsafePointer(to: &place) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(sender, payload, payload.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      if sent < 0, errno == EMSGSIZE { return nil }
      var watched = pollfd(fd: receiver, events: Int16(POLLIN), revents: 0)
      guard poll(&watched, 1, 500) > 0 else { continue }
      var source = sockaddr_in()
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      var buffer = [UInt8](repeating: 0, count: 70_000)
      let received = withUnsafeMutablePointer(to: &source) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          recvfrom(receiver, &buffer, buffer.count, 0, $0, &length)
        }
      }
      try #require(received == payload.count)
      return IPv4Address(bits: UInt32(bigEndian: source.sin_addr.s_addr)).description
    }
    throw NetlinkError(errno: ETIMEDOUT, command: "no datagram of \(bytes) bytes arrived")
  }

  private static func datagramSocket(in namespace: String) throws -> Int32 {
    let made = try runInNamespace(namespace) {
      socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    }
    try #require(made >= 0)
    return made
  }

  private static func endpoint(_ address: String, _ port: UInt16) -> sockaddr_in {
    var place = sockaddr_in()
    place.sin_family = sa_family_t(AF_INET)
    place.sin_port = port.bigEndian
    inet_pton(AF_INET, address, &place.sin_addr)
    return place
  }

  /// Packets that this node's kernel cut in pieces, and pieces that it put together.
  func fragments(_ index: Int) throws -> [String] {
    let text = try runInNamespace(nodes[index]) {
      // Of the calling thread's namespace, not of the process's first thread.
      let file = open("/proc/thread-self/net/snmp", O_RDONLY | O_CLOEXEC)
      defer { close(file) }
      var buffer = [UInt8](repeating: 0, count: 16384)
      let count = read(file, &buffer, buffer.count)
      return String(decoding: buffer[0..<max(count, 0)], as: UTF8.self)
    }
    let lines = text.split(separator: "\n").filter { $0.hasPrefix("Ip: ") }.map { $0.split(separator: " ") }
    try #require(lines.count == 2)
    let wanted: Set<Substring> = ["FragCreates", "ReasmReqds"]
    return zip(lines[0], lines[1]).filter { wanted.contains($0.0) && $0.1 != "0" }.map { "\($0)=\($1)" }
  }
}
