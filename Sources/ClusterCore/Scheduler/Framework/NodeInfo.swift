// A node as plugins see it: what it is, and what is on it. Immutable: a change makes a new one, so that a
// snapshot of the cluster is an array of references.

import ClusterClient
import ClusterObjects

/// What a Node object says, read once.
public final class NodeFacts: Sendable {
  public let object: JSON
  public let name: String
  public let labels: [String: String]
  public let taints: [Taint]
  public let isUnschedulable: Bool
  public let allocatable: Amounts
  /// Pods it may run; nil when it does not say.
  public let podsMax: Int64?
  /// Bytes of each image that it has, by each of its names.
  public let images: [String: Int64]

  public init(_ node: JSON) {
    object = node
    name = node.name
    labels = node.labels
    taints = (node.at("spec", "taints")?.elements ?? []).map(Taint.init)
    isUnschedulable = node.at("spec", "unschedulable")?.bool ?? false
    let list = ResourceList(node.at("status", "allocatable") ?? node.at("status", "capacity"))
    allocatable = Amounts(list)
    podsMax = list.amounts["pods"]?.value
    var images: [String: Int64] = [:]
    for image in node.at("status", "images")?.elements ?? [] {
      for name in image["names"]?.elements ?? [] {
        if let name = name.string { images[name] = image["sizeBytes"]?.integer ?? 0 }
      }
    }
    self.images = images
  }

  /// Whether a pod may fit now that did not fit before: a heartbeat says no.
  func differsForScheduling(from old: NodeFacts) -> Bool {
    labels != old.labels || taints != old.taints || isUnschedulable != old.isUnschedulable
      || allocatable != old.allocatable || podsMax != old.podsMax
  }
}

/// A node and the pods that occupy it, bound or about to be.
public final class NodeInfo: Sendable {
  public let facts: NodeFacts
  public let pods: [PodInfo]
  public let requested: Amounts
  /// Requests with the defaults of scores.
  public let scoredCPU: Int64
  public let scoredMemory: Int64
  public let hostPorts: [HostPort]
  /// Whose terms count when nodes are scored.
  public let podsWithAffinity: [PodInfo]
  public let podsWithAntiAffinity: [PodInfo]

  public var name: String { facts.name }
  public var labels: [String: String] { facts.labels }

  public init(_ facts: NodeFacts, pods: [PodInfo] = []) {
    self.facts = facts
    self.pods = pods
    var requested = Amounts()
    var cpu: Int64 = 0
    var memory: Int64 = 0
    for pod in pods {
      requested += pod.requests
      cpu = sum(cpu, pod.scoredCPU)
      memory = sum(memory, pod.scoredMemory)
    }
    self.requested = requested
    scoredCPU = cpu
    scoredMemory = memory
    hostPorts = pods.flatMap(\.hostPorts)
    podsWithAffinity = pods.filter(\.leansOnOthers)
    podsWithAntiAffinity = pods.filter { !$0.antiAffinity.isEmpty }
  }

  /// The node with one pod more.
  private init(_ old: NodeInfo, adding pod: PodInfo) {
    facts = old.facts
    pods = old.pods + [pod]
    var requested = old.requested
    requested += pod.requests
    self.requested = requested
    scoredCPU = sum(old.scoredCPU, pod.scoredCPU)
    scoredMemory = sum(old.scoredMemory, pod.scoredMemory)
    hostPorts = pod.hostPorts.isEmpty ? old.hostPorts : old.hostPorts + pod.hostPorts
    podsWithAffinity = pod.leansOnOthers ? old.podsWithAffinity + [pod] : old.podsWithAffinity
    podsWithAntiAffinity =
      pod.antiAffinity.isEmpty ? old.podsWithAntiAffinity : old.podsWithAntiAffinity + [pod]
  }

  private init(_ old: NodeInfo, pods: [PodInfo]) {
    facts = old.facts
    self.pods = pods
    requested = old.requested
    scoredCPU = old.scoredCPU
    scoredMemory = old.scoredMemory
    hostPorts = old.hostPorts
    podsWithAffinity = old.podsWithAffinity
    podsWithAntiAffinity = old.podsWithAntiAffinity
  }

  /// The node with a newer state of a pod that takes the same of it.
  func replacing(_ pod: PodInfo) -> NodeInfo {
    NodeInfo(self, pods: pods.map { $0.key == pod.key ? pod : $0 })
  }

  public func adding(_ pod: PodInfo) -> NodeInfo { NodeInfo(self, adding: pod) }
  public func removing(_ key: ObjectKey) -> NodeInfo { NodeInfo(facts, pods: pods.filter { $0.key != key }) }
  func with(_ facts: NodeFacts) -> NodeInfo { NodeInfo(facts, pods: pods) }

  /// The first taint of these effects that the pod does not tolerate.
  func untolerated(by pod: PodInfo, _ effects: [String]) -> Taint? {
    for taint in facts.taints where effects.contains(taint.effect) {
      if !pod.tolerations.contains(where: { $0.covers(taint) }) { return taint }
    }
    return nil
  }
}
