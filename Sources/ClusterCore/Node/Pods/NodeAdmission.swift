// Whether this node takes a pod that was bound to it: the last word after the scheduler's. Pure.

import ClusterClient
import ClusterObjects

/// What the node has and holds.
struct NodeRoom: Sendable {
  /// In thousandths, by resource: what pods may ask for together.
  var allocatable: [String: Int64]
  /// Pods that run or are to run.
  var pods: [PodSpec]
  var podsMax: Int
  var nodeName = ""
  var labels: [String: String]
  /// As the Node object has them.
  var taints: [JSON] = []
  /// Sysctls beyond the safe ones, by name or with `*` at the end (`--allowed-unsafe-sysctls`).
  var allowedSysctls: [String] = []
}

/// What a pod asks for, in thousandths by resource: containers and sidecars together, or the largest init container beside the
/// sidecars before it, and the overhead of its runtime class.
func podRequests(_ spec: PodSpec) -> [String: Int64] {
  var total = podAmounts(spec) { container in
    let limits = amounts(container.tree.at("resources", "limits"))
    return limits.merging(amounts(container.tree.at("resources", "requests"))) { $1 }
  }
  for (key, value) in spec.pod.at("spec", "overhead")?.stringMap ?? [:] {
    total[key, default: 0] += Amount.milli(value) ?? 0
  }
  return total
}

/// The same of what it may take: of the containers that say so.
func podLimits(_ spec: PodSpec) -> [String: Int64] {
  podAmounts(spec) { amounts($0.tree.at("resources", "limits")) }
}

private func amounts(_ list: JSON?) -> [String: Int64] {
  (list?.object ?? JSONObject()).reduce(into: [:]) { found, entry in
    if let value = PodSpec.amount(entry.value) { found[entry.key] = value }
  }
}

private func podAmounts(_ spec: PodSpec, _ amounts: (ContainerSpec) -> [String: Int64]) -> [String: Int64] {
  func add(_ a: [String: Int64], _ b: [String: Int64]) -> [String: Int64] { a.merging(b) { $0 + $1 } }
  var sidecars: [String: Int64] = [:]
  var peak: [String: Int64] = [:]
  for container in spec.initContainers {
    if container.role == .sidecar {
      sidecars = add(sidecars, amounts(container))
      peak.merge(sidecars) { max($0, $1) }
    } else {
      peak.merge(add(sidecars, amounts(container))) { max($0, $1) }
    }
  }
  var total = spec.containers.reduce(sidecars) { add($0, amounts($1)) }
  total.merge(peak) { max($0, $1) }
  return total
}

/// Why the pod is refused, in kubelet's words; nil when it may run.
func planAdmission(_ spec: PodSpec, _ room: NodeRoom) -> PodEnd? {
  func refuse(_ reason: String, _ message: String) -> PodEnd {
    PodEnd(reason: reason, message: "Pod was rejected: " + message, graceSeconds: 0)
  }
  let pod = spec.pod
  if let name = forbiddenSysctl(pod, room.allowedSysctls) {
    return refuse("SysctlForbidden", "forbidden sysctl: \"\(name)\" not allowlisted")
  }
  if let system = pod.at("spec", "os", "name")?.string, system != "linux" {
    return refuse("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
  }
  if wantsAppArmor(spec) {
    return refuse("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
  }
  // The node's own pods are not the scheduler's.
  guard !pod.isStaticPod else { return nil }
  if room.pods.count >= room.podsMax {
    return refuse(
      "OutOfpods",
      "Node didn't have enough resource: pods, requested: 1, used: \(room.pods.count), "
        + "capacity: \(room.podsMax)")
  }
  var used: [String: Int64] = [:]
  for other in room.pods { used.merge(podRequests(other)) { $0 + $1 } }
  for (resource, amount) in podRequests(spec).sorted(by: { $0.key < $1.key }) where amount > 0 {
    // What the node does not know is somebody else's to say no to.
    guard let capacity = room.allocatable[resource] else { continue }
    if amount + used[resource, default: 0] > capacity {
      // Processors are told in thousandths, everything else in units.
      let unit: Int64 = resource == "cpu" ? 1 : 1000
      return refuse(
        "OutOf\(resource)",
        "Node didn't have enough resource: \(resource), requested: \(amount / unit), "
          + "used: \(used[resource, default: 0] / unit), capacity: \(capacity / unit)")
    }
  }
  guard matchesNode(pod, room.labels, nodeName: room.nodeName) else {
    return refuse(
      "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")
  }
  let ports = hostPorts(spec)
  if !ports.isEmpty {
    let taken = room.pods.flatMap(hostPorts)
    if taken.contains(where: { other in ports.contains { $0.conflicts(with: other) } }) {
      return refuse(
        "NodePorts",
        "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
    }
  }
  if isTaintedFor(pod, room.taints) {
    return refuse(
      "TaintToleration",
      "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate")
  }
  return nil
}

private func hostPorts(_ spec: PodSpec) -> [HostPort] {
  HostPort.all(of: spec.pod.spec, spec.all.map(\.tree))
}

/// The sysctls that harm nobody but their pod.
private let safeSysctls: Set<String> = [
  "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
  "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports",
  "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
  "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
]

private func forbiddenSysctl(_ pod: JSON, _ allowed: [String]) -> String? {
  let names = (pod.at("spec", "securityContext", "sysctls")?.elements ?? []).compactMap { $0["name"]?.string }
  return names.first { name in
    let dotted = name.replacing("/", with: ".")
    return !safeSysctls.contains(dotted)
      && !allowed.contains { $0 == dotted || $0.hasSuffix("*") && dotted.hasPrefix($0.dropLast()) }
  }
}

/// `nodeSelector` and the required node affinity, by labels.
func matchesNode(_ pod: JSON, _ labels: [String: String], nodeName: String) -> Bool {
  for (key, value) in pod.at("spec", "nodeSelector")?.stringMap ?? [:] where labels[key] != value {
    return false
  }
  guard
    let terms = pod.at(
      "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
      "nodeSelectorTerms")?.elements, !terms.isEmpty
  else { return true }
  return terms.contains { term in
    let expressions = term["matchExpressions"]?.elements ?? []
    let fields = term["matchFields"]?.elements ?? []
    // An empty term matches nothing.
    guard !expressions.isEmpty || !fields.isEmpty else { return false }
    return expressions.allSatisfy { matches($0, labels) }
      && fields.allSatisfy { matches($0, ["metadata.name": nodeName]) }
  }
}

private func matches(_ requirement: JSON, _ labels: [String: String]) -> Bool {
  let value = requirement["key"]?.string.flatMap { labels[$0] }
  let values = requirement["values"]?.elements.compactMap(\.string) ?? []
  switch requirement["operator"]?.string {
  case "In": return value.map { values.contains($0) } ?? false
  case "NotIn": return value.map { !values.contains($0) } ?? true
  case "Exists": return value != nil
  case "DoesNotExist": return value == nil
  case "Gt", "Lt":
    guard let have = value.flatMap({ Int64($0) }), let limit = values.first.flatMap({ Int64($0) }) else {
      return false
    }
    return requirement["operator"]?.string == "Gt" ? have > limit : have < limit
  default: return false
  }
}
