// The EndpointSlices a Service should have, with as few changes to those it has as possible. Pure.
//
//   pods x ports -> groups by (address family, resolved ports)
//     each group: keep what is right in its slices, replace what changed in place, drop what left, put
//     the rest where there is room, then into new slices

import ClusterClient
import ClusterObjects
import Diagnostics

/// Writes that bring a Service's slices to what they should be.
struct EndpointSlicePlan: Equatable {
  var create: [JSON] = []
  var update: [JSON] = []
  var delete: [JSON] = []
  var isEmpty: Bool { create.isEmpty && update.isEmpty && delete.isEmpty }
}

enum SliceNames {
  static let service = "kubernetes.io/service-name"
  static let managedBy = "endpointslice.kubernetes.io/managed-by"
  static let manager = "endpointslice-controller.k8s.io"
  static let headless = "service.kubernetes.io/headless"
  static let triggerTime = "endpoints.kubernetes.io/last-change-trigger-time"
  /// Endpoints of one slice, as upstream's default.
  static let endpointsMax = 100
}

/// One group of endpoints: same family, same ports.
struct SliceGroup: Hashable {
  var family: String
  var ports: [JSON]
}

/// `pods` are those that the Service selects; `slices` those that this controller manages for it.
func planEndpointSlices(
  _ service: JSON, pods: [JSON], nodes: (String) -> JSON?, slices: [JSON], triggerTime: String? = nil
) -> EndpointSlicePlan {
  var wanted: [SliceGroup: [JSON]] = [:]
  var order: [SliceGroup] = []
  let families = addressFamilies(service)
  for family in families {
    for pod in pods.sorted(by: { $0.key < $1.key }) {
      guard let endpoint = podEndpoint(pod, of: service, family: family, nodes: nodes) else { continue }
      let group = SliceGroup(family: family, ports: resolvedPorts(service, pod))
      if wanted[group] == nil { order.append(group) }
      wanted[group, default: []].append(endpoint)
    }
    // A Service without endpoints keeps one empty slice: "none" is an answer, "unknown" is not.
    if !order.contains(where: { $0.family == family }) {
      let group = SliceGroup(family: family, ports: [])
      order.append(group)
      wanted[group] = []
    }
  }
  return planSlices(wanted, order, slices: slices) {
    sliceObject(service, $0, $1, from: $2, triggerTime: triggerTime)
  }
}

/// The slices of some groups, given what there is. `make` writes one: for a group, with these endpoints,
/// from the slice that there is.
func planSlices(
  _ wanted: [SliceGroup: [JSON]], _ order: [SliceGroup], slices: [JSON],
  make: (SliceGroup, [JSON], JSON?) -> JSON
) -> EndpointSlicePlan {
  var plan = EndpointSlicePlan()
  let owned = slices.filter { !$0.isTerminating }
  for group in order {
    let own = owned.filter { sliceGroup($0) == group }.sorted { $0.name < $1.name }
    let placed = place(wanted[group] ?? [], into: own)
    for (slice, endpoints) in placed.kept {
      if endpoints.isEmpty, placed.kept.count + placed.new.count > 1 {
        plan.delete.append(slice)
        continue
      }
      let changed = make(group, endpoints, slice)
      if changed != slice { plan.update.append(changed) }
    }
    for endpoints in placed.new {
      plan.create.append(make(group, endpoints, nil))
    }
  }
  plan.delete += owned.filter { !order.contains(sliceGroup($0)) }
  return plan
}

private func sliceGroup(_ slice: JSON) -> SliceGroup {
  SliceGroup(
    family: slice["addressType"]?.string ?? "",
    ports: (slice["ports"]?.elements ?? []).map {
      slicePort(
        name: $0["name"]?.string ?? "", number: $0["port"]?.int ?? 0,
        transport: $0["protocol"]?.string ?? "TCP", application: $0["appProtocol"]?.string)
    })
}

