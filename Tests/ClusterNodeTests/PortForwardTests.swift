// port-forward without a cluster: SPDY over a socket of loopback, to servers of loopback.

import ClusterStreams
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import ClusterNode

private func listen(_ initialize: @escaping @Sendable (any Channel) throws -> Void) async throws
  -> any Channel
{
  try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
    .childChannelOption(.allowRemoteHalfClosure, value: true)
    .childChannelInitializer { channel in channel.eventLoop.makeCompletedFuture { try initialize(channel) } }
    .bind(host: "127.0.0.1", port: 0).get()
}

/// Sends back what comes, and its end.
private func echoServer() async throws -> any Channel {
  try await listen { channel in
    let link = ByteLink(channel: channel)
    try channel.pipeline.syncOperations.addHandler(link)
    link.start(
      onRead: { bytes in
        link.write(bytes)
        if !link.isWritable { link.hold(true) }
      }, onEnd: { link.closeOutput() }, onWritable: { link.hold(false) }, onClose: {})
  }
}

/// The agent's end: a session for each connection.
private func forwarder() async throws -> any Channel {
  try await listen { channel in
    let link = ByteLink(channel: channel)
    try channel.pipeline.syncOperations.addHandler(link)
    let pod = ForwardedPod(sandbox: "sandbox", netnsPath: nil)
    try PortForwardSession(client: link, pod: pod, carrier: .plain).start()
  }
}

/// kubectl's end. Used on its event loop; what it saw may be asked from anywhere.
private final class ForwardClient: @unchecked Sendable {
  let link: ByteLink
  private let spdy: SPDYSession
  let seen = Mutex<[UInt32: [UInt8]]>([:])
  let ended = Mutex<Set<UInt32>>([])
  let reset = Mutex<Set<UInt32>>([])
  let isClosed = Mutex(false)

  static func connect(_ port: Int) async throws -> ForwardClient {
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ByteLink(channel: channel))
        }
      }.connect(host: "127.0.0.1", port: port).get()
    return try await channel.eventLoop.submit {
      ForwardClient(
        try channel.pipeline.syncOperations.handler(type: ByteLink.self), try SPDYSession(.client))
    }.get()
  }

  private init(_ link: ByteLink, _ spdy: SPDYSession) {
    self.link = link
    self.spdy = spdy
    link.start(onRead: { self.take($0) }, onClose: { self.isClosed.withLock { $0 = true } })
  }

  private func take(_ bytes: ByteBuffer) {
    for event in (try? spdy.receive(bytes)) ?? [] {
      switch event {
      case .data(let id, let bytes, let isFinal):
        seen.withLock { $0[id, default: []] += bytes.readableBytesView }
        if isFinal { ended.withLock { _ = $0.insert(id) } }
      case .reset(let id, _): reset.withLock { _ = $0.insert(id) }
      default: continue
      }
    }
    link.write(spdy.takeOutput())
  }

  /// One forwarded connection that sends `bytes` and then nothing more.
  func forward(_ port: Int, request: String, _ bytes: [UInt8]) async throws -> (error: UInt32, data: UInt32) {
    try await link.eventLoop.submit {
      let error = try self.spdy.open(
        ["streamType": "error", "port": "\(port)", "requestID": request])
      try self.spdy.send(error, ByteBuffer(), isFinal: true)
      let data = try self.spdy.open(["streamType": "data", "port": "\(port)", "requestID": request])
      try self.spdy.send(data, ByteBuffer(bytes: bytes), isFinal: true)
      self.link.write(self.spdy.takeOutput())
      return (error, data)
    }.get()
  }

  func open(_ headers: SPDYHeaders) async throws -> UInt32 {
    try await link.eventLoop.submit {
      let id = try self.spdy.open(headers)
      self.link.write(self.spdy.takeOutput())
      return id
    }.get()
  }
}

