// Nothing is created in a namespace that is not there or is going, and three namespaces stay.

import ClusterClient
import ClusterObjects

struct NamespaceLifecycle: AdmissionPlugin {
  let name = "NamespaceLifecycle"
  let interest = AdmissionInterest.admitting(nil, [.create, .delete], subresources: nil)
  let state: AdmissionState
  private static let immortal: Set<String> = ["default", "kube-system", "kube-public"]

  func admit(_ request: inout AdmissionRequest) async throws {
    let kind = request.kind
    if request.operation == .delete {
      if kind.kind == "Namespace", kind.group.isEmpty, Self.immortal.contains(request.name) {
        throw request.forbidden("this namespace may not be deleted")
      }
      return
    }
    guard kind.isNamespaced, kind.group != "authorization.k8s.io" else { return }
    guard let namespaces = state.kinds.current[.namespaces] else { return }
    let name = request.namespace
    guard let found = await state.lookUp(.namespaces, name: name) else {
      throw Failure.notFound(namespaces, name)
    }
    guard found.tree.isTerminating || found.tree.at("status", "phase")?.string == "Terminating" else {
      return
    }
    throw Failure.forbidden(
      kind, request.name,
      "unable to create new content in namespace \(name) because it is being terminated",
      cause: [
        "reason": "NamespaceTerminating", "message": JSON("namespace \(name) is being terminated"),
        "field": "metadata.namespace",
      ])
  }
}
