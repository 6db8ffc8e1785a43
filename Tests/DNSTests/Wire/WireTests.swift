// RFC 1035 section 4.1 and RFC 6891: messages read back as written, hostile ones refused, random ones survived.

import Addresses
import SoakLab
import Testing

@testable import DNS

private func name(_ text: String) -> DomainName { DomainName(text) ?? .root }

private func read(_ bytes: [UInt8]) throws -> Message { try bytes.withUnsafeBytes { try Message($0.bytes) } }

private var sample: Message {
  var message = Message(query: name("web.demo.svc.cluster.local"), .a, id: 0x1234)
  message.flags |= 0x8400
  message.answer = [
    ResourceRecord(owner: name("web.demo.svc.cluster.local"), ttl: 30, data: .a(IPv4Address(10, 43, 0, 20))),
    ResourceRecord(owner: name("a.demo.svc.cluster.local"), ttl: 30, data: .cname(name("b.example.com"))),
    ResourceRecord(
      owner: name("b.example.com"), ttl: 1, data: .srv(priority: 0, weight: 1, port: 2, name("c.example.com"))
    ),
    ResourceRecord(owner: name("b.example.com"), ttl: 1, data: .txt([[1, 2, 3], []])),
    ResourceRecord(owner: name("b.example.com"), ttl: 1, data: .other(.https, [0, 1, 0])),
  ]
  message.edns = Message.EDNS()
  return message
}

@Test func `a message is read back as it was written and names are compressed`() throws {
  let bytes = sample.encoded
  #expect(try read(bytes) == sample)
  let plain = 12 + sample.answer.reduce(32) { $0 + $1.owner.wire.count + 30 }
  #expect(bytes.count < plain)
}

@Test func `a pointer to itself, forward, or in a circle is refused`() {
  let head: [UInt8] = [0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]
  for loop: [UInt8] in [
    [0xc0, 12], [0xc0, 20], [1, 97, 0xc0, 12], [0xc0, 14, 0xc0, 12], [0xff, 0xff], [0x40],
  ] {
    #expect(throws: WireError.self) { try read(head + loop + [0, 1, 0, 1]) }
  }
}

@Test func `OPT anywhere but among the additional records is refused, in an upstream's answer too`() {
  let opt: [UInt8] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]
  for count in [7, 9] {
    var bytes = Message(query: name("a.test"), .a, id: 1).encoded + opt
    bytes[2] |= 0x80
    bytes[count] = 1
    #expect(throws: WireError.self) { try UpstreamAnswer.read(bytes, ForwardCacheSettings()) }
    bytes[count] = 0
    bytes[11] = 1
    #expect(throws: Never.self) { try UpstreamAnswer.read(bytes, ForwardCacheSettings()) }
  }
}

@Test func `a name is at most 255 octets even through pointers`() {
  let label = [UInt8](repeating: 97, count: 63)
  #expect(DomainName(labels: [label, label, label, label]) == nil)
  #expect(DomainName(labels: [label, label, label, [UInt8](repeating: 97, count: 61)]) != nil)
}

@Test func `presentation text keeps dots and odd octets escaped`() {
  #expect(name("a\\.b.\\001c.d").description == "a\\.b.\\001c.d.")
  #expect(DomainName("a..b") == nil)
  #expect(name("A.b") == name("a.B"))
}

/// 6,000 messages in each run, and in `make soak` two million, ten kinds of damage and every length among them (T-D3).
/// With an OPT record of two options.
private func withOptions(_ query: Message) -> [UInt8] {
  let options = [
    EDNSValue(code: 0xffee, octets: [1, 2, 3]), EDNSValue(code: 8, octets: [0, 1, 24, 0, 10, 0, 0]),
  ]
  .encoded
  var bytes = query.encoded + [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, UInt8(options.count)] + options
  bytes[11] = 1
  return bytes
}

