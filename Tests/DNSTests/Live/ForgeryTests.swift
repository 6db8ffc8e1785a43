// Upstream servers that lie, and those who pretend to be one (T-D7, T-D8): nothing forged is believed.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization
import Testing

@testable import DNS

/// Sends forged replies before the right one, from its own address and from another; notes what questions look like.
private final class ForgingUpstream: DatagramHandler, @unchecked Sendable {
  let port: UInt16
  private let thread: ReactorThread
  /// Ports and IDs the questions came with.
  let seen = Mutex<[(port: UInt16, id: UInt16)]>([])
  private let stranger: Int32

  init() throws {
    thread = try ReactorThread(name: "forger")
    let loopback = IPAddress.v4(IPv4Address(127, 0, 0, 1))
    let datagrams = try Sockets.bindUDP(SocketEndpoint(loopback, 0), reusePort: false)
    let bound = Sockets.localEndpoint(datagrams)
    port = try #require(bound).port
    stranger = try Sockets.bindUDP(SocketEndpoint(loopback, 0), reusePort: false).release()
    let raw = datagrams.release()
    thread.reactor.submit { [self] reactor in
      _ = try? UDPSocket(Descriptor(owning: raw), reactor: reactor, handler: self)
    }
  }

  func stop() {
    thread.stop()
    close(stranger)
  }

  private func reply(_ query: Message, _ address: IPv4Address) -> Message {
    var reply = query
    reply.flags |= 0x8080
    reply.answer = [
      ResourceRecord(owner: query.question?.name ?? .root, ttl: 60, data: .a(address))
    ]
    return reply
  }

  func received(_ datagram: Datagram, reply space: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int
  {
    guard let query = try? Message(datagram.payload.bytes) else { return 0 }
    seen.withLock { $0.append((datagram.peer.port, query.id)) }
    let forged = IPv4Address(203, 0, 113, 66)
    var wrong: [Message] = []
    // Another ID, another name, another type, no response at all.
    for step in [1, 0x100, 0x8000] as [UInt16] {
      wrong.append(reply(query, forged))
      wrong[wrong.count - 1].id ^= step
    }
    wrong.append(reply(query, forged))
    wrong[wrong.count - 1].question?.name = DomainName("other.test") ?? .root
    wrong.append(reply(query, forged))
    wrong[wrong.count - 1].question?.type = .aaaa
    wrong.append(reply(query, forged))
    wrong[wrong.count - 1].flags &= 0x7fff
    for message in wrong {
      let bytes = message.encoded
      _ = bytes.withUnsafeBytes { socket.send($0, to: datagram.peer, from: datagram.local) }
    }
    // All is right but the sender.
    let bytes = reply(query, forged).encoded
    let raw = stranger
    _ = datagram.peer.withSockaddr { sendto(raw, bytes, bytes.count, 0, $0, $1) }
    // Names that nobody asked for stand beside the right answer.
    var right = reply(query, IPv4Address(192, 0, 2, 7))
    let victim = DomainName("victim.test") ?? .root
    right.authority = [ResourceRecord(owner: victim, ttl: 600, data: .ns(victim))]
    right.additional = [ResourceRecord(owner: victim, ttl: 600, data: .a(forged))]
    let answer = right.encoded
    space.copyBytes(from: answer)
    return answer.count
  }
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct ForgeryTests {
  @Test func `forged replies are passed over, and the right one is taken`() throws {
    let upstream = try ForgingUpstream()
    defer { upstream.stop() }
    var settings = DNSServerSettings()
    settings.routes = [
      ForwardRoute(upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream.port)])
    ]
    try withServer(settings) { _, port in
      let client = try QueryClient(port)
      for number in 0..<300 {
        let name = try #require(DomainName("n\(number).test"))
        let reply = client.ask(Message(query: name, .a, id: UInt16(number)))
        #expect(reply?.answer.map { ResourceText.data($0) } == ["192.0.2.7"], "\(name)")
      }
      // What stood beside answers is nobody's answer.
      let victim = client.ask(Message(query: DomainName("victim.test") ?? .root, .a, id: 999))
      #expect(victim?.answer.map { ResourceText.data($0) } == ["192.0.2.7"])
      let seen = upstream.seen.withLock { $0 }.suffix(300)
      // 46,384 ports and 65,536 IDs: of 300 draws nearly all differ, and they lie everywhere.
      #expect(Set(seen.map(\.port)).count > 280, "\(Set(seen.map(\.port)).count)")
      #expect(Set(seen.map(\.id)).count > 280, "\(Set(seen.map(\.id)).count)")
      for sixth in 0..<6 as Range<UInt16> {
        let low = 16_384 + sixth * 8192
        #expect(seen.contains { (low...(low + 8191)).contains($0.port) }, "\(low)")
      }
    }
  }

  @Test func `private addresses are taken out of what the outside world says, where asked for`() throws {
    let denied = AddressFilter.privateAddresses
    for (text, isDenied) in [
      ("10.1.2.3", true), ("127.0.0.1", true), ("169.254.169.254", true), ("192.168.7.7", true),
      ("0.0.0.0", true),
      ("::1", true), ("fd00::1", true), ("fe80::1", true), ("::ffff:10.0.0.1", true), ("198.51.100.1", false),
      ("2001:db8::1", false),
    ] {
      let address = try #require(IPAddress(text))
      var message = Message(query: DomainName("x.test") ?? .root, .a, id: 1)
      let name = DomainName("x.test") ?? .root
      message.answer = [
        ResourceRecord(owner: name, ttl: 60, data: addressRecord(address)),
        ResourceRecord(owner: name, ttl: 60, data: .a(IPv4Address(198, 51, 100, 2))),
      ]
      let filtered = AddressFilter.filtered(message.encoded, denied)
      #expect((filtered != nil) == isDenied, "\(text)")
      if let filtered { #expect(try Message(filtered.span.bytes).answer == [message.answer[1]]) }
    }
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    var settings = DNSServerSettings()
    let ours = try #require(IPPrefix("1.2.0.0/16"))
    settings.routes = [
      ForwardRoute(upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream.port)])
    ]
    settings.routes[0].deniedAddresses = denied + [ours]
    let metrics = Metrics()
    try withServer(settings, metrics: metrics) { _, port in
      let client = try QueryClient(port)
      let www = client.ask(Message(query: DomainName("www.interwebs.test") ?? .root, .a, id: 1))
      #expect(www?.answer.map(\.data.type) == [.cname])
      #expect(metrics.text().contains("weft_dns_denied_answers_total 1"))
    }
    let corefile = try Corefile.read(
      ".:53 {\n kubernetes cluster.local\n forward . 192.0.2.1 {\n  private_address\n  private_address 198.18.0.0/15\n }\n}\n"
    )
    #expect(
      corefile.blocks[0].routes[0].deniedAddresses == denied + [IPPrefix("198.18.0.0/15")].compactMap { $0 })
  }
}
