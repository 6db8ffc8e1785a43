// How a ClusterNetworkPolicy is read, and what becomes of one that nobody understands.
import Addresses
import ClusterObjects
import ClusterView
import Testing

private func policy(_ spec: JSON) -> JSON {
  var whole: JSON = ["tier": "Admin", "priority": 10, "subject": ["namespaces": [:]]]
  for key in spec.object?.keys ?? [] { whole[key] = spec[key] }
  return ["kind": "ClusterNetworkPolicy", "metadata": ["name": "p"], "spec": whole]
}

private func read(_ rule: JSON, _ direction: String = "egress") throws -> ClusterNetworkPolicy.Rule {
  let read = try ClusterNetworkPolicy(policy([direction: [rule]]))
  return try #require((direction == "egress" ? read.egress : read.ingress).first)
}

@Test func `every kind of peer and port is read`() throws {
  let rule = try read([
    "name": "r", "action": "Accept",
    "to": [
      ["namespaces": ["matchLabels": ["a": "b"]]], ["pods": ["podSelector": [:]]],
      ["networks": ["10.0.0.0/8", "fd00::/8"]], ["nodes": [:]],
      ["domainNames": ["*.Example.org.", "example.org"]],
    ],
    "protocols": [
      ["tcp": ["destinationPort": ["number": 80]]], ["udp": [:]],
      ["sctp": ["destinationPort": ["range": ["start": 5, "end": 9]]]],
    ],
  ])
  #expect(rule.unknown == nil && rule.name == "r")
  guard case .peers(let peers) = rule.reach else {
    Issue.record("\(rule)")
    return
  }
  #expect(peers.count == 5)
  #expect(peers[1] == .pods(namespaces: .everything, pods: .everything))
  #expect(rule.ports.map(\.port) == [.range(80...80), .any, .range(5...9)])
  #expect(rule.ports.map(\.transport) == [.tcp, .udp, .sctp])
}

@Test(
  arguments: [
    ["to": [["planets": ["mars"]]]], ["to": [[:]]], ["to": []], [:],
    ["to": [["namespaces": [:], "nodes": [:]]]], ["to": [["networks": ["10.0.0.0/99"]]]],
    ["to": [["networks": []]]], ["to": [["pods": ["namespaceSelector": [:]]]]],
    ["to": [["nodes": ["matchExpressions": [["key": "a", "operator": "Near"]]]]]],
    ["to": [["namespaces": [:]]], "protocols": [["quic": [:]]]],
    ["to": [["namespaces": [:]]], "protocols": [["tcp": ["destinationPort": ["number": 70000]]]]],
    ["to": [["namespaces": [:]]], "protocols": [["tcp": ["sourcePort": ["number": 7]]]]],
    ["to": [["namespaces": [:]]], "protocols": [["tcp": [:], "udp": [:]]]],
    ["to": [["namespaces": [:]]], "protocols": []],
    ["to": [["networks": ["10.0.0.0/8"]]], "protocols": [["destinationNamedPort": "http"]]],
  ] as [JSON])
func `a rule that is not understood is closed`(rule: JSON) throws {
  for (action, reach) in [
    ("Accept", ClusterNetworkPolicy.Rule.Reach.nothing), ("Deny", .everything), ("Pass", .everything),
    ("Ponder", .everything),
  ] {
    var rule = rule
    rule["action"] = JSON(action)
    let found = try read(rule)
    #expect(found.reach == reach && found.unknown != nil && found.ports.isEmpty, "\(rule.text)")
    #expect(found.action == (action == "Accept" ? .accept : .deny))
  }
}

@Test func `networks, nodes and names are no peers of ingress, and names none of Deny`() throws {
  for peer in [["networks": ["10.0.0.0/8"]], ["nodes": [:]], ["domainNames": ["example.org"]]] as [JSON] {
    let found = try read(["action": "Accept", "from": [peer]], "ingress")
    #expect(found.reach == .nothing)
  }
  let denied = try read(["action": "Deny", "to": [["domainNames": ["example.org"]]]])
  #expect(denied.reach == .everything)
}

@Test(
  arguments: [
    ["tier": "Middle"], ["priority": 1001], ["priority": -1], ["priority": "ten"], ["subject": [:]],
    ["subject": ["nodes": [:]]], ["subject": ["namespaces": [:], "pods": ["podSelector": [:]]]],
  ] as [JSON])
func `a policy that says nothing of whom or when is left out by name`(spec: JSON) {
  let view = ClusterView(objects: [policy(spec)])
  #expect(view.clusterNetworkPolicies.isEmpty)
  #expect(view.quarantined[.init(kind: "ClusterNetworkPolicy", key: ObjectKey("", "p"))] != nil)
}

@Test func `names are matched as the API says`() throws {
  let exact = try #require(DomainPattern("kubernetes.io"))
  #expect(exact.matches("kubernetes.io") && !exact.matches("www.kubernetes.io"))
  let below = try #require(DomainPattern("*.kubernetes.io"))
  #expect(below.matches("blog.kubernetes.io") && below.matches("latest.blog.kubernetes.io"))
  #expect(
    !below.matches("kubernetes.io") && !below.matches("my-kubernetes.io") && !below.matches(".kubernetes.io"))
  for wrong in [
    "", "*", "*.", "io", "a..b", "-a.b", "a.b-", "a.*.b", "a b.c", String(repeating: "a", count: 64) + ".b",
  ] {
    #expect(DomainPattern(wrong) == nil, "\(wrong)")
  }
}
