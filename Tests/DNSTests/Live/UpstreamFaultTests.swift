// Upstream servers that are silent, reset connections, or lead from alias to alias (T-D7, T-D9).

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import SoakLab
import Synchronization
import Testing

@testable import DNS

/// Cuts every reply over UDP and resets every connection, as soon as it is made or when the question has come.
private final class ResettingUpstream: DatagramHandler, @unchecked Sendable {
  let port: UInt16
  let connections = Counter()
  let isAtOnce: Bool
  private let thread: ReactorThread

  init(atOnce: Bool) throws {
    isAtOnce = atOnce
    let sockets = try UpstreamSockets()
    port = sockets.port
    thread = try ReactorThread(name: "resetting")
    thread.reactor.submit { [self] reactor in
      sockets.serve(reactor, self) { [self] descriptor in
        connections.increment()
        Connection.begin(descriptor, reactor, atOnce: isAtOnce)
      }
    }
  }

  func stop() { thread.stop() }

  func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
    guard var answer = try? Message(datagram.payload.bytes) else { return 0 }
    answer.flags |= 0x8280
    answer.edns = nil
    reply.copyBytes(from: answer.encoded)
    return answer.encoded.count
  }

  private final class Connection: ReadinessHandler {
    private var channel = Channel()

    static func begin(_ descriptor: consuming Descriptor, _ reactor: Reactor, atOnce: Bool) {
      let connection = Connection()
      guard let channel = try? reactor.register(descriptor, handler: connection) else { return }
      connection.channel = channel
      if atOnce { connection.cancel() }
    }

    func ready(_ readiness: Readiness) {
      guard readiness.contains(.readable) else { return }
      cancel()
    }

    func cancel() {
      guard channel.isOpen else { return }
      channel.resetOnClose()
      channel.close()
    }
  }
}

/// Answers over TCP what a closure makes of the question; over UDP it cuts.
private final class LyingUpstream: DatagramHandler, @unchecked Sendable {
  let port: UInt16
  private let thread: ReactorThread
  let answer: @Sendable (Message) -> Message

  init(_ answer: @escaping @Sendable (Message) -> Message) throws {
    self.answer = answer
    let sockets = try UpstreamSockets()
    port = sockets.port
    thread = try ReactorThread(name: "lying")
    thread.reactor.submit { [self] reactor in
      sockets.serve(reactor, self) { TinyUpstream.Stream.begin($0, reactor, answer: answer) }
    }
  }

  func stop() { thread.stop() }

  func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
    guard let query = try? Message(datagram.payload.bytes) else { return 0 }
    var message = answer(query)
    if message.encoded.count > 1200 {
      (message.answer, message.authority, message.additional) = ([], [], [])
      message.flags |= 0x0200
    }
    reply.copyBytes(from: message.encoded)
    return message.encoded.count
  }
}

