// One device plugin, as the agent talks to it: a connection over the plugin's unix socket, a bound on each call.

import Diagnostics
import GRPCCore
import GRPCNIOTransportHTTP2Posix

/// A registered plugin. Safe from any thread; `close` once.
final class DevicePlugin: Sendable {
  typealias Transport = HTTP2ClientTransport.Posix
  /// A plugin serves before it registers, so this is generous.
  static let connectTimeout: Duration = .seconds(10)
  static let callTimeout: Duration = .seconds(30)

  let resource: String
  let options: DevicePluginOptions
  private let client: GRPCClient<Transport>
  private let connections: Task<Void, Never>

  init(_ registration: DeviceRegistration, folder: String) throws {
    resource = registration.resource
    options = registration.options
    let client = GRPCClient<Transport>(transport: try .unixSocket("\(folder)/\(registration.endpoint)"))
    self.client = client
    connections = Task { try? await client.runConnections() }
  }

  func close() {
    client.beginGracefulShutdown()
    connections.cancel()
  }

  deinit { client.beginGracefulShutdown() }

  private func call<Request: WireMessage, Response: WireMessage>(
    _ method: MethodDescriptor, _ request: Request, timeout: Duration = DevicePlugin.callTimeout
  ) async throws -> Response {
    var options = CallOptions.defaults
    options.timeout = timeout
    options.waitForReady = true
    return try await client.unary(
      request: ClientRequest(message: request), descriptor: method, serializer: WireSerializer<Request>(),
      deserializer: WireDeserializer<Response>(), options: options
    ) { try $0.message }
  }

  /// Calls `handle` with each list until the plugin ends the call, or goes away (throws).
  func listAndWatch(_ handle: @Sendable @escaping (DeviceList) async -> Void) async throws {
    // Whoever answers anything is there; a call without a bound must not wait for one that never comes.
    do {
      let _: DevicePluginOptions = try await call(
        DeviceService.options, NoMessage(), timeout: Self.connectTimeout)
    } catch let error as RPCError where error.code == .unimplemented {}
    try await client.serverStreaming(
      request: ClientRequest(message: NoMessage()), descriptor: DeviceService.listAndWatch,
      serializer: WireSerializer<NoMessage>(), deserializer: WireDeserializer<DeviceList>(),
      options: .defaults
    ) { response in
      for try await list in response.messages { await handle(list) }
    }
  }

  /// What a container gets that has these devices.
  func allocate(_ ids: [String]) async throws -> DeviceGrant {
    let answer: PerContainer<DeviceGrant> = try await call(
      DeviceService.allocate, PerContainer([DeviceIDs(ids)]))
    guard let grant = answer.entries.first, answer.entries.count == 1 else {
      throw RPCError(
        code: .internalError, message: "no containers in response from device plugin: \(resource)")
    }
    return grant
  }

  /// Which of `available` the plugin would rather see together.
  func prefer(_ available: [String], mustInclude: [String], size: Int) async throws -> [String] {
    let request = PreferenceRequest(available: available, mustInclude: mustInclude, size: size)
    let answer: PerContainer<DeviceIDs> = try await call(DeviceService.prefer, PerContainer([request]))
    return answer.entries.first?.ids ?? []
  }

  func preStart(_ ids: [String]) async throws {
    let _: NoMessage = try await call(DeviceService.preStart, DeviceIDs(ids))
  }
}
