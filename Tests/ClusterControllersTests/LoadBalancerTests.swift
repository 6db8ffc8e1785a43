// Services of type LoadBalancer get addresses of a pool, each its own, and give them back.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

private func service(_ name: String, _ spec: JSON = [:], annotations: JSON = [:]) -> JSON {
  var fields = spec
  if fields["type"] == nil { fields["type"] = "LoadBalancer" }
  return [
    "apiVersion": "v1", "kind": "Service",
    "metadata": ["name": JSON(name), "namespace": "demo", "annotations": annotations], "spec": fields,
  ]
}

private func plan(
  _ service: JSON, status: [String] = [], pool: String = "192.0.2.1-192.0.2.3,2001:db8::1-2001:db8::2",
  taken: [String] = []
) -> LoadBalancerPlan {
  var service = service
  if !status.isEmpty {
    service.set(.array(status.map { ["ip": JSON($0)] }), at: "status", "loadBalancer", "ingress")
  }
  let taken = Set(taken.map { IPAddress($0)! })
  return planLoadBalancer(service, pool: AddressPool(pool)!) { !taken.contains($0) }
}

private func given(_ addresses: String...) -> LoadBalancerPlan {
  LoadBalancerPlan(addresses: addresses.map { IPAddress($0)! })
}

@Suite(.serialized) struct LoadBalancerTests {
  @Test func `a Service gets what it asks for, else the first free address of each family`() {
    #expect(plan(service("a")) == given("192.0.2.1"))
    #expect(plan(service("a"), taken: ["192.0.2.1"]) == given("192.0.2.2"))
    #expect(plan(service("a"), status: ["192.0.2.3"]) == LoadBalancerPlan(), "it keeps what it has")
    #expect(plan(service("a", ["ipFamilies": ["IPv6", "IPv4"]])) == given("2001:db8::1", "192.0.2.1"))
    #expect(plan(service("a", ["loadBalancerIP": "192.0.2.2"]), status: ["192.0.2.1"]) == given("192.0.2.2"))
    let both = ["weft.dev/load-balancer-ips": "192.0.2.3, 2001:db8::2"] as JSON
    #expect(plan(service("a", annotations: both)) == given("192.0.2.3", "2001:db8::2"))
    #expect(plan(service("a"), status: ["203.0.113.1"]) == given("192.0.2.1"), "the pool is another one now")
  }

  @Test func `what cannot be given is said, and what is there stays`() {
    let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    let full = plan(service("a"), taken: all)
    #expect(full.addresses == nil && full.problem?.contains("IPv4") == true, "\(full)")
    let half = plan(service("a", ["ipFamilies": ["IPv4", "IPv6"]]), taken: all)
    #expect(half.addresses == [IPAddress("2001:db8::1")!] && half.problem != nil)
    for (wanted, word) in [("192.0.2.2", "another"), ("203.0.113.1", "not in the pool"), ("x", "no address")]
    {
      let refused = plan(service("a", ["loadBalancerIP": JSON(wanted)]), status: ["192.0.2.1"], taken: all)
      #expect(refused.addresses == nil && refused.problem?.contains(word) == true, "\(refused)")
    }
    #expect(plan(service("a"), pool: "2001:db8::1").problem?.contains("family") == true)
  }

