// What `restricted` asks for besides: no way to more rights than a plain process has.

import ClusterObjects

extension PodSecurityChecks {
  /// Windows has neither capabilities nor seccomp; the checks know since 1.25.
  private static func passesOver(_ pod: CheckedPod, _ version: PodSecurityVersion) -> Bool {
    pod.isWindows && version.isAtLeast(25)
  }

  static func escalation(_ pod: CheckedPod, _ version: PodSecurityVersion) -> PodSecurityFinding? {
    if passesOver(pod, version) { return nil }
    let bad = pod.names { $0.at("securityContext", "allowPrivilegeEscalation")?.bool != false }
    if bad.isEmpty { return nil }
    return PodSecurityFinding(
      reason: "allowPrivilegeEscalation != false",
      detail: "\(containers(bad)) must set securityContext.allowPrivilegeEscalation=false")
  }

  static func restrictedCapabilities(_ pod: CheckedPod, _ version: PodSecurityVersion) -> PodSecurityFinding?
  {
    if passesOver(pod, version) { return nil }
    let keeping = pod.names { container in
      !(container.at("securityContext", "capabilities", "drop")?.elements ?? []).contains("ALL")
    }
    func forbidden(_ container: JSON) -> [String] { added(container).filter { $0 != "NET_BIND_SERVICE" } }
    let adding = pod.names { !forbidden($0).isEmpty }
    var details: [String] = []
    if !keeping.isEmpty {
      details.append("\(containers(keeping)) must set securityContext.capabilities.drop=[\"ALL\"]")
    }
    if !adding.isEmpty {
      let names = unique(pod.containers.flatMap { forbidden($0.object) })
      details.append(
        "\(containers(adding)) must not include \(quoted(names)) in securityContext.capabilities.add")
    }
    if details.isEmpty { return nil }
    return PodSecurityFinding(
      reason: "unrestricted capabilities", detail: details.joined(separator: "; "))
  }

  private static let allowedVolumes: Set<String> = [
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
    "secret",
  ]

  static func restrictedVolumes(_ pod: CheckedPod) -> PodSecurityFinding? {
    var names: [String] = []
    var types: [String] = []
    for volume in pod.spec["volumes"]?.elements ?? [] {
      let sources = (volume.object?.keys ?? []).filter { $0 != "name" }
      if sources.contains(where: allowedVolumes.contains) { continue }
      names.append(volume["name"]?.string ?? "")
      types.append(sources.first ?? "unknown")
    }
    if names.isEmpty { return nil }
    let all = unique(types)
    return PodSecurityFinding(
      reason: "restricted volume types",
      detail: "\(noun("volume", names)) use\(names.count == 1 ? "s" : "") restricted volume "
        + noun("type", all))
  }

  static func runAsNonRoot(_ pod: CheckedPod) -> PodSecurityFinding? {
    func value(_ object: JSON) -> Bool? { object.at("securityContext", "runAsNonRoot")?.bool }
    let ofPod = value(pod.spec)
    let reason = "runAsNonRoot != true"
    let explicit = setters(pod: ofPod == false, pod.names { value($0) == false })
    if !explicit.isEmpty {
      return PodSecurityFinding(
        reason: reason, detail: "\(explicit) must not set securityContext.runAsNonRoot=false")
    }
    let silent = ofPod == true ? [] : pod.names { value($0) == nil }
    if silent.isEmpty { return nil }
    return PodSecurityFinding(
      reason: reason, detail: "pod or \(containers(silent)) must set securityContext.runAsNonRoot=true")
  }

  static func runAsUser(_ pod: CheckedPod) -> PodSecurityFinding? {
    func isRoot(_ object: JSON) -> Bool { object.at("securityContext", "runAsUser")?.integer == 0 }
    let bad = setters(pod: isRoot(pod.spec), pod.names(where: isRoot))
    return bad.isEmpty
      ? nil : PodSecurityFinding(reason: "runAsUser=0", detail: "\(bad) must not set runAsUser=0")
  }

  static func restrictedSeccomp(_ pod: CheckedPod, _ version: PodSecurityVersion) -> PodSecurityFinding? {
    if passesOver(pod, version) { return nil }
    func isBad(_ object: JSON) -> Bool {
      seccompType(object).map { $0 != "RuntimeDefault" && $0 != "Localhost" } ?? false
    }
    let explicit = setters(pod: isBad(pod.spec), pod.names(where: isBad))
    if !explicit.isEmpty {
      let values = unique(
        ([pod.spec] + pod.containers.map(\.object)).filter(isBad).compactMap(seccompType))
      return PodSecurityFinding(
        reason: "seccompProfile",
        detail: "\(explicit) must not set securityContext.seccompProfile.type to \(quoted(values))")
    }
    let silent = seccompType(pod.spec) == nil ? pod.names { seccompType($0) == nil } : []
    if silent.isEmpty { return nil }
    return PodSecurityFinding(
      reason: "seccompProfile",
      detail: "pod or \(containers(silent)) must set securityContext.seccompProfile.type to "
        + "\"RuntimeDefault\" or \"Localhost\"")
  }
}
