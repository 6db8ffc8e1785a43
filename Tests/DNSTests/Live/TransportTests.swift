// What surrounds answers on the wire: EDNS, cookies, extended errors, order on one connection, limits, failing upstream
// servers.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Testing

@testable import DNS

/// RFC 9018 appendix A.1.
@Test func `a server cookie is the one of the RFC's example`() {
  let secret = CookieSecret(
    key: (UInt64(0xe5e9_73e5_a6b2_a43f).byteSwapped, UInt64(0x48e7_dc84_9e37_bfcf).byteSwapped))
  let client: [UInt8] = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57]
  let address = UInt128(IPv4Address(198, 51, 100, 100).bits)
  let answer = secret.answer(
    client.span.bytes, at: 0, length: 8, address: address, isSix: false, now: 1_559_731_985)
  #expect(answer.cookie.server.0 == 0x0100_0000_5cf7_9f11)
  #expect(answer.cookie.server.1 == 0x1f81_30c3_eee2_9480)
  #expect(!answer.isKnown)
}

@Test(arguments: [(0, true), (3000, true), (3700, false), (-200, true), (-400, false)])
func `a cookie is good for an hour, from its address alone`(_ age: Int, _ isKnown: Bool) {
  let secret = CookieSecret()
  let client: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
  let now: UInt32 = 1_700_000_000
  func bytes(_ word: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) }
  }
  let made = secret.answer(client.span.bytes, at: 0, length: 8, address: 5, isSix: false, now: now).cookie
  let whole = client + bytes(made.server.0) + bytes(made.server.1)
  let later = UInt32(Int(now) + age)
  #expect(
    secret.answer(whole.span.bytes, at: 0, length: 24, address: 5, isSix: false, now: later).isKnown
      == isKnown)
  #expect(!secret.answer(whole.span.bytes, at: 0, length: 24, address: 6, isSix: false, now: now).isKnown)
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct TransportTests {
  /// The list of ISC's EDNS compliance tests.
  @Test(arguments: [
    ("+noedns", "NOERROR", "OPT PSEUDOSECTION", false), ("+edns=0", "NOERROR", "EDNS: version: 0", true),
    ("+edns=100 +noednsneg", "BADVERS", "EDNS: version: 0", true),
    ("+ednsopt=100", "NOERROR", "OPT=100", false),
    ("+ednsflags=0x80", "NOERROR", "MBZ", false), ("+dnssec", "NOERROR", "flags: do", true),
    ("+edns=100 +noednsneg +ednsopt=100", "BADVERS", "OPT=100", false),
    ("+cookie", "NOERROR", "(good)", true),
    ("+cookie=0102", "FORMERR", "(good)", false), ("+nsid", "NOERROR", "NSID: ", false),
    ("+subnet=192.0.2.0/24", "NOERROR", "CLIENT-SUBNET", false), ("+zflag", "NOERROR", "MBZ", false),
    ("+adflag +cdflag", "NOERROR", " ad ", false), ("+opcode=15", "NOTIMP", "ANSWER: 1", false),
  ])
  func `EDNS is answered by the book, over UDP and TCP`(
    _ flags: String, _ status: String, _ text: String, _ isThere: Bool
  ) throws {
    try withServer { _, port in
      for transport in ["+notcp", "+tcp"] {
        let out = dig(port, "web.demo.svc.cluster.local A \(flags) \(transport)")
        #expect(out.contains("status: \(status)"), "\(out)")
        #expect(out.contains(text) == isThere, "\(out)")
      }
    }
  }

  @Test func `until the cluster is read the answer is SERVFAIL, and says why`() throws {
    try withServer(zone: .unready(Fixture.settings)) { server, port in
      let out = dig(port, "web.demo.svc.cluster.local A")
      #expect(out.contains("SERVFAIL") && out.contains("EDE: 14"), "\(out)")
      #expect(!server.isReady)
    }
  }

  @Test func `a slow name holds nobody up on the same connection`() throws {
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    var settings = DNSServerSettings()
    settings.routes = [
      ForwardRoute(
        upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream.port)], timeoutMilliseconds: 500)
    ]
    try withServer(settings) { _, port in
      let slow = Message(query: DomainName("silent.interwebs.test") ?? .root, .a, id: 1).encoded
      let fast = Message(query: DomainName("web.demo.svc.cluster.local") ?? .root, .a, id: 2).encoded
      let replies = try exchange(port, [slow, fast], replies: 2)
      #expect(replies.map(\.id) == [2, 1])
      #expect(replies.map(\.code) == [.noError, .serverFailure])
    }
  }

  @Test func `replies of one kind are limited for a network, and a cookie lifts the limit`() throws {
    var settings = DNSServerSettings()
    settings.responsesPerSecondMax = 1
    settings.responseSlip = 1
    let metrics = Metrics()
    try withServer(settings, metrics: metrics) { _, port in
      // dig comes back over TCP after a cut reply, so that even a limited client is answered. One dig asks many times; where
      // the machine is so slow that each falls into a second of its own, another does.
      var limited = 0.0
      for _ in 0..<20 where limited == 0 {
        let many = String(repeating: "web.demo.svc.cluster.local A ", count: 20)
        let out = dig(port, "+short +nocookie \(many)")
        #expect(out == String(repeating: "10.43.0.20\n", count: 20), "\(out)")
        let line = metrics.text().split(separator: "\n").first { $0.hasPrefix("weft_dns_rate_limited_total") }
        limited = (line?.split(separator: " ").last).flatMap { Double($0) } ?? 0
      }
      #expect(limited >= 1)
    }
    var limiter = ResponseLimiter(rate: 2, slip: 2)
    let verdicts = (0..<6).map { _ in limiter.verdict(9, second: 1) }
    let fresh = limiter.verdict(9, second: 2)
    #expect(verdicts == [.send, .send, .drop, .cut, .drop, .cut])
    #expect(fresh == .send)
  }

  @Test func `those who ask the same together are one question upstream`() throws {
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    var settings = DNSServerSettings()
    settings.cache.entriesMax = 0
    settings.routes = [
      ForwardRoute(
        upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream.port)], timeoutMilliseconds: 400)
    ]
    try withServer(settings) { _, port in
      let before = upstream.queries
      let query = DomainName("silent.interwebs.test") ?? .root
      let replies = try exchange(port, (1...5).map { Message(query: query, .a, id: $0).encoded }, replies: 5)
      #expect(Set(replies.map(\.id)) == [1, 2, 3, 4, 5])
      // Three attempts, a probe for loops and a health check or two; unshared it would be fifteen attempts.
      #expect(upstream.queries - before < 10)
    }
  }

  @Test func `an answer past its time is given when nobody upstream answers, with TTL 0`() throws {
    var settings = ForwardCacheSettings()
    settings.staleSeconds = 60
    settings.prefetchQueries = 2
    settings.prefetchPercent = 50
    var cache = ForwardCache(settings, threads: 1)
    let query = Message(query: DomainName("ext.interwebs.test") ?? .root, .a, id: 0)
    let packet = query.encoded
    var head = QueryHead()
    let verdict = head.read(packet.span.bytes)
    #expect(verdict == .query)
    let upstream = try #require(TinyUpstream.answer(query, isTCP: true)).encoded
    cache.keep(try UpstreamAnswer.read(upstream, settings), packet.span.bytes, head, now: 1000)
    var hits: [ForwardCache.Hit?] = []
    for now in [2000, 50_000, 50_100, 70_000, 200_000] as [UInt64] {
      hits.append(cache.find(packet.span.bytes, head, now: now))
    }
    #expect(hits[0]?.mustRefresh == false)
    #expect(hits[1]?.mustRefresh == true, "asked often, half its time gone")
    #expect(hits[2]?.mustRefresh == false, "said once")
    #expect(hits[3]?.isStale == true && hits[3]?.mustRefresh == true)
    #expect(hits[4] == nil)
  }
}

