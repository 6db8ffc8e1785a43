// The listener: TLS, HTTP/2 or HTTP/1.1 by ALPN, client certificates asked for but not demanded.

import ClusterStreams
import Diagnostics
import Glibc
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL
import Synchronization

/// How long a client may take. Upstream's figures.
public struct ConnectionLimits: Sendable {
  /// For a request's head, the TLS handshake included: kube-apiserver's ReadHeaderTimeout.
  public var head: Duration = .seconds(32)
  /// For the body of a request that is answered as a whole: kube-apiserver's --request-timeout.
  public var body: Duration = .seconds(60)
  public init() {}
}

final class HTTPListener: Sendable {
  private let channel: any Channel
  private let group: any EventLoopGroup
  private let connections: Connections
  private let shown: ShownCertificate
  var port: Int { channel.localAddress?.port ?? 0 }

  private init(
    channel: any Channel, group: any EventLoopGroup, connections: Connections, shown: ShownCertificate
  ) {
    self.channel = channel
    self.group = group
    self.connections = connections
    self.shown = shown
  }

  /// New connections are shown this certificate, and named these authorities. Throws what the TLS library says of them.
  func use(_ certificate: CertifiedKey, authority: String) throws {
    try shown.use(certificate, authority: authority)
  }

  /// Binds and serves. Errors: `API0001` the address is taken or not ours, `API0004` the certificate does
  /// not load.
  static func start(
    host: String, port: Int, certificate: CertifiedKey, authority: String, group: any EventLoopGroup,
    limits: ConnectionLimits = ConnectionLimits(),
    isPassedOn: @escaping @Sendable ([String]) -> Bool = { _ in false }, respond: @escaping Responder
  ) async throws -> HTTPListener {
    let shown = try ShownCertificate(certificate, authority: authority)
    let connections = Connections()
    let drains = StreamDrains(group)
    let executors = LoopExecutors(group)
    let http2 = Self.http2

    let bootstrap = ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 1024)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
      .childChannelInitializer { channel in
        connections.add(channel)
        let peer = Peer()
        let timer = HeadTimer(channel: channel, limit: TimeAmount(limits.head))
        let bodyLimit = TimeAmount(limits.body)
        return channel.eventLoop.makeCompletedFuture {
          // Any certificate is let in and judged at the first request: one that is not ours, or too old, is
          // answered with 401 as upstream does, and a token beside it still counts.
          let tls = NIOSSLServerHandler(context: shown.context) { certificates, verdict in
            peer.show(certificates.compactMap { try? $0.toDERBytes() })
            verdict.succeed(.certificateVerified)
          }
          try channel.pipeline.syncOperations.addHandlers(tls, timer)
        }.flatMap {
          channel.configureHTTP2SecureUpgrade(
            h2ChannelConfigurator: { channel in
              channel.eventLoop.makeCompletedFuture {
                // An event for all watches of a connection fits, so that each of its streams is not told of every
                // write to the socket.
                try channel.syncOptions?.setOption(.writeBufferWaterMark, value: Self.connectionBytes)
                let load = ConnectionLoad()
                let gatherer = WriteGatherer(load: load)
                let splice = FrameSplice(gatherer: gatherer)
                try channel.pipeline.syncOperations.addHandlers(gatherer, splice)
                let connection = HTTP2Connection(load: load, splice: splice)
                _ = try channel.pipeline.syncOperations.configureHTTP2Pipeline(
                  mode: .server, connectionConfiguration: http2.connection, streamConfiguration: http2.stream
                ) { stream in
                  stream.eventLoop.makeCompletedFuture {
                    try stream.pipeline.syncOperations.addHandler(HTTP2FramePayloadToHTTP1ServerCodec())
                    try stream.pipeline.syncOperations.addHandler(
                      HTTPHandler(
                        respond: respond, peer: peer, timer: timer, bodyLimit: bodyLimit,
                        drain: drains[stream.eventLoop], executor: executors[stream.eventLoop],
                        connection: connection,
                        isPassedOn: isPassedOn)
                    )
                  }
                }
              }
            },
            http1ChannelConfigurator: { channel in
              channel.eventLoop.makeCompletedFuture {
                try HTTPServerCodec.add(to: channel)
                try channel.pipeline.syncOperations.addHandler(
                  HTTPHandler(
                    respond: respond, peer: peer, timer: timer, bodyLimit: bodyLimit,
                    drain: drains[channel.eventLoop], executor: executors[channel.eventLoop],
                    isPassedOn: isPassedOn))
              }
            })
        }
      }
    do {
      let channel = try await bootstrap.bind(host: host, port: port).get()
      return HTTPListener(channel: channel, group: group, connections: connections, shown: shown)
    } catch {
      throw unbound(host: host, port: port, error)
    }
  }

  /// Bytes that wait for one HTTP/2 connection's socket before its streams are asked to wait.
  private static let connectionBytes = ChannelOptions.Types.WriteBufferWaterMark(
    low: 256 << 10, high: 1 << 20)

  private static var http2:
    (connection: NIOHTTP2Handler.ConnectionConfiguration, stream: NIOHTTP2Handler.StreamConfiguration)
  {
    var connection = NIOHTTP2Handler.ConnectionConfiguration()
    connection.initialSettings = [
      HTTP2Setting(parameter: .maxConcurrentStreams, value: 1000),
      HTTP2Setting(parameter: .maxHeaderListSize, value: 1 << 16),
      HTTP2Setting(parameter: .initialWindowSize, value: 1 << 20),
    ]
    connection.targetWindowSize = 1 << 20
    var stream = NIOHTTP2Handler.StreamConfiguration()
    stream.targetWindowSize = 1 << 20
    stream.outboundBufferSizeHighWatermark = 64 << 10
    stream.outboundBufferSizeLowWatermark = 32 << 10
    // A client that ends all its watches at once resets as many streams as it may have open.
    stream.streamResetFrameRateLimit.maximumCount = 2000
    return (connection, stream)
  }

  private static func unbound(host: String, port: Int, _ error: any Error) -> WeftError {
    let code = (error as? IOError)?.errnoCode ?? 0
    let cause: String
    let next: String
    switch code {
    case EADDRINUSE:
      cause = "the port is taken by another program, perhaps another weft or a Kubernetes API server"
      next = "see who holds it: ss -ltnp 'sport = :\(port)'; or choose another with --listen \(host):PORT"
    case EADDRNOTAVAIL:
      cause = "this machine has no such address"
      next = "list its addresses (ip -br address) and give one to --listen"
    case EACCES:
      cause = "not allowed to use this port"
      next = "run as root, or choose a port above 1023 with --listen"
    default:
      cause = "cannot listen: \(error)"
      next = "choose another address with --listen"
    }
    return WeftError("API0001", object: "\(host):\(port)", cause: cause, next: next, underlying: error)
  }

  /// Stops accepting, lets answers under way finish for `grace`, closes what is left.
  func shutdown(grace: Duration) async {
    try? await channel.close().get()
    await connections.close(after: grace)
  }
}

