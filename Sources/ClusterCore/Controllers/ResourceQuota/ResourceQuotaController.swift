// Counts what is used of every ResourceQuota. Admission adds to a quota's status what it lets in; this
// controller takes off what is gone, and puts right what was charged and then not stored.

import ClusterClient
import ClusterObjects
import Diagnostics

func resourceQuotaController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("resource_quota")
  let quotas = context.informers.informer(.resourceQuotas)
  let watched = CountedResources(context.informers) { namespace in
    for quota in quotas.objects(.namespace, namespace) { queue.add(quota.key) }
  }
  let registrations = [
    quotas.onChange { changes in
      for change in changes {
        guard let new = change.new else {
          watched.forget(change.key)
          continue
        }
        watched.follow(new)
        // Whether a change of the status is right shows when what was charged is stored.
        // A limit in the status that is not the quota's is put right at once.
        let isOwn = ResourceList(new.at("status", "hard")) == ResourceList(new.spec["hard"])
        if let old = change.old, old.spec == new.spec, isOwn {
          queue.add(change.key, after: verifyDelay)
        } else {
          queue.add(change.key)
        }
      }
    }
  ]
  return Controller(
    "resourcequota", context, queue: queue, registrations: registrations, workers: 2,
    resync: { for key in quotas.snapshot.keys { queue.add(key) } }
  ) { key in
    guard let quota = quotas[key.namespace, key.name], !quota.isTerminating else { return nil }
    if let rest = watched.rest(key) { return rest }
    let begin = ContinuousClock.now
    // As it is now: the count is written only if nobody charged meanwhile.
    let present: JSON
    do {
      present = try await context.api.get(.resourceQuotas, namespace: key.namespace, name: key.name)
    } catch let error as APIStatusError where error.isNotFound { return nil }
    let planned = try await planQuotaStatus(present) { resource in
      try await context.api.list(resource, namespace: key.namespace, options: ListOptions()).items
    }
    watched.counted(key, since: begin)
    guard let planned else { return nil }
    if isLower(planned, than: present.status), watched.isRecent(key, present.resourceVersion) {
      // Charged a moment ago: what was charged for may not be stored yet.
      return settleDelay
    }
    var object = present
    object["status"] = planned
    do {
      _ = try await context.api.update(
        .resourceQuotas, object, subresource: "status", options: context.options)
    } catch let error as APIStatusError where error.isConflict || error.isNotFound {
      if error.isConflict { return settleDelay }
    }
    return nil
  }
}

/// How long after a charge its count is verified.
private let verifyDelay: Duration = .seconds(5)
/// How long a status must have stayed as it is before less is written.
private let settleDelay: Duration = .milliseconds(300)

/// The status that a quota should have, or nil when it has it.
func planQuotaStatus(
  _ quota: JSON, list: (GroupVersionResource) async throws -> [JSON]
) async throws -> JSON? {
  var objects: [String: (GroupVersionResource, [JSON])] = [:]
  for resource in countedResources(of: quota) {
    objects["\(resource)"] = (resource, try await list(resource))
  }
  let found = objects
  let status = QuotaUsage.status(
    of: quota,
    objects: { group, resource in found[group.isEmpty ? resource : "\(resource).\(group)"] },
    now: Timestamp.now().seconds)
  let isSame =
    ResourceList(status["hard"]) == ResourceList(quota.at("status", "hard"))
    && ResourceList(status["used"]) == ResourceList(quota.at("status", "used"))
  return isSame ? nil : status
}

/// Whether a count says less of something than the status did.
private func isLower(_ new: JSON, than old: JSON) -> Bool {
  let (now, before) = (ResourceList(new["used"]), ResourceList(old["used"]))
  return before.amounts.contains { now[$0.key] < $0.value }
}

/// The resources that a quota counts, as they are served.
func countedResources(of quota: JSON) -> Set<GroupVersionResource> {
  var resources: Set<GroupVersionResource> = []
  for name in quota.at("spec", "hard")?.object?.keys ?? [] {
    guard let (group, resource) = QuotaUsage.counted(for: name),
      let kind = KindRegistry.builtin.kinds.first(where: { $0.group == group && $0.plural == resource }),
      kind.isNamespaced
    else { continue }
    resources.insert(kind.gvr)
  }
  return resources
}
