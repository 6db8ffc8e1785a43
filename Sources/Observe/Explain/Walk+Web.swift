// A request to an ingress or a gateway: which rule takes it, and from there on as any connection, opened by the node that serves it.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import GatewayAPI
import Glibc
import Ingress
import Patterns
import Policy

extension Walk {
  mutating func toWeb(_ web: WebTarget) {
    guard meetsNode(web) else { return }
    let plan = planRoutesExplained(
      view: view, tls: explainer.secrets.map { TLSInput(secrets: $0) },
      credentials: explainer.credentials ?? [:],
      headers: explainer.fields)
    let gateways = planGateways(
      view: view, settings: GatewaySettings(addresses: nodeAddresses.map(\.description)),
      input: GatewayInput(secrets: explainer.secrets ?? [:], authorities: explainer.authorities))
    // A port that Ingresses do not usually have is a Gateway's, if one asks for it. Where Ingresses listen is not known here.
    let isGateways = ![80, 443].contains(web.port) && gateways.listeners.contains { $0.port == web.port }
    if !isGateways, let match = plan.table.match(host: web.host, path: web.path) {
      return toIngress(web, plan, match)
    }
    if let (listener, rule, passed) = find(web, gateways) { return toGateway(web, listener, rule, passed) }
    explanation.verdict = .reject
    if web.isTLS, explainer.secrets == nil {
      add(
        "certificate", .note, "Secrets were not read: what is served with one of them is missing here",
        hint: "use a kubeconfig that may: kubectl auth can-i get secrets -A")
    }
    for line in refusals(web, gateways) { add("gateway", .note, line) }
    if tellUnserved(web, plan) || tellOtherPort(web, gateways) { return }
    let hosts = plan.table.hosts.map(\.name) + gateways.listeners.flatMap(\.hosts).map(\.name)
    let meant = NearWord.nearest(to: web.host, in: hosts)
    let isKnown = hosts.contains(web.host)
    add(
      "ingress", .fault,
      isKnown
        ? "no rule of \(web.host) takes \(web.path): it is answered with 404"
        : "no Ingress and no route of a Gateway has the name \(web.host): it is answered with 404",
      hint: (meant.map { "did you mean \($0)? " } ?? "") + "look at: kubectl get ingress,httproute -A")
  }

  private var nodeAddresses: [IPAddress] {
    view.nodes[explainer.nodeName]?.internalIPs ?? explainer.localAddresses.sorted()
  }

  /// Whether the client may speak to the node at all.
  private mutating func meetsNode(_ web: WebTarget) -> Bool {
    guard let pod = source.pod,
      let address = nodeAddresses.first(where: { $0.family == source.address.family })
    else { return true }
    let decision = decidePolicy(
      view: view, from: source, to: PolicyParty(address: address, pod: nil), port: web.port, transport: .tcp)
    let door = SocketEndpoint(address, web.port)
    add(
      "policy", decision.isAllowed ? .fine : .fault,
      sentence(decision, door, PolicyParty(address: address, pod: nil)),
      objects: objects(decision) + ["Pod \(pod)"], hint: hint(decision))
    if !decision.isAllowed { explanation.verdict = .deny }
    return decision.isAllowed
  }

  // MARK: Ingress

  private mutating func toIngress(_ web: WebTarget, _ plan: RoutePlan, _ match: RouteTable.Match) {
    let backend = plan.table.backends[match.backend]
    let ingress = ObjectKey(backend.namespace, backend.ingress)
    if match.host < 0 {
      add(
        "ingress", .fine,
        "no rule takes it: the default backend of Ingress \(ingress) does, Service \(backend.namespace)/\(backend.service) port \(backend.servicePort)",
        objects: ["Ingress \(ingress)"])
    } else {
      let host = plan.table.hosts[match.host]
      let rule = host.paths[match.path]
      let path = String(decoding: rule.path, as: UTF8.self)
      add(
        "ingress", .fine,
        "Ingress \(ingress): rule \(host.name.isEmpty ? "*" : host.name) "
          + "\(path.isEmpty ? "/" : path) (\(rule.kind.words)) leads to Service \(backend.namespace)/\(backend.service) port \(backend.servicePort)",
        objects: ["Ingress \(ingress)"])
    }
    // Of Secrets that were not read nothing is known.
    for problem in plan.problems
    where problem.ingress == ingress && (explainer.credentials != nil || problem.topic != .annotation) {
      add(
        "ingress", .note, problem.reason, objects: ["Ingress \(ingress)"],
        hint: "kubectl describe ingress -n \(ingress.namespace) \(ingress.name)")
    }
    if web.isTLS {
      describeCertificate(web, plan)
    } else if match.redirectsToHTTPS {
      add(
        "ingress", .note, "over plain HTTP it is answered with a redirect to https://\(web.host)\(web.path)")
    }
    if match.action >= 0 {
      let action = plan.table.actions[match.action]
      guard meetsAction(action, of: ingress, plan) else { return }
      describeShares(action, plan)
    }
    let key = ObjectKey(backend.namespace, backend.service)
    let port =
      UInt16(backend.servicePort).map { Ingress.PortReference.number($0) } ?? .name(backend.servicePort)
    enter()
    var targets: [SocketEndpoint] = []
    guard reach(key, port, &targets) else { return }
    finish(targets, via: nil, .tcp)
  }

