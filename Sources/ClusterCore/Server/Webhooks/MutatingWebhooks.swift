// Mutating webhooks: one after the other, each seeing what the former made. Those that ask for it are called
// once more when something changed after them.

import ClusterClient
import ClusterObjects

/// What one write remembers of its mutating webhooks between two rounds.
struct WebhookRounds: Sendable {
  /// Something was changed by a webhook: plugins take another turn.
  var isNeeded = false
  var isSecond = false
  /// Called, and to be called again if a later one changes the object.
  fileprivate var called: [String] = []
  fileprivate var again: Set<String> = []
  fileprivate var output: JSON?
}

struct MutatingWebhooks: AdmissionPlugin {
  let name = "MutatingAdmissionWebhook"
  let interest = AdmissionInterest.admitting(nil, Set(AdmissionOperation.allCases), subresources: nil)
  private let index: WebhookIndex
  private let dispatch: WebhookDispatch
  private let state: AdmissionState

  init(state: AdmissionState, caller: WebhookCaller) {
    index = WebhookIndex(.mutatingWebhookConfigurations, state)
    dispatch = WebhookDispatch(caller: caller, state: state, type: "admit")
    self.state = state
  }

  func admit(_ request: inout AdmissionRequest) async throws {
    let webhooks = index.webhooks
    if webhooks.isEmpty || WebhookDispatch.isExempt(request) { return }
    if request.rounds.isSecond, request.object != request.rounds.output {
      // Plugins changed what the webhooks of the first round had left.
      request.rounds.again.formUnion(request.rounds.called)
      request.rounds.called = []
    }
    for (position, webhook) in webhooks.enumerated() {
      if request.rounds.isSecond, !request.rounds.again.contains(webhook.identifier) { continue }
      guard let shown = webhook.shown(request, state) else { continue }
      let round = request.rounds.isSecond ? 1 : 0
      guard let verdict = try await dispatch.call(webhook, request, shown) else {
        request.auditAnnotations[
          "failed-open.mutation.webhook.admission.k8s.io/round_\(round)_index_\(position)"] =
          webhook.name
        continue
      }
      request.take(verdict, of: webhook)
      guard verdict.isAllowed else { throw AdmissionReview.refusal(webhook.name, verdict.status) }
      let isChanged = try apply(verdict, webhook, shown, &request)
      request.auditAnnotations["mutation.webhook.admission.k8s.io/round_\(round)_index_\(position)"] =
        ([
          "configuration": JSON(webhook.configuration), "webhook": JSON(webhook.name),
          "mutated": JSON(isChanged),
        ] as JSON).text
      if isChanged {
        request.rounds.isNeeded = true
        request.rounds.again.formUnion(request.rounds.called)
        request.rounds.called = []
      }
      if webhook.isReinvoked { request.rounds.called.append(webhook.identifier) }
    }
    request.rounds.output = request.object
  }

  private func apply(
    _ verdict: AdmissionVerdict, _ webhook: Webhook, _ shown: Webhook.Shown, _ request: inout AdmissionRequest
  ) throws -> Bool {
    guard let patch = verdict.patch else { return false }
    func failed(_ why: String) -> APIStatusError {
      APIStatusError(
        code: 500, reason: "InternalError", message: "Internal error occurred: \(why)",
        details: ["causes": [["message": JSON(why)]]])
    }
    guard let before = request.object else {
      throw failed(
        "admission webhook \"\(webhook.name)\" attempted to modify the object, which is not supported for this operation"
      )
    }
    do {
      let seen = shown.other?.served(before) ?? before
      var object = try seen.applying(jsonPatch: patch)
      if shown.other != nil { object = request.kind.served(object) }
      if let schema = schema(request) {
        object = try schema.decode(tree: object, as: request.gvk).object
        if request.subresourceKind == nil { request.kind.applyDefaults(&object) }
      }
      request.object = object
      return object != before
    } catch let error as PatchError {
      throw failed(error.description)
    } catch let error as DecodeError {
      throw failed(error.message)
    }
  }

  private func schema(_ request: AdmissionRequest) -> Schema? {
    request.subresourceKind.map { state.kinds.current.bodySchema($0) } ?? request.kind.schema
  }
}

extension AdmissionRequest {
  /// Warnings and annotations of a verdict.
  mutating func take(_ verdict: AdmissionVerdict, of webhook: Webhook) {
    warnings += verdict.warnings
    for (key, value) in verdict.annotations { auditAnnotations["\(webhook.name)/\(key)"] = value }
  }
}