/// Sends messages one after another on one connection and reads replies in the order they come.
private func exchange(_ port: UInt16, _ messages: [[UInt8]], replies count: Int) throws -> [Message] {
  let descriptor = try Sockets.connectTCP(SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port))
  func wait(for event: Int32) -> Bool {
    var entry = pollfd(fd: descriptor.raw, events: Int16(event), revents: 0)
    return poll(&entry, 1, 15_000) == 1
  }
  let bytes = messages.flatMap { [UInt8($0.count >> 8), UInt8($0.count & 255)] + $0 }
  let isWritable = wait(for: POLLOUT)
  try #require(isWritable)
  let sent = write(descriptor.raw, bytes, bytes.count)
  try #require(sent == bytes.count)
  var input: [UInt8] = []
  var result: [Message] = []
  var space = [UInt8](repeating: 0, count: 65536)
  while result.count < count {
    guard wait(for: POLLIN) else { break }
    let received = read(descriptor.raw, &space, space.count)
    guard received > 0 else { break }
    input += space[..<received]
    while input.count >= 2, input.count >= 2 + Int(input[0]) << 8 + Int(input[1]) {
      let length = Int(input[0]) << 8 + Int(input[1])
      let message = Array(input[2..<2 + length])
      result.append(try Message(message.span.bytes))
      input.removeFirst(2 + length)
    }
  }
  return result
}
