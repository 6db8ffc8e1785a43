// Deletes what lost its last owner, and carries out the two other ways of deleting an owner: Foreground
// (dependents first) and Orphan (dependents stay).

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// One object, by where it is served.
struct TrackedObject: Hashable, Sendable {
  var resource: GroupVersionResource
  var key: ObjectKey
}

/// What to do with an object whose owners were looked up.
enum GarbagePlan: Equatable {
  case keep
  case delete
  /// Some owners are gone, others are not: these references stay.
  case keepReferences([JSON])
}

/// `isGone` says of an ownerReference that its object does not exist (by uid); unknown kinds count as
/// existing.
func planGarbage(_ object: JSON, isGone: (JSON) -> Bool) -> GarbagePlan {
  let references = object.ownerReferences
  guard !references.isEmpty, !object.isTerminating else { return .keep }
  let solid = references.filter { !isGone($0) }
  if solid.isEmpty { return .delete }
  return solid.count == references.count ? .keep : .keepReferences(solid)
}

func garbageCollector(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<TrackedObject> = context.queue("garbage_collector")
  let collector = GarbageCollector(context: context, queue: queue)
  for resource in context.settings.resources { collector.follow(resource) }
  let definitions = context.definitions
  let registration = definitions.onChange { changes in
    for change in changes {
      let before = change.old.flatMap { TrackedResource($0) }
      let now = change.isDeletion ? nil : change.new.flatMap { TrackedResource($0) }
      if let before, before != now { collector.forget(before) }
      if let now, before != now { collector.follow(now) }
    }
  }
  return Controller(
    "garbage_collector", context, queue: queue, registrations: [registration],
    resync: { collector.queueAll() }
  ) { item in try await collector.reconcile(item) }
}

extension JSON {
  /// It was deleted in the foreground: what it owns goes first.
  fileprivate var isWaitingForDependents: Bool {
    isTerminating && finalizers.contains("foregroundDeletion")
  }
}

extension ObjectChange {
  /// A Lease that says again what it said: of thousands of nodes hundreds come each second.
  fileprivate var isHeartbeat: Bool {
    guard let old, let new else { return false }
    return old.ownerReferences == new.ownerReferences && !new.isTerminating
  }
}

private final class GarbageCollector: Sendable {
  private struct Followed {
    var tracked: TrackedResource
    var informer: Informer
    var registration: InformerRegistration?
  }
  let context: ControllerContext
  private let queue: WorkQueue<TrackedObject>
  private let followed = Mutex<[GroupVersionResource: Followed]>([:])

  init(context: ControllerContext, queue: WorkQueue<TrackedObject>) {
    self.context = context
    self.queue = queue
  }

  /// Begins to follow a kind. Events come and go by themselves, and so do Leases but those of nodes, which are followed already.
  func follow(_ tracked: TrackedResource) {
    let resource = tracked.resource
    guard resource != .events, followed.withLock({ $0[resource] == nil }) else { return }
    let informer =
      resource == .leases
      ? context.informers.informer(resource, namespace: "kube-node-lease")
      : context.informers.informer(resource)
    followed.withLock { $0[resource] = Followed(tracked: tracked, informer: informer) }
    // Told after it is known: the handler looks itself up.
    let registration = informer.onChange { [weak self] changes in self?.note(changes, of: resource) }
    followed.withLock { $0[resource]?.registration = registration }
  }

  func forget(_ tracked: TrackedResource) {
    let gone = followed.withLock { $0.removeValue(forKey: tracked.resource) }
    if gone != nil { context.informers.forget(tracked.resource) }
  }

  private func note(_ changes: [ObjectChange], of resource: GroupVersionResource) {
    for change in changes {
      if resource == .leases, change.isHeartbeat { continue }
      if change.isDeletion {
        // Whatever named it as its owner may be garbage now.
        for dependent in dependents(of: change.object.uid) { queue.add(dependent) }
        for owner in waitingOwners(of: change.object) { queue.add(owner) }
      } else if !change.object.ownerReferences.isEmpty || change.object.isTerminating {
        queue.add(TrackedObject(resource: resource, key: change.key))
      }
      if let old = change.old, let new = change.new, old.ownerReferences != new.ownerReferences {
        // Who waited for it may have nothing left to wait for.
        for owner in waitingOwners(of: old) { queue.add(owner) }
      }
    }
  }

