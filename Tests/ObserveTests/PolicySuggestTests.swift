// What was observed is allowed by what is proposed, by labels that stay, and nothing else is.

import Addresses
import ClusterObjects
import ClusterView
import FuzzLab
import Policy
import Testing

@testable import Observe

private func seen(
  _ from: (String, [String: String])?, _ to: (String, [String: String])?, port: UInt16,
  transport: UInt8 = 6, verdict: Flow.Verdict = .forwarded, fromAddress: String? = nil,
  toAddress: String? = nil
) -> Flow {
  func end(_ who: (String, [String: String])?, _ given: String?, _ port: UInt16) -> Flow.End {
    let key = who.map { Flow.key($0.0) }
    // Each pod has an address of its own.
    let number = key.map { UInt32($0.description.utf8.reduce(7) { ($0 &* 31 &+ Int($1)) & 0xffff }) } ?? 0
    let address = given.flatMap { IPAddress($0) } ?? .v4(IPv4Address(bits: 0x0a2a_0000 + number))
    return Flow.End(SocketEndpoint(address, port), pod: key, labels: who?.1 ?? [:])
  }
  return Flow(
    time: start, event: .new, verdict: verdict, node: "n1", transport: transport,
    source: end(from, fromAddress, 40000), destination: end(to, toAddress, port))
}

private let client = ("demo/client-5c9", ["app": "client", "pod-template-hash": "5c9"])
private let web = ("demo/web-7d4", ["app": "web", "pod-template-hash": "7d4", "version": "1.2"])
private let prometheus = ("monitoring/prometheus-0", ["app.kubernetes.io/name": "prometheus"])

@Suite struct PolicySuggestTests {
  @Test func `a proposal names workloads by labels that stay, ports together, and its reasons`() throws {
    let flows = [
      seen(client, web, port: 8080), seen(client, web, port: 8080), seen(prometheus, web, port: 9100),
      seen(web, nil, port: 443, toAddress: "203.0.113.7"), seen(client, web, port: 22, verdict: .denied),
      seen(client, web, port: 0, transport: 1),
    ]
    let suggestion = PolicySuggestion(flows, namespace: "demo")
    #expect(suggestion.refused == [] && suggestion.connections == 4)
    #expect(suggestion.leftOut == ["1 flows of ICMP: a NetworkPolicy has no word for it"])
    #expect(suggestion.policies.map(\.key.description) == ["demo/client", "demo/web"])
    let policy = try #require(suggestion.policies.last)
    #expect(
      policy.yaml == """
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata:
          name: web
          namespace: demo
        spec:
          podSelector:
            matchLabels:
              app: web
          policyTypes:
          - Ingress
          - Egress
          ingress:
          # from demo/client-5c9 at 8080/TCP: 2 connections, last 2026-09-21T14:13:20Z
          - from:
            - podSelector:
                matchLabels:
                  app: client
            ports:
            - protocol: TCP
              port: 8080
          # from monitoring/prometheus-0 at 9100/TCP: 1 connection, last 2026-09-21T14:13:20Z
          - from:
            - namespaceSelector:
                matchLabels:
                  kubernetes.io/metadata.name: monitoring
              podSelector:
                matchLabels:
                  app.kubernetes.io/name: prometheus
            ports:
            - protocol: TCP
              port: 9100
          egress:
          # to 203.0.113.7 at 443/TCP: 1 connection, last 2026-09-21T14:13:20Z
          - to:
            - ipBlock:
                cidr: "203.0.113.7/32"
            ports:
            - protocol: TCP
              port: 443
          # looking up names: always proposed, for it may not be observed
          - ports:
            - protocol: UDP
              port: 53
            - protocol: TCP
              port: 53

        """)
  }

  @Test func `what was not observed is refused by the proposal`() {
    let suggestion = PolicySuggestion([seen(client, web, port: 8080)])
    var view = ClusterView()
    for policy in suggestion.policies { view.apply(policy.json) }
    view.apply(flowPod("demo", "c", "10.42.0.10", ["app": "client"]))
    view.apply(flowPod("demo", "w", "10.42.0.11", ["app": "web", "pod-template-hash": "another"]))
    view.apply(flowPod("demo", "x", "10.42.0.12", ["app": "x"]))
    func isAllowed(_ from: String, _ to: String, _ port: UInt16) -> Bool {
      func party(_ name: String) -> PolicyParty {
        PolicyParty(address: view.pods[ObjectKey("demo", name)]!.addresses[0], pod: ObjectKey("demo", name))
      }
      return decidePolicy(view: view, from: party(from), to: party(to), port: port, transport: .tcp).isAllowed
    }
    #expect(isAllowed("c", "w", 8080), "also after a rollout")
    #expect(!isAllowed("c", "w", 8081) && !isAllowed("x", "w", 8080) && !isAllowed("w", "c", 8080))
    #expect(isAllowed("c", "x", 53), "names are looked up anywhere")
  }

  @Test func `many addresses are proposed as everyone, and the node's own connections as nothing`() throws {
    var flows = (1...20).map { seen(nil, web, port: 8080, fromAddress: "203.0.113.\($0)") }
    var probe = seen(nil, web, port: 9999, fromAddress: "192.168.50.1")
    probe.source.node = "n1"
    flows.append(probe)
    let suggestion = PolicySuggestion(flows)
    #expect(suggestion.refused == [])
    let policy = try #require(suggestion.policies.first)
    #expect(policy.ingress.count == 1 && policy.ingress[0].peers == [.anyone])
    #expect(policy.ingress[0].ports.map(\.port) == [8080])
    #expect(policy.ingress[0].reasons[0].contains("many others"))
  }

  @Test func `hostile labels stay in their place`() throws {
    let flow = seen(client, ("demo/w", ["app": "x\n- evil: {", "n": "true"]), port: 80)
    let policy = try #require(
      PolicySuggestion([flow]).policies.last { $0.labels["app"]?.hasPrefix("x") == true })
    #expect(policy.yaml.split(separator: "\n").allSatisfy { !$0.contains("- evil: {") || $0.contains("\\n") })
    #expect(!policy.key.name.contains("\n"))
  }

  @Test(arguments: 0..<100)
  func `every set of observed flows is allowed by what is proposed for it`(seed: UInt64) {
    var numbers = SeededNumbers(seed)
    let apps = ["web", "db", "job", "cache"]
    func pod() -> (String, [String: String]) {
      let (app, namespace) = (
        apps.randomElement(using: &numbers)!, ["a", "b", "c"].randomElement(using: &numbers)!
      )
      let replica = Int.random(in: 0..<3, using: &numbers)
      return ("\(namespace)/\(app)-\(replica)", ["app": app, "pod-template-hash": "\(replica)"])
    }
    let flows = (0..<Int.random(in: 1...60, using: &numbers)).map { _ in
      let outside = Int.random(in: 0..<6, using: &numbers)
      let address = "198.51.100.\(Int.random(in: 1...20, using: &numbers))"
      return seen(
        outside == 0 ? nil : pod(), outside == 1 ? nil : pod(),
        port: UInt16.random(in: 1...6, using: &numbers),
        transport: [6, 17, 132].randomElement(using: &numbers)!, fromAddress: outside == 0 ? address : nil,
        toAddress: outside == 1 ? address : nil)
    }
    #expect(PolicySuggestion(flows).refused == [], "seed \(seed)")
  }
}
