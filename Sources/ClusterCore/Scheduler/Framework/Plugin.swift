// The points at which plugins take part in placing a pod, with upstream's names.
//
//   PreEnqueue -> queue -> PreFilter -> Filter -> (PostFilter) -> PreScore -> Score, Normalize
//                                                    -> Reserve -> Permit -> PreBind -> Bind
//
// PreFilter looks at pod and cluster once and gives back what filters node by node; PreScore the same for
// scores. Plugins without anything to say about a pod skip it, and cost nothing for it.

import ClusterClient
import ClusterObjects

/// Why a pod cannot be on a node, in the words that `kubectl describe` counts by.
public struct Rejection: Sendable, Equatable {
  public var reasons: [String]
  /// Whether removing pods from the node could help: preemption is worth a try.
  public var isResolvable: Bool
  /// Set by the framework.
  public var plugin = ""
  public init(_ reasons: [String], isResolvable: Bool = true) {
    self.reasons = reasons
    self.isResolvable = isResolvable
  }
  public init(_ reason: String, isResolvable: Bool = true) {
    self.init([reason], isResolvable: isResolvable)
  }
}

/// What every plugin has.
public protocol Plugin: Sendable {
  /// Upstream's name; what configuration files call it.
  var name: String { get }
  /// Whether the event may make a pod fit that this plugin rejected. Wrong yes costs an attempt, wrong no
  /// costs five minutes of waiting.
  func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool
}

extension Plugin {
  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool { true }
}

/// Decides whether a pod enters the queue at all.
public protocol PreEnqueuePlugin: Plugin {
  func preEnqueue(_ pod: PodInfo) -> Rejection?
}

/// What a plugin's look at pod and cluster comes to.
public enum PreFilterResult: Sendable {
  /// Nothing to filter by for this pod.
  case skip
  case filter(any NodeFilter)
  /// Only these nodes are looked at; the filter, if any, is asked of them.
  case only(Set<String>, (any NodeFilter)?)
  /// The pod fits no node.
  case rejected(Rejection)
}

/// PreFilter and Filter.
public protocol FilterPlugin: Plugin {
  func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult
}

/// A filter made for one pod. A value: preemption asks copies of it "what if that pod were gone?".
public protocol NodeFilter: Sendable {
  func check(_ node: NodeInfo) -> Rejection?
  mutating func podAdded(_ pod: PodInfo, to node: NodeInfo)
  mutating func podRemoved(_ pod: PodInfo, from node: NodeInfo)
}

extension NodeFilter {
  public mutating func podAdded(_ pod: PodInfo, to node: NodeInfo) {}
  public mutating func podRemoved(_ pod: PodInfo, from node: NodeInfo) {}
}

/// PreScore; the result scores the nodes that passed all filters. Nil: all nodes are equal.
public protocol ScorePlugin: Plugin {
  func preScore(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState) -> (any NodeScorer)?
}

/// Score and Normalize for one pod.
public protocol NodeScorer: Sendable {
  func score(_ node: NodeInfo) -> Int64
  /// Brings the scores of `nodes`, in the same order, to 0…100.
  func normalize(_ scores: inout [Int64], _ nodes: [NodeInfo])
}

extension NodeScorer {
  public func normalize(_ scores: inout [Int64], _ nodes: [NodeInfo]) {}
}

/// The highest score a node gets from a plugin.
public let nodeScoreMax: Int64 = 100

/// Claims things in memory once a node is chosen; `unreserve` must undo it, also what was never done.
public protocol ReservePlugin: Plugin {
  func reserve(_ pod: PodInfo, on node: String) -> Rejection?
  func unreserve(_ pod: PodInfo, from node: String)
}

/// The last word before binding: at once, or after waiting at most the time it says.
public enum PermitResult: Sendable {
  case allow
  case deny(Rejection)
  /// Asks again every tenth of a second until it allows or denies, or the time is over.
  case wait(timeout: Duration)
}

public protocol PermitPlugin: Plugin {
  func permit(_ pod: PodInfo, on node: String) -> PermitResult
}

/// What must be true in the API before the pod is bound. Throwing gives the node back.
public protocol PreBindPlugin: Plugin {
  func preBind(_ pod: PodInfo, to node: String, _ api: any ClusterAPI) async throws
}

/// Binds the pod; false leaves it to the next bind plugin.
public protocol BindPlugin: Plugin {
  func bind(_ pod: PodInfo, to node: String, _ api: any ClusterAPI) async throws -> Bool
}

/// Asked when no node fits.
public protocol PostFilterPlugin: Plugin {
  /// - Parameter nominated: pods that wait for room on a node, by its name.
  func postFilter(
    _ pod: PodInfo, _ search: Search, _ cluster: ClusterState, _ nominated: [String: [PodInfo]]
  ) -> PostFilterResult
}

public enum PostFilterResult: Sendable {
  /// The pod fits on any of these nodes once the pods named are gone from it.
  case nominate([PreemptionPlan])
  /// What is added to the message about the nodes.
  case rejected(String)
}