@Test(.timeLimit(.minutes(20))) func `damaged messages never trap, cut at each octet and changed at random`()
{
  let zone = Fixture.zone
  let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 65535, alignment: 8)
  defer { space.deallocate() }
  var random = SeededRandom(state: Soak.seed)
  func take(_ bytes: [UInt8]) {
    _ = try? read(bytes)
    _ = try? UpstreamAnswer.read(bytes, ForwardCacheSettings())
    _ = AddressFilter.filtered(bytes, AddressFilter.privateAddresses)
    bytes.withUnsafeBytes { packet in
      var head = QueryHead()
      _ = [EDNSValue](query: packet.bytes, questionEnd: min(packet.count, Header.byteCount))
      guard head.read(packet.bytes) == .query else { return }
      let options = [EDNSValue](query: packet.bytes, questionEnd: head.questionEnd)
      #expect(options.encoded.count <= packet.count)
      var reply = Reply(space)
      reply.begin(packet.bytes, head, bytesMax: Int.random(in: 512...4096, using: &random))
      _ = zone.answer(packet.bytes, head, &reply, rotation: random.next() > 1 << 63 ? 1 : 0)
      #expect(reply.finish(head, udpBytesMax: 1232) <= 4096)
    }
  }
  let name63 = String(repeating: "x", count: 63)
  let corpus: [[UInt8]] = [
    sample.encoded, Message(query: name("_http._tcp.db.demo.svc.cluster.local"), .srv, id: 1).encoded,
    Message(query: name("inside.demo.svc.cluster.local"), .a, id: 1).encoded,
    withOptions(Message(query: name("web.demo.svc.cluster.local"), .a, id: 1)),
    Message(query: name("10-42-0-7.demo.pod.cluster.local"), .a, id: 1).encoded,
    Message(query: name("9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.4.0.0.0.0.d.f.ip6.arpa"), .ptr, id: 1)
      .encoded,
    Message(query: name("\(name63).\(name63).demo.svc.cluster.local"), .a, id: 1).encoded,
    Message(query: name("a." + String(repeating: "b.", count: 110) + "cluster.local"), .a, id: 1).encoded,
  ]
  for message in corpus { for count in 0...message.count { take(Array(message[..<count])) } }
  // Labels that are too long, of kinds that do not exist, and pointers ahead, to themselves and to each other.
  for first in [0x40, 0x80, 0xc0, 64, 63, 255] as [UInt8] {
    for second in [0, 12, 13, 14, 255] as [UInt8] {
      take([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, first, second, 0xc0, 12, 0, 1, 0, 1])
      take([
        0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1, first, second, 0, 1, 0, 1, 0, 0, 0, 1, 255,
        255,
      ])
    }
  }
  for count in [0, 2, 65535] as [UInt16] {
    for at in [4, 6, 8, 10] {
      var message = corpus[1]
      message[at] = UInt8(count >> 8)
      message[at + 1] = UInt8(count & 255)
      take(message)
    }
  }
  let rounds = Soak.rounds(6000, long: 2_000_000)
  for _ in 0..<rounds {
    var bytes = corpus[Int.random(in: 0..<corpus.count, using: &random)]
    for _ in 0..<Int.random(in: 0..<8, using: &random) {
      bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
    }
    bytes.removeLast(Int.random(in: 0..<min(20, bytes.count), using: &random))
    take(bytes)
  }
  Soak.report(
    "DNS messages: \(rounds) damaged ones, none stops the parser or the answers (seed \(Soak.seed))")
}

@Test func `folding eight octets at a time lowers capitals alone`() {
  for byte in UInt8.min...UInt8.max {
    let word = UInt64(byte) * 0x0101_0101_0101_0101
    #expect(foldedWord(word) == UInt64(foldedByte(byte)) * 0x0101_0101_0101_0101)
  }
}

@Test func `a name is within itself and what is above it, by whole labels`() {
  let asked = name("Web.demo.svc.cluster.local")
  for zone in ["web.demo.svc.cluster.local", "svc.CLUSTER.local", "local", "."] {
    #expect(asked.isWithin(name(zone)), "\(zone)")
  }
  // Of the same octets as an end of the name, but not from label to label: \003svc\007cluster inside of one label.
  for zone in ["vc.cluster.local", "a.web.demo.svc.cluster.local", "demo", "locao", "\\007cluster.local"] {
    #expect(!asked.isWithin(name(zone)), "\(zone)")
  }
  #expect(name(".").isWithin(.root) && !name(".").isWithin(name("local")))
}
