// A connection to a program of this machine that serves by gRPC on a unix socket, with a bound on each call.

import GRPCCore
import GRPCNIOTransportHTTP2Posix

/// Connects when it is first asked something. Safe from any thread; `close` once.
final class PluginConnection: Sendable {
  typealias Transport = HTTP2ClientTransport.Posix
  /// A plugin serves before it registers, so this is generous.
  static let connectTimeout: Duration = .seconds(10)
  static let callTimeout: Duration = .seconds(30)

  let path: String
  let client: GRPCClient<Transport>
  private let connections: Task<Void, Never>

  /// Throws when there can be no transport at all.
  init(_ path: String) throws {
    self.path = path
    let client = GRPCClient<Transport>(transport: try .unixSocket(path))
    self.client = client
    connections = Task { try? await client.runConnections() }
  }

  func close() {
    client.beginGracefulShutdown()
    connections.cancel()
  }

  deinit { client.beginGracefulShutdown() }

  /// One request, one answer.
  func call<Request: WireMessage, Response: WireMessage>(
    _ method: MethodDescriptor, _ request: Request, timeout: Duration = PluginConnection.callTimeout
  ) async throws -> Response {
    var options = CallOptions.defaults
    options.timeout = timeout
    options.waitForReady = true
    return try await client.unary(
      request: ClientRequest(message: request), descriptor: method, serializer: WireSerializer<Request>(),
      deserializer: WireDeserializer<Response>(), options: options
    ) { try $0.message }
  }
}
