// One end of an edge as people speak of it: a Service, a workload, a node, or the world outside.

import ClusterObjects

/// Made of labels and names alone; two pods of one rollout are one party.
public struct FlowParty: Sendable, Hashable, Comparable {
  public enum Kind: String, Sendable, CaseIterable {
    case service, workload, node
    /// An address that is nobody's in the cluster.
    case outside
  }

  public var kind: Kind
  /// Empty for nodes and the outside.
  public var namespace: String
  /// Empty for the outside.
  public var name: String

  public init(_ kind: Kind, _ namespace: String = "", _ name: String = "") {
    self.kind = kind
    self.namespace = namespace
    self.name = name
  }

  public static func < (one: FlowParty, other: FlowParty) -> Bool {
    (one.kind.rawValue, one.namespace, one.name) < (other.kind.rawValue, other.namespace, other.name)
  }

  /// `demo/web`, `node/n1`, `outside`.
  public var text: String {
    switch kind {
    case .service, .workload: "\(namespace)/\(name)"
    case .node: "node/\(name)"
    case .outside: "outside"
    }
  }

  init(_ end: Flow.End) {
    if let pod = end.pod {
      self.init(.workload, pod.namespace, Self.workload(of: pod.name, end.labels))
    } else if let node = end.node {
      self.init(.node, "", node)
    } else {
      self.init(.outside)
    }
  }

  /// Where a flow goes: the Service that was asked for, else whoever got it.
  init(_ flow: Flow) {
    if let service = flow.service {
      self.init(.service, service.key.namespace, service.key.name)
    } else {
      self.init(flow.destination)
    }
  }

  /// What made a pod, as its name and its controllers' labels tell: `web` of `web-7d4-x2v9k`.
  static func workload(of pod: String, _ labels: [String: String]) -> String {
    for label in ["batch.kubernetes.io/job-name", "job-name"] {
      if let job = labels[label], !job.isEmpty { return job }
    }
    if let hash = labels["pod-template-hash"], !hash.isEmpty,
      let at = pod.firstRange(of: "-\(hash)-")?.lowerBound,
      at > pod.startIndex
    {
      return String(pod[..<at])
    }
    let isNumbered = labels["statefulset.kubernetes.io/pod-name"] != nil
    if isNumbered || labels["controller-revision-hash"] != nil, let dash = pod.lastIndex(of: "-"),
      dash > pod.startIndex
    {
      return String(pod[..<dash])
    }
    return pod
  }
}
