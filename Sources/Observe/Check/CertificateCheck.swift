// Certificates that the ingress serves: those that have ended, those that will soon, and those that cannot be served.

import ClusterObjects
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
  var items = certificates.sorted { $0.secret < $1.secret }.map { served -> CheckReport.Item in
    let name = "Secret \(served.secret)"
    let of = "the certificate of \(served.hosts.joined(separator: ", "))"
    let next =
      "replace it: kubectl create secret tls -n \(served.secret.namespace) \(served.secret.name) "
      + "--cert=FILE --key=FILE --dry-run=client -o yaml | kubectl apply -f -"
    let days = abs(served.notAfter - now) / 86_400
    let length = "\(days) day\(days == 1 ? "" : "s")"
    if served.notAfter <= now {
      return .failed(name, "CLI0145", "\(of) expired \(length) ago", next: next)
    }
    if served.expires(withinDays: warningDays, of: now) {
      return .warning(name, "CLI0145", "\(of) expires in \(length)", next: next)
    }
    return .ok(name, "\(of) is good for \(length)")
  }
  for problem in problems where problem.topic == .certificate {
    items.append(
      .failed(
        "Ingress \(problem.ingress)", "CLI0146", problem.reason,
        next: "kubectl describe ingress -n \(problem.ingress.namespace) \(problem.ingress.name)"))
  }
  return CheckReport.Category("certificates", items)
}
