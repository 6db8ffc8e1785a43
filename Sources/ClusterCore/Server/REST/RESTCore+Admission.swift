// Admission for what is no plain write: subresources that create something, and connections to pods.

import ClusterClient
import ClusterObjects

extension RESTCore {
  /// Asks admission about a POST to a subresource (`binding`, `eviction`, `token`): the body as plugins and
  /// webhooks left it. `old` is not sent: nothing of this name is stored.
  @discardableResult func admitCreate(
    _ kind: ResourceKind, namespace: String, name: String, subresource: String, _ body: JSON,
    options: WriteOptions = WriteOptions(), identity: Identity
  ) async throws -> (body: JSON, warnings: [String]) {
    var request = AdmissionRequest(operation: .create, kind: kind, identity: identity)
    request.subresource = subresource
    request.subresourceKind = kind.subresource(subresource)?.kind
    request.namespace = namespace
    request.name = name
    request.object = body
    request.options = .write(options)
    request.isDryRun = options.dryRun
    try await admission.run(&request)
    request.finish()
    return (request.object ?? body, request.warnings)
  }

  /// Asks admission whether `identity` may connect: `exec`, `attach`, `portforward` or `proxy` of a pod, a
  /// Service or a Node. `options` is what the query says, with `kind` and `apiVersion` or without. Throws 403
  /// and the like; gives warnings for the answer's headers.
  @discardableResult func admitConnect(
    _ kind: ResourceKind, namespace: String, name: String, subresource: String, options: JSON,
    identity: Identity
  ) async throws -> [String] {
    let gvk = kind.subresource(subresource)?.kind ?? GroupVersionKind("", "v1", "\(kind.kind)ProxyOptions")
    var object = JSONObject([("kind", JSON(gvk.kind)), ("apiVersion", JSON(gvk.apiVersion))])
    for (key, value) in options.object ?? [:] where key != "kind" && key != "apiVersion" {
      object[key] = value
    }
    var request = AdmissionRequest(operation: .connect, kind: kind, identity: identity)
    request.subresource = subresource
    request.subresourceKind = gvk
    request.namespace = namespace
    request.name = name
    request.object = .object(object)
    try await admission.run(&request)
    request.finish()
    return request.warnings
  }

  /// The schema's validation.
  func validate(_ kind: ResourceKind, _ object: JSON, old: JSON?, part: Part = .main) throws {
    let errors: [FieldError]
    if let old {
      errors = kind.validateUpdate(object, old: old, subresource: part == .main ? nil : part.subresource)
    } else {
      errors = kind.validateCreate(object)
    }
    if !errors.isEmpty { throw Failure.invalid(kind, object.name, errors) }
  }
}
