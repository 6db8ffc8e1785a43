// ResourceQuota: what a write uses is charged before it is stored, last of all plugins, so that what is
// refused elsewhere is not charged.

import ClusterClient
import ClusterObjects
import Diagnostics

struct ResourceQuotaPlugin: AdmissionPlugin {
  let name = "ResourceQuota"
  let interest = AdmissionInterest.validating(nil, [.create, .update], subresources: ["", "resize"])
  let state: AdmissionState
  let ledger: QuotaLedger
  private let quotas: AdmissionObjects

  init(state: AdmissionState) {
    self.state = state
    quotas = AdmissionObjects(.resourceQuotas, state)
    ledger = QuotaLedger(state: state)
  }

  func validate(_ request: inout AdmissionRequest) async throws {
    let kind = request.kind
    guard kind.isNamespaced, let object = request.object else { return }
    if request.operation == .update, !Self.chargesUpdates(request) { return }
    if kind.group.isEmpty, kind.plural == "resourcequotas", request.operation == .update { return }
    // The server's own objects are counted, never refused: without them nothing would work.
    if request.identity == .system { return }
    let quotas = quotas.all(namespace: request.namespace)
    if quotas.isEmpty { return }
    let now = Timestamp.now().seconds
    let usage = QuotaUsage.usage(of: object, kind.gvr, now: now)
    var asked = usage
    if let old = request.old {
      let before = QuotaUsage.usage(of: old, kind.gvr, now: now)
      asked = ResourceList(
        usage.amounts.reduce(into: [:]) { result, entry in
          let more = entry.value - before[entry.key]
          if !more.isNegative { result[entry.key] = more }
        })
    }
    if kind.plural == "pods", kind.group.isEmpty {
      for quota in quotas where QuotaUsage.matches(quota: quota.tree, object, kind.gvr) {
        let hard = ResourceList(quota.tree.at("spec", "hard")).amounts.keys
        if let missing = QuotaUsage.missing(in: object, hard: hard) {
          throw request.forbidden("failed quota: \(quota.name): must specify \(missing)")
        }
      }
    }
    let charge = QuotaCharge(
      namespace: request.namespace, gvr: kind.gvr, object: object, old: request.old, asked: asked,
      isDryRun: request.isDryRun)
    if let refusal = try await ledger.charge(charge) { throw request.forbidden(refusal) }
    if request.isDryRun { return }
    let (ledger, identifier, namespace) = (ledger, charge.identifier, charge.namespace)
    request.settle.append { ledger.forget(identifier, in: namespace) }
    request.undo.append { ledger.forget(identifier, in: namespace) }
  }

  /// Pods change what they use by `resize` only; Services and claims by any update.
  private static func chargesUpdates(_ request: AdmissionRequest) -> Bool {
    guard request.kind.group.isEmpty else { return false }
    switch request.kind.plural {
    case "pods": return request.subresource == "resize"
    case "services", "persistentvolumeclaims": return request.subresource.isEmpty
    default: return false
    }
  }
}
