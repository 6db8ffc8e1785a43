// Claims: bound ones tie the pod to the nodes of their volume, others wait for the pod's node to be chosen.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

/// A class rather than a value: it remembers the volumes promised to pods on their way.
public final class VolumeBinding: FilterPlugin, ReservePlugin, PreBindPlugin {
  public let name = "VolumeBinding"
  /// How long PreBind waits for the claims to be bound.
  public let bindTimeout: Duration
  /// What the plugin reads after the decision: the cluster as it is then.
  private let current: @Sendable () -> ClusterObjectsView
  /// Volumes promised to a claim whose binding is not in the API yet, by volume.
  private let promised = Mutex<[String: (claim: ObjectKey, pod: ObjectKey)]>([:])

  public init(
    bindTimeout: Duration = .seconds(600), current: @escaping @Sendable () -> ClusterObjectsView
  ) {
    self.bindTimeout = bindTimeout
    self.current = current
  }

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    if pod.claims.isEmpty { return .skip }
    let promised = promised.withLock { $0.mapValues(\.claim) }
    switch ClaimSort.sort(pod, cluster.objects) {
    case .failure(let rejection): return .rejected(rejection)
    case .success(let sorted):
      return .filter(Reachable(sorted: sorted, objects: cluster.objects, promised: promised))
    }
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    switch event {
    case .storage, .nodeAdded: true
    case .nodeChanged(let old, let node): old.labels != node.labels
    default: false
    }
  }

  private struct Reachable: NodeFilter {
    var sorted: ClaimSort
    var objects: ClusterObjectsView
    var promised: [String: ObjectKey]

    func check(_ node: NodeInfo) -> Rejection? {
      for claim in sorted.bound {
        guard let volume = objects.volumes["", claim.at("spec", "volumeName")?.string ?? ""] else {
          return Rejection(
            "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)", isResolvable: false)
        }
        if !VolumeMatch.allows(volume, node) {
          return Rejection("node(s) didn't match PersistentVolume's node affinity", isResolvable: false)
        }
      }
      if sorted.waiting.isEmpty { return nil }
      if VolumeMatch.plan(sorted.waiting, objects, node, promised: promised) != nil { return nil }
      return Rejection("node(s) didn't find available persistent volumes to bind", isResolvable: false)
    }
  }

  // MARK: After the decision

  public func reserve(_ pod: PodInfo, on node: String) -> Rejection? {
    if pod.claims.isEmpty { return nil }
    let objects = current()
    guard case .success(let sorted) = ClaimSort.sort(pod, objects) else {
      return Rejection("claims changed")
    }
    if sorted.waiting.isEmpty { return nil }
    guard let facts = nodes.withLock({ $0 })?(node) else { return Rejection("node is gone") }
    return promised.withLock { promised in
      let taken = promised.mapValues(\.claim)
      guard let plan = VolumeMatch.plan(sorted.waiting, objects, facts, promised: taken) else {
        return Rejection("node(s) didn't find available persistent volumes to bind")
      }
      for (claim, volume) in plan.matches { promised[volume.name] = (claim.key, pod.key) }
      return nil
    }
  }

  public func unreserve(_ pod: PodInfo, from node: String) {
    if pod.claims.isEmpty { return }
    promised.withLock { promised in promised = promised.filter { $0.value.pod != pod.key } }
  }

  /// Finds a node for `reserve`; set by the scheduler that runs the plugin.
  let nodes = Mutex<(@Sendable (String) -> NodeInfo?)?>(nil)

  /// Names this claim in the promised volumes, asks for the others to be made for the node, and waits until
  /// all are bound.
  public func preBind(_ pod: PodInfo, to node: String, _ api: any ClusterAPI) async throws {
    if pod.claims.isEmpty { return }
    guard case .success(let sorted) = ClaimSort.sort(pod, current()) else {
      throw VolumeBindingError(message: "claims changed")
    }
    if sorted.waiting.isEmpty { return }
    let mine = promised.withLock { $0.filter { $0.value.pod == pod.key } }
    defer { unreserve(pod, from: node) }
    for (volume, promise) in mine {
      guard let claim = sorted.waiting.first(where: { $0.key == promise.claim }) else { continue }
      try await api.modify(.persistentVolumes, ObjectKey("", volume)) { old in
        var changed = old
        changed.set(
          [
            "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": JSON(claim.namespace),
            "name": JSON(claim.name), "uid": JSON(claim.uid),
          ], at: "spec", "claimRef")
        changed.set("yes", at: "metadata", "annotations", VolumeSelection.boundByController)
        return changed
      }
    }
    for claim in sorted.waiting where !mine.values.contains(where: { $0.claim == claim.key }) {
      try await api.modify(.persistentVolumeClaims, claim.key) { old in
        var changed = old
        changed.set(JSON(node), at: "metadata", "annotations", VolumeSelection.selectedNode)
        return changed
      }
    }
    let deadline = ContinuousClock.now + bindTimeout
    var asked: Set<ObjectKey> = []
    while ContinuousClock.now < deadline {
      if case .success(let now) = ClaimSort.sort(pod, current()) {
        if now.waiting.isEmpty { return }
        for claim in now.waiting {
          let isAsked = claim.annotations[VolumeSelection.selectedNode] == node
          if isAsked {
            asked.insert(claim.key)
          } else if asked.contains(claim.key) {
            // Whoever makes volumes cannot make one there: another node is to be looked for.
            throw VolumeBindingError(message: "selectedNode annotation reset for PVC \"\(claim.name)\"")
          }
        }
      }
      try await Task.sleep(for: .milliseconds(20))
    }
    throw VolumeBindingError(message: "timed out waiting for the condition")
  }
}

struct VolumeBindingError: Error, CustomStringConvertible {
  var message: String
  var description: String { "binding volumes: \(message)" }
}
