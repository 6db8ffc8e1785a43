// What an Ingress's rule does with a request besides sending it on: what it answers by itself, whom it lets in, whom it asks first. In the
// order in which the data plane does it.

import Addresses
import ClusterObjects
import Ingress
import Policy

extension Walk {
  /// False when the request is answered without an endpoint; the verdict says how then.
  mutating func meetsAction(_ action: RouteAction, of ingress: ObjectKey, _ plan: RoutePlan) -> Bool {
    if action.answer != 0, explainer.credentials == nil {
      add("rule", .note, "what protects it was not looked at: Secrets were not read")
    } else if action.answer != 0 {
      return refuse(
        "every request is answered with \(action.answer): what is to protect the rule cannot be had", ingress)
    }
    if let certificate = action.clientCertificate, certificate.need == .required {
      add("rule", .note, "clients have to show a certificate: without one the answer is 400")
    }
    if let redirect = action.redirect {
      explanation.verdict = .allow
      add("rule", .fine, "the answer is a redirect (\(redirect.status)); no endpoint is asked")
      return false
    }
    for limit in action.limits {
      let rate = limit.perMinute > 0 ? "\(limit.perMinute) requests a minute" : ""
      let atOnce = limit.atOnce > 0 ? "\(limit.atOnce) at once" : ""
      let bounds = [rate, atOnce].filter { !$0.isEmpty }.joined(separator: ", ")
      add("rule", .note, "a client gets \(bounds); beyond that the answer is 503")
    }
    if let sources = action.sources, !sources.admits(source.address), !action.satisfiesAny {
      return refuse(
        "\(source.address) is not among the addresses that may come: the answer is 403", ingress)
    }
    if action.credentials != nil {
      add("rule", .note, "clients have to give a name and a password: without them the answer is 401")
    }
    return action.authorization.map { ask($0, plan) } ?? true
  }

  private mutating func refuse(_ text: String, _ ingress: ObjectKey) -> Bool {
    explanation.verdict = .reject
    add(
      "rule", .fault, text, objects: ["Ingress \(ingress)"],
      hint: "kubectl describe ingress -n \(ingress.namespace) \(ingress.name)")
    return false
  }

  /// The Service that decides on each request. False when it has no endpoint.
  private mutating func ask(_ authorization: RouteAuthorization, _ plan: RoutePlan) -> Bool {
    let decider = plan.table.backends[authorization.backend]
    let key = ObjectKey(decider.namespace, decider.service)
    let isThere = !decider.endpoints.isEmpty
    add(
      "rule", isThere ? .note : .fault,
      "Service \(key) is asked first: \(isThere ? "2xx lets the request in, 401 and 403 go to the client, anything else is answered with 500" : "it has no endpoint, and nobody is let in")",
      objects: ["Service \(key)"], hint: isThere ? nil : "kubectl get endpointslices -n \(key.namespace)")
    if !isThere { explanation.verdict = .reject }
    return isThere
  }

  /// Other backends of the rule by weight: canaries.
  mutating func describeShares(_ action: RouteAction, _ plan: RoutePlan) {
    let total = action.targets.reduce(0) { $0 + $1.weight }
    for target in action.targets where target.backend >= 0 && target.weight > 0 {
      let backend = plan.table.backends[target.backend]
      add(
        "rule", .note,
        "\(target.weight) of \(total) requests go to Service \(backend.namespace)/\(backend.service) of Ingress \(backend.namespace)/\(backend.ingress)",
        objects: ["Ingress \(backend.namespace)/\(backend.ingress)"])
    }
  }
}
