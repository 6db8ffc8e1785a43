// Which objects a ResourceQuota is about, and what it makes them say of themselves.

extension QuotaUsage {
  /// Whether a quota's scopes take an object in. Only pods and claims have scopes; a quota with scopes is not
  /// about anything else.
  public static func matches(quota: JSON, _ object: JSON, _ gvr: GroupVersionResource) -> Bool {
    let requirements = requirements(of: quota)
    if requirements.isEmpty { return true }
    guard gvr.group.isEmpty else { return false }
    switch gvr.resource {
    case "pods": return requirements.allSatisfy { podMatches(object, $0) }
    case "persistentvolumeclaims":
      return requirements.allSatisfy { requirement in
        requirement.scope == "VolumeAttributesClass"
          && matches(requirement, value: object.at("spec", "volumeAttributesClassName")?.string ?? "")
      }
    default: return false
    }
  }

  struct ScopeRequirement {
    var scope: String
    var condition: String
    var values: [String]
  }

  static func requirements(of quota: JSON) -> [ScopeRequirement] {
    let plain = (quota.at("spec", "scopes")?.elements ?? []).compactMap(\.string).map {
      ScopeRequirement(scope: $0, condition: "Exists", values: [])
    }
    let selected = (quota.at("spec", "scopeSelector", "matchExpressions")?.elements ?? []).map {
      ScopeRequirement(
        scope: $0["scopeName"]?.string ?? "", condition: $0["operator"]?.string ?? "",
        values: ($0["values"]?.elements ?? []).compactMap(\.string))
    }
    return plain + selected
  }

  private static func matches(_ requirement: ScopeRequirement, value: String) -> Bool {
    switch requirement.condition {
    case "Exists": !value.isEmpty
    case "DoesNotExist": value.isEmpty
    case "In": requirement.values.contains(value)
    case "NotIn": !requirement.values.contains(value)
    default: false
    }
  }

  private static func podMatches(_ pod: JSON, _ requirement: ScopeRequirement) -> Bool {
    switch requirement.scope {
    case "Terminating": (pod.at("spec", "activeDeadlineSeconds")?.integer ?? -1) >= 0
    case "NotTerminating": (pod.at("spec", "activeDeadlineSeconds")?.integer ?? -1) < 0
    case "BestEffort": PodQuality.of(pod) == "BestEffort"
    case "NotBestEffort": PodQuality.of(pod) != "BestEffort"
    case "PriorityClass":
      matches(requirement, value: pod.at("spec", "priorityClassName")?.string ?? "")
    case "CrossNamespacePodAffinity": usesOtherNamespaces(pod)
    default: false
    }
  }

  private static func usesOtherNamespaces(_ pod: JSON) -> Bool {
    func isCrossing(_ term: JSON) -> Bool {
      !(term["namespaces"]?.elements.isEmpty ?? true) || term["namespaceSelector"] != nil
    }
    return ["podAffinity", "podAntiAffinity"].contains { kind in
      let affinity = pod.at("spec", "affinity", kind) ?? .null
      let required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]?.elements ?? []
      let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"]?.elements ?? []
      return required.contains(where: isCrossing)
        || preferred.contains { isCrossing($0["podAffinityTerm"] ?? .null) }
    }
  }

  /// What a quota on cpu or memory makes every container of a pod say, and who does not:
  /// `limits.cpu for: a,b; requests.memory for: a`. Nil when all is said.
  public static func missing(in pod: JSON, hard: some Sequence<String>) -> String? {
    let wanted = hard.filter {
      ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"].contains($0)
    }.sorted()
    if wanted.isEmpty { return nil }
    var missing: [String: Set<String>] = [:]
    let containers = ["containers", "initContainers"].flatMap { pod.at("spec", $0)?.elements ?? [] }
    for container in containers {
      for name in wanted {
        let isLimit = name.hasPrefix("limits.")
        let resource = name.split(separator: ".").last.map(String.init) ?? name
        if container.at("resources", isLimit ? "limits" : "requests", resource) != nil { continue }
        if pod.at("spec", "resources", isLimit ? "limits" : "requests", resource) != nil { continue }
        missing[name, default: []].insert(container["name"]?.string ?? "")
      }
    }
    if missing.isEmpty { return nil }
    return missing.sorted { $0.key < $1.key }
      .map { "\($0.key) for: \($0.value.sorted().joined(separator: ","))" }.joined(separator: "; ")
  }
}
