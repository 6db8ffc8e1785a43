// A pod's RuntimeClass: what its sandbox costs, and on which nodes it runs.

import ClusterClient
import ClusterObjects

struct RuntimeClassPlugin: AdmissionPlugin {
  let name = "RuntimeClass"
  let interest = AdmissionInterest.both([GroupResource("", "pods")], [.create])
  let state: AdmissionState

  private func runtimeClass(_ request: AdmissionRequest) async throws -> JSON? {
    guard let name = request.object?.at("spec", "runtimeClassName")?.string, !name.isEmpty else { return nil }
    guard let found = await state.lookUp(.runtimeClasses, name: name) else {
      throw request.forbidden("pod rejected: RuntimeClass \"\(name)\" not found")
    }
    return found.tree
  }

  func admit(_ request: inout AdmissionRequest) async throws {
    guard let runtime = try await runtimeClass(request), var pod = request.object else { return }
    if let fixed = runtime.at("overhead", "podFixed") {
      if let given = pod.at("spec", "overhead"), ResourceList(given) != ResourceList(fixed) {
        throw request.forbidden(
          "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
      }
      pod.set(fixed, at: "spec", "overhead")
    }
    if let scheduling = runtime["scheduling"] {
      var selector = pod.at("spec", "nodeSelector")?.stringMap ?? [:]
      for (key, value) in scheduling["nodeSelector"]?.stringMap ?? [:] {
        if let own = selector[key], own != value {
          throw request.forbidden(
            "conflict: runtimeClass.scheduling.nodeSelector[\(key)] = \(value); "
              + "pod.spec.nodeSelector[\(key)] = \(own)")
        }
        selector[key] = value
      }
      if !selector.isEmpty { pod.set(JSON(selector), at: "spec", "nodeSelector") }
      var tolerations = pod.at("spec", "tolerations")?.elements ?? []
      for toleration in scheduling["tolerations"]?.elements ?? [] where !tolerations.contains(toleration) {
        tolerations.append(toleration)
      }
      if !tolerations.isEmpty { pod.set(.array(tolerations), at: "spec", "tolerations") }
    }
    request.object = pod
  }

  func validate(_ request: inout AdmissionRequest) async throws {
    guard let pod = request.object else { return }
    let runtime = try await runtimeClass(request)
    if pod.at("spec", "overhead") != nil, runtime?.at("overhead", "podFixed") == nil {
      throw request.forbidden(
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
    }
  }
}
