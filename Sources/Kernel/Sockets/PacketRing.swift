// Frames as a link carries them, with the kernel's times, read from memory that is shared with the kernel.
//
//   | block 0 | block 1 | … | block 63 |    the kernel fills one after the other; a full or old one is ours until it is given back
//       ^ next to read

import CPacket
import Glibc

/// One frame. Its bytes are the ring's: valid only until the closure that was given it returns.
public struct RingPacket {
  public var bytes: UnsafeRawBufferPointer
  /// Nanoseconds since 1970.
  public var nanoseconds: UInt64
  /// Of the frame on the wire; `bytes` may be fewer.
  public var length: Int
  /// Index of the link.
  public var link: Int32
  /// The link sent it; otherwise it came in by it.
  public var isOutgoing: Bool
}

/// Why a ring cannot be had.
public struct PacketRingError: Error, Sendable, Hashable, CustomStringConvertible {
  public var errno: Int32
  public var description: String { "packet socket: \(String(cString: strerror(errno)))" }
}

/// Of one thread at a time. Memory: `blocks` times `blockBytes`, the kernel's, and 640 KiB. Reading allocates nothing.
public final class PacketRing {
  public static let blockBytes = 1 << 20
  public static let blocks = 64
  /// A block that is not full is handed out after so long.
  public static let patienceMilliseconds: UInt32 = 50
  /// No block holds more: a frame takes at least 96 bytes of it.
  private static let packetsMax = blockBytes / 96

  /// `PACKET_OUTGOING`.
  private static let outgoing: UInt8 = 4

  /// Readable when a block is ours.
  public let descriptor: Int32
  private let map: UnsafeMutableRawPointer
  private let packets: UnsafeMutablePointer<weft_packet>
  private var next = 0
  private var received: UInt64 = 0
  private var dropped: UInt64 = 0

  /// Receives from now on what the filter takes, in the network namespace of the calling thread. Needs CAP_NET_RAW (EPERM).
  /// - Parameter link: 0: all links.
  public init(link: Int32, filter: PacketFilter) throws(PacketRingError) {
    var map: UnsafeMutableRawPointer?
    let program = filter.program
    let opened = weft_packet_open(
      link, program, UInt32(program.count), UInt32(Self.blockBytes), UInt32(Self.blocks),
      Self.patienceMilliseconds, &map)
    guard opened >= 0, let map else { throw PacketRingError(errno: opened < 0 ? -opened : ENOMEM) }
    descriptor = opened
    self.map = map
    packets = .allocate(capacity: Self.packetsMax)
  }

  deinit {
    weft_packet_close(descriptor, map, Self.blocks * Self.blockBytes)
    packets.deallocate()
  }

  private func block(_ number: Int) -> UnsafeMutableRawPointer {
    map + (number % Self.blocks) * Self.blockBytes
  }

  /// The time of the newest packet of the next block; nil: no block is ours.
  public var newestOfNext: UInt64? {
    var newest: UInt64 = 0
    return weft_packet_is_ready(block(next), &newest) != 0 ? newest : nil
  }

  /// Blocks that wait to be read. Costs a look at each.
  public var waiting: Int {
    var newest: UInt64 = 0
    var count = 0
    while count < Self.blocks, weft_packet_is_ready(block(next + count), &newest) != 0 { count += 1 }
    return count
  }

  /// Hands out the packets of the next block in the order of their times, and gives the block back. False when none is ours.
  public func readBlock(_ body: (RingPacket) -> Void) -> Bool {
    guard newestOfNext != nil else { return false }
    let block = block(next)
    let count = Int(
      weft_packet_read(block, UInt32(Self.blockBytes), packets, UInt32(Self.packetsMax)))
    // Processors put theirs in side by side: nearly in order already.
    for index in 1..<max(count, 1) {
      var place = index
      while place > 0, packets[place].nanoseconds < packets[place - 1].nanoseconds {
        let later = packets[place - 1]
        packets[place - 1] = packets[place]
        packets[place] = later
        place -= 1
      }
    }
    for index in 0..<count {
      let packet = packets[index]
      body(
        RingPacket(
          bytes: UnsafeRawBufferPointer(start: packet.bytes, count: Int(packet.captured)),
          nanoseconds: packet.nanoseconds, length: Int(packet.length), link: packet.interface,
          isOutgoing: packet.type == Self.outgoing))
    }
    weft_packet_release(block)
    next = (next + 1) % Self.blocks
    return true
  }

  /// Frames that the filter took since the start, and how many of them found no room.
  public func count() -> (received: UInt64, dropped: UInt64) {
    _ = weft_packet_statistics(descriptor, &received, &dropped)
    return (received, dropped)
  }

  /// Whether frames of a link begin with an Ethernet header; nil when there is no such link.
  public func isEthernet(_ name: String) -> Bool? {
    let answer = weft_packet_is_ethernet(descriptor, name)
    return answer < 0 ? nil : answer == 1
  }
}
