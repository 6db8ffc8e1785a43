// `--live`: a real packet between two pods' namespaces, through the rules that policies are compiled to, traced by the kernel; and what is
// said when somebody else's rule does what no object says.

import Addresses
import ClusterObjects
import ClusterView
import FuzzLab
import Glibc
import KernelNftables
import NamespaceLab
import Policy
import Ruleset
import Testing

@testable import Observe

@Suite(.serialized) struct LiveExplainTests {
  /// Explains client to web, as the command does, with a packet.
  private func explain(_ view: ClusterView, _ port: UInt16, _ transport: String = "TCP") throws -> Explanation
  {
    let tables = planPolicy(view: view, attachments: [], settings: PolicySettings(nodeName: "n1"))
    var explainer = Explainer(view: view, nodeName: "n1", observed: Ruleset(tables)) { _ in .doesNotExist }
    explainer.localAddresses = [try #require(IPAddress("10.42.0.1"))]
    var explanation = try explainer.explain(
      from: "demo/client-1", to: "pod/demo/web-1:\(port)/\(transport)")
    try LiveExplainer().add(to: &explanation, isOwn: false, planned: explainer.observed)
    return explanation
  }

  private func live(_ explanation: Explanation) -> [String] {
    explanation.steps.filter { $0.step == "live" }.map(\.text)
  }

  @Test func `a packet is followed through the rules in force, to its endpoint or to the rule that drops it`()
    throws
  {
    try inFreshNamespace {
      let lab = PodLab()
      let control = try NftablesSocket()
      let view = PodLab.view(ports: [8080])
      try PodLab.apply(view, control)
      let listener = try lab.listen(8080)
      defer { close(listener) }
      let passed = try explain(view, 8080)
      #expect(passed.verdict == .allow && passed.kernel == .agrees, "\(passed.text(colour: false))")
      let lines = live(passed)
      #expect(lines.last?.hasPrefix("connected to 10.42.0.11:8080/TCP in ") == true, "\(lines)")
      #expect(lines.contains { $0.hasPrefix("ip KUBE-POLICY ") && $0.contains(" rule ") }, "\(lines)")
      // Rules are told with their text.
      #expect(
        lines.contains { $0.contains("rule") && $0.contains(": ") && $0.contains("→ accept") }, "\(lines)")

      let denied = try explain(view, 9090)
      #expect(denied.verdict == .deny && denied.kernel == .agrees, "\(denied.text(colour: false))")
      #expect(
        live(denied).contains { $0.contains("KUBE-DENY-IN") && $0.hasSuffix("→ drop") }, "\(live(denied))")
      #expect(live(denied).last == "10.42.0.11:9090/TCP did not answer")

      let unheard = try explain(PodLab.view(ports: [8080, 7070]), 7070)
      // The objects allow what the kernel does not: the rules in force are the old ones.
      #expect(
        unheard.kernel == .differs && live(unheard).contains { $0.hasPrefix("CLI0153") }, "\(live(unheard))")
      try PodLab.apply(PodLab.view(ports: [8080, 7070]), control)
      let refused = try explain(PodLab.view(ports: [8080, 7070]), 7070)
      #expect(refused.kernel == .agrees, "\(live(refused))")
      #expect(live(refused).last == "10.42.0.11:7070/TCP was refused by the endpoint: nothing listens there")
      let datagram = try explain(view, 9090, "UDP")
      #expect(live(datagram).contains { $0.hasSuffix("→ drop") }, "\(live(datagram))")
      // Nothing of ours is left behind.
      #expect(!run("nft list tables").output.contains("weft-trace"))
    }
  }

  @Test func `a rule of somebody else that drops what the objects allow is found and is an error`() throws {
    try inFreshNamespace {
      let lab = PodLab()
      let control = try NftablesSocket()
      let view = PodLab.view(ports: [8080])
      try PodLab.apply(view, control)
      let listener = try lab.listen(8080)
      defer { close(listener) }
      run(
        "nft 'table ip firewall { chain f { type filter hook forward priority 10; tcp dport 8080 drop comment \"no web here\"; }; }'"
      )
      let explanation = try explain(view, 8080)
      #expect(explanation.verdict == .allow && explanation.kernel == .differs)
      let lines = live(explanation)
      #expect(lines.contains("ip firewall f rule 1 (no web here) → drop"), "\(lines)")
      #expect(lines.last?.hasPrefix("CLI0153 the objects say that it passes") == true, "\(lines)")
    }
  }

  @Test func `a source of another node is told so, and the answer to no question is none`() throws {
    try inFreshNamespace {
      _ = PodLab()
      var explanation = Explanation(source: "demo/far", destination: "x")
      try LiveExplainer().add(to: &explanation, isOwn: false, planned: nil)
      #expect(explanation.steps.isEmpty)
      explanation.asked = .init(
        source: try #require(IPAddress("10.42.9.9")),
        destination: try #require(SocketEndpoint("10.42.0.11:80")),
        transport: .tcp)
      #expect { try LiveExplainer().add(to: &explanation, isOwn: false, planned: nil) } throws: {
        "\($0)".contains("CLI0151") && "\($0)".contains("demo/far")
      }
      explanation.asked?.transport = .sctp
      #expect { try LiveExplainer().add(to: &explanation, isOwn: false, planned: nil) } throws: {
        "\($0)".contains("CLI0152")
      }
    }
  }
}
