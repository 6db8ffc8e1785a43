// HTTP/1.1 over TLS to one server: whole answers for requests, pieces as they come for watches. Connections are kept and used
// again; at most `idleMax` wait.

import Diagnostics
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// An answer with its body.
struct HTTPAnswer: Sendable {
  var status: Int
  var headers: HTTPHeaders
  var body: [UInt8]
}

/// One server. All functions may be called from any task.
final class HTTPTransport: Sendable {
  /// Connections kept for the next request.
  static let idleMax = 8
  /// The largest body of a whole answer: lists of a large cluster fit, a runaway server does not.
  static let bodyBytesMax = 512 << 20

  private let host: String
  private let port: Int
  private let tls: NIOSSLContext?
  private let serverName: String?
  private let object: String
  private let idle = NIOLockedValueBox<[any Channel]>([])

  init(_ configuration: ClientConfiguration) throws(WeftError) {
    object = "server \(configuration.server)"
    var rest = configuration.server[...]
    var isTLS = false
    if rest.hasPrefix("https://") {
      isTLS = true
      rest = rest.dropFirst(8)
    } else if rest.hasPrefix("http://") {
      rest = rest.dropFirst(7)
    }
    rest = rest.prefix { $0 != "/" }
    var name = String(rest)
    var number = isTLS ? 443 : 80
    if let colon = rest.lastIndex(of: ":"), let parsed = Int(rest[rest.index(after: colon)...]) {
      name = String(rest[..<colon])
      number = parsed
    }
    if name.hasPrefix("["), name.hasSuffix("]") { name = String(name.dropFirst().dropLast()) }
    host = name
    port = number
    serverName = configuration.serverName
    guard isTLS else {
      tls = nil
      return
    }
    do {
      var settings = TLSConfiguration.makeClientConfiguration()
      settings.applicationProtocols = ["http/1.1"]
      if configuration.isInsecure { settings.certificateVerification = .none }
      if let authority = configuration.authority {
        settings.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.utf8)))
      }
      if let certificate = configuration.clientCertificate, let key = configuration.clientKey {
        settings.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(certificate.utf8)).map {
          .certificate($0)
        }
        settings.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem))
      }
      tls = try NIOSSLContext(configuration: settings)
    } catch {
      throw WeftError(
        "CLI0023", object: object, cause: "the kubeconfig's certificates cannot be used (\(error))",
        next: "get a fresh kubeconfig", underlying: error)
    }
  }

  /// Sends a request and returns its whole answer. A kept connection that turns out dead is replaced once.
  func send(_ head: HTTPRequestHead, _ body: [UInt8]?) async throws -> HTTPAnswer {
    while let kept = idle.withLockedValue({ $0.popLast() }) {
      guard kept.isActive else { continue }
      do {
        return try await exchange(on: kept, head, body)
      } catch is ClosedBeforeAnswer {
        // The server had closed it: nothing was done with the request.
        break
      }
    }
    do {
      return try await exchange(on: connect(), head, body)
    } catch is ClosedBeforeAnswer {
      throw unreachable("it closed the connection without an answer", nil)
    }
  }

  private func exchange(on channel: any Channel, _ head: HTTPRequestHead, _ body: [UInt8]?) async throws
    -> HTTPAnswer
  {
    let collector = WholeAnswer(channel.eventLoop.makePromise(of: HTTPAnswer.self))
    try await write(channel, head, body, collector)
    let answer = try await collector.promise.futureResult.get()
    let isKept = !answer.headers["connection"].contains("close") && channel.isActive
    let hasRoom =
      isKept
      && idle.withLockedValue { idle in
        guard idle.count < Self.idleMax else { return false }
        idle.append(channel)
        return true
      }
    if !hasRoom { channel.close(promise: nil) }
    return answer
  }

  /// Sends a request whose answer goes on: its status, and the body in pieces. Ending the stream closes the connection.
  func stream(_ head: HTTPRequestHead) async throws -> (
    status: Int, pieces: AsyncThrowingStream<[UInt8], any Error>
  ) {
    let channel = try await connect()
    let (pieces, output) = AsyncThrowingStream.makeStream(of: [UInt8].self, throwing: (any Error).self)
    output.onTermination = { _ in channel.close(promise: nil) }
    let receiver = StreamedAnswer(channel.eventLoop.makePromise(of: Int.self), output)
    try await write(channel, head, nil, receiver)
    do {
      return (try await receiver.status.futureResult.get(), pieces)
    } catch is ClosedBeforeAnswer {
      throw unreachable("it closed the connection without an answer", nil)
    }
  }

  private func write(
    _ channel: any Channel, _ head: HTTPRequestHead, _ body: [UInt8]?, _ receiver: any AnswerReceiver
  ) async throws {
    var head = head
    head.headers.replaceOrAdd(
      name: "host", value: host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)")
    if let body { head.headers.replaceOrAdd(name: "content-length", value: "\(body.count)") }
    let complete = head
    try await channel.eventLoop.submit {
      try channel.pipeline.syncOperations.handler(type: AnswerHandler.self).receiver = receiver
      channel.write(HTTPClientRequestPart.head(complete), promise: nil)
      if let body {
        channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
      }
      channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }.get()
  }

  private func connect() async throws -> any Channel {
    let tls = tls
    let name = serverName ?? (IsAddress.check(host) ? nil : host)
    do {
      return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connectTimeout(.seconds(10))
        .channelOption(.tcpOption(.tcp_nodelay), value: 1)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            if let tls { try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: name)) }
            try pipeline.addHTTPClientHandlers()
            try pipeline.addHandler(AnswerHandler())
          }
        }
        .connect(host: host, port: port).get()
    } catch {
      throw unreachable("does not answer (\(error))", error)
    }
  }

  private func unreachable(_ cause: String, _ error: (any Error)?) -> WeftError {
    WeftError(
      "CLI0024", object: object, cause: cause,
      next: "check that it runs: kubectl cluster-info; or start one: weft up",
      exit: .unreachable, isRetryable: true, underlying: error)
  }

  func close() {
    for channel in idle.withLockedValue({ idle in
      defer { idle = [] }
      return idle
    }) { channel.close(promise: nil) }
  }
}

/// The server closed a connection before it began to answer.
struct ClosedBeforeAnswer: Error {}

private enum IsAddress {
  /// TLS server names must not be addresses (RFC 6066 section 3).
  static func check(_ host: String) -> Bool { (try? SocketAddress(ipAddress: host, port: 0)) != nil }
}
