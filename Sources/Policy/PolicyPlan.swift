// Policies to a ruleset: pure. What each pod may receive and send becomes one verdict-map element a pod and
// direction; pods with the same set of policies share a chain.
//
//   forward: established -> accept | itself -> accept | unknown pod -> KUBE-QUARANTINE
//            saddr in pod-eg -> KUBE-EG-<profile> (KUBE-RECEIVER or deny); else KUBE-RECEIVER
//   KUBE-RECEIVER: daddr in pod-in -> KUBE-IN-<profile> (accept or deny); else accept
//   input: daddr in own-node -> KUBE-TO-NODE: saddr in pod-node -> KUBE-EG-<profile without NetworkPolicies>
//
// A profile's chain: rules of the Admin tier in order, then the chain of what is left: NetworkPolicies and their deny, or the
// Baseline tier and accept.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// A pod's connection to this node's network, as the CNI plugin reported it: known before the API has the pod's address.
public struct PodAttachment: Sendable, Hashable {
  public var pod: ObjectKey
  public var addresses: [IPAddress]
  public var hardwareAddress: MACAddress?
  /// The host's end of the veth pair.
  public var hostInterface: String
  public init(pod: ObjectKey, addresses: [IPAddress], hardwareAddress: MACAddress?, hostInterface: String) {
    self.pod = pod
    self.addresses = addresses
    self.hardwareAddress = hardwareAddress
    self.hostInterface = hostInterface
  }
}

/// What the plan must know of this node.
public struct PolicySettings: Sendable, Hashable {
  public var nodeName: String
  /// The blocks this node gives to pods. Addresses in them that belong to no known pod are quarantined. Empty: no
  /// quarantine (another CNI plugin gives the addresses).
  public var podBlocks: [IPPrefix]
  /// Addresses within the blocks that are the node's own, such as the bridge's.
  public var gateways: [IPAddress]
  /// Interface names of pods begin with this, for the guard on the bridge.
  public var interfacePrefix: String
  /// How refused packets are told to userspace; nil: they are counted and no more.
  public var logging: PolicyLogging?

  public init(
    nodeName: String, podBlocks: [IPPrefix] = [], gateways: [IPAddress] = [], interfacePrefix: String = "vp",
    logging: PolicyLogging? = PolicyLogging()
  ) {
    self.logging = logging
    self.nodeName = nodeName
    self.podBlocks = podBlocks
    self.gateways = gateways
    self.interfacePrefix = interfacePrefix
  }
}

/// The tables that enforce policy on this node: `ip KUBE-POLICY`, `ip6 KUBE-POLICY`, and `bridge KUBE-GUARD` when
/// the node's blocks are known. Costs everything: whoever follows changes keeps a `PolicyPlanner`.
public func planPolicy(view: ClusterView, attachments: [PodAttachment], settings: PolicySettings) -> [Table] {
  var planner = PolicyPlanner(settings)
  _ = planner.apply(view.policyChanges, attachments: attachments)
  return planner.tables
}

/// The names that planner, explain and tests share.
public enum PolicyNames {
  public static let table = "KUBE-POLICY"
  public static let guardTable = "KUBE-GUARD"
  /// What the sender's side allows goes on here.
  public static let receiver = "KUBE-RECEIVER"
  public static let denyIngress = "KUBE-DENY-IN"
  public static let denyEgress = "KUBE-DENY-EG"
  public static let quarantine = "KUBE-QUARANTINE"
  /// What a policy in audit mode would deny comes by here, and goes on.
  public static let auditIngress = "KUBE-AUDIT-IN"
  public static let auditEgress = "KUBE-AUDIT-EG"
  /// What a pod sends to its own node.
  public static let toNode = "KUBE-TO-NODE"
  /// The set of this node's own addresses.
  static let ownNode = "own-node"
}
