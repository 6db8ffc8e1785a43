// Upstream servers over TLS: one connection a server, opened when there is a question, shared by all threads' questions while it
// lasts (RFC 7858 section 3.4), closed when nothing is asked for a while.

import Addresses
import Diagnostics
import NIOCore
import NIOPosix
import NIOSSL

/// How a route's encrypted servers are told apart from forgers.
public struct UpstreamTLS: Sendable, Hashable {
  /// The name their certificate must have, unless it has their address; nil: their address alone.
  public var serverName: String?
  /// PEM of the authority; nil: those the machine trusts.
  public var authority: String?
  /// What we show them, when they ask.
  public var certificate: String?
  public var key: String?
  /// Names for single servers, which go before `serverName`.
  public var serverNames: [SocketEndpoint: String] = [:]
  /// Seconds that a connection is kept without a question, and at most; nil for no bound.
  public var idleSeconds = 10.0
  public var ageSecondsMax: Double?
  public init() {}

  func context() throws(WeftError) -> NIOSSLContext {
    do {
      var tls = TLSConfiguration.makeClientConfiguration()
      tls.minimumTLSVersion = .tlsv12
      tls.applicationProtocols = ["dot"]
      if let authority {
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.utf8)))
      }
      if let certificate, let key {
        tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(certificate.utf8)).map {
          .certificate($0)
        }
        tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem))
      }
      return try NIOSSLContext(configuration: tls)
    } catch {
      throw WeftError(
        "DNS0021", object: "forward tls://", cause: "certificate and key cannot be used: \(error)",
        next: "name PEM files: tls CERTIFICATE KEY AUTHORITY, or tls AUTHORITY")
    }
  }
}

/// One server. `ask` from any thread; everything else happens on the loop.
final class TLSUpstream: Sendable {
  /// Questions that wait for one server; more fail at once.
  static let pendingMax = 1000

  typealias Answered = @Sendable ([UInt8]?) -> Void

  fileprivate enum Link {
    case none
    case connecting([(query: [UInt8], answered: Answered)])
    case open(UpstreamStream)
  }

  private let endpoint: SocketEndpoint
  private let serverName: String?
  private let context: NIOSSLContext
  private let loop: any EventLoop
  private let link: NIOLoopBoundBox<Link>
  private let idle: TimeAmount
  private let age: TimeAmount?
  private let source: IPAddress?
  private let hits: Counter
  private let misses: Counter

  init(
    _ endpoint: SocketEndpoint, _ route: ForwardRoute, _ context: NIOSSLContext, _ loop: any EventLoop,
    _ metrics: ForwardMetrics
  ) {
    self.endpoint = endpoint
    let serverName = route.tls.serverNames[endpoint] ?? route.tls.serverName
    // A connection that is not kept at all could carry no question.
    idle = .nanoseconds(Int64(max(0.001, route.tls.idleSeconds) * 1e9))
    age = route.tls.ageSecondsMax.map { .nanoseconds(Int64(max(0.001, $0) * 1e9)) }
    source = route.source
    hits = metrics.connectionHits.child("forward", "\(endpoint)", "tcp-tls")
    misses = metrics.connectionMisses.child("forward", "\(endpoint)", "tcp-tls")
    // An address is not sent as a name: it is compared with those in the certificate.
    self.serverName = serverName.flatMap { IPAddress($0) == nil ? $0 : nil }
    self.context = context
    self.loop = loop
    link = .makeBoxSendingValue(.none, eventLoop: loop)
  }

  /// The servers of a route that are asked over TLS, nil for others.
  static func all(_ route: ForwardRoute, _ loop: any EventLoop, _ metrics: ForwardMetrics) throws(WeftError)
    -> [TLSUpstream?]
  {
    guard !route.encryptedUpstreams.isEmpty else { return route.upstreams.map { _ in nil } }
    let context = try route.tls.context()
    return route.upstreams.map {
      route.encryptedUpstreams.contains($0) ? TLSUpstream($0, route, context, loop, metrics) : nil
    }
  }

  /// Sends a query. `answered` is called once, with nothing when there will be no answer.
  func ask(_ query: [UInt8], answered: @escaping Answered) {
    loop.execute { self.send(query, answered) }
  }

  private func send(_ query: [UInt8], _ answered: @escaping Answered) {
    switch link.value {
    case .open(let stream):
      hits.increment()
      stream.send(query, answered)
    case .connecting(var waiting):
      hits.increment()
      guard waiting.count < Self.pendingMax else { return answered(nil) }
      waiting.append((query, answered))
      link.value = .connecting(waiting)
    case .none:
      misses.increment()
      link.value = .connecting([(query, answered)])
      connect()
    }
  }

