// What is there from the first moment: the namespaces and the Service of the API itself.

import Addresses
import ClusterClient
import ClusterObjects

extension RESTCore {
  /// Creates what is missing; leaves alone what is there, except for the endpoints of the API's own Service.
  func createBuiltins(serviceAddress: String, endpoint: (address: String, port: Int)) async throws {
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
      .services,
      [
        "metadata": [
          "name": "kubernetes", "namespace": "default",
          "labels": ["component": "apiserver", "provider": "kubernetes"],
        ],
        "spec": [
          "type": "ClusterIP", "clusterIP": JSON(serviceAddress),
          "ports": [["name": "https", "protocol": "TCP", "port": 443, "targetPort": JSON(endpoint.port)]],
        ],
      ])
    // Pods cannot reach a loopback address, and an EndpointSlice may not hold one: then there is no
    // endpoint to tell.
    let isReachable = IPv4Address(endpoint.address).map { !$0.isLoopback } ?? true
    let endpoints: JSON =
      isReachable ? [["addresses": [JSON(endpoint.address)], "conditions": ["ready": true]]] : []
    let slice: JSON = [
      "metadata": [
        "name": "kubernetes", "namespace": "default",
        "labels": ["kubernetes.io/service-name": "kubernetes"],
      ],
      "addressType": "IPv4",
      "endpoints": endpoints,
      "ports": [["name": "https", "protocol": "TCP", "port": JSON(endpoint.port)]],
    ]
    try await createUnlessThere(.endpointSlices, slice)
    let client = InProcessClient(core: self, identity: .system)
    _ = try await client.patch(
      .endpointSlices, namespace: "default", name: "kubernetes",
      patch: .merge(["endpoints": endpoints, "ports": slice["ports"] ?? []]), subresource: nil,
      options: WriteOptions(fieldManager: "weft-apiserver"))
    _ = try await client.patch(
      .services, namespace: "default", name: "kubernetes",
      patch: .strategicMerge(["spec": ["ports": [["port": 443, "targetPort": JSON(endpoint.port)]]]]),
      subresource: nil, options: WriteOptions(fieldManager: "weft-apiserver"))
  }

  private func createUnlessThere(_ resource: GroupVersionResource, _ object: JSON) async throws {
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