  @Test func `other classes are left alone, and a Service that is none any more has no address`() {
    #expect(plan(service("a", ["loadBalancerClass": "example.com/lb"])) == LoadBalancerPlan())
    #expect(plan(service("a", ["loadBalancerClass": "weft.dev/load-balancer"])) == given("192.0.2.1"))
    #expect(
      plan(service("a"), pool: "") == LoadBalancerPlan(), "without a pool somebody else gives addresses")
    #expect(
      plan(service("a", ["type": "ClusterIP"]), status: ["192.0.2.1"]) == LoadBalancerPlan(addresses: []))
    #expect(plan(service("a", ["type": "ClusterIP"])) == LoadBalancerPlan())
  }

  @Test func `an address of the pool that nodes do not know to be theirs is told again`() {
    let pool = AddressPool("192.0.2.1-192.0.2.3")!
    var given = service("a")
    given.set([["ip": "192.0.2.1"]], at: "status", "loadBalancer", "ingress")
    #expect(unannouncedAddresses(given, pool: pool) == [IPAddress("192.0.2.1")!], "a version before wrote it")
    #expect(unannouncedAddresses(service("a"), pool: pool) == nil)
    var foreign = given
    foreign.set("example.com/lb", at: "spec", "loadBalancerClass")
    #expect(unannouncedAddresses(foreign, pool: pool) == nil)
    #expect(unannouncedAddresses(given, pool: AddressPool("203.0.113.0/30")!) == nil, "another's")
    for (status, isAnnounced) in [("True", true), ("False", false)] {
      given.set(
        [["type": JSON(JSON.announcedCondition), "status": JSON(status)]], at: "status", "conditions")
      #expect(given.isAnnouncedByNodes == isAnnounced)
      #expect((unannouncedAddresses(given, pool: pool) == nil) == isAnnounced)
    }
    foreign.set([["type": JSON(JSON.announcedCondition), "status": "True"]], at: "status", "conditions")
    #expect(!foreign.isAnnouncedByNodes)
  }

  @Test(.timeLimit(.minutes(2)))
  func `addresses are given once, run out with an event, and go to who waits when they are free`()
    async throws
  {
    var settings = ControllerSettings()
    settings.loadBalancerPool = AddressPool("192.0.2.10-192.0.2.14")!
    let cluster = TestCluster(settings: settings)
    try await cluster.informers.waitForSync()
    for number in 0..<8 { try await cluster.create(.services, service("s\(number)")) }
    func addresses() -> [String: String] {
      var found: [String: String] = [:]
      for service in cluster.api.objects(.services) {
        if let address = service.loadBalancerAddresses.first { found[service.name] = address.description }
      }
      return found
    }
    #expect(await eventually { addresses().count == 5 })
    #expect(Set(addresses().values).count == 5, "\(addresses())")
    #expect(
      cluster.api.objects(.services).allSatisfy { $0.isAnnouncedByNodes != $0.loadBalancerAddresses.isEmpty })
    func reasons() -> Set<String> { Set(cluster.api.objects(.events).compactMap { $0["reason"]?.string }) }
    #expect(await eventually { reasons().isSuperset(of: ["EnsuredLoadBalancer", "SyncLoadBalancerFailed"]) })

    // One goes and one becomes another kind: two who wait are served, and nobody loses anything.
    let before = addresses()
    let names = before.keys.sorted()
    try await cluster.api.delete(.services, namespace: "demo", name: names[0], options: DeleteOptions())
    try await cluster.api.modify(.services, ObjectKey("demo", names[1])) { current in
      var changed = current
      changed.set("ClusterIP", at: "spec", "type")
      return changed
    }
    #expect(
      await eventually {
        let now = addresses()
        return now.count == 5 && now[names[1]] == nil && Set(now.values).count == 5
      }, "\(addresses())")
    for name in names.dropFirst(2) { #expect(addresses()[name] == before[name]) }

    // The ConfigMap goes before the flag, at once.
    let map: JSON = [
      "apiVersion": "v1", "kind": "ConfigMap",
      "metadata": ["name": "weft-load-balancer", "namespace": "kube-system"],
      "data": ["pool": "198.51.100.0/28"],
    ]
    try await cluster.create(.configMaps, map)
    #expect(
      await eventually {
        addresses().count == 6 && addresses().values.allSatisfy { $0.hasPrefix("198.51.100.") }
      },
      "\(addresses())")
    #expect(Set(addresses().values).count == 6)
    await cluster.stop()
  }
}
