// A request for a name that is served by somebody else or elsewhere: the class of an Ingress that is not ours, the port of a Gateway.

import ClusterObjects
import ClusterView
import Diagnostics
import GatewayAPI
import Ingress

extension Walk {
  /// False when there is no such Ingress.
  mutating func tellUnserved(_ web: WebTarget, _ plan: RoutePlan) -> Bool {
    let served = Set(plan.served)
    let named = view.ingresses.values.filter { ingress in
      !served.contains(ingress.key)
        && ingress.rules.contains { !$0.host.isEmpty && Self.takes($0.host, web.host) }
    }
    guard let ingress = named.min(by: { $0.key < $1.key }) else { return false }
    let (cause, meant) = whose(ingress)
    let mend = meant.map {
      "set spec.ingressClassName: \($0) (kubectl edit ingress -n \(ingress.key.namespace) \(ingress.key.name)); "
    }
    add(
      "ingress", .fault,
      "Ingress \(ingress.key) has the name \(web.host), and \(cause): it is answered with 404",
      objects: ["Ingress \(ingress.key)"], hint: "\(mend ?? "")classes: kubectl get ingressclass")
    return true
  }

  /// A listener that has the name, on another port or by another protocol. False when there is none.
  mutating func tellOtherPort(_ web: WebTarget, _ plan: GatewayPlan) -> Bool {
    let named = plan.listeners.filter { listener in
      (listener.port != web.port || (listener.protocol == .https) != web.isTLS)
        && listener.hosts.contains { !$0.name.isEmpty && Self.takes($0.name, web.host) }
    }
    guard let listener = named.min(by: { $0.port < $1.port }) else { return false }
    let scheme = listener.protocol == .https ? "https" : "http"
    add(
      "gateway", .fault,
      "\(web.host) is served on port \(listener.port) (\(scheme), listener \(listener.name) of Gateway "
        + "\(listener.gateway)), and not on \(web.port)\(web.isTLS ? " by https" : "")",
      objects: ["Gateway \(listener.gateway)"],
      hint: "ask there: \(scheme)://\(web.host):\(listener.port)\(web.path)")
    return true
  }

  /// Why it is not ours, and the class that would make it so.
  private func whose(_ ingress: Ingress) -> (cause: String, meant: String?) {
    let ours = view.ingressClasses.values.filter { $0.controller == ingressControllerName }.map(\.name)
      .sorted()
    guard let name = ingress.className, !name.isEmpty else {
      return ("it has no class, and no class of ours is the default", ours.first)
    }
    guard let known = view.ingressClasses[name] else {
      return (
        "there is no IngressClass \(name)", NearWord.nearest(to: name, in: ours) ?? ours.first
      )
    }
    return ("its class \(name) is served by \(known.controller), not by us", nil)
  }
}
