// What the scheduler knows of nodes and their pods, bindings on their way included.

import ClusterClient
import ClusterObjects
import Synchronization

/// Kept current by informers' handlers and by the loop's assumptions. Thread-safe; every call costs one pod
/// or one node, never the cluster.
final class SchedulerCache: Sendable {
  private struct State {
    var cluster = ClusterState()
    /// Pods with a node, by key.
    var pods: [ObjectKey: (pod: PodInfo, node: String)] = [:]
    /// Of these, the ones whose binding the API has not shown yet.
    var assumed: Set<ObjectKey> = []
    /// Pods on nodes that are not known (yet).
    var homeless: [String: Set<ObjectKey>] = [:]
    /// Pods that wait for room on a node.
    var nominated: [ObjectKey: (pod: PodInfo, node: String)] = [:]
  }
  private let state = Mutex(State())

  // MARK: Reading

  /// A value of references; objects beside nodes are the caller's to add.
  var cluster: ClusterState { state.withLock { $0.cluster } }

  func node(_ name: String) -> NodeInfo? { state.withLock { $0.cluster[name] } }
  func isAssumed(_ key: ObjectKey) -> Bool { state.withLock { $0.assumed.contains(key) } }

  var nominated: [String: [PodInfo]] {
    state.withLock { state in
      if state.nominated.isEmpty { return [:] }
      return Dictionary(grouping: state.nominated.values) { $0.node }.mapValues { $0.map(\.pod) }
    }
  }

  var sizes: (nodes: Int, pods: Int, assumed: Int) {
    state.withLock { ($0.cluster.nodes.count, $0.pods.count, $0.assumed.count) }
  }

  // MARK: Nodes

  /// What it means for waiting pods; nil when nothing.
  func setNode(_ facts: NodeFacts) -> ClusterEvent? {
    state.withLock { state in
      if let old = state.cluster[facts.name] {
        let new = old.with(facts)
        state.cluster.put(new)
        return facts.differsForScheduling(from: old.facts) ? .nodeChanged(old.facts, new) : nil
      }
      let waiting = state.homeless.removeValue(forKey: facts.name) ?? []
      let new = NodeInfo(facts, pods: waiting.compactMap { state.pods[$0]?.pod })
      state.cluster.put(new)
      return .nodeAdded(new)
    }
  }

  func removeNode(_ name: String) {
    state.withLock { state in
      guard let node = state.cluster[name] else { return }
      state.cluster.remove(name)
      if !node.pods.isEmpty { state.homeless[name] = Set(node.pods.map(\.key)) }
    }
  }

  // MARK: Pods

  /// A pod that the API shows on a node.
  func setPod(_ pod: PodInfo) -> ClusterEvent? {
    state.withLock { state in
      state.nominated[pod.key] = nil
      let wasAssumed = state.assumed.remove(pod.key) != nil
      guard let old = state.pods[pod.key] else {
        Self.place(pod, on: pod.nodeName, &state)
        return .podAssigned(pod)
      }
      if old.node == pod.nodeName, state.cluster[old.node] != nil, pod.occupiesLike(old.pod) {
        state.pods[pod.key] = (pod, old.node)
        state.cluster.replace(pod, on: old.node)
      } else {
        Self.take(pod.key, &state)
        Self.place(pod, on: pod.nodeName, &state)
      }
      if wasAssumed { return .podAssigned(pod) }
      return pod.labels != old.pod.labels || pod.requests != old.pod.requests
        ? .podChanged(old.pod, pod) : nil
    }
  }

  /// Ended or gone. What it means for waiting pods; nil when it occupied nothing.
  func removePod(_ key: ObjectKey) -> ClusterEvent? {
    state.withLock { state in
      state.nominated[key] = nil
      state.assumed.remove(key)
      guard let old = state.pods[key] else { return nil }
      Self.take(key, &state)
      return .podRemoved(old.pod)
    }
  }

  /// Takes its place on the node before the API knows.
  func assume(_ pod: PodInfo, on node: String) {
    state.withLock { state in
      guard state.pods[pod.key] == nil else { return }
      state.nominated[pod.key] = nil
      state.assumed.insert(pod.key)
      Self.place(pod, on: node, &state)
    }
  }

  /// The binding failed. Nil when the API has shown it meanwhile.
  func forget(_ key: ObjectKey) -> ClusterEvent? {
    state.withLock { state in
      guard state.assumed.remove(key) != nil, let old = state.pods[key] else { return nil }
      Self.take(key, &state)
      return .podRemoved(old.pod)
    }
  }

  func nominate(_ pod: PodInfo, _ node: String) {
    state.withLock { state in
      if state.pods[pod.key] != nil { return }
      state.nominated[pod.key] = node.isEmpty ? nil : (pod, node)
    }
  }

  private static func place(_ pod: PodInfo, on node: String, _ state: inout State) {
    state.pods[pod.key] = (pod, node)
    if state.cluster[node] != nil {
      state.cluster.add(pod, to: node)
    } else {
      state.homeless[node, default: []].insert(pod.key)
    }
  }

  private static func take(_ key: ObjectKey, _ state: inout State) {
    guard let old = state.pods.removeValue(forKey: key) else { return }
    if state.cluster[old.node] != nil {
      state.cluster.remove(old.pod, from: old.node)
    } else {
      state.homeless[old.node]?.remove(key)
      if state.homeless[old.node]?.isEmpty == true { state.homeless[old.node] = nil }
    }
  }
}

extension PodInfo {
  /// Whether the same is taken of the node, and the same said of other pods.
  fileprivate func occupiesLike(_ other: PodInfo) -> Bool {
    !hasAffinity && !other.hasAffinity && requests == other.requests && scoredCPU == other.scoredCPU
      && scoredMemory == other.scoredMemory && hostPorts == other.hostPorts
  }
}
