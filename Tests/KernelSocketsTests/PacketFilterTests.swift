// Programs are held against frames by an interpreter of the instructions that they are made of, and against the kernel's own.

import Addresses
import Glibc
import NamespaceLab
import Testing

@testable import KernelSockets

/// Classic BPF as the kernel runs it; nil for a program that the kernel would refuse.
private func run(_ filter: PacketFilter, _ frame: [UInt8], link: UInt32 = 1) -> UInt32? {
  var (a, x, at): (UInt32, Int, Int) = (0, 0, 0)
  func load(_ offset: Int, _ size: Int) -> UInt32? {
    guard offset >= 0, offset + size <= frame.count else { return nil }
    return frame[offset..<offset + size].reduce(0) { $0 << 8 | UInt32($1) }
  }
  while at < filter.instructions.count {
    let one = filter.instructions[at]
    at += 1
    let size = one.code & 0x18 == 0 ? 4 : one.code & 0x18 == 8 ? 2 : 1
    switch one.code {
    case 0x20 where one.operand == 0xffff_f008: a = link
    case 0x20, 0x28, 0x30:
      // A load beyond the frame ends the program: not taken.
      guard let value = load(Int(one.operand), size) else { return 0 }
      a = value
    case 0x48:
      guard let value = load(x + Int(one.operand), 2) else { return 0 }
      a = value
    case 0xb1:
      guard let value = load(Int(one.operand), 1) else { return 0 }
      x = Int(value & 0xf) * 4
    case 0x15: at += Int(a == one.operand ? one.whenTrue : one.whenFalse)
    case 0x45: at += Int(a & one.operand != 0 ? one.whenTrue : one.whenFalse)
    case 0x05: at += Int(one.operand)
    case 0x06: return one.operand
    default: return nil
    }
  }
  return nil
}

/// An Ethernet frame with IPv4 or IPv6 and ports.
private func frame(
  _ from: String, _ fromPort: UInt16, _ to: String, _ toPort: UInt16, _ transport: UInt8 = 6,
  fragment: UInt16 = 0, options: Int = 0
) -> [UInt8] {
  func two(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xff)] }
  guard let source = IPAddress(from), let destination = IPAddress(to) else { return [] }
  let ports = two(fromPort) + two(toPort) + [UInt8](repeating: 0, count: 16)
  let header = [UInt8](repeating: 2, count: 12)
  if case .v4 = source {
    return header + [8, 0, 0x45 + UInt8(options), 0, 0, 60, 0, 0] + two(fragment) + [64, transport, 0, 0]
      + source.bytes + destination.bytes + [UInt8](repeating: 1, count: 4 * options) + ports
  }
  return header + [0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, transport, 64] + source.bytes + destination.bytes + ports
}

@Suite struct PacketFilterTests {
  private static let web = PacketFilter.endpoints([
    .init(IPAddress("10.43.0.9")!, port: 80, transport: .tcp),
    .init(IPAddress("fd00:43::9")!, port: 80, transport: .tcp), .init(IPAddress("10.42.0.7")!),
  ])

  @Test(arguments: [
    (frame("10.42.0.5", 4000, "10.43.0.9", 80), true), (frame("10.43.0.9", 80, "10.42.0.5", 4000), true),
    (frame("10.42.0.5", 80, "10.43.0.9", 81), false), (frame("10.43.0.9", 81, "10.42.0.5", 80), false),
    (frame("10.42.0.5", 4000, "10.43.0.9", 80, 17), false),
    (frame("10.42.0.5", 4000, "10.43.0.9", 80, options: 3), true),
    (frame("10.42.0.5", 0, "10.43.0.9", 0, fragment: 100), true),
    (frame("fd00::5", 4000, "fd00:43::9", 80), true), (frame("fd00:43::9", 80, "fd00::5", 4000), true),
    (frame("fd00::5", 4000, "fd00:43::8", 80), false), (frame("fd00::5", 4000, "fd00:43::9", 80, 17), false),
    (frame("10.42.0.7", 1, "1.1.1.1", 2, 17), true), (frame("1.1.1.1", 1, "10.42.0.8", 2, 17), false),
    ([2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 6, 0, 1], false), ([], false),
  ])
  func `frames from and to endpoints are taken, others are not`(bytes: [UInt8], isTaken: Bool) {
    #expect((run(Self.web, bytes) ?? 77) == (isTaken ? PacketFilter.wholeFrame : 0))
  }

  @Test func `joined programs take what both take, with the length of the last`() {
    let some = PacketFilter.links([3, 5]).joined(with: Self.web).joined(with: .all(snapLength: 64))
    let good = frame("10.42.0.5", 4000, "10.43.0.9", 80)
    #expect(run(some, good, link: 5) == 64 && run(some, good, link: 3) == 64)
    #expect(run(some, good, link: 4) == 0)
    #expect(run(some, frame("10.42.0.5", 1, "10.42.0.6", 1), link: 3) == 0)
  }

  @Test func `pcap's language becomes a program, and what does not parse is refused in its words`() throws {
    let web = try PacketFilter(pcap: "tcp port 80", snapLength: 96)
    #expect(run(web, frame("10.42.0.5", 4000, "10.43.0.9", 80)) == 96)
    #expect(run(web, frame("10.42.0.5", 4000, "10.43.0.9", 81)) == 0)
    #expect(try run(PacketFilter(pcap: ""), []) == PacketFilter.wholeFrame)
    #expect { try PacketFilter(pcap: "tcp prt 80") } throws: {
      if case .text(let words)? = $0 as? PacketFilter.Refusal {
        words.contains("syntax error")
      } else {
        false
      }
    }
  }

  @Test func `the kernel takes the programs, and what a link carries is read with its times`() throws {
    try inFreshNamespace {
      let many = (1...100).map {
        PacketFilter.Endpoint(.v4(IPv4Address(127, 0, 1, UInt8($0))), port: 9999, transport: .udp)
      }
      let lo = Int32(if_nametoindex("lo"))
      let filter = PacketFilter.links([lo, 77]).joined(with: .endpoints(many)).joined(
        with: .all(snapLength: 60))
      let ring = try PacketRing(link: 0, filter: filter)
      #expect(ring.isEthernet("lo") == true && ring.isEthernet("none") == nil)
      let client = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
      defer { close(client) }
      for port in [UInt16(9999), 9998] {
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        place.sin_addr.s_addr = inet_addr("127.0.1.50")
        let text = [UInt8](repeating: 7, count: 100)
        for _ in 0..<50 {
          _ = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
              sendto(client, text, text.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
          }
        }
      }
      var seen: [(UInt64, Int, Int, Bool)] = []
      #expect(
        becomesTrue {
          while ring.readBlock({ seen.append(($0.nanoseconds, $0.bytes.count, $0.length, $0.isOutgoing)) }) {}
          return seen.count(where: { $0.2 == 142 }) >= 100
        })
      // Loopback shows each twice: as it leaves and as it comes. Answers that nobody listens quote the packet and are ICMP.
      let packets = seen.filter { $0.2 == 142 }
      #expect(packets.count == 100 && packets.count(where: \.3) == 50)
      #expect(packets.allSatisfy { $0.1 == 60 })
      #expect(zip(seen, seen.dropFirst()).allSatisfy { $0.0 <= $1.0 })
      #expect(ring.count().dropped == 0 && ring.count().received == 100)
      #expect(throws: PacketRingError.self) { try PacketRing(link: 9999, filter: .all()) }
    }
  }
}