private func eventually(_ condition: () -> Bool) async throws -> Bool {
  for _ in 0..<2000 {
    if condition() { return true }
    try await Task.sleep(for: .milliseconds(10))
  }
  return condition()
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct PortForwardTests {
  @Test func `a hundred connections at once each get their own bytes back, and their end`() async throws {
    let (echo, server) = (try await echoServer(), try await forwarder())
    let client = try await ForwardClient.connect(server.localAddress?.port ?? 0)
    var sent: [UInt32: [UInt8]] = [:]
    for number in 0..<100 {
      let bytes = [UInt8](repeating: UInt8(number), count: 50_000 + number)
      let ids = try await client.forward(echo.localAddress?.port ?? 0, request: "\(number)", bytes)
      sent[ids.data] = bytes
    }
    #expect(try await eventually { client.ended.withLock { $0.isSuperset(of: sent.keys) } })
    let seen = client.seen.withLock { $0 }
    for (id, bytes) in sent { #expect(seen[id] == bytes, "stream \(id)") }
    client.link.abort()
    for channel in [echo, server] { try await channel.close() }
  }

  @Test func `a port where nobody listens is told on the error stream, and others go on`() async throws {
    let (echo, server) = (try await echoServer(), try await forwarder())
    let free = try await echoServer()
    let port = free.localAddress?.port ?? 0
    try await free.close()
    let client = try await ForwardClient.connect(server.localAddress?.port ?? 0)
    let failed = try await client.forward(port, request: "0", Array("x".utf8))
    #expect(try await eventually { client.ended.withLock { $0.contains(failed.error) } })
    let text = client.seen.withLock { String(decoding: $0[failed.error] ?? [], as: UTF8.self) }
    #expect(
      text
        == "error forwarding port \(port) to pod sandbox, uid : failed to execute portforward in network "
        + "namespace \"host\": failed to connect to localhost:\(port) inside namespace \"sandbox\", IPv4: "
        + "dial tcp4 127.0.0.1:\(port): connect: connection refused IPv6 dial tcp6 [::1]:\(port): connect: "
        + "connection refused ")
    // In a frame of its own, after the end of the other.
    #expect(try await eventually { client.reset.withLock { $0 == [failed.data] } })
    let good = try await client.forward(echo.localAddress?.port ?? 0, request: "1", Array("y".utf8))
    #expect(try await eventually { client.ended.withLock { $0.contains(good.data) } })
    client.link.abort()
    for channel in [echo, server] { try await channel.close() }
  }

  /// kubectl before 1.29 keeps its own side until the error stream has ended.
  @Test func `when the pod has said everything both streams end, though the client could go on`() async throws
  {
    let teller = try await listen { channel in
      let link = ByteLink(channel: channel)
      try channel.pipeline.syncOperations.addHandler(link)
      link.start(onRead: { _ in }, onEnd: {}, onWritable: {}, onClose: {})
      link.write(ByteBuffer(string: "all"))
      link.closeOutput()
    }
    let server = try await forwarder()
    let client = try await ForwardClient.connect(server.localAddress?.port ?? 0)
    let port = "\(teller.localAddress?.port ?? 0)"
    let error = try await client.open(["streamType": "error", "port": port, "requestID": "0"])
    let data = try await client.open(["streamType": "data", "port": port, "requestID": "0"])
    #expect(try await eventually { client.ended.withLock { $0 == [error, data] } })
    #expect(client.seen.withLock { $0[data] } == Array("all".utf8))
    client.link.abort()
    for channel in [teller, server] { try await channel.close() }
  }

  @Test(arguments: [
    [:], ["streamtype": "data"], ["streamtype": "data", "port": "0"],
    ["streamtype": "data", "port": "70000"],
    ["streamtype": "stdin", "port": "80"], ["port": "80"],
  ])
  func `a stream without a port or a type is reset`(headers: [String: String]) async throws {
    let server = try await forwarder()
    let client = try await ForwardClient.connect(server.localAddress?.port ?? 0)
    let fields = headers.map { SPDYHeaders.Field(name: $0.key, value: $0.value) }
    let id = try await client.open(SPDYHeaders(fields))
    #expect(try await eventually { client.reset.withLock { $0 == [id] } })
    client.link.abort()
    try await server.close()
  }

  @Test func `bytes that are no SPDY end the connection`() async throws {
    let server = try await forwarder()
    let client = try await ForwardClient.connect(server.localAddress?.port ?? 0)
    client.link.eventLoop.execute {
      client.link.write(ByteBuffer(string: "GET / HTTP/1.1\r\n\r\n\0\0\0\0\u{1}"))
    }
    // "GET " is data of stream 0x47455420, which nobody opened.
    #expect(try await eventually { client.isClosed.withLock { $0 } })
    try await server.close()
  }
}

/// The agent's end for a client without SPDY, and that client's: what came, by channel.
private final class ChannelClient: @unchecked Sendable {
  let link: ByteLink
  private var messages = WebSocketDecoder(isServer: false)
  private var channel: UInt8?
  let seen = Mutex<[UInt8: [UInt8]]>([:])
  let closed = Mutex<UInt16?>(nil)

  static func connect(_ kind: ChannelProtocol, _ ports: [Int]) async throws -> (any Channel, ChannelClient) {
    let server = try await listen { channel in
      let link = ByteLink(channel: channel)
      try channel.pipeline.syncOperations.addHandler(link)
      ChannelForwardSession(
        client: link, pod: ForwardedPod(sandbox: "sandbox", netnsPath: nil), kind: kind,
        ports: ports.map { UInt16($0) }
      ).start()
    }
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ByteLink(channel: channel))
        }
      }.connect(host: "127.0.0.1", port: server.localAddress?.port ?? 0).get()
    let client = try await channel.eventLoop.submit {
      ChannelClient(try channel.pipeline.syncOperations.handler(type: ByteLink.self))
    }.get()
    return (server, client)
  }

  private init(_ link: ByteLink) {
    self.link = link
    link.start(
      onRead: { bytes in
        self.messages.append(bytes)
        while let event = try? self.messages.next() {
          switch event {
          case .data(_, var piece, let isStart, _):
            if isStart { self.channel = piece.readInteger() }
            if let channel = self.channel {
              self.seen.withLock { $0[channel, default: []] += piece.readableBytesView }
            }
          case .close(let code): self.closed.withLock { $0 = code }
          default: continue
          }
        }
      }, onClose: {})
  }

  /// A masked message; the mask is zero.
  func send(_ bytes: [UInt8]) {
    var out = ByteBuffer()
    WebSocketEncoder.head(.binary, length: bytes.count, into: &out)
    out.setInteger((out.getInteger(at: 1, as: UInt8.self) ?? 0) | 0x80, at: 1)
    out.writeInteger(UInt32(0))
    out.writeBytes(bytes)
    link.eventLoop.execute { [out] in self.link.write(out) }
  }

  func text(_ channel: UInt8) -> String {
    seen.withLock { String(decoding: ($0[channel] ?? []).dropFirst(2), as: UTF8.self) }
  }
}

