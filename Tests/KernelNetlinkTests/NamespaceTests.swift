// Goal: the same calls against the real kernel. Method: each test makes its own namespaces and removes them.
import Addresses
import Glibc
import Testing

@testable import KernelNetlink

/// A namespace of one test; removed when the test ends.
final class TestNamespace {
  let name: String
  let path: String
  init(_ label: String) throws {
    name = "weft-nl-\(getpid())-\(label)"
    _ = try NetworkNamespace.delete(named: name)
    path = try NetworkNamespace.create(named: name)
  }
  deinit { _ = try? NetworkNamespace.delete(named: name) }
}

@Test func `a veth pair joins a bridge and a pod in another namespace`() throws {
  let node = try TestNamespace("node")
  let pod = try TestNamespace("pod")
  var session = try RouteSession(inNamespace: node.path)
  let mac = try #require(MACAddress(text: "0a:58:0a:2a:00:01"))
  try session.createBridge("cni0", mac: mac, mtu: 1400, multicastSnooping: false)
  let bridge = try #require(try session.link(named: "cni0"))
  #expect(bridge.kind == "bridge" && bridge.isUp && bridge.mac == mac && bridge.mtu == 1400)
  let target = try NetworkNamespace(path: pod.path)
  let podMAC = MACAddress(derivedFrom: IPv4Address(10, 42, 0, 2))
  try session.createVeth(
    VethEnd(name: "vp0", mtu: 1400, master: bridge.index),
    peer: VethEnd(name: "eth0", mac: podMAC, mtu: 1400, namespace: target.descriptor))
  let short = try #require(try session.summary(named: "cni0", wantsKind: true))
  #expect(
    short.isBridge && short.index == bridge.index && short.mac == mac && short.mtu == 1400 && short.isUp)
  #expect(try session.summary(named: "vp0", wantsKind: true)?.isBridge == false)
  #expect(try session.summary(named: "none") == nil)
  try session.setBridgePort(named: "vp0", hairpin: true, alias: "abc/eth0")
  let port = try #require(try session.link(named: "vp0"))
  #expect(port.master == bridge.index && port.isUp && port.alias == "abc/eth0" && port.kind == "veth")

  var inside = try RouteSession(inNamespace: pod.path)
  let eth0 = try #require(try inside.link(named: "eth0"))
  #expect(!eth0.isUp && eth0.mac == podMAC && eth0.mtu == 1400)
  let address = try #require(InterfaceAddress("10.42.0.2/24"))
  #expect(try session.summary(named: "vp0")?.isOperational == false)
  try inside.setLink(eth0.index, isUp: true)
  #expect(try session.summary(named: "vp0", settles: true)?.mac == port.mac)
  try inside.addAddress(address, to: eth0.index)
  #expect(try inside.addresses(of: eth0.index, family: .v4).map(\.value) == [address])
  let everywhere = try #require(IPPrefix("0.0.0.0/0"))
  try inside.addRoute(Route(everywhere, gateway: IPAddress("10.42.0.1"), interface: eth0.index))
  #expect(
    try inside.routes(family: .v4).contains { $0.destination == everywhere && $0.interface == eth0.index })
  try runInNamespace(pod.path) { try Announcement.send(address.address, mac: podMAC, on: eth0.index) }

  // Which namespace the other end is in, by number and by the address that it holds.
  let number = try session.namespaceID(of: target.descriptor)
  #expect(number != nil && port.peerNamespace == number)
  #expect(try session.linkedNamespace(holding: address.address) == pod.path)
  #expect(try session.linkedNamespace(holding: try #require(IPAddress("10.42.0.3"))) == nil)
  let stranger = try TestNamespace("stranger")
  let strange = try NetworkNamespace(path: stranger.path)
  #expect(try session.namespaceID(of: strange.descriptor) == nil)

  #expect(try session.deleteLink(named: "vp0"))
  #expect(try !session.deleteLink(named: "vp0"))
  #expect(try inside.link(named: "eth0") == nil)
  #expect(try session.links().map(\.name).sorted() == ["cni0", "lo"])
}

