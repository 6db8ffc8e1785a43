// Pod Security: what a namespace's labels enforce is refused, what they warn of is told, for pods and for the
// templates of workloads.

import ClusterClient
import ClusterObjects
import Diagnostics

struct PodSecurityPlugin: AdmissionPlugin {
  let name = "PodSecurity"
  private static let workloads: [GroupResource] = [
    GroupResource("", "replicationcontrollers"), GroupResource("", "podtemplates"),
    GroupResource("apps", "deployments"), GroupResource("apps", "replicasets"),
    GroupResource("apps", "statefulsets"), GroupResource("apps", "daemonsets"),
    GroupResource("batch", "jobs"), GroupResource("batch", "cronjobs"),
  ]
  let interest = AdmissionInterest.validating(
    [GroupResource("", "pods"), GroupResource("", "namespaces")] + workloads, [.create, .update],
    subresources: ["", "ephemeralcontainers"])
  private let state: AdmissionState
  private let settings: PodSecuritySettings
  private let standard: PodSecurityPolicies
  /// Pods looked at when a namespace's level rises.
  private static let podsMax = 3_000
  private let evaluations = Metrics.shared.counter(
    "pod_security_evaluations_total", "Pods and templates looked at, by what was decided.",
    labels: ["decision", "mode", "policy_level", "policy_version", "request_operation", "resource"])

  init(state: AdmissionState, settings: PodSecuritySettings) {
    self.state = state
    self.settings = settings
    standard = PodSecurityPolicies(settings)
  }

  func validate(_ request: inout AdmissionRequest) async throws {
    guard let object = request.object else { return }
    if request.kind.kind == "Namespace" {
      if request.subresource.isEmpty { try validateNamespace(&request, object) }
      return
    }
    var ignored: [FieldError] = []
    let policies = PodSecurityPolicies(
      labels: state.namespaceLabels(request.namespace), standard: standard, errors: &ignored)
    if policies.isIdle || settings.exemptNamespaces.contains(request.namespace)
      || settings.exemptUsers.contains(request.identity.user)
    {
      return
    }
    let isPod = request.kind.kind == "Pod"
    if isPod, request.operation == .update, request.subresource.isEmpty,
      !Self.isSignificant(object, request.old ?? .null)
    {
      return
    }
    guard let (metadata, spec) = Self.pod(object, request.kind) else { return }
    if let name = spec["runtimeClassName"]?.string, settings.exemptRuntimeClasses.contains(name) { return }
    if isPod {
      request.auditAnnotations["pod-security.kubernetes.io/enforce-policy"] = policies.enforce.description
      let findings = PodSecurityChecks.findings(metadata: metadata, spec: spec, policies.enforce)
      count(request, "enforce", policies.enforce, isAllowed: findings.isEmpty)
      if !findings.isEmpty {
        throw request.forbidden("violates PodSecurity \"\(policies.enforce)\": \(Self.text(findings))")
      }
    }
    let audited = PodSecurityChecks.findings(metadata: metadata, spec: spec, policies.audit)
    if policies.audit.level != .privileged {
      count(request, "audit", policies.audit, isAllowed: audited.isEmpty)
    }
    if !audited.isEmpty {
      request.auditAnnotations["pod-security.kubernetes.io/audit-violations"] =
        "would violate PodSecurity \"\(policies.audit)\": \(Self.text(audited))"
    }
    let warned = PodSecurityChecks.findings(metadata: metadata, spec: spec, policies.warn)
    if !warned.isEmpty {
      request.warnings.append("would violate PodSecurity \"\(policies.warn)\": \(Self.text(warned))")
    }
  }

  private func count(
    _ request: AdmissionRequest, _ mode: String, _ policy: PodSecurityPolicy, isAllowed: Bool
  ) {
    evaluations.child(
      isAllowed ? "allow" : "deny", mode, policy.level.rawValue, policy.version.description,
      request.operation == .create ? "create" : "update", request.kind.kind == "Pod" ? "pod" : "controller"
    ).increment()
  }

