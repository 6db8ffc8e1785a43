// What `trafficDistribution` writes into EndpointSlices for proxies to read.

import ClusterObjects
import Testing

@testable import ClusterControllers

@Suite struct TrafficDistributionTests {
  private let pods: [JSON] = {
    var near = podObject("near", ip: "10.0.0.1")
    near.set("n1", at: "spec", "nodeName")
    var zoneless = podObject("zoneless", ip: "10.0.0.2")
    zoneless.set("n2", at: "spec", "nodeName")
    var unready = podObject("unready", ready: false, ip: "10.0.0.3")
    unready.set("n1", at: "spec", "nodeName")
    return [near, zoneless, unready]
  }()

  private func slices(_ distribution: String?, mode: String? = nil, after slices: [JSON] = [])
    -> EndpointSlicePlan
  {
    var service = serviceObject("web", targetPort: "http")
    service.set("svc", at: "metadata", "uid")
    if let distribution { service.set(JSON(distribution), at: "spec", "trafficDistribution") }
    if let mode {
      service.set(JSON(mode), at: "metadata", "annotations", "service.kubernetes.io/topology-mode")
    }
    return planEndpointSlices(
      service, pods: pods,
      nodes: { name in
        let labels: JSON = name == "n1" ? ["topology.kubernetes.io/zone": "a"] : [:]
        return ["kind": "Node", "metadata": ["name": JSON(name), "labels": labels]]
      }, slices: slices)
  }

  private func hints(_ plan: EndpointSlicePlan) -> [JSON?] {
    ((plan.create + plan.update).first?["endpoints"]?.elements ?? []).sorted {
      ($0["addresses"]?[0]?.string ?? "") < ($1["addresses"]?[0]?.string ?? "")
    }.map { $0["hints"] }
  }

  @Test(arguments: ["PreferSameZone", "PreferClose"])
  func `ready endpoints are hinted at their own zone`(_ distribution: String) {
    #expect(hints(slices(distribution)) == [["forZones": [["name": "a"]]], nil, nil])
  }

  @Test func `ready endpoints are hinted at their own node, and at their zone for who knows no nodes`() {
    #expect(
      hints(slices("PreferSameNode")) == [
        ["forNodes": [["name": "n1"]], "forZones": [["name": "a"]]], ["forNodes": [["name": "n2"]]], nil,
      ])
  }

  @Test(arguments: [nil, "", "Unknown"])
  func `without a distribution that is known hints go`(_ distribution: String?) {
    #expect(hints(slices(distribution)) == [nil, nil, nil])
    var stored = slices("PreferSameZone").create
    stored[0].set("web-1", at: "metadata", "name")
    #expect(slices("PreferSameZone", after: stored).isEmpty)
    let plan = slices(distribution, after: stored)
    #expect(plan.update.count == 1 && hints(plan) == [nil, nil, nil])
  }

  @Test func `the older annotation wins over the field`() {
    #expect(hints(slices("PreferSameZone", mode: "Auto")) == [nil, nil, nil])
    #expect(hints(slices("PreferSameZone", mode: "Disabled")).first == .some(["forZones": [["name": "a"]]]))
  }
}
