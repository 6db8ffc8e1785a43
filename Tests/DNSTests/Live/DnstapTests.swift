// Copies of queries and replies, as a dnstap listener gets them.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Testing

@testable import DNS

/// Accepts one connection on a Unix socket and does the handshake; waits at most 20 seconds for anything.
private final class Listener {
  let path: String
  private let listening: Int32
  private var connection: Int32 = -1

  init() throws {
    path = "/tmp/weft-tap-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    listening = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listening, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(bound == 0 && listen(listening, 4) == 0)
  }

  deinit {
    close(connection)
    close(listening)
    unlink(path)
  }

  private func wait(_ descriptor: Int32) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, 20_000) == 1
  }

  private func receive(_ count: Int) -> [UInt8]? {
    var bytes: [UInt8] = []
    var space = [UInt8](repeating: 0, count: 65536)
    while bytes.count < count {
      guard wait(connection) else { return nil }
      let got = recv(connection, &space, count - bytes.count, 0)
      guard got > 0 else { return nil }
      bytes += space[..<got]
    }
    return bytes
  }

  private func number() -> Int? { receive(4).map { $0.reduce(0) { $0 << 8 | Int($1) } } }

  /// A frame's octets; of a control frame those behind the escape.
  func frame() -> [UInt8]? {
    guard let length = number() else { return nil }
    if length > 0 { return receive(length) }
    return number().flatMap(receive)
  }

  func handshake() throws {
    try #require(wait(listening))
    connection = accept(listening, nil, nil)
    let ready = try #require(frame())
    #expect(ready[3] == 4 && ready.suffix(22) == Array("protobuf:dnstap.Dnstap".utf8))
    let accepted: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 34, 0, 0, 0, 1] + ready[4...]
    let sent = send(connection, accepted, accepted.count, 0)
    #expect(sent == accepted.count)
    let start = try #require(frame())
    #expect(start[3] == 2)
  }
}

@Test(.timeLimit(.minutes(1))) func `a dnstap listener gets each query and its reply`() throws {
  let listener = try Listener()
  var block = ServerBlock()
  block.isServingCluster = true
  block.dnstap = DnstapSettings(target: .path(listener.path), isFull: true, identity: "node-1")
  var settings = DNSServerSettings()
  settings.blocks = [block]
  try withServer(settings) { _, port in
    try listener.handshake()
    #expect(dig(port, "web.demo.svc.cluster.local A +short +tcp") == "10.43.0.20\n")
    let query = try #require(listener.frame())
    let reply = try #require(listener.frame())
    for (frame, kind, address) in [(query, UInt8(5), false), (reply, 6, true)] {
      // identity, then the message: its type, IPv4, TCP, and the client's address.
      #expect(Array(frame.prefix(8)) == [0x0a, 6] + Array("node-1".utf8))
      #expect(frame.ranges(of: [8, kind, 16, 1, 24, 2, 34, 4, 127, 0, 0, 1]).count == 1, "\(frame)")
      #expect(frame.suffix(2) == [15 << 3, 1])
      #expect(frame.ranges(of: [3] + Array("web".utf8) + [4] + Array("demo".utf8)).count == 1)
      #expect(frame.ranges(of: [0, 4, 10, 43, 0, 20]).isEmpty != address)
    }
  }
}

@Test func `a Corefile says where copies go`() throws {
  let blocks = try Corefile.read(
    ". {\n dnstap /run/tap.sock full {\n  identity me\n }\n}\na.test {\n dnstap tcp://127.0.0.1:6000\n}"
  ).blocks
  #expect(blocks[0].dnstap == DnstapSettings(target: .path("/run/tap.sock"), isFull: true, identity: "me"))
  let endpoint = try #require(SocketEndpoint("127.0.0.1:6000"))
  #expect(blocks[1].dnstap == DnstapSettings(target: .endpoint(endpoint)))
  #expect(throws: WeftError.self) { try Corefile.read(". {\n dnstap tls://1.2.3.4:5\n}") }
}