func slicePort(name: String, number: Int, transport: String, application: String?) -> JSON {
  var port: JSON = ["name": JSON(name), "protocol": JSON(transport), "port": JSON(number)]
  if let application { port["appProtocol"] = JSON(application) }
  return port
}

/// Fills slices: endpoints already in one stay there, the others go where there is room, fullest slice first.
private func place(_ endpoints: [JSON], into slices: [JSON]) -> (kept: [(JSON, [JSON])], new: [[JSON]]) {
  var remaining: [String: JSON] = [:]
  var order: [String] = []
  for endpoint in endpoints {
    let identity = endpointIdentity(endpoint)
    if remaining.updateValue(endpoint, forKey: identity) == nil { order.append(identity) }
  }
  var kept: [(JSON, [JSON])] = []
  for slice in slices {
    var own: [JSON] = []
    for endpoint in slice["endpoints"]?.elements ?? [] {
      if let now = remaining.removeValue(forKey: endpointIdentity(endpoint)) { own.append(now) }
    }
    kept.append((slice, own))
  }
  var rest = order.compactMap { remaining[$0] }[...]
  let byRoom = kept.indices.sorted {
    (kept[$0].1.count, kept[$1].0.name) > (kept[$1].1.count, kept[$0].0.name)
  }
  for position in byRoom where !rest.isEmpty {
    let room = max(0, SliceNames.endpointsMax - kept[position].1.count)
    kept[position].1 += rest.prefix(room)
    rest = rest.dropFirst(room)
  }
  var new: [[JSON]] = []
  while !rest.isEmpty {
    new.append(Array(rest.prefix(SliceNames.endpointsMax)))
    rest = rest.dropFirst(SliceNames.endpointsMax)
  }
  if kept.isEmpty, new.isEmpty { new = [[]] }
  return (kept, new)
}

private func endpointIdentity(_ endpoint: JSON) -> String {
  let target = endpoint.at("targetRef", "uid")?.string ?? ""
  return target + "/" + (endpoint["addresses"]?[0]?.string ?? "")
}

/// `IPv4` and/or `IPv6`, as the Service says or its address shows.
func addressFamilies(_ service: JSON) -> [String] {
  let said = service.at("spec", "ipFamilies")?.elements.compactMap(\.string) ?? []
  if !said.isEmpty { return said }
  return service.at("spec", "clusterIP")?.string?.contains(":") == true ? ["IPv6"] : ["IPv4"]
}

/// The Service's ports as this pod serves them; named target ports are looked up in its containers.
func resolvedPorts(_ service: JSON, _ pod: JSON) -> [JSON] {
  (service.at("spec", "ports")?.elements ?? []).compactMap { port in
    let transport = port["protocol"]?.string ?? "TCP"
    let number: Int?
    switch port["targetPort"] {
    case .integer(let value) where value != 0: number = Int(value)
    case .string(let name): number = Int(name) ?? containerPort(pod, name, transport)
    default: number = port["port"]?.int
    }
    guard let number else { return nil }
    return slicePort(
      name: port["name"]?.string ?? "", number: number, transport: transport,
      application: port["appProtocol"]?.string)
  }.sorted { ($0["name"]?.string ?? "") < ($1["name"]?.string ?? "") }
}

private func containerPort(_ pod: JSON, _ name: String, _ transport: String) -> Int? {
  let sidecars = (pod.spec["initContainers"]?.elements ?? []).filter { $0["restartPolicy"] == "Always" }
  for container in (pod.spec["containers"]?.elements ?? []) + sidecars {
    for port in container["ports"]?.elements ?? []
    where port["name"]?.string == name && (port["protocol"]?.string ?? "TCP") == transport {
      return port["containerPort"]?.int
    }
  }
  return nil
}

