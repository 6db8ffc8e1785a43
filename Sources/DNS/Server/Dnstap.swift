// dnstap: a copy of each query and reply for whoever listens on a socket, as Frame Streams of protobuf messages (dnstap.info).

import Addresses
import Diagnostics
import Reactor

/// Where copies go, and what is in them.
public struct DnstapSettings: Sendable, Hashable {
  public enum Target: Sendable, Hashable {
    /// The path of a Unix socket.
    case path(String)
    case endpoint(SocketEndpoint)
  }
  public var target: Target
  /// The messages themselves too, not only who asked when.
  public var isFull: Bool
  public var identity: String
  public var version: String

  public init(target: Target, isFull: Bool = false, identity: String = "", version: String = "") {
    self.target = target
    self.isFull = isFull
    self.identity = identity
    self.version = version
  }
}

/// One query or reply.
struct DnstapMessage: Sendable {
  var isReply: Bool
  var client: SocketEndpoint
  var server: SocketEndpoint?
  var isTCP: Bool
  /// Nanoseconds since 1970.
  var time: UInt64
  var bytes: [UInt8]

  func encoded(_ settings: DnstapSettings) -> [UInt8] {
    var message: [UInt8] = []
    ProtobufField.number(1, isReply ? 6 : 5, &message)
    ProtobufField.number(2, client.address.family == .v4 ? 1 : 2, &message)
    ProtobufField.number(3, isTCP ? 2 : 1, &message)
    ProtobufField.bytes(4, Self.octets(client.address), &message)
    ProtobufField.number(6, UInt64(client.port), &message)
    if let server {
      ProtobufField.bytes(5, Self.octets(server.address), &message)
      ProtobufField.number(7, UInt64(server.port), &message)
    }
    let at = isReply ? 12 : 8
    ProtobufField.number(at, time / 1_000_000_000, &message)
    ProtobufField.fixed32(at + 1, UInt32(time % 1_000_000_000), &message)
    if settings.isFull { ProtobufField.bytes(isReply ? 14 : 10, bytes, &message) }
    var whole: [UInt8] = []
    if !settings.identity.isEmpty { ProtobufField.bytes(1, Array(settings.identity.utf8), &whole) }
    if !settings.version.isEmpty { ProtobufField.bytes(2, Array(settings.version.utf8), &whole) }
    ProtobufField.bytes(14, message, &whole)
    ProtobufField.number(15, 1, &whole)
    return whole
  }

  private static func octets(_ address: IPAddress) -> [UInt8] {
    switch address {
    case .v4(let four): (0..<4).map { UInt8(truncatingIfNeeded: four.bits >> UInt32(24 - 8 * $0)) }
    case .v6(let six): (0..<16).map { UInt8(truncatingIfNeeded: six.bits >> UInt128(120 - 8 * $0)) }
    }
  }
}

/// The three kinds of fields dnstap is made of.
private enum ProtobufField {
  static func varint(_ value: UInt64, _ out: inout [UInt8]) {
    var rest = value
    while rest >= 0x80 {
      out.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    out.append(UInt8(rest))
  }
  static func number(_ field: Int, _ value: UInt64, _ out: inout [UInt8]) {
    varint(UInt64(field << 3), &out)
    varint(value, &out)
  }
  static func bytes(_ field: Int, _ value: [UInt8], _ out: inout [UInt8]) {
    varint(UInt64(field << 3 | 2), &out)
    varint(UInt64(value.count), &out)
    out += value
  }
  static func fixed32(_ field: Int, _ value: UInt32, _ out: inout [UInt8]) {
    varint(UInt64(field << 3 | 5), &out)
    out += (0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(8 * $0)) }
  }
}

/// Sends copies from a thread of its own, so that a slow listener holds no query up: what does not fit is dropped and counted.
final class DnstapSender: Sendable {
  private let settings: DnstapSettings
  private let thread: ReactorThread
  private let dropped: Counter
  private let seat = Seat()

  /// Only its thread touches what is inside.
  private final class Seat: @unchecked Sendable { var stream: DnstapStream? }

  /// Nil when there are no threads or descriptors left.
  init?(_ settings: DnstapSettings, _ metrics: Metrics) {
    self.settings = settings
    dropped = metrics.counter(
      "weft_dns_dnstap_dropped_total", "Copies of queries and replies that the listener did not take."
    ).child()
    guard let thread = try? ReactorThread(name: "dnstap") else { return nil }
    self.thread = thread
    let (dropped, seat) = (dropped, seat)
    thread.reactor.submit { reactor in
      let stream = DnstapStream(settings.target, reactor, dropped)
      seat.stream = stream
      stream.connect()
    }
  }

  func send(_ message: DnstapMessage) {
    let (settings, seat) = (settings, seat)
    let isTaken = thread.reactor.submit { _ in seat.stream?.send(message.encoded(settings)) }
    if !isTaken { dropped.increment() }
  }

  func stop() { thread.stop() }
}
