// What the scheduler knows of each node: its object, the pods on it, what they ask for. Rebuilt for a node
// only when something on it changed.

import ClusterClient
import ClusterObjects
import Synchronization

/// One node as plugins see it. A value.
public struct NodeState: Sendable {
  public let node: JSON
  public let allocatable: ResourceList
  /// Pods that occupy it: bound or about to be, and not finished.
  public let pods: [JSON]
  public let requested: ResourceList
  /// Host ports in use, as `PROTO/ADDRESS/PORT`.
  let hostPorts: Set<HostPort>

  public var name: String { node.name }

  public init(node: JSON, pods: [JSON]) {
    self.node = node
    let active = pods.filter { !["Succeeded", "Failed"].contains($0.at("status", "phase")?.string ?? "") }
    self.pods = active
    allocatable = ResourceList(node.at("status", "allocatable") ?? node.at("status", "capacity"))
    requested = active.reduce(ResourceList()) { $0 + ResourceList.requests(ofPod: $1) }
    hostPorts = Set(active.flatMap(HostPort.all))
  }
}

struct HostPort: Hashable, Sendable {
  var transport: String
  var address: String
  var port: Int

  static func all(of pod: JSON) -> [HostPort] {
    let isHostNetwork = pod.at("spec", "hostNetwork")?.bool ?? false
    return (pod.spec["containers"]?.elements ?? []).flatMap { container in
      (container["ports"]?.elements ?? []).compactMap { port in
        let number = port["hostPort"]?.int ?? (isHostNetwork ? port["containerPort"]?.int : nil)
        guard let number, number > 0 else { return nil }
        let address = port["hostIP"]?.string ?? ""
        return HostPort(
          transport: port["protocol"]?.string ?? "TCP", address: address.isEmpty ? "0.0.0.0" : address,
          port: number)
      }
    }
  }

  /// The wildcard address conflicts with every other one.
  func conflicts(with other: HostPort) -> Bool {
    transport == other.transport && port == other.port
      && (address == other.address || address == "0.0.0.0" || other.address == "0.0.0.0")
  }
}

/// Node states by name, from the informers and from bindings on their way. Thread-safe.
final class NodeCache: Sendable {
  private struct State {
    var nodes: [String: NodeState] = [:]
    var dirty: Set<String> = []
    /// Pods given a node whose binding the informer has not shown yet.
    var assumed: [ObjectKey: (node: String, pod: JSON)] = [:]
  }
  private let state = Mutex(State())
  private let nodes: Informer
  private let pods: Informer

  init(nodes: Informer, pods: Informer) {
    self.nodes = nodes
    self.pods = pods
  }

  func touch(_ names: some Sequence<String>) { state.withLock { $0.dirty.formUnion(names) } }

  /// The informer shows the pod's node, or the pod is gone: nothing is assumed any more.
  func confirm(_ key: ObjectKey) {
    state.withLock { state in
      if let assumed = state.assumed.removeValue(forKey: key) { state.dirty.insert(assumed.node) }
    }
  }

  func isAssumed(_ key: ObjectKey) -> Bool { state.withLock { $0.assumed[key] != nil } }

  /// Chooses a node and takes its place in one step, so that two workers never fill the same gap.
  func place(_ pod: JSON, _ choose: ([NodeState]) -> String?) -> String? {
    state.withLock { state in
      refresh(&state)
      guard let name = choose(state.nodes.values.sorted { $0.name < $1.name }) else { return nil }
      state.assumed[pod.key] = (name, pod)
      if let node = state.nodes[name] {
        state.nodes[name] = NodeState(node: node.node, pods: node.pods + [pod])
      }
      return name
    }
  }

  private func refresh(_ state: inout State) {
    for name in state.dirty {
      guard let node = nodes["", name], !node.isTerminating else {
        state.nodes[name] = nil
        continue
      }
      var present = pods.objects(.node, name)
      let keys = Set(present.map(\.key))
      present += state.assumed.values.filter { $0.node == name && !keys.contains($0.pod.key) }.map(\.pod)
      state.nodes[name] = NodeState(node: node, pods: present)
    }
    state.dirty = []
  }
}
