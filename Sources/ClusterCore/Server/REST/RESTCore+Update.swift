// Replacing and changing: read, merged, admitted, written, and again when somebody else was first.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

extension RESTCore {
  func update(
    _ kind: ResourceKind, namespace: String, name: String, _ body: JSON, part: Part, options: WriteOptions,
    identity: Identity
  ) async throws -> Written {
    var object = body
    try check(kind, &object, namespace: namespace)
    if object.name.isEmpty {
      object.set(JSON(name), at: "metadata", "name")
    } else if object.name != name {
      throw Failure.badRequest(
        "the name of the object (\(object.name)) does not match the name on the URL (\(name))")
    }
    let wanted = object
    return try await change(
      kind, namespace: namespace, name: name, part: part, options: options, identity: identity
    ) { _ in (wanted, []) }
  }

  /// Reads, has `make` say what the object should be, and writes it; again, with admission, when somebody else
  /// wrote in between. `view` is what admission sees in place of the object.
  func change(
    _ kind: ResourceKind, namespace: String, name: String, part: Part, options: WriteOptions,
    identity: Identity, isApply: Bool = false, view: AdmissionView? = nil,
    make: (JSON) throws -> (JSON, [String])
  ) async throws -> Written {
    let key = Self.key(kind, namespace, name)
    var contest = await WriteTurns.Contest(turns, key: key)
    var current = try await get(kind, namespace: namespace, name: name)
    repeat {
      var (wanted, warnings) = try make(current.tree)
      if !wanted.resourceVersion.isEmpty, wanted.resourceVersion != String(current.revision) {
        throw Failure.conflict(kind, name)
      }
      if !wanted.uid.isEmpty, wanted.uid != current.tree.uid {
        throw Failure.conflict(
          kind, name,
          "Precondition failed: UID in precondition: \(wanted.uid), UID in object meta: \(current.tree.uid)")
      }
      var object = merge(kind, old: current.tree, new: wanted, part: part)
      if !isApply {
        if let manager = options.fieldManager, part != .finalize {
          kind.trackUpdate(
            &object, old: current.tree, manager: manager, subresource: part == .main ? "" : part.subresource,
            now: .now)
        } else {
          object.set(current.tree.at("metadata", "managedFields"), at: "metadata", "managedFields")
        }
      } else if part != .main {
        object.set(wanted.at("metadata", "managedFields"), at: "metadata", "managedFields")
      }
      var request = AdmissionRequest(operation: .update, kind: kind, identity: identity)
      request.namespace = namespace
      request.name = name
      request.options = .write(options)
      request.isDryRun = options.dryRun
      request.subresource = part.subresource
      try await admitUpdate(&request, &object, old: current.tree, part: part, view: view)
      warnings += request.warnings
      if options.dryRun {
        request.rollBack()
        return Written(
          object: CachedObject(key: key, revision: current.revision, tree: object), warnings: warnings)
      }
      if object == current.tree {
        request.rollBack()
        return Written(object: current, warnings: warnings)
      }
      let form: WrittenForm
      do { form = try await storedForm(object, kind) } catch {
        request.rollBack()
        throw error
      }
      do throws(StoreError) {
        let isFinished = object.isTerminating && object.finalizers.isEmpty && isReadyToGo(kind, object)
        if isFinished {
          let revision = try await store.delete(key, expecting: current.revision)
          request.finish()
          services.release(of: current.tree)
          await settle(kind, revision)
          return Written(object: CachedObject(key: key, revision: revision, tree: object), warnings: warnings)
        }
        cache(kind).expect(form, key)
        let revision = try await store.update(key, form.bytes, expecting: current.revision)
        request.finish()
        await settle(kind, revision)
        let more = part == .main ? kind.writeWarnings(object) : []
        return Written(
          object: Self.served(form, object, kind, key, revision), warnings: warnings + more)
      } catch {
        request.rollBack()
        cache(kind).forget(form, key)
        switch error {
        case .conflict(let stored):
          if !wanted.resourceVersion.isEmpty { throw Failure.conflict(kind, name) }
          guard let newer = CachedObject(stored) else { throw Failure.store(error) }
          current = try await served(newer, as: kind)
        case .claimed(let claim, _): services.adopt(ServiceClaims(name: claim))
        case .notFound: throw Failure.notFound(kind, name)
        default: throw Failure.store(error)
        }
      }
    } while await contest.lost()
    throw Failure.conflict(kind, name)
  }

  /// Both turns of admission with the schema's validation between them.
  private func admitUpdate(
    _ request: inout AdmissionRequest, _ object: inout JSON, old: JSON, part: Part, view: AdmissionView?
  ) async throws {
    let kind = request.kind
    if let view {
      request.subresource = view.subresource
      request.subresourceKind = view.kind
      request.object = view.show(object)
      request.old = view.show(old)
      try await admission.admit(&request)
      if let shown = request.object { view.take(shown, &object) }
    } else {
      request.object = object
      request.old = old
      try await admission.admit(&request)
      if let changed = request.object { object = changed }
    }
    let managed = object.at("metadata", "managedFields")
    object = merge(kind, old: old, new: object, part: part)
    object.set(managed, at: "metadata", "managedFields")
    if part == .resize, kind.countsGenerations, object["spec"] != old["spec"] {
      object.set(JSON(old.generation + 1), at: "metadata", "generation")
    }
    if view == nil { request.object = object } else { request.object = view?.show(object) }
    do {
      try validate(kind, object, old: old, part: part)
    } catch {
      request.rollBack()
      throw error
    }
    try await admission.validate(&request)
  }

  /// Whether nothing but finalizers kept a terminating object.
  func isReadyToGo(_ kind: ResourceKind, _ object: JSON) -> Bool {
    switch kind.kind {
    case "Namespace": object.at("spec", "finalizers")?.elements.isEmpty ?? true
    case "Pod": object.at("metadata", "deletionGracePeriodSeconds")?.integer ?? 0 == 0
    default: true
    }
  }
}
