// DNS over TLS (RFC 7858) and over HTTPS (RFC 8484): opens the port, does TLS, and counts connections.

import Addresses
import Diagnostics
import Glibc
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL
import Synchronization

/// Bounds of encrypted connections, of each port.
struct EncryptedLimits: Sendable {
  var connectionsMax: Int
  /// Without a query, and for the handshake.
  var idleSeconds: Int
  /// Queries of one connection that wait for their answers; more are not read.
  var pendingMax: Int
}

/// One encrypted port.
final class EncryptedListener: Sendable {
  private let channel: any Channel
  let endpoint: SocketEndpoint

  private init(_ channel: any Channel, _ endpoint: SocketEndpoint) {
    self.channel = channel
    self.endpoint = endpoint
  }

  /// Opens the port in the network namespace of the group's threads.
  /// - Throws: `DNS0020` when the address cannot be had, `DNS0021` when the certificate cannot be used.
  static func open(
    _ endpoint: SocketEndpoint, _ transport: ServerBlock.Transport, _ credentials: TLSCredentials,
    _ limits: EncryptedLimits, _ group: any EventLoopGroup, metrics: Metrics, door: QueryDoor
  ) throws(WeftError) -> EncryptedListener {
    let isHTTP = transport == .https
    let context = try credentials.context(
      protocols: isHTTP ? ["h2", "http/1.1"] : ["dot"], object: "\(transport.rawValue)://\(endpoint)")
    let connections = Connections(limits.connectionsMax, metrics)
    let bootstrap = ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 256)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      // A server with another configuration begins to listen before this one ends.
      .serverChannelOption(.socketOption(NIOBSDSocket.Option(rawValue: SO_REUSEPORT)), value: 1)
      .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
      .childChannelInitializer { channel in
        guard let peer = SocketEndpoint(channel.remoteAddress), connections.take(channel) else {
          return channel.close()
        }
        let end = channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandlers(
            NIOSSLServerHandler(context: context),
            IdleStateHandler(allTimeout: .seconds(Int64(limits.idleSeconds))), IdleConnectionCloser())
          if !isHTTP {
            try channel.pipeline.syncOperations.addHandler(StreamQueries(door, peer, limits.pendingMax))
          }
        }
        return isHTTP ? end.flatMap { serveHTTP(channel, door, peer) } : end
      }
    let opened: any Channel
    do {
      opened = try bootstrap.bind(host: "\(endpoint.address)", port: Int(endpoint.port)).wait()
    } catch {
      throw WeftError(
        "DNS0020", object: "\(transport.rawValue)://\(endpoint)", cause: "\(error)",
        next: "stop what listens there (ss -ltnp), or choose another port in the Corefile", underlying: error)
    }
    let actual = SocketEndpoint(endpoint.address, UInt16(opened.localAddress?.port ?? Int(endpoint.port)))
    return EncryptedListener(opened, actual)
  }

  /// HTTP/2 or HTTP/1.1, as the client negotiated.
  private static func serveHTTP(_ channel: any Channel, _ door: QueryDoor, _ peer: SocketEndpoint)
    -> EventLoopFuture<Void>
  {
    channel.configureHTTP2SecureUpgrade(
      h2ChannelConfigurator: { channel in
        channel.eventLoop.makeCompletedFuture {
          var connection = NIOHTTP2Handler.ConnectionConfiguration()
          connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: 100),
            HTTP2Setting(parameter: .maxHeaderListSize, value: 16 << 10),
          ]
          _ = try channel.pipeline.syncOperations.configureHTTP2Pipeline(
            mode: .server, connectionConfiguration: connection,
            streamConfiguration: NIOHTTP2Handler.StreamConfiguration()
          ) { stream in
            stream.eventLoop.makeCompletedFuture {
              try stream.pipeline.syncOperations.addHandlers(
                HTTP2FramePayloadToHTTP1ServerCodec(), HTTPQueries(door, peer))
            }
          }
        }
      },
      http1ChannelConfigurator: { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(HTTPQueries(door, peer))
        }
      })
  }

  func close() { channel.close(promise: nil) }
}

/// Counts open connections; those beyond the bound are closed at once.
private final class Connections: Sendable {
  private let count = Atomic<Int>(0)
  private let max: Int
  private let open: Gauge
  private let rejects: Counter

  init(_ max: Int, _ metrics: Metrics) {
    self.max = max
    open = metrics.gauge("weft_dns_encrypted_connections", "Open connections over TLS and HTTPS.").child()
    rejects = metrics.counter(
      "weft_dns_encrypted_connection_rejects_total", "Connections over TLS closed since too many were open."
    ).child()
  }

  func take(_ channel: any Channel) -> Bool {
    guard count.add(1, ordering: .relaxed).newValue <= max else {
      count.subtract(1, ordering: .relaxed)
      rejects.increment()
      return false
    }
    open.add(1)
    channel.closeFuture.whenComplete { [self] _ in
      count.subtract(1, ordering: .relaxed)
      open.add(-1)
    }
    return true
  }
}

/// Closes a connection on which nothing has happened for too long, a handshake that does not end too.
private final class IdleConnectionCloser: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent { return context.close(promise: nil) }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

extension SocketEndpoint {
  init?(_ address: NIOCore.SocketAddress?) {
    guard let address, let text = address.ipAddress, let port = address.port, let parsed = IPAddress(text)
    else {
      return nil
    }
    self.init(parsed, UInt16(port))
  }
}
