// A namespace being deleted is emptied, resource by resource, and then released by removing its
// `kubernetes` finalizer. What cannot be asked or deleted keeps it, and it says so.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

/// What to delete of a list, and whether anything is left that only time or others can remove.
struct NamespaceSweep: Equatable {
  var delete: [ObjectKey] = []
  var waiting = 0
}

/// Everything that is not on its way out yet is deleted; what is, is waited for.
func planNamespaceSweep(_ objects: [JSON]) -> NamespaceSweep {
  var sweep = NamespaceSweep()
  for object in objects {
    sweep.waiting += 1
    if !object.isTerminating { sweep.delete.append(object.key) }
  }
  return sweep
}

func namespaceController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<String> = context.queue("namespace")
  let namespaces = context.informers.informer(.namespaces)
  // Followed from the start: what is in the namespace may be of a custom kind, or of another server's.
  _ = context.definitions
  let services = context.apiServices
  let again: @Sendable () -> Void = {
    for object in namespaces.snapshot.values where object.isTerminating { queue.add(object.name) }
  }
  let registrations = [
    namespaces.onChange { changes in
      for change in changes where change.new?.isTerminating == true { queue.add(change.key.name) }
    },
    // An API that answers again, or is given up, may be all that a namespace waits for.
    services.onChange { changes in
      if changes.contains(where: { ($0.new ?? $0.old)?.spec["service"] != nil }) { again() }
    },
  ]
  return Controller("namespace", context, queue: queue, registrations: registrations, resync: again) { name in
    guard let namespace = namespaces["", name], namespace.isTerminating,
      namespace.at("spec", "finalizers")?.elements.contains("kubernetes") == true
    else { return nil }
    let findings = await empty(name, context)
    try await context.api.modify(.namespaces, ObjectKey("", name), subresource: "status") { current in
      var changed = current
      var didChange = false
      for condition in findings.conditions {
        let isNew = changed.setCondition(
          condition.type, condition.isTrue ? "True" : "False", reason: condition.reason,
          message: condition.message)
        didChange = didChange || isNew
      }
      return didChange ? changed : nil
    }
    if let error = findings.error { throw error }
    if !findings.remaining.isEmpty { return .milliseconds(200) }
    try await context.api.modify(.namespaces, ObjectKey("", name), subresource: "finalize") { current in
      let finalizers = current.at("spec", "finalizers")?.elements ?? []
      guard finalizers.contains("kubernetes") else { return nil }
      var changed = current
      changed.set(.array(finalizers.filter { $0 != "kubernetes" }), at: "spec", "finalizers")
      return changed
    }
    context.logger.info("namespace emptied", metadata: ["namespace": "\(name)"])
    return nil
  }
}

/// One pass: deletes what can be, and tells what is left. One kind's trouble does not keep the others.
private func empty(_ name: String, _ context: ControllerContext) async -> NamespaceFindings {
  var findings = NamespaceFindings()
  let aggregated = await context.aggregatedResources()
  findings.undiscovered = aggregated.undiscovered
  findings.unparsed = aggregated.unparsed
  for tracked in context.trackedResources + aggregated.resources where tracked.isNamespaced {
    do {
      findings.leave(tracked.resource, try await sweep(tracked.resource, name, context))
    } catch let error as APIStatusError where error.isNotFound || error.code == 405 {
      // Served no longer, or never to be listed: nothing of it is here.
    } catch {
      findings.failures.append("\(error)")
    }
    // What pods live by (policies, Services, secrets) stays until the last of them has ended.
    if tracked.resource == .pods, findings.remaining[.pods] != nil { break }
  }
  return findings
}

/// Deletes a resource's objects; returns those that are left.
private func sweep(
  _ resource: GroupVersionResource, _ name: String, _ context: ControllerContext
) async throws -> [JSON] {
  let objects = try await context.api.list(resource, namespace: name, options: ListOptions()).items
  let sweep = planNamespaceSweep(objects)
  for key in sweep.delete {
    try await context.api.deleteIfPresent(
      resource, key, options: DeleteOptions(propagationPolicy: "Background"))
  }
  guard sweep.waiting > 0 else { return [] }
  return try await context.api.list(resource, namespace: name, options: ListOptions()).items
}
