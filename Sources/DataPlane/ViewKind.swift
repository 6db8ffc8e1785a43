// Kinds of the resources a view is made of: items of typed lists come without one.

import ClusterObjects
import ClusterView

public enum ViewKind {
  /// `Service` of services; empty for resources that no view reads.
  public static func of(_ resource: GroupVersionResource) -> String {
    switch resource {
    case .services: "Service"
    case .endpointSlices: "EndpointSlice"
    case .pods: "Pod"
    case .namespaces: "Namespace"
    case .nodes: "Node"
    case .networkPolicies: "NetworkPolicy"
    case .clusterNetworkPolicies: "ClusterNetworkPolicy"
    case .ingresses: "Ingress"
    case .ingressClasses: "IngressClass"
    case .serviceImports: "ServiceImport"
    case .gatewayClasses: "GatewayClass"
    case .gateways: "Gateway"
    case .listenerSets: "ListenerSet"
    case .referenceGrants: "ReferenceGrant"
    case .backendTLSPolicies: "BackendTLSPolicy"
    case .httpRoutes: "HTTPRoute"
    case .grpcRoutes: "GRPCRoute"
    case .tlsRoutes: "TLSRoute"
    case .tcpRoutes: "TCPRoute"
    case .udpRoutes: "UDPRoute"
    default: ""
    }
  }
}
