// "192.0.2.10 is at my place": what another machine says unasked about an address, by ARP (RFC 5227 section 3) or as a neighbour
// advertisement (RFC 4861 section 4.4). Pure; what comes from the wire is checked.

import Addresses

struct NeighbourClaim: Equatable {
  var address: IPAddress
  var mac: MACAddress

  /// Nil for everything else, questions among it.
  init?(_ frame: UnsafeRawBufferPointer) {
    guard frame.count >= 42 else { return nil }
    switch (frame[12], frame[13]) {
    case (0x08, 0x06): self.init(arp: frame)
    case (0x86, 0xdd): self.init(advertisement: frame)
    default: return nil
    }
  }

  /// A request or reply about the sender's own address.
  private init?(arp frame: UnsafeRawBufferPointer) {
    guard frame[14..<21].elementsEqual([0, 1, 8, 0, 6, 4, 0]), frame[21] == 1 || frame[21] == 2,
      frame[28..<32].elementsEqual(frame[38..<42]), let address = IPAddress(bytes: Array(frame[28..<32])),
      let mac = MACAddress(Array(frame[22..<28]))
    else { return nil }
    self.init(address, mac)
  }

  private init?(advertisement frame: UnsafeRawBufferPointer) {
    // IPv6, ICMPv6 next, hop limit 255 (it came from this link), type 136, code 0, with a target.
    guard frame.count >= 78, frame[14] >> 4 == 6, frame[20] == 58, frame[21] == 255, frame[54] == 136,
      frame[55] == 0, let address = IPAddress(bytes: Array(frame[62..<78]))
    else { return nil }
    // Option 2 in one unit of 8 bytes; without it the frame says who sent it.
    let hasOption = frame.count >= 86 && frame[78] == 2 && frame[79] == 1
    guard let mac = MACAddress(Array(hasOption ? frame[80..<86] : frame[6..<12])) else { return nil }
    self.init(address, mac)
  }

  private init?(_ address: IPAddress, _ mac: MACAddress) {
    guard mac.array[0] & 1 == 0 else { return nil }
    self.address = address
    self.mac = mac
  }
}
