// One of several processes leads: who holds a Lease and renews it. The others wait for it to lapse.

import ClusterObjects
import Diagnostics
import Logging

/// Elects a leader over a `coordination.k8s.io/v1` Lease, with client-go's rules: a lease counts from when
/// *we* saw it change, so clocks need not agree.
public struct LeaderElection: Sendable {
  public var lease: ObjectKey
  public var identity: String
  public var duration: Duration = .seconds(15)
  /// A leader that could not renew for this long stops leading; below `duration`, so that two never lead.
  public var renewDeadline: Duration = .seconds(10)
  public var retryPeriod: Duration = .seconds(2)
  private let api: any ClusterAPI
  private let logger = Logger(label: "leader-election")

  public init(api: any ClusterAPI, lease: ObjectKey, identity: String) {
    self.api = api
    self.lease = lease
    self.identity = identity
  }

  /// Waits until this process leads, runs `lead`, and cancels it when leadership is lost. Returns when
  /// `lead` has returned; the lease is then given back. Throws `CancellationError` when cancelled before
  /// leading.
  public func run(_ lead: @escaping @Sendable () async -> Void) async throws {
    var seen: (record: JSON, at: ContinuousClock.Instant)?
    while !(await tryAcquire(&seen)) { try await Task.sleep(for: retryPeriod) }
    logger.info("leading", metadata: ["lease": "\(lease)", "identity": "\(identity)"])
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await lead() }
      group.addTask {
        var seen: (record: JSON, at: ContinuousClock.Instant)?
        var renewed = ContinuousClock.now
        while !Task.isCancelled, ContinuousClock.now - renewed < renewDeadline {
          try? await Task.sleep(for: retryPeriod)
          if await tryAcquire(&seen) { renewed = .now }
        }
      }
      await group.next()
      group.cancelAll()
    }
    await release()
  }

  /// Takes or renews the lease if it is ours, free or lapsed.
  func tryAcquire(_ seen: inout (record: JSON, at: ContinuousClock.Instant)?) async -> Bool {
    let now = JSON(Timestamp.nowMicroText())
    let seconds = JSON(duration.components.seconds)
    do {
      var object: JSON
      do {
        object = try await api.get(.leases, namespace: lease.namespace, name: lease.name)
      } catch let error as APIStatusError where error.isNotFound {
        let fresh: JSON = [
          "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
          "metadata": ["namespace": JSON(lease.namespace), "name": JSON(lease.name)],
          "spec": [
            "holderIdentity": JSON(identity), "leaseDurationSeconds": seconds, "acquireTime": now,
            "renewTime": now, "leaseTransitions": 0,
          ],
        ]
        _ = try await api.create(.leases, fresh, options: WriteOptions())
        return true
      }
      if seen?.record != object.spec { seen = (object.spec, .now) }
      let holder = object.at("spec", "holderIdentity")?.string ?? ""
      if holder != identity, !holder.isEmpty, let seen, ContinuousClock.now - seen.at < duration {
        return false
      }
      if holder != identity {
        object.set(now, at: "spec", "acquireTime")
        let transitions = object.at("spec", "leaseTransitions")?.int ?? 0
        object.set(JSON(transitions + 1), at: "spec", "leaseTransitions")
      }
      object.set(JSON(identity), at: "spec", "holderIdentity")
      object.set(seconds, at: "spec", "leaseDurationSeconds")
      object.set(now, at: "spec", "renewTime")
      _ = try await api.update(.leases, object, subresource: nil, options: WriteOptions())
      return true
    } catch {
      logger.debug("lease not written", metadata: ["lease": "\(lease)", "error": "\(error)"])
      return false
    }
  }

  private func release() async {
    let api = api
    let lease = lease
    let identity = identity
    // Also when this task was cancelled: the next leader should not have to wait for the lease to lapse.
    await Task.detached {
      _ = try? await api.modify(.leases, lease) { current in
        guard current.at("spec", "holderIdentity")?.string == identity else { return nil }
        var changed = current
        changed.set("", at: "spec", "holderIdentity")
        return changed
      }
    }.value
  }
}
