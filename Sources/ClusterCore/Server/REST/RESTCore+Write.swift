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
}

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
      }
    }
  }

  private func createNamed(
    _ kind: ResourceKind, _ object: inout JSON, options: WriteOptions, identity: Identity, isApply: Bool
  ) async throws -> Written {
    let name = object.name
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
    try await admitNamespace(kind, object)
    let admitted = try admitCreate(kind, &object)
    kind.prepareForCreate(&object)
    if !isApply {
      object.set(nil, at: "metadata", "managedFields")
      if let manager = options.fieldManager {
        kind.trackUpdate(&object, old: nil, manager: manager, now: .now)
      }
    }
    object = Self.ordered(object)
    do {
      try validate(kind, object, old: nil)
      let key = Self.key(kind, object.namespace, name)
      if options.dryRun {
        await caches.catchUp()
        if cache(kind)[key] != nil { throw Failure.alreadyExists(kind, name) }
        admitted.release(services)
        return Written(object: CachedObject(key: key, revision: caches.revision, tree: object), isNew: true)
      }
      do throws(StoreError) {
        let revision = try await store.create(key, Self.stored(object, kind).bytes)
        return Written(object: CachedObject(key: key, revision: revision, tree: object), isNew: true)
      } catch {
        if case .exists = error { throw Failure.alreadyExists(kind, name) }
        throw Failure.store(error)
      }
    } catch {
      admitted.release(services)
      throw error
    }
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
    return try await change(kind, namespace: namespace, name: name, part: part, options: options) { _ in
      (wanted, [])
    }
  }

  /// Reads, has `make` say what the object should be, and writes it; again when somebody else wrote in
  /// between.
  func change(
    _ kind: ResourceKind, namespace: String, name: String, part: Part, options: WriteOptions,
    isApply: Bool = false, make: (JSON) throws -> (JSON, [String])
  ) async throws -> Written {
    let key = Self.key(kind, namespace, name)
    var current = try await get(kind, namespace: namespace, name: name)
    for _ in 0..<8 {
      let (wanted, warnings) = try make(current.tree)
      if !wanted.resourceVersion.isEmpty, wanted.resourceVersion != String(current.revision) {
        throw Failure.conflict(kind, name)
      }
      if !wanted.uid.isEmpty, wanted.uid != current.tree.uid {
        throw Failure.conflict(
          kind, name,
          "Precondition failed: UID in precondition: \(wanted.uid), UID in object meta: \(current.tree.uid)")
      }
      var (object, admitted) = try merge(kind, old: current.tree, new: wanted, part: part)
      if !isApply {
        if let manager = options.fieldManager, part != .finalize {
          kind.trackUpdate(
            &object, old: current.tree, manager: manager, subresource: part == .status ? "status" : "",
            now: .now)
        } else {
          object.set(current.tree.at("metadata", "managedFields"), at: "metadata", "managedFields")
        }
      } else if part == .status {
        object.set(wanted.at("metadata", "managedFields"), at: "metadata", "managedFields")
      }
      do {
        try validate(kind, object, old: current.tree, part: part)
      } catch {
        admitted.release(services)
        throw error
      }
      if options.dryRun {
        admitted.release(services)
        return Written(
          object: CachedObject(key: key, revision: current.revision, tree: object), warnings: warnings)
      }
      if object == current.tree {
        admitted.release(services)
        return Written(object: current, warnings: warnings)
      }
      do throws(StoreError) {
        let isFinished = object.isTerminating && object.finalizers.isEmpty && isReadyToGo(kind, object)
        if isFinished {
          let revision = try await store.delete(key, expecting: current.revision)
          services.release(of: current.tree)
          return Written(object: CachedObject(key: key, revision: revision, tree: object), warnings: warnings)
        }
        let revision = try await store.update(
          key, Self.stored(object, kind).bytes, expecting: current.revision)
        admitted.settle(services)
        return Written(object: CachedObject(key: key, revision: revision, tree: object), warnings: warnings)
      } catch {
        admitted.release(services)
        switch error {
        case .conflict(let stored):
          if !wanted.resourceVersion.isEmpty { throw Failure.conflict(kind, name) }
          guard let newer = CachedObject(stored) else { throw Failure.store(error) }
          current = newer.served(as: kind)
        case .notFound: throw Failure.notFound(kind, name)
        default: throw Failure.store(error)
        }
      }
    }
    throw Failure.conflict(kind, name)
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
  private func merge(
    _ kind: ResourceKind, old: JSON, new: JSON, part: Part
  ) throws -> (JSON, Admitted) {
    var object = new
    object["apiVersion"] = JSON(kind.apiVersion)
    object["kind"] = JSON(kind.kind)
    var metadata = new.metadata.object == nil ? [:] : new.metadata
    for field in [
      "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
      "generation", "generateName", "resourceVersion",
    ] { metadata[field] = old.metadata[field] }
    switch part {
    case .status:
      object = old
      object["status"] = new["status"]
      kind.applyDefaults(&object)
      return (Self.ordered(object), Admitted())
    case .finalize:
      object["metadata"] = metadata
      object["status"] = old["status"]
      return (Self.ordered(object), Admitted())
    case .main: break
    }
    object["metadata"] = metadata
    if kind.subresource("status") != nil { object["status"] = old["status"] }
    kind.applyDefaults(&object)
    let admitted = try admitUpdate(kind, &object, old: old)
    kind.prepareForUpdate(&object, old: old)
    return (Self.ordered(object), admitted)
  }

  // MARK: Form

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
    var words = [generator.next(), generator.next()] as [UInt64]
    words[0] = words[0] & ~0xf000 | 0x4000
    words[1] = words[1] & ~(3 << 62) | 1 << 63
    let digits = words.map { word in
      let text = String(word, radix: 16)
      return String(repeating: "0", count: 16 - text.count) + text
    }.joined()
    let bytes = Array(digits.utf8)
    let parts = [0..<8, 8..<12, 12..<16, 16..<20, 20..<32]
    return parts.map { String(decoding: bytes[$0], as: UTF8.self) }.joined(separator: "-")
  }
}
