// Aliases of aliases: ExternalName Services that name Services.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import DNS

private func alias(_ name: String, _ target: String) -> JSON {
  Fixture.service(name, ["type": "ExternalName", "externalName": JSON(target)])
}

private let zone = planZone(
  view: ClusterView(
    objects: Fixture.objects + [
      alias("twice", "inside.demo.svc.cluster.local"),
      alias("port", "_http._tcp.db.demo.svc.cluster.local"),
      alias("one-port", "port.demo.svc.cluster.local"),
      alias("nowhere", "absent.demo.svc.cluster.local"), alias("space", "demo.svc.cluster.local"),
      alias("pod", "10-42-0-9.demo.pod.cluster.local"), alias("back", "forth.demo.svc.cluster.local"),
      alias("forth", "back.demo.svc.cluster.local"), alias("top", "cluster.local"),
    ]), settings: Fixture.settings)

@Test(arguments: [(RecordType.a, 3), (.aaaa, 2), (.txt, 2), (.mx, 2), (.https, 2), (.cname, 1)])
func `aliases are followed inside the zone whatever is asked`(_ type: RecordType, _ count: Int) {
  let result = Fixture.lookup(zone, "twice.demo.svc.cluster.local", type)
  #expect(result.records.count == count, "\(result)")
  #expect(result.records.first?.data == DomainName("inside.demo.svc.cluster.local").map { .cname($0) })
}

@Test(arguments: [("port", 1), ("one-port", 2)])
func `SRV records at the end of an alias are there with their addresses`(_ name: String, _ aliases: Int) {
  let target = DomainName("_http._tcp.db.demo.svc.cluster.local")
  let result = Fixture.lookup(zone, "\(name).demo.svc.cluster.local", .srv)
  #expect(result.records.count == aliases + 2, "\(result)")
  for record in result.records.dropFirst(aliases) {
    #expect(record.owner == target && record.data.type == .srv, "\(record)")
  }
  let owners = Set(result.additional.map { "\($0)" })
  #expect(
    owners == [
      "db-0.db.demo.svc.cluster.local. 30 IN A 10.42.0.5",
      "10-42-0-6.db.demo.svc.cluster.local. 30 IN A 10.42.0.6",
    ])
}

/// RFC 2308 section 2.2 and RFC 6604 section 3; CoreDNS answers NOERROR without an SOA.
@Test(arguments: [
  ("nowhere", RecordType.a, LookupResult.Outcome.nameError), ("space", .a, .records),
  ("twice", .mx, .records),
  ("port", .a, .records), ("pod", .aaaa, .records),
])
func `an alias to nothing is denied as its target is`(
  _ name: String, _ type: RecordType, _ outcome: LookupResult.Outcome
) {
  let result = Fixture.lookup(zone, "\(name).demo.svc.cluster.local", type)
  #expect(result.outcome == outcome)
  #expect(result.records.last?.data.type == .cname)
  #expect(result.authority.map { "\($0.owner) \($0.data.type)" } == ["cluster.local. SOA"], "\(result)")
}

@Test func `an alias may name a pod, the apex, or itself by way of another`() {
  let pod = Fixture.lookup(zone, "pod.demo.svc.cluster.local", .a).records
  #expect(pod.map { "\($0)" }.last == "10-42-0-9.demo.pod.cluster.local. 30 IN A 10.42.0.9")
  let top = Fixture.lookup(zone, "top.demo.svc.cluster.local", .soa).records
  #expect(
    top.map { "\($0.owner) \($0.data.type)" } == ["top.demo.svc.cluster.local. CNAME", "cluster.local. SOA"])
  #expect(Fixture.lookup(zone, "back.demo.svc.cluster.local", .a).records.count == 2)
}
