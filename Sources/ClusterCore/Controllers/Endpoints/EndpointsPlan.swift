// The Endpoints of a Service, the older form of its EndpointSlices, for clients that know nothing else. Pure.

import ClusterClient
import ClusterObjects
import Diagnostics

enum EndpointsNames {
  static let managedBy = "endpoints.kubernetes.io/managed-by"
  static let manager = "endpoint-controller"
  static let overCapacity = "endpoints.kubernetes.io/over-capacity"
  /// Addresses in one Endpoints; the rest is left out, and an annotation says so.
  static let addressesMax = 1000
}

/// The object as it should be. `existing` comes back equal when nothing is to be written.
func planEndpoints(_ service: JSON, pods: [JSON], existing: JSON?, triggerTime: String? = nil) -> JSON {
  let family = addressFamilies(service).first ?? "IPv4"
  var groups: [[JSON]: (ready: [JSON], notReady: [JSON])] = [:]
  var order: [[JSON]] = []
  var room = EndpointsNames.addressesMax
  var isTruncated = false
  let tolerates = service.at("spec", "publishNotReadyAddresses")?.bool ?? false
  for pod in pods.sorted(by: {
    ($0.at("status", "podIP")?.string ?? "", $0.name) < ($1.at("status", "podIP")?.string ?? "", $1.name)
  }) {
    guard let endpoint = podEndpoint(pod, of: service, family: family, nodes: { _ in nil }) else { continue }
    if pod.isTerminating, !tolerates { continue }
    guard room > 0 else {
      isTruncated = true
      break
    }
    room -= 1
    let ports = resolvedPorts(service, pod)
    var address: JSON = ["ip": endpoint["addresses"]?[0] ?? .null]
    for field in ["hostname", "nodeName", "targetRef"] {
      if let value = endpoint[field] { address[field] = value }
    }
    if groups[ports] == nil { order.append(ports) }
    if endpoint.at("conditions", "ready")?.bool == true {
      groups[ports, default: ([], [])].ready.append(address)
    } else {
      groups[ports, default: ([], [])].notReady.append(address)
    }
  }
  let subsets: [JSON] = order.map { ports in
    var subset: JSON = [:]
    let group = groups[ports] ?? ([], [])
    if !group.ready.isEmpty { subset["addresses"] = .array(group.ready) }
    if !group.notReady.isEmpty { subset["notReadyAddresses"] = .array(group.notReady) }
    if !ports.isEmpty { subset["ports"] = .array(ports) }
    return subset
  }
  var wanted =
    existing ?? [
      "apiVersion": "v1", "kind": "Endpoints",
      "metadata": ["name": JSON(service.name), "namespace": JSON(service.namespace)],
    ]
  var labels = service.labels
  labels[EndpointsNames.managedBy] = EndpointsNames.manager
  if service.at("spec", "clusterIP")?.string == "None" { labels[SliceNames.headless] = "" }
  if wanted.labels != labels { wanted.set(JSON(labels), at: "metadata", "labels") }
  if (wanted["subsets"]?.elements ?? []) != subsets {
    wanted["subsets"] = subsets.isEmpty ? nil : .array(subsets)
  }
  let truncated = isTruncated ? "truncated" : nil
  if wanted.annotations[EndpointsNames.overCapacity] != truncated {
    wanted.set(truncated.map { JSON($0) }, at: "metadata", "annotations", EndpointsNames.overCapacity)
  }
  if let triggerTime, wanted != existing {
    wanted.set(JSON(triggerTime), at: "metadata", "annotations", SliceNames.triggerTime)
  }
  return wanted
}

// MARK: - Mirroring

enum MirrorNames {
  static let manager = "endpointslicemirroring-controller.k8s.io"
  static let skip = "endpointslice.kubernetes.io/skip-mirror"
  static let leader = "control-plane.alpha.kubernetes.io/leader"
  /// Addresses of one subset that are mirrored.
  static let addressesMax = 1000
}

/// Whether hand-made Endpoints are to be shown as slices.
func isMirrored(_ endpoints: JSON, service: JSON?) -> Bool {
  guard let service, !endpoints.isTerminating else { return false }
  return service.at("spec", "selector")?.stringMap.isEmpty ?? true
    && service.at("spec", "type")?.string != "ExternalName" && endpoints.labels[MirrorNames.skip] != "true"
    && endpoints.annotations[MirrorNames.leader] == nil
}

/// Slices for Endpoints that somebody else keeps, with as few changes as possible.
func planMirror(_ endpoints: JSON, slices: [JSON]) -> EndpointSlicePlan {
  var wanted: [SliceGroup: [JSON]] = [:]
  var order: [SliceGroup] = []
  for subset in endpoints["subsets"]?.elements ?? [] {
    let ports = (subset["ports"]?.elements ?? []).map {
      slicePort(
        name: $0["name"]?.string ?? "", number: $0["port"]?.int ?? 0,
        transport: $0["protocol"]?.string ?? "TCP",
        application: $0["appProtocol"]?.string)
    }
    var room = MirrorNames.addressesMax
    for (field, isReady) in [("addresses", true), ("notReadyAddresses", false)] {
      for address in subset[field]?.elements ?? [] {
        guard let text = address["ip"]?.string, room > 0 else { continue }
        room -= 1
        let group = SliceGroup(family: text.contains(":") ? "IPv6" : "IPv4", ports: ports)
        var endpoint: JSON = ["addresses": [JSON(text)], "conditions": ["ready": JSON(isReady)]]
        for name in ["hostname", "targetRef", "nodeName"] {
          if let value = address[name] { endpoint[name] = value }
        }
        if wanted[group] == nil { order.append(group) }
        wanted[group, default: []].append(endpoint)
      }
    }
  }
  var labels = endpoints.labels.filter { $0.key != MirrorNames.skip && $0.key != EndpointsNames.managedBy }
  labels[SliceNames.service] = endpoints.name
  labels[SliceNames.managedBy] = MirrorNames.manager
  let annotations = endpoints.annotations.filter {
    !["kubectl.kubernetes.io/last-applied-configuration", SliceNames.triggerTime].contains($0.key)
  }
  return planSlices(wanted, order, slices: slices) { group, own, existing in
    var slice =
      existing ?? [
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": [
          "generateName": JSON("\(endpoints.name)-"), "namespace": JSON(endpoints.namespace),
          "ownerReferences": [endpoints.controllerReferenceToThis],
        ],
        "addressType": JSON(group.family),
      ]
    if slice.labels != labels { slice.set(JSON(labels), at: "metadata", "labels") }
    if slice.annotations != annotations {
      slice.set(annotations.isEmpty ? nil : JSON(annotations), at: "metadata", "annotations")
    }
    if existing == nil || slice["endpoints"]?.elements ?? [] != own { slice["endpoints"] = .array(own) }
    if existing == nil { slice["ports"] = .array(group.ports) }
    return slice
  }
}
