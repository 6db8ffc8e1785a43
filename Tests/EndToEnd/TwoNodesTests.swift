// A cluster of two nodes: the control plane gives each its blocks of pod addresses, pods of one reach those of the other at full
// length and Services wherever they run, and a node that leaves takes its ways with it.
import Addresses
import Foundation
import KernelNetlink
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct TwoNodesTests {
  @Test(arguments: [("host-gw", 1500), ("vxlan", 1450)])
  func `pods of two nodes reach each other in both families, by Services too, until their node leaves`(
    network: String, mtu: Int
  ) throws {
    let pair = try NodePair(network: network)
    defer { pair.remove() }
    try pair.startServer()
    let ready = eventually(within: 60) { pair.kubectl("get", "--raw", "/readyz").standardOutput == "ok" }
    try #require(ready != nil, "\(pair.logs)")
    for node in 0..<2 { try pair.startNode(node) }
    try nodesAreReady(pair)
    let blocks = try blocksAreGiven(pair)
    let pods = try podsRun(pair, blocks)
    try packetsArriveWhole(pair, pods, mtu)
    try servicesAreReached(pair, pods)
    if network == "vxlan" { try restartKeepsBlocks(pair, blocks, pods) }
    try leavingNodeLosesItsWays(pair, network, blocks)
  }

  private func nodesAreReady(_ pair: NodePair) throws {
    let made = eventually(within: 60) { pair.kubectl("get", "node", "a", "b").status == 0 }
    try #require(made != nil, "\(pair.logs)")
    let ready = pair.kubectl(
      "wait", "--for=condition=Ready", "node/a", "node/b", "--timeout=60s", seconds: 70)
    try #require(
      ready.status == 0, "\(ready)\n\(pair.kubectl("describe", "nodes").standardOutput)\n\(pair.logs)")
  }

  /// The blocks of each node: one a family, from the cluster's, no two the same.
  private func blocksAreGiven(_ pair: NodePair) throws -> [[IPPrefix]] {
    let blocks = (0..<2).map { node in
      pair.values("node", pair.name(node), ".spec.podCIDRs[*]").compactMap { IPPrefix($0) }
    }
    for (node, own) in blocks.enumerated() {
      try #require(own.map(\.length) == [24, 64], "\(own)")
      #expect(pair.value("node", pair.name(node), ".spec.podCIDR") == "\(own[0])")
    }
    #expect(Set(blocks.flatMap(\.self)).count == 4)
    return blocks
  }

  /// One pod on each node, and a Service before that on the second. Returns the pods' addresses.
  private func podsRun(_ pair: NodePair, _ blocks: [[IPPrefix]]) throws -> [[IPAddress]] {
    let manifest = NSTemporaryDirectory() + "weft-pair-\(pair.tag).yaml"
    defer { try? FileManager.default.removeItem(atPath: manifest) }
    let pods = (0..<2).map { node in
      """
      apiVersion: v1
      kind: Pod
      metadata: { name: pod-\(pair.name(node)), labels: { app: pod-\(pair.name(node)) } }
      spec:
        nodeSelector: { kubernetes.io/hostname: \(pair.name(node)) }
        terminationGracePeriodSeconds: 0
        containers: [{ name: web, image: "weft.local/demo:1", args: [serve, "8080"] }]
      ---

      """
    }
    let service = """
      apiVersion: v1
      kind: Service
      metadata: { name: far }
      spec: { ipFamilyPolicy: RequireDualStack, selector: { app: pod-b }, ports: [{ port: 80, targetPort: 8080 }] }

      """
    try (pods.joined() + service).write(toFile: manifest, atomically: true, encoding: .utf8)
    // Until the control plane's first moments are over a namespace has no ServiceAccount for pods.
    let applied = eventually(within: 60) { pair.kubectl("apply", "-f", manifest).status == 0 }
    try #require(applied != nil, "\(pair.kubectl("apply", "-f", manifest))")
    let ready = pair.kubectl(
      "wait", "--for=condition=Ready", "pod/pod-a", "pod/pod-b", "--timeout=60s", seconds: 70)
    try #require(
      ready.status == 0, "\(ready)\n\(pair.kubectl("describe", "pods").standardOutput)\n\(pair.logs)")
    return try (0..<2).map { node in
      let own = pair.values("pod", "pod-\(pair.name(node))", ".status.podIPs[*].ip").compactMap {
        IPAddress($0)
      }
      try #require(
        own.count == 2 && zip(blocks[node], own).allSatisfy { $0.contains($1) }, "\(own) of \(blocks)")
      return own
    }
  }

  private func packetsArriveWhole(_ pair: NodePair, _ pods: [[IPAddress]], _ mtu: Int) throws {
    let namespaces = try (0..<2).map { try #require(pair.podNamespace($0, holding: "\(pods[$0][0])")) }
    for family in 0..<2 {
      for from in 0..<2 {
        let datagram = Datagram(
          from: (namespaces[from], pods[from][family]), to: (namespaces[1 - from], pods[1 - from][family]))
        // The other pod sees the pod's own address: nothing on the way hides it.
        #expect(try datagram.send(mtu) == pods[from][family])
        #expect(try datagram.send(mtu + 1) == nil)
      }
    }
    // What was sent whole travelled whole.
    for node in 0..<2 { #expect(try fragments(pair.namespacePath(node)) == []) }
  }

  /// Packets that this node's kernel cut in pieces, and pieces that it put together.
  private func fragments(_ namespace: String) throws -> [String] {
    let (four, six) = try runInNamespace(namespace) {
      // Of the calling thread's namespace, not of the process's first thread.
      (
        try String(contentsOfFile: "/proc/thread-self/net/snmp", encoding: .utf8),
        try String(contentsOfFile: "/proc/thread-self/net/snmp6", encoding: .utf8)
      )
    }
    let lines = four.split(separator: "\n").filter { $0.hasPrefix("Ip: ") }.map { $0.split(separator: " ") }
    try #require(lines.count == 2)
    let pairs = zip(lines[0], lines[1]).map { ("\($0)", "\($1)") }
    let others = six.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace) }
      .filter { $0.count == 2 }.map { ("\($0[0])", "\($0[1])") }
    let wanted: Set<String> = ["FragCreates", "ReasmReqds", "Ip6FragCreates", "Ip6ReasmReqds"]
    return (pairs + others).filter { wanted.contains($0.0) && $0.1 != "0" }.map { "\($0.0)=\($0.1)" }
  }

  /// A pod of the first node and the first node itself reach the Service whose only pod is on the second, by either address.
  private func servicesAreReached(_ pair: NodePair, _ pods: [[IPAddress]]) throws {
    let addresses = pair.values("service", "far", ".spec.clusterIPs[*]").compactMap { IPAddress($0) }
    try #require(addresses.map(\.family) == [.v4, .v6], "\(addresses)")
    let namespace = try #require(pair.podNamespace(0, holding: "\(pods[0][0])"))
    for (place, address) in [namespace, pair.namespacePath(0)].flatMap({ place in
      addresses.map { (place, $0) }
    }) {
      let host = address.family == .v6 ? "[\(address)]" : "\(address)"
      var last: Output?
      let answered = eventually(within: 60) {
        let output = run(
          [
            "nsenter", "--net=\(place)", "--", "curl", "-s", "-m", "5", "http://\(host)/",
          ])
        last = output
        return output.lines.first?.contains("pod-b") == true
      }
      #expect(answered != nil, "\(place), \(host): \(String(describing: last))\n\(pair.logs)")
    }
  }

  /// An agent that starts again has what it had, and so have its pods.
  private func restartKeepsBlocks(_ pair: NodePair, _ blocks: [[IPPrefix]], _ pods: [[IPAddress]]) throws {
    #expect(pair.stopNode(1, SIGTERM))
    try pair.startNode(1)
    let first = Datagram(
      from: (try #require(pair.podNamespace(0, holding: "\(pods[0][0])")), pods[0][0]),
      to: (try #require(pair.podNamespace(1, holding: "\(pods[1][0])")), pods[1][0]))
    #expect(try first.send(1000) == pods[0][0])
    try nodesAreReady(pair)
    #expect(pair.values("node", "b", ".spec.podCIDRs[*]") == blocks[1].map(\.description))
    #expect(pair.values("pod", "pod-b", ".status.podIPs[*].ip") == pods[1].map(\.description))
    #expect(try first.send(1450) == pods[0][0])
  }

  /// The way to a node is there as long as its Node object, and no longer.
  private func leavingNodeLosesItsWays(_ pair: NodePair, _ network: String, _ blocks: [[IPPrefix]]) throws {
    func ways() throws -> [String] {
      var session = try RouteSession(inNamespace: pair.namespacePath(0))
      var found = try session.routes().filter { $0.origin == 87 }.map { "\($0.destination)" }
      if let tunnel = try session.link(named: "weft-vxlan") {
        found += try session.forwarding(on: tunnel.index).map { "fdb \($0.address)" }
      }
      return found.sorted()
    }
    var wanted = blocks[1].map(\.description)
    if network == "vxlan" { wanted.append("fdb \(NodePair.machines[1])") }
    #expect(try ways() == wanted.sorted())
    #expect(pair.stopNode(1), "\(pair.logs)")
    let deleted = pair.kubectl("delete", "node", "b")
    #expect(deleted.status == 0, "\(deleted)")
    let gone = try eventually(within: 60) { try ways().isEmpty }
    let left = try ways()
    #expect(gone != nil, "\(left)\n\(pair.logs)")
    // What SIGINT of the other left: nothing but its machine.
    let links = run(["ip", "-n", pair.namespace(1), "-o", "link"]).lines.compactMap {
      $0.split(separator: ":").dropFirst().first.map { $0.trimmingCharacters(in: .whitespaces) }
    }
    #expect(links.allSatisfy { name in ["lo", "eth0@", "ifb"].contains { name.hasPrefix($0) } }, "\(links)")
  }
}
