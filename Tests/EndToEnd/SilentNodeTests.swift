// A real node whose agent is stopped in the middle, and later killed: it is unreachable, its pods go to the other node, and when it
// speaks again it ends what was taken from it. Times are short by the flags that kube-controller-manager and kubelet have for them.
import Foundation
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct SilentNodeTests {
  private static let objects = """
    apiVersion: apps/v1
    kind: Deployment
    metadata: { name: web }
    spec:
      selector: { matchLabels: { app: web } }
      template:
        metadata: { labels: { app: web } }
        spec:
          terminationGracePeriodSeconds: 1
          affinity:
            nodeAffinity:
              preferredDuringSchedulingIgnoredDuringExecution:
              - weight: 100
                preference: { matchExpressions: [{ key: kubernetes.io/hostname, operator: In, values: [b] }] }
          tolerations:
          - { key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1 }
          - { key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 60 }
          containers: [{ name: main, image: "weft.local/demo:1", args: [serve, "8080"] }]
    ---
    apiVersion: v1
    kind: Pod
    metadata: { name: patient }
    spec:
      nodeName: b
      terminationGracePeriodSeconds: 0
      tolerations: [{ operator: Exists, effect: NoExecute }]
      containers: [{ name: main, image: "weft.local/demo:1", args: [serve, "8080"] }]

    """

  @Test func `pods of a node that falls silent run elsewhere, and when it speaks again it lets go of them`()
    throws
  {
    let pair = try NodePair(network: "host-gw")
    defer { pair.remove() }
    try pair.startServer([
      "--node-monitor-period", "1s", "--node-monitor-grace-period", "6s", "--node-eviction-rate", "10",
    ])
    let answers = eventually(within: 60) { pair.kubectl("get", "--raw", "/readyz").standardOutput == "ok" }
    try #require(answers != nil, "\(pair.logs)")
    try FileManager.default.createDirectory(atPath: pair.dataFolder(0), withIntermediateDirectories: true)
    let config = "\(pair.dataFolder(0))/kubelet.yaml"
    // Renewed each second.
    try """
    apiVersion: kubelet.config.k8s.io/v1beta1
    kind: KubeletConfiguration
    nodeLeaseDurationSeconds: 4

    """.write(toFile: config, atomically: true, encoding: .utf8)
    for node in 0..<2 { try pair.startNode(node, ["--config", config]) }
    let first = try podsRun(pair)
    heartbeatsAreRenewed(pair)
    pair.signalNode(1, SIGSTOP)
    try podsMove(pair, from: first)
    pair.signalNode(1, SIGCONT)
    try speaksAgain(pair, first)
    killedForGood(pair)
  }

  private func ready(_ pair: NodePair, _ node: String) -> String {
    pair.value("node", node, ".status.conditions[?(@.type=='Ready')].status")
  }

  /// The Deployment's pod, on `b`; and one beside it that tolerates everything.
  private func podsRun(_ pair: NodePair) throws -> String {
    let bothReady = eventually(within: 90, every: 0.2) {
      ready(pair, "a") == "True" && ready(pair, "b") == "True"
    }
    try #require(bothReady != nil, "\(pair.logs)")
    let manifest = "\(pair.dataFolder(0))/objects.yaml"
    try Self.objects.write(toFile: manifest, atomically: true, encoding: .utf8)
    let applied = eventually(within: 30) { pair.kubectl("apply", "-f", manifest).status == 0 }
    try #require(applied != nil, "\(pair.kubectl("apply", "-f", manifest))")
    let isRunning = eventually(within: 90, every: 0.2) {
      pair.kubectl("get", "pods", "--field-selector=status.phase=Running", "-o", "name").lines.count == 2
    }
    try #require(isRunning != nil, "\(pair.kubectl("describe", "pods").standardOutput)\n\(pair.logs)")
    let name = pair.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
      .trimmed
    try #require(pair.value("pod", name, ".spec.nodeName") == "b")
    return name
  }

  private func lease(_ pair: NodePair, _ path: String) -> String {
    pair.kubectl("get", "lease", "b", "-n", "kube-node-lease", "-o", "jsonpath={\(path)}").trimmed
  }

  private func heartbeatsAreRenewed(_ pair: NodePair) {
    #expect(lease(pair, ".spec.leaseDurationSeconds") == "4")
    #expect(lease(pair, ".metadata.ownerReferences[0].kind") == "Node")
    let before = lease(pair, ".spec.renewTime")
    #expect(eventually(within: 30, every: 0.2) { lease(pair, ".spec.renewTime") > before } != nil)
  }

  private func podsMove(_ pair: NodePair, from first: String) throws {
    let isSilent = eventually(within: 60, every: 0.3) { ready(pair, "b") == "Unknown" }
    try #require(isSilent != nil, "\(pair.kubectl("describe", "nodes").standardOutput)\n\(pair.logs)")
    #expect(
      pair.value("node", "b", ".status.conditions[?(@.type=='Ready')].reason") == "NodeStatusUnknown")
    #expect(
      eventually(within: 30, every: 0.2) {
        pair.values("node", "b", ".spec.taints[?(@.key=='node.kubernetes.io/unreachable')].effect").sorted()
          == ["NoExecute", "NoSchedule"]
      } != nil, "\(pair.value("node", "b", ".spec.taints"))")
    let hasMoved = eventually(within: 60, every: 0.2) {
      pair.kubectl(
        "get", "pods", "-l", "app=web", "--field-selector=spec.nodeName=a,status.phase=Running", "-o", "name"
      ).lines.count == 1
    }
    try #require(hasMoved != nil, "\(pair.kubectl("describe", "pods").standardOutput)\n\(pair.logs)")
    // What was there waits for its node, which alone can say that nothing of it runs any more.
    #expect(!pair.value("pod", first, ".metadata.deletionTimestamp").isEmpty)
    #expect(
      pair.value("pod", first, ".status.conditions[?(@.type=='DisruptionTarget')].reason")
        == "DeletionByTaintManager")
    #expect(
      pair.kubectl("get", "events", "--field-selector=reason=TaintManagerEviction").standardOutput.contains(
        first))
    #expect(pair.value("pod", "patient", ".metadata.deletionTimestamp").isEmpty)
    #expect(pair.value("pod", "patient", ".status.conditions[?(@.type=='Ready')].status") == "False")
  }

  private func speaksAgain(_ pair: NodePair, _ first: String) throws {
    let isBack = eventually(within: 60, every: 0.3) {
      ready(pair, "b") == "True"
        && pair.values("node", "b", ".spec.taints[*].key").allSatisfy { !$0.contains("unreachable") }
    }
    try #require(isBack != nil, "\(pair.kubectl("describe", "node", "b").standardOutput)\n\(pair.logs)")
    let isGone = eventually(within: 60, every: 0.3) { pair.kubectl("get", "pod", first).status != 0 }
    #expect(isGone != nil, "\(pair.kubectl("describe", "pod", first).standardOutput)\n\(pair.logs)")
    let isWell = eventually(within: 60, every: 0.3) {
      pair.value("pod", "patient", ".status.conditions[?(@.type=='Ready')].status") == "True"
    }
    #expect(isWell != nil, "\(pair.kubectl("describe", "pod", "patient").standardOutput)\n\(pair.logs)")
    // The same container: it ran all the while.
    #expect(pair.value("pod", "patient", ".status.containerStatuses[0].restartCount") == "0")
  }

  /// It does not come back, and somebody says so: what told of its life goes with it.
  private func killedForGood(_ pair: NodePair) {
    pair.killNode(1)
    #expect(pair.kubectl("delete", "node", "b").status == 0)
    let isGone = eventually(within: 60, every: 0.3) {
      pair.kubectl("get", "lease", "b", "-n", "kube-node-lease").standardError.contains("NotFound")
    }
    #expect(isGone != nil, "\(pair.kubectl("get", "leases", "-n", "kube-node-lease"))\n\(pair.logs)")
  }
}
