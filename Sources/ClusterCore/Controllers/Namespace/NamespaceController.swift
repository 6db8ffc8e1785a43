// A namespace being deleted is emptied, resource by resource, and then released by removing its
// `kubernetes` finalizer.

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
  // Followed from the start: what is in the namespace may be of a custom kind.
  _ = context.definitions
  let registration = namespaces.onChange { changes in
    for change in changes where change.new?.isTerminating == true { queue.add(change.key.name) }
  }
  return Controller(
    "namespace", context, queue: queue, registrations: [registration],
    resync: { for object in namespaces.snapshot.values where object.isTerminating { queue.add(object.name) } }
  ) { name in
    guard let namespace = namespaces["", name], namespace.isTerminating,
      namespace.at("spec", "finalizers")?.elements.contains("kubernetes") == true
    else { return nil }
    var remaining: [String] = []
    for tracked in context.trackedResources where tracked.isNamespaced {
      let objects: [JSON]
      do {
        objects = try await context.api.list(tracked.resource, namespace: name, options: ListOptions()).items
      } catch let error as APIStatusError where error.isNotFound { continue }
      let sweep = planNamespaceSweep(objects)
      for key in sweep.delete {
        try await context.api.deleteIfPresent(
          tracked.resource, key, options: DeleteOptions(propagationPolicy: "Background"))
      }
      guard sweep.waiting > 0 else { continue }
      let left = try await context.api.list(tracked.resource, namespace: name, options: ListOptions()).items
      if !left.isEmpty { remaining.append("\(tracked.resource) has \(left.count) resource instances") }
    }
    if !remaining.isEmpty {
      let message = "Some resources are remaining: " + remaining.joined(separator: ", ")
      try await context.api.modify(.namespaces, ObjectKey("", name), subresource: "status") { current in
        var changed = current
        let didChange = changed.setCondition(
          "NamespaceContentRemaining", "True", reason: "SomeResourcesRemain", message: message)
        return didChange ? changed : nil
      }
      return .milliseconds(200)
    }
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
