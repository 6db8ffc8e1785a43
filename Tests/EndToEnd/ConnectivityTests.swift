// `weft test connectivity` in a cluster with the demo: all scenarios pass, a policy that breaks the cluster is found, and nothing stays.
import Foundation
import Testing

@Suite(.serialized) struct ConnectivityTests {
  private static let closed = """
    apiVersion: policy.networking.k8s.io/v1beta1
    kind: ClusterNetworkPolicy
    metadata: { name: closed }
    spec:
      tier: Admin
      priority: 1
      subject: { namespaces: {} }
      ingress: [{ name: nobody, action: Deny, from: [{ namespaces: {} }] }]

    """

  @Test(.timeLimit(.minutes(8)))
  func `scenarios pass in a cluster that is well, say what is broken in one that is not, and leave nothing`()
    throws
  {
    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--load-balancer-pool", "172.31.99.100-172.31.99.110"])
    let isReady = eventually(within: 60, every: 0.5) {
      node.kubectl("get", "nodes").standardOutput.contains(" Ready ")
    }
    try #require(isReady != nil, "\(node.log.suffix(4000))")
    let xml = "\(node.dataFolder)-junit.xml"
    defer { try? FileManager.default.removeItem(atPath: xml) }
    func tried(_ words: String...) -> Output {
      node.exec(
        [Project.weft, "test", "connectivity", "--kubeconfig", node.kubeconfig] + words, seconds: 180)
    }
    let well = tried("--junit", xml)
    #expect(well.status == 0, "\(well)\n\(node.log.suffix(3000))")
    #expect(well.standardOutput.contains("14 passed, 0 failed, 2 skipped"), "\(well)")
    #expect(
      well.lines.contains {
        $0.hasPrefix("- pod to pod on another node") && $0.contains("one node that is ready")
      },
      "\(well)")
    let report = (try? String(contentsOfFile: xml, encoding: .utf8)) ?? ""
    #expect(report.contains(#"tests="16" failures="0" skipped="2""#), "\(report)")
    func left() -> Bool { node.kubectl("get", "namespaces").standardOutput.contains("weft-test-") }
    #expect(!left())

    let policy = "\(node.dataFolder)-closed.yaml"
    defer { try? FileManager.default.removeItem(atPath: policy) }
    try Self.closed.write(toFile: policy, atomically: true, encoding: .utf8)
    let applied = node.kubectl("apply", "-f", policy)
    try #require(applied.status == 0, "\(applied)")
    let broken = tried("-o", "json")
    #expect(broken.status == 1, "\(broken)")
    #expect(broken.standardOutput.contains("\"ok\":false"), "\(broken)")
    #expect(broken.standardOutput.contains("no answer of near from http://10.42."), "\(broken)")
    #expect(!left())
    #expect(node.kubectl("delete", "-f", policy).status == 0)

    try differencesAreShown(node)
    let absent = tried("--image", "weft.local/nothing:9", "--timeout", "3s")
    #expect(absent.status == 1 && absent.standardError.contains("CLI0160"), "\(absent)")
    #expect(tried("--timeout", "soon").status == 2)
    #expect(!left())
  }

  /// Routes with our mark that nobody planned, and names that the zone would have otherwise, are lines of `weft diff`.
  private func differencesAreShown(_ node: TestNode) throws {
    let equal = node.weft("diff", "--kubeconfig", node.kubeconfig)
    #expect(equal.status == 0 && equal.standardOutput.isEmpty, "\(equal)")
    let added = node.exec("ip", "route", "add", "10.99.0.0/24", "dev", "ext0", "proto", "87")
    #expect(added.status == 0, "\(added)")
    let routed = node.weft("diff", "--kubeconfig", node.kubeconfig)
    #expect(
      routed.status == 1 && routed.standardOutput == "- delete route 10.99.0.0/24 dev ext0\n", "\(routed)")
    node.exec("ip", "route", "del", "10.99.0.0/24", "dev", "ext0")

    let folder = "\(node.dataFolder)-manifests"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Self.other.write(toFile: "\(folder)/other.yaml", atomically: true, encoding: .utf8)
    let named = node.weft("diff", "--manifests", folder, "--data-dir", node.dataFolder)
    #expect(named.status == 1, "\(named)")
    #expect(
      named.lines.contains(
        "~ change name other.shop.svc.cluster.local. from nothing to 10.43.99.9"), "\(named)")
  }

  private static let other = """
    apiVersion: v1
    kind: Namespace
    metadata: { name: shop }
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: other, namespace: shop }
    spec: { clusterIP: 10.43.99.9, ports: [{ port: 80 }] }
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: kubernetes, namespace: default }
    spec: { clusterIP: 10.43.0.1, ports: [{ name: https, port: 443 }] }

    """
}
