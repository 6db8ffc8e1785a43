// Which pod is where: objects from the API with this node's attachments laid over them. Attachments win over status, which
// comes later.

import Addresses
import ClusterObjects
import ClusterView

/// A pod that has addresses of its own.
struct PlacedPod: Hashable, Sendable {
  var key: ObjectKey
  var labels: [String: String]
  var addresses: [IPAddress]
  var ports: [Pod.ContainerPort]
  /// Whether this node enforces its policies.
  var isLocal: Bool
}

/// Keeps pods placed while objects and attachments change. A change costs the pods whose place it changes.
struct Placement: Sendable {
  struct Change {
    var old: PlacedPod?
    var new: PlacedPod?
  }

  let nodeName: String
  /// Every pod that is placed.
  private(set) var placed: [ObjectKey: PlacedPod] = [:]
  private(set) var byNamespace: [String: Set<ObjectKey>] = [:]
  private(set) var attachments: [PodAttachment] = []
  private var pods: [ObjectKey: Pod] = [:]
  private var attached: [ObjectKey: [IPAddress]] = [:]
  /// Addresses that attachments hold: such an address is that pod's, whatever an older status says.
  private var taken: Set<IPAddress> = []
  /// The pods whose status names an address.
  private var claims: [IPAddress: Set<ObjectKey>] = [:]

  init(nodeName: String) { self.nodeName = nodeName }

  mutating func reserve(_ count: Int) {
    placed.reserveCapacity(count)
    pods.reserveCapacity(count)
    claims.reserveCapacity(count)
  }

  /// - Returns: nil when the pod's place and all that policies look at are as they were.
  mutating func set(_ key: ObjectKey, _ pod: Pod?) -> Change? {
    for address in pods[key]?.addresses ?? [] {
      claims[address]?.remove(key)
      if claims[address]?.isEmpty == true { claims[address] = nil }
    }
    pods[key] = pod
    for address in pod?.addresses ?? [] { claims[address, default: []].insert(key) }
    return place(key)
  }

  mutating func set(_ now: [PodAttachment]) -> [Change] {
    attachments = now
    let before = attached
    attached = Dictionary(now.map { ($0.pod, $0.addresses) }, uniquingKeysWith: { $0 + $1 })
    let held = Set(now.flatMap(\.addresses))
    var keys = Set(before.keys).union(attached.keys).filter { before[$0] != attached[$0] }
    for address in held.symmetricDifference(taken) { keys.formUnion(claims[address] ?? []) }
    taken = held
    return keys.sorted().compactMap { place($0) }
  }

  private mutating func place(_ key: ObjectKey) -> Change? {
    let old = placed[key]
    let new = pods[key].flatMap(entry)
    if old == new { return nil }
    placed[key] = new
    if old == nil { byNamespace[key.namespace, default: []].insert(key) }
    if new == nil {
      byNamespace[key.namespace]?.remove(key)
      if byNamespace[key.namespace]?.isEmpty == true { byNamespace[key.namespace] = nil }
    }
    return Change(old: old, new: new)
  }

  private func entry(_ pod: Pod) -> PlacedPod? {
    if pod.isHostNetwork || pod.hasEnded { return nil }
    let own = attached[pod.key]
    let addresses = own ?? pod.addresses.filter { !taken.contains($0) }
    if addresses.isEmpty { return nil }
    return PlacedPod(
      key: pod.key, labels: pod.labels, addresses: addresses, ports: pod.ports,
      isLocal: own != nil || pod.nodeName == nodeName)
  }
}
