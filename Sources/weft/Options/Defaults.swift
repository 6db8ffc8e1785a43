// Objects that a cluster of ours has from the start. Whoever changes or deletes one is left alone until the next start.

import ClusterClient
import ClusterControllers
import ClusterObjects
import ClusterView
import GatewayAPI

enum Defaults {
  /// Ingresses that name no class, or `weft`, are served by us.
  private static let ingressClass: JSON = [
    "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
    "metadata": ["name": "weft", "annotations": ["ingressclass.kubernetes.io/is-default-class": "true"]],
    "spec": ["controller": "weft.dev/ingress"],
  ]

  /// Gateways of this class are served by us.
  private static let gatewayClass: JSON = [
    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": ["name": "weft"],
    "spec": ["controllerName": JSON(gatewayControllerName)],
  ]

  /// - Parameter withIngress: an ingress of ours runs.
  static func apply(_ api: any ClusterAPI, withIngress: Bool) async throws {
    if withIngress {
      try await create(.ingressClasses, ingressClass, api)
      try await create(.gatewayClasses, gatewayClass, api)
    }
    // Claims that name no class get a folder of their pod's node.
    try await create(
      GroupVersionResource("storage.k8s.io", "v1", "storageclasses"), LocalPath.storageClass, api)
  }

  private static func create(_ resource: GroupVersionResource, _ object: JSON, _ api: any ClusterAPI)
    async throws
  {
    do {
      _ = try await api.create(resource, object, options: WriteOptions(fieldManager: "weft"))
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
