// From paths to the REST core. The grammar is fixed:
//
//   /api/v1/…  /apis/GROUP/VERSION/…      [namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]]

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Logging
import NIOCore
import NIOHTTP1
import Synchronization

final class Router: Sendable {
  let core: RESTCore
  let documents: Documents
  let nodes: NodeConnections?
  let access: Access
  let reviews: IdentityReviews?
  let issuer: IssuerDocuments?
  let audit: Audit?
  /// What other servers answer.
  let remotes: RemoteAPIs?
  private let meters = RequestMeters()

  init(
    core: RESTCore, documents: Documents, nodes: NodeConnections?, access: Access,
    reviews: IdentityReviews? = nil, issuer: IssuerDocuments? = nil, audit: Audit? = nil,
    remotes: RemoteAPIs? = nil
  ) {
    self.audit = audit
    self.remotes = remotes
    self.reviews = reviews
    self.issuer = issuer
    self.access = access
    self.core = core
    self.documents = documents
    self.nodes = nodes
  }

  func respond(_ received: HTTPRequest) async -> HTTPResponse {
    let start = ContinuousClock.now
    let request = received.withoutWatchPrefix
    if let page = ServedPage.shared.answer(request) { return Compression.apply(page, for: request) }
    var response = await recorded(request)
    if request.wantsIndented { response = response.indented }
    response = response.asYAML
    let verb = request.method.rawValue
    // Only names that are served: a stranger must not fill the table of metrics.
    let resource =
      Target(request.path).flatMap {
        core.registry[GroupVersionResource($0.group, $0.version, $0.resource)]?.plural
      } ?? ""
    meters.requests(verb, resource, response.status.code).increment()
    if response.isWhole { meters.durations(verb, resource).observe(ContinuousClock.now - start) }
    return Compression.apply(response, for: request)
  }

  /// What an error is answered with.
  func refusal(_ error: any Error, of request: HTTPRequest) -> APIStatusError {
    switch error {
    case let error as APIStatusError: return error
    case let error as PatchError: return Failure.badRequest(error.description)
    case let error as StoreError: return Failure.store(error)
    default:
      core.log.error("request failed", metadata: ["path": "\(request.rawPath)", "error": "\(error)"])
      return APIStatusError(code: 500, reason: "InternalError", message: "Internal error occurred: \(error)")
    }
  }

  /// What the path names below `/api` and `/apis`.
  static func target(_ request: HTTPRequest) -> Target? {
    let first = request.path.first ?? ""
    return first == "api" || first == "apis" ? Target(request.path) : nil
  }

  /// A request whose asker is known.
  func route(_ received: HTTPRequest, record: AuditEvent?) async throws -> HTTPResponse {
    var request = received
    if let other = try await access.impersonate(request, as: request.identity) {
      request.identity = other
      record?.impersonates(other)
    }
    let target = Self.target(request)
    let attributes = AccessAttributes(request, identity: request.identity, target: target)
    try await access.require(attributes) { record?.decided($0) }
    if let response = try await remotes?.serve(request) { return response }
    if let target {
      var response = try await serve(request, target)
      let kind = core.registry[GroupVersionResource(target.group, target.version, target.resource)]
      if let text = kind?.custom?.deprecation { response.headers += Answer.warnings([text]) }
      if let kind, RESTCore.isComponentStatus(kind) {
        response.headers += Answer.warnings([RESTCore.componentStatusWarning])
      }
      return response
    }
    if let page = try await serveNodePage(request) { return page }
    guard request.method == .GET || request.method == .HEAD else { throw Failure.notServed }
    if let document = issuer?.answer(request) { return document }
    return try documents.answer(request)
  }

  private func serve(_ request: HTTPRequest, _ target: Target) async throws -> HTTPResponse {
    let kind = try core.kind(GroupVersionResource(target.group, target.version, target.resource))
    if !target.namespace.isEmpty, !kind.isNamespaced { throw Failure.notServed }
    try RequestOptions.check(request)
    if let subresource = target.subresource {
      guard let name = target.name, kind.subresource(subresource) != nil else { throw Failure.notServed }
      return try await serve(request, kind, target.namespace, name, subresource)
    }
    if RESTCore.isComputed(kind), request.method != .GET && request.method != .HEAD || request.flag("watch") {
      throw Failure.methodNotAllowed
    }
    if let name = target.name {
      guard kind.isStored else { throw Failure.notServed }
      if kind.isNamespaced, target.namespace.isEmpty { throw Failure.notServed }
      return try await serveObject(request, kind, target.namespace, name, part: .main)
    }
    if !kind.isStored, request.method != .POST { throw Failure.methodNotAllowed }
    // What belongs into a namespace is written there; across all of them it is read only.
    if kind.isNamespaced, target.namespace.isEmpty, request.method == .POST || request.method == .DELETE {
      throw Failure.methodNotAllowed
    }
    switch request.method {
    case .GET, .HEAD:
      let options = try ListOptions(request)
      let form = try Form.negotiate(request)
      if request.flag("watch") { return try await watch(kind, target.namespace, options, form, request) }
      if request.parameter("sendInitialEvents") != nil {
        throw Failure.invalidOptions([
          FieldError.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
        ])
      }
      return Answer.list(try await core.list(kind, namespace: target.namespace, options: options), kind, form)
    case .POST where kind.group == AccessReview.group:
      return try await reviewAccess(request, kind, target.namespace)
    case .POST where kind.kind == "Binding":
      return try await bind(request, kind, target.namespace)
    case .POST where kind.group == IdentityReviews.group:
      guard try Form.negotiate(request).isFull else { throw Failure.notAcceptable }
      let body = try Bodies.object(request, kind.schema, as: kind.gvk).object
      guard let answer = try await reviews?.answer(kind.kind, body, asker: request.identity) else {
        throw Failure.notServed
      }
      return Answer.json(201, answer)
    // Reviews are answered by those who know, and never kept.
    case .POST where !kind.isStored: throw Failure.notServed
    case .POST:
      let decoded = try Bodies.object(request, kind.schema, as: kind.gvk)
      let written = try await core.create(
        kind, namespace: target.namespace, decoded.object, options: WriteOptions(request),
        identity: request.identity)
      return Answer.object(
        201, written.object, kind, try Form.negotiate(request), warnings: decoded.warnings + written.warnings)
    case .DELETE:
      let (options, dryRun) = try Bodies.deleteOptions(request, core.registry)
      let page = try await core.deleteCollection(
        kind, namespace: target.namespace, list: try ListOptions(request), delete: options, dryRun: dryRun,
        identity: request.identity)
      return Answer.list(page, kind, .json)
    default: throw Failure.methodNotAllowed
    }
  }

