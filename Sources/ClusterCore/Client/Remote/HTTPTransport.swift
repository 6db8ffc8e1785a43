// Connections to one API server: a bounded pool for requests, one each for watches.

import Diagnostics
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

final class HTTPTransport: Sendable {
  static let idleMax = 8
  static let requestTimeout: TimeAmount = .seconds(60)

  let host: String
  let port: Int
  let pathPrefix: String
  /// `host:port`, as people know the server.
  let server: String
  private let config: Kubeconfig
  /// Replaced when the client's certificate is.
  private let tls: Mutex<NIOSSLContext?>
  private let tlsName: String?
  private let group = MultiThreadedEventLoopGroup.singleton
  private let idle = Mutex<[any Channel]>([])

  init(_ config: Kubeconfig) throws(WeftError) {
    let isTLS = config.server.hasPrefix("https://")
    guard isTLS || config.server.hasPrefix("http://"), let schemeEnd = config.server.firstRange(of: "://")
    else {
      throw WeftError(
        "CLI0104", object: config.server, cause: "a server's address begins with https:// or http://",
        next: "correct `server` in the kubeconfig")
    }
    let rest = config.server[schemeEnd.upperBound...]
    let authority = rest.prefix { $0 != "/" }
    pathPrefix = String(rest.dropFirst(authority.count)).trimmingSlash
    var hostPart = authority[...]
    var portPart: Substring?
    if authority.hasPrefix("["), let close = authority.firstIndex(of: "]") {
      hostPart = authority[authority.index(after: authority.startIndex)..<close]
      portPart = authority[close...].dropFirst().hasPrefix(":") ? authority[close...].dropFirst(2) : nil
    } else if let colon = authority.lastIndex(of: ":") {
      hostPart = authority[..<colon]
      portPart = authority[authority.index(after: colon)...]
    }
    host = String(hostPart)
    port = portPart.flatMap { Int($0) } ?? (isTLS ? 443 : 80)
    server = "\(authority)"
    let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
    tlsName = config.tlsServerName ?? (isAddress ? nil : host)
    self.config = config
    tls = Mutex(isTLS ? try Self.context(config) : nil)
  }

  /// New connections show this certificate, and those that wait for a request are closed; what is under way goes on.
  func show(certificate: [UInt8], key: [UInt8]) throws(WeftError) {
    var config = config
    config.clientCertificate = certificate
    config.clientKey = key
    let next = try Self.context(config)
    tls.withLock { tls in if tls != nil { tls = next } }
    let waiting = idle.withLock { idle in
      defer { idle = [] }
      return idle
    }
    for channel in waiting { channel.close(promise: nil) }
  }

  deinit { for channel in idle.withLock({ $0 }) { channel.close(promise: nil) } }