  private mutating func describeCertificate(_ web: WebTarget, _ plan: RoutePlan) {
    guard explainer.secrets != nil else {
      add("certificate", .note, "not looked at: Secrets were not read")
      return
    }
    let wild = web.host.firstIndex(of: ".").map { "*\(web.host[$0...])" }
    guard
      let served = plan.certificates.first(where: { $0.hosts.contains(web.host) })
        ?? plan.certificates.first(where: { served in wild.map { served.hosts.contains($0) } ?? false })
    else {
      add(
        "certificate", .note, "\(web.host) has none: a client is shown one that nobody trusts",
        hint: "name one in spec.tls of the Ingress")
      return
    }
    describe(checkCertificates([served], now: Int64(time(nil))).items)
  }

  private mutating func describe(_ certificates: [CheckReport.Item]) {
    for item in certificates {
      add(
        "certificate", item.state == .failed ? .fault : item.state == .warning ? .note : .fine,
        "\(item.code.map { "\($0) " } ?? "")\(item.name): \(item.text)", objects: [item.name],
        hint: item.next.isEmpty ? nil : item.next)
    }
  }

  // MARK: Gateway

  /// The listener and the rule that take the request, and rules of the same path that ask for more than a host and a path.
  private func find(_ web: WebTarget, _ plan: GatewayPlan)
    -> (GatewayPlan.Listener, GatewayPlan.Rule, passed: [GatewayPlan.Rule])?
  {
    let wanted: GatewayPlan.ListenerProtocol = web.isTLS ? .https : .http
    var fitting = plan.listeners.filter {
      $0.port == web.port && $0.protocol == wanted && Self.takes($0.hostname ?? "", web.host)
    }
    if let address = IPAddress(web.host) {
      let own = plan.listeners.contains { $0.port == web.port && $0.addresses.contains(address) }
      fitting.removeAll { own ? !$0.addresses.contains(address) : !$0.addresses.isEmpty }
    }
    // The longest name is the most specific.
    let listeners = fitting.sorted { ($0.hostname ?? "").count > ($1.hostname ?? "").count }
    for listener in listeners {
      var passed: [GatewayPlan.Rule] = []
      for host in listener.hosts where Self.takes(host.name, web.host) {
        for rule in host.rules where Self.takes(rule.match.path, web.path) {
          let isPlain =
            rule.match.headers.isEmpty && rule.match.query.isEmpty && rule.match.call == nil
            && (rule.match.method ?? "GET") == "GET"
          if isPlain { return (listener, rule, passed) }
          passed.append(rule)
        }
      }
    }
    return nil
  }

  static func takes(_ pattern: String, _ host: String) -> Bool {
    if pattern.isEmpty || pattern == host { return true }
    return pattern.hasPrefix("*.") && host.hasSuffix(pattern.dropFirst()) && host.count >= pattern.count
  }

  private static func takes(_ path: GatewayRoute.Path?, _ asked: String) -> Bool {
    guard let path else { return true }
    let asked = asked.prefix { $0 != "?" }
    switch path.comparison {
    case .exact: return asked == path.value[...]
    case .prefix:
      let prefix = path.value.hasSuffix("/") ? path.value.dropLast() : path.value[...]
      return asked.hasPrefix(prefix)
        && (asked.count == prefix.count || asked.dropFirst(prefix.count).first == "/")
    case .regex:
      guard let pattern = try? BytePattern("^(?:\(path.value))$") else { return false }
      return pattern.matches(Array(asked.utf8))
    }
  }

