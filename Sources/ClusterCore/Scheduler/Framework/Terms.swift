// What pods say of nodes and of other pods, read once: node terms, pod affinity terms, spread constraints,
// taints and tolerations.

import ClusterObjects

/// One NodeSelectorTerm, with the weight of a preferred one.
public struct NodeTerm: Sendable, Equatable {
  public var expressions: [LabelSelector.Requirement] = []
  public var fields: [LabelSelector.Requirement] = []
  public var weight: Int64
  /// Something in it cannot be understood: it matches nothing.
  private var isBroken = false

  public init(_ tree: JSON, weight: Int64 = 0) {
    self.weight = weight
    expressions = (tree["matchExpressions"]?.elements ?? []).compactMap { read($0) }
    fields = (tree["matchFields"]?.elements ?? []).compactMap { read($0) }
    if fields.contains(where: { $0.key != "metadata.name" }) { isBroken = true }
  }

  private mutating func read(_ tree: JSON) -> LabelSelector.Requirement? {
    let operation: LabelSelector.Operator
    switch tree["operator"]?.string {
    case "In": operation = .in
    case "NotIn": operation = .notin
    case "Exists": operation = .exists
    case "DoesNotExist": operation = .absent
    case "Gt": operation = .greater
    case "Lt": operation = .less
    default:
      isBroken = true
      return nil
    }
    return LabelSelector.Requirement(
      tree["key"]?.string ?? "", operation, tree["values"]?.elements.compactMap(\.string) ?? [])
  }

  /// An empty term matches nothing.
  public func matches(name: String, labels: [String: String]) -> Bool {
    if isBroken || (expressions.isEmpty && fields.isEmpty) { return false }
    return expressions.allSatisfy { $0.matches(labels) }
      && fields.allSatisfy { $0.matches(["metadata.name": name]) }
  }

  /// The only nodes that can match, when the term names them.
  var names: Set<String>? {
    for field in fields where field.operator == .in { return Set(field.values) }
    return nil
  }
}

/// One PodAffinityTerm, with the weight of a preferred one.
public struct PodTerm: Sendable {
  public var selector: LabelSelector
  public var topologyKey: String
  public var namespaces: Set<String>
  public var namespaceSelector: LabelSelector?
  public var weight: Int64

  /// - Parameter labels: of the pod that carries the term, for `matchLabelKeys` and `mismatchLabelKeys`.
  public init(_ tree: JSON, namespace: String, labels: [String: String], weight: Int64 = 0) {
    var selector = (try? LabelSelector(tree["labelSelector"])) ?? .nothing
    for key in tree["matchLabelKeys"]?.elements.compactMap(\.string) ?? [] {
      if let value = labels[key] { selector.requirements.append(.init(key, .in, [value])) }
    }
    for key in tree["mismatchLabelKeys"]?.elements.compactMap(\.string) ?? [] {
      if let value = labels[key] { selector.requirements.append(.init(key, .notin, [value])) }
    }
    self.selector = selector
    topologyKey = tree["topologyKey"]?.string ?? ""
    namespaceSelector = tree["namespaceSelector"].flatMap { $0.isNull ? nil : try? LabelSelector($0) }
    var namespaces = Set(tree["namespaces"]?.elements.compactMap(\.string) ?? [])
    if namespaces.isEmpty, namespaceSelector == nil { namespaces = [namespace] }
    self.namespaces = namespaces
    self.weight = weight
  }

  public func matches(_ pod: PodInfo, _ cluster: ClusterState) -> Bool {
    guard selector.matches(pod.labels) else { return false }
    if namespaces.contains(pod.namespace) { return true }
    guard let namespaceSelector else { return false }
    return namespaceSelector.isEmpty || namespaceSelector.matches(cluster.labels(ofNamespace: pod.namespace))
  }
}

/// One TopologySpreadConstraint.
public struct SpreadConstraint: Sendable {
  public var maxSkew: Int64
  public var topologyKey: String
  public var isRequired: Bool
  public var selector: LabelSelector
  public var minDomains: Int
  public var honorsNodeAffinity: Bool
  public var honorsNodeTaints: Bool

  public init(_ tree: JSON, labels: [String: String]) {
    maxSkew = tree["maxSkew"]?.integer ?? 1
    topologyKey = tree["topologyKey"]?.string ?? ""
    isRequired = tree["whenUnsatisfiable"]?.string != "ScheduleAnyway"
    var selector = (try? LabelSelector(tree["labelSelector"])) ?? .nothing
    for key in tree["matchLabelKeys"]?.elements.compactMap(\.string) ?? [] {
      if let value = labels[key] { selector.requirements.append(.init(key, .in, [value])) }
    }
    self.selector = selector
    minDomains = tree["minDomains"]?.int ?? 1
    honorsNodeAffinity = tree["nodeAffinityPolicy"]?.string != "Ignore"
    honorsNodeTaints = tree["nodeTaintsPolicy"]?.string == "Honor"
  }

  /// Whether the node counts as a place for the pod.
  func counts(_ node: NodeInfo, for pod: PodInfo) -> Bool {
    if honorsNodeAffinity, !NodeAffinity.isAllowed(pod, node) { return false }
    if honorsNodeTaints, node.untolerated(by: pod, ["NoSchedule", "NoExecute"]) != nil { return false }
    return true
  }

  func matches(_ other: PodInfo, namespace: String) -> Bool {
    other.namespace == namespace && !other.isTerminating && selector.matches(other.labels)
  }
}

public struct Taint: Sendable, Equatable {
  public var key: String
  public var value: String
  public var effect: String
  public init(_ tree: JSON) {
    key = tree["key"]?.string ?? ""
    value = tree["value"]?.string ?? ""
    effect = tree["effect"]?.string ?? ""
  }
  public init(key: String, value: String = "", effect: String) {
    self.key = key
    self.value = value
    self.effect = effect
  }
}

public struct Toleration: Sendable, Equatable {
  public var key: String
  public var value: String
  public var effect: String
  public var exists: Bool
  public init(_ tree: JSON) {
    key = tree["key"]?.string ?? ""
    value = tree["value"]?.string ?? ""
    effect = tree["effect"]?.string ?? ""
    exists = tree["operator"]?.string == "Exists"
  }
  /// An empty key with Exists covers every taint, an empty effect every effect.
  public func covers(_ taint: Taint) -> Bool {
    if !effect.isEmpty, effect != taint.effect { return false }
    if key.isEmpty { return exists }
    return key == taint.key && (exists || value == taint.value)
  }
}