  private func connect() {
    let context = context
    let serverName = serverName
    let idle = idle
    var bootstrap = ClientBootstrap(group: loop)
    if let source, let local = try? NIOCore.SocketAddress(ipAddress: "\(source)", port: 0) {
      bootstrap = bootstrap.bind(to: local)
    }
    let connected =
      bootstrap
      .connectTimeout(.seconds(2))
      .channelOption(.socketOption(.tcp_nodelay), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandlers(
            try NIOSSLClientHandler(context: context, serverHostname: serverName),
            IdleStateHandler(allTimeout: idle), UpstreamStream(self))
        }
      }
      .connect(host: "\(endpoint.address)", port: Int(endpoint.port))
    connected.assumeIsolated().whenFailure { _ in self.ended() }
  }

  fileprivate func opened(_ stream: UpstreamStream) {
    guard case .connecting(let waiting) = link.value else { return }
    link.value = .open(stream)
    if let age { stream.retire(after: age) }
    for (query, answered) in waiting { stream.send(query, answered) }
  }

  /// The connection takes no more questions, or has ended, perhaps beside its successor; the next question opens another.
  fileprivate func retired(_ stream: UpstreamStream) {
    if case .open(let current) = link.value, current === stream { link.value = .none }
  }

  fileprivate func ended() {
    if case .connecting(let waiting) = link.value {
      link.value = .none
      for (_, answered) in waiting { answered(nil) }
    }
    link.value = .none
  }
}

/// The connection: numbers questions anew, so that no two on it have the same number, and takes answers in any order.
private final class UpstreamStream: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private struct Waiting {
    var id: (UInt8, UInt8)
    var answered: TLSUpstream.Answered
  }

  private let owner: TLSUpstream
  private var context: ChannelHandlerContext?
  private var pending: [UInt16: Waiting] = [:]
  private var input = ByteBuffer()
  private var isRetired = false

  init(_ owner: TLSUpstream) { self.owner = owner }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent {
      // A question that waits is not idleness, however short the time that a connection is kept.
      if pending.isEmpty { context.close(promise: nil) }
      return
    }
    context.fireUserInboundEventTriggered(event)
  }

  /// Connected. What is written before the handshake is done waits for it.
  func channelActive(context: ChannelHandlerContext) {
    owner.opened(self)
    context.fireChannelActive()
  }

  func send(_ query: [UInt8], _ answered: @escaping TLSUpstream.Answered) {
    guard let context, pending.count < TLSUpstream.pendingMax, query.count >= Header.byteCount else {
      return answered(nil)
    }
    var free = UInt16.random(in: 0...UInt16.max)
    while pending[free] != nil { free &+= 1 }
    let id = free
    pending[id] = Waiting(id: (query[0], query[1]), answered: answered)
    var buffer = context.channel.allocator.buffer(capacity: query.count + 2)
    buffer.writeInteger(UInt16(truncatingIfNeeded: query.count))
    buffer.writeInteger(id)
    buffer.writeBytes(query[2...])
    context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    // Whoever asked has given up by then.
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    context.eventLoop.scheduleTask(in: .nanoseconds(Int64(ForwardExchange.totalNanoseconds))) {
      bound.value.pending[id] = nil
      bound.value.closeWhenDone()
    }
  }

  /// Ends the connection after a while, when what was asked over it has been answered.
  func retire(after age: TimeAmount) {
    guard let context else { return }
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    context.eventLoop.scheduleTask(in: age) {
      bound.value.owner.retired(bound.value)
      bound.value.isRetired = true
      bound.value.closeWhenDone()
    }
  }

  private func closeWhenDone() {
    if isRetired, pending.isEmpty { context?.close(promise: nil) }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var buffer = unwrapInboundIn(data)
    input.writeBuffer(&buffer)
    while let length = input.getInteger(at: input.readerIndex, as: UInt16.self) {
      guard length >= Header.byteCount else { return context.close(promise: nil) }
      guard input.readableBytes >= 2 + Int(length) else { break }
      input.moveReaderIndex(forwardBy: 2)
      guard var answer = input.readBytes(length: Int(length)) else { break }
      guard let waiting = pending.removeValue(forKey: UInt16(answer[0]) << 8 | UInt16(answer[1])) else {
        continue
      }
      (answer[0], answer[1]) = waiting.id
      waiting.answered(answer)
    }
    input.discardReadBytes()
    closeWhenDone()
  }

  func channelInactive(context: ChannelHandlerContext) {
    owner.retired(self)
    let left = pending
    pending = [:]
    for waiting in left.values { waiting.answered(nil) }
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
