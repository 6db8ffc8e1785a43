// Certificates that Ingresses and Gateways serve and that the control plane keeps: those that have ended, those that will soon, and
// those that cannot be served.

import ClusterObjects
import ClusterView
import GatewayAPI
import Ingress

/// Days before a certificate's end from which on it is a warning.
private let warningDays: Int64 = 30

/// A line for each Secret that is served and for each that cannot be.
/// - Parameters:
///   - certificates: planned with the Secrets that Ingresses name.
///   - problems: of that planning.
///   - now: seconds since 1970.
public func checkCertificates(
  _ certificates: [ServedCertificate], problems: [RouteProblem] = [], now: Int64
) -> CheckReport.Category {
  var items = certificates.sorted { $0.secret < $1.secret }.map {
    item($0.secret, of: $0.hosts.joined(separator: ", "), end: $0.notAfter, now)
  }
  for problem in problems where problem.topic == .certificate {
    items.append(
      .failed(
        "Ingress \(problem.ingress)", "CLI0146", problem.reason,
        next: "kubectl describe ingress -n \(problem.ingress.namespace) \(problem.ingress.name)"))
  }
  return CheckReport.Category("certificates", items)
}

/// A line for each Secret that a listener of a Gateway of ours shows, and for each that it cannot show.
/// - Parameters:
///   - secrets: those that Gateways name and may name, as far as they exist.
///   - now: seconds since 1970.
///   - of: one listener alone.
public func checkGatewayCertificates(
  _ view: ClusterView, secrets: [ObjectKey: TLSSecret], now: Int64,
  of one: (gateway: ObjectKey, listener: String)? = nil
) -> [CheckReport.Item] {
  var hosts: [ObjectKey: Set<String>] = [:]
  var ends: [ObjectKey: Int64] = [:]
  var items: [CheckReport.Item] = []
  for gateway in view.gateway.gateways.values.sorted(by: { $0.key < $1.key })
  where view.gateway.classes[gateway.className]?.controllerName == gatewayControllerName {
    for listener in gateway.listeners {
      if let one, one != (gateway.key, listener.name) { continue }
      guard let tls = listener.tls, !tls.isPassthrough else { continue }
      for reference in tls.certificates {
        let key = reference.key(in: gateway.key.namespace)
        let reason: String
        switch secrets[key]?.loaded {
        case .success(let loaded):
          ends[key] = loaded.notAfter
          hosts[key, default: []].insert(listener.hostname ?? "every name")
          continue
        case .failure(let error): reason = "secret \(key) cannot be served: \(error)"
        case nil: reason = "secret \(key) does not exist, or may not be named from here"
        }
        items.append(
          .failed(
            "Gateway \(gateway.key)", "CLI0146", "listener \(listener.name): \(reason)",
            next: "kubectl describe gateway -n \(gateway.key.namespace) \(gateway.key.name)"))
      }
    }
  }
  return ends.sorted { $0.key < $1.key }.map {
    item($0.key, of: (hosts[$0.key] ?? []).sorted().joined(separator: ", "), end: $0.value, now)
  } + items
}

/// A line for each certificate that the control plane of this machine keeps. It makes them anew by itself: one near its end was not.
public func checkClusterCertificates(
  _ lives: [(name: String, end: Int64, isAuthority: Bool)], now: Int64
) -> [CheckReport.Item] {
  lives.map { life in
    judged(
      "cluster \(life.name)", life.isAuthority ? "the authority" : "the certificate", end: life.end,
      warnsDays: 14, now,
      next: "weft server certs renew --data-dir DIR; weft server certs check-expiration --data-dir DIR")
  }
}

private func item(_ secret: ObjectKey, of hosts: String, end: Int64, _ now: Int64) -> CheckReport.Item {
  judged(
    "Secret \(secret)", "the certificate of \(hosts)", end: end, warnsDays: warningDays, now,
    next: "replace it: kubectl create secret tls -n \(secret.namespace) \(secret.name) "
      + "--cert=FILE --key=FILE --dry-run=client -o yaml | kubectl apply -f -")
}

private func judged(
  _ name: String, _ of: String, end: Int64, warnsDays: Int64, _ now: Int64, next: String
) -> CheckReport.Item {
  let days = abs(end - now) / 86_400
  let length = "\(days) day\(days == 1 ? "" : "s")"
  if end <= now { return .failed(name, "CLI0145", "\(of) expired \(length) ago", next: next) }
  if end - now < warnsDays * 86_400 {
    return .warning(name, "CLI0145", "\(of) expires in \(length)", next: next)
  }
  return .ok(name, "\(of) is good for \(length)")
}