  private mutating func toGateway(
    _ web: WebTarget, _ listener: GatewayPlan.Listener, _ rule: GatewayPlan.Rule, _ passed: [GatewayPlan.Rule]
  ) {
    let addresses = listener.addresses.sorted().map(\.description).joined(separator: ", ")
    let place = addresses.isEmpty ? "" : " at \(addresses)"
    add(
      "gateway", .fine,
      "Gateway \(listener.gateway): listener \(listener.name) (port \(listener.port)\(place)), "
        + "\(rule.route) rule \(rule.index)\(rule.name.isEmpty ? "" : " \"\(rule.name)\"") (\(rule.match.path.map { "\($0.comparison.rawValue) \($0.value)" } ?? "every path"))",
      objects: ["Gateway \(listener.gateway)", "\(rule.route)"])
    if web.isTLS {
      describe(
        checkGatewayCertificates(
          explainer.view, secrets: explainer.secrets ?? [:], now: Int64(time(nil)),
          of: (listener.gateway, listener.name)))
    }
    for other in passed {
      add(
        "gateway", .note,
        "\(other.route) rule \(other.index) comes first for requests that have more than host and path",
        objects: ["\(other.route)"])
    }
    for filter in rule.filters {
      add("gateway", .note, "filter \(filter.type)", objects: ["\(rule.route)"])
    }
    let named = rule.backends.filter { $0.weight > 0 }
    guard !named.isEmpty else {
      explanation.verdict = rule.filters.contains { $0.type == "RequestRedirect" } ? .allow : .reject
      if explanation.verdict == .reject {
        add("gateway", .fault, "the rule has no backend: it is answered with 500", objects: ["\(rule.route)"])
      }
      return
    }
    enter()
    var targets: [SocketEndpoint] = []
    var isReached = false
    for backend in named {
      guard case .service(let key, let port) = backend.target else {
        add(
          "gateway", .fault,
          "a backend of weight \(backend.weight) cannot be used: its share is answered with 500",
          objects: ["\(rule.route)"],
          hint:
            "kubectl describe \(rule.route.kind.rawValue.lowercased()) -n \(rule.route.key.namespace) \(rule.route.key.name)"
        )
        continue
      }
      if reach(key, .number(port), &targets) { isReached = true }
    }
    if isReached { finish(targets, via: nil, .tcp) } else { explanation.verdict = .reject }
  }

  /// Routes that have the name and are not attached, with what their status says.
  private func refusals(_ web: WebTarget, _ plan: GatewayPlan) -> [String] {
    view.gateway.routes.values.filter { route in
      route.hostnames.contains { Self.takes($0, web.host) }
    }.sorted { $0.name < $1.name }.flatMap { route in
      (plan.routes[route.name] ?? []).flatMap(\.conditions).filter { !$0.isTrue }.map {
        "\(route.name) has this name, and its \($0.type) is false: \($0.reason) \($0.message)"
      }
    }
  }

  // MARK: Both

  /// From here on the node that serves opens the connection.
  private mutating func enter() {
    let address = nodeAddresses.first { $0.family == source.address.family } ?? nodeAddresses.first
    if let address { source = PolicyParty(address: address, pod: nil) }
  }

  /// Adds a Service's endpoints. False after saying why there are none.
  private mutating func reach(
    _ key: ObjectKey, _ reference: Ingress.PortReference, _ targets: inout [SocketEndpoint]
  ) -> Bool {
    explanation.verdict = .reject
    guard let service = view.services[key] else {
      let meant = Spelling.service(key, in: view).map { "did you mean \($0)? " } ?? ""
      add(
        "service", .fault, "Service \(key) does not exist: it is answered with 503",
        hint: "\(meant)look at: kubectl get services -n \(key.namespace)")
      return false
    }
    let found = service.ports.first { port in
      guard port.transport == .tcp else { return false }
      return switch reference {
      case .number(let number): port.port == number
      case .name(let name): port.name == name
      }
    }
    guard let port = found else {
      let list = service.ports.map { "\($0.port)/\($0.transport.rawValue)" }.joined(separator: ", ")
      add(
        "service", .fault, "\(key) has no such port; it has \(list)", objects: ["Service \(key)"],
        hint: "kubectl edit service -n \(key.namespace) \(key.name)")
      return false
    }
    add(
      "service", .fine, "\(key) port \(port.port): its endpoints are called without its cluster IP",
      objects: ["Service \(key)"])
    let family = service.clusterIPs.first?.family ?? source.address.family
    guard let own = endpoints(of: service, port, family) else { return false }
    targets += own
    return true
  }
}

extension RoutePathKind {
  fileprivate var words: String {
    switch self {
    case .exact: "Exact"
    case .prefix: "Prefix"
    case .pattern: "regular expression"
    }
  }
}
