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
}
