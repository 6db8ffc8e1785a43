// A node that is not ready or not reachable keeps its pods for five minutes.

import ClusterObjects

struct DefaultTolerationSeconds: AdmissionPlugin {
  let name = "DefaultTolerationSeconds"
  let interest = AdmissionInterest.admitting([GroupResource("", "pods")], [.create, .update])

  func admit(_ request: inout AdmissionRequest) async throws {
    guard let pod = request.object else { return }
    var tolerations = pod.at("spec", "tolerations")?.elements ?? []
    let count = tolerations.count
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
    if tolerations.count > count { request.object?.set(.array(tolerations), at: "spec", "tolerations") }
  }
}