@Test func `many links go together, and those that are gone already are passed over`() throws {
  let node = try TestNamespace("many")
  var session = try RouteSession(inNamespace: node.path)
  let count = RouteSession.deletedTogetherMax + RouteSession.togetherMax + 3
  var indices: [Int32] = []
  for index in 0..<count {
    try session.createBridge("d\(index)", isUp: false)
    indices.append(try #require(try session.link(named: "d\(index)")).index)
  }
  for index in [0, 1, count - 1] { #expect(try session.deleteLink(named: "d\(index)")) }
  try session.createBridge("stays")
  try session.deleteLinks(indices)
  #expect(try session.links().map(\.name).sorted() == ["lo", "stays"])
  try session.deleteLinks(indices)
  try session.deleteLinks([])
  #expect(try session.links().map(\.name).sorted() == ["lo", "stays"])
}

@Test func `of changes sent together each is made, and the first refusal that matters is thrown`() throws {
  let node = try TestNamespace("together")
  var session = try RouteSession(inNamespace: node.path)
  try session.createBridge("d0")
  let index = try #require(try session.link(named: "d0")).index
  let rows = try (1...150).map { last in
    Neighbour(
      interface: [70, 140].contains(last) ? 9999 : index,
      address: try #require(IPAddress("10.42.0.\(last)")),
      mac: MACAddress(derivedFrom: IPv4Address(10, 42, 0, UInt8(last))))
  }
  let refusal = #expect(throws: NetlinkError.self) {
    try session.together { session throws(NetlinkError) in
      for row in rows { try session.setNeighbour(row) }
    }
  }
  #expect(refusal?.errno == ENODEV && refusal?.command == "ip neigh replace 10.42.0.70 dev if9999")
  // The kernel has entries of its own there: groups that the link joined.
  let addresses = Set(rows.map(\.address))
  func own() throws -> [Neighbour] {
    try session.neighbours(on: index).filter { addresses.contains($0.address) }
  }
  #expect(try own().count == 148)
  for _ in 0..<2 { try session.deleteNeighbours(rows) }
  // One that the kernel itself holds at that moment stays for a while, as failed.
  #expect(try own().allSatisfy { $0.state & 0x20 != 0 })
  try session.together { _ in }
  #expect(try session.index(named: "d0") == index)
  #expect(try session.index(named: "d1") == nil)
}

@Test func `a link listens to the group of its address, a moment after it has it`() throws {
  let node = try TestNamespace("groups")
  var session = try RouteSession(inNamespace: node.path)
  try session.createBridge("d0")
  let index = try #require(try session.link(named: "d0")).index
  let group = try #require(IPAddress("ff02::1:ff00:1234"))
  #expect(try !session.groups(of: index).contains(group))
  try session.addAddress(try #require(InterfaceAddress("fd00:99::1234/64")), to: index)
  var isThere = false
  for _ in 0..<10_000 where !isThere {
    isThere = try session.groups(of: index).contains(group)
    if !isThere { usleep(1000) }
  }
  #expect(isThere)
}

@Test func `links are renamed, resized and taken down`() throws {
  let node = try TestNamespace("set")
  var session = try RouteSession(inNamespace: node.path)
  try session.createBridge("d0", isUp: false)
  let index = try #require(try session.link(named: "d0")).index
  try session.setLink(index, isUp: true, name: "d1", mtu: 1280)
  let link = try #require(try session.link(named: "d1"))
  #expect(link.isUp && link.mtu == 1280 && link.index == index)
  try session.setLink(index, isUp: false)
  #expect(try session.link(named: "d1")?.isUp == false)
}

@Test func `neighbours and rules are set, listed and deleted, twice without complaint`() throws {
  let node = try TestNamespace("neigh")
  var session = try RouteSession(inNamespace: node.path)
  try session.createBridge("br0")
  let index = try #require(try session.link(named: "br0")).index
  let address = try #require(IPAddress("10.9.9.9"))
  let row = Neighbour(interface: index, address: address, mac: MACAddress(text: "02:00:00:00:00:09"))
  try session.setNeighbour(row)
  // The kernel has rows of its own, of the groups that it tells of being in.
  #expect(try session.neighbours(on: index, family: .v4).filter { $0.address == address } == [row])
  #expect(try session.deleteNeighbour(address, on: index))
  #expect(try !session.deleteNeighbour(address, on: index))
  let rule = RoutingRule(priority: 500, table: 500, mark: 0x10, markMask: 0xf0)
  try session.addRule(rule)
  try session.addRule(rule)
  #expect(try session.deleteRule(rule))
  #expect(try !session.deleteRule(rule))
}

@Test func `a rule for one endpoint's answers is listed as it was set, and routes say what is local`() throws
{
  let node = try TestNamespace("ports")
  var session = try RouteSession(inNamespace: node.path)
  let loopback = try #require(try session.link(named: "lo")).index
  try session.setLink(loopback, isUp: true)
  for (family, text) in [(IPFamily.v4, "10.42.0.11/32"), (.v6, "fd00:42::11/128")] {
    let rule = RoutingRule(
      family: family, priority: 87, table: 87, source: IPPrefix(text), transport: .tcp,
      sourcePorts: 8080...8080, destinationPorts: 61_000...65_534, origin: 87)
    try session.addRule(rule)
    #expect(try session.rules(family: family).filter { $0.origin == 87 } == [rule])
    #expect(try session.deleteRule(rule))
    #expect(try session.rules(family: family).allSatisfy { $0.origin != 87 })
    let block = try #require(IPPrefix(text))
    #expect(try !session.isLocal(block.address))
    try session.addRoute(Route(block, interface: loopback, table: 255, kind: .local))
    #expect(try session.isLocal(block.address))
  }
}

@Test func `an error names the command and keeps the kernel's number`() throws {
  let node = try TestNamespace("error")
  var session = try RouteSession(inNamespace: node.path)
  do {
    try session.setLink(4711, isUp: true)
    Issue.record("a link that is not there was set up")
  } catch {
    #expect(error.errno == ENODEV && error.isMissing)
    #expect(error.description.contains("ip link set dev"))
  }
}

@Test func `work in a namespace leaves the caller where it was and passes results and errors`() throws {
  let node = try TestNamespace("enter")
  let before = try NetworkNamespace.current().identity
  let inside = try runInNamespace(node.path) { try NetworkNamespace.current().identity }
  #expect(inside == (try NamespaceIdentity(path: node.path)))
  #expect(inside != before)
  #expect(try NetworkNamespace.current().identity == before)
  #expect(throws: NetlinkError.self) {
    try runInNamespace(node.path) { throw NetlinkError(errno: EIO, command: "test") }
  }
  #expect(throws: NetlinkError.self) { try runInNamespace("/run/netns/weft-nl-none") {} }
}

@Test func `kernel settings belong to the namespace they were written in`() throws {
  let node = try TestNamespace("sysctl")
  let other = try TestNamespace("sysctl2")
  try Sysctl.write("net/ipv4/ip_forward", "1", inNamespace: node.path)
  try Sysctl.write("net/ipv4/ip_forward", "0", inNamespace: other.path)
  #expect(try Sysctl.read("net/ipv4/ip_forward", inNamespace: node.path) == "1")
  #expect(try Sysctl.read("net/ipv4/ip_forward", inNamespace: other.path) == "0")
  #expect(throws: NetlinkError.self) {
    try Sysctl.write("net/ipv4/no_such_setting", "1", inNamespace: node.path)
  }
}
