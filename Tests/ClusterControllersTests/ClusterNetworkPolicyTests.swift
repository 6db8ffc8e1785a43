// What the status of a ClusterNetworkPolicy says of it, and when it is written.

import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Testing

@testable import ClusterControllers

private func policy(_ rules: JSON, priority: JSON = 10) -> JSON {
  [
    "apiVersion": "policy.networking.k8s.io/v1beta1", "kind": "ClusterNetworkPolicy",
    "metadata": ["name": "p"],
    "spec": ["tier": "Admin", "priority": priority, "subject": ["namespaces": [:]], "ingress": rules],
  ]
}

@Suite(.timeLimit(.minutes(2))) struct ClusterNetworkPolicyTests {
  private let understood: JSON = [["action": "Deny", "from": [["namespaces": [:]]]]]

  @Test func `a status says whether every rule is understood, and what becomes of one that is not`() {
    #expect(planPolicyVerdict(policy(understood)).status == "True")
    let denying = planPolicyVerdict(policy([["action": "Deny", "from": [["planets": ["mars"]]]]]))
    #expect(denying.reason == "RuleClosed" && denying.message.contains("spec.ingress[0].from[0]"))
    #expect(denying.message.contains("denies everything"))
    let accepting = planPolicyVerdict(policy([["action": "Accept", "from": [["planets": ["mars"]]]]]))
    #expect(accepting.reason == "RuleClosed" && accepting.message.contains("accepts nothing"))
    let nothing = planPolicyVerdict(policy(understood, priority: 2000))
    #expect(nothing.reason == "Invalid" && nothing.message.contains("spec.priority"))
  }

  @Test func `in a cluster the condition follows the policy`() async throws {
    var settings = ControllerSettings()
    settings.hasClusterNetworkPolicies = true
    let cluster = TestCluster(settings: settings)
    try await cluster.create(.clusterNetworkPolicies, policy(understood))
    func condition() -> JSON? { cluster.get(.clusterNetworkPolicies, "p", "")?.condition("Accepted") }
    #expect(await eventually { condition()?["status"] == "True" })
    var changed = try #require(cluster.get(.clusterNetworkPolicies, "p", ""))
    changed.set([["action": "Deny", "from": [["planets": ["mars"]]]]], at: "spec", "ingress")
    _ = try await cluster.api.update(
      .clusterNetworkPolicies, changed, subresource: nil, options: WriteOptions())
    #expect(await eventually { condition()?["reason"] == "RuleClosed" })
    await cluster.stop()
  }
}
