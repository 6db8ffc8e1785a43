// Aliases of aliases: ExternalName Services that name Services.

import ClusterObjects
import ClusterView
import Testing

@testable import DNS

@Test(arguments: [(RecordType.a, 3), (.aaaa, 2), (.txt, 2), (.mx, 2), (.https, 2), (.cname, 1)])
func `aliases are followed inside the zone whatever is asked`(_ type: RecordType, _ count: Int) {
  let twice = Fixture.service(
    "twice", ["type": "ExternalName", "externalName": "inside.demo.svc.cluster.local"])
  let zone = planZone(view: ClusterView(objects: Fixture.objects + [twice]), settings: Fixture.settings)
  let result = Fixture.lookup(zone, "twice.demo.svc.cluster.local", type)
  #expect(result.records.count == count, "\(result)")
  #expect(result.records.first?.data == DomainName("inside.demo.svc.cluster.local").map { .cname($0) })
}
