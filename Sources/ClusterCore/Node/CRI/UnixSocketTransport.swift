// How the agent calls the gRPC servers of its machine: the container runtime and device plugins, all of them written in Go and
// behind a unix socket.

import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCWindowProbe
import NIOCore

extension HTTP2ClientTransport.Posix {
  /// A transport to the server at `path`, for one `GRPCClient`. It connects when the client runs, and again, after 50 ms to a second,
  /// whenever the server goes away. Throws only when there can be no transport at all.
  static func unixSocket(_ path: String) throws -> HTTP2ClientTransport.Posix {
    var config = Config.defaults
    // grpc-go refuses an authority that is a path.
    config.http2.authority = "localhost"
    config.backoff.initial = .milliseconds(50)
    config.backoff.max = .seconds(1)
    // Idle connections stay: reconnecting costs a pod start some milliseconds.
    config.connection.maxIdleTime = nil
    config.channelDebuggingCallbacks.onCreateTCPConnection = { channel in
      channel.eventLoop.makeCompletedFuture {
        try channel.pipeline.syncOperations.addHandler(WindowProbeFilter(), position: .first)
      }
    }
    return try .http2NIOPosix(
      target: .unixDomainSocket(path: path), transportSecurity: .plaintext, config: config)
  }
}