  func queueAll() {
    for (resource, entry) in followed.withLock({ $0 }) {
      for key in entry.informer.snapshot.keys { queue.add(TrackedObject(resource: resource, key: key)) }
    }
  }

  private var byResource: [GroupVersionResource: Informer] {
    followed.withLock { $0.mapValues(\.informer) }
  }

  private func tracked(group: String, kind: String) -> TrackedResource? {
    followed.withLock { followed in
      followed.values.first { $0.tracked.resource.group == group && $0.tracked.kind == kind }?.tracked
    }
  }

  private func informer(_ resource: GroupVersionResource) -> Informer? {
    followed.withLock { $0[resource]?.informer }
  }

  func dependents(of uid: String) -> [TrackedObject] {
    byResource.flatMap { resource, informer in
      informer.objects(.owner, uid).map { TrackedObject(resource: resource, key: $0.key) }
    }
  }

  /// Owners that are being deleted and may have waited for this dependent.
  func waitingOwners(of object: JSON) -> [TrackedObject] {
    object.ownerReferences.compactMap { reference in
      guard let (resource, key) = location(reference, namespace: object.namespace),
        informer(resource.resource)?[key]?.isTerminating == true
      else { return nil }
      return TrackedObject(resource: resource.resource, key: key)
    }
  }

  private func location(_ reference: JSON, namespace: String) -> (TrackedResource, ObjectKey)? {
    let version = reference["apiVersion"]?.string ?? ""
    let group = version.contains("/") ? String(version.prefix { $0 != "/" }) : ""
    guard let resource = tracked(group: group, kind: reference["kind"]?.string ?? "") else { return nil }
    return (resource, ObjectKey(resource.isNamespaced ? namespace : "", reference["name"]?.string ?? ""))
  }

  func reconcile(_ item: TrackedObject) async throws -> Duration? {
    guard let object = informer(item.resource)?[item.key] else { return nil }
    if object.isTerminating {
      if object.finalizers.contains("foregroundDeletion") { try await deleteDependents(of: object, item) }
      if object.finalizers.contains("orphan") { try await orphanDependents(of: object, item) }
      return nil
    }
    var gone: Set<String> = []
    for reference in object.ownerReferences where try await isGone(reference, of: object) {
      gone.insert(reference["uid"]?.string ?? "")
    }
    switch planGarbage(object, isGone: { gone.contains($0["uid"]?.string ?? "") }) {
    case .keep: break
    case .delete:
      context.logger.debug(
        "deleting object without owner", metadata: ["resource": "\(item.resource)", "key": "\(item.key)"])
      // The last policy someone asked for this object by lives on as its finalizer; background otherwise. Only
      // the version judged here goes: the informer may not yet show that references were taken off (orphaning).
      var options = DeleteOptions(propagationPolicy: "Background", uid: object.uid)
      options.resourceVersion = object.resourceVersion
      try await context.api.deleteIfPresent(item.resource, item.key, options: options)
    case .keepReferences(let references):
      var changed = object
      changed.set(.array(references), at: "metadata", "ownerReferences")
      _ = try await context.api.update(item.resource, changed, subresource: nil, options: context.options)
    }
    return nil
  }

  /// The informer's word is enough to keep; to delete, the API is asked: the informer of the owner may be
  /// behind.
  private func isGone(_ reference: JSON, of object: JSON) async throws -> Bool {
    guard let (resource, key) = location(reference, namespace: object.namespace) else { return false }
    let uid = reference["uid"]?.string ?? ""
    if informer(resource.resource)?[key]?.uid == uid { return false }
    do {
      let owner = try await context.api.get(resource.resource, namespace: key.namespace, name: key.name)
      return owner.uid != uid
    } catch let error as APIStatusError where error.isNotFound { return true }
  }

