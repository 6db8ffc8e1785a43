// One webhook of a configuration, read once: what it wants to see, whom to call and what a failure means.

import ClusterClient
import ClusterObjects

/// A webhook. Immutable.
struct Webhook: Sendable {
  struct Rule: Sendable {
    var operations: Set<String>
    var groups: Set<String>
    var versions: Set<String>
    /// `pods`, `pods/status`, `*`, `*/scale`, …
    var resources: [(resource: String, subresource: String)]
    var scope: String
  }
  /// As what a request is shown to a webhook.
  struct Shown: Sendable {
    var kind: GroupVersionKind
    var resource: GroupVersionResource
    /// The kind whose version the webhook's rule names, when that is not the request's.
    var other: ResourceKind?
  }

  var configuration: String
  /// Position among the webhooks of its configuration.
  var index: Int
  var name: String
  var target: Result<WebhookTarget, WebhookError>
  var rules: [Rule]
  var isEquivalent: Bool
  var namespaceSelector: LabelSelector
  var objectSelector: LabelSelector
  var ignoresFailure: Bool
  var timeoutSeconds: Int64
  var supportsDryRun: Bool
  var isReinvoked: Bool
  /// Of the versions it understands the first that we do; nil when there is none.
  var reviewVersion: String?

  init(_ json: JSON, configuration: String, index: Int) {
    self.configuration = configuration
    self.index = index
    name = json["name"]?.string ?? ""
    do throws(WebhookError) {
      target = .success(try WebhookTarget(clientConfig: json["clientConfig"] ?? .null))
    } catch { target = .failure(error) }
    rules = (json["rules"]?.elements ?? []).map { rule in
      func set(_ field: String) -> Set<String> {
        Set((rule[field]?.elements ?? []).compactMap(\.string))
      }
      return Rule(
        operations: set("operations"), groups: set("apiGroups"), versions: set("apiVersions"),
        resources: (rule["resources"]?.elements ?? []).compactMap(\.string).map { text in
          let parts = text.split(separator: "/", maxSplits: 1).map(String.init)
          return (parts.first ?? "", parts.count > 1 ? parts[1] : "")
        }, scope: rule["scope"]?.string ?? "*")
    }
    isEquivalent = json["matchPolicy"]?.string != "Exact"
    // What cannot be read is taken as everything: a guard that is not asked guards nothing.
    func selector(_ field: String) -> LabelSelector {
      guard let value = json[field] else { return .everything }
      return (try? LabelSelector(value)) ?? .everything
    }
    namespaceSelector = selector("namespaceSelector")
    objectSelector = selector("objectSelector")
    ignoresFailure = json["failurePolicy"]?.string == "Ignore"
    timeoutSeconds = min(30, max(1, json["timeoutSeconds"]?.integer ?? 10))
    supportsDryRun = ["None", "NoneOnDryRun"].contains(json["sideEffects"]?.string ?? "")
    isReinvoked = json["reinvocationPolicy"]?.string == "IfNeeded"
    reviewVersion = (json["admissionReviewVersions"]?.elements ?? []).compactMap(\.string)
      .first { $0 == "v1" || $0 == "v1beta1" }
  }

  var identifier: String { "\(configuration)/\(name)/\(index)" }

  // MARK: Matching

  /// As what the request is to be shown to this webhook; nil when it does not want to see it.
  func shown(_ request: AdmissionRequest, _ state: AdmissionState) -> Shown? {
    guard selectsNamespace(request, state), selectsObject(request) else { return nil }
    let kind = request.kind
    if rules.contains(where: { $0.matches(request, kind.gvr) }) {
      return Shown(kind: request.gvk, resource: kind.gvr)
    }
    guard isEquivalent else { return nil }
    for other in state.kinds.current.kinds
    where other.storageName == kind.storageName && other.gvr != kind.gvr {
      if rules.contains(where: { $0.matches(request, other.gvr) }) {
        let isWhole = request.subresourceKind == nil
        return Shown(
          kind: request.subresourceKind ?? other.gvk, resource: other.gvr, other: isWhole ? other : nil)
      }
    }
    return nil
  }

  private func selectsNamespace(_ request: AdmissionRequest, _ state: AdmissionState) -> Bool {
    if namespaceSelector.isEmpty { return true }
    if request.kind.kind == "Namespace", request.kind.group.isEmpty {
      if request.subresource.isEmpty, let object = request.object {
        return namespaceSelector.matches(object.labels)
      }
      return namespaceSelector.matches(state.namespaceLabels(request.name))
    }
    guard request.kind.isNamespaced else { return true }
    return namespaceSelector.matches(state.namespaceLabels(request.namespace))
  }

  private func selectsObject(_ request: AdmissionRequest) -> Bool {
    if objectSelector.isEmpty { return true }
    for object in [request.object, request.old] {
      if let object, object["metadata"] != nil, objectSelector.matches(object.labels) { return true }
    }
    return false
  }
}

extension Webhook.Rule {
  func matches(_ request: AdmissionRequest, _ gvr: GroupVersionResource) -> Bool {
    guard operations.contains("*") || operations.contains(request.operation.rawValue),
      groups.contains("*") || groups.contains(gvr.group),
      versions.contains("*") || versions.contains(gvr.version)
    else { return false }
    switch scope {
    case "Namespaced": if !request.kind.isNamespaced { return false }
    case "Cluster": if request.kind.isNamespaced { return false }
    default: break
    }
    return resources.contains { rule in
      (rule.resource == "*" || rule.resource == gvr.resource)
        && (rule.subresource == "*" || rule.subresource == request.subresource)
    }
  }
}
