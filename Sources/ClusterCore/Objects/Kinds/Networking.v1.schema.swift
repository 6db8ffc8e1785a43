// Ingresses, their classes, network policies, ranges and addresses of Services.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let networkingV1 = #"""
    group networking networking.k8s.io v1 io.k8s.api.networking.v1
    kind Ingress ingresses short=ing ns sub=status
    kind IngressClass ingressclasses
    kind NetworkPolicy networkpolicies short=netpol ns
    kind ServiceCIDR servicecidrs sub=status
    kind IPAddress ipaddresses short=ip
    type Ingress
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec IngressSpec+ #2
      status IngressStatus+ #3
    type IngressSpec
      ingressClassName string? #4
      defaultBackend IngressBackend? #1
      tls []IngressTLS #2 atomic
      rules []IngressRule #3 atomic
    type IngressBackend
      service IngressServiceBackend? #4
      resource core.TypedLocalObjectReference? #3
    type IngressServiceBackend
      name string! #1
      port ServiceBackendPort+ #2
    type ServiceBackendPort atomic
      name string #1
      number int32 #2
    type IngressTLS
      hosts []string #1 atomic
      secretName string #2
    type IngressRule
      host string #1
      ~ IngressRuleValue #2
    type IngressRuleValue
      http HTTPIngressRuleValue? #1
    type HTTPIngressRuleValue
      paths []HTTPIngressPath! #1 atomic
    type HTTPIngressPath
      path string #1
      pathType string?! #3
      backend IngressBackend! #2
    type IngressStatus
      loadBalancer IngressLoadBalancerStatus+ #1
    type IngressLoadBalancerStatus
      ingress []IngressLoadBalancerIngress #1 atomic
    type IngressLoadBalancerIngress
      ip string #1
      hostname string #2
      ports []IngressPortStatus #4 atomic
    type IngressPortStatus
      port int32! #1
      protocol string! #2 enum(TCP|UDP|SCTP)
      error string? #3
    type IngressClass
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec IngressClassSpec+ #2
    type IngressClassSpec
      controller string #1
      parameters IngressClassParametersReference? #2
    type IngressClassParametersReference
      apiGroup string? #1
      kind string! #2
      name string! #3
      scope string? #4 = Cluster
      namespace string? #5
    type NetworkPolicy
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec NetworkPolicySpec+ #2
    type NetworkPolicySpec
      podSelector meta.LabelSelector+ #1
      ingress []NetworkPolicyIngressRule #2 atomic
      egress []NetworkPolicyEgressRule #3 atomic
      policyTypes []string #4 enum(Ingress|Egress) atomic
    type NetworkPolicyIngressRule
      ports []NetworkPolicyPort #1 atomic
      from []NetworkPolicyPeer #2 atomic
    type NetworkPolicyPort
      protocol string? #1 = TCP enum(TCP|UDP|SCTP)
      port intstr? #2
      endPort int32? #3
    type NetworkPolicyPeer
      podSelector meta.LabelSelector? #1
      namespaceSelector meta.LabelSelector? #2
      ipBlock IPBlock? #3
    type IPBlock
      cidr string! #1
      except []string #2 atomic
    type NetworkPolicyEgressRule
      ports []NetworkPolicyPort #1 atomic
      to []NetworkPolicyPeer #2 atomic
    type ServiceCIDR
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ServiceCIDRSpec+ #2
      status ServiceCIDRStatus+ #3
    type ServiceCIDRSpec
      cidrs []string #1 atomic
    type ServiceCIDRStatus
      conditions []meta.Condition #1 merge(type) map(type)
    type IPAddress
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec IPAddressSpec! #2
    type IPAddressSpec
      parentRef ParentReference?! #1
    type ParentReference
      group string #1
      resource string! #2
      namespace string #3
      name string! #4
    """#
}
