// `kubelet.sock`: what the agent serves by gRPC to programs of its own machine, each service in a folder of its own.

import KernelSockets
import CLinux
import Diagnostics
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc

/// A service on the unix socket `kubelet.sock` of a folder that no other agent serves in. `stop` once.
final class LocalService: Sendable {
  private let path: String
  private let server: GRPCServer<HTTP2ServerTransport.Posix>
  private let serving: Task<Void, Never>

  /// - Parameters:
  ///   - code: of the error when the socket is another agent's, or cannot be made; `option` names the folder.
  ///   - clears: sockets of others in the folder are removed first.
  init(
    _ service: some RegistrableRPCService, folder: String, code: ErrorCode, option: String,
    clears: Bool = false
  ) throws(WeftError) {
    path = folder + "/kubelet.sock"
    try Files.makeDirectory(folder, mode: 0o750)
    if clears {
      try UnixSocket.requireFree(path, code: code, option: option)
      for name in Files.list(folder) where Files.info("\(folder)/\(name)")?.isSocket == true {
        unlink("\(folder)/\(name)")
      }
    }
    let descriptor = try UnixSocket.listenAlone(path, code: code, option: option)
    let server = GRPCServer(
      transport: .http2NIOPosix(
        listeningSocketDescriptor: Int(descriptor), transportSecurity: .plaintext),
      services: [service])
    self.server = server
    serving = Task { try? await server.serve() }
  }

  func stop() async {
    await server.end(serving)
    unlink(path)
  }
}

extension GRPCServer {
  /// Ends a server: no new calls, a moment for those under way, then whatever is left. Dropped at once it would take the process
  /// along when a call comes in at that moment (the library asserts that each is finished).
  func end(_ serving: Task<Void, Never>) async {
    beginGracefulShutdown()
    let limit = Task {
      try await Task.sleep(for: .milliseconds(200))
      serving.cancel()
    }
    await serving.value
    limit.cancel()
  }
}

extension RPCRouter {
  /// Answers a method of one request and one answer.
  mutating func answer<Request: WireMessage, Response: WireMessage>(
    _ method: MethodDescriptor, _ body: @escaping @Sendable (Request) async throws -> Response
  ) {
    registerHandler(
      forMethod: method, deserializer: WireDeserializer<Request>(), serializer: WireSerializer<Response>()
    ) { request, _ in
      let request = try await ServerRequest(stream: request)
      return StreamingServerResponse(single: ServerResponse(message: try await body(request.message)))
    }
  }
}
