// What happens to a pod once a node is chosen, or once none is.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import Synchronization

extension Scheduler {
  /// Permit, PreBind, Bind. Many at once.
  func bind(_ entry: QueuedPod, _ node: String, _ profile: Profile, _ began: ContinuousClock.Instant) async {
    let pod = entry.pod
    do {
      if let rejection = await permit(pod, node, profile) {
        giveBack(pod, node, profile)
        let message = rejection.reasons.joined(separator: ", ")
        fail(entry, message, plugins: [rejection.plugin], profile, began)
        await report(pod, message, nomination: nil)
        return
      }
      for plugin in profile.preBinds { try await plugin.preBind(pod, to: node, api) }
      let beganBind = ContinuousClock.now
      // A binding that has begun finishes even when the scheduler stops: the node's place is given already.
      let isBound = try await Task.detached { [self] in
        var isBound = try await extenders.bind(pod, to: node)
        for plugin in profile.binds where !isBound { isBound = try await plugin.bind(pod, to: node, api) }
        return isBound
      }.value
      metrics.observe("Bind", ContinuousClock.now - beganBind, isBound, profile.schedulerName)
      guard isBound else { throw VolumeBindingError(message: "no bind plugin took the pod") }
    } catch {
      giveBack(pod, node, profile)
      if let refusal = error as? APIStatusError, refusal.isNotFound || refusal.isConflict {
        // Gone, or bound by somebody else: the informer says which. Still waiting: another attempt.
        if let now = objects.pods[pod.key], (now.at("spec", "nodeName")?.string ?? "").isEmpty {
          fail(entry, "\(error)", plugins: [], profile, began, isError: true)
        } else {
          queue.withLock { $0.remove(pod.key) }
        }
        return
      }
      fail(entry, "\(error)", plugins: [], profile, began, isError: true)
      logger.warning(
        "pod not bound", metadata: ["pod": "\(pod.key)", "node": "\(node)", "error": "\(error)"])
      return
    }
    queue.withLock { $0.remove(pod.key) }
    metrics.attempt(.scheduled, ContinuousClock.now - began, profile.schedulerName)
    metrics.podAttempts.observe(Double(entry.attempts))
    metrics.sliDuration.child("\(min(entry.attempts, 16))").observe(ContinuousClock.now - entry.arrived)
    events.record(
      pod.object, "Normal", "Scheduled", "Successfully assigned \(pod.key) to \(node)",
      from: profile.schedulerName)
    logger.debug("pod bound", metadata: ["pod": "\(pod.key)", "node": "\(node)"])
  }

  private func permit(_ pod: PodInfo, _ node: String, _ profile: Profile) async -> Rejection? {
    for plugin in profile.permits {
      var deadline: ContinuousClock.Instant?
      asking: while true {
        switch plugin.permit(pod, on: node) {
        case .allow: break asking
        case .deny(var rejection):
          rejection.plugin = plugin.name
          return rejection
        case .wait(let timeout):
          let end = deadline ?? ContinuousClock.now + timeout
          deadline = end
          if ContinuousClock.now >= end || Task.isCancelled {
            var rejection = Rejection("timed out waiting on permit")
            rejection.plugin = plugin.name
            return rejection
          }
          try? await Task.sleep(for: .milliseconds(100))
        }
      }
    }
    return nil
  }

  /// The event and the condition that say why the pod waits, and the node that is meant for it.
  func report(_ pod: PodInfo, _ message: String, nomination: String?) async {
    events.record(pod.object, "Warning", "FailedScheduling", message, from: pod.schedulerName)
    let known = objects.pods[pod.key] ?? pod.object
    guard Self.reported(known, message, nomination) != nil else { return }
    do {
      try await api.modify(
        .pods, pod.key, subresource: "status", fieldManager: pod.schedulerName
      ) { current in
        guard current.uid == pod.uid, (current.at("spec", "nodeName")?.string ?? "").isEmpty else {
          return nil
        }
        return Self.reported(current, message, nomination)
      }
    } catch {
      logger.debug("condition not written", metadata: ["pod": "\(pod.key)", "error": "\(error)"])
    }
  }

  private static func reported(_ pod: JSON, _ message: String, _ nomination: String?) -> JSON? {
    var changed = pod
    var isDifferent = changed.setCondition(
      "PodScheduled", "False", reason: "Unschedulable", message: message)
    if let nomination, changed.at("status", "nominatedNodeName")?.string != nomination {
      changed.set(JSON(nomination), at: "status", "nominatedNodeName")
      isDifferent = true
    }
    return isDifferent ? changed : nil
  }

  // MARK: Preemption

  /// Takes the nomination from less important pods on the node, marks the victims and deletes them.
  func preempt(_ plan: PreemptionPlan, for pod: PodInfo) async {
    metrics.preemptionVictims.observe(Double(plan.victims.count))
    for other in cache.nominated[plan.node] ?? [] where other.priority < pod.priority {
      cache.nominate(other, "")
      _ = try? await api.modify(.pods, other.key, subresource: "status") { current in
        guard current.at("status", "nominatedNodeName") != nil else { return nil }
        var changed = current
        changed.set(nil, at: "status", "nominatedNodeName")
        return changed
      }
    }
    for victim in plan.victims {
      do {
        if !victim.isTerminating {
          try await api.modify(.pods, victim.key, subresource: "status") { current in
            guard current.uid == victim.uid else { return nil }
            var changed = current
            let isNew = changed.setCondition(
              "DisruptionTarget", "True", reason: "PreemptionByScheduler",
              message: "\(pod.schedulerName): preempting to accommodate a higher priority pod")
            return isNew ? changed : nil
          }
          try await api.delete(
            .pods, namespace: victim.namespace, name: victim.name, options: DeleteOptions(uid: victim.uid))
        }
        events.record(
          victim.object, "Normal", "Preempted", "Preempted by pod \(pod.uid) on node \(plan.node)",
          from: pod.schedulerName)
      } catch let error as APIStatusError where error.isNotFound || error.isConflict {
        // Gone already, or another pod of its name.
      } catch {
        logger.warning(
          "victim not deleted",
          metadata: ["pod": "\(pod.key)", "victim": "\(victim.key)", "error": "\(error)"])
        cache.nominate(pod, "")
        queue.withLock { $0.activate(pod.key, now: .now) }
        wakeLoop()
        return
      }
    }
  }
}
