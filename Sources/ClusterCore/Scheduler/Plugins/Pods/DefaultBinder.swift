// Binds by `POST pods/NAME/binding`.

import ClusterClient
import ClusterObjects

public struct DefaultBinder: BindPlugin {
  public let name = "DefaultBinder"
  public init() {}

  public func bind(_ pod: PodInfo, to node: String, _ api: any ClusterAPI) async throws -> Bool {
    let binding: JSON = [
      "apiVersion": "v1", "kind": "Binding",
      "metadata": ["namespace": JSON(pod.namespace), "name": JSON(pod.name), "uid": JSON(pod.uid)],
      "target": ["apiVersion": "v1", "kind": "Node", "name": JSON(node)],
    ]
    _ = try await api.createSubresource(
      .pods, namespace: pod.namespace, name: pod.name, subresource: "binding", binding)
    return true
  }
}
