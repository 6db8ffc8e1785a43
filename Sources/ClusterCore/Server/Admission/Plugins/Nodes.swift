// What a node's own agent may write, and the taint of a node that has not said yet that it is ready.

import ClusterClient
import ClusterObjects

/// A new node takes no pods until it was ready once.
struct TaintNodesByCondition: AdmissionPlugin {
  let name = "TaintNodesByCondition"
  let interest = AdmissionInterest.admitting([GroupResource("", "nodes")], [.create])
  private static let key = "node.kubernetes.io/not-ready"

  func admit(_ request: inout AdmissionRequest) async throws {
    var taints = request.object?.at("spec", "taints")?.elements ?? []
    if taints.contains(where: { $0["key"]?.string == Self.key && $0["effect"]?.string == "NoSchedule" }) {
      return
    }
    taints.append(["key": JSON(Self.key), "effect": "NoSchedule"])
    request.object?.set(.array(taints), at: "spec", "taints")
  }
}

/// A node agent (`system:node:NAME` in `system:nodes`) writes its own Node, its Lease and the status of its
/// pods, and nothing of others.
struct NodeRestriction: AdmissionPlugin {
  let name = "NodeRestriction"
  let interest = AdmissionInterest.admitting(
    [
      GroupResource("", "pods"), GroupResource("", "nodes"), GroupResource("", "serviceaccounts"),
      GroupResource("coordination.k8s.io", "leases"), GroupResource("storage.k8s.io", "csinodes"),
    ], [.create, .update, .delete], subresources: nil)
  let state: AdmissionState

  private static func node(_ identity: Identity) -> String? {
    let prefix = "system:node:"
    guard identity.user.hasPrefix(prefix), identity.groups.contains("system:nodes") else { return nil }
    return String(identity.user.dropFirst(prefix.count))
  }

  func admit(_ request: inout AdmissionRequest) async throws {
    guard let node = Self.node(request.identity) else { return }
    switch (request.kind.plural, request.subresource) {
    case ("pods", ""): try admitPod(request, node)
    case ("pods", "status"): try admitPodStatus(request, node)
    case ("pods", "eviction"):
      let pod = await state.lookUp(.pods, namespace: request.namespace, name: request.name)
      if let pod, pod.tree.at("spec", "nodeName")?.string != node {
        throw request.forbidden("node \"\(node)\" can only evict pods with spec.nodeName set to itself")
      }
    case ("nodes", "status") where request.operation == .update, ("nodes", ""): try admitNode(request, node)
    case ("serviceaccounts", "token"): try await admitToken(request, node)
    case ("leases", ""):
      if request.namespace != "kube-node-lease" {
        throw request.forbidden("can only access leases in the \"kube-node-lease\" system namespace")
      }
      if request.name != node {
        throw request.forbidden("can only access node lease with the same name as the requesting node")
      }
    case ("csinodes", ""):
      if request.name != node {
        throw request.forbidden("can only access CSINode with the same name as the requesting node")
      }
    default: break
    }
  }

  private func admitPod(_ request: AdmissionRequest, _ node: String) throws {
    switch request.operation {
    case .create:
      guard let pod = request.object else { return }
      if pod.annotations["kubernetes.io/config.mirror"] == nil {
        throw request.forbidden(
          "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"\(node)\" can only create mirror pods"
        )
      }
      if pod.at("spec", "nodeName")?.string != node {
        throw request.forbidden("node \"\(node)\" can only create pods with spec.nodeName set to itself")
      }
    case .delete:
      if request.old?.at("spec", "nodeName")?.string != node {
        throw request.forbidden("node \"\(node)\" can only delete pods with spec.nodeName set to itself")
      }
    case .update, .connect:
      throw request.forbidden(
        "unexpected operation \"\(request.operation.rawValue)\", node \"\(node)\" can only create and delete mirror pods"
      )
    }
  }

  private func admitPodStatus(_ request: AdmissionRequest, _ node: String) throws {
    guard let old = request.old else { return }
    if old.at("spec", "nodeName")?.string != node {
      throw request.forbidden(
        "node \"\(node)\" can only update pod status for pods with spec.nodeName set to itself")
    }
    if let pod = request.object, pod.labels != old.labels {
      throw request.forbidden("node \"\(node)\" cannot update labels through pod status")
    }
  }

  private func admitNode(_ request: AdmissionRequest, _ node: String) throws {
    if request.name != node {
      throw request.forbidden("node \"\(node)\" is not allowed to modify node \"\(request.name)\"")
    }
    guard let wanted = request.object else { return }
    let old = request.old?.labels ?? [:]
    let new = wanted.labels
    let changed = Set(old.keys).union(new.keys).filter { old[$0] != new[$0] && Self.isRestricted($0) }
      .sorted()
    if !changed.isEmpty {
      let list = changed.joined(separator: ", ")
      throw request.forbidden(
        request.old == nil
          ? "node \"\(node)\" is not allowed to set the following labels: \(list)"
          : "node \"\(node)\" is not allowed to modify labels: \(list)")
    }
    if let before = request.old, (before.at("spec", "taints") ?? []) != (wanted.at("spec", "taints") ?? []) {
      throw request.forbidden("node \"\(node)\" is not allowed to modify taints")
    }
  }

  private static let ownLabels: Set<String> = [
    "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
  ]

  /// Labels of Kubernetes' own domains, save those that an agent knows itself.
  private static func isRestricted(_ key: String) -> Bool {
    guard let slash = key.firstIndex(of: "/"), !ownLabels.contains(key) else { return false }
    let domain = key[..<slash]
    if domain == "kubelet.kubernetes.io" || domain.hasSuffix(".kubelet.kubernetes.io") { return false }
    if domain == "node.kubernetes.io" || domain.hasSuffix(".node.kubernetes.io") { return false }
    return ["kubernetes.io", "k8s.io"].contains { domain == $0 || domain.hasSuffix(".\($0)") }
  }

  private func admitToken(_ request: AdmissionRequest, _ node: String) async throws {
    let reference = request.object?.at("spec", "boundObjectRef") ?? .null
    guard reference["kind"]?.string == "Pod", reference["apiVersion"]?.string == "v1",
      let name = reference["name"]?.string, !name.isEmpty
    else { throw request.forbidden("node requested token not bound to a pod") }
    guard let uid = reference["uid"]?.string, !uid.isEmpty else {
      throw request.forbidden("node requested token with a pod binding without a uid")
    }
    guard let pod = await state.lookUp(.pods, namespace: request.namespace, name: name), pod.tree.uid == uid
    else {
      throw Failure.notFound(try kind(.pods), name)
    }
    if pod.tree.at("spec", "nodeName")?.string != node {
      throw request.forbidden("node requested token bound to a pod scheduled on a different node")
    }
    if pod.tree.at("spec", "serviceAccountName")?.string != request.name {
      throw request.forbidden(
        "node requested token bound to a pod that does not use service account \(request.name)")
    }
  }

  private func kind(_ resource: GroupVersionResource) throws -> ResourceKind {
    guard let kind = state.kinds.current[resource] else { throw Failure.notServed }
    return kind
  }
}
