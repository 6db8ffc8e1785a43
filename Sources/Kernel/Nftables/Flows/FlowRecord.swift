// One tracked connection, as the kernel tells of it in events and dumps (nfnetlink_conntrack.h).
//
//   | CTA_TUPLE_ORIG: addresses, protocol, ports | CTA_TUPLE_REPLY: the same after translation | CTA_STATUS | CTA_MARK | CTA_ID |
//   | CTA_COUNTERS_ORIG, _REPLY: with nf_conntrack_acct | CTA_TIMESTAMP: with nf_conntrack_timestamp | CTA_PROTOINFO: TCP's state |

import Addresses
import CNetfilter
import Glibc
import Ruleset

/// A connection that began, changed or ended, or that a dump found. A value of fixed size: nothing is allocated for it.
public struct FlowRecord: Sendable, Hashable {
  public enum Event: Sendable, Hashable { case new, update, end }

  /// Where one direction's packets come from and go to. Ports are zero where the protocol has none.
  public struct Tuple: Sendable, Hashable {
    public var source: SocketEndpoint
    public var destination: SocketEndpoint
    public init(source: SocketEndpoint, destination: SocketEndpoint) {
      self.source = source
      self.destination = destination
    }
  }

  /// Packets and bytes of one direction, headers included.
  public struct Amount: Sendable, Hashable {
    public var packets: UInt64
    public var bytes: UInt64
    public init(packets: UInt64 = 0, bytes: UInt64 = 0) {
      self.packets = packets
      self.bytes = bytes
    }
  }

  public var event: Event
  /// IANA protocol number.
  public var transport: UInt8
  public var original: Tuple
  /// As answers travel: its source is where the connection went after translation.
  public var reply: Tuple
  public var mark: UInt32 = 0
  public var status: UInt32 = 0
  /// Tells connections of one tuple apart, with the tuple; of no meaning after its end.
  public var id: UInt32 = 0
  /// Nil without `nf_conntrack_acct`.
  public var sent: Amount?
  public var received: Amount?
  /// Nanoseconds since 1970; zero without `nf_conntrack_timestamp`, and for an end that is not yet.
  public var startNanoseconds: UInt64 = 0
  public var stopNanoseconds: UInt64 = 0
  /// `enum tcp_conntrack`; nil for other protocols, and where the kernel does not say.
  public var tcpState: UInt8?

  public init(event: Event, transport: UInt8, original: Tuple, reply: Tuple) {
    self.event = event
    self.transport = transport
    self.original = original
    self.reply = reply
  }

  public var family: IPFamily { original.source.address.family }
  /// `IPS_SEEN_REPLY`: a packet came back.
  public var hasReply: Bool { status & 2 != 0 }

  /// Reads the attributes of a message; nil when they name no connection. Bytes that do not fit are passed over.
  public init?(_ event: Event, attributes bytes: UnsafeRawBufferPointer) {
    let attributes = Attributes(bytes: bytes)
    var tuples: (original: (Tuple, UInt8)?, reply: (Tuple, UInt8)?)
    var rest = Rest()
    for attribute in attributes {
      switch UInt32(attribute.type) {
      case CTA_TUPLE_ORIG.rawValue: tuples.original = Self.tuple(attribute.nested)
      case CTA_TUPLE_REPLY.rawValue: tuples.reply = Self.tuple(attribute.nested)
      default: rest.take(attribute)
      }
    }
    guard let (original, transport) = tuples.original, let (reply, _) = tuples.reply else { return nil }
    self.init(event: event, transport: transport, original: original, reply: reply)
    mark = rest.mark
    status = rest.status
    id = rest.id
    sent = rest.sent
    received = rest.received
    startNanoseconds = rest.start
    stopNanoseconds = rest.stop
    tcpState = rest.tcpState
  }

  private struct Rest {
    var mark: UInt32 = 0
    var status: UInt32 = 0
    var id: UInt32 = 0
    var sent: Amount?
    var received: Amount?
    var start: UInt64 = 0
    var stop: UInt64 = 0
    var tcpState: UInt8?

    mutating func take(_ attribute: Attribute) {
      switch UInt32(attribute.type) {
      case CTA_MARK.rawValue: mark = attribute.number ?? 0
      case CTA_STATUS.rawValue: status = attribute.number ?? 0
      // The kernel's own order of bytes: it is only ever handed back.
      case CTA_ID.rawValue:
        if attribute.payload.count >= 4 { id = attribute.payload.loadUnaligned(as: UInt32.self) }
      case CTA_COUNTERS_ORIG.rawValue: sent = Self.amount(attribute.nested)
      case CTA_COUNTERS_REPLY.rawValue: received = Self.amount(attribute.nested)
      case CTA_TIMESTAMP.rawValue:
        start = attribute.nested.first(CTA_TIMESTAMP_START.rawValue)?.longNumber ?? 0
        stop = attribute.nested.first(CTA_TIMESTAMP_STOP.rawValue)?.longNumber ?? 0
      case CTA_PROTOINFO.rawValue:
        tcpState =
          attribute.nested.first(CTA_PROTOINFO_TCP.rawValue)?.nested
          .first(CTA_PROTOINFO_TCP_STATE.rawValue)?.payload.first
      default: break
      }
    }

    private static func amount(_ attributes: Attributes) -> Amount? {
      guard let packets = attributes.first(CTA_COUNTERS_PACKETS.rawValue)?.longNumber,
        let bytes = attributes.first(CTA_COUNTERS_BYTES.rawValue)?.longNumber
      else { return nil }
      return Amount(packets: packets, bytes: bytes)
    }
  }

  private static func tuple(_ attributes: Attributes) -> (Tuple, UInt8)? {
    guard let addresses = attributes.first(CTA_TUPLE_IP.rawValue)?.nested,
      let ports = attributes.first(CTA_TUPLE_PROTO.rawValue)?.nested,
      let transport = ports.first(CTA_PROTO_NUM.rawValue)?.payload.first
    else { return nil }
    let source: IPAddress
    let destination: IPAddress
    if let from = addresses.first(CTA_IP_V4_SRC.rawValue)?.v4,
      let to = addresses.first(CTA_IP_V4_DST.rawValue)?.v4
    {
      (source, destination) = (from, to)
    } else if let from = addresses.first(CTA_IP_V6_SRC.rawValue)?.v6,
      let to = addresses.first(CTA_IP_V6_DST.rawValue)?.v6
    {
      (source, destination) = (from, to)
    } else {
      return nil
    }
    return (
      Tuple(
        source: SocketEndpoint(source, ports.first(CTA_PROTO_SRC_PORT.rawValue)?.port ?? 0),
        destination: SocketEndpoint(destination, ports.first(CTA_PROTO_DST_PORT.rawValue)?.port ?? 0)),
      transport
    )
  }
}

extension Attribute {
  /// An address of four bytes; nil for another length.
  var v4: IPAddress? {
    guard payload.count == 4 else { return nil }
    return .v4(IPv4Address(bits: UInt32(bigEndian: payload.loadUnaligned(as: UInt32.self))))
  }

  /// An address of sixteen bytes; nil for another length.
  var v6: IPAddress? {
    guard payload.count == 16 else { return nil }
    return .v6(IPv6Address(bits: UInt128(bigEndian: payload.loadUnaligned(as: UInt128.self))))
  }

  /// 16 bits in network order; nil when shorter.
  var port: UInt16? {
    payload.count >= 2 ? UInt16(bigEndian: payload.loadUnaligned(as: UInt16.self)) : nil
  }
}
