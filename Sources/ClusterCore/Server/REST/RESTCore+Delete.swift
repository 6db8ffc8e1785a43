// Deleting: at once, or when finalizers and the grace period allow it.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

/// What a delete answers.
enum Deleted: Sendable {
  case gone(CachedObject)
  /// Still there, terminating.
  case terminating(CachedObject)
}

extension RESTCore {
  func delete(
    _ kind: ResourceKind, namespace: String, name: String, options: DeleteOptions, dryRun: Bool = false,
    identity: Identity, admits: Bool = true
  ) async throws -> Deleted {
    let key = Self.key(kind, namespace, name)
    var contest = await WriteTurns.Contest(turns, key: key)
    var current = try await get(kind, namespace: namespace, name: name)
    repeat {
      if let uid = options.uid, uid != current.tree.uid {
        throw Failure.conflict(
          kind, name,
          "Precondition failed: UID in precondition: \(uid), UID in object meta: \(current.tree.uid)")
      }
      if let version = options.resourceVersion, version != String(current.revision) {
        throw Failure.conflict(
          kind, name,
          "Precondition failed: ResourceVersion in precondition: \(version), ResourceVersion in object meta: "
            + "\(current.revision)")
      }
      if admits {
        var request = AdmissionRequest(operation: .delete, kind: kind, identity: identity)
        request.namespace = namespace
        request.name = name
        request.old = current.tree
        request.options = .delete(options)
        request.isDryRun = dryRun
        try await admission.run(&request)
        request.finish()
      }
      let object = planDeletion(kind, current.tree, options)
      var bytes: [UInt8] = []
      if let object, !dryRun { bytes = try await storedForm(object, kind).bytes }
      do throws(StoreError) {
        guard let object else {
          if dryRun { return .gone(current) }
          let revision = try await store.delete(key, expecting: current.revision)
          services.release(of: current.tree)
          await settle(kind, revision)
          return .gone(CachedObject(key: key, revision: revision, tree: current.tree))
        }
        if dryRun || object == current.tree { return .terminating(current) }
        let revision = try await store.update(key, bytes, expecting: current.revision)
        await settle(kind, revision)
        return .terminating(CachedObject(key: key, revision: revision, tree: object))
      } catch {
        switch error {
        case .conflict(let stored):
          guard let newer = CachedObject(stored) else { throw Failure.store(error) }
          current = try await served(newer, as: kind)
        case .notFound: throw Failure.notFound(kind, name)
        default: throw Failure.store(error)
        }
      }
    } while await contest.lost()
    throw Failure.conflict(kind, name)
  }

  /// The object on its way out; nil when it goes at once.
  private func planDeletion(_ kind: ResourceKind, _ old: JSON, _ options: DeleteOptions) -> JSON? {
    var object = old
    var finalizers = object.finalizers.filter { $0 != "orphan" && $0 != "foregroundDeletion" }
    switch options.propagationPolicy {
    case "Orphan": finalizers.append("orphan")
    case "Foreground": finalizers.append("foregroundDeletion")
    case nil: finalizers = object.finalizers
    default: break
    }
    if finalizers != object.finalizers {
      object.set(finalizers.isEmpty ? .none : JSON(finalizers), at: "metadata", "finalizers")
    }
    let grace = gracePeriod(kind, old, options)
    let already = old.isTerminating ? old.at("metadata", "deletionGracePeriodSeconds")?.integer ?? 0 : nil
    if let already, already <= grace, finalizers == old.finalizers {
      // Nothing shortens what is under way; a zero grace may finish it.
      if grace > 0 || already > 0 || !finalizers.isEmpty || !isReadyToGo(kind, old) { return old }
    }
    object.set(
      JSON(Timestamp.text(seconds: Timestamp.now().seconds + grace)), at: "metadata", "deletionTimestamp")
    object.set(JSON(min(grace, already ?? grace)), at: "metadata", "deletionGracePeriodSeconds")
    if kind.countsGenerations, already == nil {
      object.set(JSON(old.generation + 1), at: "metadata", "generation")
    }
    if kind.gvk == CustomResourceDefinition.gvk, already == nil {
      // Its objects go first.
      finalizers.append(CustomResourceDefinition.finalizer)
      object.set(JSON(finalizers), at: "metadata", "finalizers")
    }
    if kind.kind == "Namespace" { object.set("Terminating", at: "status", "phase") }
    if finalizers.isEmpty, grace == 0, isReadyToGo(kind, object) { return nil }
    return object
  }

  private func gracePeriod(_ kind: ResourceKind, _ object: JSON, _ options: DeleteOptions) -> Int64 {
    guard kind.kind == "Pod", kind.group.isEmpty else { return 0 }
    let isPlaced = !(object.at("spec", "nodeName")?.string ?? "").isEmpty
    let phase = object.at("status", "phase")?.string ?? ""
    // Nobody runs it, so nobody has to stop it.
    if !isPlaced || phase == "Succeeded" || phase == "Failed" { return 0 }
    if let asked = options.gracePeriodSeconds { return Int64(max(0, asked)) }
    return max(0, object.at("spec", "terminationGracePeriodSeconds")?.integer ?? 30)
  }

  /// Deletes what a list would show. Objects that went meanwhile are passed over.
  func deleteCollection(
    _ kind: ResourceKind, namespace: String, list options: ListOptions, delete: DeleteOptions, dryRun: Bool,
    identity: Identity
  ) async throws -> Page {
    let page = try await list(kind, namespace: namespace, options: options)
    for object in page.objects {
      do {
        _ = try await self.delete(
          kind, namespace: object.namespace, name: object.name, options: delete, dryRun: dryRun,
          identity: identity)
      } catch let error as APIStatusError where error.isNotFound {}
    }
    return page
  }
}
