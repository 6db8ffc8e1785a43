// One device plugin, as the agent talks to it.

import Diagnostics
import GRPCCore
import Synchronization

/// A registered plugin. Safe from any thread; `close` once.
final class DevicePlugin: Sendable {
  let resource: String
  private let connection: PluginConnection
  private let said: Mutex<DevicePluginOptions?>
  /// What the plugin wants; nothing before it has said so.
  var options: DevicePluginOptions { said.withLock { $0 } ?? DevicePluginOptions() }
  /// The plugin's socket.
  var socket: String { connection.path }

  /// - Parameter options: as the plugin said when it registered; nil for one that is asked.
  init(resource: String, options: DevicePluginOptions?, socket: String) throws {
    self.resource = resource
    said = Mutex(options)
    connection = try PluginConnection(socket)
  }

  func close() { connection.close() }

  /// Calls `handle` with each list until the plugin ends the call, or goes away (throws).
  func listAndWatch(_ handle: @Sendable @escaping (DeviceList) async -> Void) async throws {
    // Whoever answers anything is there; a call without a bound must not wait for one that never comes.
    do {
      let answer: DevicePluginOptions = try await connection.call(
        DeviceService.options, NoMessage(), timeout: PluginConnection.connectTimeout)
      said.withLock { $0 = $0 ?? answer }
    } catch let error as RPCError where error.code == .unimplemented {}
    try await connection.client.serverStreaming(
      request: ClientRequest(message: NoMessage()), descriptor: DeviceService.listAndWatch,
      serializer: WireSerializer<NoMessage>(), deserializer: WireDeserializer<DeviceList>(),
      options: .defaults
    ) { response in
      for try await list in response.messages { await handle(list) }
    }
  }

  /// What a container gets that has these devices.
  func allocate(_ ids: [String]) async throws -> DeviceGrant {
    let answer: PerContainer<DeviceGrant> = try await connection.call(
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
    let answer: PerContainer<DeviceIDs> = try await connection.call(
      DeviceService.prefer, PerContainer([request]))
    return answer.entries.first?.ids ?? []
  }

  func preStart(_ ids: [String]) async throws {
    let _: NoMessage = try await connection.call(DeviceService.preStart, DeviceIDs(ids))
  }
}
