// Trees in, parsed and indexed values out; what cannot be read is left out by name.
import Addresses
import ClusterObjects
import ClusterView
import Testing

private func slice(_ name: String, service: String, _ endpoints: [JSON]) -> JSON {
  [
    "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": [
      "name": JSON(name), "namespace": "demo", "labels": ["kubernetes.io/service-name": JSON(service)],
    ],
    "ports": [["name": "http", "port": 8080, "protocol": "TCP"]], "endpoints": .array(endpoints),
  ]
}

private func endpoint(
  _ address: String, ready: Bool = true, serving: Bool? = nil, terminating: Bool = false, node: String = "a"
) -> JSON {
  [
    "addresses": [JSON(address)], "nodeName": JSON(node),
    "conditions": [
      "ready": JSON(ready), "serving": JSON(serving ?? ready), "terminating": JSON(terminating),
    ],
  ]
}

private let web = ObjectKey("demo", "web")
private let http = Service.Port(name: "http", transport: .tcp, port: 80)

@Test func `ready endpoints of all slices serve and local ones are told apart`() {
  let view = ClusterView(objects: [
    slice("web-1", service: "web", [endpoint("10.42.0.2"), endpoint("10.42.0.3", ready: false)]),
    slice("web-2", service: "web", [endpoint("10.42.1.2", node: "b")]),
    slice("other", service: "other", [endpoint("10.42.0.9")]),
  ])
  let (cluster, local) = view.endpoints(of: web, port: http, family: .v4, on: "a")
  #expect(cluster.map(\.target.description) == ["10.42.0.2:8080", "10.42.1.2:8080"])
  #expect(local.map(\.target.description) == ["10.42.0.2:8080"])
}

@Test func `terminating endpoints that serve are used only when none is ready`() {
  var view = ClusterView(objects: [
    slice(
      "web-1", service: "web",
      [
        endpoint("10.42.0.2", ready: false, serving: true, terminating: true),
        endpoint("10.42.0.3", ready: false),
      ])
  ])
  #expect(view.endpoints(of: web, port: http, family: .v4, on: nil).cluster.map(\.target.port) == [8080])
  view.apply(slice("web-2", service: "web", [endpoint("10.42.0.4")]))
  #expect(
    view.endpoints(of: web, port: http, family: .v4, on: nil).cluster.map(\.target.description) == [
      "10.42.0.4:8080"
    ])
}

@Test func `a slice that changes its Service leaves the old one`() {
  var view = ClusterView(objects: [slice("s", service: "web", [endpoint("10.42.0.2")])])
  view.apply(slice("s", service: "other", [endpoint("10.42.0.2")]))
  #expect(view.slices(of: web).isEmpty && view.slices(of: ObjectKey("demo", "other")).count == 1)
  view.remove(kind: "EndpointSlice", ObjectKey("demo", "s"))
  #expect(view.endpointSlices.isEmpty)
}

@Test func `an unreadable object is quarantined by name and comes back when mended`() {
  var service: JSON = [
    "kind": "Service", "metadata": ["name": "web", "namespace": "demo"],
    "spec": ["clusterIP": "10.43.0.300", "ports": [["port": 80]]],
  ]
  var view = ClusterView(objects: [service])
  #expect(view.services.isEmpty)
  #expect(
    view.quarantined.values.first?.description
      == "Service demo/web: spec.clusterIP cannot be read: 10.43.0.300")
  service.set("10.43.0.30", at: "spec", "clusterIP")
  view.apply(service)
  #expect(view.quarantined.isEmpty && view.services[web]?.clusterIPs.map(\.description) == ["10.43.0.30"])
}

@Test func `a policy peer of unknown kind selects nobody`() {
  let view = ClusterView(objects: [
    [
      "kind": "NetworkPolicy", "metadata": ["name": "p", "namespace": "demo"],
      "spec": ["ingress": [["from": [["newKind": [:]]]]]],
    ]
  ])
  #expect(view.networkPolicies.isEmpty && view.quarantined.count == 1)
}

@Test func `a policy reads peers, ports and directions`() throws {
  let tree = try JSON(
    parsing: #"""
      {"kind":"NetworkPolicy","metadata":{"name":"p","namespace":"demo"},"spec":{"podSelector":{"matchLabels":{"app":"web"}},
      "ingress":[{"from":[{"podSelector":{}},{"namespaceSelector":{"matchLabels":{"team":"x"}}},
      {"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],"ports":[{"port":80},{"port":"http"},{"port":9000,"endPort":9100,"protocol":"UDP"},{}]}]}}
      """#)
  let policy = try NetworkPolicy(tree)
  #expect(policy.directions == [.ingress])
  #expect(policy.ingress[0].peers.count == 3)
  #expect(
    policy.ingress[0].ports.map(\.port) == [.range(80...80), .named("http"), .range(9000...9100), .any])
}
