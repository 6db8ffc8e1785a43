// Queries that come together are read together: each must get what it would get alone.

import Addresses
import CLinux
import Glibc
import Reactor
import Testing

@testable import DNS

@Suite(.serialized, .timeLimit(.minutes(2))) struct BatchTests {
  private static let questions: [(name: String, type: RecordType)] = [
    ("web.demo.svc.cluster.local", .a), ("absent.demo.svc.cluster.local", .a),
    ("WEB.demo.svc.cluster.local", .aaaa), ("_http._tcp.web.demo.svc.cluster.local", .srv),
    ("20.0.43.10.in-addr.arpa", .ptr), ("cluster.local", .soa), ("example.com", .a),
    ("dual.demo.svc.cluster.local", .aaaa), ("demo.svc.cluster.local", .a), ("nowhere.test", .mx),
  ]
  /// What gets no answer, or an error: too short, an answer, a name that points, one that does not end.
  private static let rubbish: [[UInt8]] = [
    [1, 2, 3], [0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
    [0xff, 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1],
    [0xff, 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63, 1],
  ]

  /// The reply without its identifier, by identifier; addresses do not take turns here.
  private static func collect(_ descriptor: borrowing Descriptor, until count: Int) -> [UInt16: [UInt8]] {
    var replies: [UInt16: [UInt8]] = [:]
    var space = [UInt8](repeating: 0, count: 4096)
    while replies.count < count {
      var entry = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
      guard poll(&entry, 1, 20_000) == 1 else { break }
      let length = recv(descriptor.raw, &space, space.count, 0)
      guard length >= 2 else { break }
      let id = UInt16(space[0]) << 8 | UInt16(space[1])
      if id != 0xffff { replies[id] = Array(space[2..<length]) }
    }
    return replies
  }

  @Test func `a burst gets each query the answer that it gets alone`() throws {
    try withServer { _, port in
      let descriptor = try Sockets.connectUDP(SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port))
      func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor.raw, bytes, bytes.count, 0) }
      func query(_ id: UInt16) throws -> [UInt8] {
        let (name, type) = Self.questions[Int(id) % Self.questions.count]
        return Message(query: try #require(DomainName(name)), type, id: id).encoded
      }
      var alone: [[UInt8]] = []
      for id in 0..<UInt16(Self.questions.count) {
        send(try query(id))
        let reply = Self.collect(descriptor, until: 1)[id]
        alone.append(try #require(reply))
      }
      for round in 0..<20 {
        // Fewer than the server's receive queue holds; most come in batches of many.
        let ids = (0..<60).map { UInt16(1000 + round * 100 + $0) }
        let messages = try ids.map(query)
        for (index, message) in messages.enumerated() {
          send(message)
          if (index + round) % 3 < 2 { send(Self.rubbish[(index * 7 + round) % Self.rubbish.count]) }
        }
        let replies = Self.collect(descriptor, until: ids.count)
        #expect(replies.count == ids.count)
        for id in ids { #expect(replies[id] == alone[Int(id) % Self.questions.count], "query \(id)") }
      }
    }
  }
}
