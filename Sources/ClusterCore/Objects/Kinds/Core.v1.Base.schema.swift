// Core kinds without pods: namespaces, configuration, events, services.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreBaseV1 = #"""
    group core - v1 io.k8s.api.core.v1
    kind Namespace namespaces short=ns sub=finalize,status nocollection
    kind Service services short=svc cat=all ns sub=proxy,status
    kind ConfigMap configmaps short=cm ns
    kind Secret secrets ns
    kind ServiceAccount serviceaccounts short=sa ns sub=token
    kind Event events short=ev ns
    kind Binding bindings ns verbs=create
    type Namespace
      metadata meta.ObjectMeta #1
      spec NamespaceSpec+ #2
      status NamespaceStatus+ #3
    type NamespaceSpec
      finalizers []string #1 atomic
    type NamespaceStatus
      phase string #1 = Active enum(Active|Terminating)
      conditions []NamespaceCondition #2 merge(type) map(type)
    type NamespaceCondition
      type string! #1
      status string! #2
      lastTransitionTime time #4
      reason string #5
      message string #6
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
    type ConfigMap
      metadata meta.ObjectMeta #1
      immutable bool? #4
      data map[string] #2
      binaryData map[bytes] #3
    type Secret
      metadata meta.ObjectMeta #1
      immutable bool? #5
      data map[bytes] #2
      stringData map[string] #4
      type string #3 = Opaque
    type ServiceAccount
      metadata meta.ObjectMeta #1
      secrets []ObjectReference #2 merge(name) map(name)
      imagePullSecrets []LocalObjectReference #3 atomic
      automountServiceAccountToken bool? #4
    type ObjectReference
      kind string #1
      namespace string #2
      name string #3
      uid string #4
      apiVersion string #5
      resourceVersion string #6
      fieldPath string #7
    type Event
      metadata meta.ObjectMeta! #1
      involvedObject ObjectReference! #2
      reason string #3
      message string #4
      source EventSource+ #5
      firstTimestamp time #6
      lastTimestamp time #7
      count int32 #8
      type string #9
      eventTime microtime #10
      series EventSeries? #11
      action string #12
      related ObjectReference? #13
      reportingComponent string+ #14
      reportingInstance string+ #15
    type EventSource
      component string #1
      host string #2
    type EventSeries
      count int32 #1
      lastObservedTime microtime #2
    type Binding
      metadata meta.ObjectMeta #1
      target ObjectReference! #2
    """#
}
