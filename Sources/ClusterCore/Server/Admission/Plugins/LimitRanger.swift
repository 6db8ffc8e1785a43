// LimitRanges of a namespace: what containers get that ask for nothing, and what nobody may ask for.

import ClusterClient
import ClusterObjects

struct LimitRanger: AdmissionPlugin {
  let name = "LimitRanger"
  let interest = AdmissionInterest.both(
    [GroupResource("", "pods"), GroupResource("", "persistentvolumeclaims")], [.create, .update],
    subresources: ["", "resize"])
  let state: AdmissionState
  private static let annotation = "kubernetes.io/limit-ranger"

  /// A pod's resources change by `resize` only; a claim's by update.
  private func concerns(_ request: AdmissionRequest) -> Bool {
    guard request.kind.kind == "Pod" else { return request.subresource.isEmpty }
    return request.operation == .create ? request.subresource.isEmpty : request.subresource == "resize"
  }

  private func ranges(_ namespace: String) -> [CachedObject] {
    state.objects(.limitRanges, namespace: namespace).filter { !$0.tree.isTerminating }
  }

  func admit(_ request: inout AdmissionRequest) async throws {
    guard request.kind.kind == "Pod", request.operation == .create, concerns(request),
      var pod = request.object
    else { return }
    for range in ranges(request.namespace) { Self.setDefaults(&pod, range.tree) }
    request.object = pod
  }

  func validate(_ request: inout AdmissionRequest) async throws {
    guard concerns(request), let object = request.object else { return }
    for range in ranges(request.namespace) {
      let items = range.tree.at("spec", "limits")?.elements ?? []
      let findings =
        request.kind.kind == "Pod"
        ? items.flatMap { Self.findings(pod: object, $0) }
        : items.flatMap { Self.findings(claim: object, $0) }
      if findings.isEmpty { continue }
      throw request.forbidden(
        findings.count == 1 ? findings[0] : "[\(findings.joined(separator: ", "))]")
    }
  }

  // MARK: Defaults

  private static func setDefaults(_ pod: inout JSON, _ range: JSON) {
    var limits: [String: String] = [:]
    var requests: [String: String] = [:]
    for item in range.at("spec", "limits")?.elements ?? [] where item["type"]?.string == "Container" {
      limits.merge(item["default"]?.stringMap ?? [:]) { $1 }
      requests.merge(item["defaultRequest"]?.stringMap ?? [:]) { $1 }
    }
    if limits.isEmpty, requests.isEmpty { return }
    var told: [String] = []
    for (list, label) in [("containers", "container"), ("initContainers", "init container")] {
      guard var containers = pod.at("spec", list)?.array, !containers.isEmpty else { continue }
      for index in containers.indices {
        let name = containers[index]["name"]?.string ?? ""
        for (field, values) in [("requests", requests), ("limits", limits)] {
          var set: [String] = []
          for (resource, amount) in values.sorted(by: { $0.key < $1.key })
          where containers[index].at("resources", field, resource) == nil {
            containers[index].set(JSON(amount), at: "resources", field, resource)
            set.append(resource)
          }
          if set.isEmpty { continue }
          told.append("\(set.joined(separator: ", ")) \(field.dropLast()) for \(label) \(name)")
        }
      }
      pod.set(.array(containers), at: "spec", list)
    }
    if told.isEmpty { return }
    pod.set(
      JSON("LimitRanger plugin set: " + told.joined(separator: "; ")), at: "metadata", "annotations",
      annotation)
  }

  // MARK: Limits

  private static func findings(pod: JSON, _ item: JSON) -> [String] {
    let type = item["type"]?.string ?? ""
    var findings: [String] = []
    switch type {
    case "Container":
      for list in ["containers", "initContainers"] {
        for container in pod.at("spec", list)?.elements ?? [] {
          findings += check(
            item, type, ResourceList(container.at("resources", "requests")),
            ResourceList(container.at("resources", "limits")))
        }
      }
    case "Pod":
      findings += check(item, type, total(pod, "requests"), total(pod, "limits"))
    default: break
    }
    return findings
  }

