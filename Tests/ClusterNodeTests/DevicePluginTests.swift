// Device plugins: a plugin that speaks real gRPC over unix sockets, served by the same library that a Go plugin's peer would
// meet on the wire; what it is asked, what the node says, what pods get. No runtime is needed.

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

private func pod(_ uid: String, _ containers: [JSON], initial: [JSON] = []) -> PodSpec {
  PodSpec([
    "metadata": ["name": JSON(uid), "namespace": "test", "uid": JSON(uid)],
    "spec": ["initContainers": .array(initial), "containers": .array(containers)],
  ])
}

private func wants(_ name: String, _ count: Int, _ resource: String = "example.com/fake") -> JSON {
  ["name": JSON(name), "resources": ["limits": .object([resource: JSON("\(count)")])]]
}

private let devices = ["a", "b", "c"].map { PluginDevice(id: $0) }

@Suite(.timeLimit(.minutes(5))) struct DevicePluginTests {
  @Test func `a plugin registers, its devices are the node's, pods get them and nobody else's`() async throws
  {
    let folder = try ScratchFolder.make("devices")
    defer { ScratchFolder.remove(folder) }
    let changes = Mutex(0)
    let manager = DeviceManager(folder: folder, metrics: Metrics()) { changes.withLock { $0 += 1 } }
    try await manager.start()
    let plugin = FakePlugin(devices + [PluginDevice(id: "d", health: "Unhealthy")], preferred: ["c"])
    let served = ServedPlugin(plugin, folder + "/fake.sock")
    try await registerPlugin(
      folder,
      DeviceRegistration(
        endpoint: "fake.sock", resource: "example.com/fake",
        options: DevicePluginOptions(isPreStartRequired: true, hasPreferences: true)))
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 3 })
    #expect(await manager.extended.capacity["example.com/fake"] == 4)
    #expect(await eventually { changes.withLock { $0 } >= 1 })

    // The plugin would rather give `c`; the init container's device goes on to the container after it.
    let first = pod("u1", [wants("main", 1)], initial: [wants("before", 1)])
    try await manager.admit(first, active: [])
    #expect(plugin.state.withLock { $0.allocated } == [["c"], ["c"]])
    let grant = try await manager.grant(first.containers[0], first)
    #expect(grant.environment == ["FAKE_DEVICES": "c"] && grant.annotations == ["fake.example.com/ids": "c"])
    #expect(
      grant.nodes == [DeviceGrant.Node(containerPath: "/dev/fake", hostPath: "/dev/null", permissions: "rw")])
    #expect(plugin.state.withLock { $0.started } == [["c"]])
    var inputs = ContainerInputs(
      attempt: 0, environment: [("FAKE_DEVICES", "mine")], mounts: [], memoryCapacity: 0,
      terminationMessageHostPath: "")
    inputs.add(grant)
    let config = planContainer(first.containers[0], first, inputs)
    #expect(config.devices.map(\.hostPath) == ["/dev/null"] && config.mounts.map(\.readonly) == [true])
    #expect(config.annotations["fake.example.com/ids"] == "c")
    #expect(config.envs.map { String(decoding: $0.value, as: UTF8.self) } == ["mine"])

    // Two are left: three are too many, and asking for them takes none.
    let greedy = pod("u2", [wants("a", 2), wants("b", 1)])
    await #expect(
      throws: DevicesUnavailable(
        message: "requested number of devices unavailable for example.com/fake. Requested: 1, Available: 0")
    ) { try await manager.admit(greedy, active: ["u1"]) }
    let modest = pod("u3", [wants("a", 2)])
    try await manager.admit(modest, active: ["u1"])
    // A pod that ended gives back.
    try await manager.admit(pod("u4", [wants("a", 1)]), active: ["u3"])
    #expect(plugin.state.withLock { $0.allocated.last } == ["c"])

    // A device falls ill, then the plugin goes away: nothing more is to be had.
    plugin.list([PluginDevice(id: "a"), PluginDevice(id: "b", health: "Unhealthy")])
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 1 })
    await served.stop()
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 0 })
    #expect(await manager.extended.capacity["example.com/fake"] == 2)
    await #expect(
      throws: DevicesUnavailable(message: "cannot allocate unregistered device example.com/fake")
    ) { try await manager.admit(pod("u5", [wants("a", 1)]), active: []) }
    // Who has a device keeps it, whatever became of the plugin.
    await manager.stop()
    #expect(!Files.exists(folder + "/kubelet.sock"))
  }

  @Test
  func `what pods have is remembered over a restart, and what is served is not there before it registers`()
    async throws
  {
    let folder = try ScratchFolder.make("devices")
    defer { ScratchFolder.remove(folder) }
    let plugin = FakePlugin(devices)
    let registration = DeviceRegistration(endpoint: "fake.sock", resource: "example.com/fake")
    let first = pod("u1", [wants("main", 2)])
    do {
      let manager = DeviceManager(folder: folder, metrics: Metrics()) {}
      try await manager.start()
      let served = ServedPlugin(plugin, folder + "/fake.sock")
      try await registerPlugin(folder, registration)
      #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 3 })
      try await manager.admit(first, active: [])
      await manager.stop()
      await served.stop()
    }
    let manager = DeviceManager(folder: folder, metrics: Metrics()) {}
    try await manager.start()
    #expect(
      await manager.extended
        == ExtendedResources(
          capacity: ["example.com/fake": 0], allocatable: ["example.com/fake": 0]))
    // A container of a pod from before starts again with what it had.
    let grant = try await manager.grant(first.containers[0], first)
    #expect(grant.environment == ["FAKE_DEVICES": "a,b"])
    let served = ServedPlugin(plugin, folder + "/fake.sock")
    try await registerPlugin(folder, registration)
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 3 })
    await #expect(
      throws: DevicesUnavailable(
        message: "requested number of devices unavailable for example.com/fake. Requested: 2, Available: 1")
    ) { try await manager.admit(pod("u2", [wants("a", 2)]), active: ["u1"]) }
    plugin.state.withLock { $0.refusal = "the card is on fire" }
    await #expect(throws: DevicesUnavailable(message: "rpc error: the card is on fire")) {
      try await manager.admit(pod("u3", [wants("a", 1)]), active: ["u1"])
    }
    plugin.state.withLock { $0.refusal = nil }
    try await manager.admit(pod("u4", [wants("a", 1)]), active: ["u1"])
    await manager.stop()
    await served.stop()
  }

  @Test(arguments: [
    ("v1alpha", "example.com/fake", "fake.sock", "requested API version"),
    ("v1beta1", "fake", "fake.sock", "the ResourceName \"fake\" is invalid"),
    ("v1beta1", "kubernetes.io/fake", "fake.sock", "is invalid"),
    ("v1beta1", "example.com/fake", "../fake.sock", "is no socket of"),
  ])
  func `a registration that cannot be is refused, and says why`(
    version: String, resource: String, endpoint: String, words: String
  ) async throws {
    let folder = try ScratchFolder.make("devices")
    defer { ScratchFolder.remove(folder) }
    let manager = DeviceManager(folder: folder, metrics: Metrics()) {}
    try await manager.start()
    var registration = DeviceRegistration(endpoint: endpoint, resource: resource)
    registration.version = version
    let error = await #expect(throws: RPCError.self) { try await registerPlugin(folder, registration) }
    #expect(error?.message.contains(words) == true, "\(String(describing: error))")
    #expect(await manager.extended == ExtendedResources())
    await manager.stop()
  }

  @Test func `a folder with another agent is left alone, and sockets of an agent that ended are not`()
    async throws
  {
    let folder = try ScratchFolder.make("devices")
    defer { ScratchFolder.remove(folder) }
    close(UnixSocket.listen(folder + "/kubelet.sock"))
    close(UnixSocket.listen(folder + "/old.sock"))
    let manager = DeviceManager(folder: folder, metrics: Metrics()) {}
    try await manager.start()
    #expect(!Files.exists(folder + "/old.sock"))
    let other = DeviceManager(folder: folder, metrics: Metrics()) {}
    let error = await #expect(throws: WeftError.self) { try await other.start() }
    #expect(error?.code == "NOD0030")
    #expect(Files.exists(folder + "/kubelet.sock"))
    await manager.stop()
  }

  @Test
  func
    `devices of the init containers are taken first, and what a plugin prefers beyond what there is is not`()
    throws
  {
    var ill = ResourceDevices(DeviceList(devices))
    ill.lose()
    #expect(ill.count == 3 && ill.healthy.isEmpty && !ill.isServed)
    let choice = try planDeviceChoice(
      "r", count: 2, devices: ResourceDevices(DeviceList(devices)), taken: ["a", "b"], reusable: ["b", "x"])
    #expect(choice.available == ["b", "c"] && choice.ids() == ["b", "c"])
    #expect(choice.ids(preferred: ["z", "c"]) == ["b", "c"])
  }

  @Test(arguments: [
    ("example.com/gpu", true), ("cpu", false), ("kubernetes.io/x", false), ("a.kubernetes.io/x", false),
    ("requests.example.com/x", false), ("example.com/", false), ("/x", false), ("example.com/a/b", false),
    ("example.com/-a", false), ("ex_ample.com/a", false),
  ])
  func `extended resources are known by their names`(name: String, isOne: Bool) {
    #expect(isExtendedResource(name) == isOne)
  }

  @Test func `monitoring programs are told which pods have which devices, and which there are`() async throws
  {
    let folder = try ScratchFolder.make("told")
    defer { ScratchFolder.remove(folder) }
    let plugin = FakePlugin(devices)
    let manager = DeviceManager(folder: folder, metrics: Metrics()) {}
    try await manager.start()
    let served = ServedPlugin(plugin, folder + "/fake.sock")
    try await registerPlugin(folder, DeviceRegistration(endpoint: "fake.sock", resource: "example.com/fake"))
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 3 })
    let first = pod("u1", [wants("main", 2), ["name": "aside", "image": "i"]])
    let second = pod("u2", [wants("main", 1)])
    for spec in [first, second] { try await manager.admit(spec, active: ["u1", "u2"]) }
    let metrics = Metrics()
    let lister = PodResourcesLister(devices: manager, metrics: metrics) { [second.pod, first.pod] }
    func serve() throws -> LocalService {
      try LocalService(lister, folder: folder + "/told", code: "NOD0044", option: "--pod-resources-dir")
    }
    let server = try serve()
    let again = #expect(throws: WeftError.self) { try serve() }
    #expect(again?.code == "NOD0044")
    let client = GRPCClient(
      transport: try HTTP2ClientTransport.Posix.http2NIOPosix(
        target: .unixDomainSocket(path: folder + "/told/kubelet.sock"), transportSecurity: .plaintext))
    let connections = Task { try? await client.runConnections() }
    func ask<Request: WireMessage, Answer: WireMessage>(
      _ method: MethodDescriptor, _ request: Request, _ type: Answer.Type
    ) async throws -> Answer {
      try await client.unary(
        request: ClientRequest(message: request), descriptor: method, serializer: WireSerializer<Request>(),
        deserializer: WireDeserializer<Answer>(), options: .defaults
      ) { try $0.message }
    }
    func had(_ ids: [String]) -> [ContainerDevices] {
      [ContainerDevices(resource: "example.com/fake", ids: ids)]
    }
    let one = PodResources(
      name: first.pod.name, namespace: first.pod.namespace,
      containers: [
        ContainerResources(name: "main", devices: had(["a", "b"])),
        ContainerResources(name: "aside", devices: []),
      ])
    let list = try await ask(PodResourcesService.list, NoMessage(), PerContainer<PodResources>.self)
    #expect(list.entries.count == 2 && list.entries.contains(one), "\(list)")
    #expect(list.entries.flatMap(\.containers).contains { $0.devices == had(["c"]) })
    let all = try await ask(PodResourcesService.allocatable, NoMessage(), PerContainer<ContainerDevices>.self)
    #expect(all.entries == had(["a", "b", "c"]))
    let got = try await ask(
      PodResourcesService.get, PodResourcesRequest(name: first.pod.name, namespace: first.pod.namespace),
      PerContainer<PodResources>.self)
    #expect(got.entries == [one])
    let none = await #expect(throws: RPCError.self) {
      try await ask(
        PodResourcesService.get, PodResourcesRequest(name: "none", namespace: "test"),
        PerContainer<PodResources>.self)
    }
    #expect(none?.message == "pod none in namespace test not found")
    #expect(
      metrics.text().contains("kubelet_pod_resources_endpoint_requests_total{server_api_version=\"v1\"} 4"))
    client.beginGracefulShutdown()
    await connections.value
    await server.stop()
    #expect(!Files.exists(folder + "/told/kubelet.sock"))
    await manager.stop()
    await served.stop()
  }

  @Test func `a plugin is found by its socket, told what came of it, and goes with its socket`() async throws
  {
    let folder = try ScratchFolder.make("found")
    defer { ScratchFolder.remove(folder) }
    let manager = DeviceManager(folder: folder + "/devices", metrics: Metrics()) {}
    try await manager.start()
    // Tried again soon, so that the test need not wait.
    let registry = await manager.pluginRegistry(folder: folder + "/registry", period: .milliseconds(50))
    try await registry.start()
    // It serves both services at one socket, and wants to be asked before each start.
    let plugin = FakePlugin(devices, wants: DevicePluginOptions(isPreStartRequired: true))
    let found = FoundPlugin(
      PluginInfo(type: "DevicePlugin", name: "example.com/fake", versions: ["v1alpha", "v1beta1"]))
    let path = folder + "/registry/fake.sock"
    var served = ServedPlugin([plugin, found], path)
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 3 })
    #expect(await eventually { found.told == [PluginStatus(isRegistered: true)] })
    let first = pod("u1", [wants("main", 1)])
    try await manager.admit(first, active: [])
    _ = try await manager.grant(first.containers[0], first)
    #expect(plugin.state.withLock { $0.started } == [["a"]])

    // Others that nobody here knows, or of another version, are told so.
    let driver = FoundPlugin(PluginInfo(type: "CSIPlugin", name: "csi.example.com", versions: ["1.0.0"]))
    let late = FoundPlugin(PluginInfo(type: "DevicePlugin", name: "example.com/x", versions: ["v2"]))
    let drivers = [
      ServedPlugin([driver], folder + "/registry/csi.sock"),
      ServedPlugin([late], folder + "/registry/late.sock"),
    ]
    #expect(
      await eventually {
        driver.told.first
          == PluginStatus(
            isRegistered: false,
            error: "RegisterPlugin error -- no handler registered for plugin type: CSIPlugin at socket "
              + "\(folder)/registry/csi.sock")
      })
    #expect(await eventually { late.told.first?.error.contains("is not supported by kubelet") == true })

    // The socket goes, and comes back with another plugin.
    await served.stop()
    unlink(path)
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 0 })
    #expect(await manager.extended.capacity["example.com/fake"] == 3)
    served = ServedPlugin([plugin, found], path)
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 3 })
    // Only its socket goes: that is the word to leave.
    unlink(path)
    #expect(await eventually { await manager.extended.allocatable["example.com/fake"] == 0 })
    await registry.stop()
    await manager.stop()
    for server in drivers + [served] { await server.stop() }
  }

  @Test func `what the runtime knows by name is asked of it by name, once`() throws {
    let first = pod("u1", [wants("main", 2)])
    var inputs = ContainerInputs(
      attempt: 0, environment: [], mounts: [], memoryCapacity: 0, terminationMessageHostPath: "")
    var grant = DeviceGrant()
    grant.runtimeDevices = ["vendor.com/gpu=1", "vendor.com/gpu=0"]
    inputs.add(grant)
    grant.runtimeDevices = ["vendor.com/gpu=0"]
    inputs.add(grant)
    let config = planContainer(first.containers[0], first, inputs)
    #expect(config.cdiDevices.map(\.name) == ["vendor.com/gpu=1", "vendor.com/gpu=0"])
    // Field 17 of the configuration, field 1 of each entry.
    let alone = CRI.ContainerConfig.with { $0.cdiDevices = [.with { $0.name = "a=b" }] }
    #expect(try alone.serializedBytes() as [UInt8] == [0x8a, 0x01, 5, 0x0a, 3, 0x61, 0x3d, 0x62])
    #expect(try CRI.ContainerConfig(serializedBytes: alone.serializedBytes() as [UInt8]) == alone)
  }

  @Test func `messages are on the wire as the interface numbers them, and come back`() throws {
    // version (1) "v1beta1", endpoint (2) "e", resource_name (3) "r", options (4) { pre_start_required (1) true }
    let registration = DeviceRegistration(
      endpoint: "e", resource: "r", options: DevicePluginOptions(isPreStartRequired: true))
    #expect(
      registration.wire == [0x0a, 7] + Array("v1beta1".utf8) + [0x12, 1, 0x65, 0x1a, 1, 0x72, 0x22, 2, 8, 1])
    #expect(try DeviceRegistration(wire: registration.wire[...]) == registration)
    var grant = DeviceGrant()
    grant.environment = ["A": "1", "B": ""]
    grant.mounts = [DeviceGrant.Mount(containerPath: "/c", hostPath: "/h", isReadOnly: true)]
    grant.nodes = [DeviceGrant.Node(containerPath: "/dev/c", hostPath: "/dev/h", permissions: "rwm")]
    grant.annotations = ["x": "y"]
    grant.runtimeDevices = ["vendor.com/gpu=1"]
    #expect(try DeviceGrant(wire: grant.wire[...]) == grant)
    let info = PluginInfo(type: "DevicePlugin", name: "n", endpoint: "e", versions: ["v1", "v2"])
    // type (1), name (2), endpoint (3), supported_versions (4), each of them
    #expect(
      info.wire == [0x0a, 12] + Array("DevicePlugin".utf8)
        + [0x12, 1, 0x6e, 0x1a, 1, 0x65, 0x22, 2, 0x76, 0x31, 0x22, 2, 0x76, 0x32])
    #expect(try PluginInfo(wire: info.wire[...]) == info)
    let status = PluginStatus(isRegistered: true, error: "e")
    #expect(status.wire == [8, 1, 0x12, 1, 0x65])
    #expect(try PluginStatus(wire: status.wire[...]) == status)
    // A field of a later version, and one of a form that none of ours has, are passed over.
    let later = DeviceList(devices).wire + [0x52, 1, 0, 0x5d, 1, 2, 3, 4]
    #expect(try DeviceList(wire: later[...]) == DeviceList(devices))
    let preference = PreferenceRequest(available: ["a", "b"], mustInclude: ["b"], size: 1)
    #expect(try PreferenceRequest(wire: preference.wire[...]) == preference)
  }

  @Test func `no message, however broken, ends the agent`() {
    var grant = DeviceGrant()
    grant.environment = ["A": "1"]
    grant.mounts = [DeviceGrant.Mount(containerPath: "/c", hostPath: "/h")]
    grant.nodes = [DeviceGrant.Node(containerPath: "/d", hostPath: "/d", permissions: "r")]
    let corpus = [
      grant.wire, DeviceList(devices).wire, PerContainer([grant]).wire,
      DeviceRegistration(endpoint: "e", resource: "example.com/r").wire,
      PodResourcesRequest(name: "p", namespace: "n").wire,
      PluginInfo(type: "t", name: "n", endpoint: "e", versions: ["a", "b"]).wire,
      PluginStatus(isRegistered: true, error: "e").wire,
      PodResources(
        name: "p", namespace: "n",
        containers: [
          ContainerResources(name: "c", devices: [ContainerDevices(resource: "example.com/r", ids: ["a"])])
        ]
      ).wire,
    ]
    for bytes in mutants(of: corpus, count: 4_000, seed: 6) {
      _ = try? DeviceGrant(wire: bytes[...])
      _ = try? DeviceList(wire: bytes[...])
      _ = try? PerContainer<DeviceGrant>(wire: bytes[...])
      _ = try? DeviceRegistration(wire: bytes[...])
      _ = try? PreferenceRequest(wire: bytes[...])
      _ = try? PodResourcesRequest(wire: bytes[...])
      _ = try? PodResources(wire: bytes[...])
      _ = try? PluginInfo(wire: bytes[...])
      _ = try? PluginStatus(wire: bytes[...])
    }
    let checkpoint = DeviceCheckpoint(
      allocations: [DeviceAllocation(pod: "p", container: "c", resource: "r", ids: ["a"], grant: grant)],
      resources: ["r"])
    #expect(DeviceCheckpoint(checkpoint.tree) == checkpoint)
    for bytes in mutants(of: [checkpoint.tree.bytes], count: 1_000, seed: 7) {
      if let tree = try? JSON(parsing: bytes) { _ = DeviceCheckpoint(tree) }
    }
  }
}
