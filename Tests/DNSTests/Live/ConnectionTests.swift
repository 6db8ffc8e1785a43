// TCP clients that are slow, hasty or lying, and floods of made-up names (T-D6, T-D12).

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import SoakLab
import Testing

@testable import DNS

/// A blocking connection that waits at most 15 seconds for anything.
final class RawClient {
  private let descriptor: Int32

  init(_ port: UInt16) throws {
    let opened = try Sockets.connectTCP(SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port))
    descriptor = opened.release()
    _ = wait(POLLOUT)
  }

  deinit { close(descriptor) }

  private func wait(_ event: Int32) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(event), revents: 0)
    return poll(&entry, 1, 15_000) == 1
  }

  func send(_ bytes: [UInt8]) {
    var at = 0
    while at < bytes.count, wait(POLLOUT) {
      let count = bytes[at...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return }
      at += count
    }
  }

  /// Nil when the connection ended, or nothing came.
  func receive(_ count: Int) -> [UInt8]? {
    var bytes: [UInt8] = []
    var space = [UInt8](repeating: 0, count: 65536)
    while bytes.count < count {
      guard wait(POLLIN) else { return nil }
      let got = recv(descriptor, &space, min(space.count, count - bytes.count), 0)
      guard got > 0 else { return nil }
      bytes += space[..<got]
    }
    return bytes
  }

  func reply() throws -> Message? {
    guard let length = receive(2), let bytes = receive(Int(length[0]) << 8 | Int(length[1])) else {
      return nil
    }
    return try Message(bytes.span.bytes)
  }

  /// Whether the server has ended the connection.
  var hasEnded: Bool {
    var byte: UInt8 = 0
    return wait(POLLIN) && recv(descriptor, &byte, 1, 0) <= 0
  }
}

func framed(_ name: String, _ id: UInt16) -> [UInt8] {
  let message = Message(query: DomainName(name) ?? .root, .a, id: id).encoded
  return [UInt8(message.count >> 8), UInt8(message.count & 255)] + message
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct ConnectionTests {
  @Test func `a query that comes one octet at a time is answered`() throws {
    try withServer { _, port in
      let client = try RawClient(port)
      for byte in framed("web.demo.svc.cluster.local", 7) { client.send([byte]) }
      let reply = try client.reply()
      #expect(reply?.id == 7 && reply?.answer.count == 1)
    }
  }

  @Test func `a thousand queries sent at once are all answered`() throws {
    try withServer { _, port in
      let client = try RawClient(port)
      client.send((0..<1000).flatMap { framed("web.demo.svc.cluster.local", $0) })
      for id in 0..<1000 as Range<UInt16> {
        let reply = try client.reply()
        #expect(reply?.id == id && reply?.answer.count == 1)
      }
    }
  }

  @Test(
    arguments: [
      [0, 0], [0, 3, 1, 2, 3], [0xff, 0xff, 0, 0], [0, 12, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] as [[UInt8]])
  func `a length that lies and a message that is no query end the connection`(_ bytes: [UInt8]) throws {
    try withServer { _, port in
      let client = try RawClient(port)
      client.send(bytes)
      #expect(client.hasEnded)
    }
  }

  @Test func `an idle connection ends, and those beyond the bound at once`() throws {
    var settings = DNSServerSettings()
    settings.idleSeconds = 1
    settings.connectionsMax = 20
    try withServer(settings) { _, port in
      let clients = try (0..<30).map { _ in try RawClient(port) }
      let ended = clients.filter { $0.hasEnded }.count
      #expect(ended == 30)
      let late = try RawClient(port)
      late.send(framed("web.demo.svc.cluster.local", 1))
      let reply = try late.reply()
      #expect(reply?.answer.count == 1)
    }
  }

  /// T-D12: 4 KiB for each of ten thousand. They have asked once, so that their buffers exist.
  @Test func `an idle connection costs four kilobytes at most`() throws {
    let count = Soak.rounds(2000, long: 9000)
    var limit = rlimit()
    try #require(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
    let before = limit
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    defer {
      var old = before
      _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &old)
    }
    try #require(limit.rlim_cur > UInt(2 * count + 200))
    var settings = DNSServerSettings()
    settings.connectionsMax = count
    settings.idleSeconds = 120
    try withServer(settings) { _, port in
      func ask(_ id: Int) throws -> RawClient {
        let client = try RawClient(port)
        client.send(framed("big.demo.svc.cluster.local", UInt16(truncatingIfNeeded: id)))
        let reply = try client.reply()
        #expect(reply?.answer.count == 100)
        return client
      }
      // What is made once is not a connection's.
      var clients = try (0..<50).map(ask)
      let start = ResidentMemory.bytes
      clients += try (50..<count).map(ask)
      let each = (ResidentMemory.bytes - start) / (count - 50)
      #expect(each <= 4096, "\(each)")
      let last = clients[clients.count - 1]
      last.send(framed("web.demo.svc.cluster.local", 9))
      #expect(try last.reply()?.answer.count == 1)
      Soak.report("TCP: \(count) idle connections, \(each) octets each")
    }
  }

  @Test func `a flood of made-up names drives out no answer and takes no more memory than the cache's bound`()
    throws
  {
    var settings = ForwardCacheSettings()
    settings.entriesMax = 1000
    settings.denialsMax = 1000
    var cache = ForwardCache(settings, threads: 1)
    func keep(_ name: String) throws {
      let query = Message(query: DomainName(name) ?? .root, .a, id: 0)
      let packet = query.encoded
      var head = QueryHead()
      let verdict = head.read(packet.span.bytes)
      #expect(verdict == .query)
      let reply = try #require(TinyUpstream.answer(query, isTCP: true)).encoded
      cache.keep(try UpstreamAnswer.read(reply, settings), packet.span.bytes, head, now: 1000)
    }
    try keep("ext.interwebs.test")
    for number in 0..<5000 { try keep("x\(number).interwebs.test") }
    #expect(cache.count <= 2100, "\(cache.count)")
    #expect(cache.evictions > 2000 && cache.evictions < 5000, "\(cache.evictions)")
    let packet = Message(query: DomainName("ext.interwebs.test") ?? .root, .a, id: 0).encoded
    var head = QueryHead()
    let verdict = head.read(packet.span.bytes)
    #expect(verdict == .query)
    #expect(cache.find(packet.span.bytes, head, now: 2000)?.answer.isNegative == false)
  }

  @Test func `names of the cluster are answered while upstream is silent and its queue full`() throws {
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    var settings = DNSServerSettings()
    settings.forwardsMax = 50
    settings.routes = [
      ForwardRoute(
        upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream.port)], timeoutMilliseconds: 1000)
    ]
    try withServer(settings) { _, port in
      let flood = try RawClient(port)
      flood.send((0..<64).flatMap { framed("silent\($0).interwebs.test", $0) })
      let other = try RawClient(port)
      other.send((0..<200).flatMap { framed("web.demo.svc.cluster.local", $0) })
      for _ in 0..<200 {
        let reply = try other.reply()
        #expect(reply?.answer.count == 1)
      }
      var failures = 0
      for _ in 0..<64 where try flood.reply()?.code == .serverFailure { failures += 1 }
      #expect(failures == 64)
    }
  }
}
