// `kubelet.sock` of pod-resources: which pods have which devices, for monitoring programs on the node (KEP-606).

import CLinux
import ClusterObjects
import Diagnostics
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import KernelSockets

/// The PodResourcesLister service, version 1, on a unix socket. `stop` once.
final class PodResourcesServer: Sendable {
  private let path: String
  private let server: GRPCServer<HTTP2ServerTransport.Posix>
  private let serving: Task<Void, Never>

  /// `pods` are those of the node that have not ended. Errors: `NOD0044` the socket is another agent's, or cannot be made.
  init(
    folder: String, devices: DeviceManager?, metrics: Metrics, pods: @escaping @Sendable () async -> [JSON]
  ) throws(WeftError) {
    path = folder + "/kubelet.sock"
    try Files.makeDirectory(folder, mode: 0o750)
    let descriptor = try UnixSocket.listenAlone(path, code: "NOD0044", option: "--pod-resources-dir")
    let requests = metrics.counter(
      "kubelet_pod_resources_endpoint_requests_total", "Requests for pods' resources.",
      labels: ["server_api_version"])
    let server = GRPCServer(
      transport: .http2NIOPosix(
        listeningSocketDescriptor: Int(descriptor), transportSecurity: .plaintext),
      services: [Service(devices: devices, pods: pods, requests: requests)])
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
    let devices: DeviceManager?
    let pods: @Sendable () async -> [JSON]
    let requests: MetricFamily<Counter>

    private func list() async -> PerContainer<PodResources> {
      let allocations = await devices?.allocated ?? []
      let pods = await pods().sorted { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
      return PerContainer(pods.map { planPodResources($0, allocations) })
    }

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
      let service = self
      router.registerHandler(
        forMethod: PodResourcesService.list, deserializer: WireDeserializer<NoMessage>(),
        serializer: WireSerializer<PerContainer<PodResources>>()
      ) { _, _ in
        service.requests.child("v1").increment()
        return StreamingServerResponse(single: ServerResponse(message: await service.list()))
      }
      router.registerHandler(
        forMethod: PodResourcesService.allocatable, deserializer: WireDeserializer<NoMessage>(),
        serializer: WireSerializer<PerContainer<ContainerDevices>>()
      ) { _, _ in
        service.requests.child("v1").increment()
        let all = await service.devices?.allocatable ?? []
        return StreamingServerResponse(single: ServerResponse(message: PerContainer(all)))
      }
      router.registerHandler(
        forMethod: PodResourcesService.get, deserializer: WireDeserializer<PodResourcesRequest>(),
        serializer: WireSerializer<PerContainer<PodResources>>()
      ) { request, _ in
        service.requests.child("v1").increment()
        let wanted = try await ServerRequest(stream: request).message
        guard
          let pod = await service.list().entries.first(where: {
            $0.name == wanted.name && $0.namespace == wanted.namespace
          })
        else {
          throw RPCError(
            code: .unknown, message: "pod \(wanted.name) in namespace \(wanted.namespace) not found")
        }
        return StreamingServerResponse(single: ServerResponse(message: PerContainer([pod])))
      }
    }
  }
}
