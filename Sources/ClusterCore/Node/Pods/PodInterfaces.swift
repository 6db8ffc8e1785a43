// Where pods come from and where their status goes: the agent's only view of the API, so that tests need none.

import ClusterObjects

/// A change of what this node should run.
public enum PodChange: Sendable {
  /// The pod is bound to this node and should run, or with a deletion time, should end.
  case desired(JSON)
  /// The pod is no longer in the API.
  case gone(uid: String)
  /// Everything bound to this node was delivered once; from now on what is unknown is an orphan.
  case synced
  /// What the server of manifests has for this node was delivered once: until then nothing that runs by its word is an orphan.
  case heard
}

/// Desired pods, in order of change. The stream ends when the source does.
public protocol PodSource: Sendable {
  func podChanges() -> AsyncStream<PodChange>
}

/// What the agent tells the API.
public protocol PodStatusSink: Sendable {
  /// Writes the status of a pod. Throws when it should be tried again; a pod that is gone is no error.
  func report(_ pod: JSON, status: JSON) async throws
  /// Everything of the pod ended: the object may go.
  func finishDeletion(_ pod: JSON) async throws
}

/// What the agent asks the API for while a pod starts.
public protocol PodObjects: Sendable {
  /// The object, or nil when there is none. `kind` is `configMap` or `secret`.
  func object(_ kind: String, namespace: String, name: String) async throws -> JSON?
  /// Calls `change` with the object as it is, nil while there is none, and with each state after that, until the server ends
  /// this (returns), cannot go on (throws) or the task is cancelled. Throws `CannotFollow` where there are no watches.
  func follow(
    _ kind: String, namespace: String, name: String, change: @Sendable (JSON?) async -> Void
  ) async throws
  /// The Services of a namespace.
  func services(namespace: String) async throws -> [JSON]
  /// This node's object as the API has it now; nil when nobody knows.
  func node() async throws -> JSON?
  /// The handler of a RuntimeClass; nil when there is no such class.
  func runtimeHandler(_ name: String) async throws -> String?
  /// The PersistentVolumeClaim, or nil when there is none.
  func claim(namespace: String, name: String) async throws -> JSON?
  /// The PersistentVolume, or nil when there is none.
  func persistentVolume(_ name: String) async throws -> JSON?
  /// The ClusterTrustBundles that there are.
  func trustBundles() async throws -> [JSON]
  /// A token for the pod's service account, bound to the pod. No audience: for the API server.
  func token(_ pod: JSON, audience: String, seconds: Int) async throws -> PodToken
}

extension PodObjects {
  /// Nothing is told.
  public func follow(
    _ kind: String, namespace: String, name: String, change: @Sendable (JSON?) async -> Void
  ) async throws { throw CannotFollow() }
  /// Nothing is known of the node.
  public func node() async throws -> JSON? { nil }
  /// Nothing is known of claims and their volumes.
  public func claim(namespace: String, name: String) async throws -> JSON? { nil }
  public func persistentVolume(_ name: String) async throws -> JSON? { nil }
  /// There are none.
  public func trustBundles() async throws -> [JSON] { [] }
  /// Nothing is known of runtime classes.
  public func runtimeHandler(_ name: String) async throws -> String? { nil }
}

/// Something worth a line in `kubectl describe`.
public struct PodEvent: Sendable, Hashable {
  public var involved: JSON
  public var isWarning: Bool
  public var reason: String
  public var message: String
  /// Such as `spec.containers{web}`.
  public var fieldPath: String
}

/// Called for each event; must not block.
public typealias EventRecorder = @Sendable (PodEvent) -> Void
