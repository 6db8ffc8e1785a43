// What annotations of Services say that cannot be read, told to the routes that lead to them: an Ingress's owner reads it in its events, a
// route's owner does so too.

import ClusterObjects
import ClusterView
import Ingress

/// An annotation without effect, of a Service that a route names.
public struct RouteServiceProblem: Sendable, Hashable {
  public var route: GatewayRoute.Name
  public var message: String
}

extension GatewayPlan {
  /// What is to be told of the Services behind served routes, in a stable order. Cost: a look at each Service's annotations; at the rules
  /// where one of them cannot be read.
  public func serviceProblems(view: ClusterView) -> [RouteServiceProblem] {
    var messages: [ObjectKey: [String]] = [:]
    for service in view.services.values where !service.annotations.isEmpty {
      var policy = BackendPolicy()
      let found = policy.take(service)
      if !found.isEmpty { messages[service.key] = found }
    }
    if messages.isEmpty { return [] }
    var told: Set<RouteServiceProblem> = []
    for listener in listeners {
      for rule in listener.hosts.flatMap(\.rules) {
        let mirrors = rule.mirrors + rule.backends.flatMap(\.mirrors)
        for backend in rule.backends + mirrors.map(\.backend) {
          guard case .service(let key, _) = backend.target else { continue }
          for message in messages[key] ?? [] {
            told.insert(RouteServiceProblem(route: rule.route, message: message))
          }
        }
      }
    }
    return told.sorted { ($0.route, $0.message) < ($1.route, $1.message) }
  }
}
