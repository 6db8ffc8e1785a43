// What policies say of one connection, decided from the objects alone. The compiled ruleset is tested against this, and
// `weft explain` names the policy and rule that it finds.
//
//   Admin tier: ClusterNetworkPolicies by priority, the first rule that matches ─ Accept, Deny ─> done
//     │ Pass, or no rule matches
//   NetworkPolicies: those that isolate the pod ─ a rule matches, or none does ─> done
//     │ nobody isolates it
//   Baseline tier: as Admin ─> done, or allowed

import Addresses
import ClusterObjects
import ClusterView

/// One end of a connection, as policies see it.
public struct PolicyParty: Sendable, Hashable {
  public var address: IPAddress
  /// The pod that holds the address, if one does.
  public var pod: ObjectKey?
  public init(address: IPAddress, pod: ObjectKey? = nil) {
    self.address = address
    self.pod = pod
  }
}

/// A verdict, and what decided it.
public struct PolicyDecision: Sendable, Hashable {
  public enum Reason: Sendable, Hashable {
    /// No policy speaks of the sender's egress nor of the receiver's ingress.
    case notIsolated
    /// A rule of this NetworkPolicy lets it through. For a connection that two directions had to allow, the receiver's.
    case allowed(by: ObjectKey, rule: Int, NetworkPolicy.Direction)
    /// These NetworkPolicies isolate the pod and none of their rules matches.
    case denied(by: [ObjectKey], NetworkPolicy.Direction)
    /// A rule of a ClusterNetworkPolicy accepts or denies it.
    case ruled(ClusterRule)
    /// The other end is the pod's own node, from which nothing is kept, and to which NetworkPolicies let everything.
    case ownNode(NetworkPolicy.Direction)
    /// Both ends are one pod.
    case itself

    public var isDenial: Bool {
      switch self {
      case .denied: true
      case .ruled(let rule): rule.action == .deny
      case .notIsolated, .allowed, .ownNode, .itself: false
      }
    }
  }

  /// Where in a ClusterNetworkPolicy something was decided.
  public struct ClusterRule: Sendable, Hashable {
    public var policy: String
    public var tier: ClusterNetworkPolicy.Tier
    public var rule: Int
    /// As the rule calls itself; may be empty.
    public var name: String
    public var action: ClusterNetworkPolicy.Action
    public var direction: NetworkPolicy.Direction
  }

  public var isAllowed: Bool
  public var reason: Reason
  /// What each direction said, egress first.
  public var directions: [Reason]
  /// What policies in audit mode would have denied, egress first.
  public var audited: [Reason] = []
}

/// Decides a new connection from `source` to port `port` of `destination`, after address translation.
/// Ends that are no pod of the cluster network are isolated by nothing.
public func decidePolicy(
  view: ClusterView, from source: PolicyParty, to destination: PolicyParty, port: UInt16,
  transport: TransportProtocol
) -> PolicyDecision {
  if source.pod != nil, source.pod == destination.pod {
    return PolicyDecision(isAllowed: true, reason: .itself, directions: [.itself])
  }
  var connection = Connection(
    view: view, source: source, destination: destination, port: port, transport: transport)
  var directions: [PolicyDecision.Reason] = []
  for direction in [NetworkPolicy.Direction.egress, .ingress] {
    directions.append(connection.decide(direction))
    if let last = directions.last, last.isDenial {
      return PolicyDecision(
        isAllowed: false, reason: last, directions: directions, audited: connection.audited)
    }
  }
  let reason = directions[1] == .notIsolated ? directions[0] : directions[1]
  return PolicyDecision(
    isAllowed: true, reason: reason, directions: directions, audited: connection.audited)
}

private struct Connection {
  let view: ClusterView
  let source: PolicyParty
  let destination: PolicyParty
  let port: UInt16
  let transport: TransportProtocol
  var audited: [PolicyDecision.Reason] = []

  mutating func decide(_ direction: NetworkPolicy.Direction) -> PolicyDecision.Reason {
    let (near, far) = direction == .ingress ? (destination, source) : (source, destination)
    guard let key = near.pod, let pod = view.pods[key], !pod.isHostNetwork else { return .notIsolated }
    let isOwnNode = view.nodes[pod.nodeName]?.holds(far.address) ?? false
    if isOwnNode, direction == .ingress { return .ownNode(.ingress) }
    let around = view.clusterNetworkPolicies.values
      .filter {
        $0.concerns(namespace: view.namespaces[key.namespace]?.labels)
          && $0.subjectPods?.matches(pod.labels) ?? true
      }
      .sorted { ($0.priority, $0.name) < ($1.priority, $1.name) }
    if let ruled = rule(.admin, of: around, direction, far) { return ruled }
    if let said = askNetworkPolicies(of: pod, direction, far, isOwnNode: isOwnNode) { return said }
    return rule(.baseline, of: around, direction, far) ?? .notIsolated
  }

