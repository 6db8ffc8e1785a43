// Names of the cluster set: Kubernetes DNS-Based Multicluster Service Discovery 1.0.0 (KEP-1645), clause by clause.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Testing

@testable import DNS

private func imported(_ name: String, _ spec: JSON, namespace: String = "demo") -> JSON {
  [
    "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport",
    "metadata": ["name": JSON(name), "namespace": JSON(namespace)], "spec": spec,
  ]
}

private func slice(_ service: String, _ cluster: String, _ family: String, _ endpoints: [JSON]) -> JSON {
  [
    "kind": "EndpointSlice", "addressType": JSON(family),
    "metadata": [
      "name": JSON("\(service)-\(cluster)-\(family.lowercased())"), "namespace": "demo",
      "labels": [
        "multicluster.kubernetes.io/service-name": JSON(service),
        "multicluster.kubernetes.io/source-cluster": JSON(cluster),
      ],
    ],
    "ports": [["name": "http", "port": 8080, "protocol": "TCP"], ["port": 9000]],
    "endpoints": .array(endpoints),
  ]
}

private let objects: [JSON] = [
  imported(
    "web", ["type": "ClusterSetIP", "ips": ["10.44.0.20", "fd00:44::14"], "ports": Fixture.http]),
  // Has an address of the cluster's own web as well: that one's PTR record stands.
  imported("same", ["type": "ClusterSetIP", "ips": ["10.43.0.20"], "ports": [["port": 80]]]),
  imported("far", ["type": "ClusterSetIP", "ips": ["10.44.0.21"]], namespace: "elsewhere"),
  imported("pets", ["type": "Headless", "ports": Fixture.http]),
  imported("none", ["type": "Headless", "ports": Fixture.http]), imported("early", ["type": "ClusterSetIP"]),
  slice("web", "a", "IPv4", [Fixture.endpoint("10.50.1.9")]),
  slice(
    "pets", "a", "IPv4",
    [
      Fixture.endpoint("10.50.1.1", hostname: "my-pet"), Fixture.endpoint("10.50.1.2"),
      Fixture.endpoint("10.50.1.3", ready: false),
    ]), slice("pets", "b", "IPv4", [Fixture.endpoint("10.51.1.1", hostname: "my-pet")]),
  slice("pets", "b", "IPv6", [Fixture.endpoint("fd00:51::1", hostname: "my-pet")]),
  slice("none", "a", "IPv4", [Fixture.endpoint("10.50.2.1", ready: false)]),
]

private var settings: ZoneSettings {
  var settings = Fixture.settings
  settings.multiclusterZones = [DomainName("clusterset.local") ?? .root]
  return settings
}

private func view(isRead: Bool = true) -> ClusterView {
  var view = ClusterView(objects: Fixture.objects + objects)
  if isRead { view.markImportsRead() }
  return view
}

private let zone = planZone(view: view(), settings: settings)

@Test(arguments: [
  Expectation("dns-version.clusterset.local", .txt, ["\"1.0.0\""]),
  Expectation("dns-version.cluster.local", .txt, ["\"1.1.0\""]),
  Expectation("web.demo.svc.clusterset.local", .a, ["10.44.0.20"]),
  Expectation("web.demo.svc.clusterset.local", .aaaa, ["fd00:44::14"]),
  Expectation("web.demo.svc.cluster.local", .a, ["10.43.0.20"]),
  Expectation("_http._tcp.web.demo.svc.clusterset.local", .srv, ["0 100 80 web.demo.svc.clusterset.local."]),
  Expectation("20.0.44.10.in-addr.arpa", .ptr, ["web.demo.svc.clusterset.local."]),
  Expectation("20.0.43.10.in-addr.arpa", .ptr, ["web.demo.svc.cluster.local."]),
  Expectation("far.elsewhere.svc.clusterset.local", .a, ["10.44.0.21"]),
  Expectation("pets.demo.svc.clusterset.local", .a, ["10.50.1.1", "10.50.1.2", "10.51.1.1"]),
  Expectation("pets.demo.svc.clusterset.local", .aaaa, ["fd00:51::1"]),
  Expectation("my-pet.a.pets.demo.svc.clusterset.local", .a, ["10.50.1.1"]),
  Expectation("my-pet.b.pets.demo.svc.clusterset.local", .a, ["10.51.1.1"]),
  Expectation("my-pet.b.pets.demo.svc.clusterset.local", .aaaa, ["fd00:51::1"]),
  Expectation("10-50-1-2.a.pets.demo.svc.clusterset.local", .a, ["10.50.1.2"]),
  Expectation(
    "_http._tcp.pets.demo.svc.clusterset.local", .srv,
    [
      "0 33 8080 10-50-1-2.a.pets.demo.svc.clusterset.local.",
      "0 33 8080 my-pet.a.pets.demo.svc.clusterset.local.",
      "0 33 8080 my-pet.b.pets.demo.svc.clusterset.local.",
    ]), Expectation("1.1.50.10.in-addr.arpa", .ptr, ["my-pet.a.pets.demo.svc.clusterset.local."]),
  Expectation("clusterset.local", .ns, ["ns.dns.clusterset.local."]),
  Expectation("ns.dns.clusterset.local", .a, ["10.43.0.10"]),
])
func `a name of the cluster set has its records`(_ expected: Expectation) {
  let result = Fixture.lookup(zone, expected.name, expected.type)
  #expect(result.records.map(ResourceText.data).sorted() == expected.data, "\(result.reason)")
}