  private static func text(_ findings: [PodSecurityFinding]) -> String {
    findings.map(\.description).joined(separator: ", ")
  }

  /// The pod that an object is or makes.
  private static func pod(_ object: JSON, _ kind: ResourceKind) -> (metadata: JSON, spec: JSON)? {
    switch kind.kind {
    case "Pod": return (object.metadata, object.spec)
    case "PodTemplate": return object["template"].map { ($0.metadata, $0.spec) }
    case "CronJob":
      return object.at("spec", "jobTemplate", "spec", "template").map { ($0.metadata, $0.spec) }
    default: return object.at("spec", "template").map { ($0.metadata, $0.spec) }
    }
  }

  /// Images, deadlines and tolerations may change without another look.
  private static func isSignificant(_ new: JSON, _ old: JSON) -> Bool {
    func bare(_ pod: JSON) -> JSON {
      var spec = pod.spec
      for field in [
        "activeDeadlineSeconds", "tolerations", "schedulingGates", "terminationGracePeriodSeconds",
      ] {
        spec[field] = nil
      }
      for list in ["containers", "initContainers"] {
        guard let containers = spec[list]?.array else { continue }
        spec[list] = .array(
          containers.map { container in
            var container = container
            for field in ["image", "resources"] { container[field] = nil }
            return container
          })
      }
      return spec
    }
    func profiles(_ pod: JSON) -> [String: String] {
      pod.annotations.filter { $0.key.contains("apparmor.security") || $0.key.contains("seccomp.security") }
    }
    return bare(new) != bare(old) || profiles(new) != profiles(old)
  }

  // MARK: Namespaces

  private func validateNamespace(_ request: inout AdmissionRequest, _ object: JSON) throws {
    var errors: [FieldError] = []
    let new = PodSecurityPolicies(labels: object.labels, standard: standard, errors: &errors)
    guard let old = request.old else {
      if !errors.isEmpty { throw Failure.invalid(request.kind, object.name, errors) }
      return
    }
    var oldErrors: [FieldError] = []
    let before = PodSecurityPolicies(labels: old.labels, standard: standard, errors: &oldErrors)
    // What was wrong before is not in the way of other changes.
    if !errors.isEmpty, errors != oldErrors { throw Failure.invalid(request.kind, object.name, errors) }
    guard new.enforce != before.enforce, new.enforce.level != .privileged,
      new.enforce.level >= before.enforce.level, !settings.exemptNamespaces.contains(object.name)
    else { return }
    request.warnings += warnings(object.name, new.enforce)
  }

  /// What of the present pods would not be let in again. Pods of one owner that fail alike are told once.
  private func warnings(_ namespace: String, _ policy: PodSecurityPolicy) -> [String] {
    let pods = state.objects(.pods, namespace: namespace)
    var groups: [(text: String, name: String, count: Int)] = []
    for pod in pods.prefix(Self.podsMax) {
      if let name = pod.tree.at("spec", "runtimeClassName")?.string,
        settings.exemptRuntimeClasses.contains(name)
      {
        continue
      }
      let findings = PodSecurityChecks.findings(metadata: pod.tree.metadata, spec: pod.tree.spec, policy)
      if findings.isEmpty { continue }
      let text = findings.map(\.reason).joined(separator: ", ")
      if let index = groups.firstIndex(where: { $0.text == text }) {
        groups[index].count += 1
      } else {
        groups.append((text, pod.name, 1))
      }
    }
    if groups.isEmpty { return [] }
    var warnings = [
      "existing pods in namespace \"\(namespace)\" violate the new PodSecurity enforce level \"\(policy)\""
    ]
    if pods.count > Self.podsMax {
      warnings.append("large namespace: only evaluated \(Self.podsMax) of \(pods.count) pods")
    }
    for group in groups {
      let others =
        group.count == 1 ? "" : " (and \(group.count - 1) other pod\(group.count == 2 ? "" : "s"))"
      warnings.append("\(group.name)\(others): \(group.text)")
    }
    return warnings
  }
}
