// Which endpoints of a Service port serve a node. The one place that decides it: proxy, ingress and explain all ask here.

import Addresses
import ClusterObjects

/// One endpoint of one Service port: where packets go.
public struct ServiceEndpoint: Sendable, Hashable, Comparable {
  public var target: SocketEndpoint
  /// On the node that asked.
  public var isLocal: Bool
  public var isReady: Bool
  public var isServing: Bool
  public var isTerminating: Bool
  public var nodeName: String?
  public var pod: ObjectKey?
  public static func < (a: Self, b: Self) -> Bool { a.target < b.target }
}

extension ClusterView {
  /// Every endpoint that slices list for a Service port and family, sorted and each target once, whatever its state.
  /// Slices name their ports as the Service does.
  public func allEndpoints(
    of service: ObjectKey, port: Service.Port, family: IPFamily, on nodeName: String? = nil
  ) -> [ServiceEndpoint] {
    var byTarget: [SocketEndpoint: ServiceEndpoint] = [:]
    for slice in (endpointSlices[service] ?? [:]).values where slice.family == family {
      for slicePort in slice.ports where slicePort.name == port.name && slicePort.transport == port.transport
      {
        guard let number = slicePort.port else { continue }
        for endpoint in slice.endpoints {
          let candidate = ServiceEndpoint(
            target: SocketEndpoint(endpoint.address, number),
            isLocal: nodeName != nil && endpoint.nodeName == nodeName, isReady: endpoint.isReady,
            isServing: endpoint.isServing, isTerminating: endpoint.isTerminating, nodeName: endpoint.nodeName,
            pod: endpoint.pod)
          // The same address may stand in two slices while the controller moves it: the ready one counts.
          if let seen = byTarget[candidate.target], seen.isReady || !candidate.isReady { continue }
          byTarget[candidate.target] = candidate
        }
      }
    }
    return byTarget.values.sorted()
  }

  /// The endpoints that take traffic: the ready ones; when there are none, those that still serve while they
  /// terminate (KEP-1669).
  public static func usable(_ endpoints: [ServiceEndpoint]) -> [ServiceEndpoint] {
    let ready = endpoints.filter { $0.isReady && !$0.isTerminating }
    if !ready.isEmpty { return ready }
    let readyAnyhow = endpoints.filter(\.isReady)
    if !readyAnyhow.isEmpty { return readyAnyhow }
    return endpoints.filter { $0.isServing && $0.isTerminating }
  }

  /// The endpoints a Service port uses on a node: all over the cluster, and the local ones (fall-back applied to each
  /// set for itself, as KEP-1669 says).
  public func endpoints(
    of service: ObjectKey, port: Service.Port, family: IPFamily, on nodeName: String?
  ) -> (cluster: [ServiceEndpoint], local: [ServiceEndpoint]) {
    let all = allEndpoints(of: service, port: port, family: family, on: nodeName)
    return (Self.usable(all), Self.usable(all.filter(\.isLocal)))
  }

  /// The pods that selectors of a NetworkPolicy peer choose.
  public func pods(
    inNamespacesMatching namespaces: LabelSelector?, own: String, pods selector: LabelSelector?
  ) -> [Pod] {
    self.pods.values.filter { pod in
      if let namespaces {
        guard let namespace = self.namespaces[pod.key.namespace], namespaces.matches(namespace.labels) else {
          return false
        }
      } else if pod.key.namespace != own {
        return false
      }
      return selector?.matches(pod.labels) ?? true
    }.sorted { $0.key < $1.key }
  }

  /// The pod that holds an address now; ended pods and pods of the host network do not hold one.
  public func pod(at address: IPAddress) -> Pod? {
    pods.values.filter { !$0.isHostNetwork && !$0.hasEnded && $0.addresses.contains(address) }
      .min { ($0.isTerminating ? 1 : 0, $0.key) < ($1.isTerminating ? 1 : 0, $1.key) }
  }
}