/// What new connections are shown.
private final class ShownCertificate: Sendable {
  private let state: Mutex<NIOSSLContext>
  var context: NIOSSLContext { state.withLock { $0 } }

  init(_ certificate: CertifiedKey, authority: String) throws {
    state = Mutex(try Self.context(certificate, authority))
  }

  func use(_ certificate: CertifiedKey, authority: String) throws {
    let context = try Self.context(certificate, authority)
    state.withLock { $0 = context }
  }

  private static func context(_ certificate: CertifiedKey, _ authority: String) throws -> NIOSSLContext {
    var tls = TLSConfiguration.makeServerConfiguration(
      certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(certificate.certificate.utf8)).map {
        .certificate($0)
      },
      privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(certificate.key.utf8), format: .pem)))
    // Named to clients, so that they know which of their certificates to show.
    tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.utf8)))
    tls.certificateVerification = .optionalVerification
    tls.sendCANameList = true
    tls.applicationProtocols = ["h2", "http/1.1"]
    tls.minimumTLSVersion = .tlsv12
    return try NIOSSLContext(configuration: tls)
  }
}

/// The open connections, so that a shutdown can end them.
private final class Connections: Sendable {
  private let open = Mutex<[ObjectIdentifier: any Channel]>([:])

  func add(_ channel: any Channel) {
    let id = ObjectIdentifier(channel)
    open.withLock { $0[id] = channel }
    channel.closeFuture.whenComplete { _ in self.open.withLock { _ = $0.removeValue(forKey: id) } }
  }

  func close(after grace: Duration) async {
    let start = ContinuousClock.now
    while !open.withLock({ $0.isEmpty }), ContinuousClock.now - start < grace {
      try? await Task.sleep(for: .milliseconds(5))
    }
    for channel in open.withLock({ Array($0.values) }) { try? await channel.close().get() }
  }
}
