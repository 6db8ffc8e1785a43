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
  static let idleSeconds: Int64 = 10

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

  init(_ endpoint: SocketEndpoint, _ serverName: String?, _ context: NIOSSLContext, _ loop: any EventLoop) {
    self.endpoint = endpoint
    // An address is not sent as a name: it is compared with those in the certificate.
    self.serverName = serverName.flatMap { IPAddress($0) == nil ? $0 : nil }
    self.context = context
    self.loop = loop
    link = .makeBoxSendingValue(.none, eventLoop: loop)
  }

  /// The servers of a route that are asked over TLS, nil for others.
  static func all(_ route: ForwardRoute, _ loop: any EventLoop) throws(WeftError) -> [TLSUpstream?] {
    guard !route.encryptedUpstreams.isEmpty else { return route.upstreams.map { _ in nil } }
    let context = try route.tls.context()
    return route.upstreams.map {
      route.encryptedUpstreams.contains($0) ? TLSUpstream($0, route.tls.serverName, context, loop) : nil
    }
  }

  /// Sends a query. `answered` is called once, with nothing when there will be no answer.
  func ask(_ query: [UInt8], answered: @escaping Answered) {
    loop.execute { self.send(query, answered) }
  }

  private func send(_ query: [UInt8], _ answered: @escaping Answered) {
    switch link.value {
    case .open(let stream): stream.send(query, answered)
    case .connecting(var waiting):
      guard waiting.count < Self.pendingMax else { return answered(nil) }
      waiting.append((query, answered))
      link.value = .connecting(waiting)
    case .none:
      link.value = .connecting([(query, answered)])
      connect()
    }
  }

  private func connect() {
    let context = context
    let serverName = serverName
    let connected = ClientBootstrap(group: loop)
      .connectTimeout(.seconds(2))
      .channelOption(.socketOption(.tcp_nodelay), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandlers(
            try NIOSSLClientHandler(context: context, serverHostname: serverName),
            IdleStateHandler(allTimeout: .seconds(Self.idleSeconds)), UpstreamStream(self))
        }
      }
      .connect(host: "\(endpoint.address)", port: Int(endpoint.port))
    connected.assumeIsolated().whenFailure { _ in self.ended() }
  }

  fileprivate func opened(_ stream: UpstreamStream) {
    guard case .connecting(let waiting) = link.value else { return }
    link.value = .open(stream)
    for (query, answered) in waiting { stream.send(query, answered) }
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

  init(_ owner: TLSUpstream) { self.owner = owner }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent { return context.close(promise: nil) }
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
    }
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
  }

  func channelInactive(context: ChannelHandlerContext) {
    owner.ended()
    let left = pending
    pending = [:]
    for waiting in left.values { waiting.answered(nil) }
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
