// The cluster that manifests will come to, for `weft explain --offline`: a pod for each workload, endpoints for each Service, and the
// classes that a cluster of ours has from the start.

import Addresses
import ClusterObjects
import ClusterView
import GatewayAPI
import Ingress

public enum RehearsedCluster {
  /// A view of it. Pods and Services that have no address are given one of the blocks that a cluster of ours has by default: policies
  /// that speak of blocks mean those.
  public static func view(of objects: [JSON]) -> ClusterView {
    let pods = RehearsedPods(objects, from: IPv4Address(10, 42, 0, 2))
    var view = pods.view
    var next = IPv4Address(10, 43, 1, 0).bits
    for var object in objects.map(RehearsedPods.inNamespace) {
      guard object.kind == "Service" else {
        if !["Pod", "Namespace", "NetworkPolicy"].contains(object.kind) { view.apply(object) }
        continue
      }
      let type = object.at("spec", "type")?.string
      if object.at("spec", "clusterIP")?.string ?? "" == "", type != "ExternalName" {
        let address = IPv4Address(bits: next)
        next += 1
        object.set(JSON("\(address)"), at: "spec", "clusterIP")
        object.set([JSON("\(address)")], at: "spec", "clusterIPs")
      }
      view.apply(object)
      for slice in slices(of: object, pods) { view.apply(slice) }
    }
    for name in view.ingressClasses.isEmpty ? ["weft"] : [] {
      view.apply([
        "kind": "IngressClass",
        "metadata": [
          "name": JSON(name), "annotations": ["ingressclass.kubernetes.io/is-default-class": "true"],
        ],
        "spec": ["controller": JSON(ingressControllerName)],
      ])
    }
    if view.gateway.classes.isEmpty {
      view.apply([
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": ["name": "weft"],
        "spec": ["controllerName": JSON(gatewayControllerName)],
      ])
    }
    return view
  }

  /// A slice for each port: pods of different templates may have it under different numbers.
  private static func slices(of service: JSON, _ pods: RehearsedPods) -> [JSON] {
    (service.at("spec", "ports")?.elements ?? []).enumerated().flatMap { index, port -> [JSON] in
      guard let number = port["port"]?.int.flatMap({ UInt16(exactly: $0) }) else { return [] }
      let transport = TransportProtocol(rawValue: port["protocol"]?.string ?? "TCP")
      let backends = pods.backends(of: service.key, port: .number(number), transport) ?? []
      return backends.enumerated().compactMap { place, backend in
        guard let address = backend.pod.addresses.first else { return nil }
        return [
          "kind": "EndpointSlice", "addressType": "IPv4",
          "metadata": [
            "name": JSON("\(service.name)-\(index)-\(place)"), "namespace": JSON(service.key.namespace),
            "labels": ["kubernetes.io/service-name": JSON(service.name)],
          ],
          "ports": [
            [
              "name": JSON(port["name"]?.string ?? ""), "port": JSON(Int(backend.port)),
              "protocol": JSON(backend.transport.rawValue),
            ]
          ],
          "endpoints": [
            [
              "addresses": [JSON("\(address)")], "conditions": ["ready": true],
              "targetRef": [
                "kind": "Pod", "name": JSON(backend.pod.key.name),
                "namespace": JSON(backend.pod.key.namespace),
              ],
            ]
          ],
        ]
      }
    }
  }
}
