// Who asks and whether they may: the two questions before every request, and the protocols of those who
// answer.
//
//   request ─► authenticators, first answer wins ─► impersonation ─► authorizers, first opinion wins ─► REST

import ClusterClient
import ClusterObjects
import Diagnostics
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
  /// What a list, watch or deletecollection is narrowed to; nil when it is not, or cannot be read.
  var fieldSelector: FieldSelector?
  var labelSelector: LabelSelector?
  /// Whether this asks for a resource, not a path.
  var isResource: Bool

  init(identity: Identity, verb: String, path: String) {
    self.identity = identity
    self.verb = verb
    self.path = path
    isResource = false
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
    isResource = true
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
  /// Upstream's word for its sort: `Node`, `RBAC`, `Webhook`.
  var name: String { get }
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
  /// Without any, nobody may do anything.
  var authorizers: [any Authorizer] = []
  private let metrics = AccessMetrics()

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

  /// The first opinion. Without one: no, with everybody's reasons, a line each.
  func decide(_ attributes: AccessAttributes) async -> AccessDecision {
    let start = ContinuousClock.now
    let decision = await firstOpinion(attributes)
    metrics.attempt(decision, ContinuousClock.now - start)
    return decision
  }

  private func firstOpinion(_ attributes: AccessAttributes) async -> AccessDecision {
    var reasons: [String] = []
    for authorizer in authorizers {
      switch await authorizer.decide(attributes) {
      case .noOpinion(let reason): if !reason.isEmpty { reasons.append(reason) }
      case let decision:
        metrics.decided(authorizer.name, decision)
        return decision
      }
    }
    return .noOpinion(reason: reasons.joined(separator: "\n"))
  }

  /// Throws the refusal as clients read it, 403, unless they may. `told` hears the decision first.
  func require(
    _ attributes: AccessAttributes, told: (AccessDecision) -> Void = { _ in }
  ) async throws {
    let decision = await decide(attributes)
    told(decision)
    switch decision {
    case .allow: return
    case .deny(let reason), .noOpinion(let reason): throw Failure.forbidden(attributes, reason: reason)
    }
  }
}

/// `system:masters` may do everything, whatever has become of the roles: the way back in.
struct SystemMasters: Authorizer {
  let name = "AlwaysAllow"
  static let group = "system:masters"

  func decide(_ attributes: AccessAttributes) async -> AccessDecision {
    attributes.identity.groups.contains(Self.group) ? .allow(reason: "") : .noOpinion(reason: "")
  }
}

/// Upstream's names. Children are held: counting takes no lock.
private struct AccessMetrics: Sendable {
  private let attempts: [Counter]
  private let durations: [Histogram]
  private let decisions: [String: [Counter]]
  private static let results = ["allowed", "denied", "no-opinion"]

  init() {
    let metrics = Metrics.shared
    let attempts = metrics.counter(
      "authorization_attempts_total", "Authorization attempts by result.", labels: ["result"])
    let durations = metrics.histogram(
      "authorization_duration_seconds", "Time to decide by result.", labels: ["result"],
      bounds: [0.00001, 0.0001, 0.001, 0.01, 0.1, 1])
    let decisions = metrics.counter(
      "apiserver_authorization_decisions_total", "Decisions by authorizer.",
      labels: ["type", "name", "decision"])
    self.attempts = Self.results.map { attempts.child($0) }
    self.durations = Self.results.map { durations.child($0) }
    var held: [String: [Counter]] = [:]
    for name in ["AlwaysAllow", "Node", "RBAC", "Webhook"] {
      held[name] = Self.results.prefix(2).map { decisions.child(name, name.lowercased(), $0) }
    }
    self.decisions = held
  }

  private static func index(_ decision: AccessDecision) -> Int {
    switch decision {
    case .allow: 0
    case .deny: 1
    case .noOpinion: 2
    }
  }

  func attempt(_ decision: AccessDecision, _ duration: Duration) {
    attempts[Self.index(decision)].increment()
    durations[Self.index(decision)].observe(duration)
  }

  func decided(_ authorizer: String, _ decision: AccessDecision) {
    let index = Self.index(decision)
    if index < 2 { decisions[authorizer]?[index].increment() }
  }
}
