// "This address is now here": gratuitous ARP (RFC 5227 section 3) and unsolicited neighbour advertisement
// (RFC 4861 section 7.2.6). Without it a neighbour that remembers the address's former owner sends into the
// void for 17–18 s.
import Addresses
import Glibc

/// Frames that announce an address, and their sending.
public enum Announcement {
  /// Closing the packet socket waits for a grace period of the kernel: about 12 ms. Where the link is ours
  /// from birth,
  /// `setLink(…, arpNotify: true)` does the same without.
  ///
  /// Sends the frames that announce `address` at `mac` out of link `index` of the calling thread's network
  /// namespace.
  public static func send(_ address: IPAddress, mac: MACAddress, on index: Int32) throws(NetlinkError) {
    let command = "arping -U -I if\(index) \(address)"
    let descriptor = socket(
      Int32(Wire.familyPacket), Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw NetlinkError(errno: errno, command: command) }
    defer { close(descriptor) }
    for frame in frames(address, mac: mac) {
      // sockaddr_ll: family, protocol, index; kind, type, length and address of the receiver come from the
      // frame.
      var target: [UInt8] = []
      withUnsafeBytes(of: Wire.familyPacket) { target.append(contentsOf: $0) }
      target += frame[12..<14]
      withUnsafeBytes(of: index) { target.append(contentsOf: $0) }
      target += [0, 0, 0, 6] + frame[0..<6] + [0, 0]
      let sent = frame.withUnsafeBytes { bytes in
        target.withUnsafeBytes {
          sendto(
            descriptor, bytes.baseAddress, bytes.count, 0,
            $0.baseAddress?.assumingMemoryBound(to: sockaddr.self),
            socklen_t($0.count))
        }
      }
      guard sent == frame.count else { throw NetlinkError(errno: errno, command: command) }
    }
  }

  /// For IPv4 both forms, request and reply: some stacks heed only one. For IPv6 one advertisement with
  /// override.
  public static func frames(_ address: IPAddress, mac: MACAddress) -> [[UInt8]] {
    let hardware = mac.array
    switch address {
    case .v4(let four):
      let broadcast = [UInt8](repeating: 0xff, count: 6)
      return [UInt8(1), 2].map { operation in
        broadcast + hardware + [0x08, 0x06]
          + [0, 1, 0x08, 0, 6, 4, 0, operation]
          + hardware + four.bytes + (operation == 1 ? [0, 0, 0, 0, 0, 0] : broadcast) + four.bytes
      }
    case .v6(let six):
      let allNodes: [UInt8] = [0xff, 0x02] + [UInt8](repeating: 0, count: 13) + [1]
      // Type 136, override flag, the target, option 2 (target's link-layer address) of one unit of 8 bytes.
      var message: [UInt8] = [136, 0, 0, 0, 0x20, 0, 0, 0] + six.bytes + [2, 1] + hardware
      let pseudo = six.bytes + allNodes + [0, 0, 0, UInt8(message.count), 0, 0, 0, 58]
      let sum = checksum(pseudo + message)
      message[2] = UInt8(truncatingIfNeeded: sum >> 8)
      message[3] = UInt8(truncatingIfNeeded: sum)
      let header: [UInt8] = [0x60, 0, 0, 0, 0, UInt8(message.count), 58, 255] + six.bytes + allNodes
      return [[0x33, 0x33, 0, 0, 0, 1] + hardware + [0x86, 0xdd] + header + message]
    }
  }

  /// The Internet checksum of RFC 1071.
  static func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
      sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
    }
    while sum >> 16 != 0 { sum = (sum & 0xffff) + (sum >> 16) }
    return ~UInt16(truncatingIfNeeded: sum)
  }
}
