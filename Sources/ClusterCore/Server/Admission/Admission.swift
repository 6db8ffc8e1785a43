// What happens to every object before it is stored, whoever writes it: the namespace is checked, defaults that depend on other
// objects are filled in, addresses are taken.

import ClusterClient
import ClusterObjects
import Diagnostics

/// What admission took for an object, to be given back when the write fails.
struct Admitted: Sendable {
  /// Taken for the new state.
  var taken = ServiceClaims()
  /// Held by the old state and no longer wanted, given back when the write is durable.
  var dropped = ServiceClaims()

  func release(_ services: ServiceAllocator) { services.release(taken) }
  func settle(_ services: ServiceAllocator) { services.release(dropped) }
}

extension RESTCore {
  /// The namespace must exist, and take new objects.
  func admitNamespace(_ kind: ResourceKind, _ object: JSON) async throws {
    guard kind.isNamespaced, let namespaces = registry[.namespaces] else { return }
    let name = object.namespace
    let key = Self.key(namespaces, "", name)
    var found = cache(namespaces)[key]
    if found == nil {
      await caches.catchUp()
      found = cache(namespaces)[key]
    }
    guard let found else { throw Failure.notFound(namespaces, name) }
    if found.tree.isTerminating {
      throw Failure.forbidden(
        kind, object.name, "unable to create new content in namespace \(name) because it is being terminated",
        cause: [
          "reason": "NamespaceTerminating", "message": JSON("namespace \(name) is being terminated"),
          "field": "metadata.namespace",
        ])
    }
  }

  func admitCreate(_ kind: ResourceKind, _ object: inout JSON) throws -> Admitted {
    switch (kind.group, kind.kind) {
    case ("", "Pod"): admitPod(&object)
    case ("", "Namespace"):
      object.set(["kubernetes"], at: "spec", "finalizers")
      object.set("Active", at: "status", "phase")
      object.set(JSON(object.name), at: "metadata", "labels", "kubernetes.io/metadata.name")
    case ("", "Secret"): Self.foldStringData(&object)
    case ("", "Service"):
      var admitted = Admitted()
      admitted.taken = try services.admit(kind, &object, old: nil).taken
      return admitted
    default: break
    }
    return Admitted()
  }

  func admitUpdate(_ kind: ResourceKind, _ object: inout JSON, old: JSON) throws -> Admitted {
    switch (kind.group, kind.kind) {
    case ("", "Secret"): Self.foldStringData(&object)
    case ("", "Namespace"):
      object.set(old.at("spec", "finalizers"), at: "spec", "finalizers")
      object.set(JSON(object.name), at: "metadata", "labels", "kubernetes.io/metadata.name")
    case ("", "Service"): return try services.admit(kind, &object, old: old)
    default: break
    }
    return Admitted()
  }

  private func admitPod(_ pod: inout JSON) {
    let account = pod.at("spec", "serviceAccountName")?.string ?? ""
    let name = account.isEmpty ? "default" : account
    pod.set(JSON(name), at: "spec", "serviceAccountName")
    pod.set(JSON(name), at: "spec", "serviceAccount")
    if pod.at("spec", "priority") == nil { pod.set(0, at: "spec", "priority") }
    if pod.at("spec", "preemptionPolicy") == nil {
      pod.set("PreemptLowerPriority", at: "spec", "preemptionPolicy")
    }
    // A node that is not ready or not reachable keeps its pods for five minutes.
    var tolerations = pod.at("spec", "tolerations")?.elements ?? []
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
      let isTolerated = tolerations.contains { toleration in
        let effect = toleration["effect"]?.string ?? ""
        let tolerated = toleration["key"]?.string ?? ""
        return (tolerated == key || tolerated.isEmpty) && (effect.isEmpty || effect == "NoExecute")
      }
      if isTolerated { continue }
      tolerations.append([
        "key": JSON(key), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
      ])
    }
    pod.set(.array(tolerations), at: "spec", "tolerations")
    pod["status"] = ["phase": "Pending", "qosClass": JSON(Self.qosClass(pod))]
  }

  /// Guaranteed: every container has cpu and memory limits equal to its requests. BestEffort: none has any.
  static func qosClass(_ pod: JSON) -> String {
    var isGuaranteed = true
    var hasAny = false
    let spec = pod.spec
    for container in (spec["containers"]?.elements ?? []) + (spec["initContainers"]?.elements ?? []) {
      for resource in ["cpu", "memory"] {
        let limit = container.at("resources", "limits", resource).flatMap { Quantity($0) }
        let request = container.at("resources", "requests", resource).flatMap { Quantity($0) } ?? limit
        if let request, !request.isZero { hasAny = true }
        if let limit, !limit.isZero { hasAny = true }
        if limit == nil || limit != request { isGuaranteed = false }
      }
    }
    return hasAny ? (isGuaranteed ? "Guaranteed" : "Burstable") : "BestEffort"
  }

  private static func foldStringData(_ secret: inout JSON) {
    guard let plain = secret["stringData"]?.object else { return }
    for (name, value) in plain {
      secret.set(JSON(Base64.encode(Array((value.string ?? "").utf8))), at: "data", name)
    }
    secret["stringData"] = nil
  }

  /// Checks that hold for every kind. What a kind demands of its own fields its schema says.
  func validate(_ kind: ResourceKind, _ object: JSON, old: JSON?) throws {
    var errors: [FieldError] = []
    if old == nil {
      let problem =
        kind.kind == "Namespace"
        ? Names.labelProblem(object.name)
        : kind.kind == "Service" ? Names.label1035Problem(object.name) : Names.subdomainProblem(object.name)
      if let problem { errors.append(.invalid("metadata.name", JSON(object.name), problem)) }
    }
    for (name, value) in object.labels.sorted(by: { $0.key < $1.key }) {
      if let problem = Names.qualifiedNameProblem(name) {
        errors.append(.invalid("metadata.labels", JSON(name), problem))
      }
      if let problem = Names.labelValueProblem(value) {
        errors.append(.invalid("metadata.labels", JSON(value), problem))
      }
    }
    if let old, kind.group == "apps", old.at("spec", "selector") != object.at("spec", "selector") {
      errors.append(
        .invalid("spec.selector", object.at("spec", "selector") ?? .null, "field is immutable"))
    }
    if kind.group == "apps", let selector = try? LabelSelector(object.at("spec", "selector")),
      !selector.matches(object.at("spec", "template", "metadata", "labels")?.stringMap ?? [:])
    {
      errors.append(
        .invalid(
          "spec.template.metadata.labels", object.at("spec", "template", "metadata", "labels") ?? .null,
          "`selector` does not match template `labels`"))
    }
    if !errors.isEmpty { throw Failure.invalid(kind, object.name, errors) }
  }
}
