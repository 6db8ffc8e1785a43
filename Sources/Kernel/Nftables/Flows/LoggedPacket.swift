// A packet that a rule told to an nflog group: what the rule said, and the packet's addresses and ports from its own bytes.
//
//   nfgenmsg | NFULA_PACKET_HDR: hook | NFULA_TIMESTAMP | NFULA_PREFIX | NFULA_SEQ | NFULA_PAYLOAD: the packet from its IP header on

import KernelSockets
import Ruleset

/// A told packet.
public struct LoggedPacket: Sendable, Hashable {
  /// As the rule has it; in our tables the name of the chain.
  public var prefix: String
  public var packet: Packet
  /// Bytes of the packet on the wire, from the IP header on.
  public var bytes: UInt32
  /// Nanoseconds since 1970; zero where the kernel does not say.
  public var nanoseconds: UInt64 = 0
  /// Counts the group's packets: a gap is what was lost.
  public var sequence: UInt32?
  /// Nil for chains of families that have no such hook.
  public var hook: BaseChain.Hook?
  /// The connection that it would have begun, as tracked so far: with the destination before translation.
  public var connection: FlowRecord?

  public init(prefix: String, packet: Packet, bytes: UInt32) {
    self.prefix = prefix
    self.packet = packet
    self.bytes = bytes
  }

  // linux/netfilter/nfnetlink_log.h
  private static let (header, mark, timestamp, payload): (UInt16, UInt16, UInt16, UInt16) = (1, 2, 3, 9)
  private static let (prefix, sequence, connection): (UInt16, UInt16, UInt16) = (10, 12, 18)

  /// Reads the attributes of a message; nil when they hold no IP packet with addresses. Bytes that do not fit are passed over.
  public init?(attributes bytes: UnsafeRawBufferPointer) {
    var found: (Packet, UInt32)?
    var text = ""
    var marks: UInt32 = 0
    var (nanoseconds, sequence, hook): (UInt64, UInt32?, BaseChain.Hook?) = (0, nil, nil)
    var connection: FlowRecord?
    for attribute in Attributes(bytes: bytes) {
      switch attribute.type {
      case Self.header:
        if attribute.payload.count >= 3 { hook = BaseChain.Hook(number: UInt32(attribute.payload[2])) }
      case Self.mark: marks = attribute.number ?? 0
      case Self.timestamp:
        guard attribute.payload.count >= 16, let seconds = attribute.longNumber else { continue }
        let micro = UInt64(
          bigEndian: attribute.payload.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        // A clock that cannot be is read as none.
        if seconds < 1 << 33, micro < 1_000_000 { nanoseconds = seconds * 1_000_000_000 + micro * 1000 }
      case Self.payload: found = Self.read(attribute.payload)
      case Self.prefix: text = attribute.text
      case Self.sequence: sequence = attribute.number
      case Self.connection: connection = FlowRecord(.new, attributes: attribute.payload)
      default: break
      }
    }
    guard let (packet, length) = found else { return nil }
    self.init(prefix: text, packet: packet, bytes: length)
    self.packet.mark = marks
    self.nanoseconds = nanoseconds
    self.sequence = sequence
    self.hook = hook
    self.connection = connection
  }

  private static func read(_ bytes: UnsafeRawBufferPointer) -> (Packet, UInt32)? {
    guard let headers = PacketHeaders(ip: bytes) else { return nil }
    let packet = Packet(
      headers.source, headers.destination, transport: headers.transport, sourcePort: headers.sourcePort,
      destinationPort: headers.destinationPort, tcpFlags: headers.tcpFlags)
    return (packet, headers.length)
  }
}
