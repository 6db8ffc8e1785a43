// Explanations of one small cluster: what is said, which object is named, what the verdict is.
import Addresses
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Foundation
import Ingress
import NamespaceLab
import Observe
import Policy
import Ruleset
import Testing

private func explainer(observed: Ruleset? = nil) -> Explainer {
  Explainer(view: ClusterView(objects: ExplainedCluster.objects), nodeName: "n1", observed: observed) {
    name in
    name == "web.demo.svc.cluster.local" ? .addresses([IPAddress("10.43.0.7")!]) : .doesNotExist
  }
}

@Test(arguments: [
  ("web.demo:80", "web.demo is looked for as web.demo.svc.cluster.local by the pod's search list"),
  ("web.demo.svc:80", "web.demo.svc is looked for as web.demo.svc.cluster.local by the pod's search list"),
  ("web.demo.svc.cluster.local.:80", "web.demo.svc.cluster.local is 10.43.0.7"),
])
func `a short name is looked for as the pod's resolver does`(destination: String, says: String) throws {
  let explanation = try explainer().explain(from: "demo/client", to: destination)
  #expect(
    explanation.verdict == .allow && explanation.steps.contains { $0.text == says }, "\(explanation.steps)")
}

@Test func `a short name that is mistyped goes to the upstream servers, and the one that was meant is said`()
  throws
{
  var explainer = explainer()
  explainer.names = { $0.hasSuffix(".cluster.local") ? .doesNotExist : .forwarded }
  let explanation = try explainer.explain(from: "demo/client", to: "wbe.demo:80")
  #expect(explanation.verdict == .unreachable)
  #expect(explanation.steps.last?.hint?.contains("did you mean web.demo?") == true, "\(explanation.steps)")
}

@Test(arguments: [
  "demo/web", "demo/web:80", "svc/demo/web:http/tcp", "10.43.0.7:80", "web.demo.svc.cluster.local:80",
  "demo/web-1:8080", "10.42.0.4:8080",
])
func `the client is let in by name, address and pod`(destination: String) throws {
  let explanation = try explainer().explain(from: "demo/client", to: destination)
  #expect(explanation.verdict == .allow)
  #expect(explanation.steps.contains { $0.objects == ["NetworkPolicy demo/web-from-client"] })
}

@Test func `the stranger is denied and the policy is named`() throws {
  let explanation = try explainer().explain(from: "demo/stranger", to: "demo/web")
  #expect(explanation.verdict == .deny)
  #expect(explanation.text(colour: false).contains("denied by NetworkPolicy demo/web-from-client"))
}

@Test func `a Service without endpoints says which labels it looks for`() throws {
  let explanation = try explainer().explain(from: "demo/client", to: "demo/empty")
  #expect(explanation.verdict == .reject)
  #expect(explanation.steps.last?.text == "none: no pod has the labels app=empty")
}

@Test func `a port that the Service lacks is rejected with those it has`() throws {
  let explanation = try explainer().explain(from: "demo/client", to: "demo/web:81")
  #expect(explanation.verdict == .reject && explanation.steps.last?.text.contains("it has 80/TCP") == true)
}

@Test func `a name that does not exist is unreachable`() throws {
  #expect(
    try explainer().explain(from: "demo/client", to: "nothing.demo.svc.cluster.local:80").verdict
      == .unreachable)
}

@Test(arguments: [
  ("demo/nobody", "demo/web"), ("demo/client", "demo/nothing"), ("demo/client", "demo/two"),
  ("demo/client", "a/b/c/d"), ("svc/demo/web", "demo/web"), ("demo/client", "demo/web:"),
])
func `ends that are not clear are errors`(source: String, destination: String) {
  #expect(throws: WeftError.self) { try explainer().explain(from: source, to: destination) }
}