private func name(_ text: String) throws -> DomainName { try #require(DomainName(text)) }

private func settings(_ port: UInt16, _ change: (inout ForwardRoute) -> Void = { _ in }) -> DNSServerSettings
{
  var route = ForwardRoute(upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port)])
  change(&route)
  var settings = DNSServerSettings()
  settings.routes = [route]
  return settings
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct UpstreamFaultTests {
  @Test(arguments: [true, false], [true, false])
  func `an upstream that resets connections ends in SERVFAIL, and ours are answered`(
    atOnce: Bool, isForced: Bool
  ) throws {
    let upstream = try ResettingUpstream(atOnce: atOnce)
    defer { upstream.stop() }
    try withServer(settings(upstream.port) { $0.isTCPForced = isForced }) { _, port in
      let client = try QueryClient(port, patience: 20_000)
      for number in 0..<40 {
        let theirs = client.ask(Message(query: try name("n\(number).test"), .a, id: UInt16(number)))
        #expect(theirs?.code == .serverFailure)
        let ours = client.ask(
          Message(query: try name("web.demo.svc.cluster.local"), .a, id: UInt16(1000 + number)))
        #expect(ours?.answer.count == 1)
      }
      // Each question tries it three times and no more; the server's own, whether queries come back to it, once.
      #expect((40...121).contains(upstream.connections.current), "\(upstream.connections.current)")
    }
  }

  /// Its own time-out is longer than any client waits: what counts is the time for all attempts together.
  @Test(arguments: [true, false]) func `silence ends after five seconds, whatever the time-out of one server`(
    isForced: Bool
  ) throws {
    let silent = try Sockets.listenTCP(SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 0))
    let upstream = try #require(Sockets.localEndpoint(silent)?.port)
    let mute = try Sockets.bindUDP(SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream))
    let change: (inout ForwardRoute) -> Void = {
      $0.timeoutMilliseconds = 600_000
      $0.isTCPForced = isForced
    }
    try withServer(settings(upstream, change)) { _, port in
      let client = try QueryClient(port, patience: 60_000)
      #expect(client.ask(Message(query: try name("n.test"), .a, id: 1))?.code == .serverFailure)
    }
    withExtendedLifetime((mute.raw, silent.raw)) {}
  }

  /// 10,240 questions over 160 connections: all that may wait do, the others are told at once, and memory stays bounded.
  @Test(arguments: [1000, 10_240]) func `ten thousand questions to a server that never answers`(
    _ waitingMax: Int
  )
    throws
  {
    var limit = rlimit()
    try #require(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
    let before = limit
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    defer {
      var old = before
      _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &old)
    }
    try #require(limit.rlim_cur > UInt(waitingMax + 1000))
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    upstream.isSilent.store(true, ordering: .relaxed)
    var settings = settings(upstream.port)
    settings.forwardsMax = waitingMax
    let metrics = Metrics()
    try withServer(settings, metrics: metrics) { _, port in
      let start = ResidentMemory.bytes
      let clients = try (0..<160).map { _ in try RawClient(port) }
      for (index, client) in clients.enumerated() {
        client.send((0..<64).flatMap { framed("n\(index * 64 + $0).test", UInt16($0)) })
      }
      let other = try RawClient(port)
      for number in 0..<100 {
        other.send(framed("web.demo.svc.cluster.local", UInt16(number)))
        let reply = try other.reply()
        #expect(reply?.answer.count == 1)
      }
      let grown = ResidentMemory.bytes - start
      #expect(grown < 64 << 20, "\(grown)")
      var failures = 0
      for client in clients {
        for _ in 0..<64 where try client.reply()?.code == .serverFailure { failures += 1 }
      }
      #expect(failures == 10_240)
      let rejected = metrics.text().split(separator: "\n").first {
        $0.hasPrefix("coredns_forward_max_concurrent_rejects_total")
      }
      let count = rejected.flatMap { Int($0.split(separator: " ")[1]) } ?? 0
      #expect(count >= 10_240 - waitingMax - 64 && (waitingMax > 10_000 || count > 0), "\(count)")
      Soak.report(
        "DNS: 10,240 questions unanswered upstream, \(waitingMax) may wait: \(grown >> 10) KiB more")
      // Those who waited have gone: there is room again.
      upstream.isSilent.store(false, ordering: .relaxed)
      other.send(framed("ext.interwebs.test", 7))
      let reply = try other.reply()
      #expect(reply?.answer.count == 1)
    }
  }

  @Test(arguments: [(1, true), (8, true), (16, true), (17, false), (1000, false)])
  func `aliases are followed so far and no further`(_ count: Int, _ isTaken: Bool) throws {
    let upstream = try LyingUpstream { query in
      var reply = query
      reply.flags |= 0x8080
      var owner = query.question?.name ?? .root
      for number in 0..<count {
        let target = DomainName("a\(number).chain.test") ?? .root
        reply.answer.append(ResourceRecord(owner: owner, ttl: 60, data: .cname(target)))
        owner = target
      }
      reply.answer.append(ResourceRecord(owner: owner, ttl: 60, data: .a(IPv4Address(192, 0, 2, 9))))
      return reply
    }
    defer { upstream.stop() }
    try withServer(settings(upstream.port)) { _, port in
      for round in 0..<2 {
        let client = try RawClient(port)
        client.send(framed("www.test", 1))
        let reply = try client.reply()
        #expect(reply?.code == (isTaken ? .noError : .serverFailure), "\(count), round \(round)")
        #expect(reply?.answer.count == (isTaken ? count + 1 : 0))
      }
    }
  }

  @Test func `aliases that go round are no answer`() throws {
    let upstream = try LyingUpstream { query in
      var reply = query
      reply.flags |= 0x8080
      let names = [query.question?.name ?? .root, DomainName("b.test") ?? .root]
      reply.answer = [
        ResourceRecord(owner: names[0], ttl: 60, data: .cname(names[1])),
        ResourceRecord(owner: names[1], ttl: 60, data: .cname(names[0])),
      ]
      return reply
    }
    defer { upstream.stop() }
    try withServer(settings(upstream.port)) { _, port in
      let client = try QueryClient(port, patience: 20_000)
      #expect(client.ask(Message(query: try name("www.test"), .a, id: 1))?.code == .serverFailure)
    }
  }

  /// RFC 2181 section 5.4.1: glue and records of other zones are nobody's answer.
  @Test func `records of another zone are taken out of what a server says`() throws {
    let upstream = try LyingUpstream { query in
      var reply = query
      reply.flags |= 0x8080
      let asked = query.question?.name ?? .root
      func record(_ owner: String, _ data: RecordData) -> ResourceRecord {
        ResourceRecord(owner: DomainName(owner) ?? .root, ttl: 600, data: data)
      }
      let forged = RecordData.a(IPv4Address(203, 0, 113, 66))
      let server = DomainName("ns.www.test") ?? .root
      reply.answer = [
        ResourceRecord(owner: asked, ttl: 60, data: .cname(DomainName("real.test") ?? .root)),
        record("real.test", .a(IPv4Address(192, 0, 2, 9))), record("victim.test", forged),
      ]
      reply.authority = [
        record("test", .ns(server)), record("victim.example", .ns(DomainName("ns.victim.example") ?? .root)),
        record("victim.test", .ns(server)),
      ]
      reply.additional = [
        record("ns.www.test", .a(IPv4Address(192, 0, 2, 53))), record("ns.victim.example", forged),
        record("victim.test", forged), record("web.demo.svc.cluster.local", forged),
      ]
      return reply
    }
    defer { upstream.stop() }
    try withServer(settings(upstream.port)) { _, port in
      let client = try QueryClient(port, patience: 20_000)
      // As it comes, and as it is kept.
      for id in 1...2 as ClosedRange<UInt16> {
        let reply = client.ask(Message(query: try name("www.test"), .a, id: id))
        let records = (reply?.answer ?? []) + (reply?.authority ?? []) + (reply?.additional ?? [])
        #expect(
          records.map { "\($0.owner) \($0.data.type)" } == [
            "www.test. CNAME", "real.test. A", "test. NS", "ns.www.test. A",
          ], "\(records)")
      }
      let ours = client.ask(Message(query: try name("web.demo.svc.cluster.local"), .a, id: 3))
      #expect(ours?.answer.map { ResourceText.data($0) } == ["10.43.0.20"])
    }
  }
}
