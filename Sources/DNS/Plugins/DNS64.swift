// `dns64` (RFC 6147): IPv6 addresses made from IPv4 ones, for clients without IPv4.

import Addresses

/// How AAAA records are made.
public struct DNS64: Sendable, Hashable {
  /// Of 32, 40, 48, 56, 64 or 96 bits (RFC 6052).
  public var prefix: IPPrefix
  /// Also for names that have IPv6 addresses of their own.
  public var translatesAll = false
  /// Also for clients that ask over IPv4.
  public var allowsIPv4 = false

  public init(prefix: IPPrefix) { self.prefix = prefix }

  static let lengths: Set<Int> = [32, 40, 48, 56, 64, 96]

  /// The address that stands for an IPv4 one: bits 64 to 71 stay zero (RFC 6052 section 2.2).
  func address(_ four: IPv4Address) -> IPv6Address {
    guard let base = prefix.address.v6?.bits else { return IPv6Address(bits: 0) }
    var bytes = (0..<16).map { UInt8(truncatingIfNeeded: base >> UInt128(120 - 8 * $0)) }
    var at = prefix.length / 8
    for byte in four.bytes {
      if at == 8 { at += 1 }
      bytes[at] = byte
      at += 1
    }
    return IPv6Address(bits: bytes.reduce(0) { $0 << 8 | UInt128($1) })
  }

  /// Addresses of the IPv4-mapped network never say that a name has IPv6 (RFC 6147 section 5.1.4).
  static func isExcluded(_ record: ResourceRecord) -> Bool {
    if case .aaaa(let six) = record.data { return six.bits >> 32 == 0xffff }
    return false
  }

  func needsTranslation(_ reply: Message) -> Bool {
    guard reply.code == .noError || reply.code == .serverFailure else { return false }
    return translatesAll || !reply.answer.contains { $0.data.type == .aaaa && !Self.isExcluded($0) }
  }

  /// The reply to AAAA, made from the reply to A.
  func translated(_ four: Message, _ question: Message.Question) -> Message {
    var reply = four
    reply.question = question
    reply.flags &= ~Header.authenticData
    reply.answer = four.answer.map { record in
      guard case .a(let address) = record.data else { return record }
      return ResourceRecord(
        owner: record.owner, ttl: min(record.ttl, 600), data: .aaaa(self.address(address)))
    }
    return reply
  }
}
