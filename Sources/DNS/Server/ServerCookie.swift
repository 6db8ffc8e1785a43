// DNS cookies (RFC 7873, RFC 9018): a client that sends ours back was really reached at its address.

/// A cookie as it is sent: the client's eight octets and our sixteen.
struct ServerCookie {
  var client: UInt64
  var server: (UInt64, UInt64)

  static let optionBytes = 4 + 8 + 16
  /// How old a cookie may be, and how far in the future (RFC 9018 section 4.3).
  static let secondsMax: UInt32 = 3600
  static let secondsAhead: UInt32 = 300
  /// From this age on, a new one is sent.
  static let secondsFresh: UInt32 = 1800
}

/// Makes and checks cookies with a secret of the process. Allocates nothing.
struct CookieSecret: Sendable {
  private let key: (UInt64, UInt64)

  init() { key = (.random(in: .min ... .max), .random(in: .min ... .max)) }
  init(key: (UInt64, UInt64)) { self.key = key }

  /// The cookie to answer with, and whether the client's was good.
  /// - Parameter address: the client's, an IPv4 one in the low 32 bits.
  func answer(_ packet: RawSpan, at: Int, length: Int, address: UInt128, isSix: Bool, now: UInt32)
    -> (cookie: ServerCookie, isKnown: Bool)
  {
    let client = packet.uint64(at: at)
    if length == 24 {
      let head = packet.uint64(at: at + 8)
      let age = now &- UInt32(truncatingIfNeeded: head)
      let isTimely = age <= ServerCookie.secondsMax || 0 &- age <= ServerCookie.secondsAhead
      if head >> 32 == 0x0100_0000, isTimely,
        packet.uint64(at: at + 16) == hash(client, head, address, isSix)
      {
        if age > ServerCookie.secondsFresh, age <= ServerCookie.secondsMax {
          return (make(client, address, isSix, now), true)
        }
        return (ServerCookie(client: client, server: (head, packet.uint64(at: at + 16))), true)
      }
    }
    return (make(client, address, isSix, now), false)
  }

  private func make(_ client: UInt64, _ address: UInt128, _ isSix: Bool, _ now: UInt32) -> ServerCookie {
    let head = 0x0100_0000 << 32 | UInt64(now)
    return ServerCookie(client: client, server: (head, hash(client, head, address, isSix)))
  }

  /// SipHash-2-4 over client cookie, version, time and address, as RFC 9018 section 4.4 orders them.
  private func hash(_ client: UInt64, _ head: UInt64, _ address: UInt128, _ isSix: Bool) -> UInt64 {
    var state = SipState(key.0, key.1)
    state.take(client.byteSwapped)
    state.take(head.byteSwapped)
    if isSix {
      state.take(UInt64(truncatingIfNeeded: address >> 64).byteSwapped)
      state.take(UInt64(truncatingIfNeeded: address).byteSwapped)
      state.take(32 << 56)
    } else {
      state.take(20 << 56 | UInt64(UInt32(truncatingIfNeeded: address).byteSwapped))
    }
    return state.finish().byteSwapped
  }
}

/// SipHash-2-4 by words.
private struct SipState {
  private var a: UInt64
  private var b: UInt64
  private var c: UInt64
  private var d: UInt64

  init(_ low: UInt64, _ high: UInt64) {
    a = low ^ 0x736f_6d65_7073_6575
    b = high ^ 0x646f_7261_6e64_6f6d
    c = low ^ 0x6c79_6765_6e65_7261
    d = high ^ 0x7465_6462_7974_6573
  }

  private static func rotated(_ word: UInt64, _ by: UInt64) -> UInt64 { word << by | word >> (64 - by) }

  private mutating func round() {
    a = a &+ b
    b = Self.rotated(b, 13) ^ a
    a = Self.rotated(a, 32)
    c = c &+ d
    d = Self.rotated(d, 16) ^ c
    a = a &+ d
    d = Self.rotated(d, 21) ^ a
    c = c &+ b
    b = Self.rotated(b, 17) ^ c
    c = Self.rotated(c, 32)
  }

  mutating func take(_ word: UInt64) {
    d ^= word
    round()
    round()
    a ^= word
  }

  mutating func finish() -> UInt64 {
    c ^= 0xff
    for _ in 0..<4 { round() }
    return a ^ b ^ c ^ d
  }
}
