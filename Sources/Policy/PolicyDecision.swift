// What NetworkPolicy says of one connection, decided from the objects alone. The compiled ruleset is tested against this,
// and `weft explain` names the policy and rule that it finds.

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
    /// No policy selects the sender for egress nor the receiver for ingress.
    case notIsolated
    /// A rule of this policy lets it through. For a connection that two directions had to allow, the receiver's.
    case allowed(by: ObjectKey, rule: Int, NetworkPolicy.Direction)
    /// These policies isolate the pod and none of their rules matches.
    case denied(by: [ObjectKey], NetworkPolicy.Direction)
    /// Both ends are one pod.
    case itself
  }
  public var isAllowed: Bool
  public var reason: Reason
  /// What each direction said, egress first.
  public var directions: [Reason]
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
  let connection = Connection(
    view: view, source: source, destination: destination, port: port, transport: transport)
  let egress = connection.decide(.egress, near: source, far: destination)
  if case .denied = egress { return PolicyDecision(isAllowed: false, reason: egress, directions: [egress]) }
  let ingress = connection.decide(.ingress, near: destination, far: source)
  if case .denied = ingress {
    return PolicyDecision(isAllowed: false, reason: ingress, directions: [egress, ingress])
  }
  let reason = ingress == .notIsolated ? egress : ingress
  return PolicyDecision(isAllowed: true, reason: reason, directions: [egress, ingress])
}

private struct Connection {
  let view: ClusterView
  let source: PolicyParty
  let destination: PolicyParty
  let port: UInt16
  let transport: TransportProtocol

  func decide(_ direction: NetworkPolicy.Direction, near: PolicyParty, far: PolicyParty)
    -> PolicyDecision.Reason
  {
    guard let key = near.pod, let pod = view.pods[key], !pod.isHostNetwork else { return .notIsolated }
    let policies = view.networkPolicies.values
      .filter {
        $0.key.namespace == key.namespace && $0.directions.contains(direction)
          && $0.podSelector.matches(pod.labels)
      }
      .sorted { $0.key < $1.key }
    if policies.isEmpty { return .notIsolated }
    for policy in policies {
      for (index, rule) in policy.rules(direction).enumerated() where allows(rule, of: policy, far) {
        return .allowed(by: policy.key, rule: index, direction)
      }
    }
    return .denied(by: policies.map(\.key), direction)
  }

  private func allows(_ rule: NetworkPolicy.Rule, of policy: NetworkPolicy, _ far: PolicyParty) -> Bool {
    let hasPeer = rule.peers.isEmpty || rule.peers.contains { matches($0, own: policy.key.namespace, far) }
    return hasPeer && (rule.ports.isEmpty || rule.ports.contains(where: matches))
  }

  private func matches(_ peer: NetworkPolicy.Peer, own: String, _ far: PolicyParty) -> Bool {
    switch peer {
    case .block(let block, let except):
      return block.contains(far.address) && !except.contains { $0.contains(far.address) }
    case .pods(let namespaces, let selector):
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
