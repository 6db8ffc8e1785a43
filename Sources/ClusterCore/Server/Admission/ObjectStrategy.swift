// What the server itself says of an object, whoever writes it and whatever plugins did: the fields that are
// its own, and the fields that have two ways of being written.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Fields that only the server fills in. Last of the first turn, so that no plugin is seen to set them.
struct ObjectStrategy: AdmissionPlugin {
  let name = "ObjectStrategy"
  let interest = AdmissionInterest.last(
    [GroupResource("", "pods"), GroupResource("", "namespaces"), GroupResource("", "secrets")])

  func admit(_ request: inout AdmissionRequest) async throws {
    guard var object = request.object else { return }
    request.object = nil
    defer { request.object = object }
    Self.normalize(request.kind, &object)
    switch request.kind.plural {
    case "namespaces":
      if let old = request.old {
        object.set(old.at("spec", "finalizers"), at: "spec", "finalizers")
      } else {
        object.set(["kubernetes"], at: "spec", "finalizers")
        object.set("Active", at: "status", "phase")
      }
    case "pods" where request.operation == .create:
      object["status"] = ["phase": "Pending", "qosClass": JSON(PodQuality.of(object))]
    default: break
    }
  }

  /// Before field managers are recorded: what reading does upstream. Secrets' `stringData` becomes `data`, a
  /// Namespace carries its name as a label.
  static func normalize(_ kind: ResourceKind, _ object: inout JSON) {
    guard kind.group.isEmpty else { return }
    switch kind.kind {
    case "Secret": foldStringData(&object)
    case "Namespace":
      if object.name.isEmpty { return }
      object.set(JSON(object.name), at: "metadata", "labels", "kubernetes.io/metadata.name")
    default: break
    }
  }

  private static func foldStringData(_ secret: inout JSON) {
    guard let plain = secret["stringData"]?.object else { return }
    for (name, value) in plain {
      secret.set(JSON(Base64.encode(Array((value.string ?? "").utf8))), at: "data", name)
    }
    secret["stringData"] = nil
  }
}

/// Cluster addresses and node ports: taken last, given back when the write fails.
struct ServiceAllocation: AdmissionPlugin {
  let name = "ServiceAllocation"
  let interest = AdmissionInterest.last([GroupResource("", "services")])
  let services: ServiceAllocator

  func admit(_ request: inout AdmissionRequest) async throws {
    guard var object = request.object else { return }
    let admitted = try services.admit(request.kind, &object, old: request.old)
    request.object = object
    let services = services
    if !admitted.taken.isEmpty { request.undo.append { services.release(admitted.taken) } }
    if !admitted.dropped.isEmpty { request.settle.append { services.release(admitted.dropped) } }
  }
}

/// What admission took for a Service.
struct Admitted: Sendable {
  /// Taken for the new state.
  var taken = ServiceClaims()
  /// Held by the old state and no longer wanted, given back when the write is durable.
  var dropped = ServiceClaims()
}
