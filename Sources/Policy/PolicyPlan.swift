// NetworkPolicies to a ruleset: pure. What each pod may receive and send becomes one verdict-map element a pod and
// direction; pods with the same set of policies share a chain.
//
//   forward: established -> accept | itself -> accept | unknown pod -> KUBE-QUARANTINE
//            saddr in pod-eg -> KUBE-EG-<profile> (KUBE-RECEIVER or deny); else KUBE-RECEIVER
//   KUBE-RECEIVER: daddr in pod-in -> KUBE-IN-<profile> (accept or deny); else accept

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

  public init(
    nodeName: String, podBlocks: [IPPrefix] = [], gateways: [IPAddress] = [], interfacePrefix: String = "vp"
  ) {
    self.nodeName = nodeName
    self.podBlocks = podBlocks
    self.gateways = gateways
    self.interfacePrefix = interfacePrefix
  }
}

/// The tables that enforce policy on this node: `ip KUBE-POLICY`, `ip6 KUBE-POLICY`, and `bridge KUBE-GUARD` when
/// attachments are known.
///
/// Cost: a pass over policies times pods, plus one over pods for each distinct peer selector.
public func planPolicy(view: ClusterView, attachments: [PodAttachment], settings: PolicySettings) -> [Table] {
  let model = PolicyModel(view: view, attachments: attachments, settings: settings)
  var tables: [Table] = []
  for family in TableFamily.Addressed.allCases {
    let hasBlock = settings.podBlocks.contains { $0.family == family.addresses }
    let hasPod = model.localPods.contains { pod in pod.addresses.contains { $0.family == family.addresses } }
    // The IPv4 table is always there, so that an unknown pod is quarantined from the first packet on.
    guard family == .ip || hasBlock || hasPod else { continue }
    tables.append(PolicyTable(model: model, family: family).table())
  }
  if !settings.podBlocks.isEmpty { tables.append(guardTable(attachments: attachments, settings: settings)) }
  return tables
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
}
