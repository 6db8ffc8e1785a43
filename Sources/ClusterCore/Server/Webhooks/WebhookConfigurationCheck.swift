// Webhook configurations that this server could not honour are refused when they are written, not passed over
// when they count.

import ClusterClient
import ClusterObjects

struct WebhookConfigurationCheck: AdmissionPlugin {
  let name = "WebhookConfigurationCheck"
  let interest = AdmissionInterest.validating(
    [
      GroupResource("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
      GroupResource("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ], [.create, .update])

  func validate(_ request: inout AdmissionRequest) async throws {
    guard let object = request.object else { return }
    var errors: [FieldError] = []
    var names: Set<String> = []
    for (position, webhook) in (object["webhooks"]?.elements ?? []).enumerated() {
      Self.check(webhook, FieldPath("webhooks").index(position), &errors)
      let name = webhook["name"]?.string ?? ""
      if !names.insert(name).inserted {
        errors.append(.duplicate(FieldPath("webhooks").index(position).child("name"), JSON(name)))
      }
    }
    if !errors.isEmpty { throw Failure.invalid(request.kind, request.name, errors) }
  }

  private static func check(_ webhook: JSON, _ path: FieldPath, _ errors: inout [FieldError]) {
    let name = webhook["name"]?.string ?? ""
    if let problem = Names.subdomainProblem(name) {
      errors.append(.invalid(path.child("name"), JSON(name), problem))
    } else if name.split(separator: ".").count < 3 {
      errors.append(
        .invalid(
          path.child("name"), JSON(name), "should be a domain with at least three segments separated by dots")
      )
    }
    checkClient(webhook["clientConfig"] ?? .null, path.child("clientConfig"), &errors)
    checkRules(webhook["rules"]?.elements ?? [], path.child("rules"), &errors)
    switch webhook["sideEffects"]?.string {
    case "None", "NoneOnDryRun": break
    case nil, "":
      errors.append(.required(path.child("sideEffects"), "must specify one of None, NoneOnDryRun"))
    case .some(let other):
      errors.append(.notSupported(path.child("sideEffects"), JSON(other), ["None", "NoneOnDryRun"]))
    }
    let versions = (webhook["admissionReviewVersions"]?.elements ?? []).compactMap(\.string)
    if versions.isEmpty {
      errors.append(.required(path.child("admissionReviewVersions"), "must specify one of v1, v1beta1"))
    } else if !versions.contains("v1"), !versions.contains("v1beta1") {
      errors.append(
        .invalid(
          path.child("admissionReviewVersions"), JSON(versions), "must include at least one of v1, v1beta1"))
    }
    if let seconds = webhook["timeoutSeconds"]?.integer, !(1...30).contains(seconds) {
      errors.append(
        .invalid(
          path.child("timeoutSeconds"), JSON(seconds), "the timeout value must be between 1 and 30 seconds"))
    }
    if !(webhook["matchConditions"]?.elements.isEmpty ?? true) {
      errors.append(
        .forbidden(
          path.child("matchConditions"),
          "match conditions are CEL expressions, which this server does not evaluate yet; select with rules, "
            + "namespaceSelector and objectSelector"))
    }
    for field in ["namespaceSelector", "objectSelector"] {
      guard let selector = webhook[field] else { continue }
      do throws(SelectorError) { _ = try LabelSelector(selector) } catch {
        errors.append(.invalid(path.child(field), selector, error.description))
      }
    }
  }

  private static func checkClient(_ config: JSON, _ path: FieldPath, _ errors: inout [FieldError]) {
    let url = config["url"]?.string ?? ""
    let hasService = config["service"]?.object != nil
    guard url.isEmpty == hasService else {
      errors.append(.required(path, "exactly one of url or service is required"))
      return
    }
    if hasService {
      for field in ["name", "namespace"] where (config.at("service", field)?.string ?? "").isEmpty {
        errors.append(.required(path.child("service", field), "service \(field) is required"))
      }
      if let port = config.at("service", "port")?.integer, !(1...65535).contains(port) {
        errors.append(
          .invalid(
            path.child("service", "port"), JSON(port),
            "port is not valid: must be between 1 and 65535, inclusive"))
      }
      return
    }
    guard url.hasPrefix("https://") else {
      errors.append(
        .invalid(
          path.child("url"), JSON(url),
          "'https' is the only allowed URL scheme; desired format: https://host[/path]"))
      return
    }
    do throws(WebhookError) { _ = try WebhookTarget(clientConfig: config) } catch {
      errors.append(.invalid(path.child("url"), JSON(url), error.description))
    }
  }

  private static func checkRules(_ rules: [JSON], _ path: FieldPath, _ errors: inout [FieldError]) {
    for (position, rule) in rules.enumerated() {
      for field in ["operations", "apiGroups", "apiVersions", "resources"] {
        let values = (rule[field]?.elements ?? []).compactMap(\.string)
        if values.isEmpty {
          errors.append(.required(path.index(position).child(field)))
        } else if values.count > 1, values.contains("*"), field != "resources" {
          errors.append(
            .invalid(
              path.index(position).child(field), JSON(values),
              "if '*' is present, must not specify other \(field == "operations" ? "operations" : field)"))
        }
        let known: Set<String> = ["*", "CREATE", "UPDATE", "DELETE", "CONNECT"]
        for (index, value) in values.enumerated() where field == "operations" && !known.contains(value) {
          errors.append(
            .notSupported(
              path.index(position).child(field).index(index), JSON(value), known.sorted()))
        }
      }
    }
  }
}