  /// Nil: the tier has nothing to say, or passes.
  private mutating func rule(
    _ tier: ClusterNetworkPolicy.Tier, of policies: [ClusterNetworkPolicy],
    _ direction: NetworkPolicy.Direction, _ far: PolicyParty
  ) -> PolicyDecision.Reason? {
    for policy in policies where policy.tier == tier {
      for (index, rule) in policy.rules(direction).enumerated() where matches(rule, far) {
        if rule.action == .pass { return nil }
        let found = PolicyDecision.Reason.ruled(
          .init(
            policy: policy.name, tier: tier, rule: index, name: rule.name, action: rule.action,
            direction: direction))
        if rule.action == .accept || !policy.isAudit { return found }
        audited.append(found)
      }
    }
    return nil
  }

  /// Nil: none isolates the pod.
  private mutating func askNetworkPolicies(
    of pod: Pod, _ direction: NetworkPolicy.Direction, _ far: PolicyParty, isOwnNode: Bool
  ) -> PolicyDecision.Reason? {
    let policies = view.networkPolicies.values
      .filter {
        $0.key.namespace == pod.key.namespace && $0.directions.contains(direction)
          && $0.podSelector.matches(pod.labels)
      }
      .sorted { $0.key < $1.key }
    if policies.isEmpty { return nil }
    let isolating = policies.filter { !$0.isAudit }
    if isOwnNode { return isolating.isEmpty ? nil : .ownNode(direction) }
    for policy in policies {
      for (index, rule) in policy.rules(direction).enumerated() where allows(rule, of: policy, far) {
        return .allowed(by: policy.key, rule: index, direction)
      }
    }
    if !isolating.isEmpty { return .denied(by: isolating.map(\.key), direction) }
    audited.append(.denied(by: policies.map(\.key), direction))
    return nil
  }

  private func allows(_ rule: NetworkPolicy.Rule, of policy: NetworkPolicy, _ far: PolicyParty) -> Bool {
    let hasPeer = rule.peers.isEmpty || rule.peers.contains { matches($0, own: policy.key.namespace, far) }
    return hasPeer && (rule.ports.isEmpty || rule.ports.contains(where: matches))
  }

  private func matches(_ peer: NetworkPolicy.Peer, own: String, _ far: PolicyParty) -> Bool {
    switch peer {
    case .block(let block, let except):
      block.contains(far.address) && !except.contains { $0.contains(far.address) }
    case .pods(let namespaces, let selector):
      isPod(far, of: namespaces, own: own, selector)
    }
  }

  private func matches(_ rule: ClusterNetworkPolicy.Rule, _ far: PolicyParty) -> Bool {
    switch rule.reach {
    case .nothing: false
    case .everything: true
    case .peers(let peers):
      peers.contains { matches($0, far) } && (rule.ports.isEmpty || rule.ports.contains(where: matches))
    }
  }

  private func matches(_ peer: ClusterNetworkPolicy.Peer, _ far: PolicyParty) -> Bool {
    switch peer {
    case .pods(let namespaces, let selector): isPod(far, of: namespaces, own: "", selector)
    case .networks(let blocks): blocks.contains { $0.contains(far.address) }
    case .nodes(let selector):
      view.nodes.values.contains { selector.matches($0.labels) && $0.addresses.contains(far.address) }
    case .domains(let patterns):
      view.resolved.contains { name, addresses in
        addresses.contains(far.address) && patterns.contains { $0.matches(name) }
      }
    }
  }

  /// Whether an end is a pod that is selected, in `namespaces` (nil: in `own`).
  private func isPod(
    _ far: PolicyParty, of namespaces: LabelSelector?, own: String, _ selector: LabelSelector?
  ) -> Bool {
    guard let key = far.pod, let pod = view.pods[key], !pod.isHostNetwork else { return false }
    if let namespaces {
      guard let found = view.namespaces[key.namespace], namespaces.matches(found.labels) else {
        return false
      }
    } else if key.namespace != own {
      return false
    }
    return selector?.matches(pod.labels) ?? true
  }

  private func matches(_ rule: NetworkPolicy.PortRule) -> Bool {
    guard rule.transport == transport else { return false }
    switch rule.port {
    case .any: return true
    case .range(let range): return range.contains(port)
    case .named(let name):
      guard let key = destination.pod, let pod = view.pods[key] else { return false }
      return pod.ports.contains { $0.name == name && $0.transport == transport && $0.port == port }
    }
  }
}
