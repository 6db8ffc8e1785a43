// Nodes that are deleted and made anew under their pods: with the block they had, with one that somebody else says, with one that
// the control plane gives while the agent is away.
import Addresses
import Foundation
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(6))) struct PodBlockChangeTests {
  @Test
  func
    `a node that is made anew keeps its block while it is free, and its pods get new addresses when it has another`()
    throws
  {
    let pair = try NodePair(network: "host-gw")
    defer { pair.remove() }
    try pair.startServer()
    let ready = eventually(within: 60) { pair.kubectl("get", "--raw", "/readyz").standardOutput == "ok" }
    try #require(ready != nil, "\(pair.logs)")
    try pair.startNode(0)
    try podRuns(pair)
    let first = try #require(block(pair))
    let address = pair.value("pod", "web", ".status.podIP")
    #expect(IPAddress(address).map { first.contains($0) } == true, "\(address) of \(first)")
    try isServed(pair)

    // Deleted: it comes back as it was, and nothing of its pods changes.
    let container = pair.value("pod", "web", ".status.containerStatuses[0].containerID")
    #expect(pair.kubectl("delete", "node", "a").status == 0)
    let back = eventually(within: 60) { block(pair) == first && isReady(pair) }
    try #require(back != nil, "\(pair.logs)")
    #expect(pair.value("pod", "web", ".status.podIP") == address)
    #expect(pair.value("pod", "web", ".status.containerStatuses[0].containerID") == container)
    try isServed(pair)

    // Made anew by somebody else, with another block: the node sets itself up for it.
    let foreign = try #require(IPPrefix("10.42.77.0/24"))
    let manifest = "\(pair.dataFolder(0))/node.yaml"
    try """
    apiVersion: v1
    kind: Node
    metadata: { name: a, labels: { kubernetes.io/hostname: a } }
    spec: { podCIDR: 10.42.77.0/24, podCIDRs: [10.42.77.0/24, "fd00:42:0:77::/64"] }

    """.write(toFile: manifest, atomically: true, encoding: .utf8)
    // The agent may be faster with its own: then once more.
    let replaced = eventually(within: 60) {
      pair.kubectl("replace", "--force", "-f", manifest)
      return block(pair) == foreign
    }
    try #require(replaced != nil, "\(pair.logs)")
    try podMoves(pair, to: foreign)
    #expect(!bridgeAddresses(pair).contains("\(first.address(at: 1).map { "\($0)" } ?? "?")/"))

    // Deleted while the agent is away: the control plane gives it another, and the pods it finds are of the old one.
    #expect(pair.stopNode(0, SIGTERM), "\(pair.logs)")
    #expect(pair.kubectl("delete", "node", "a").status == 0)
    try pair.startNode(0)
    let given = eventually(within: 60) { block(pair).map { $0 != foreign } ?? false }
    try #require(given != nil, "\(pair.logs)")
    try podMoves(pair, to: try #require(block(pair)))
  }

  private func block(_ pair: NodePair) -> IPPrefix? { IPPrefix(pair.value("node", "a", ".spec.podCIDR")) }

  private func isReady(_ pair: NodePair) -> Bool {
    pair.value("node", "a", ".status.conditions[?(@.type=='Ready')].status") == "True"
  }

  private func bridgeAddresses(_ pair: NodePair) -> String {
    run(["ip", "-n", pair.namespace(0), "-o", "addr", "show", "type", "bridge"]).standardOutput
  }

  private func podRuns(_ pair: NodePair) throws {
    let manifest = "\(pair.dataFolder(0)).yaml"
    defer { try? FileManager.default.removeItem(atPath: manifest) }
    try """
    apiVersion: v1
    kind: Service
    metadata: { name: web }
    spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
    ---
    apiVersion: v1
    kind: Pod
    metadata: { name: web, labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: "weft.local/demo:1"
        args: [serve, "8080"]
        volumeMounts: [{ name: kept, mountPath: /kept }]
      volumes: [{ name: kept, emptyDir: {} }]

    """.write(toFile: manifest, atomically: true, encoding: .utf8)
    let applied = eventually(within: 60) { pair.kubectl("apply", "-f", manifest).status == 0 }
    try #require(applied != nil, "\(pair.logs)")
    let ready = pair.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=90s", seconds: 100)
    try #require(ready.status == 0, "\(pair.kubectl("describe", "pod", "web").standardOutput)\n\(pair.logs)")
    let written = pair.kubectl("exec", "web", "--", "sh", "-c", "echo remembered >/kept/word")
    try #require(written.status == 0, "\(written)")
  }

  /// The same pod, with an address of the block, its volume, and its Service.
  private func podMoves(_ pair: NodePair, to block: IPPrefix) throws {
    let uid = pair.value("pod", "web", ".metadata.uid")
    let moved = eventually(within: 90) {
      guard let address = IPAddress(pair.value("pod", "web", ".status.podIP")) else { return false }
      return block.contains(address) && isReady(pair)
        && pair.value("pod", "web", ".status.conditions[?(@.type=='Ready')].status") == "True"
    }
    try #require(
      moved != nil,
      "\(pair.kubectl("describe", "pod,node").standardOutput)\n\(pair.logs)")
    #expect(pair.value("pod", "web", ".metadata.uid") == uid)
    #expect(pair.kubectl("exec", "web", "--", "cat", "/kept/word").trimmed == "remembered", "\(pair.logs)")
    try isServed(pair)
  }

  private func isServed(_ pair: NodePair) throws {
    let address = pair.value("service", "web", ".spec.clusterIP")
    let answered = eventually(within: 60) {
      run([
        "ip", "netns", "exec", pair.namespace(0), "curl", "-sS", "-m", "10", "http://\(address)/",
      ]).standardOutput.contains("pod: web")
    }
    try #require(answered != nil, "\(bridgeAddresses(pair))\n\(pair.logs)")
  }
}
