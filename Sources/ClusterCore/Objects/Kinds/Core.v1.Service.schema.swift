// Services and their endpoints.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreServiceV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Service
      metadata meta.ObjectMeta #1
      spec ServiceSpec+ #2
      status ServiceStatus+ #3
    type ServiceSpec
      ports []ServicePort #1 merge(port) map(port,protocol)
      selector map[string] #2 atomic
      clusterIP string #3
      clusterIPs []string #18 atomic
      type string #4 = ClusterIP enum(ClusterIP|NodePort|LoadBalancer|ExternalName)
      externalIPs []string #5 atomic
      sessionAffinity string #7 = None enum(ClientIP|None)
      loadBalancerIP string #8
      loadBalancerSourceRanges []string #9 atomic
      externalName string #10
      externalTrafficPolicy string #11 enum(Cluster|Local)
      healthCheckNodePort int32 #12
      publishNotReadyAddresses bool #13
      sessionAffinityConfig SessionAffinityConfig? #14
      ipFamilies []string #19 atomic enum(IPv4|IPv6|)
      ipFamilyPolicy string? #17 enum(SingleStack|PreferDualStack|RequireDualStack)
      allocateLoadBalancerNodePorts bool? #20
      loadBalancerClass string? #21
      internalTrafficPolicy string? #22 enum(Cluster|Local)
      trafficDistribution string? #23
    type ServicePort
      name string #1
      protocol string #2 = TCP enum(TCP|UDP|SCTP)
      appProtocol string? #6
      port int32! #3
      targetPort intstr #4
      nodePort int32 #5
    type SessionAffinityConfig
      clientIP ClientIPConfig? #1
    type ClientIPConfig
      timeoutSeconds int32? #1
    type ServiceStatus
      loadBalancer LoadBalancerStatus+ #1
      conditions []meta.Condition #2 merge(type) map(type)
    type LoadBalancerStatus
      ingress []LoadBalancerIngress #1 atomic
    type LoadBalancerIngress
      ip string #1
      hostname string #2
      ipMode string? #3
      ports []PortStatus #4 atomic
    type PortStatus
      port int32! #1
      protocol string! #2 enum(TCP|UDP|SCTP)
      error string? #3
    type Endpoints
      metadata meta.ObjectMeta #1
      subsets []EndpointSubset #2 atomic
    type EndpointSubset
      addresses []EndpointAddress #1 atomic
      notReadyAddresses []EndpointAddress #2 atomic
      ports []EndpointPort #3 atomic
    type EndpointAddress
      ip string! #1
      hostname string #3
      nodeName string? #4
      targetRef ObjectReference? #2
    type EndpointPort
      name string #1
      port int32! #2
      protocol string #3 = TCP enum(TCP|UDP|SCTP)
      appProtocol string? #4
    """#
}
