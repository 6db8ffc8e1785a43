// The view with this node's attachments laid over it: which pods are here, where every pod is, which policies hold for it.

import Addresses
import ClusterObjects
import ClusterView

struct PolicyModel {
  /// A pod and where it is: attachments win over status, which comes later.
  struct PlacedPod: Hashable {
    var key: ObjectKey
    var labels: [String: String]
    var addresses: [IPAddress]
    var ports: [Pod.ContainerPort]
  }

  let view: ClusterView
  let settings: PolicySettings
  /// Every pod with an address of its own, by key order.
  let placed: [PlacedPod]
  /// Those on this node.
  let localPods: [PlacedPod]
  private let policiesByNamespace: [String: [NetworkPolicy]]

  init(view: ClusterView, attachments: [PodAttachment], settings: PolicySettings) {
    self.view = view
    self.settings = settings
    let attached = Dictionary(attachments.map { ($0.pod, $0.addresses) }, uniquingKeysWith: { $0 + $1 })
    let taken = Set(attachments.flatMap(\.addresses))
    var placed: [PlacedPod] = []
    var local: [PlacedPod] = []
    for pod in view.pods.values where !pod.isHostNetwork && !pod.hasEnded {
      let own = attached[pod.key]
      // An address that an attachment holds is that pod's, whatever an older status says.
      let addresses = own ?? pod.addresses.filter { !taken.contains($0) }
      guard !addresses.isEmpty else { continue }
      let entry = PlacedPod(key: pod.key, labels: pod.labels, addresses: addresses, ports: pod.ports)
      placed.append(entry)
      if own != nil || pod.nodeName == settings.nodeName { local.append(entry) }
    }
    self.placed = placed.sorted { $0.key < $1.key }
    localPods = local.sorted { $0.key < $1.key }
    policiesByNamespace = Dictionary(grouping: view.networkPolicies.values.sorted { $0.key < $1.key }) {
      $0.key.namespace
    }
  }

  /// The policies that isolate a pod in a direction, in order of name.
  func policies(for key: ObjectKey, labels: [String: String], _ direction: NetworkPolicy.Direction)
    -> [NetworkPolicy]
  {
    (policiesByNamespace[key.namespace] ?? [])
      .filter { $0.directions.contains(direction) && $0.podSelector.matches(labels) }
  }

  /// The pods that a peer of a policy in `namespace` chooses.
  func pods(namespaces: LabelSelector?, pods selector: LabelSelector?, own namespace: String) -> [PlacedPod] {
    placed.filter { matches($0.key, $0.labels, namespaces: namespaces, pods: selector, own: namespace) }
  }

  func matches(
    _ key: ObjectKey, _ labels: [String: String], namespaces: LabelSelector?, pods selector: LabelSelector?,
    own namespace: String
  ) -> Bool {
    if let namespaces {
      guard let found = view.namespaces[key.namespace], namespaces.matches(found.labels) else { return false }
    } else if key.namespace != namespace {
      return false
    }
    return selector?.matches(labels) ?? true
  }
}

extension NetworkPolicy {
  func rules(_ direction: Direction) -> [Rule] { direction == .ingress ? ingress : egress }
}
