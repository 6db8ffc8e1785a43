// `kubelet.sock`: where device plugins say that they are there.

import CLinux
import Diagnostics
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import KernelSockets

/// The Registration service on a unix socket. `stop` once.
final class DeviceRegistry: Sendable {
  private let path: String
  private let server: GRPCServer<HTTP2ServerTransport.Posix>
  private let serving: Task<Void, Never>

  /// Sockets of plugins in the same folder are removed: plugins take that as the word to register anew. Errors: `NOD0030`
  /// the folder is another agent's, or cannot be used.
  init(
    folder: String, register: @escaping @Sendable (DeviceRegistration) async throws -> Void
  ) throws(WeftError) {
    path = folder + "/kubelet.sock"
    try Files.makeDirectory(folder, mode: 0o750)
    try UnixSocket.requireFree(path, code: "NOD0030", option: "--device-plugin-dir")
    for name in Files.list(folder) where Files.info("\(folder)/\(name)")?.kind == UInt32(Glibc.S_IFSOCK) {
      unlink("\(folder)/\(name)")
    }
    let descriptor = try UnixSocket.listenAlone(path, code: "NOD0030", option: "--device-plugin-dir")
    let server = GRPCServer(
      transport: .http2NIOPosix(
        listeningSocketDescriptor: Int(descriptor), transportSecurity: .plaintext),
      services: [Service(register: register)])
    self.server = server
    serving = Task { try? await server.serve() }
  }

  func stop() async {
    server.beginGracefulShutdown()
    serving.cancel()
    await serving.value
    unlink(path)
  }

  private struct Service: RegistrableRPCService {
    let register: @Sendable (DeviceRegistration) async throws -> Void

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
      let register = register
      router.registerHandler(
        forMethod: DeviceService.register, deserializer: WireDeserializer<DeviceRegistration>(),
        serializer: WireSerializer<NoMessage>()
      ) { request, _ in
        let request = try await ServerRequest(stream: request)
        try await register(request.message)
        return StreamingServerResponse(single: ServerResponse(message: NoMessage()))
      }
    }
  }
}
