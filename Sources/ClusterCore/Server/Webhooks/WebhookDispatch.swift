// Calling one admission webhook: the review, the verdict, what is counted.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Calls admission webhooks; shared by the mutating and the validating plugin.
struct WebhookDispatch: Sendable {
  let caller: WebhookCaller
  let state: AdmissionState
  let type: String
  private let durations = Metrics.shared.histogram(
    "apiserver_admission_webhook_admission_duration_seconds", "Time of calls of webhooks.",
    labels: ["name", "operation", "rejected", "type"], bounds: AdmissionMetrics.bounds)
  private let requests = Metrics.shared.counter(
    "apiserver_admission_webhook_request_total", "Calls of webhooks, by what became of them.",
    labels: ["code", "name", "operation", "rejected", "type"])
  private let rejections = Metrics.shared.counter(
    "apiserver_admission_webhook_rejection_count", "Writes refused by webhooks or for want of their answer.",
    labels: ["error_type", "name", "operation", "rejection_code", "type"])
  private let failOpens = Metrics.shared.counter(
    "apiserver_admission_webhook_fail_open_count", "Failed calls that were passed over.",
    labels: ["name", "type"])

  init(caller: WebhookCaller, state: AdmissionState, type: String) {
    self.caller = caller
    self.state = state
    self.type = type
  }

  /// Never sent to any webhook: a wrong one could not be taken away again. Nor what the server itself writes.
  static func isExempt(_ request: AdmissionRequest) -> Bool {
    if request.identity == .system { return true }
    guard request.kind.group == "admissionregistration.k8s.io" else { return false }
    return request.kind.plural.hasPrefix("mutating") || request.kind.plural.hasPrefix("validating")
  }

  /// The verdict, or nil when the webhook failed and that is to be passed over. Throws what the client reads.
  func call(_ webhook: Webhook, _ request: AdmissionRequest, _ shown: Webhook.Shown) async throws
    -> AdmissionVerdict?
  {
    if request.isDryRun, !webhook.supportsDryRun {
      throw Failure.badRequest("admission webhook \"\(webhook.name)\" does not support dry run")
    }
    let began = ContinuousClock.now
    let operation = request.operation.rawValue
    func count(_ code: Int, isRejected: Bool) {
      let rejected = isRejected ? "true" : "false"
      durations.child(webhook.name, operation, rejected, type).observe(ContinuousClock.now - began)
      requests.child(String(code), webhook.name, operation, rejected, type).increment()
    }
    do throws(WebhookError) {
      let verdict = try await ask(webhook, request, shown)
      if verdict.isAllowed {
        count(200, isRejected: false)
        return verdict
      }
      let refusal = AdmissionReview.refusal(webhook.name, verdict.status)
      count(refusal.code, isRejected: true)
      rejections.child("no_error", webhook.name, operation, String(refusal.code), type).increment()
      return verdict
    } catch {
      if webhook.ignoresFailure {
        count(500, isRejected: false)
        failOpens.child(webhook.name, type).increment()
        return nil
      }
      count(500, isRejected: true)
      rejections.child("calling_webhook_error", webhook.name, operation, "0", type).increment()
      throw AdmissionReview.failure(webhook.name, error)
    }
  }

  private func ask(_ webhook: Webhook, _ request: AdmissionRequest, _ shown: Webhook.Shown)
    async throws(WebhookError) -> AdmissionVerdict
  {
    guard let version = webhook.reviewVersion else {
      throw WebhookError(
        .badAnswer, "webhook does not accept known AdmissionReview versions (v1, v1beta1)")
    }
    let uid = RESTCore.uid()
    let review = AdmissionReview.make(
      request, shown, uid: uid, version: version,
      object: request.object.map { shown.other?.served($0) ?? $0 },
      old: request.old.map { shown.other?.served($0) ?? $0 })
    let target = try webhook.target.get()
    let answer: JSON
    do throws(WebhookError) {
      answer = try await caller.post(review, to: target, timeout: .seconds(webhook.timeoutSeconds))
    } catch {
      throw WebhookError(error.kind, "failed to call webhook: \(error.description)")
    }
    return try AdmissionReview.verdict(answer, uid: uid, version: version, mayPatch: type == "admit")
  }
}