  private func deleteDependents(of owner: JSON, _ item: TrackedObject) async throws {
    var blocking = 0
    for dependent in dependents(of: owner.uid) {
      guard let object = informer(dependent.resource)?[dependent.key] else { continue }
      let reference = object.ownerReferences.first { $0["uid"]?.string == owner.uid }
      if reference?["blockOwnerDeletion"]?.bool == true { blocking += 1 }
      if object.isTerminating { continue }
      let keepers = try await others(than: owner, of: object)
      if !keepers.isEmpty {
        // Somebody else still wants it: it leaves this owner, and so no longer holds it up.
        try await changeReferences(dependent) { _ in keepers }
        continue
      }
      if isInCircle(object) {
        // Each would wait for the next for ever: this one lets its owner go first.
        try await changeReferences(dependent) { references in
          references.map { reference in
            var free = reference
            free["blockOwnerDeletion"] = false
            return free
          }
        }
      }
      try await context.api.deleteIfPresent(
        dependent.resource, dependent.key,
        options: DeleteOptions(propagationPolicy: "Foreground", uid: object.uid))
    }
    if blocking == 0 { try await removeFinalizer("foregroundDeletion", item) }
  }

  /// References to owners that exist and do not wait for this object to go.
  private func others(than owner: JSON, of object: JSON) async throws -> [JSON] {
    var found: [JSON] = []
    for reference in object.ownerReferences where reference["uid"]?.string != owner.uid {
      if try await isGone(reference, of: object) { continue }
      if let (resource, key) = location(reference, namespace: object.namespace),
        informer(resource.resource)?[key]?.isWaitingForDependents == true
      {
        continue
      }
      found.append(reference)
    }
    return found
  }

  /// Whether something that this object owns waits for its dependents already: the circle's beginning.
  private func isInCircle(_ object: JSON) -> Bool {
    dependents(of: object.uid).contains {
      informer($0.resource)?[$0.key]?.isWaitingForDependents == true
    }
  }

  private func changeReferences(_ item: TrackedObject, _ change: ([JSON]) -> [JSON]) async throws {
    do {
      try await context.api.modify(item.resource, item.key) { current in
        var changed = current
        let references = change(current.ownerReferences)
        changed.set(references.isEmpty ? nil : .array(references), at: "metadata", "ownerReferences")
        return changed == current ? nil : changed
      }
    } catch let error as APIStatusError where error.isNotFound {}
  }

  /// Dependents also by the word of the API, where an informer may be behind the owner's deletion: whoever is missed here
  /// keeps its reference, and is garbage as soon as the owner is gone.
  private func allDependents(of owner: JSON) async throws -> Set<TrackedObject> {
    var found = Set(dependents(of: owner.uid))
    let deletion = UInt64(owner.resourceVersion) ?? .max
    for entry in followed.withLock({ Array($0.values) }) {
      let resource = entry.tracked.resource
      if let seen = UInt64(entry.informer.snapshot.resourceVersion), seen >= deletion { continue }
      if !owner.namespace.isEmpty, !entry.tracked.isNamespaced { continue }
      let objects = try await context.api.list(
        resource, namespace: owner.namespace, options: ListOptions()
      ).items
      for object in objects where object.ownerReferences.contains(where: { $0["uid"]?.string == owner.uid }) {
        found.insert(TrackedObject(resource: resource, key: object.key))
      }
    }
    return found
  }

  private func orphanDependents(of owner: JSON, _ item: TrackedObject) async throws {
    for dependent in try await allDependents(of: owner) {
      do {
        try await context.api.modify(dependent.resource, dependent.key) { current in
          var changed = current
          let rest = current.ownerReferences.filter { $0["uid"]?.string != owner.uid }
          changed.set(rest.isEmpty ? nil : .array(rest), at: "metadata", "ownerReferences")
          return changed
        }
      } catch let error as APIStatusError where error.isNotFound {}
    }
    try await removeFinalizer("orphan", item)
  }

  private func removeFinalizer(_ name: String, _ item: TrackedObject) async throws {
    do {
      try await context.api.modify(item.resource, item.key) { current in
        guard current.finalizers.contains(name) else { return nil }
        var changed = current
        let rest = current.finalizers.filter { $0 != name }
        changed.set(rest.isEmpty ? nil : JSON(rest), at: "metadata", "finalizers")
        return changed
      }
    } catch let error as APIStatusError where error.isNotFound {}
  }
}
