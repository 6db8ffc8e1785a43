// "Who has 192.0.2.10?" and its answer: ARP (RFC 826) and neighbour discovery (RFC 4861 sections 4.3, 4.4, 7.2.4). Pure: a frame
// in, a frame out. What comes from the wire is checked, and what is not a question about our addresses has no answer.

import Addresses

enum NeighbourAnswer {
  /// The answer to an ARP request or a neighbour solicitation, with Ethernet headers.
  /// - Parameter holds: whether this node answers for an address.
  static func frame(
    to frame: UnsafeRawBufferPointer, mac: MACAddress, holds: (IPAddress) -> Bool
  ) -> [UInt8]? {
    guard frame.count >= 42 else { return nil }
    switch (frame[12], frame[13]) {
    case (0x08, 0x06): return arp(frame, mac, holds)
    case (0x86, 0xdd): return solicitation(frame, mac, holds)
    default: return nil
    }
  }

  private static func arp(
    _ frame: UnsafeRawBufferPointer, _ mac: MACAddress, _ holds: (IPAddress) -> Bool
  ) -> [UInt8]? {
    // Ethernet, IPv4, their sizes, a request.
    guard frame[14..<22].elementsEqual([0, 1, 8, 0, 6, 4, 0, 1]) else { return nil }
    let (senderMAC, sender, target) = (Array(frame[22..<28]), Array(frame[28..<32]), Array(frame[38..<42]))
    guard let address = IPAddress(bytes: target), holds(address), senderMAC[0] & 1 == 0,
      senderMAC != mac.array
    else { return nil }
    return senderMAC + mac.array + [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2] + mac.array + target + senderMAC
      + sender
  }

  private static func solicitation(
    _ frame: UnsafeRawBufferPointer, _ mac: MACAddress, _ holds: (IPAddress) -> Bool
  ) -> [UInt8]? {
    // IPv6, ICMPv6 next, hop limit 255 (it came from this link), type 135, code 0, with a target.
    guard frame.count >= 78, frame[14] >> 4 == 6, frame[20] == 58, frame[21] == 255, frame[54] == 135,
      frame[55] == 0, Int(frame[18]) << 8 | Int(frame[19]) >= 24
    else { return nil }
    let source = Array(frame[22..<38])
    let target = Array(frame[62..<78])
    let asker = Array(frame[6..<12])
    guard let address = IPAddress(bytes: target), holds(address), asker[0] & 1 == 0, asker != mac.array else {
      return nil
    }
    // Somebody without an address asks whether he may take this one: everybody is told that it is taken.
    let isProbe = source.allSatisfy { $0 == 0 }
    let allNodes: [UInt8] = [0xff, 0x02] + [UInt8](repeating: 0, count: 13) + [1]
    let destination = isProbe ? allNodes : source
    let destinationMAC: [UInt8] = isProbe ? [0x33, 0x33, 0, 0, 0, 1] : asker
    // Solicited (but not to everybody) and override.
    var message: [UInt8] = [136, 0, 0, 0, isProbe ? 0x20 : 0x60, 0, 0, 0] + target + [2, 1] + mac.array
    let length = UInt8(message.count)
    let sum = checksum(target + destination + [0, 0, 0, length, 0, 0, 0, 58] + message)
    message[2] = UInt8(truncatingIfNeeded: sum >> 8)
    message[3] = UInt8(truncatingIfNeeded: sum)
    return destinationMAC + mac.array + [0x86, 0xdd, 0x60, 0, 0, 0, 0, length, 58, 255] + target + destination
      + message
  }

  /// The group that questions about an address are sent to: ff02::1:ff00:0/104 and the address's last 24 bits.
  static func solicitedNode(_ address: IPv6Address) -> [UInt8] {
    [0xff, 0x02] + [UInt8](repeating: 0, count: 9) + [1, 0xff] + address.bytes[13..<16]
  }

  /// The Internet checksum (RFC 1071).
  private static func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
      sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
    }
    while sum >> 16 != 0 { sum = (sum & 0xffff) + (sum >> 16) }
    return ~UInt16(truncatingIfNeeded: sum)
  }
}
