// The userspace mode going out as its clients: real packets from a host outside to pods of this node.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Reactor
import NamespaceLab
import Testing

@testable import Proxy

@Suite(.serialized, .timeLimit(.minutes(3))) struct TransparentSourceTests {
  private func objects(policy: String) -> [JSON] {
    feature(40, [End("a"), End("b"), End("out")], as: "NodePort", ["externalTrafficPolicy": JSON(policy)])
  }

  @Test func `endpoints behind a Local policy see their client's address, by TCP and UDP`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try #require(node.settle(), "the node's network does not carry packets")
      let metrics = Metrics()
      let proxy = try UserspaceProxy(
        configuration: featureConfiguration, keepsSources: true, metrics: metrics)
      defer { waitFor { await proxy.stop(removingAddresses: true) } }
      #expect(waitFor { await proxy.lacks }.isEmpty)
      func rules() -> String { run("ip rule show; ip -6 rule show").output }
      func sources(_ policy: String) -> [String: Set<String>] {
        let view = ClusterView(objects: objects(policy: policy))
        let report = waitFor { await proxy.sync(view) }
        #expect(report.unopened.isEmpty, "\(report.unopened)")
        let words = everyWay.map {
          word($0.transport, $0.family, from: "out", to: "node", 30040, count: 20)
        }
        return node.attempt("out", words).mapValues { Set($0) }
      }
      let local = sources("Local")
      #expect(
        rules().contains("from 10.42.0.11 ipproto tcp sport 8080 dport 61000-65534 lookup 87"), "\(rules())")
      #expect(local.count == 4)
      for way in everyWay {
        let answers = local[word(way.transport, way.family, from: "out", to: "node", 30040, count: 20)]
        let client = address("out", way.family)
        #expect(answers == ["a \(client)", "b \(client)"], "\(way)")
      }
      // Who talks to the pod itself from an ordinary port is not disturbed.
      let direct = everyWay.map {
        word($0.transport, $0.family, from: "out", to: "a", $0.transport == "TCP" ? 8080 : 5353, count: 3)
      }
      for (way, answers) in node.attempt("out", direct) {
        #expect(answers.count == 3 && answers.allSatisfy { $0.hasPrefix("a ") }, "\(way): \(answers)")
      }
      let text = metrics.text()
      #expect(text.contains("weft_proxy_userspace_transparency_refused_total 0"), "\(text)")

      // Without the policy connections go out as the node, to all endpoints, and no rule is left.
      for (way, answers) in sources("Cluster") {
        #expect(
          answers.allSatisfy { !$0.contains("192.168.50.2") && !$0.contains("fd00:50::2") },
          "\(way): \(answers)")
      }
      #expect(!rules().contains("lookup 87"), "\(rules())")
      #expect(
        !run("ip route show table 87 2>/dev/null; ip -6 route show table 87 2>/dev/null").output.contains(
          "local"))
    }
  }
}
