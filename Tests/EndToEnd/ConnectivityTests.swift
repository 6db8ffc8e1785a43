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

    let absent = tried("--image", "weft.local/nothing:9", "--timeout", "10s")
    #expect(absent.status == 1 && absent.standardError.contains("CLI0160"), "\(absent)")
    #expect(tried("--timeout", "soon").status == 2)
    #expect(!left())
  }
}
