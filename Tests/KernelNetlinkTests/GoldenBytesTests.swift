// Goal: the exact bytes of the requests that everything else relies on. Method: a scripted transport records
// what is sent and answers with bytes written by hand. Expected bytes are little-endian, as on every machine
// that runs this.
import Addresses
import Glibc
import Testing

@testable import KernelNetlink

/// What a transport was given, and what it answers.
final class Script {
  var sent: [[UInt8]] = []
  var answers: [[UInt8]]
  init(_ answers: [[UInt8]]) { self.answers = answers }
}

struct ScriptedTransport: NetlinkTransport, ~Copyable {
  let script: Script
  mutating func send(_ datagram: [UInt8]) throws(NetlinkError) { script.sent.append(datagram) }
  mutating func receive() throws(NetlinkError) -> [UInt8] {
    guard !script.answers.isEmpty else { throw NetlinkError(errno: ETIMEDOUT, command: "scripted") }
    return script.answers.removeFirst()
  }
  mutating func index(named name: String) throws(NetlinkError) -> Int32 { 0 }
  mutating func summary(named name: String, wantsKind: Bool, settles: Bool) throws(NetlinkError)
    -> LinkSummary?
  { nil }
}

let acknowledged: [UInt8] = [
  36, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0,  // header: 36 bytes, NLMSG_ERROR, capped, sequence 1
  0, 0, 0, 0,  // error 0
  80, 0, 0, 0, 16, 0, 5, 6, 1, 0, 0, 0, 0, 0, 0, 0,  // the request's header
]

@Test func `a veth pair is one request with both ends complete`() throws {
  let script = Script([acknowledged])
  var session = RouteSession(transport: ScriptedTransport(script: script))
  let mac = try #require(MACAddress(text: "0a:58:0a:2a:00:02"))
  try session.createVeth(
    VethEnd(name: "vpab", mtu: 1450, master: 7),
    peer: VethEnd(name: "eth0", mac: mac, mtu: 1450, namespace: 5))
  let expected: [UInt8] = [
    // nlmsghdr: 172 bytes, RTM_NEWLINK, REQUEST|ACK|CREATE|EXCL, sequence 1, port 0
    172, 0, 0, 0, 16, 0, 0x05, 0x06, 1, 0, 0, 0, 0, 0, 0, 0,
    // ifinfomsg: any family, index 0 (the kernel chooses), IFF_UP and the mask IFF_UP
    0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,
    // IFLA_IFNAME "vpab"
    9, 0, 3, 0, 0x76, 0x70, 0x61, 0x62, 0, 0, 0, 0,
    // IFLA_MTU 1450
    8, 0, 4, 0, 0xaa, 0x05, 0, 0,
    // IFLA_MASTER 7
    8, 0, 10, 0, 7, 0, 0, 0,
    // IFLA_NUM_TX_QUEUES and IFLA_NUM_RX_QUEUES: one each
    8, 0, 31, 0, 1, 0, 0, 0, 8, 0, 32, 0, 1, 0, 0, 0,
    // IFLA_LINKINFO, 96 bytes
    96, 0, 18, 0,
    // IFLA_INFO_KIND "veth"
    9, 0, 1, 0, 0x76, 0x65, 0x74, 0x68, 0, 0, 0, 0,
    // IFLA_INFO_DATA, VETH_INFO_PEER
    80, 0, 2, 0, 76, 0, 1, 0,
    // the peer's ifinfomsg: still down, a veth without its other end refuses to go up
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    // IFLA_IFNAME "eth0"
    9, 0, 3, 0, 0x65, 0x74, 0x68, 0x30, 0, 0, 0, 0,
    // IFLA_ADDRESS 0a:58:0a:2a:00:02
    10, 0, 1, 0, 0x0a, 0x58, 0x0a, 0x2a, 0, 2, 0, 0,
    // IFLA_MTU 1450, IFLA_NET_NS_FD 5
    8, 0, 4, 0, 0xaa, 0x05, 0, 0, 8, 0, 28, 0, 5, 0, 0, 0,
    // one queue each way
    8, 0, 31, 0, 1, 0, 0, 0, 8, 0, 32, 0, 1, 0, 0, 0,
  ]
  #expect(script.sent == [Array(expected)])
}

@Test func `an address carries no duplicate detection and its broadcast`() throws {
  let script = Script([acknowledged])
  var session = RouteSession(transport: ScriptedTransport(script: script))
  try session.addAddress(try #require(InterfaceAddress("10.42.0.2/24")), to: 3)
  #expect(
    script.sent == [
      [
        // nlmsghdr: 56 bytes, RTM_NEWADDR, REQUEST|ACK|CREATE|EXCL
        56, 0, 0, 0, 20, 0, 0x05, 0x06, 1, 0, 0, 0, 0, 0, 0, 0,
        // ifaddrmsg: AF_INET, /24, IFA_F_NODAD, scope universe, index 3
        2, 24, 2, 0, 3, 0, 0, 0,
        // IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST, IFA_FLAGS
        8, 0, 2, 0, 10, 42, 0, 2, 8, 0, 1, 0, 10, 42, 0, 2, 8, 0, 4, 0, 10, 42, 0, 255, 8, 0, 8, 0, 2, 0, 0,
        0,
      ]
    ])
}

