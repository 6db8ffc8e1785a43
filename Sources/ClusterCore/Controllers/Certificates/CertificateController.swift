// Approves nodes' requests for client certificates, signs what is approved, and removes what is over.

import ClusterClient
import ClusterObjects
import Diagnostics

func certificateController(_ context: ControllerContext, signer: CertificateSigner) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("certificate")
  let requests = context.informers.informer(.certificateRequests)
  let registration = requests.onChange { changes in
    for change in changes where !change.isDeletion { queue.add(change.key) }
  }
  return Controller(
    "certificate", context, queue: queue, registrations: [registration], workers: 1,
    resync: { for key in requests.snapshot.keys { queue.add(key) } }
  ) { key in
    guard let request = requests[key] else { return nil }
    let left = requestLifetime(request, now: context.now)
    guard left > 0 else {
      try await context.api.deleteIfPresent(
        .certificateRequests, key, options: DeleteOptions(uid: request.uid))
      return nil
    }
    let wait = Duration.seconds(left)
    let isJudged = request.condition("Denied") != nil || request.condition("Failed") != nil
    guard !isJudged, request.at("status", "certificate")?.string?.isEmpty ?? true,
      SignerNames.own.contains(request.at("spec", "signerName")?.string ?? "")
    else { return wait }
    if request.isConditionTrue("Approved") {
      try await sign(request, signer, context)
    } else {
      try await approve(request, signer, context)
    }
    return wait
  }
}

private func approve(_ request: JSON, _ signer: CertificateSigner, _ context: ControllerContext) async throws
{
  guard let bytes = Base64.decode(request.at("spec", "request")?.string ?? ""),
    let asked = try? signer.inspect(bytes)
  else { return }
  for (subresource, message) in autoApproval(request.spec, asked) {
    guard await signer.isPermitted(request.spec, subresource) else { continue }
    var approved = request
    approved.setCondition("Approved", "True", reason: "AutoApproved", message: message)
    _ = try await context.api.update(
      .certificateRequests, approved, subresource: "approval", options: context.options)
    return
  }
}

private func sign(_ request: JSON, _ signer: CertificateSigner, _ context: ControllerContext) async throws {
  let name = request.at("spec", "signerName")?.string ?? ""
  let usages = request.at("spec", "usages")?.elements.compactMap(\.string) ?? []
  var written = request
  do {
    let bytes = Base64.decode(request.at("spec", "request")?.string ?? "") ?? []
    let asked = try signer.inspect(bytes)
    if let objection = signerObjection(name, asked, usages: usages) {
      written.setCondition("Failed", "True", reason: "SignerValidationFailure", message: objection)
    } else {
      let seconds = request.at("spec", "expirationSeconds")?.int ?? SignerNames.secondsMax
      let certificate = try signer.sign(bytes, usages, min(max(seconds, 600), SignerNames.secondsMax))
      written.set(JSON(Base64.encode(Array(certificate.utf8))), at: "status", "certificate")
    }
  } catch {
    written.setCondition("Failed", "True", reason: "SignerValidationFailure", message: "\(error)")
  }
  _ = try await context.api.update(
    .certificateRequests, written, subresource: "status", options: context.options)
}
