// Objects with what names are made of: what a book of names reads back as it was.

import Addresses
import ClusterObjects
import ClusterView

extension ViewChanges {
  /// Namespaces, pods, ServiceImports, Services, and the slices of both, as manifests.
  /// - Parameter imported: slices of ServiceImports that are written: one that belongs to a Service too is said once.
  func snapshotObjects(_ imported: inout Set<ObjectKey>) -> [JSON] {
    var objects: [JSON] = namespaces.values.compactMap { $0?.snapshotObject }
    objects += pods.values.compactMap { $0?.snapshotObject }
    for case let state? in imports.values {
      objects.append(state.service.snapshotObject)
      for (key, slice) in state.slices where imported.insert(key).inserted {
        objects.append(slice.snapshotObject(of: state.service.key.name))
      }
    }
    for case let state? in services.values {
      objects.append(state.service.snapshotObject)
      objects += state.slices.values.filter { !imported.contains($0.key) }.map { $0.snapshotObject() }
    }
    return objects
  }
}

private func object(_ kind: String, _ key: ObjectKey, labels: [String: String] = [:]) -> JSON {
  var metadata: JSON = ["name": JSON(key.name)]
  if !key.namespace.isEmpty { metadata["namespace"] = JSON(key.namespace) }
  if !labels.isEmpty { metadata["labels"] = texts(labels) }
  return ["kind": JSON(kind), "metadata": metadata]
}

private func texts(_ values: [String: String]) -> JSON {
  var tree: JSON = [:]
  for (name, value) in values.sorted(by: { $0.key < $1.key }) { tree[name] = JSON(value) }
  return tree
}

private func texts(_ addresses: [IPAddress]) -> JSON { .array(addresses.map { JSON("\($0)") }) }

extension Namespace {
  fileprivate var snapshotObject: JSON { object("Namespace", ObjectKey("", name), labels: labels) }
}

extension Pod {
  fileprivate var snapshotObject: JSON {
    var tree = object("Pod", key)
    if isHostNetwork { tree["spec"] = ["hostNetwork": true] }
    tree["status"] = [
      "phase": JSON(phase), "podIPs": .array(addresses.map { ["ip": JSON("\($0)")] }),
    ]
    return tree
  }
}

extension Service {
  fileprivate var snapshotObject: JSON {
    var tree = object("Service", key, labels: labels)
    var spec: JSON = ["type": JSON(kind.rawValue)]
    if isHeadless { spec["clusterIP"] = "None" }
    if !clusterIPs.isEmpty { spec["clusterIPs"] = texts(clusterIPs) }
    if !externalIPs.isEmpty { spec["externalIPs"] = texts(externalIPs) }
    if !externalName.isEmpty { spec["externalName"] = JSON(externalName) }
    if !selector.isEmpty { spec["selector"] = texts(selector) }
    if publishNotReadyAddresses { spec["publishNotReadyAddresses"] = true }
    if !ports.isEmpty { spec["ports"] = .array(ports.map(\.snapshotObject)) }
    tree["spec"] = spec
    if !loadBalancerIPs.isEmpty {
      let places: [JSON] = loadBalancerIPs.map { ["ip": JSON("\($0)")] }
      tree["status"] = ["loadBalancer": ["ingress": .array(places)]]
    }
    return tree
  }
}

extension Service.Port {
  fileprivate var snapshotObject: JSON {
    var item: JSON = ["port": .integer(Int64(port)), "protocol": JSON(transport.rawValue)]
    if !name.isEmpty { item["name"] = JSON(name) }
    return item
  }
}

extension ServiceImport {
  fileprivate var snapshotObject: JSON {
    var tree = object("ServiceImport", key, labels: labels)
    var spec: JSON = ["type": JSON(kind.rawValue)]
    if !addresses.isEmpty { spec["ips"] = texts(addresses) }
    if !ports.isEmpty { spec["ports"] = .array(ports.map(\.snapshotObject)) }
    tree["spec"] = spec
    return tree
  }
}

extension ImportedSlice {
  fileprivate func snapshotObject(of service: String) -> JSON {
    var labels = ["multicluster.kubernetes.io/service-name": service]
    labels["multicluster.kubernetes.io/source-cluster"] = cluster
    return slice.snapshotObject(besides: labels)
  }
}

extension EndpointSlice {
  fileprivate func snapshotObject(besides more: [String: String] = [:]) -> JSON {
    var labels = more
    labels["kubernetes.io/service-name"] = service?.name
    var tree = object("EndpointSlice", key, labels: labels)
    if let triggerTime {
      let time: JSON = ["endpoints.kubernetes.io/last-change-trigger-time": JSON(triggerTime)]
      tree.set(time, at: "metadata", "annotations")
    }
    tree["addressType"] = family == .v4 ? "IPv4" : "IPv6"
    tree["ports"] = .array(
      ports.map { port in
        var item: JSON = ["protocol": JSON(port.transport.rawValue)]
        if !port.name.isEmpty { item["name"] = JSON(port.name) }
        if let number = port.port { item["port"] = .integer(Int64(number)) }
        return item
      })
    tree["endpoints"] = .array(endpoints.map(\.snapshotObject))
    return tree
  }
}

extension EndpointSlice.Endpoint {
  fileprivate var snapshotObject: JSON {
    var tree: JSON = ["addresses": [JSON("\(address)")], "conditions": ["ready": JSON.bool(isReady)]]
    if let hostname { tree["hostname"] = JSON(hostname) }
    if let zone { tree["zone"] = JSON(zone) }
    if let pod {
      tree["targetRef"] = ["kind": "Pod", "name": JSON(pod.name), "namespace": JSON(pod.namespace)]
    }
    return tree
  }
}
