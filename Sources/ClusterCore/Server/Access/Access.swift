// Who asks and whether they may: the two questions before every request, and the protocols of those who
// answer.
//
//   request ─► authenticators, first answer wins ─► impersonation ─► authorizers, first opinion wins ─► REST

import ClusterClient
import ClusterObjects
import Synchronization

/// What is asked, as authorizers, audit and access reviews see it.
struct AccessAttributes: Sendable, Hashable {
  var identity: Identity
  /// `get list watch create update patch delete deletecollection` and the special verbs of RBAC (`bind`,
  /// `escalate`, `impersonate`, `approve`, `sign`, …); for paths the HTTP method in lower case.
  var verb: String
  var group = ""
  var version = ""
  var resource = ""
  var subresource = ""
  var namespace = ""
  /// Empty for collections.
  var name = ""
  /// The path of a request that names no resource, such as `/metrics`.
  var path = ""
  var isResource: Bool { !resource.isEmpty }

  init(identity: Identity, verb: String, path: String) {
    self.identity = identity
    self.verb = verb
    self.path = path
  }

  init(
    identity: Identity, verb: String, group: String, version: String = "", resource: String,
    subresource: String = "", namespace: String = "", name: String = ""
  ) {
    self.identity = identity
    self.verb = verb
    self.group = group
    self.version = version
    self.resource = resource
    self.subresource = subresource
    self.namespace = namespace
    self.name = name
  }
}

enum AccessDecision: Sendable, Hashable {
  case allow(reason: String)
  /// No later authorizer is asked.
  case deny(reason: String)
  case noOpinion(reason: String)
}

/// Answers "may they?". Called for every request on the task that serves it: answers from memory.
protocol Authorizer: Sendable {
  func decide(_ attributes: AccessAttributes) async -> AccessDecision
}

/// Answers "who is it?". Nil: this one sees no credential of its sort. Throws `APIStatusError` 401 for a
/// credential that is its sort and wrong.
protocol Authenticator: Sendable {
  func authenticate(_ request: HTTPRequest) async throws -> Identity?
}

/// Both questions, asked in order.
struct Access: Sendable {
  var authenticators: [any Authenticator] = []
  /// Whether who shows no credential may ask at all.
  var allowsAnonymous = true
  var authorizers: [any Authorizer] = [CertificateHolders()]

  /// The asker: what the first authenticator with an opinion says. Throws 401 for a credential that is wrong.
  func identify(_ request: HTTPRequest) async throws -> Identity {
    if request.identity != .anonymous { return request.identity }
    for authenticator in authenticators {
      if let identity = try await authenticator.authenticate(request) { return identity }
    }
    guard allowsAnonymous else { throw Authentication.unauthorized }
    return .anonymous
  }

  /// Who the asker wants to be taken for (`kubectl --as`); nil when nobody else. Throws 403.
  func impersonate(_ request: HTTPRequest, as asker: Identity) async throws -> Identity? {
    try await Impersonation.identity(request, as: asker) { await decide($0) }
  }

  func decide(_ attributes: AccessAttributes) async -> AccessDecision {
    var reasons: [String] = []
    for authorizer in authorizers {
      switch await authorizer.decide(attributes) {
      case .noOpinion(let reason): if !reason.isEmpty { reasons.append(reason) }
      case let decision: return decision
      }
    }
    return .noOpinion(reason: reasons.joined(separator: ", "))
  }
}

/// Until there are roles: who shows a certificate of ours may do everything, who shows none may ask how we are.
struct CertificateHolders: Authorizer {
  private static let open: Set<String> = ["healthz", "livez", "readyz", "version"]

  func decide(_ attributes: AccessAttributes) async -> AccessDecision {
    if attributes.identity.groups.contains("system:authenticated") { return .allow(reason: "") }
    let first = attributes.path.split(separator: "/").first.map(String.init) ?? ""
    return Self.open.contains(first) ? .allow(reason: "") : .noOpinion(reason: "")
  }
}
