// What the specification asks for beyond the plain table, what CoreDNS chose beside it, and where an RFC decides otherwise.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import DNS

private func zone(_ objects: [JSON], _ change: (inout ZoneSettings) -> Void = { _ in }) -> Zone {
  var settings = Fixture.settings
  settings.compatibility = .coreDNS
  change(&settings)
  return planZone(view: ClusterView(objects: Fixture.objects + objects), settings: settings)
}

@Test func `publishNotReadyAddresses publishes endpoints that are not ready`() {
  let early = Fixture.service(
    "early", ["clusterIP": "None", "publishNotReadyAddresses": true, "ports": Fixture.http])
  let slice = Fixture.slice("early", "IPv4", [Fixture.endpoint("10.42.3.1", hostname: "e-0", ready: false)])
  #expect(Fixture.texts(zone([early, slice]), "early.demo.svc.cluster.local", .a) == ["10.42.3.1"])
  #expect(Fixture.texts(zone([early, slice]), "e-0.early.demo.svc.cluster.local", .a) == ["10.42.3.1"])
}

@Test func `addresses of one hostname are one name and one SRV target`() {
  let twin = Fixture.service("twin", ["clusterIP": "None", "ports": Fixture.http])
  let four = Fixture.slice(
    "twin", "IPv4",
    [Fixture.endpoint("10.42.3.1", hostname: "t"), Fixture.endpoint("10.42.3.2", hostname: "t")])
  let six = Fixture.slice("twin", "IPv6", [Fixture.endpoint("fd00:42::3", hostname: "t")])
  let zone = zone([twin, four, six])
  #expect(Fixture.texts(zone, "t.twin.demo.svc.cluster.local", .a) == ["10.42.3.1", "10.42.3.2"])
  #expect(Fixture.texts(zone, "t.twin.demo.svc.cluster.local", .aaaa) == ["fd00:42::3"])
  #expect(Fixture.texts(zone, "twin.demo.svc.cluster.local", .aaaa) == ["fd00:42::3"])
  let services = Fixture.lookup(zone, "_http._tcp.twin.demo.svc.cluster.local", .srv)
  #expect(services.records.count == 1)
  #expect(services.additional.count == 3, "\(services.additional)")
}

@Test func `an unnamed port has no SRV by the specification, and CoreDNS's name when asked for`() {
  let specified = Fixture.zone
  #expect(Fixture.lookup(specified, "_._udp.dual.demo.svc.cluster.local", .srv).outcome == .nameError)
  #expect(Fixture.lookup(specified, "http.tcp.web.demo.svc.cluster.local", .srv).outcome == .nameError)
  let coreDNS = zone([])
  #expect(
    Fixture.texts(coreDNS, "_._udp.dual.demo.svc.cluster.local", .srv) == [
      "0 100 53 dual.demo.svc.cluster.local."
    ])
  #expect(
    Fixture.texts(coreDNS, "http.tcp.web.demo.svc.cluster.local", .srv) == [
      "0 100 80 web.demo.svc.cluster.local."
    ])
}

@Test func `endpoints of a Service with an address have names and PTR in CoreDNS alone`() {
  let slice = Fixture.slice("web", "IPv4", [Fixture.endpoint("10.42.0.30", hostname: "w-0")])
  let coreDNS = zone([slice])
  #expect(Fixture.texts(coreDNS, "w-0.web.demo.svc.cluster.local", .a) == ["10.42.0.30"])
  #expect(Fixture.texts(coreDNS, "30.0.42.10.in-addr.arpa", .ptr) == ["w-0.web.demo.svc.cluster.local."])
  let specified = zone([slice]) { $0.compatibility = [] }
  #expect(Fixture.lookup(specified, "w-0.web.demo.svc.cluster.local", .a).outcome == .nameError)
}

/// CoreDNS says NXDOMAIN for the first and NODATA for the others.
@Test func `RFCs decide where CoreDNS contradicts them`() {
  let zone = zone([])
  // RFC 8020: a name with names below it exists.
  #expect(Fixture.lookup(zone, "_tcp.web.demo.svc.cluster.local", .a).outcome == .noData)
  // RFC 1034 section 3.6.2: an alias answers every type.
  #expect(Fixture.texts(zone, "outside.demo.svc.cluster.local", .srv) == ["www.interwebs.test."])
  // RFC 8482 section 4.2.
  let any = Fixture.lookup(zone, "web.demo.svc.cluster.local", .any)
  #expect(any.records.map(\.data.type) == [.hinfo])
  #expect(Fixture.lookup(zone, "absent.demo.svc.cluster.local", .any).outcome == .nameError)
}

