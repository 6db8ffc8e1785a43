// Creating: names, admission, the claims of Services, and the write itself.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

extension RESTCore {
  func create(
    _ kind: ResourceKind, namespace: String, _ body: JSON, options: WriteOptions, identity: Identity,
    isApply: Bool = false
  ) async throws -> Written {
    var object = body
    try check(kind, &object, namespace: namespace)
    if !object.resourceVersion.isEmpty {
      throw APIStatusError(
        code: 500, reason: "", message: "resourceVersion should not be set on objects to be created")
    }
    var tries = 0
    let isGenerated = object.name.isEmpty
    let base = object.at("metadata", "generateName")?.string ?? ""
    if isGenerated, base.isEmpty {
      throw Failure.invalid(
        kind, "", [FieldError.required("metadata.name", "name or generateName is required")])
    }
    while true {
      var attempt = object
      if isGenerated { attempt.set(JSON(Names.generate(from: base)), at: "metadata", "name") }
      do {
        return try await createNamed(
          kind, &attempt, options: options, identity: identity, isApply: isApply)
      } catch let error as APIStatusError where error.isAlreadyExists && isGenerated && tries < 7 {
        tries += 1
      } catch let error as ClaimTaken where tries < 64 {
        // Another server was quicker: choose again, knowing that.
        services.adopt(ServiceClaims(name: error.name))
        tries += 1
      }
    }
  }

  private func createNamed(
    _ kind: ResourceKind, _ object: inout JSON, options: WriteOptions, identity: Identity, isApply: Bool
  ) async throws -> Written {
    let name = object.name
    if let custom = kind.custom, custom.isTerminating {
      throw APIStatusError(
        code: 405, reason: "MethodNotAllowed",
        message: "create not allowed while custom resource definition is terminating",
        details: Failure.details(kind, name))
    }
    if kind.hasStatus, !kind.keepsStatusOnCreate { object["status"] = nil }
    let kept = [
      "name", "generateName", "namespace", "labels", "annotations", "ownerReferences", "finalizers",
      "managedFields",
    ]
    var metadata: JSON = [:]
    for field in kept { if let value = object.metadata[field] { metadata[field] = value } }
    metadata["uid"] = JSON(Self.uid())
    metadata["creationTimestamp"] = JSON(Timestamp.nowText())
    object["metadata"] = metadata
    kind.applyDefaults(&object)
    if kind.isCertificateRequest {
      CertificateStrategy.prepareForCreate(
        &object, user: identity.user, uid: identity.uid, groups: identity.groups, extra: identity.extra)
    }
    kind.prepareForCreate(&object)
    ObjectStrategy.normalize(kind, &object)
    if !isApply {
      object.set(nil, at: "metadata", "managedFields")
      if let manager = options.fieldManager {
        kind.trackUpdate(&object, old: nil, manager: manager, now: .now)
      }
    }
    var request = AdmissionRequest(operation: .create, kind: kind, identity: identity)
    request.namespace = object.namespace
    request.name = name
    request.options = .write(options)
    request.isDryRun = options.dryRun
    request.object = object
    try await admission.admit(&request)
    object = Self.ordered(Self.keepingIdentity(kind, request.object ?? object, object))
    request.object = object
    do {
      try validate(kind, object, old: nil)
    } catch {
      request.rollBack()
      throw error
    }
    try await admission.validate(&request)
    do {
      let key = Self.key(kind, object.namespace, name)
      if options.dryRun {
        try await caches.requireCaughtUp()
        if cache(kind)[key] != nil { throw Failure.alreadyExists(kind, name) }
        request.rollBack()
        return Written(
          object: CachedObject(key: key, revision: caches.revision, tree: object), isNew: true,
          warnings: request.warnings)
      }
      let form = try await storedForm(object, kind)
      let cache = cache(kind)
      cache.expect(form, key)
      do throws(StoreError) {
        let revision = try await store.create(key, form.bytes)
        request.finish()
        await settle(kind, revision)
        return Written(
          object: Self.served(form, object, kind, key, revision), isNew: true,
          warnings: request.warnings + kind.writeWarnings(object))
      } catch {
        cache.forget(form, key)
        switch error {
        case .exists: throw Failure.alreadyExists(kind, name)
        case .claimed(let claim, _): throw ClaimTaken(name: claim)
        default: throw Failure.store(error)
        }
      }
    } catch {
      request.rollBack()
      throw error
    }
  }

  /// Plugins may not change who an object is, nor its status.
  private static func keepingIdentity(_ kind: ResourceKind, _ admitted: JSON, _ before: JSON) -> JSON {
    var object = admitted
    let (was, now) = (before.metadata, admitted.metadata)
    for field in ["name", "namespace", "uid", "creationTimestamp", "generation"]
    where now[field] != was[field] {
      object.set(was[field], at: "metadata", field)
    }
    guard kind.hasStatus, !kind.keepsStatusOnCreate else { return object }
    object["status"] = before["status"]
    if kind.kind == "Pod", kind.group.isEmpty {
      object.set(JSON(PodQuality.of(object)), at: "status", "qosClass")
    }
    return object
  }

  /// A writer of what admission reads is answered when admission sees it.
  func settle(_ kind: ResourceKind, _ revision: Revision) async {
    if admission.isConfiguration(kind) { _ = await caches.wait(for: revision) }
  }

  /// Fills `apiVersion`, `kind` and `namespace` in, and checks that the body says nothing else.
  func check(_ kind: ResourceKind, _ object: inout JSON, namespace: String) throws {
    let apiVersion = object.apiVersion
    if !apiVersion.isEmpty, apiVersion != kind.apiVersion {
      throw Failure.badRequest(
        "the API version in the data (\(apiVersion)) does not match the expected API version (\(kind.apiVersion))"
      )
    }
    if !object.kind.isEmpty, object.kind != kind.kind {
      throw Failure.badRequest(
        "the object provided is unrecognized (expected kind \(kind.kind), got \(object.kind))")
    }
    object["apiVersion"] = JSON(kind.apiVersion)
    object["kind"] = JSON(kind.kind)
    guard kind.isNamespaced else {
      object.set(nil, at: "metadata", "namespace")
      return
    }
    if object.namespace.isEmpty {
      object.set(JSON(namespace.isEmpty ? "default" : namespace), at: "metadata", "namespace")
    } else if !namespace.isEmpty, object.namespace != namespace {
      throw Failure.badRequest(
        "the namespace of the provided object does not match the namespace sent on the request")
    }
  }
}
