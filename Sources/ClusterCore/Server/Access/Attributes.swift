// From a request to what it asks for.

import ClusterClient
import ClusterObjects
import NIOHTTP1

extension AccessAttributes {
  /// Of a request below `/api` or `/apis`, or of any other path.
  init(_ request: HTTPRequest, identity: Identity, target: Target?) {
    guard let target else {
      self.init(identity: identity, verb: request.method.rawValue.lowercased(), path: Self.path(request))
      return
    }
    let isCollection = target.name == nil
    let verb =
      switch request.method {
      case .GET, .HEAD:
        request.flag("watch") ? "watch" : isCollection ? "list" : "get"
      case .POST: "create"
      case .PUT: "update"
      case .PATCH: "patch"
      case .DELETE: isCollection ? "deletecollection" : "delete"
      default: request.method.rawValue.lowercased()
      }
    var namespace = target.namespace
    var name = target.name ?? ""
    // A Namespace is asked for within itself: a role there may speak of it.
    if target.group.isEmpty, target.resource == "namespaces", !name.isEmpty { namespace = name }
    var fields: FieldSelector?
    var labels: LabelSelector?
    if isCollection, verb == "list" || verb == "watch" || verb == "deletecollection" {
      fields = request.parameter("fieldSelector").flatMap { try? FieldSelector(parsing: $0) }
      labels = request.parameter("labelSelector").flatMap { try? LabelSelector(parsing: $0) }
      // A list or watch of one name is a question about that name.
      if let one = fields?.name { name = one }
    }
    self.init(
      identity: identity, verb: verb, group: target.group, version: target.version,
      resource: target.resource, subresource: target.subresource ?? "", namespace: namespace, name: name)
    fieldSelector = fields
    labelSelector = labels
  }

  /// The path that will be served: an encoded or doubled slash must not pass as another path.
  private static func path(_ request: HTTPRequest) -> String {
    if !request.rawPath.contains("%"), !request.rawPath.contains("//") { return request.rawPath }
    return "/" + request.path.joined(separator: "/")
  }
}
