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
    type Ingress "Leads HTTP requests from outside to Services, by host and path.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec IngressSpec+ #2 "Where requests are to go.
      status IngressStatus+ #3 "Where they arrive.
    type IngressSpec "Hosts, paths and the Services behind them.
      ingressClassName string? #4 "The class, and so the controller, that serves it.
      defaultBackend IngressBackend? #1 "Takes requests that no rule takes.
      tls []IngressTLS #2 atomic "Certificates by host.
      rules []IngressRule #3 atomic "Hosts and their paths; without one all goes to the default backend.
    type IngressBackend "What requests are led to: a Service or another object.
      service IngressServiceBackend? #4 "A Service of the same namespace.
      resource core.TypedLocalObjectReference? #3 "Another object of the same namespace.
    type IngressServiceBackend "A Service and one of its ports.
      name string! #1 "The Service.
      port ServiceBackendPort+ #2 "Its port.
    type ServiceBackendPort atomic "A port by name or by number.
      name string #1 "The port's name.
      number int32 #2 "The port's number.
    type IngressTLS "A certificate and the hosts it is for.
      hosts []string #1 atomic "Hosts; the certificate must name them.
      secretName string #2 "The Secret that holds the certificate and its key.
    type IngressRule "A host and its paths.
      host string #1 "A name, or *.name for one label before it; empty is every host.
      ~ IngressRuleValue #2
    type IngressRuleValue "What a rule leads.
      http HTTPIngressRuleValue? #1 "The host's paths.
    type HTTPIngressRuleValue "The paths of a host.
      paths []HTTPIngressPath! #1 atomic "Paths and what they lead to.
    type HTTPIngressPath "A path and what it leads to.
      path string #1 "Begins with a slash.
      pathType string?! #3 "Exact, Prefix by whole segments, or ImplementationSpecific.
      backend IngressBackend! #2 "What takes the requests.
    type IngressStatus "Where requests arrive.
      loadBalancer IngressLoadBalancerStatus+ #1 "Addresses that lead here.
    type IngressLoadBalancerStatus "Addresses that lead here.
      ingress []IngressLoadBalancerIngress #1 atomic "The addresses.
    type IngressLoadBalancerIngress "One address.
      ip string #1 "Its IP.
      hostname string #2 "Its name.
      ports []IngressPortStatus #4 atomic "Its ports and how they are.
    type IngressPortStatus "A port of an address.
      port int32! #1 "Its number.
      protocol string! #2 enum(TCP|UDP|SCTP) "TCP, UDP or SCTP.
      error string? #3 "What is wrong with it; a word or domain/Word.
    type IngressClass "A controller of Ingresses and its settings.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec IngressClassSpec+ #2 "Who serves the class.
    type IngressClassSpec "Who serves the class, and how.
      controller string #1 "The controller's name, such as example.com/ingress; it never changes.
      parameters IngressClassParametersReference? #2 "An object with more settings.
    type IngressClassParametersReference "An object with a controller's settings.
      apiGroup string? #1 "Its group; empty for the core group.
      kind string! #2 "Its kind.
      name string! #3 "Its name.
      scope string? #4 = Cluster "Cluster or Namespace.
      namespace string? #5 "Its namespace when the scope is Namespace.
    type NetworkPolicy "Which traffic the chosen pods may have.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec NetworkPolicySpec+ #2 "Pods and what they may exchange.
    type NetworkPolicySpec "Pods and what they may exchange; what no rule allows is dropped.
      podSelector meta.LabelSelector+ #1 "The pods; an empty one is all of the namespace.
      ingress []NetworkPolicyIngressRule #2 atomic "What may come in.
      egress []NetworkPolicyEgressRule #3 atomic "What may go out.
      policyTypes []string #4 enum(Ingress|Egress) atomic \#
    "Ingress, Egress or both: the directions that are ruled.
    type NetworkPolicyIngressRule "Traffic that may come in.
      ports []NetworkPolicyPort #1 atomic "To these ports; none is all.
      from []NetworkPolicyPeer #2 atomic "From these; none is everyone.
    type NetworkPolicyPort "A port or a range of ports.
      protocol string? #1 = TCP enum(TCP|UDP|SCTP) "TCP, UDP or SCTP.
      port intstr? #2 "A number or a port's name; none is all.
      endPort int32? #3 "The last port of a range.
    type NetworkPolicyPeer "Pods, namespaces or addresses.
      podSelector meta.LabelSelector? #1 "Pods of this namespace, or of the chosen ones.
      namespaceSelector meta.LabelSelector? #2 "Namespaces whose pods are meant.
      ipBlock IPBlock? #3 "Addresses; nothing else may be set beside it.
    type IPBlock "A range of addresses without parts of it.
      cidr string! #1 "The range, such as 192.168.0.0/16.
      except []string #2 atomic "Parts of the range that are left out.
    type NetworkPolicyEgressRule "Traffic that may go out.
      ports []NetworkPolicyPort #1 atomic "To these ports; none is all.
      to []NetworkPolicyPeer #2 atomic "To these; none is everywhere.
    type ServiceCIDR "A range that Services get their addresses from.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ServiceCIDRSpec+ #2 "The range.
      status ServiceCIDRStatus+ #3 "Whether it is in use.
    type ServiceCIDRSpec "The range.
      cidrs []string #1 atomic "One range, or one of each family; they never change.
    type ServiceCIDRStatus "Whether the range is in use.
      conditions []meta.Condition #1 merge(type) map(type) "Ready, or why not.
    type IPAddress "An address of a Service; it is named after the address.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec IPAddressSpec! #2 "Whose address it is.
    type IPAddressSpec "Whose address it is.
      parentRef ParentReference?! #1 "The object that has the address.
    type ParentReference "The object that has an address.
      group string #1 "Its group; empty for the core group.
      resource string! #2 "Its resource, such as services.
      namespace string #3 "Its namespace.
      name string! #4 "Its name.
    """#
}
