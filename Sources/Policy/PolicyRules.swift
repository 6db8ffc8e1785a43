// One policy's rules for one direction: statements, and the sets that they look into. Pure; knows no pods.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// A rule but for its end, which depends on the chain that it stands in.
struct CompiledRule: Hashable, Sendable {
  enum Action: Hashable, Sendable {
    case accept, deny, pass
    /// Noted as denied, and on to the next rule.
    case audit
  }
  var match: [Statement]
  var action: Action
  var comment: String
}

/// A policy's part of the chains that its pods share.
struct CompiledPolicy: Sendable {
  /// By family.
  var rules: [TableFamily.Addressed: [CompiledRule]] = [:]
  var sets: Set<SetContent> = []
  /// Of a NetworkPolicy: it isolates nobody.
  var isAudit = false

  init(_ policy: NetworkPolicy, _ direction: NetworkPolicy.Direction) {
    isAudit = policy.isAudit
    for (index, rule) in policy.rules(direction).enumerated() {
      let peers = rule.peers.map { peer -> SetContent in
        switch peer {
        case .block(let block, let except): .block(block, except: except)
        case .pods(let namespaces, let selector):
          .pods(PodChoice(own: policy.key.namespace, namespaces: namespaces, pods: selector))
        }
      }
      // A name means whatever number the receiving pod gives it.
      let receivers: [SetContent.Receivers] =
        direction == .ingress
        ? [.pods(PodChoice(own: policy.key.namespace, namespaces: nil, pods: policy.podSelector))]
        : peers.isEmpty ? [.everyone] : peers.compactMap(SetContent.Receivers.init)
      add(
        peers.isEmpty ? nil : peers, rule.ports, receivers: receivers, direction, .accept,
        comment: "\(policy.key)#\(index)")
    }
  }

  init(_ policy: ClusterNetworkPolicy, _ direction: NetworkPolicy.Direction) {
    for (index, rule) in policy.rules(direction).enumerated() {
      var peers: [SetContent]?
      switch rule.reach {
      case .nothing: continue
      case .everything: peers = nil
      case .peers(let listed):
        peers = listed.flatMap { peer -> [SetContent] in
          switch peer {
          case .pods(let namespaces, let selector):
            [.pods(PodChoice(own: "", namespaces: namespaces, pods: selector))]
          case .networks(let blocks): [.networks(blocks)]
          case .nodes(let selector): [.nodes(selector)]
          case .domains(let patterns): patterns.map(SetContent.domain)
          }
        }
      }
      let subject = PodChoice(own: "", namespaces: policy.subjectNamespaces, pods: policy.subjectPods)
      let receivers: [SetContent.Receivers] =
        direction == .ingress ? [.pods(subject)] : (peers ?? []).compactMap(SetContent.Receivers.init)
      let action: CompiledRule.Action =
        switch rule.action {
        case .accept: .accept
        case .deny: policy.isAudit ? .audit : .deny
        case .pass: .pass
        }
      add(
        peers, rule.ports, receivers: receivers, direction, action,
        comment: "\(policy.name)#\(index)\(rule.name.isEmpty ? "" : " \(rule.name)")")
    }
  }

  /// Every pairing of a rule's peers (nil: everyone) and ports (none: all).
  private mutating func add(
    _ peers: [SetContent]?, _ ports: [NetworkPolicy.PortRule], receivers: [SetContent.Receivers],
    _ direction: NetworkPolicy.Direction, _ action: CompiledRule.Action, comment: String
  ) {
    for family in TableFamily.Addressed.allCases {
      let far = direction == .ingress ? Expression.source(family) : .destination(family)
      var peerMatches: [[Statement]] = peers == nil ? [[]] : []
      // Sets of the other family match nothing here.
      for content in peers ?? [] where content.isPossible(family) {
        sets.insert(content)
        peerMatches.append([.lookup(far, set: content.name, negated: false)])
      }
      let portMatches = ports.isEmpty ? [[]] : ports.map { match($0, receivers, family) }
      for peer in peerMatches {
        for port in portMatches {
          rules[family, default: []].append(
            CompiledRule(match: peer + port, action: action, comment: comment))
        }
      }
    }
  }

  private mutating func match(
    _ port: NetworkPolicy.PortRule, _ receivers: [SetContent.Receivers], _ family: TableFamily.Addressed
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
      let content = SetContent.ports(of: receivers, port.transport, wanted)
      sets.insert(content)
      let key = Expression.concatenation([.destination(family), .metaTransport, .destinationPort])
      return [transport, .lookup(key, set: content.name, negated: false)]
    }
  }
}

extension SetContent.Receivers {
  /// Who among a peer has names for ports; nil: nobody.
  init?(_ content: SetContent) {
    switch content {
    case .pods(let choice): self = .pods(choice)
    case .block(let block, let except): self = .block(block, except: except)
    case .networks, .nodes, .domain, .ports: return nil
    }
  }
}

extension SetContent {
  /// Whether a packet of a family can be in it.
  func isPossible(_ family: TableFamily.Addressed) -> Bool {
    switch self {
    case .block(let block, _): block.family == family.addresses
    case .networks(let blocks): blocks.contains { $0.family == family.addresses }
    case .pods, .nodes, .domain, .ports: true
    }
  }
}

extension NetworkPolicy {
  func rules(_ direction: Direction) -> [Rule] { direction == .ingress ? ingress : egress }
}
