// External names of Services, as `k8s_external` serves them.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Testing

@testable import DNS

private func settings(headless: Bool = false) -> ZoneSettings {
  var settings = Fixture.settings
  settings.reverseZones = ["113.0.203.in-addr.arpa"].compactMap { DomainName($0) }
  settings.fallthroughZones = []
  var external = ZoneSettings.ExternalZones(zones: [DomainName("Example.org") ?? .root])
  external.isHeadlessServed = headless
  settings.external = external
  return settings
}

private let loadBalancer: JSON = [
  "kind": "Service", "metadata": ["name": "shop", "namespace": "demo"],
  "spec": [
    "type": "LoadBalancer", "clusterIP": "10.43.0.40", "ports": Fixture.http, "externalIPs": ["203.0.113.9"],
  ],
  "status": ["loadBalancer": ["ingress": [["ip": "203.0.113.8"], ["ip": "2001:db8::8"]]]],
]

@Suite struct ExternalZoneTests {
  let zone = planZone(view: ClusterView(objects: Fixture.objects + [loadBalancer]), settings: settings())

  @Test(arguments: [
    ("shop.demo.example.org", RecordType.a, ["203.0.113.8", "203.0.113.9"]),
    ("SHOP.demo.EXAMPLE.org", .aaaa, ["2001:db8::8"]),
    ("_http._tcp.shop.demo.example.org", .srv, ["0 100 80 shop.demo.example.org."]),
    ("shop.demo.svc.cluster.local", .a, ["10.43.0.40"]), ("ns.dns.example.org", .a, ["10.43.0.10"]),
    ("example.org", .ns, ["ns.dns.example.org."]),
    ("8.113.0.203.in-addr.arpa", .ptr, ["shop.demo.example.org."]),
  ])
  func `a Service has its outside addresses under its external name`(
    _ name: String, _ type: RecordType, _ texts: [String]
  ) {
    #expect(Fixture.texts(zone, name, type) == texts)
  }

  @Test(arguments: [
    ("web.demo.example.org", RecordType.a, LookupResult.Outcome.nameError),
    ("db.demo.example.org", .a, .nameError), ("shop.demo.example.org", .txt, .noData),
    ("demo.example.org", .a, .noData), ("absent.example.org", .a, .nameError),
    ("10-42-0-5.demo.pod.example.org", .a, .nameError), ("dns.example.org", .a, .noData),
    ("shop.demo.svc.example.org", .a, .nameError),
  ])
  func `what has no outside address is denied there`(
    _ name: String, _ type: RecordType, _ outcome: LookupResult.Outcome
  ) {
    let result = Fixture.lookup(zone, name, type)
    #expect(result.outcome == outcome)
    #expect(result.authority.first?.owner == DomainName("example.org"))
  }

  @Test func `headless Services have their endpoints there when asked for`() {
    let zone = planZone(view: ClusterView(objects: Fixture.objects), settings: settings(headless: true))
    #expect(Fixture.texts(zone, "db.demo.example.org", .a) == ["10.42.0.5", "10.42.0.6"])
    #expect(Fixture.lookup(zone, "idle.demo.example.org", .a).outcome == .nameError)
  }

  @Test func `a lost address leaves no name and no pointer`() {
    var view = ClusterView(objects: Fixture.objects + [loadBalancer])
    var planner = ZonePlanner(settings: settings())
    _ = planner.plan(view)
    view.apply(Fixture.service("shop", ["clusterIP": "10.43.0.40", "ports": Fixture.http]))
    let zone = planner.plan(view)
    #expect(Fixture.lookup(zone, "shop.demo.example.org", .a).outcome == .nameError)
    #expect(Fixture.lookup(zone, "8.113.0.203.in-addr.arpa", .ptr).outcome == .nameError)
    #expect(Fixture.texts(zone, "shop.demo.svc.cluster.local", .a) == ["10.43.0.40"])
  }

  @Test func `a Corefile's external zones stand before or after the cluster's`() throws {
    for lines in [
      "k8s_external ext.test {\n ttl 9\n headless\n}\nkubernetes cluster.local",
      "kubernetes cluster.local\nk8s_external ext.test {\n ttl 9\n headless\n}",
    ] {
      let external = try Corefile.read(". {\n\(lines)\n}").zone?.external
      #expect(external?.zones == [DomainName("ext.test") ?? .root] && external?.ttl == 9)
      #expect(external?.isHeadlessServed == true)
    }
    #expect(throws: WeftError.self) { try Corefile.read(". {\n k8s_external ext.test\n}") }
  }
}
