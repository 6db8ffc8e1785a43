// The cluster at one moment, as a value: what one scheduling cycle looks at.

import ClusterClient
import ClusterObjects

/// Objects beside nodes and pods that plugins read.
public struct ClusterObjectsView: Sendable {
  public var namespaces = ObjectSnapshot()
  public var volumes = ObjectSnapshot()
  public var claims = ObjectSnapshot()
  public var storageClasses = ObjectSnapshot()
  public var csiNodes = ObjectSnapshot()
  public var budgets = ObjectSnapshot()
  public var services = ObjectSnapshot()
  public var replicationControllers = ObjectSnapshot()
  public var replicaSets = ObjectSnapshot()
  public var statefulSets = ObjectSnapshot()
  public init() {}
}

/// Nodes with their pods, and the objects beside them. Copying it copies references.
public struct ClusterState: Sendable {
  public private(set) var nodes: [NodeInfo] = []
  private var positions: [String: Int] = [:]
  public var objects = ClusterObjectsView()
  /// Nodes that have an image, by name.
  private(set) var imageNodes: [String: Int] = [:]
  /// Pods with any affinity term, and with required anti-affinity, on all nodes together.
  private(set) var podsWithAffinity = 0
  private(set) var podsWithAntiAffinity = 0

  public init() {}

  public init(_ nodes: [NodeInfo], objects: ClusterObjectsView = ClusterObjectsView()) {
    for node in nodes { put(node) }
    self.objects = objects
  }

  public subscript(_ name: String) -> NodeInfo? { positions[name].map { nodes[$0] } }

  func labels(ofNamespace name: String) -> [String: String] {
    objects.namespaces["", name]?.labels ?? [:]
  }

  mutating func put(_ node: NodeInfo) {
    if let position = positions[node.name] {
      count(nodes[position], -1)
      nodes[position] = node
    } else {
      positions[node.name] = nodes.count
      nodes.append(node)
    }
    count(node, 1)
  }

  /// Takes a node out; the last one takes its place.
  mutating func remove(_ name: String) {
    guard let position = positions.removeValue(forKey: name) else { return }
    count(nodes[position], -1)
    let last = nodes.removeLast()
    if position < nodes.count {
      nodes[position] = last
      positions[last.name] = position
    }
  }

  mutating func add(_ pod: PodInfo, to name: String) {
    guard let position = positions[name] else { return }
    nodes[position] = nodes[position].adding(pod)
    if pod.hasAffinity { podsWithAffinity += 1 }
    if !pod.antiAffinity.isEmpty { podsWithAntiAffinity += 1 }
  }

  mutating func remove(_ pod: PodInfo, from name: String) {
    guard let position = positions[name] else { return }
    put(nodes[position].removing(pod.key))
  }

  /// A newer state of a pod that takes the same of the node.
  mutating func replace(_ pod: PodInfo, on name: String) {
    guard let position = positions[name] else { return }
    nodes[position] = nodes[position].replacing(pod)
  }

  private mutating func count(_ node: NodeInfo, _ step: Int) {
    podsWithAffinity += step * node.podsWithAffinity.count
    podsWithAntiAffinity += step * node.podsWithAntiAffinity.count
    for name in node.facts.images.keys {
      let number = (imageNodes[name] ?? 0) + step
      imageNodes[name] = number > 0 ? number : nil
    }
  }
}