@Suite(.serialized) struct ChannelForwardTests {
  @Test func `each port has its channels, led by its number, and its own bytes`() async throws {
    let (first, second) = (try await echoServer(), try await echoServer())
    let ports = [first, second].map { $0.localAddress?.port ?? 0 }
    let (server, client) = try await ChannelClient.connect(.v4, ports)
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    client.send([0] + bytes)
    client.send([2] + Array("two".utf8))
    #expect(
      try await eventually {
        client.seen.withLock { $0[0]?.count == bytes.count + 2 && $0[2]?.count == 5 }
      })
    let seen = client.seen.withLock { $0 }
    for (channel, port) in [(0, ports[0]), (1, ports[0]), (2, ports[1]), (3, ports[1])] {
      #expect(seen[UInt8(channel)]?.prefix(2) == [UInt8(port & 0xff), UInt8(port >> 8)])
    }
    #expect(seen[0]?.dropFirst(2).elementsEqual(bytes) == true && client.text(2) == "two")
    client.link.abort()
    for channel in [first, second, server] { try await channel.close() }
  }

  @Test func `a port where nobody listens says so on its error channel; the last port ends it`() async throws
  {
    let free = try await echoServer()
    let port = free.localAddress?.port ?? 0
    try await free.close()
    let (server, client) = try await ChannelClient.connect(.v4, [port])
    #expect(try await eventually { client.closed.withLock { $0 == 1000 } })
    #expect(client.text(1).hasPrefix("error forwarding port \(port) to pod sandbox, uid : "))
    #expect(client.text(1).contains("connection refused"))
    client.link.abort()
    try await server.close()
  }

  @Test func `version 5 can end what it sends, and gets the rest`() async throws {
    let echo = try await echoServer()
    let (server, client) = try await ChannelClient.connect(.v5, [echo.localAddress?.port ?? 0])
    client.send([0] + Array("all".utf8))
    client.send([255, 0])
    #expect(try await eventually { client.closed.withLock { $0 == 1000 } })
    #expect(client.text(0) == "all")
    client.link.abort()
    for channel in [echo, server] { try await channel.close() }
  }

  @Test(arguments: [[1, 65], [2, 65], [255, 0], [9]] as [[UInt8]])
  func `a channel that is not the client's ends it`(message: [UInt8]) async throws {
    let echo = try await echoServer()
    let (server, client) = try await ChannelClient.connect(.v4, [echo.localAddress?.port ?? 0])
    client.send(message)
    #expect(try await eventually { client.closed.withLock { $0 == 1008 } })
    client.link.abort()
    for channel in [echo, server] { try await channel.close() }
  }
}
