// What `weft test connectivity` makes of a cluster, and the forms of its report.
import ClusterObjects
import ClusterView
import Testing

@testable import Observe

private func node(_ name: String, _ address: String, ready: Bool = true) -> JSON {
  [
    "kind": "Node", "metadata": ["name": JSON(name)],
    "status": [
      "addresses": [["type": "InternalIP", "address": JSON(address)]],
      "conditions": [["type": "Ready", "status": JSON(ready ? "True" : "False")]],
    ],
  ]
}

private let ingressClass: JSON = [
  "kind": "IngressClass", "metadata": ["name": "weft"], "spec": ["controller": "weft.dev/ingress"],
]

private func plan(_ objects: [JSON]) -> ConnectivityPlan {
  ConnectivityPlan(ConnectivityGround(ClusterView(objects: objects), namespace: "t", image: "i:1"))
}

private func facts(far: String? = nil, balancer: String? = nil) -> ConnectivityFacts {
  var facts = ConnectivityFacts()
  facts.near = "10.42.0.2"
  facts.far = far
  facts.clusterIP = "10.43.0.7"
  facts.nodePort = 30_001
  facts.balancer = balancer
  return facts
}

@Suite struct ConnectivityTests {
  @Test func `what a cluster cannot have is skipped with the reason, and everything else is tried`() {
    let small = plan([node("a", "192.0.2.1"), node("late", "192.0.2.9", ready: false)]).scenarios(facts())
    #expect(
      small.filter { $0.script == nil }.map(\.name) == [
        "pod-to-pod-far", "far-pod-to-service", "load-balancer", "ingress",
      ])
    #expect(small.allSatisfy { ($0.script == nil) == ($0.skipped?.isEmpty == false) })
    let large = plan([node("a", "192.0.2.1"), node("b", "192.0.2.2"), ingressClass]).scenarios(
      facts(far: "10.42.1.2", balancer: "192.0.2.200"))
    #expect(large.count == 16 && large.allSatisfy { $0.script != nil && $0.skipped == nil })
    #expect(Set(large.map(\.name)).count == 16)
    #expect(large.first { $0.name == "far-pod-to-service" }?.node == "b")
    let byNode = large.first { $0.name == "node-port" }
    #expect(
      byNode?.usesNodeNetwork == true
        && byNode?.script?.contains("http://192.0.2.2:30001/") == true)
  }

  @Test func `everything is in its own namespace, on the nodes that are meant, and of one image`() throws {
    let plan = plan([node("a", "192.0.2.1"), node("b", "192.0.2.2"), ingressClass])
    #expect(plan.serverNames == ["near", "guarded", "far"])
    let pods = plan.scenarios(facts(far: "10.42.1.2")).map { plan.pod(of: $0) }
    for object in plan.servers + pods {
      #expect(object.key.namespace == "t")
      for container in object.at("spec", "containers")?.elements ?? [] {
        #expect(container["image"]?.string == "i:1")
      }
    }
    // All of them can be read by the same parsers as users' objects.
    let view = ClusterView(objects: plan.servers)
    #expect(view.quarantined.isEmpty && view.services.count == 7 && view.networkPolicies.count == 2)
    #expect(view.pods[ObjectKey("t", "far")] != nil && view.ingresses.count == 1)
    let own = try #require(pods.first { $0.name == "node-to-pod" })
    #expect(own.at("spec", "hostNetwork")?.bool == true)
  }

  @Test func `a report has a line each, JSON and JUnit`() throws {
    let scenarios = plan([node("a", "192.0.2.1")]).scenarios(facts())
    let report = ConnectivityReport([
      .init(scenarios[0], .passed, seconds: 1.26), .init(scenarios[1], .skipped("alone"), seconds: 0),
      .init(scenarios[3], .failed("no <answer>"), seconds: 31),
    ])
    #expect(
      report.text(colour: false) == """
        √ pod to pod on the same node         1.3 s
        - pod to pod on another node          skipped: alone
        × pod to a Service by its cluster IP  CLI0161 no <answer>
                                              → run it with --keep, then: weft explain t/pod-to-cluster-ip svc/t/server:80

        1 passed, 1 failed, 1 skipped

        """)
    #expect(!report.hasPassed && report.json["ok"]?.bool == false)
    let lines = report.json["scenarios"]?.elements ?? []
    #expect(lines.map { $0["outcome"]?.string } == ["passed", "skipped", "failed"])
    #expect(lines[0]["milliseconds"]?.int == 1260 && lines[2]["next"]?.string?.contains("--keep") == true)
    let xml = report.junit
    #expect(xml.contains(#"tests="3" failures="1" skipped="1">"#), "\(xml)")
    #expect(xml.contains(#"name="pod to pod on the same node" time="1.26"/>"#), "\(xml)")
    #expect(
      xml.contains(#"<failure message="no &lt;answer&gt;"/>"#) && xml.contains(#"<skipped message="alone"/>"#)
    )
    #expect(ConnectivityReport([.init(scenarios[1], .skipped("x"), seconds: 0)]).hasPassed)
  }
}
