// One policy's rules for one direction: statements, and the sets that they look into. Pure; knows no pods.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// A policy's part of the chains that its pods share.
struct CompiledPolicy: Sendable {
  /// By family.
  var rules: [TableFamily.Addressed: [Rule]] = [:]
  var sets: Set<SetContent> = []

  init(_ policy: NetworkPolicy, _ direction: NetworkPolicy.Direction) {
    for (index, rule) in policy.rules(direction).enumerated() {
      for family in TableFamily.Addressed.allCases {
        rules[family, default: []] += compile(
          rule, of: policy, direction, family, comment: "\(policy.key)#\(index)")
      }
    }
  }

  /// Every pairing of a rule's peers and ports.
  private mutating func compile(
    _ rule: NetworkPolicy.Rule, of policy: NetworkPolicy, _ direction: NetworkPolicy.Direction,
    _ family: TableFamily.Addressed, comment: String
  ) -> [Rule] {
    var peers: [[Statement]] = []
    for peer in rule.peers {
      if let match = match(peer, of: policy, direction, family) { peers.append(match) }
    }
    if rule.peers.isEmpty { peers = [[]] }
    var ports: [[Statement]] = []
    for port in rule.ports { ports.append(match(port, of: policy, rule, direction, family)) }
    if rule.ports.isEmpty { ports = [[]] }
    // Ingress has the last word; egress hands on to the receiver's ingress look-up.
    let verdict: Statement = direction == .ingress ? .accept : .goto(PolicyNames.receiver)
    return peers.flatMap { peer in ports.map { Rule(peer + $0 + [.counter, verdict], comment: comment) } }
  }

  private mutating func match(
    _ peer: NetworkPolicy.Peer, of policy: NetworkPolicy, _ direction: NetworkPolicy.Direction,
    _ family: TableFamily.Addressed
  ) -> [Statement]? {
    let content: SetContent
    switch peer {
    case .block(let block, let except):
      guard block.family == family.addresses else { return nil }
      content = .block(block, except: except)
    case .pods(let namespaces, let selector):
      content = .pods(PodChoice(own: policy.key.namespace, namespaces: namespaces, pods: selector))
    }
    sets.insert(content)
    let far = direction == .ingress ? Expression.source(family) : .destination(family)
    return [.lookup(far, set: content.name, negated: false)]
  }

  private mutating func match(
    _ port: NetworkPolicy.PortRule, of policy: NetworkPolicy, _ rule: NetworkPolicy.Rule,
    _ direction: NetworkPolicy.Direction, _ family: TableFamily.Addressed
  ) -> [Statement] {
    let transport = Statement.transport(port.transport.number)
    switch port.port {
    case .any: return [transport]
    case .range(let range) where range.count == 1:
      return [transport, .match(.destinationPort, .equal, .port(range.lowerBound))]
    case .range(let range):
      return [
        transport,
        .matchRange(.destinationPort, first: .port(range.lowerBound), last: .port(range.upperBound)),
      ]
    case .named(let wanted):
      // A name means whatever number the receiving pod gives it.
      let receivers: [SetContent.Receivers] =
        direction == .ingress
        ? [.pods(PodChoice(own: policy.key.namespace, namespaces: nil, pods: policy.podSelector))]
        : Self.receivers(rule, own: policy.key.namespace)
      let content = SetContent.ports(of: receivers, port.transport, wanted)
      sets.insert(content)
      let key = Expression.concatenation([.destination(family), .metaTransport, .destinationPort])
      return [transport, .lookup(key, set: content.name, negated: false)]
    }
  }

  private static func receivers(_ rule: NetworkPolicy.Rule, own: String) -> [SetContent.Receivers] {
    if rule.peers.isEmpty { return [.everyone] }
    return rule.peers.map { peer in
      switch peer {
      case .block(let block, let except): .block(block, except: except)
      case .pods(let namespaces, let pods): .pods(PodChoice(own: own, namespaces: namespaces, pods: pods))
      }
    }
  }
}

extension NetworkPolicy {
  func rules(_ direction: Direction) -> [Rule] { direction == .ingress ? ingress : egress }
}
