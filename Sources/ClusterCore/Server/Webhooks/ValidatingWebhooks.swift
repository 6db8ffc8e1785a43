// Validating webhooks: all at once; each must agree.

import ClusterClient
import ClusterObjects

struct ValidatingWebhooks: AdmissionPlugin {
  let name = "ValidatingAdmissionWebhook"
  let interest = AdmissionInterest.validating(nil, Set(AdmissionOperation.allCases), subresources: nil)
  private let index: WebhookIndex
  private let dispatch: WebhookDispatch
  private let state: AdmissionState

  init(state: AdmissionState, caller: WebhookCaller) {
    index = WebhookIndex(.validatingWebhookConfigurations, state)
    dispatch = WebhookDispatch(caller: caller, state: state, type: "validating")
    self.state = state
  }

  private struct Outcome: Sendable {
    var verdict: AdmissionVerdict?
    var error: APIStatusError?
  }

  func validate(_ request: inout AdmissionRequest) async throws {
    let webhooks = index.webhooks
    if webhooks.isEmpty || WebhookDispatch.isExempt(request) { return }
    let shown = request
    let wanted = webhooks.compactMap { webhook in webhook.shown(shown, state).map { (webhook, $0) } }
    if wanted.isEmpty { return }
    let outcomes = await outcomes(wanted, shown)
    var refusal: APIStatusError?
    // The first in order speaks, whichever answered first.
    for (position, (webhook, _)) in wanted.enumerated() {
      let outcome = outcomes[position] ?? Outcome()
      if let error = outcome.error {
        refusal = refusal ?? error
      } else if let verdict = outcome.verdict {
        request.take(verdict, of: webhook)
        if !verdict.isAllowed {
          refusal = refusal ?? AdmissionReview.refusal(webhook.name, verdict.status)
        }
      } else {
        request.auditAnnotations[
          "failed-open.validating.webhook.admission.k8s.io/round_0_index_\(position)"] =
          webhook.name
      }
    }
    if let refusal { throw refusal }
  }

  private func outcomes(_ wanted: [(Webhook, Webhook.Shown)], _ request: AdmissionRequest) async -> [Int:
    Outcome]
  {
    let dispatch = dispatch
    return await withTaskGroup(of: (Int, Outcome).self) { group in
      for (position, (webhook, shown)) in wanted.enumerated() {
        group.addTask {
          do {
            return (position, Outcome(verdict: try await dispatch.call(webhook, request, shown)))
          } catch {
            return (
              position,
              Outcome(
                error: error as? APIStatusError
                  ?? AdmissionReview.failure(webhook.name, WebhookError(.unreachable, "\(error)")))
            )
          }
        }
      }
      var outcomes: [Int: Outcome] = [:]
      for await (position, outcome) in group { outcomes[position] = outcome }
      return outcomes
    }
  }
}
