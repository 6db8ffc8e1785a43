// Filters of routes as actions of the ingress's route table.

import ClusterView
import Ingress

/// What filters ask for besides mirrors. Nil when one of them has a text that no message can hold, or touches what is nobody's to
/// set (Host, framing, fields of one hop).
func routeAction(_ filters: [GatewayRoute.Filter]) -> RouteAction? {
  var action = RouteAction()
  for filter in filters {
    switch filter {
    case .requestHeaders(let change):
      guard let edit = HeaderEdit(change) else { return nil }
      action.request = edit
    case .responseHeaders(let change):
      guard let edit = HeaderEdit(change) else { return nil }
      action.response = edit
    case .redirect(let redirect):
      guard let place = place(of: redirect) else { return nil }
      action.redirect = RouteRedirect(status: UInt16(clamping: redirect.status), place: place)
    case .rewrite(let hostname, let change):
      var changed = RouteRewrite()
      if let hostname {
        changed.host = RouteTemplate(literal: hostname)
        if changed.host == nil { return nil }
      }
      if let change {
        changed.path = rewrite(change)
        if changed.path == nil { return nil }
      }
      action.rewrite = changed
    case .cors(let cors):
      action.cors = RouteCORS(
        origins: cors.origins, methods: cors.methods.joined(separator: ", "),
        headers: cors.headers.joined(separator: ", "), exposed: cors.exposed.joined(separator: ", "),
        maxAge: UInt32(clamping: cors.maxAgeSeconds), allowsCredentials: cors.allowsCredentials)
    case .mirror: break
    case .unknown: return nil
    }
  }
  return action
}

private func place(of redirect: GatewayRoute.Redirect) -> RouteRedirect.Place? {
  var path: RoutePathRewrite?
  if let change = redirect.path {
    path = rewrite(change)
    if path == nil { return nil }
  }
  let known: [String: UInt16] = ["http": 80, "https": 443]
  return .parts(
    scheme: redirect.scheme, host: redirect.hostname,
    port: redirect.port ?? redirect.scheme.flatMap { known[$0] } ?? 0, path: path)
}

private func rewrite(_ change: GatewayRoute.PathChange) -> RoutePathRewrite? {
  switch change {
  case .full(let text): RouteTemplate(literal: text).map { .whole($0) }
  case .prefix(let text): RouteRewrite.prefix(text)
  }
}

extension HeaderEdit {
  fileprivate init?(_ change: GatewayRoute.HeaderChange) {
    func fields(_ fields: [GatewayRoute.Field]) -> [HeaderField]? {
      let found = fields.compactMap { HeaderField($0.name, $0.value) }
      return found.count == fields.count ? found : nil
    }
    guard let set = fields(change.set), let add = fields(change.add) else { return nil }
    self.init(remove: change.remove, set: set, add: add)
  }
}
