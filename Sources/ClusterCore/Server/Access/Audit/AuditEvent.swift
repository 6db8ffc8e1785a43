// One request as the audit log tells it: `Event` of audit.k8s.io/v1, filled on the way through the server.

import ClusterClient
import ClusterObjects
import Diagnostics
import NIOCore
import NIOHTTP1
import Synchronization

/// The record of one request. Its parts come in the order in which the server learns them.
final class AuditEvent: Sendable {
  private struct State {
    var impersonated: Identity?
    var attributes: AccessAttributes
    var objectFields: [String: String] = [:]
    var requestObject: JSON?
  }

  let id: String
  let decision: AuditPolicy.Decision
  let annotations = AuditAnnotation()
  private let received = Timestamp.nowMicroText()
  private let uri: String
  private let userAgent: String
  private let sources: [String]
  private let asker: Identity
  private let state: Mutex<State>

  init(
    id: String, _ request: HTTPRequest, asker: Identity, attributes: AccessAttributes,
    decision: AuditPolicy.Decision
  ) {
    self.id = id
    self.decision = decision
    self.asker = asker
    uri = request.uri
    userAgent = String((request.headers.first(name: "user-agent") ?? "").prefix(1024))
    sources = Self.sources(request)
    state = Mutex(State(attributes: attributes))
  }

  /// Addresses on the way, the client's first: what proxies say, then who really connected.
  private static func sources(_ request: HTTPRequest) -> [String] {
    var sources: [String] = []
    for value in request.headers["x-forwarded-for"] {
      for part in value.split(separator: ",").prefix(16) { sources.append(part.trimmed) }
    }
    if let real = request.headers.first(name: "x-real-ip") { sources.append(real) }
    sources = sources.filter { AddressText.isAddress($0) }
    if !request.remoteAddress.isEmpty, sources.last != request.remoteAddress {
      sources.append(request.remoteAddress)
    }
    return sources
  }

  func impersonates(_ identity: Identity) { state.withLock { $0.impersonated = identity } }

  /// The body as it was understood. Of a created object the name is known only from it.
  func requests(_ object: JSON) {
    let kept: JSON? = decision.level >= .request ? trimmed(object) : .none
    state.withLock { state in
      state.requestObject = kept
      if state.attributes.name.isEmpty { state.attributes.name = object.name }
      if state.attributes.namespace.isEmpty { state.attributes.namespace = object.namespace }
      state.objectFields["uid"] = object.uid
      state.objectFields["resourceVersion"] = object.resourceVersion
    }
  }

  /// The event at a stage, or nil when that stage is left out.
  func tree(_ stage: AuditStage, response: (code: Int, body: JSON?)? = nil) -> JSON? {
    if decision.level == .none || decision.omitStages.contains(stage) { return nil }
    let state = state.withLock { $0 }
    var event: JSON = [
      "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": JSON(decision.level.text),
      "auditID": JSON(id), "stage": JSON(stage.rawValue), "requestURI": JSON(uri),
      "verb": JSON(state.attributes.verb), "user": asker.userInfo,
    ]
    if let impersonated = state.impersonated { event["impersonatedUser"] = impersonated.userInfo }
    if !sources.isEmpty { event["sourceIPs"] = JSON(sources) }
    if !userAgent.isEmpty { event["userAgent"] = JSON(userAgent) }
    if state.attributes.isResource { event["objectRef"] = reference(state) }
    if let response {
      event["responseStatus"] = Self.status(response.code, response.body)
      if stage == .responseComplete || stage == .panic {
        if let object = state.requestObject { event["requestObject"] = object }
        if decision.level >= .requestResponse, let body = response.body {
          event["responseObject"] = trimmed(body)
        }
      }
    }
    event["requestReceivedTimestamp"] = JSON(received)
    event["stageTimestamp"] = JSON(stage == .requestReceived ? received : Timestamp.nowMicroText())
    let remarks = annotations.all
    if !remarks.isEmpty { event["annotations"] = JSON(remarks) }
    return event
  }

  private func reference(_ state: State) -> JSON {
    let attributes = state.attributes
    var reference: JSON = ["resource": JSON(attributes.resource)]
    func add(_ key: String, _ value: String?) {
      if let value, !value.isEmpty { reference[key] = JSON(value) }
    }
    add("namespace", attributes.namespace)
    add("name", attributes.name)
    add("uid", state.objectFields["uid"])
    add("apiGroup", attributes.group)
    add("apiVersion", attributes.version)
    add("resourceVersion", state.objectFields["resourceVersion"])
    add("subresource", attributes.subresource)
    return reference
  }

  /// Of a Status all but its kind; of everything else only the code.
  private static func status(_ code: Int, _ body: JSON?) -> JSON {
    var status: JSON = ["metadata": [:]]
    if let body, body.kind == "Status", body.apiVersion == "v1" {
      for key in ["status", "message", "reason", "details"] {
        if let value = body[key], value != "" { status[key] = value }
      }
    }
    status["code"] = JSON(code)
    return status
  }

  /// Without managed fields when the policy says so, also of the items of a list.
  private func trimmed(_ object: JSON) -> JSON {
    guard decision.omitManagedFields else { return object }
    var copy = object
    if copy.at("metadata", "managedFields") != nil { copy.set(nil, at: "metadata", "managedFields") }
    if let items = copy["items"]?.array {
      copy["items"] = .array(
        items.map { item in
          var item = item
          if item.at("metadata", "managedFields") != nil { item.set(nil, at: "metadata", "managedFields") }
          return item
        })
    }
    return copy
  }
}
