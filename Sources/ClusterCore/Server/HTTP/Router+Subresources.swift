// What hangs below an object: its status, its scale, a pod's binding and eviction.

import ClusterClient
import ClusterObjects
import NIOCore
import NIOHTTP1

extension Router {
  func serve(
    _ request: HTTPRequest, _ kind: ResourceKind, _ namespace: String, _ name: String, _ subresource: String
  ) async throws -> HTTPResponse {
    switch subresource {
    case "status": return try await serveObject(request, kind, namespace, name, part: .status)
    case "approval": return try await serveObject(request, kind, namespace, name, part: .approval)
    case "finalize":
      guard request.method == .PUT else { throw Failure.methodNotAllowed }
      return try await serveObject(request, kind, namespace, name, part: .finalize)
    case "ephemeralcontainers":
      return try await serveObject(request, kind, namespace, name, part: .ephemeralContainers)
    case "resize": return try await serveObject(request, kind, namespace, name, part: .resize)
    case "scale": return try await serveScale(request, kind, namespace, name)
    case "binding":
      guard request.method == .POST else { throw Failure.methodNotAllowed }
      let body = try part(request, GroupVersionKind("", "v1", "Binding"))
      try await core.bind(
        kind, namespace: namespace, name: name, body, options: WriteOptions(request),
        identity: request.identity)
      return Self.success
    case "token":
      guard request.method == .POST else { throw Failure.methodNotAllowed }
      let (body, _) = try await core.admitCreate(
        kind, namespace: namespace, name: name, subresource: "token",
        try part(request, GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest")),
        options: WriteOptions(request), identity: request.identity)
      let answer = try await core.requestToken(
        namespace: namespace, name: name, body, isDryRun: request.parameter("dryRun") == "All")
      return Answer.json(201, answer)
    case "eviction":
      guard request.method == .POST else { throw Failure.methodNotAllowed }
      let body = try part(request, GroupVersionKind("policy", "v1", "Eviction"))
      var options = WriteOptions(request)
      if body.at("deleteOptions", "dryRun")?.elements.first?.string == "All" { options.dryRun = true }
      try await core.evict(
        kind, namespace: namespace, name: name, body, options: options, identity: request.identity)
      return Self.success
    case _ where Self.streamSubresources.contains(subresource):
      return try await serveStream(request, kind, namespace, name, subresource)
    default: throw Failure.notServed
    }
  }

  /// POST to `bindings`: the pod is the body's name.
  func bind(_ request: HTTPRequest, _ kind: ResourceKind, _ namespace: String) async throws -> HTTPResponse {
    let body = try Bodies.object(request, kind.schema, as: kind.gvk).object
    try await core.bind(
      try core.kind(.pods), namespace: namespace, name: body.name, body, options: WriteOptions(request),
      identity: request.identity)
    return Self.success
  }

  private func part(_ request: HTTPRequest, _ gvk: GroupVersionKind) throws -> JSON {
    if let schema = core.registry.bodySchema(gvk) {
      return try Bodies.object(request, schema, as: gvk).object
    }
    guard Bodies.mediaType(request) == "application/json" else {
      throw Failure.unsupported(Bodies.mediaType(request), allowed: ["application/json"])
    }
    do { return try JSON(parsing: request.body) } catch {
      throw Failure.unreadable(DecodeError(error.description, isTooDeep: error.isTooDeep))
    }
  }

  private func serveScale(
    _ request: HTTPRequest, _ kind: ResourceKind, _ namespace: String, _ name: String
  ) async throws -> HTTPResponse {
    let gvk = GroupVersionKind("autoscaling", "v1", "Scale")
    switch request.method {
    case .GET:
      let form = try Form.negotiate(request)
      let scale = core.scale(of: try await core.get(kind, namespace: namespace, name: name), kind)
      switch form.representation {
      case .full: return Answer.json(200, scale)
      case .partial: return Answer.json(200, partialMetadata(of: scale), contentType: form.contentType)
      case .table(let include):
        let table = TablePrinter.printer(for: gvk).table(
          [scale], now: .now, include: include, listMetadata: ["resourceVersion": JSON(scale.resourceVersion)]
        )
        return Answer.json(200, table, contentType: form.contentType)
      }
    case .PUT:
      let wanted = try part(request, gvk)
      let object = try await core.changeScale(
        kind, namespace: namespace, name: name, options: WriteOptions(request), identity: request.identity
      ) { _ in wanted }
      return Answer.json(200, core.scale(of: object, kind))
    case .PATCH:
      let patch = try Bodies.patch(request)
      let object = try await core.changeScale(
        kind, namespace: namespace, name: name, options: WriteOptions(request), identity: request.identity
      ) { scale in
        switch patch {
        case .json(let operations):
          return try RESTCore.applying(.json(operations), to: scale, kind.schema)
        case .merge(let changes), .strategicMerge(let changes), .apply(let changes):
          // A Scale has no lists: the three mean the same.
          return scale.applying(mergePatch: changes)
        }
      }
      return Answer.json(200, core.scale(of: object, kind))
    default: throw Failure.methodNotAllowed
    }
  }

  private static let success = Answer.json(
    201, ["kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success", "code": 201])
}
