// Which node has to do with which object, by way of the pods that are on it:
//
//   node ─► pod ─► secret, configmap, service account, resource claim
//               └► claim ─► volume ─► secret
//   node ─► volume attachment, resource slice

import ClusterObjects

/// The relations, arranged to be asked "has this node to do with that object". A value.
struct NodeGraph: Sendable {
  private struct Placed: Sendable {
    var node: String
    var references: Set<NodeReference>
  }
  private struct Volume: Sendable {
    var claim: ObjectKey
    var secrets: Set<ObjectKey>
  }
  private var pods: [ObjectKey: Placed] = [:]
  /// How many pods of a node lead to an object.
  private var counts: [String: [NodeReference: Int]] = [:]
  private var volumes: [String: Volume] = [:]
  private var volumesBySecret: [ObjectKey: Set<String>] = [:]
  private var attachments: [String: String] = [:]
  private var slices: [String: String] = [:]

  var podCount: Int { pods.count }

  // MARK: Keeping current

  mutating func setPod(_ pod: JSON) {
    let node = pod.at("spec", "nodeName")?.string ?? ""
    guard !node.isEmpty else {
      removePod(pod.key)
      return
    }
    let references = PodReferences.of(pod)
    if let old = pods[pod.key] {
      // Most changes of a pod are of its status.
      if old.node == node, old.references == references { return }
      removePod(pod.key)
    }
    pods[pod.key] = Placed(node: node, references: references)
    for reference in references { counts[node, default: [:]][reference, default: 0] += 1 }
  }

  mutating func removePod(_ key: ObjectKey) {
    guard let old = pods.removeValue(forKey: key) else { return }
    for reference in old.references {
      let left = (counts[old.node]?[reference] ?? 1) - 1
      counts[old.node]?[reference] = left > 0 ? left : nil
    }
    if counts[old.node]?.isEmpty == true { counts[old.node] = nil }
  }

  mutating func setVolume(_ volume: JSON) {
    removeVolume(volume.name)
    guard let claim = volume.at("spec", "claimRef"), let name = claim["name"]?.string else { return }
    let entry = Volume(
      claim: ObjectKey(claim["namespace"]?.string ?? "", name),
      secrets: PodReferences.secrets(ofVolume: volume))
    volumes[volume.name] = entry
    for secret in entry.secrets { volumesBySecret[secret, default: []].insert(volume.name) }
  }

  mutating func removeVolume(_ name: String) {
    guard let old = volumes.removeValue(forKey: name) else { return }
    for secret in old.secrets {
      volumesBySecret[secret]?.remove(name)
      if volumesBySecret[secret]?.isEmpty == true { volumesBySecret[secret] = nil }
    }
  }

  mutating func setAttachment(_ name: String, node: String?) { attachments[name] = node }
  mutating func setSlice(_ name: String, node: String?) { slices[name] = node }

  mutating func removeAllPods() {
    pods = [:]
    counts = [:]
  }
  mutating func removeAllVolumes() {
    volumes = [:]
    volumesBySecret = [:]
  }
  mutating func removeAllAttachments() { attachments = [:] }
  mutating func removeAllSlices() { slices = [:] }

  // MARK: Asking

  func relates(_ node: String, to reference: NodeReference) -> Bool {
    if counts[node]?[reference] != nil { return true }
    guard reference.kind == .secret else { return false }
    let secret = ObjectKey(reference.namespace, reference.name)
    return volumesBySecret[secret]?.contains { relates(node, toVolume: $0) } ?? false
  }

  func relates(_ node: String, toVolume name: String) -> Bool {
    guard let claim = volumes[name]?.claim else { return false }
    return counts[node]?[NodeReference(kind: .claim, namespace: claim.namespace, name: claim.name)] != nil
  }

  func relates(_ node: String, toAttachment name: String) -> Bool { attachments[name] == node }
  func relates(_ node: String, toSlice name: String) -> Bool { slices[name] == node }
}
