// Which resources quotas count, and who is told when there are fewer of them. Nothing is followed that no
// quota speaks of.

import ClusterClient
import ClusterObjects
import Synchronization

/// Follows resources for their deletions.
final class CountedResources: Sendable {
  private struct State {
    var followed: [GroupVersionResource: InformerRegistration?] = [:]
    var seen: [ObjectKey: (revision: String, at: ContinuousClock.Instant)] = [:]
    /// When each quota may be counted again.
    var rests: [ObjectKey: ContinuousClock.Instant] = [:]
  }
  private let state = Mutex(State())
  private let informers: SharedInformers
  private let freed: @Sendable (_ namespace: String) -> Void

  init(_ informers: SharedInformers, freed: @escaping @Sendable (_ namespace: String) -> Void) {
    self.informers = informers
    self.freed = freed
  }

  /// Notes the quota's version, and follows what it counts.
  func follow(_ quota: JSON) {
    let wanted = countedResources(of: quota).subtracting([.resourceQuotas])
    let new = state.withLock { state in
      state.seen[quota.key] = (quota.resourceVersion, .now)
      let new = wanted.filter { state.followed[$0] == nil }
      for resource in new { state.followed[resource] = .some(nil) }
      return new
    }
    for resource in new {
      let freed = freed
      let registration = informers.informer(resource).onChange { changes in
        for change in changes {
          guard let old = change.old else { continue }
          if let now = change.new, !Self.usesLess(now, than: old, resource) { continue }
          freed(change.key.namespace)
        }
      }
      state.withLock { $0.followed[resource] = registration }
    }
  }

  func forget(_ quota: ObjectKey) {
    state.withLock { state in
      state.seen[quota] = nil
      state.rests[quota] = nil
    }
  }

  /// A count looks at everything in its namespace: where that takes long, counts come as seldom that they take a fifth of the time.
  func counted(_ quota: ObjectKey, since begin: ContinuousClock.Instant) {
    let end = ContinuousClock.now
    state.withLock { $0.rests[quota] = end + (end - begin) * 4 }
  }

  /// How long a quota is not to be counted yet; nil when it may be.
  func rest(_ quota: ObjectKey) -> Duration? {
    let left = state.withLock { $0.rests[quota] }.map { $0 - ContinuousClock.now }
    return left.flatMap { $0 > .zero ? $0 : nil }
  }

  /// Whether this version of a quota came less than a moment ago, or has not been seen yet.
  func isRecent(_ key: ObjectKey, _ revision: String) -> Bool {
    state.withLock { state in
      guard let seen = state.seen[key], seen.revision == revision else { return true }
      return ContinuousClock.now - seen.at < .milliseconds(250)
    }
  }

  private static func usesLess(_ new: JSON, than old: JSON, _ resource: GroupVersionResource) -> Bool {
    switch resource.resource {
    case "pods":
      old.at("status", "phase") != new.at("status", "phase")
        || old.isTerminating != new.isTerminating
        || old.at("spec", "containers") != new.at("spec", "containers")
    case "services", "persistentvolumeclaims": old.spec != new.spec
    default: false
    }
  }
}
