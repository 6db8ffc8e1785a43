// Of all rules those of one Service are found: its addresses, its endpoints, the chain that chooses, and nobody else's.

import Addresses
import ClusterObjects
import ClusterView
import Proxy
import Ruleset
import Testing

@Suite struct ServiceRulesTests {
  private func objects(_ count: Int) -> [JSON] {
    (0..<count).flatMap { index -> [JSON] in
      let name = index == 0 ? "web" : "web-\(index)"
      return [
        [
          "kind": "Service", "metadata": ["name": JSON(name), "namespace": "demo"],
          "spec": [
            "type": "NodePort", "clusterIP": JSON("10.43.1.\(index + 1)"),
            "ports": [["name": "http", "port": 80, "nodePort": JSON(30_000 + index)]],
          ],
        ],
        [
          "kind": "EndpointSlice", "addressType": "IPv4",
          "metadata": [
            "name": JSON("\(name)-a"), "namespace": "demo",
            "labels": ["kubernetes.io/service-name": JSON(name)],
          ],
          "ports": [["name": "http", "port": 8080]],
          "endpoints": [
            ["addresses": [JSON("10.42.1.\(index + 1)")]], ["addresses": [JSON("10.42.2.\(index + 1)")]],
          ],
        ],
      ]
    }
  }

  @Test func `one Service's elements and no other's are found`() throws {
    let plan = planProxy(
      ClusterView(objects: objects(20)), ProxyConfiguration(nodeName: "n1", families: [.v4]))
    let rules = ServiceRules(of: ObjectKey("demo", "web"), in: InForce(Ruleset(plan.tables)))
    #expect(rules.chains == ["KUBE-LB-TCP-2"])
    #expect(!rules.isCut)
    let text = rules.text
    #expect(text.hasPrefix("chain KUBE-LB-TCP-2\n"), "\(text)")
    #expect(text.contains("svc-id { 10.43.1.1 . tcp . 80 comment \"demo/web:http\" : 0x"), "\(text)")
    #expect(text.contains("np-id { tcp . 30000 comment \"demo/web:http\" : 0x"), "\(text)")
    #expect(text.contains("10.42.1.1 . 8080\n") || text.contains("10.42.1.1 . 8080 }"), "\(text)")
    #expect(text.contains("10.42.2.1 . 8080"), "\(text)")
    // Its name begins those of others.
    #expect(!text.contains("web-1") && !text.contains("10.42.1.2 "), "\(text)")
    let back = try #require(ServiceRules(try JSON(parsing: rules.json.bytes)))
    #expect(back == rules)
  }

  @Test func `a Service that is not there has no rules`() {
    let plan = planProxy(
      ClusterView(objects: objects(1)), ProxyConfiguration(nodeName: "n1", families: [.v4]))
    let rules = ServiceRules(of: ObjectKey("demo", "we"), in: InForce(Ruleset(plan.tables)))
    #expect(rules.lines.isEmpty && rules.chains.isEmpty && rules.text.isEmpty)
    #expect(ServiceRules(of: ObjectKey("demo", "web"), in: InForce()).lines.isEmpty)
    #expect(ServiceRules(["lines": 3]) == nil)
  }
}
