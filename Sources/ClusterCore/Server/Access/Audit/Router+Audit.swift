// The frame around every request: who asks, a name for it, and its record in the audit log.

import ClusterClient
import ClusterObjects
import NIOHTTP1

extension Router {
  /// Answers, whatever happens. Every answer carries the `Audit-Id` under which the log has it.
  func recorded(_ received: HTTPRequest) async -> HTTPResponse {
    let id = AuditID.of(received)
    var request = received
    var response: HTTPResponse
    do {
      request.identity = try await access.identify(received)
      response = await answer(request, id)
    } catch {
      let refusal = refusal(error, of: request)
      if let audit {
        let attributes = AccessAttributes(received, identity: .anonymous, target: Self.target(received))
        audit.refuse(received, id: id, attributes: attributes, refusal)
      }
      response = Answer.status(refusal)
    }
    response.headers.append(("audit-id", id))
    return response
  }

  private func answer(_ request: HTTPRequest, _ id: String) async -> HTTPResponse {
    var record: AuditEvent?
    if let audit {
      let attributes = AccessAttributes(
        request, identity: request.identity, target: Self.target(request))
      record = audit.begin(request, id: id, attributes: attributes)
      record?.note(request, core.registry, name: attributes.name)
    }
    guard let record else { return await served(request, nil) }
    var response = await AuditAnnotation.$current.withValue(record.annotations) {
      await served(request, record)
    }
    audit?.finish(record, &response)
    return response
  }

  private func served(_ request: HTTPRequest, _ record: AuditEvent?) async -> HTTPResponse {
    do { return try await route(request, record: record) } catch {
      return Answer.status(refusal(error, of: request))
    }
  }
}

extension AuditEvent {
  /// What the authorizers said.
  func decided(_ decision: AccessDecision) {
    switch decision {
    case .allow(let reason): note("allow", reason)
    case .deny(let reason), .noOpinion(let reason): note("forbid", reason)
    }
  }

  private func note(_ decision: String, _ reason: String) {
    annotations.add("authorization.k8s.io/decision", decision)
    annotations.add("authorization.k8s.io/reason", reason)
  }
}
