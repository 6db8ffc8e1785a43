// One connection as people speak of it: pods, Service and verdict instead of addresses and marks.

import Addresses
import ClusterObjects
import Diagnostics

/// A connection that began, ended, or was refused. A value; names and labels are shared with the objects that they come from.
public struct Flow: Sendable, Hashable {
  public enum Event: String, Sendable, CaseIterable {
    /// The first packet passed.
    case new
    /// It is over: amounts and duration are known.
    case end
    /// A packet was refused, or would have been.
    case packet
  }

  public enum Verdict: String, Sendable, CaseIterable {
    case forwarded, denied
    /// A policy under audit would have denied it; it passed.
    case audited
  }

  /// One end.
  public struct End: Sendable, Hashable {
    public var endpoint: SocketEndpoint
    public var pod: ObjectKey?
    public var labels: [String: String] = [:]
    /// The node whose own address it is.
    public var node: String?
    public init(_ endpoint: SocketEndpoint, pod: ObjectKey? = nil, labels: [String: String] = [:]) {
      self.endpoint = endpoint
      self.pod = pod
      self.labels = labels
    }
  }

  /// The Service that was asked for, at the address and port that the sender wrote.
  public struct Service: Sendable, Hashable {
    public var key: ObjectKey
    public var portName: String
    public var asked: SocketEndpoint
    public init(_ key: ObjectKey, portName: String, asked: SocketEndpoint) {
      self.key = key
      self.portName = portName
      self.asked = asked
    }
  }

  /// What policies had to do with the verdict.
  public struct Decision: Sendable, Hashable {
    /// `Ingress` or `Egress`; empty when no policy selects either end.
    public var direction: String
    /// The one that allowed, or those that isolate and allow nothing of it.
    public var policies: [ObjectKey]
    /// Which of its rules allowed.
    public var rule: Int?
    /// One clause, for people.
    public var reason: String
    public init(direction: String = "", policies: [ObjectKey] = [], rule: Int? = nil, reason: String) {
      self.direction = direction
      self.policies = policies
      self.rule = rule
      self.reason = reason
    }
  }

  /// Of an ended connection, as the node saw it.
  public struct Totals: Sendable, Hashable {
    public var bytesSent: UInt64
    public var bytesReceived: UInt64
    public var packetsSent: UInt64
    public var packetsReceived: UInt64
    /// From the first to about the last packet; nil where the kernel keeps no times.
    public var milliseconds: UInt64?
    public init(
      bytesSent: UInt64 = 0, bytesReceived: UInt64 = 0, packetsSent: UInt64 = 0, packetsReceived: UInt64 = 0,
      milliseconds: UInt64? = nil
    ) {
      self.bytesSent = bytesSent
      self.bytesReceived = bytesReceived
      self.packetsSent = packetsSent
      self.packetsReceived = packetsReceived
      self.milliseconds = milliseconds
    }
  }

  /// Nanoseconds since 1970.
  public var time: UInt64
  public var event: Event
  public var verdict: Verdict
  /// The node that saw it.
  public var node: String
  /// IANA protocol number.
  public var transport: UInt8
  public var source: End
  /// After translation: where it went.
  public var destination: End
  public var service: Service?
  public var decision: Decision?
  public var totals: Totals?
  /// Whether an answer was seen.
  public var hasReply = false

  public init(
    time: UInt64, event: Event, verdict: Verdict, node: String, transport: UInt8, source: End,
    destination: End
  ) {
    self.time = time
    self.event = event
    self.verdict = verdict
    self.node = node
    self.transport = transport
    self.source = source
    self.destination = destination
  }

  /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, or the number.
  public var transportName: String {
    switch transport {
    case 1: "ICMP"
    case 58: "ICMPv6"
    default: TransportProtocol(number: transport)?.rawValue ?? "\(transport)"
    }
  }

  static func transportNumber(_ name: String) -> UInt8? {
    switch name.uppercased() {
    case "ICMP": 1
    case "ICMPV6": 58
    default: TransportProtocol(rawValue: name.uppercased())?.number ?? UInt8(name)
    }
  }

  /// RFC 3339 with microseconds.
  public var timeText: String {
    Timestamp.text(
      seconds: Int64(clamping: time / 1_000_000_000), nanoseconds: Int64(time % 1_000_000_000),
      fractionDigits: 6)
  }
}
