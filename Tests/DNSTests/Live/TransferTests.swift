// Zone transfers: the whole zone, what changed since, and who may have it.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Testing

@testable import DNS

private func settings(_ clients: [IPPrefix] = []) -> DNSServerSettings {
  var block = ServerBlock()
  block.isServingCluster = true
  block.transfers = [TransferRule(zones: [ZoneSettings.clusterLocal], clients: clients)]
  var settings = DNSServerSettings()
  settings.blocks = [block]
  return settings
}

/// Records of a transfer in dig's words, without SOA.
private func records(_ text: String) -> Set<String> {
  Set(
    text.split(separator: "\n").filter { !$0.hasPrefix(";") && !$0.contains("\tSOA\t") }.map {
      $0.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    })
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct TransferTests {
  @Test func `AXFR is the zone, name by name`() throws {
    try withServer(settings()) { server, port in
      let out = dig(port, "cluster.local AXFR +noall +answer")
      let lines = out.split(separator: "\n")
      #expect(lines.first?.contains("SOA") == true && lines.last?.contains("SOA") == true, "\(out)")
      let all = records(out)
      #expect(all.count > 200)
      // Each record is what the zone answers, and each Service's address is among them.
      for line in all {
        let words = line.split(separator: " ").map(String.init)
        let name = try #require(DomainName(words[0]))
        let type = try #require(RecordType(words[3]))
        // dig ends names with a dot.
        let data = words[4...].joined(separator: " ")
        let found = server.zone.lookup(name, type).records.map { ResourceText.data($0) }
        #expect(found.contains { $0 == data || $0 + "." == data }, "\(line): \(found)")
      }
      #expect(all.contains("web.demo.svc.cluster.local. 30 IN A 10.43.0.20"))
      #expect(all.contains("big.demo.svc.cluster.local. 30 IN A 10.42.9.100"))
    }
  }

  @Test func `a transfer is for those it is meant for`() throws {
    let elsewhere = try #require(IPPrefix("192.0.2.0/24"))
    try withServer(settings([elsewhere])) { _, port in
      #expect(dig(port, "cluster.local AXFR").contains("Transfer failed"))
    }
  }

  @Test func `IXFR is what changed since, and applied to the old zone makes the new one`() throws {
    var view = ClusterView(objects: Fixture.objects)
    var planner = ZonePlanner(settings: Fixture.settings, firstSerial: 10)
    try withServer(settings(), zone: planner.plan(view)) { server, port in
      var old = records(dig(port, "cluster.local AXFR +noall +answer"))
      let first = server.zone.serial
      for number in 1...5 {
        let spec: JSON = ["clusterIP": JSON("10.43.1.\(number)"), "ports": Fixture.http]
        view.apply(Fixture.service("web", spec))
        view.apply(Fixture.service("new\(number)", spec))
        server.swapZone(planner.plan(view))
      }
      view.remove(kind: "Service", ObjectKey("demo", "new2"))
      server.swapZone(planner.plan(view))
      let out = dig(port, "cluster.local IXFR=\(first) +noall +answer")
      var isAdding = false
      var soas = 0
      for line in out.split(separator: "\n") where !line.hasPrefix(";") {
        let text = line.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        if text.contains(" SOA ") {
          soas += 1
          isAdding.toggle()
        } else if isAdding {
          old.insert(text)
        } else {
          #expect(old.remove(text) != nil, "\(text)")
        }
      }
      #expect(soas == 14, "\(out)")
      #expect(old == records(dig(port, "cluster.local AXFR +noall +answer")))
      let current = dig(port, "cluster.local IXFR=\(server.zone.serial) +noall +answer")
      #expect(current.split(separator: "\n").filter { !$0.hasPrefix(";") }.count == 1, "\(current)")
      // Longer ago than is kept: the whole zone.
      #expect(records(dig(port, "cluster.local IXFR=1 +noall +answer")) == old)
    }
  }

  @Test func `IXFR over UDP is what changed while that fits, else the SOA, and for nobody else`() throws {
    var view = ClusterView(objects: Fixture.objects)
    var planner = ZonePlanner(settings: Fixture.settings, firstSerial: 10)
    try withServer(settings(), zone: planner.plan(view)) { server, port in
      let first = server.zone.serial
      view.apply(Fixture.service("web", ["clusterIP": "10.43.1.1", "ports": Fixture.http]))
      server.swapZone(planner.plan(view))
      func ixfr(_ serial: UInt32) -> [String] {
        dig(port, "+notcp +ignore cluster.local IXFR=\(serial) +noall +answer").split(separator: "\n")
          .filter { !$0.hasPrefix(";") }.map {
            $0.split(whereSeparator: \.isWhitespace).joined(separator: " ")
          }
      }
      let small = ixfr(first)
      #expect(small.filter { $0.contains(" SOA ") }.count == 4, "\(small)")
      #expect(small.contains("web.demo.svc.cluster.local. 30 IN A 10.43.0.20"))
      #expect(small.contains("web.demo.svc.cluster.local. 30 IN A 10.43.1.1"))
      #expect(ixfr(server.zone.serial).count == 1)
      // Longer ago than is kept.
      #expect(ixfr(1).count == 1)
      view.apply(Fixture.slice("big", "IPv4", (1...100).map { Fixture.endpoint("10.42.8.\($0)") }))
      server.swapZone(planner.plan(view))
      let large = ixfr(first)
      #expect(large.count == 1 && large[0].contains(" SOA ") && large[0].contains(" \(server.zone.serial) "))
    }
    try withServer(settings([try #require(IPPrefix("192.0.2.0/24"))])) { _, port in
      let query = Message(query: DomainName("cluster.local") ?? .root, .ixfr, id: 1)
      let reply = try QueryClient(port).ask(query)
      #expect(reply?.code == .refused)
    }
  }

  @Test func `the cluster set's zone is handed over as the cluster's is`() throws {
    var zone = Fixture.settings
    let set = try #require(DomainName("clusterset.local"))
    zone.multiclusterZones = [set]
    var view = ClusterView(objects: Fixture.objects)
    view.apply([
      "kind": "ServiceImport", "metadata": ["name": "far", "namespace": "demo"],
      "spec": ["type": "ClusterSetIP", "ips": ["10.44.0.20"], "ports": Fixture.http],
    ])
    view.markImportsRead()
    var settings = settings()
    settings.blocks[0].transfers[0].zones.append(set)
    try withServer(settings, zone: planZone(view: view, settings: zone)) { _, port in
      let all = records(dig(port, "clusterset.local AXFR +noall +answer"))
      #expect(
        all == [
          "clusterset.local. 30 IN NS ns.dns.clusterset.local.",
          "ns.dns.clusterset.local. 30 IN A 10.43.0.10",
          "dns-version.clusterset.local. 28800 IN TXT \"1.0.0\"",
          "far.demo.svc.clusterset.local. 30 IN A 10.44.0.20",
          "_http._tcp.far.demo.svc.clusterset.local. 30 IN SRV 0 100 80 far.demo.svc.clusterset.local.",
        ])
      #expect(!records(dig(port, "cluster.local AXFR +noall +answer")).contains { $0.contains("clusterset") })
    }
  }

  @Test func `a transfer of many names comes whole, and others are answered meanwhile`() throws {
    var objects = Fixture.objects
    for number in 0..<1000 {
      objects.append(
        Fixture.service(
          "s\(number)", ["clusterIP": JSON("10.44.\(number / 250).\(number % 250)"), "ports": Fixture.http]))
    }
    let zone = planZone(view: ClusterView(objects: objects), settings: Fixture.settings)
    try withServer(settings(), zone: zone) { _, port in
      let ask = "dig @127.0.0.1 -p \(port) +time=20 +tries=1"
      let out = run(
        "file=$(mktemp); (\(ask) cluster.local AXFR +noall +answer >$file) & "
          + "for i in 1 2 3 4 5; do \(ask) +short web.demo.svc.cluster.local; done; wait; cat $file; rm $file"
      )
      #expect(out.hasPrefix(String(repeating: "10.43.0.20\n", count: 5)), "\(out.prefix(300))")
      #expect(records(out).count >= 2000)
    }
  }
}
