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
    for (position, webhook) in (object["webhooks"]?.elements ?? []).enumerated() {
      let path = FieldPath("webhooks").index(position)
      if !(webhook["matchConditions"]?.elements.isEmpty ?? true) {
        errors.append(
          .forbidden(
            path.child("matchConditions"),
            "match conditions are CEL expressions, which this server does not evaluate yet; select with rules, "
              + "namespaceSelector and objectSelector"))
      }
      do throws(WebhookError) { _ = try WebhookTarget(clientConfig: webhook["clientConfig"] ?? .null) } catch
      {
        errors.append(
          .invalid(path.child("clientConfig"), webhook["clientConfig"] ?? .null, error.description))
      }
      for field in ["namespaceSelector", "objectSelector"] {
        guard let selector = webhook[field] else { continue }
        do throws(SelectorError) { _ = try LabelSelector(selector) } catch {
          errors.append(.invalid(path.child(field), selector, error.description))
        }
      }
    }
    if !errors.isEmpty { throw Failure.invalid(request.kind, request.name, errors) }
  }
}
