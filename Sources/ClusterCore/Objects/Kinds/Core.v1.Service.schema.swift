// Services and their endpoints.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreServiceV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Service "One address for many pods.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ServiceSpec+ #2 "What is asked for.
      status ServiceStatus+ #3 "What was last observed.
    type ServiceSpec "How a Service is reached and where it leads.
      ports []ServicePort #1 merge(port) map(port,protocol) "The ports it listens on.
      selector map[string] #2 atomic "Labels of the pods that it leads to.
      clusterIP string #3 "Its address in the cluster; None for a headless Service.
      clusterIPs []string #18 atomic "Its addresses in the cluster, one a family.
      type string #4 = ClusterIP enum(ClusterIP|NodePort|LoadBalancer|ExternalName) "How it is made reachable.
      externalIPs []string #5 atomic "Further addresses that nodes take traffic for.
      sessionAffinity string #7 = None enum(ClientIP|None) "ClientIP keeps a client with one pod.
      loadBalancerIP string #8 "The address that the load balancer is asked for; few honour it.
      loadBalancerSourceRanges []string #9 atomic "Clients that the load balancer lets through.
      externalName string #10 "The DNS name that it stands for, for type ExternalName.
      externalTrafficPolicy string #11 enum(Cluster|Local) "Local keeps the client's address and uses pods \#
    of the same node only.
      healthCheckNodePort int32 #12 "Where load balancers ask whether a node has local pods.
      publishNotReadyAddresses bool #13 "Whether DNS also names pods that are not ready.
      sessionAffinityConfig SessionAffinityConfig? #14 "How long a client stays with its pod.
      ipFamilies []string #19 atomic enum(IPv4|IPv6|) "IPv4, IPv6 or both, the first of them first.
      ipFamilyPolicy string? #17 enum(SingleStack|PreferDualStack|RequireDualStack) "Whether one family or \#
    two are wanted or demanded.
      allocateLoadBalancerNodePorts bool? #20 "Whether a load balancer gets node ports too.
      loadBalancerClass string? #21 "Which load balancer shall serve it.
      internalTrafficPolicy string? #22 enum(Cluster|Local) "Local uses pods of the same node for traffic \#
    from within.
      trafficDistribution string? #23 "Which endpoints are preferred, such as those of the same zone.
    type ServicePort "One port of a Service.
      name string #1 "Its name; needed when there are several.
      protocol string #2 = TCP enum(TCP|UDP|SCTP) "TCP, UDP or SCTP.
      appProtocol string? #6 "What is spoken on it, such as http or kubernetes.io/h2c.
      port int32! #3 "The port that clients use.
      targetPort intstr #4 "The pods' port, by number or by name.
      nodePort int32 #5 "The port on every node.
    type SessionAffinityConfig "How clients stay with a pod.
      clientIP ClientIPConfig? #1 "Affinity by the client's address.
    type ClientIPConfig "Affinity by address.
      timeoutSeconds int32? #1 "How long it lasts after the last packet.
    type ServiceStatus "How a Service stands.
      loadBalancer LoadBalancerStatus+ #1 "What the load balancer gave.
      conditions []meta.Condition #2 merge(type) map(type) "What was last observed, one entry a type.
    type LoadBalancerStatus "Where a load balancer takes traffic.
      ingress []LoadBalancerIngress #1 atomic "Its addresses.
    type LoadBalancerIngress "One address of a load balancer.
      ip string #1 "Its address.
      hostname string #2 "Its DNS name.
      ipMode string? #3 "VIP when nodes see it as destination, Proxy when the load balancer is it.
      ports []PortStatus #4 atomic "How its ports stand.
    type PortStatus "How one port of a load balancer stands.
      port int32! #1 "The port.
      protocol string! #2 enum(TCP|UDP|SCTP) "TCP, UDP or SCTP.
      error string? #3 "What is wrong with it.
    type Endpoints "Where a Service leads; EndpointSlices say it better.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      subsets []EndpointSubset #2 atomic "Addresses that share ports.
    type EndpointSubset "Addresses that share ports.
      addresses []EndpointAddress #1 atomic "Addresses that are ready.
      notReadyAddresses []EndpointAddress #2 atomic "Addresses that are not ready yet.
      ports []EndpointPort #3 atomic "Ports of each of the addresses.
    type EndpointAddress atomic "One address of an endpoint.
      ip string! #1 "The address.
      hostname string #3 "The name in DNS.
      nodeName string? #4 "The node that it is on.
      targetRef ObjectReference? #2 "What has the address, mostly a pod.
    type EndpointPort atomic "One port of an endpoint.
      name string #1 "The name of the Service's port.
      port int32! #2 "The port.
      protocol string #3 = TCP enum(TCP|UDP|SCTP) "TCP, UDP or SCTP.
      appProtocol string? #4 "What is spoken on it.
    """#
}