  private static func context(_ config: Kubeconfig) throws(WeftError) -> NIOSSLContext {
    do {
      var settings = TLSConfiguration.makeClientConfiguration()
      settings.applicationProtocols = ["http/1.1"]
      if let authority = config.certificateAuthority {
        settings.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(authority))
      }
      if config.skipsVerification { settings.certificateVerification = .none }
      if let certificate = config.clientCertificate, let key = config.clientKey {
        settings.certificateChain = try NIOSSLCertificate.fromPEMBytes(certificate).map { .certificate($0) }
        settings.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: key, format: .pem))
      }
      return try NIOSSLContext(configuration: settings)
    } catch {
      throw WeftError(
        "CLI0105", object: config.server, cause: "the certificates of the kubeconfig cannot be used",
        next: "check certificate-authority, client-certificate and client-key", underlying: error)
    }
  }

  // MARK: Exchanges

  /// Sends a request and waits for its whole answer. A read whose kept connection turns out closed is sent
  /// once more.
  func send(_ head: HTTPRequestHead, body: [UInt8]?) async throws -> WholeResponse.Answer {
    while true {
      let kept = takeIdle()
      let channel: any Channel
      if let kept { channel = kept } else { channel = try await connect() }
      do {
        return try await exchange(on: channel, head, body)
      } catch let closed as ConnectionClosed where kept != nil && !closed.hadResponse && head.method == .GET {
        continue
      } catch let error as IOError where kept != nil && head.method == .GET {
        _ = error
        continue
      } catch { throw unreachable(error) }
    }
  }

  private func exchange(on channel: any Channel, _ head: HTTPRequestHead, _ body: [UInt8]?) async throws
    -> WholeResponse.Answer
  {
    let promise = channel.eventLoop.makePromise(of: WholeResponse.Answer.self)
    let exchange = HTTPExchange(
      head: head, body: body.map { channel.allocator.buffer(bytes: $0) }, sink: WholeResponse(promise))
    let timeout = channel.eventLoop.scheduleTask(in: Self.requestTimeout) {
      promise.fail(ChannelError.connectTimeout(Self.requestTimeout))
      channel.close(promise: nil)
    }
    channel.writeAndFlush(exchange).whenFailure { promise.fail($0) }
    let answer = try await withTaskCancellationHandler {
      defer { timeout.cancel() }
      return try await promise.futureResult.get()
    } onCancel: {
      promise.fail(CancellationError())
      channel.close(promise: nil)
    }
    if answer.keepsAlive { keep(channel) }
    return answer
  }

  /// Opens a watch on a connection of its own, which closes when the handle is released.
  func stream(_ head: HTTPRequestHead) async throws -> (status: Int, watch: WatchHandle) {
    let channel = try await connect()
    let promise = channel.eventLoop.makePromise(of: Int.self)
    let reader = WatchReader(channel: channel, head: promise)
    let handle = WatchHandle(reader: reader, channel: channel)
    channel.writeAndFlush(HTTPExchange(head: head, body: nil, sink: reader)).whenFailure { promise.fail($0) }
    do {
      let status = try await withTaskCancellationHandler {
        try await promise.futureResult.get()
      } onCancel: {
        promise.fail(CancellationError())
        channel.close(promise: nil)
      }
      return (status, handle)
    } catch { throw unreachable(error) }
  }

  // MARK: Connections

  private func takeIdle() -> (any Channel)? {
    idle.withLock { idle in
      while let channel = idle.popLast() { if channel.isActive { return channel } }
      return nil
    }
  }

  private func keep(_ channel: any Channel) {
    let isKept = idle.withLock { idle in
      guard channel.isActive, idle.count < Self.idleMax else { return false }
      idle.append(channel)
      return true
    }
    if !isKept { channel.close(promise: nil) }
  }

  private func connect() async throws -> any Channel {
    let tls = tls.withLock { $0 }
    let tlsName = tlsName
    do {
      return try await ClientBootstrap(group: group)
        .connectTimeout(.seconds(10))
        .channelOption(.socketOption(.so_keepalive), value: 1)
        .channelOption(.tcpOption(.tcp_nodelay), value: 1)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            if let tls { try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: tlsName)) }
            try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .fireError)
            try pipeline.addHandler(ExchangeHandler())
          }
        }.connect(host: host, port: port).get()
    } catch { throw unreachable(error) }
  }

  private func unreachable(_ error: any Error) -> any Error {
    if error is CancellationError || error is WeftError { return error }
    let isTrust = error is NIOSSLError || error is NIOSSLExtraError || error is BoringSSLError
    return WeftError(
      isTrust ? "API0101" : "API0100", object: server,
      cause: isTrust ? "its certificate is not trusted, or it does not trust ours" : Self.cause(error),
      next: isTrust
        ? "check certificate-authority in the kubeconfig, and the clocks"
        : "check that the API server runs: weft status, or curl -k https://\(server)/readyz",
      exit: .unreachable, isRetryable: true, underlying: error)
  }

  private static func cause(_ error: any Error) -> String {
    if error is ConnectionClosed { return "the server closed the connection" }
    if case .connectTimeout = error as? ChannelError { return "no answer in time" }
    let text = "\(error)"
    if text.contains("refused") || text.contains("errno: 111") { return "connection refused" }
    return "cannot be reached"
  }
}

extension String {
  fileprivate var trimmingSlash: String { hasSuffix("/") ? String(dropLast()) : self }
}
