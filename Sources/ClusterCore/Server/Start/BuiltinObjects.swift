// What is there from the first moment: the namespaces and the Service of the API itself.

import Addresses
import ClusterClient
import ClusterObjects

extension RESTCore {
  /// Creates what is missing; leaves alone what is there. `port` is where this server listens.
  func createBuiltins(serviceAddress: String, serviceBlocks: [IPPrefix], port: Int) async throws {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
      try await createUnlessThere(.namespaces, ["metadata": ["name": JSON(name)]])
    }
    if registry[.priorityClasses] != nil {
      for known in PriorityPlugin.builtin {
        try await createUnlessThere(
          .priorityClasses,
          [
            "metadata": ["name": JSON(known.name)], "value": JSON(known.value),
            "description": JSON(known.use),
          ])
      }
    }
    try await createUnlessThere(
      GroupVersionResource("networking.k8s.io", "v1", "servicecidrs"),
      [
        "metadata": ["name": JSON(ServiceRangeFollower.defaultName)],
        "spec": ["cidrs": .array(serviceBlocks.map { JSON($0.description) })],
      ])
    try await createUnlessThere(
      .services,
      [
        "metadata": [
          "name": "kubernetes", "namespace": "default",
          "labels": ["component": "apiserver", "provider": "kubernetes"],
        ],
        "spec": [
          "type": "ClusterIP", "clusterIP": JSON(serviceAddress),
          "ports": [["name": "https", "protocol": "TCP", "port": 443, "targetPort": JSON(port)]],
        ],
      ])
  }

  func createUnlessThere(_ resource: GroupVersionResource, _ object: JSON) async throws {
    let kind = try kind(resource)
    if cache(kind)[Self.key(kind, object.namespace, object.name)] != nil { return }
    let normal: JSON
    do throws(DecodeError) { normal = try kind.schema.decode(tree: object, as: kind.gvk).object } catch {
      throw Failure.badRequest(error.message)
    }
    do {
      _ = try await create(
        kind, namespace: object.namespace, normal, options: WriteOptions(fieldManager: "weft-apiserver"),
        identity: .system)
    } catch let error as APIStatusError where error.isAlreadyExists {}
  }
}
