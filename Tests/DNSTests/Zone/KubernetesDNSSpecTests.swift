// Kubernetes DNS-Based Service Discovery 1.1.0, clause by clause, on a planned zone.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import DNS

private let zone = Fixture.zone

struct Expectation: Sendable {
  var name: String
  var type: RecordType
  var data: [String]
  init(_ name: String, _ type: RecordType, _ data: [String]) {
    self.name = name
    self.type = type
    self.data = data
  }
}

@Test(arguments: [
  Expectation("dns-version.cluster.local", .txt, ["\"1.1.0\""]),
  Expectation("web.demo.svc.cluster.local", .a, ["10.43.0.20"]),
  Expectation("WEB.Demo.svc.CLUSTER.local", .a, ["10.43.0.20"]),
  Expectation("dual.demo.svc.cluster.local", .a, ["10.43.0.21"]),
  Expectation("dual.demo.svc.cluster.local", .aaaa, ["fd00:43::15"]),
  Expectation("_http._tcp.web.demo.svc.cluster.local", .srv, ["0 100 80 web.demo.svc.cluster.local."]),
  Expectation("20.0.43.10.in-addr.arpa", .ptr, ["web.demo.svc.cluster.local."]),
  Expectation("db.demo.svc.cluster.local", .a, ["10.42.0.5", "10.42.0.6"]),
  Expectation("db-0.db.demo.svc.cluster.local", .a, ["10.42.0.5"]),
  Expectation("10-42-0-6.db.demo.svc.cluster.local", .a, ["10.42.0.6"]),
  Expectation(
    "_http._tcp.db.demo.svc.cluster.local", .srv,
    ["0 50 8080 10-42-0-6.db.demo.svc.cluster.local.", "0 50 8080 db-0.db.demo.svc.cluster.local."]),
  Expectation("5.0.42.10.in-addr.arpa", .ptr, ["db-0.db.demo.svc.cluster.local."]),
  Expectation("six.demo.svc.cluster.local", .aaaa, ["fd00:42::9"]),
  Expectation(
    "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.4.0.0.0.0.d.f.ip6.arpa", .ptr,
    ["six-0.six.demo.svc.cluster.local."]),
  Expectation("outside.demo.svc.cluster.local", .cname, ["www.interwebs.test."]),
  Expectation("outside.demo.svc.cluster.local", .a, ["www.interwebs.test."]),
  Expectation("inside.demo.svc.cluster.local", .a, ["10.43.0.20", "web.demo.svc.cluster.local."]),
  Expectation("10-42-0-77.demo.pod.cluster.local", .a, ["10.42.0.77"]),
  Expectation("fd00-42--7.demo.pod.cluster.local", .aaaa, ["fd00:42::7"]),
  Expectation("cluster.local", .ns, ["ns.dns.cluster.local."]),
  Expectation("ns.dns.cluster.local", .a, ["10.43.0.10"]),
])
func `a name of the specification has its records`(_ expected: Expectation) {
  let result = Fixture.lookup(zone, expected.name, expected.type)
  #expect(result.records.map(ResourceText.data).sorted() == expected.data, "\(result.reason)")
}

@Test(arguments: [
  ("web.demo.svc.cluster.local", RecordType.aaaa), ("web.demo.svc.cluster.local", .mx),
  ("web.demo.svc.cluster.local", .https), ("empty.svc.cluster.local", .any), ("svc.cluster.local", .a),
  ("demo.svc.cluster.local", .a), ("empty.svc.cluster.local", .a), ("pod.cluster.local", .a),
  ("demo.pod.cluster.local", .a), ("_tcp.web.demo.svc.cluster.local", .srv), ("dns.cluster.local", .a),
  ("dns-version.cluster.local", .a), ("six.demo.svc.cluster.local", .a),
  ("selfish.demo.svc.cluster.local", .a),
  ("20.0.43.10.in-addr.arpa", .a), ("10-42-0-77.demo.pod.cluster.local", .aaaa), ("cluster.local", .a),
])
func `an existing name without the type is NODATA with an SOA`(_ name: String, _ type: RecordType) {
  let result = Fixture.lookup(zone, name, type)
  #expect(result.outcome == .noData, "\(result.reason)")
  #expect(result.authority.map(\.data.type) == [.soa])
  #expect(result.authority.map(\.ttl) == [5])
}

@Test(arguments: [
  "absent.demo.svc.cluster.local", "web.absent.svc.cluster.local", "absent.svc.cluster.local",
  "idle.demo.svc.cluster.local", "x.web.demo.svc.cluster.local", "_https._tcp.web.demo.svc.cluster.local",
  "10-42-0-7.db.demo.svc.cluster.local", "*.demo.svc.cluster.local", "10-42-0-300.demo.pod.cluster.local",
  "10-42-0-1.absent.pod.cluster.local", "nothing.cluster.local",
  "a.b.c.d.e.f.g.cluster.local",
])
func `an absent name is NXDOMAIN with an SOA`(_ name: String) {
  let result = Fixture.lookup(zone, name, .a)
  #expect(result.outcome == .nameError, "\(result.reason)")
  #expect(result.authority.map(\.data.type) == [.soa])
}

