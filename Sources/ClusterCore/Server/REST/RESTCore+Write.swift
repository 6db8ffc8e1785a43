// Creating and replacing.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

/// What a write answers: the object, whether it is new, and warnings for the client.
struct Written: Sendable {
  var object: CachedObject
  var isNew = false
  var warnings: [String] = []
}

/// Which part of an object a write may change.
enum Part: Sendable, Equatable {
  case main
  case status
  /// Everything but what identifies the object: the server's own writes and `/finalize`.
  case finalize
  /// A pod's containers for debugging.
  case ephemeralContainers
  /// A pod's resources.
  case resize
  /// The verdict on a request for a certificate.
  case approval

  /// As the path names it; empty for the object itself.
  var subresource: String {
    switch self {
    case .main: ""
    case .status: "status"
    case .finalize: "finalize"
    case .ephemeralContainers: "ephemeralcontainers"
    case .resize: "resize"
    case .approval: "approval"
    }
  }
}

extension ResourceKind {
  var isCertificateRequest: Bool { kind == "CertificateSigningRequest" && group == "certificates.k8s.io" }
}

/// What admission sees of an object that is written as something else, such as its Scale.
struct AdmissionView {
  var subresource: String
  var kind: GroupVersionKind
  var show: (JSON) -> JSON
  var take: (JSON, inout JSON) -> Void
}

/// Another server's Service holds what was chosen for this one.
struct ClaimTaken: Error { var name: String }

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
  private func check(_ kind: ResourceKind, _ object: inout JSON, namespace: String) throws {
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

  /// The old object with the new one's changes, as far as the part allows them.
  private func merge(_ kind: ResourceKind, old: JSON, new: JSON, part: Part) -> JSON {
    var object = new
    object["apiVersion"] = JSON(kind.apiVersion)
    object["kind"] = JSON(kind.kind)
    var metadata = new.metadata.object == nil ? [:] : new.metadata
    for field in [
      "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
      "generation", "generateName", "resourceVersion",
    ] { metadata[field] = old.metadata[field] }
    switch part {
    case .status where kind.isCertificateRequest, .approval:
      object = old
      object["status"] = new["status"]
      CertificateStrategy.prepareForUpdate(&object, old: old, part: part.subresource, now: .now)
      return Self.ordered(object)
    case .status:
      object = old
      object["status"] = new["status"]
      kind.applyDefaults(&object)
      return Self.ordered(object)
    case .finalize:
      object["metadata"] = metadata
      object["status"] = old["status"]
      return Self.ordered(object)
    case .ephemeralContainers:
      object = old
      object.set(new.at("spec", "ephemeralContainers"), at: "spec", "ephemeralContainers")
      kind.applyDefaults(&object)
      return Self.ordered(object)
    case .resize:
      object = old
      for list in ["containers", "initContainers"] {
        var containers = old.at("spec", list)?.elements ?? []
        for index in containers.indices {
          guard
            let wanted = new.at("spec", list)?.elements.first(where: {
              $0["name"] == containers[index]["name"]
            })
          else { continue }
          containers[index]["resources"] = wanted["resources"]
          containers[index]["resizePolicy"] = wanted["resizePolicy"]
        }
        if !containers.isEmpty { object.set(.array(containers), at: "spec", list) }
      }
      kind.applyDefaults(&object)
      return Self.ordered(object)
    case .main: break
    }
    object["metadata"] = metadata
    kind.applyDefaults(&object)
    kind.prepareForUpdate(&object, old: old)
    if kind.isCertificateRequest { object["spec"] = old["spec"] }
    ObjectStrategy.normalize(kind, &object)
    return Self.ordered(object)
  }

  // MARK: Form

  /// What is answered: the object as it was written. What is stored is what is served, for most kinds; then the watch cache
  /// shows the very same.
  private static func served(
    _ form: WrittenForm, _ object: JSON, _ kind: ResourceKind, _ key: String, _ revision: Revision
  ) -> CachedObject {
    kind.isStoredAsServed && kind.custom == nil
      ? form.cached(key, revision) : CachedObject(key: key, revision: revision, tree: object)
  }

  /// Stored objects are of the storage's version and carry no revision: it is the change that stored them.
  static func stored(_ object: JSON, _ kind: ResourceKind) -> JSON {
    var object = kind.stored(object)
    object.set(nil, at: "metadata", "resourceVersion")
    return object
  }

  /// `apiVersion`, `kind`, `metadata`, then the rest in its order.
  static func ordered(_ object: JSON) -> JSON {
    guard let fields = object.object else { return object }
    var out = JSONObject()
    for name in ["apiVersion", "kind", "metadata"] { if let value = fields[name] { out[name] = value } }
    for (name, value) in fields where out[name] == nil { out[name] = value }
    return .object(out)
  }

  /// A random UUID, RFC 9562 version 4.
  static func uid() -> String {
    var generator = SystemRandomNumberGenerator()
    let high = generator.next() & ~0xf000 | 0x4000
    let low = generator.next() & ~(3 << 62) | 1 << 63
    return String(unsafeUninitializedCapacity: 36) { text in
      var position = 0
      for digit in 0..<32 {
        if digit == 8 || digit == 12 || digit == 16 || digit == 20 {
          text[position] = UInt8(ascii: "-")
          position += 1
        }
        let word = digit < 16 ? high : low
        let value = UInt8(truncatingIfNeeded: word >> UInt64(60 - 4 * (digit & 15))) & 0xf
        text[position] = value < 10 ? 48 + value : 87 + value
        position += 1
      }
      return position
    }
  }
}
