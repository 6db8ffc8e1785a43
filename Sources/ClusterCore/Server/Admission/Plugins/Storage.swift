// Claims and volumes: the default class, what may grow, and what stays while it is used.

import ClusterClient
import ClusterObjects

/// A claim that names no class gets the default one.
struct DefaultStorageClass: AdmissionPlugin {
  let name = "DefaultStorageClass"
  let interest = AdmissionInterest.admitting([GroupResource("", "persistentvolumeclaims")], [.create])
  let state: AdmissionState
  private static let marks = [
    "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class",
  ]

  func admit(_ request: inout AdmissionRequest) async throws {
    guard let claim = request.object, claim.at("spec", "storageClassName") == nil,
      claim.annotations["volume.beta.kubernetes.io/storage-class"] == nil,
      let standard = newestDefault(state.objects(.storageClasses), Self.marks)
    else { return }
    request.object?.set(JSON(standard.name), at: "spec", "storageClassName")
  }
}

/// An Ingress that names no class gets the default one.
struct DefaultIngressClass: AdmissionPlugin {
  let name = "DefaultIngressClass"
  let interest = AdmissionInterest.admitting(
    [GroupResource("networking.k8s.io", "ingresses")], [.create])
  let state: AdmissionState

  func admit(_ request: inout AdmissionRequest) async throws {
    guard let ingress = request.object, ingress.at("spec", "ingressClassName") == nil,
      ingress.annotations["kubernetes.io/ingress.class"] == nil,
      let standard = newestDefault(
        state.objects(.ingressClasses), ["ingressclass.kubernetes.io/is-default-class"])
    else { return }
    request.object?.set(JSON(standard.name), at: "spec", "ingressClassName")
  }
}

/// Of several defaults the newest, then the first by name.
private func newestDefault(_ classes: [CachedObject], _ marks: [String]) -> CachedObject? {
  classes.filter { candidate in
    let annotations = candidate.tree.annotations
    return marks.contains { annotations[$0] == "true" }
  }.min { a, b in
    let (first, second) = (a.tree.creationTimestamp, b.tree.creationTimestamp)
    return first == second ? a.name < b.name : first > second
  }
}

/// A claim grows only when its class says that its volumes can.
struct PersistentVolumeClaimResize: AdmissionPlugin {
  let name = "PersistentVolumeClaimResize"
  let interest = AdmissionInterest.validating([GroupResource("", "persistentvolumeclaims")], [.update])
  let state: AdmissionState

  func validate(_ request: inout AdmissionRequest) async throws {
    guard let claim = request.object, let old = request.old else { return }
    func size(_ claim: JSON) -> Quantity? { Quantity(claim.at("spec", "resources", "requests", "storage")) }
    guard let wanted = size(claim), let present = size(old), wanted > present else { return }
    if old.at("status", "phase")?.string != "Bound" {
      throw request.forbidden("Only bound persistent volume claims can be expanded")
    }
    let className =
      old.annotations["volume.beta.kubernetes.io/storage-class"]
      ?? old.at("spec", "storageClassName")?.string ?? ""
    let storage = className.isEmpty ? nil : state.object(.storageClasses, name: className)
    if storage?.tree["allowVolumeExpansion"]?.bool != true {
      throw request.forbidden(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
      )
    }
  }
}

/// Claims and volumes carry a finalizer until nobody uses them.
struct StorageObjectInUseProtection: AdmissionPlugin {
  let name = "StorageObjectInUseProtection"
  let interest = AdmissionInterest.admitting(
    [GroupResource("", "persistentvolumeclaims"), GroupResource("", "persistentvolumes")], [.create])

  func admit(_ request: inout AdmissionRequest) async throws {
    guard let object = request.object else { return }
    let finalizer =
      request.kind.kind == "PersistentVolume" ? "kubernetes.io/pv-protection" : "kubernetes.io/pvc-protection"
    let finalizers = object.finalizers
    if finalizers.contains(finalizer) { return }
    request.object?.set(JSON(finalizers + [finalizer]), at: "metadata", "finalizers")
  }
}
