// The checks of the Pod Security Standards, https://kubernetes.io/docs/concepts/security/pod-security-standards.
// Pure: a pod's metadata and spec in, findings out, in upstream's words.

import ClusterObjects

/// A check that a pod does not pass: `privileged (container "a" must not set …)`.
struct PodSecurityFinding: Sendable, Hashable, CustomStringConvertible {
  var reason: String
  var detail: String
  var description: String { detail.isEmpty ? reason : "\(reason) (\(detail))" }
}

/// A pod under check.
struct CheckedPod {
  let annotations: [String: String]
  let spec: JSON
  /// Init containers, containers, containers for debugging: name and object.
  let containers: [(name: String, object: JSON)]
  var isWindows: Bool { spec.at("os", "name")?.string == "windows" }

  init(metadata: JSON, spec: JSON) {
    annotations = metadata["annotations"]?.stringMap ?? [:]
    self.spec = spec
    containers = ["initContainers", "containers", "ephemeralContainers"].flatMap { list in
      (spec[list]?.elements ?? []).map { ($0["name"]?.string ?? "", $0) }
    }
  }

  func names(where matches: (JSON) -> Bool) -> [String] {
    containers.filter { matches($0.object) }.map(\.name)
  }
}

enum PodSecurityChecks {
  /// Findings at a level; baseline's first. A check of `restricted` stands for the weaker one of its name.
  static func findings(metadata: JSON, spec: JSON, _ policy: PodSecurityPolicy) -> [PodSecurityFinding] {
    guard policy.level != .privileged else { return [] }
    let pod = CheckedPod(metadata: metadata, spec: spec)
    let version = policy.version
    let isRestricted = policy.level == .restricted
    var findings: [PodSecurityFinding?] = [appArmor(pod)]
    if !(isRestricted && version.isAtLeast(22)) { findings.append(capabilities(pod)) }
    findings.append(hostNamespaces(pod))
    if !isRestricted { findings.append(hostPaths(pod)) }
    findings.append(hostPorts(pod))
    if version.isAtLeast(34) { findings.append(probeHosts(pod)) }
    findings += [privileged(pod), procMount(pod), seLinux(pod, version)]
    if !isRestricted, version.isAtLeast(19) { findings.append(seccomp(pod)) }
    findings += [sysctls(pod, version), hostProcess(pod)]
    if isRestricted {
      if version.isAtLeast(8) { findings.append(escalation(pod, version)) }
      if version.isAtLeast(22) { findings.append(restrictedCapabilities(pod, version)) }
      findings += [restrictedVolumes(pod), runAsNonRoot(pod)]
      if version.isAtLeast(23) { findings.append(runAsUser(pod)) }
      if version.isAtLeast(19) { findings.append(restrictedSeccomp(pod, version)) }
    }
    return findings.compactMap(\.self)
  }

  // MARK: Words

  static func quoted(_ values: [String]) -> String { values.map { "\"\($0)\"" }.joined(separator: ", ") }
  static func noun(_ one: String, _ values: [String]) -> String {
    "\(one)\(values.count == 1 ? "" : "s") \(quoted(values))"
  }
  static func containers(_ names: [String]) -> String { noun("container", names) }
  static func unique(_ values: [String]) -> [String] { Set(values).sorted() }

  /// `pod`, `pod and container "a"`, `containers "a", "b"`.
  static func setters(pod: Bool, _ names: [String]) -> String {
    ((pod ? ["pod"] : []) + (names.isEmpty ? [] : [containers(names)])).joined(separator: " and ")
  }
}
