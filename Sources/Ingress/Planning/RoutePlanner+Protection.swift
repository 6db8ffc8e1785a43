// What annotations ask of whole hosts and of other Services: certificates of clients, and backends that tell of errors.

import Addresses
import ClusterObjects
import ClusterView

extension RoutePlanner {
  /// What a host's clients have to show.
  struct Certified {
    var owner: ObjectKey
    var authority: TLSAuthority
    var asked: RouteClientCertificate
  }

  /// Takes note of what an Ingress asks of a host's clients. The oldest decides, for all paths of the host, as a handshake is for a
  /// name and knows no path.
  mutating func certify(_ host: String, _ ingress: Ingress, _ plan: AnnotationPlan) {
    guard let authority = plan.clientAuthority, let asked = plan.clientCertificate else { return }
    if let known = certified[host] {
      guard known.asked != asked else { return }
      return tell(
        ["auth-tls-*: \(host) is settled by ingress \(known.owner) already"], ingress.key, .annotation)
    }
    certified[host] = Certified(owner: ingress.key, authority: authority, asked: asked)
    if input == nil {
      tell(
        ["auth-tls-*: without a port for HTTPS no client can show a certificate (ING0005)"], ingress.key,
        .annotation)
    }
  }

  /// Every path of such a host asks.
  mutating func certify(_ hosts: inout [String: [Claim]]) {
    for (host, certified) in certified {
      for index in hosts[host]?.indices ?? 0..<0 {
        guard let path = hosts[host]?[index].path else { continue }
        var action = path.action < 0 ? RouteAction() : actions[path.action]
        action.clientCertificate = certified.asked
        hosts[host]?[index].path.action = number(of: action)
      }
    }
  }

  /// The table of certificates with the names whose clients are asked.
  func asking(_ table: TLSTable) -> TLSTable {
    if certified.isEmpty || input == nil { return table }
    var authorities: [TLSAuthority] = []
    let asks = certified.sorted { $0.key < $1.key }.map { host, certified in
      let known = authorities.firstIndex(of: certified.authority)
      if known == nil { authorities.append(certified.authority) }
      return TLSAsk(host, known ?? authorities.count - 1)
    }
    return TLSTable(
      certificates: table.certificates, names: table.names, defaultCertificate: table.defaultCertificate,
      ports: table.ports, authorities: authorities, asks: asks)
  }

  /// Who tells of errors: `default-backend`, at the first port that its Service has.
  mutating func tellErrors(_ ingress: Ingress, _ plan: inout AnnotationPlan) {
    guard !plan.errorStatuses.isEmpty, let fallback = fallback(ingress.key, plan) else { return }
    plan.action.errors = RouteErrors(statuses: plan.errorStatuses, backend: fallback)
  }

  private mutating func fallback(_ ingress: ObjectKey, _ plan: AnnotationPlan) -> Int? {
    guard let name = plan.fallbackService else { return nil }
    let key = ObjectKey(ingress.namespace, name)
    guard let port = view.services[key]?.ports.first(where: { $0.transport == .tcp }) else {
      tell(
        ["default-backend: service \(key) does not exist or has no TCP port (ING0004)"], ingress, .annotation)
      return nil
    }
    return backend(Ingress.Backend(service: key, port: .number(port.port)), of: ingress)
  }

  /// The backend of a path, or `default-backend` while that has no endpoint.
  mutating func endpoint(_ wanted: Ingress.Backend, of ingress: ObjectKey, _ plan: AnnotationPlan) -> Int {
    let found = backend(wanted, of: ingress, plan.policy)
    guard plan.fallbackService != nil, backends[found].endpoints.isEmpty,
      let fallback = fallback(ingress, plan)
    else { return found }
    return fallback
  }
}
