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
  /// Pods whose terms count when nodes are scored, and those with required anti-affinity, on all nodes together.
  private(set) var podsWithAffinity = 0
  private(set) var podsWithAntiAffinity = 0
  /// The pods of all nodes by their labels, and those with required anti-affinity by the labels that it speaks against.
  private(set) var podsByLabel = PodIndex()
  private(set) var podsByAntiAffinity = PodIndex()

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
      let old = nodes[position]
      count(old, -1)
      nodes[position] = node
      // A heartbeat changes no pod.
      if !old.pods.elementsEqual(node.pods, by: ===) {
        for pod in old.pods { unindex(pod) }
        for pod in node.pods { index(pod, node.name) }
      }
    } else {
      positions[node.name] = nodes.count
      nodes.append(node)
      for pod in node.pods { index(pod, node.name) }
    }
    count(node, 1)
  }

  /// Takes a node out; the last one takes its place.
  mutating func remove(_ name: String) {
    guard let position = positions.removeValue(forKey: name) else { return }
    count(nodes[position], -1)
    for pod in nodes[position].pods { unindex(pod) }
    let last = nodes.removeLast()
    if position < nodes.count {
      nodes[position] = last
      positions[last.name] = position
    }
  }

  mutating func add(_ pod: PodInfo, to name: String) {
    guard let position = positions[name] else { return }
    nodes[position] = nodes[position].adding(pod)
    if pod.leansOnOthers { podsWithAffinity += 1 }
    if !pod.antiAffinity.isEmpty { podsWithAntiAffinity += 1 }
    index(pod, name)
  }

  mutating func remove(_ pod: PodInfo, from name: String) {
    guard let position = positions[name], let old = nodes[position].pods.first(where: { $0.key == pod.key })
    else { return }
    count(nodes[position], -1)
    nodes[position] = nodes[position].removing(pod.key)
    count(nodes[position], 1)
    unindex(old)
  }

  /// A newer state of a pod that takes the same of the node.
  mutating func replace(_ pod: PodInfo, on name: String) {
    guard let position = positions[name] else { return }
    if let old = nodes[position].pods.first(where: { $0.key == pod.key }) {
      unindex(old)
      index(pod, name)
    }
    nodes[position] = nodes[position].replacing(pod)
  }

  private mutating func index(_ pod: PodInfo, _ node: String) {
    podsByLabel.add(PodIndex.Entry(pod: pod, node: node), pod.labelKeys)
    if !pod.antiAffinity.isEmpty {
      podsByAntiAffinity.add(PodIndex.Entry(pod: pod, node: node), pod.antiAffinityKeys)
    }
  }

  private mutating func unindex(_ pod: PodInfo) {
    podsByLabel.remove(pod, pod.labelKeys)
    if !pod.antiAffinity.isEmpty { podsByAntiAffinity.remove(pod, pod.antiAffinityKeys) }
  }

  /// The pods with their nodes that a term of a pod may match; nil when all have to be looked at.
  func candidates(_ term: PodTerm) -> [PodIndex.Entry]? {
    term.namespaceSelector == nil ? podsByLabel.candidates(term.selector, namespaces: term.namespaces) : nil
  }

  /// The pods whose required anti-affinity may speak against this one, each once; nil when all have to be looked at.
  func opponents(of pod: PodInfo) -> [PodIndex.Entry]? {
    guard let found = podsByAntiAffinity.entries(pod.labelKeys + [.any]) else { return nil }
    var seen: Set<ObjectKey> = []
    return found.filter { seen.insert($0.pod.key).inserted }
  }

  /// How many pods a constraint of a pod in this namespace counts on each node that has any.
  func count(_ constraint: SpreadConstraint, namespace: String) -> [String: Int64] {
    var counts: [String: Int64] = [:]
    if let candidates = podsByLabel.candidates(constraint.selector, namespaces: [namespace]) {
      for entry in candidates where constraint.matches(entry.pod, namespace: namespace) {
        counts[entry.node, default: 0] += 1
      }
    } else {
      for node in nodes {
        let count = node.pods.count { constraint.matches($0, namespace: namespace) }
        if count > 0 { counts[node.name] = Int64(count) }
      }
    }
    return counts
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
