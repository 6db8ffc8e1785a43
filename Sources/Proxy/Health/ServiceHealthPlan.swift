// Which healthCheckNodePorts a node serves, and how many endpoints each has here. Load balancers ask them which nodes to
// send a Service's traffic to when its externalTrafficPolicy is Local.

import Addresses
import ClusterObjects
import ClusterView

/// One healthCheckNodePort and what it answers with.
public struct ServiceHealth: Sendable, Hashable {
  public var service: ObjectKey
  public var port: UInt16
  /// Ready endpoints on this node, each pod once.
  public var localEndpoints: Int

  public init(service: ObjectKey, port: UInt16, localEndpoints: Int) {
    self.service = service
    self.port = port
    self.localEndpoints = localEndpoints
  }

  /// kube-proxy's answer, byte for byte.
  public func body(isProxyHealthy: Bool) -> String {
    """
    {
    \t"service": {
    \t\t"namespace": \(JSON(service.namespace).text),
    \t\t"name": \(JSON(service.name).text)
    \t},
    \t"localEndpoints": \(localEndpoints),
    \t"serviceProxyHealthy": \(isProxyHealthy)
    }
    """
  }

  public func status(isProxyHealthy: Bool) -> Int { localEndpoints > 0 && isProxyHealthy ? 200 : 503 }
}

/// The healthCheckNodePorts of the Services that this proxy serves, by Service. Pure.
/// - Parameter proxyName: the value of `service.kubernetes.io/service-proxy-name` that is served.
public func planServiceHealth(_ view: ClusterView, nodeName: String?, proxyName: String? = nil)
  -> [ServiceHealth]
{
  view.services.values.filter {
    $0.kind == .loadBalancer && $0.externalTrafficPolicy == .local && $0.healthCheckNodePort != 0
      && $0.labels["service.kubernetes.io/service-proxy-name"] == proxyName
  }.sorted { $0.key < $1.key }.map { service in
    // A pod of two families is one place to send traffic to.
    let family = service.clusterIPs.first?.family ?? .v4
    var pods: Set<IPAddress> = []
    for port in service.ports {
      for endpoint in view.allEndpoints(of: service.key, port: port, family: family, on: nodeName)
      where endpoint.isLocal && endpoint.isReady && !endpoint.isTerminating {
        pods.insert(endpoint.target.address)
      }
    }
    return ServiceHealth(
      service: service.key, port: service.healthCheckNodePort, localEndpoints: pods.count)
  }
}