@Test(arguments: ["example.com", "1.2.3.4.in-addr.arpa", "local", "notcluster.local", "in-addr.arpa"])
func `a name of someone else is asked elsewhere`(_ name: String) {
  #expect(Fixture.lookup(zone, name, .ptr).outcome == .elsewhere)
}

@Test func `a label that looks like the zone inside does not end in the zone`() {
  let sly = DomainName(labels: [Array("x\u{07}cluster\u{05}local".utf8)])
  #expect(zone.lookup(sly ?? .root, .a).outcome == .elsewhere)
}

@Test func `without fallthrough the reverse zone denies by itself and has an apex`() {
  var settings = Fixture.settings
  settings.fallthroughZones = []
  let zone = planZone(view: ClusterView(objects: Fixture.objects), settings: settings)
  #expect(Fixture.lookup(zone, "1.2.3.4.in-addr.arpa", .ptr).outcome == .nameError)
  #expect(Fixture.lookup(zone, "43.10.in-addr.arpa", .ptr).outcome == .noData)
  #expect(Fixture.lookup(zone, "in-addr.arpa", .soa).outcome == .records)
  #expect(Fixture.lookup(zone, "20.0.43.10.in-addr.arpa", .ptr).outcome == .records)
}

@Test func `verified pod names follow the pods, both families`() {
  var settings = Fixture.settings
  settings.pods = .verified
  let pod: JSON = [
    "kind": "Pod", "metadata": ["name": "p", "namespace": "demo"],
    "status": ["phase": "Running", "podIPs": [["ip": "10.42.0.77"], ["ip": "fd00:42::7"]]],
  ]
  let zone = planZone(view: ClusterView(objects: Fixture.objects + [pod]), settings: settings)
  #expect(Fixture.texts(zone, "10-42-0-77.demo.pod.cluster.local", .a) == ["10.42.0.77"])
  #expect(Fixture.texts(zone, "fd00-42--7.demo.pod.cluster.local", .aaaa) == ["fd00:42::7"])
  #expect(Fixture.lookup(zone, "10-42-0-78.demo.pod.cluster.local", .a).outcome == .nameError)
}

@Test func `what CoreDNS adds is there when asked for`() {
  var settings = Fixture.settings
  settings.compatibility = .coreDNS
  let zone = planZone(view: ClusterView(objects: Fixture.objects), settings: settings)
  #expect(Fixture.texts(zone, "web.demo.svc.cluster.local", .srv) == ["0 100 80 web.demo.svc.cluster.local."])
  #expect(Fixture.texts(zone, "_http._tcp.web.demo.svc.cluster.local", .a) == ["10.43.0.20"])
  #expect(Fixture.lookup(Fixture.zone, "web.demo.svc.cluster.local", .srv).outcome == .noData)
}

@Test func `a zone that has read nothing yet answers SERVFAIL, not NXDOMAIN`() {
  #expect(
    Fixture.lookup(.unready(Fixture.settings), "web.demo.svc.cluster.local", .a).outcome == .serverFailure)
}

@Test func `planning change by change gives the zone that planning at once gives`() {
  var random = SeededRandom(state: 7)
  var view = ClusterView()
  var planner = ZonePlanner(settings: Fixture.settings)
  for step in 0..<200 {
    let name = "s\(Int.random(in: 0..<12, using: &random))"
    let key = ObjectKey("demo", name)
    if Int.random(in: 0..<4, using: &random) == 0 {
      view.remove(kind: "Service", key)
    } else {
      view.apply(
        Fixture.service(
          name,
          Bool.random(using: &random) ? ["clusterIP": "None"] : ["clusterIP": JSON("10.43.1.\(step % 200)")]))
      view.apply(
        Fixture.slice(name, "IPv4", [Fixture.endpoint("10.42.1.\(Int.random(in: 1..<9, using: &random))")]))
    }
    let stepped = planner.plan(view, changed: step % 2 == 0 ? [key] : nil)
    let whole = planZone(view: view, settings: Fixture.settings)
    for other in 0..<12 {
      let name = "s\(other).demo.svc.cluster.local"
      #expect(Fixture.texts(stepped, name, .a) == Fixture.texts(whole, name, .a), "seed 7, step \(step)")
    }
    for last in 1..<9 {
      let name = "\(last).1.42.10.in-addr.arpa"
      #expect(Fixture.texts(stepped, name, .ptr) == Fixture.texts(whole, name, .ptr), "seed 7, step \(step)")
    }
  }
}

/// A small generator whose seed is in the failure's text.
struct SeededRandom: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}