@Test(arguments: [
  ("none.demo.svc.clusterset.local", RecordType.a, LookupResult.Outcome.nameError),
  ("early.demo.svc.clusterset.local", .a, .nameError), ("db.demo.svc.clusterset.local", .a, .nameError),
  ("pets.demo.svc.cluster.local", .a, .nameError), ("a.web.demo.svc.clusterset.local", .a, .nameError),
  ("10-50-1-3.a.pets.demo.svc.clusterset.local", .a, .nameError),
  ("10-42-0-7.demo.pod.clusterset.local", .a, .nameError), ("web.demo.svc.clusterset.local", .mx, .noData),
  ("a.pets.demo.svc.clusterset.local", .a, .noData), ("demo.svc.clusterset.local", .a, .noData),
  ("elsewhere.svc.clusterset.local", .a, .noData), ("svc.clusterset.local", .a, .noData),
  ("gone.svc.clusterset.local", .a, .nameError),
])
func `what the cluster set has not is denied by its own zone`(
  _ name: String, _ type: RecordType, _ outcome: LookupResult.Outcome
) {
  let result = Fixture.lookup(zone, name, type)
  #expect(result.outcome == outcome, "\(result.reason)")
  let apex = name.hasSuffix("clusterset.local") ? "clusterset.local" : "cluster.local"
  #expect(result.authority.map { "\($0.owner) \($0.data.type)" } == ["\(apex). SOA"])
}

@Test func `until imports have been read their names are SERVFAIL, and the cluster's own are answered`() {
  let zone = planZone(view: view(isRead: false), settings: settings)
  #expect(Fixture.lookup(zone, "web.demo.svc.clusterset.local", .a).outcome == .serverFailure)
  #expect(Fixture.texts(zone, "web.demo.svc.cluster.local", .a) == ["10.43.0.20"])
}

/// As a changed configuration is: everything anew, and nothing that changed since.
@Test func `a plan that begins anew knows that imports have been read`() {
  var planner = ZonePlanner(settings: settings)
  planner.stage(view().allChanges)
  let zone = planner.plan(ViewChanges())
  #expect(Fixture.texts(zone, "web.demo.svc.clusterset.local", .a) == ["10.44.0.20"])
  #expect(planner.plan(ViewChanges()) === zone)
}

@Test func `imports that come, change and go are in the names at once`() {
  var view = view(isRead: false)
  var planner = ZonePlanner(settings: settings)
  _ = planner.plan(view.takeChanges())
  view.markImportsRead()
  #expect(
    Fixture.texts(planner.plan(view.takeChanges()), "web.demo.svc.clusterset.local", .a) == ["10.44.0.20"])
  view.apply(imported("web", ["type": "ClusterSetIP", "ips": ["10.44.0.99"]]))
  view.apply(slice("pets", "a", "IPv4", [Fixture.endpoint("10.50.1.7", hostname: "my-pet")]))
  let changed = planner.plan(view.takeChanges())
  #expect(planner.work.services == 2)
  #expect(Fixture.texts(changed, "web.demo.svc.clusterset.local", .a) == ["10.44.0.99"])
  #expect(Fixture.texts(changed, "my-pet.a.pets.demo.svc.clusterset.local", .a) == ["10.50.1.7"])
  #expect(Fixture.lookup(changed, "20.0.44.10.in-addr.arpa", .ptr).outcome == .elsewhere)
  view.remove(kind: "ServiceImport", ObjectKey("demo", "web"))
  view.remove(kind: "ServiceImport", ObjectKey("elsewhere", "far"))
  view.remove(kind: "EndpointSlice", ObjectKey("demo", "pets-a-ipv4"))
  let gone = planner.plan(view.takeChanges())
  #expect(Fixture.lookup(gone, "web.demo.svc.clusterset.local", .a).outcome == .nameError)
  #expect(Fixture.lookup(gone, "elsewhere.svc.clusterset.local", .a).outcome == .nameError)
  #expect(Fixture.texts(gone, "pets.demo.svc.clusterset.local", .a) == ["10.51.1.1"])
  #expect(Fixture.texts(gone, "web.demo.svc.cluster.local", .a) == ["10.43.0.20"])
}

@Test func `an import that cannot be read is left out and named`() {
  let broken = imported("broken", ["type": "ClusterSetIP", "ips": ["10.44.0.300"]])
  let view = ClusterView(objects: objects + [broken])
  #expect(view.serviceImports[ObjectKey("demo", "broken")] == nil)
  #expect(view.quarantined.values.contains { $0.field == "spec.ips" })
}

@Test func `multicluster in a Corefile names zones of the kubernetes line`() throws {
  let text = "kubernetes cluster.local clusterset.local in-addr.arpa {\n  multicluster clusterset.local\n }"
  let corefile = try Corefile.read(". {\n \(text)\n}\n")
  #expect(corefile.zone?.zone == DomainName("cluster.local"))
  #expect(corefile.zone?.multiclusterZones == [DomainName("clusterset.local") ?? .root])
  #expect(corefile.warnings.isEmpty)
  for line in ["multicluster", "multicluster other.local"] {
    let wrong = ". {\n kubernetes cluster.local clusterset.local {\n  \(line)\n }\n}\n"
    let error = #expect(throws: WeftError.self) { try Corefile.read(wrong) }
    #expect(error?.object == "Corefile:3")
  }
}
