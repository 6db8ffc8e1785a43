// Device plugins of the tests: what a plugin of somebody else does, over real sockets, and what it was asked.
import CLinux
import ClusterObjects
import Diagnostics
import FuzzLab
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import KernelSockets
import SoakLab
import SwiftProtobuf
import Synchronization
import Testing
@testable import ClusterNode

/// A plugin with a list that the test changes.
final class FakePlugin: RegistrableRPCService {
  struct State {
    var devices: [PluginDevice] = []
    var watchers: [UInt64: AsyncStream<DeviceList>.Continuation] = [:]
    var allocated: [[String]] = []
    var started: [[String]] = []
    var refusal: String?
  }
  let state: Mutex<State>
  let preferred: [String]
  let wants: DevicePluginOptions

  init(
    _ devices: [PluginDevice], preferred: [String] = [], wants: DevicePluginOptions = DevicePluginOptions()
  ) {
    state = Mutex(State(devices: devices))
    self.preferred = preferred
    self.wants = wants
  }

  func list(_ devices: [PluginDevice]) {
    state.withLock { state in
      state.devices = devices
      for watcher in state.watchers.values { watcher.yield(DeviceList(devices)) }
    }
  }

  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    router.registerHandler(
      forMethod: DeviceService.options, deserializer: WireDeserializer<NoMessage>(),
      serializer: WireSerializer<DevicePluginOptions>()
    ) { _, _ in StreamingServerResponse(single: ServerResponse(message: self.wants)) }
    router.registerHandler(
      forMethod: DeviceService.listAndWatch, deserializer: WireDeserializer<NoMessage>(),
      serializer: WireSerializer<DeviceList>()
    ) { _, _ in
      let (lists, input) = AsyncStream.makeStream(of: DeviceList.self)
      let key = UInt64.random(in: 0 ... .max)
      self.state.withLock { state in
        state.watchers[key] = input
        input.yield(DeviceList(state.devices))
      }
      return StreamingServerResponse { writer in
        for await list in lists { try await writer.write(list) }
        return [:]
      }
    }
    router.registerHandler(
      forMethod: DeviceService.prefer, deserializer: WireDeserializer<PerContainer<PreferenceRequest>>(),
      serializer: WireSerializer<PerContainer<DeviceIDs>>()
    ) { request, _ in
      _ = try await ServerRequest(stream: request)
      return StreamingServerResponse(
        single: ServerResponse(message: PerContainer([DeviceIDs(self.preferred)])))
    }
    router.registerHandler(
      forMethod: DeviceService.allocate, deserializer: WireDeserializer<PerContainer<DeviceIDs>>(),
      serializer: WireSerializer<PerContainer<DeviceGrant>>()
    ) { request, _ in
      let ids = try await ServerRequest(stream: request).message.entries.first?.ids ?? []
      let refusal = self.state.withLock { state in
        state.allocated.append(ids)
        return state.refusal
      }
      if let refusal { throw RPCError(code: .unknown, message: refusal) }
      var grant = DeviceGrant()
      grant.environment = ["FAKE_DEVICES": ids.joined(separator: ",")]
      grant.mounts = [DeviceGrant.Mount(containerPath: "/fake", hostPath: "/tmp", isReadOnly: true)]
      grant.nodes = [DeviceGrant.Node(containerPath: "/dev/fake", hostPath: "/dev/null", permissions: "rw")]
      grant.annotations = ["fake.example.com/ids": ids.joined(separator: "_")]
      return StreamingServerResponse(single: ServerResponse(message: PerContainer([grant])))
    }
    router.registerHandler(
      forMethod: DeviceService.preStart, deserializer: WireDeserializer<DeviceIDs>(),
      serializer: WireSerializer<NoMessage>()
    ) { request, _ in
      let ids = try await ServerRequest(stream: request).message.ids
      self.state.withLock { $0.started.append(ids) }
      return StreamingServerResponse(single: ServerResponse(message: NoMessage()))
    }
  }
}

/// Who a plugin says that it is, and what it was told.
final class FoundPlugin: RegistrableRPCService {
  private let info: PluginInfo
  private let heard = Mutex<[PluginStatus]>([])
  var told: [PluginStatus] { heard.withLock { $0 } }
  init(_ info: PluginInfo) { self.info = info }

  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    let plugin = self
    router.answer(PluginService.info) { (_: NoMessage) in plugin.info }
    router.answer(PluginService.notify) { (status: PluginStatus) in
      plugin.heard.withLock { $0.append(status) }
      return NoMessage()
    }
  }
}

/// A plugin that is served. `stop` ends it, as its process's end would.
struct ServedPlugin {
  let server: GRPCServer<HTTP2ServerTransport.Posix>
  let task: Task<Void, Never>

  init(_ plugin: FakePlugin, _ path: String) { self.init([plugin], path) }

  init(_ services: [any RegistrableRPCService], _ path: String) {
    let server = GRPCServer(
      transport: .http2NIOPosix(
        listeningSocketDescriptor: Int(UnixSocket.listen(path)), transportSecurity: .plaintext),
      services: services)
    self.server = server
    task = Task { try? await server.serve() }
  }

  func stop() async { await server.end(task) }
}

/// What a plugin does first.
func registerPlugin(_ folder: String, _ registration: DeviceRegistration) async throws {
  let client = GRPCClient(
    transport: try HTTP2ClientTransport.Posix.http2NIOPosix(
      target: .unixDomainSocket(path: folder + "/kubelet.sock"), transportSecurity: .plaintext))
  let running = Task { try? await client.runConnections() }
  defer { running.cancel() }
  var options = CallOptions.defaults
  options.timeout = .seconds(20)
  options.waitForReady = true
  try await client.unary(
    request: ClientRequest(message: registration), descriptor: DeviceService.register,
    serializer: WireSerializer<DeviceRegistration>(), deserializer: WireDeserializer<NoMessage>(),
    options: options
  ) { _ = try $0.message }
}