  func serveObject(
    _ request: HTTPRequest, _ kind: ResourceKind, _ namespace: String, _ name: String, part: Part
  ) async throws -> HTTPResponse {
    let form = try Form.negotiate(request)
    switch request.method {
    case .GET, .HEAD:
      if request.flag("watch"), part == .main {
        var options = try ListOptions(request)
        options.fieldSelector = "metadata.name=\(name)"
        return try await watch(kind, namespace, options, form, request)
      }
      let object = try await core.get(
        kind, namespace: namespace, name: name, resourceVersion: request.parameter("resourceVersion"))
      return Answer.object(200, object, kind, form)
    case .PUT:
      let decoded = try Bodies.object(request, kind.schema, as: kind.gvk)
      let written = try await core.update(
        kind, namespace: namespace, name: name, decoded.object, part: part, options: WriteOptions(request),
        identity: request.identity)
      return Answer.object(200, written.object, kind, form, warnings: decoded.warnings + written.warnings)
    case .PATCH:
      let written = try await core.patch(
        kind, namespace: namespace, name: name, patch: try Bodies.patch(request), part: part,
        options: WriteOptions(request), identity: request.identity
      ) {
        // Who may patch may not thereby create.
        try await self.access.require(
          AccessAttributes(
            identity: request.identity, verb: "create", group: kind.group, version: kind.version,
            resource: kind.plural, namespace: namespace, name: name))
      }
      return Answer.object(written.isNew ? 201 : 200, written.object, kind, form, warnings: written.warnings)
    case .DELETE where part == .main:
      let (options, dryRun) = try Bodies.deleteOptions(request, core.registry)
      let deleted = try await core.delete(
        kind, namespace: namespace, name: name, options: options, dryRun: dryRun, identity: request.identity)
      switch deleted {
      case .gone(let object):
        if kind.kind == "Pod" { return Answer.object(200, object, kind, form) }
        var details = Failure.details(kind, name)
        details["uid"] = JSON(object.tree.uid)
        return Answer.json(
          200,
          [
            "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success", "details": details,
          ])
      case .terminating(let object): return Answer.object(200, object, kind, form)
      }
    default: throw Failure.methodNotAllowed
    }
  }
}

/// A path below `/api` or `/apis`, taken apart.
struct Target: Sendable {
  var group: String
  var version: String
  var namespace = ""
  var resource: String
  var name: String?
  var subresource: String?

  /// Nil for discovery paths and for what is no path of the API.
  init?(_ path: [String]) {
    var rest = path[...]
    switch rest.popFirst() {
    case "api":
      group = ""
    case "apis":
      guard let first = rest.popFirst() else { return nil }
      group = first
    default: return nil
    }
    guard let version = rest.popFirst(), let first = rest.popFirst() else { return nil }
    self.version = version
    if first == "namespaces", rest.count >= 2,
      !["status", "finalize"].contains(rest[rest.startIndex + 1]) || rest.count > 2
    {
      namespace = rest.removeFirst()
      resource = rest.removeFirst()
    } else {
      resource = first
    }
    name = rest.popFirst()
    subresource = rest.popFirst()
    if !rest.isEmpty {
      // Below a proxy anything may follow; nothing else goes deeper.
      guard subresource == "proxy" else { return nil }
    }
  }
}

extension ListOptions {
  init(_ request: HTTPRequest) throws {
    self.init(
      labelSelector: request.parameter("labelSelector"), fieldSelector: request.parameter("fieldSelector"),
      resourceVersion: request.parameter("resourceVersion"))
    func number(_ name: String) throws -> Int? {
      guard let text = request.parameter(name), !text.isEmpty else { return nil }
      guard let value = Int(text) else {
        throw Failure.badRequest("\(name): Invalid value: \"\(text)\": must be a number")
      }
      return value
    }
    resourceVersionMatch = request.parameter("resourceVersionMatch")
    limit = try number("limit")
    timeoutSeconds = try number("timeoutSeconds")
    continueToken = request.parameter("continue")
    allowBookmarks = request.flag("allowWatchBookmarks")
    sendInitialEvents = request.flag("sendInitialEvents")
  }
}

extension WriteOptions {
  init(_ request: HTTPRequest) {
    // Without a name the program's own serves, as its user agent says it.
    let agent = request.headers.first(name: "user-agent")?.split(separator: "/").first
    let program = request.isApply ? nil : agent.map { String($0.prefix(128)) } ?? "unknown"
    self.init(fieldManager: request.parameter("fieldManager") ?? program)
    dryRun = request.parameter("dryRun") == "All"
    force = request.flag("force")
    fieldValidation = request.parameter("fieldValidation")
  }
}