/// The endpoint of a pod, or nil while it has no address of this family or will never serve again.
func podEndpoint(
  _ pod: JSON, of service: JSON, family: String, nodes: (String) -> JSON?
) -> JSON? {
  guard !PodState.isFinished(pod) else { return nil }
  var addresses = (pod.at("status", "podIPs")?.elements ?? []).compactMap { $0["ip"]?.string }
  if addresses.isEmpty, let address = pod.at("status", "podIP")?.string, !address.isEmpty {
    addresses = [address]
  }
  guard let address = addresses.first(where: { $0.contains(":") == (family == "IPv6") }) else { return nil }
  let publishes = service.at("spec", "publishNotReadyAddresses")?.bool ?? false
  let serving = PodState.isReady(pod)
  var endpoint: JSON = [
    "addresses": [JSON(address)],
    "conditions": [
      "ready": JSON(publishes || (serving && !pod.isTerminating)), "serving": JSON(serving),
      "terminating": JSON(pod.isTerminating),
    ],
  ]
  if let hostname = pod.at("spec", "hostname")?.string, !hostname.isEmpty,
    pod.at("spec", "subdomain")?.string == service.name
  {
    endpoint["hostname"] = JSON(hostname)
  }
  endpoint["targetRef"] = [
    "kind": "Pod", "namespace": JSON(pod.namespace), "name": JSON(pod.name), "uid": JSON(pod.uid),
  ]
  if let node = pod.at("spec", "nodeName")?.string, !node.isEmpty {
    endpoint["nodeName"] = JSON(node)
    if let zone = nodes(node)?.labels["topology.kubernetes.io/zone"] { endpoint["zone"] = JSON(zone) }
  }
  if endpoint.at("conditions", "ready")?.bool == true, let hints = hints(for: endpoint, of: service) {
    endpoint["hints"] = hints
  }
  return endpoint
}

/// Who should use a ready endpoint, as `trafficDistribution` asks: its own zone, or its own node and else
/// its zone. Nil for everybody; also where the older annotation asks for shares by zone, which wins over
/// the field and is not offered here.
private func hints(for endpoint: JSON, of service: JSON) -> JSON? {
  let annotations = service.annotations
  let mode =
    annotations["service.kubernetes.io/topology-aware-hints"]
    ?? annotations["service.kubernetes.io/topology-mode"]
  guard mode != "Auto", mode != "auto" else { return nil }
  var hints: JSON = [:]
  switch service.at("spec", "trafficDistribution")?.string {
  case "PreferSameNode":
    if let node = endpoint["nodeName"] { hints["forNodes"] = [["name": node]] }
    if let zone = endpoint["zone"] { hints["forZones"] = [["name": zone]] }
  case "PreferSameZone", "PreferClose":
    if let zone = endpoint["zone"] { hints["forZones"] = [["name": zone]] }
  default: break
  }
  return hints == [:] ? nil : hints
}

/// The slice as it should be. An unchanged one comes back equal, so that nothing is written for nothing.
private func sliceObject(
  _ service: JSON, _ group: SliceGroup, _ endpoints: [JSON], from existing: JSON?, triggerTime: String?
) -> JSON {
  var slice =
    existing ?? [
      "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
      "metadata": [
        "generateName": JSON("\(service.name)-"), "namespace": JSON(service.namespace),
        "ownerReferences": [service.controllerReferenceToThis],
      ],
      "addressType": JSON(group.family),
    ]
  var labels = service.labels.filter { !$0.key.hasSuffix("kubernetes.io/service-name") }
  labels[SliceNames.service] = service.name
  labels[SliceNames.managedBy] = SliceNames.manager
  if service.at("spec", "clusterIP")?.string == "None" { labels[SliceNames.headless] = "" }
  if slice.labels != labels { slice.set(JSON(labels), at: "metadata", "labels") }
  if slice["endpoints"]?.elements ?? [] != endpoints || existing == nil {
    slice["endpoints"] = .array(endpoints)
  }
  if existing == nil || sliceGroup(slice) != group { slice["ports"] = .array(group.ports) }
  if let triggerTime, slice != existing {
    slice.set(JSON(triggerTime), at: "metadata", "annotations", SliceNames.triggerTime)
  }
  return slice
}