@Test func `a default route goes through its gateway with scope universe`() throws {
  let script = Script([acknowledged])
  var session = RouteSession(transport: ScriptedTransport(script: script))
  try session.addRoute(
    Route(try #require(IPPrefix("0.0.0.0/0")), gateway: IPAddress("10.42.0.1"), interface: 3))
  #expect(
    script.sent == [
      [
        // nlmsghdr: 44 bytes, RTM_NEWROUTE, REQUEST|ACK|CREATE|EXCL
        44, 0, 0, 0, 24, 0, 0x05, 0x06, 1, 0, 0, 0, 0, 0, 0, 0,
        // rtmsg: AF_INET, to /0, from /0, tos 0, table main, protocol static, scope universe, unicast, flags
        // 0
        2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0,
        // RTA_GATEWAY 10.42.0.1, RTA_OIF 3
        8, 0, 5, 0, 10, 42, 0, 1, 8, 0, 4, 0, 3, 0, 0, 0,
      ]
    ])
}

@Test func `a bridge port's hairpin mode is set by name together with its alias`() throws {
  let script = Script([acknowledged])
  var session = RouteSession(transport: ScriptedTransport(script: script))
  try session.setBridgePort(named: "vp0", hairpin: true, alias: "a/b")
  #expect(
    script.sent == [
      [
        // nlmsghdr: 76 bytes, RTM_NEWLINK, REQUEST|ACK
        76, 0, 0, 0, 16, 0, 0x05, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        // ifinfomsg: nothing but the name says which
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        // IFLA_IFNAME "vp0", IFLA_IFALIAS "a/b"
        8, 0, 3, 0, 0x76, 0x70, 0x30, 0, 7, 0, 20, 0, 0x61, 0x2f, 0x62, 0,
        // IFLA_LINKINFO: IFLA_INFO_SLAVE_KIND "bridge", IFLA_INFO_SLAVE_DATA: IFLA_BRPORT_MODE 1
        28, 0, 18, 0, 11, 0, 4, 0, 0x62, 0x72, 0x69, 0x64, 0x67, 0x65, 0, 0, 12, 0, 5, 0, 5, 0, 4, 0, 1, 0, 0,
        0,
      ]
    ])
}

@Test func `a refusal keeps the kernel's number, its words and the command it equals`() throws {
  let words = Array("interface exists".utf8) + [0, 0, 0, 0]
  let refusal: [UInt8] =
    [60, 0, 0, 0, 2, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0]  // NLMSG_ERROR, capped, with attributes
    + [0xef, 0xff, 0xff, 0xff]  // -17
    + [80, 0, 0, 0, 16, 0, 5, 6, 1, 0, 0, 0, 0, 0, 0, 0]  // the request's header
    + [21, 0, 1, 0] + words  // NLMSGERR_ATTR_MSG
  let script = Script([refusal])
  var session = RouteSession(transport: ScriptedTransport(script: script))
  do {
    try session.createBridge("cni0")
    Issue.record("the refusal was not thrown")
  } catch {
    #expect(error.errno == EEXIST)
    #expect(error.explanation == "interface exists")
    #expect(error.command == "ip link add cni0 type bridge")
  }
}

@Test func `an announcement of an IPv4 address is an ARP request and an ARP reply`() throws {
  let mac = try #require(MACAddress(text: "0a:58:0a:2a:00:02"))
  let frames = Announcement.frames(try #require(IPAddress("10.42.0.2")), mac: mac)
  #expect(
    frames.first == [
      // to everyone, from us, ethertype ARP
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0a, 0x58, 0x0a, 0x2a, 0, 2, 0x08, 0x06,
      // Ethernet, IPv4, lengths 6 and 4, request
      0, 1, 8, 0, 6, 4, 0, 1,
      // sender and target are the same address
      0x0a, 0x58, 0x0a, 0x2a, 0, 2, 10, 42, 0, 2, 0, 0, 0, 0, 0, 0, 10, 42, 0, 2,
    ])
  #expect(frames.count == 2 && frames.allSatisfy { $0.count == 42 })
}

@Test func `an IPv6 announcement has a checksum that verifies`() throws {
  let mac = try #require(MACAddress(text: "0a:58:0a:2a:00:02"))
  let address = try #require(IPAddress("fd00:42::2"))
  let frame = try #require(Announcement.frames(address, mac: mac).first)
  let addresses = Array(frame[22..<54])
  let message = Array(frame[54...])
  #expect(Announcement.checksum(addresses + [0, 0, 0, UInt8(message.count), 0, 0, 0, 58] + message) == 0)
}

@Test func `random bytes from the kernel never trap a reader`() {
  var random = SeededGenerator(seed: 0x5eed)
  for _ in 0..<20_000 {
    var bytes = (0..<Int.random(in: 0...160, using: &random)).map { _ in
      UInt8.random(in: 0...255, using: &random)
    }
    // Make half of them look like a message of the right length, so that the inner readers run.
    if bytes.count >= 20, Bool.random(using: &random) {
      bytes.replaceSubrange(0..<4, with: [UInt8(bytes.count), 0, 0, 0])
      let types: [UInt8] = [2, 3, 16, 20, 24, 28]
      bytes[4] = types[Int.random(in: 0..<types.count, using: &random)]
      bytes[5] = 0
    }
    for answer in NetlinkAnswer.parse(bytes) {
      _ = Link(answer)
      _ = LinkAddress(answer)
      _ = KernelNetlink.Route(answer)
      _ = Neighbour(answer)
      _ = try? RouteSession.check(answer)
    }
  }
}

/// SplitMix64: small, seeded, the same everywhere.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
