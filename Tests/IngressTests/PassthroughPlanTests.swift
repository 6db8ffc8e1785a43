// `ssl-passthrough` of ingress-nginx: which hosts it makes pass, and who is told why not.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import Ingress

@Suite struct PassthroughPlanTests {
  private let asked = ["ssl-passthrough": "true"]

  private func plan(_ port: UInt16?, _ ingresses: JSON...) -> RoutePlan {
    planRoutesExplained(view: nginxView(ingresses), passthroughPort: port)
  }

  @Test
  func `a host with the annotation passes to the Service of its path, and its plain requests are served`() {
    let plan = plan(443, nginxIngress("a", asked, host: "a.b"), nginxIngress("b", host: "b.b"))
    #expect(plan.problems.isEmpty)
    #expect(
      plan.streams.listeners == [
        StreamListener(
          port: 443, kind: .tls,
          rules: [StreamRule(name: "a.b", coversOneLabel: true, targets: [StreamTarget(backend: 0)])])
      ])
    #expect(plan.streams.backends.map(\.endpoints) == [[SocketEndpoint("10.42.0.1:8080")!]])
    #expect(plan.table.match(host: "a.b", path: "/x") != nil)
  }

  @Test func `settings for requests do not reach connections that nobody opens`() {
    let plan = plan(
      443, nginxIngress("a", ["ssl-passthrough": "true", "backend-protocol": "HTTPS"], host: "a.b"))
    #expect(plan.streams.backends.allSatisfy { $0.policy.isPlain })
    #expect(plan.table.backends.contains { $0.policy.tls != nil })
  }

  @Test
  func `without the flag, without a host or without the path of everything it is told and does nothing`() {
    let off = plan(nil, nginxIngress("a", asked, host: "a.b"))
    #expect(off.streams.isEmpty)
    #expect(
      off.problems.map(\.reason) == [
        "ssl-passthrough: has no effect without --enable-ssl-passthrough (ING0003)"
      ])
    for (ingress, word) in [
      (nginxIngress("a", asked, host: ""), "a rule without a host"),
      (nginxIngress("a", asked, host: "a.b", path: "/x"), "a.b"),
    ] {
      let plan = plan(443, ingress)
      #expect(plan.streams.isEmpty)
      #expect(plan.problems.map(\.reason).allSatisfy { $0.contains(word) && $0.contains("ING0004") })
      #expect(plan.problems.count == 1)
    }
    #expect(plan(443, nginxIngress("a", ["ssl-passthrough": "false"], host: "a.b")).streams.isEmpty)
  }

  @Test func `of two that claim a host the older decides`() {
    let plan = plan(
      443, nginxIngress("old", host: "a.b", created: "2025-01-01T00:00:00Z"),
      nginxIngress("new", asked, host: "a.b", service: "new"))
    #expect(plan.streams.isEmpty)
    #expect(plan.problems.contains { $0.topic == .annotation && $0.ingress.name == "new" })
  }
}
