// Objects that a cluster of ours has from the start. Whoever changes or deletes one is left alone until the next start.

import ClusterClient
import ClusterObjects

enum Defaults {
  /// Ingresses that name no class, or `weft`, are served by us.
  private static let ingressClass: JSON = [
    "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
    "metadata": ["name": "weft", "annotations": ["ingressclass.kubernetes.io/is-default-class": "true"]],
    "spec": ["controller": "weft.dev/ingress"],
  ]

  static func apply(_ api: any ClusterAPI) async throws {
    do {
      _ = try await api.create(.ingressClasses, ingressClass, options: WriteOptions(fieldManager: "weft"))
    } catch let refusal as APIStatusError where refusal.isAlreadyExists {
      return
    }
  }

  /// What a node may not say of itself: that it is the control plane's. The agent registers in its own time.
  static func label(_ node: String, _ api: any ClusterAPI) async throws {
    let patch: JSON = ["metadata": ["labels": ["node-role.kubernetes.io/control-plane": ""]]]
    let deadline = ContinuousClock.now + .seconds(30)
    while true {
      do {
        _ = try await api.patch(
          .nodes, namespace: "", name: node, patch: .merge(patch), subresource: nil,
          options: WriteOptions(fieldManager: "weft"))
        return
      } catch let refusal as APIStatusError where refusal.isNotFound && ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(20))
      }
    }
  }
}
