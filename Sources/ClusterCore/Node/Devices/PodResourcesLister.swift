// Which pods have which devices, for monitoring programs on the node (KEP-606).

import ClusterObjects
import Diagnostics
import GRPCCore

/// The PodResourcesLister service, version 1.
struct PodResourcesLister: RegistrableRPCService {
  private let devices: DeviceManager?
  private let pods: @Sendable () async -> [JSON]
  private let requests: Counter

  /// `pods` are those of the node that have not ended.
  init(devices: DeviceManager?, metrics: Metrics, pods: @escaping @Sendable () async -> [JSON]) {
    self.devices = devices
    self.pods = pods
    requests = metrics.counter(
      "kubelet_pod_resources_endpoint_requests_total", "Requests for pods' resources.",
      labels: ["server_api_version"]
    ).child("v1")
  }

  private func list() async -> PerContainer<PodResources> {
    let allocations = await devices?.allocated ?? []
    let pods = await pods().sorted { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
    return PerContainer(pods.map { planPodResources($0, allocations) })
  }

  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    let service = self
    router.answer(PodResourcesService.list) { (_: NoMessage) in
      service.requests.increment()
      return await service.list()
    }
    router.answer(PodResourcesService.allocatable) { (_: NoMessage) in
      service.requests.increment()
      return PerContainer(await service.devices?.allocatable ?? [])
    }
    router.answer(PodResourcesService.get) { (wanted: PodResourcesRequest) in
      service.requests.increment()
      guard
        let pod = await service.list().entries.first(where: {
          $0.name == wanted.name && $0.namespace == wanted.namespace
        })
      else {
        throw RPCError(
          code: .unknown, message: "pod \(wanted.name) in namespace \(wanted.namespace) not found")
      }
      return PerContainer([pod])
    }
  }
}