  /// The sum of the containers, or the largest init step when that is more. A resource that one container
  /// does not name still counts for the others.
  private static func total(_ pod: JSON, _ field: String) -> ResourceList {
    var sum = ResourceList()
    for container in pod.at("spec", "containers")?.elements ?? [] {
      sum = sum + ResourceList(container.at("resources", field))
    }
    var sidecars = ResourceList()
    var peak = ResourceList()
    for container in pod.at("spec", "initContainers")?.elements ?? [] {
      let own = ResourceList(container.at("resources", field))
      if container["restartPolicy"]?.string == "Always" {
        sidecars = sidecars + own
        peak = peak.union(sidecars)
      } else {
        peak = peak.union(sidecars + own)
      }
    }
    var total = (sum + sidecars).union(peak)
    total.amounts.merge(ResourceList(pod.at("spec", "resources", field)).amounts) { $1 }
    return total
  }

  private static func findings(claim: JSON, _ item: JSON) -> [String] {
    guard item["type"]?.string == "PersistentVolumeClaim" else { return [] }
    let requests = ResourceList(claim.at("spec", "resources", "requests"))
    var findings: [String] = []
    for (name, least) in sorted(item["min"]) {
      if let text = below(name, "PersistentVolumeClaim", least, requests, ResourceList()) {
        findings.append(text)
      }
    }
    for (name, most) in sorted(item["max"]) {
      let head = "maximum \(name) usage per PersistentVolumeClaim is \(most)"
      guard let asked = requests.amounts[name] else {
        findings.append("\(head).  No request is specified")
        continue
      }
      if asked > most { findings.append("\(head), but request is \(asked)") }
    }
    return findings
  }

  private static func sorted(_ json: JSON?) -> [(String, Quantity)] {
    ResourceList(json).amounts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  private static func check(
    _ item: JSON, _ type: String, _ requests: ResourceList, _ limits: ResourceList
  ) -> [String] {
    var findings: [String] = []
    for (name, least) in sorted(item["min"]) {
      if let text = below(name, type, least, requests, limits) { findings.append(text) }
    }
    for (name, most) in sorted(item["max"]) {
      let head = "maximum \(name) usage per \(type) is \(most)"
      guard let limit = limits.amounts[name] else {
        findings.append("\(head).  No limit is specified")
        continue
      }
      if limit > most {
        findings.append("\(head), but limit is \(limit)")
      } else if let request = requests.amounts[name], request > most {
        findings.append("\(head), but request is \(request)")
      }
    }
    for (name, most) in sorted(item["maxLimitRequestRatio"]) {
      let head = "\(name) max limit to request ratio per \(type) is \(most)"
      guard let request = requests.amounts[name], !request.isZero else {
        findings.append("\(head), but no request is specified or request is 0")
        continue
      }
      guard let limit = limits.amounts[name], !limit.isZero else {
        findings.append("\(head), but no limit is specified or limit is 0")
        continue
      }
      let ratio = limit.approximate / request.approximate
      if ratio > most.approximate { findings.append("\(head), but provided ratio is \(sixDecimals(ratio))") }
    }
    return findings
  }

  private static func below(
    _ name: String, _ type: String, _ least: Quantity, _ requests: ResourceList, _ limits: ResourceList
  ) -> String? {
    let head = "minimum \(name) usage per \(type) is \(least)"
    guard let request = requests.amounts[name] else { return "\(head).  No request is specified" }
    if request < least { return "\(head), but request is \(request)" }
    if let limit = limits.amounts[name], limit < least { return "\(head), but limit is \(limit)" }
    return nil
  }

  private static func sixDecimals(_ value: Double) -> String {
    guard value.isFinite, value < 1e12 else { return "\(value)" }
    let millionths = Int64((value * 1_000_000).rounded())
    let digits = String(millionths % 1_000_000)
    return "\(millionths / 1_000_000)." + String(repeating: "0", count: 6 - digits.count) + digits
  }
}

extension Quantity {
  /// For ratios: exact to about fifteen digits.
  fileprivate var approximate: Double {
    let milli = milliValue
    return milli == .max || milli > 1 << 50 ? Double(value) : Double(milli) / 1000
  }
}