@Test func `the kernel agrees when its ruleset drops what the policy denies and differs when it is empty`()
  throws
{
  let view = ClusterView(objects: ExplainedCluster.objects)
  let tables = planPolicy(
    view: view, attachments: [],
    settings: PolicySettings(nodeName: "n1", podBlocks: [IPPrefix("10.42.0.0/24")!]))
  let inForce = explainer(observed: Ruleset(tables))
  #expect(try inForce.explain(from: "demo/stranger", to: "demo/web-1:8080").kernel == .agrees)
  #expect(try inForce.explain(from: "demo/client", to: "demo/web-1:8080").kernel == .agrees)
  #expect(
    try explainer(observed: Ruleset([])).explain(from: "demo/stranger", to: "demo/web-1:8080").kernel
      == .differs)
  #expect(try explainer().explain(from: "demo/client", to: "demo/web").kernel == .unknown)
}

@Test(arguments: ["[fd00:43::a]:53/UDP", "10.42.0.7:53/udp", "fd00::1", "pod/web", "svc/demo/web:80/SCTP"])
func `ends are read in every spelling`(text: String) throws {
  _ = try ExplainTarget(text)
}

@Test(arguments: [true, false])
func `endpoints that are not ready are told with what their containers wait for`(isWaiting: Bool) throws {
  var slow = ExplainedCluster.pod("slow-1", "10.42.0.7", app: "slow")
  if isWaiting {
    slow.set(
      [["name": "main", "state": ["waiting": ["reason": "ImagePullBackOff"]]]], at: "status",
      "containerStatuses")
  }
  let slice: JSON = [
    "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": ["name": "slow-x", "namespace": "demo", "labels": ["kubernetes.io/service-name": "slow"]],
    "ports": [["name": "http", "port": 8080]],
    "endpoints": [
      [
        "addresses": ["10.42.0.7"], "conditions": ["ready": false],
        "targetRef": ["kind": "Pod", "name": "slow-1", "namespace": "demo"],
      ]
    ],
  ]
  let view = ClusterView(
    objects: ExplainedCluster.objects + [slow, ExplainedCluster.service("slow", "10.43.0.10"), slice])
  let explainer = Explainer(view: view, nodeName: "n1", observed: nil) { _ in .doesNotExist }
  let step = try #require(explainer.explain(from: "demo/client", to: "demo/slow").steps.last)
  let waiting = isWaiting ? " (main: ImagePullBackOff)" : ""
  #expect(step.text == "none of 1 is ready: 10.42.0.7:8080\(waiting)")
  #expect(step.hint?.hasPrefix(isWaiting ? "see why:" : "see which probe fails:") == true)
}

@Test(arguments: [false, true])
func `a ClusterNetworkPolicy that denies is named with its tier and rule, in audit mode beside the verdict`(
  isAudit: Bool
) throws {
  let policy: JSON = [
    "kind": "ClusterNetworkPolicy",
    "metadata": ["name": "apart", "annotations": isAudit ? ["weft.dev/audit": "true"] : [:]],
    "spec": [
      "tier": "Admin", "priority": 1, "subject": ["namespaces": [:]],
      "egress": [["name": "no way", "action": "Deny", "to": [["namespaces": [:]]]]],
    ],
  ]
  var explainer = explainer()
  explainer.view = ClusterView(objects: ExplainedCluster.objects + [policy])
  explainer.observed = Ruleset(
    planPolicy(view: explainer.view, attachments: [], settings: PolicySettings(nodeName: "n1")))
  let explanation = try explainer.explain(from: "demo/client", to: "demo/web-1:8080")
  #expect(explanation.verdict == (isAudit ? .allow : .deny))
  #expect(explanation.kernel == .agrees)
  let steps = explanation.steps.filter { $0.step == "policy" }
  let text = "ClusterNetworkPolicy apart (Admin), egress rule 0 \"no way\""
  #expect(steps.contains { $0.text.contains(text) && $0.text.contains("audit") == isAudit }, "\(steps)")
}
