// A leader's time, from when it took the lease to when somebody else did.

import ClusterObjects

/// Who holds a Lease, and for the how manieth time it changed hands: a process that loses its lease and takes it again begins another term.
public struct LeaderTerm: Sendable, Hashable {
  public var lease: ObjectKey
  public var holder: String
  public var transitions: Int

  public init(lease: ObjectKey, holder: String, transitions: Int) {
    self.lease = lease
    self.holder = holder
    self.transitions = transitions
  }

  /// What a `coordination.k8s.io/v1` Lease says; nil when nobody holds it.
  public init?(_ lease: JSON) {
    guard let holder = lease.spec["holderIdentity"]?.string, !holder.isEmpty else { return nil }
    self.init(lease: lease.key, holder: holder, transitions: lease.spec["leaseTransitions"]?.int ?? 0)
  }
}
