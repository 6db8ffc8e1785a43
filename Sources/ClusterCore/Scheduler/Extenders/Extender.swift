// Processes outside that have a say: what they are asked, and when they are not.

import ClusterClient
import ClusterObjects

/// One extender. Errors are the pod's, unless the extender is ignorable.
public protocol Extender: Sendable {
  var name: String { get }
  /// Whether it wants to be asked about a pod at all.
  func isInterested(in pod: PodInfo) -> Bool
  var isIgnorable: Bool { get }
  var canFilter: Bool { get }
  var canPrioritize: Bool { get }
  var canPreempt: Bool { get }
  var canBind: Bool { get }
  /// Nodes left, and why the others are not.
  func filter(_ pod: PodInfo, _ nodes: [NodeInfo]) async throws -> ExtenderFilterResult
  /// Scores of 0…100 by node name, weight included.
  func prioritize(_ pod: PodInfo, _ nodes: [NodeInfo]) async throws -> [String: Int64]
  /// The plans left, perhaps with fewer victims.
  func preempt(_ pod: PodInfo, _ plans: [PreemptionPlan]) async throws -> [PreemptionPlan]
  func bind(_ pod: PodInfo, to node: String) async throws
}

public struct ExtenderFilterResult: Sendable {
  public var nodes: Set<String>
  public var failed: [String: String]
  /// Removing pods cannot help there.
  public var failedAndUnresolvable: [String: String]
}

extension [any Extender] {
  func filter(_ pod: PodInfo, _ search: inout Search) async throws {
    for extender in self where extender.canFilter && extender.isInterested(in: pod) {
      if search.feasible.isEmpty { return }
      let result: ExtenderFilterResult
      do {
        result = try await extender.filter(pod, search.feasible)
      } catch  where extender.isIgnorable { continue }
      var left: [NodeInfo] = []
      for node in search.feasible {
        let lasting = result.failedAndUnresolvable[node.name]
        if lasting == nil, result.nodes.contains(node.name) {
          left.append(node)
          continue
        }
        let reason = lasting ?? result.failed[node.name] ?? "node(s) didn't satisfy extender \(extender.name)"
        var rejection = Rejection(reason, isResolvable: lasting == nil)
        rejection.plugin = extender.name
        search.rejections.append((node.name, rejection))
      }
      search.feasible = left
    }
  }

  /// Extenders' scores count like a plugin's; one that fails has none.
  func prioritize(_ pod: PodInfo, _ nodes: [NodeInfo], _ scores: inout [Int64]) async throws {
    for extender in self where extender.canPrioritize && extender.isInterested(in: pod) {
      guard let given = try? await extender.prioritize(pod, nodes) else { continue }
      for (index, node) in nodes.enumerated() { scores[index] += given[node.name] ?? 0 }
    }
  }

  func preempt(_ pod: PodInfo, _ plans: [PreemptionPlan]) async throws -> [PreemptionPlan] {
    var plans = plans
    for extender in self where extender.canPreempt && extender.isInterested(in: pod) {
      if plans.isEmpty { return [] }
      do {
        plans = try await extender.preempt(pod, plans)
      } catch  where extender.isIgnorable { continue }
    }
    return plans
  }

  /// The first that binds and is interested does it; false when none is.
  func bind(_ pod: PodInfo, to node: String) async throws -> Bool {
    for extender in self where extender.canBind && extender.isInterested(in: pod) {
      try await extender.bind(pod, to: node)
      return true
    }
    return false
  }
}
