// The cluster that the rules of names are about, as manifests, and the Corefile by which it is served.

enum NamedCluster {
  static let manifests = """
    apiVersion: v1
    kind: Namespace
    metadata: {name: demo}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: web, namespace: demo}
    spec:
      clusterIP: 10.43.7.20
      ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: db, namespace: demo}
    spec: {clusterIP: None, ports: [{name: pg, port: 5432}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: db-4, namespace: demo, labels: {kubernetes.io/service-name: db}}
    addressType: IPv4
    ports: [{name: pg, port: 5432, protocol: TCP}]
    endpoints:
    - {addresses: [10.42.7.5], hostname: db-0, conditions: {ready: true}}
    - {addresses: [10.42.7.6], conditions: {ready: true}}
    - {addresses: [10.42.7.7], conditions: {ready: false}}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: db-6, namespace: demo, labels: {kubernetes.io/service-name: db}}
    addressType: IPv6
    ports: [{name: pg, port: 5432, protocol: TCP}]
    endpoints: [{addresses: ["fd00:42::5"], hostname: db-0, conditions: {ready: true}}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: idle, namespace: demo}
    spec: {clusterIP: None, ports: [{port: 80}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: early, namespace: demo}
    spec: {clusterIP: None, publishNotReadyAddresses: true, ports: [{port: 80}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: early-4, namespace: demo, labels: {kubernetes.io/service-name: early}}
    addressType: IPv4
    ports: [{port: 80, protocol: TCP}]
    endpoints: [{addresses: [10.42.7.9], conditions: {ready: false}}]

    """
    + [
      ("outside", "www.interwebs.test"), ("inside", "web.demo.svc.cluster.local"),
      ("astray", "absent.demo.svc.cluster.local"),
    ].map(external).joined()

  static func external(_ name: String, _ target: String) -> String {
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: \(name), namespace: demo}\n"
      + "spec: {type: ExternalName, externalName: \(target)}\n"
  }

  /// An API server takes no such name; whoever reads manifests may meet one.
  static let underscored = external("port", "_http._tcp.web.demo.svc.cluster.local")

  static let corefile = """
    .:5300 {
      errors
      kubernetes cluster.local clusterset.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 30
        multicluster clusterset.local
      }
      transfer cluster.local {
        to *
      }
      reload 2s
    }

    """

  /// The resource of the cluster set, and one that it imports.
  static let setResource = """
    apiVersion: apiextensions.k8s.io/v1
    kind: CustomResourceDefinition
    metadata:
      name: serviceimports.multicluster.x-k8s.io
      annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes/enhancements/pull/1748"}
    spec:
      group: multicluster.x-k8s.io
      scope: Namespaced
      names: {plural: serviceimports, singular: serviceimport, kind: ServiceImport}
      versions:
      - name: v1alpha1
        served: true
        storage: true
        schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}

    """

  static let farService = """
    apiVersion: multicluster.x-k8s.io/v1alpha1
    kind: ServiceImport
    metadata: {name: far, namespace: demo}
    spec: {type: ClusterSetIP, ips: [10.43.200.7], ports: [{name: http, port: 80, protocol: TCP}]}

    """
}
