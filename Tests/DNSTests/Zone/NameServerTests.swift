// Who the zone says serves it: the Services that lead to us, as CoreDNS has it, else the addresses at which we are asked. Other servers
// take no zone whose name server has no address.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import NameServerLab
import Testing

@testable import DNS

/// The pod that answers, as its own interfaces say.
private let own: [IPAddress] = [.v4(IPv4Address(10, 42, 3, 9)), .v4(IPv4Address(172, 31, 0, 1))]

private func front(_ spec: JSON) -> JSON {
  ["kind": "Service", "metadata": ["name": "kube-dns", "namespace": "kube-system"], "spec": spec]
}

private func slice(_ endpoints: [JSON], port: JSON = 53) -> JSON {
  var slice = Fixture.slice("kube-dns", "IPv4", endpoints)
  slice["metadata"]?["namespace"] = "kube-system"
  slice["ports"] = [["name": "dns", "port": port, "protocol": "UDP"]]
  return slice
}

private let both = front(["clusterIPs": ["10.43.0.10", "fd00:43::a"], "ports": Fixture.http])
private let ready = slice([Fixture.endpoint("10.42.3.9"), Fixture.endpoint("10.42.4.9")])

private func planner() -> ZonePlanner {
  var settings = Fixture.settings
  settings.nameServerAddresses = own
  settings.multiclusterZones = [DomainName("clusterset.local") ?? .root]
  return ZonePlanner(settings: settings)
}

/// With a cluster set that has been read.
private func seen(_ objects: [JSON]) -> ClusterView {
  var view = ClusterView(objects: objects)
  view.markImportsRead()
  return view
}

/// Names in NS records, and the addresses of `ns.dns`.
private struct Servers: Equatable {
  var names: [String]
  var own: [String]

  init(_ names: [String], _ own: [String]) { (self.names, self.own) = (names, own) }
  init(of zone: Zone, _ apex: String = "cluster.local") {
    names = Fixture.texts(zone, apex, .ns)
    own = Fixture.texts(zone, "ns.dns.\(apex)", .a) + Fixture.texts(zone, "ns.dns.\(apex)", .aaaa)
  }
}

@Suite struct NameServerTests {
  @Test func `without a Service the name server has the addresses at which we are asked`() {
    var planner = planner()
    let zone = planner.plan(seen(Fixture.objects))
    #expect(Servers(of: zone) == Servers(["ns.dns.cluster.local."], ["10.42.3.9", "172.31.0.1"]))
    #expect(Servers(of: zone, "clusterset.local").own == ["10.42.3.9", "172.31.0.1"])
  }

  @Test func `a Service that leads to us is the name server, for as long as it does`() {
    var planner = planner()
    var view = seen(Fixture.objects + [both, ready])
    let name = "kube-dns.kube-system.svc.cluster.local."
    var zone = planner.plan(view.takeChanges())
    #expect(Servers(of: zone) == Servers([name], ["10.43.0.10", "fd00:43::a"]))
    #expect(Fixture.texts(zone, name, .a) == ["10.43.0.10"])
    // The SOA's name stays; the cluster set has no such Service.
    #expect(Fixture.texts(zone, "cluster.local", .soa).first?.hasPrefix("ns.dns.cluster.local.") == true)
    #expect(
      Servers(of: zone, "clusterset.local")
        == Servers(["ns.dns.clusterset.local."], ["10.43.0.10", "fd00:43::a"]))

    // Not ready, we are not behind it.
    view.apply(slice([Fixture.endpoint("10.42.3.9", ready: false), Fixture.endpoint("10.42.4.9")]))
    let before = zone.serial
    zone = planner.plan(view.takeChanges())
    #expect(Servers(of: zone) == Servers(["ns.dns.cluster.local."], ["10.42.3.9", "172.31.0.1"]))
    #expect(zone.serial == before + 1)
    // What leads to another port here is not ours.
    view.apply(slice([Fixture.endpoint("10.42.3.9")], port: 6443))
    zone = planner.plan(view.takeChanges())
    #expect(Servers(of: zone).names == ["ns.dns.cluster.local."])
    // A headless one leads to each of its endpoints.
    view.apply(front(["clusterIP": "None", "ports": Fixture.http]))
    view.apply(ready)
    zone = planner.plan(view.takeChanges())
    #expect(Servers(of: zone) == Servers([name], ["10.42.3.9", "10.42.4.9"]))
    view.remove(kind: "Service", ObjectKey("kube-system", "kube-dns"))
    zone = planner.plan(view.takeChanges())
    #expect(Servers(of: zone).names == ["ns.dns.cluster.local."])
    #expect(planner.plan(view.takeChanges()) === zone, "nothing changed")
  }

  @Test func `what changes of the name server is in IXFR`() {
    var planner = planner()
    var view = ClusterView(objects: Fixture.objects)
    let first = planner.plan(view.takeChanges())
    view.apply(both)
    view.apply(ready)
    let second = planner.plan(view.takeChanges())
    var pieces = second.changes(since: first.serial, of: ZoneSettings.clusterLocal)
    let records = (pieces?.next() ?? []).map { "\($0.owner) \(ResourceText.data($0))" }
    #expect(records.contains("ns.dns.cluster.local. 172.31.0.1"), "\(records)")
    #expect(records.contains("ns.dns.cluster.local. 10.43.0.10"), "\(records)")
    #expect(records.contains("cluster.local. kube-dns.kube-system.svc.cluster.local."), "\(records)")
  }

  /// They ask for it over TCP, hold it against their rules, and serve it.
  @Test(.timeLimit(.minutes(2)), arguments: OtherNameServer.allCases)
  func `other servers take the zone by transfer`(_ kind: OtherNameServer) throws {
    var block = ServerBlock()
    block.isServingCluster = true
    block.transfers = [TransferRule(zones: [ZoneSettings.clusterLocal], clients: [])]
    var settings = DNSServerSettings()
    settings.blocks = [block]
    for objects in [Fixture.objects, Fixture.objects + [both, ready]] {
      var planner = planner()
      let zone = planner.plan(ClusterView(objects: objects))
      try withServer(settings, zone: zone) { _, port in
        let other = try OtherServer(kind, [(ZoneSettings.clusterLocal, .transfer(port))])
        let (ours, theirs) = (try QueryClient(port), try QueryClient(other.port))
        for (name, type) in [
          ("cluster.local", RecordType.ns), ("cluster.local", .soa), ("ns.dns.cluster.local", .a),
          ("web.demo.svc.cluster.local", .a), ("db.demo.svc.cluster.local", .a),
          ("_http._tcp.db.demo.svc.cluster.local", .srv), ("absent.demo.svc.cluster.local", .a),
        ] {
          let query = Message(query: try #require(DomainName(name)), type, id: 7)
          let (mine, their) = (ours.ask(query), theirs.ask(query))
          #expect(mine != nil && mine?.essence == their?.essence, "\(kind): \(name) \(type)")
        }
      }
    }
  }
}