@Test func `ignore empty_service takes the name of a Service without ready endpoints away`() {
  let slice = Fixture.slice("web", "IPv4", [Fixture.endpoint("10.42.0.30", ready: false)])
  let strict = zone([slice]) { $0.ignoresEmptyServices = true }
  #expect(Fixture.lookup(strict, "web.demo.svc.cluster.local", .a).outcome == .nameError)
  #expect(Fixture.texts(zone([slice]), "web.demo.svc.cluster.local", .a) == ["10.43.0.20"])
}

@Test func `noendpoints leaves names of endpoints and of headless Services out, and no others`() {
  let slice = Fixture.slice("web", "IPv4", [Fixture.endpoint("10.42.0.30", hostname: "w-0")])
  let all = zone([slice])
  let without = zone([slice]) { $0.isWithoutEndpoints = true }
  for name in ["db.demo.svc.cluster.local", "w-0.web.demo.svc.cluster.local"] {
    #expect(Fixture.lookup(all, name, .a).outcome == .records, "\(name)")
    #expect(Fixture.lookup(without, name, .a).outcome == .nameError, "\(name)")
  }
  #expect(Fixture.texts(all, "5.0.42.10.in-addr.arpa", .ptr) == ["db-0.db.demo.svc.cluster.local."])
  #expect(Fixture.lookup(without, "5.0.42.10.in-addr.arpa", .ptr).outcome == .elsewhere)
  #expect(Fixture.texts(without, "web.demo.svc.cluster.local", .a) == ["10.43.0.20"])
}

@Test func `pods are named when they are asked for, and denied when not`() {
  let name = "10-42-0-5.demo.pod.cluster.local"
  #expect(Fixture.texts(zone([]), name, .a) == ["10.42.0.5"])
  let disabled = zone([]) { $0.pods = .disabled }
  #expect(Fixture.lookup(disabled, name, .a).outcome == .nameError)
  #expect(Fixture.lookup(disabled, "pod.cluster.local", .a).outcome == .nameError)
}

@Test func `zonal names give a zone's endpoints, all of them, or none`() {
  var near = Fixture.endpoint("10.42.3.1")
  near["zone"] = "a"
  var far = Fixture.endpoint("10.42.3.2")
  far["zone"] = "b"
  let service = Fixture.service("z", ["clusterIP": "None", "ports": Fixture.http])
  let zone = zone([service, Fixture.slice("z", "IPv4", [near, far])]) { $0.isZonal = true }
  #expect(Fixture.texts(zone, "a.pin._zone.z.demo.svc.cluster.local", .a) == ["10.42.3.1"])
  #expect(Fixture.texts(zone, "b.prefer._zone.z.demo.svc.cluster.local", .a) == ["10.42.3.2"])
  #expect(Fixture.lookup(zone, "c.pin._zone.z.demo.svc.cluster.local", .a).outcome == .noData)
  #expect(Fixture.texts(zone, "c.prefer._zone.z.demo.svc.cluster.local", .a) == ["10.42.3.1", "10.42.3.2"])
}

@Test func `labels choose Services and namespaces, and a changed label moves names`() throws {
  var settings = Fixture.settings
  settings.namespaceSelector = try LabelSelector(parsing: "dns=yes")
  var planner = ZonePlanner(settings: settings)
  var view = ClusterView(objects: Fixture.objects)
  #expect(Fixture.lookup(planner.plan(view), "web.demo.svc.cluster.local", .a).outcome == .nameError)
  view.apply(["kind": "Namespace", "metadata": ["name": "demo", "labels": ["dns": "yes"]]])
  #expect(Fixture.texts(planner.plan(view), "web.demo.svc.cluster.local", .a) == ["10.43.0.20"])
  view.apply(["kind": "Namespace", "metadata": ["name": "demo"]])
  #expect(Fixture.lookup(planner.plan(view), "web.demo.svc.cluster.local", .a).outcome == .nameError)
  #expect(Fixture.lookup(planner.plan(view), "20.0.43.10.in-addr.arpa", .ptr).outcome == .elsewhere)
}
