// One Ingress as routes: an HTTPRoute for each host, its filters, and what sends plain requests to https.

import ClusterObjects
import ClusterView

extension MigrationPlanner {
  mutating func translate(_ ingress: Ingress) {
    let reader = AnnotationReader(ingress.annotations)
    if reader.isTrue("ssl-passthrough") { return passThrough(ingress) }
    var hosts: [String] = []
    for rule in ingress.rules where !hosts.contains(rule.host) { hosts.append(rule.host) }
    var filters = self.filters(ingress, reader)
    let redirect = self.redirect(ingress, reader)
    for host in hosts {
      var rules: [RuleDraft] = []
      if let root = reader["app-root"] {
        rules.append(
          RuleDraft(
            match: ["path": ["type": "Exact", "value": "/"]],
            filters: [
              .filter(
                "RequestRedirect", "requestRedirect",
                ["path": ["type": "ReplaceFullPath", "replaceFullPath": JSON(root)], "statusCode": 302])
            ]))
      }
      for path in ingress.rules.filter({ $0.host == host }).flatMap(\.paths) {
        var draft = RuleDraft(match: ["path": match(path, host)])
        if let redirect {
          draft.filters = [redirect]
        } else {
          draft.filters = filters
          if let rewrite = rewrite(ingress, reader, path) { draft.filters.append(rewrite) }
          draft.backends = [backend(path.backend, ingress)].compactMap(\.self)
          draft.more = limits(ingress, reader)
        }
        rules += canaries(draft, ingress, host, path)
      }
      attach(rules, ingress, reader, host)
    }
    if let backend = ingress.defaultBackend {
      filters.removeAll { $0["urlRewrite"] != nil }
      var draft = RuleDraft(match: ["path": ["type": "PathPrefix", "value": "/"]], filters: filters)
      draft.backends = [self.backend(backend, ingress)].compactMap(\.self)
      routes.append(route("\(ingress.key.name)-default", ingress, [], ["http"], [draft]))
      gateway(ingress) { _ in }
    }
    policy(ingress, reader)
  }

  private mutating func gateway(_ ingress: Ingress, _ change: (inout GatewayDraft) -> Void) {
    let namespace = ingress.key.namespace
    change(&gateways[namespace, default: GatewayDraft(namespace: namespace)])
    if (gateways[namespace]?.count ?? 0) > GatewayDraft.listenersMax {
      tell(
        ingress, .needsObject, "Gateway \(namespace)/\(GatewayDraft.name)", "has more than 64 listeners",
        "move some to a ListenerSet")
    }
  }

  /// Puts a host's rules behind the listeners that it has.
  private mutating func attach(
    _ rules: [RuleDraft], _ ingress: Ingress, _ reader: AnnotationReader, _ host: String
  ) {
    let aliases = reader.list("server-alias").map { $0.lowercased() }
    let names = (host.isEmpty ? [] : [host] + aliases)
    var secured: [String] = []
    for entry in ingress.tls where entry.hosts.isEmpty || entry.hosts.map({ $0.lowercased() }).contains(host)
    {
      guard !entry.secretName.isEmpty else {
        tell(
          ingress, .needsObject, "spec.tls",
          "names no Secret, so the controller's own certificate was served",
          "make a Secret with a certificate for \(host)")
        continue
      }
      for name in names.isEmpty ? [""] : names {
        var made: String?
        gateway(ingress) { made = $0.secure(name, secret: entry.secretName) }
        if let made {
          secured.append(made)
        } else {
          tell(
            ingress, .inexpressible, name, "has a certificate of another Secret already",
            "name one Secret for the host")
        }
      }
    }
    gateway(ingress) { _ in }
    let base = "\(ingress.key.name)-\(GatewayDraft.label(host))"
    let redirects =
      reader["ssl-redirect"] != "false" && !secured.isEmpty || reader.isTrue("force-ssl-redirect")
    if redirects {
      let away = JSON.filter("RequestRedirect", "requestRedirect", ["scheme": "https", "statusCode": 308])
      routes.append(
        route(
          "\(base)-https", ingress, names, ["http"],
          [RuleDraft(match: ["path": ["type": "PathPrefix", "value": "/"]], filters: [away])]))
    }
    let listeners = redirects && !secured.isEmpty ? secured : secured + ["http"]
    if redirects, secured.isEmpty {
      tell(
        ingress, .approximate, "force-ssl-redirect",
        "redirects where something in front ends TLS, and a Gateway cannot tell such requests from others",
        "leave the redirect to what ends TLS")
      routes.removeLast()
    }
    routes.append(
      callRoute(base, ingress, reader, names, listeners, rules)
        ?? route(base, ingress, names, listeners, rules))
    guard reader.isTrue("from-to-www-redirect"), !host.isEmpty, !host.hasPrefix("*.") else { return }
    let other = host.hasPrefix("www.") ? String(host.dropFirst(4)) : "www.\(host)"
    let away = JSON.filter("RequestRedirect", "requestRedirect", ["hostname": JSON(host), "statusCode": 308])
    routes.append(
      route(
        "\(base)-www", ingress, [other], ["http"],
        [RuleDraft(match: ["path": ["type": "PathPrefix", "value": "/"]], filters: [away])]))
    if !secured.isEmpty {
      tell(
        ingress, .needsObject, "from-to-www-redirect", "over https \(other) needs a certificate",
        "add a listener for \(other) and attach route \(base)-www to it")
    }
  }

  /// A GRPCRoute, where endpoints speak gRPC and all that is asked for has a place in one; nil, and why it is told, where not.
  private mutating func callRoute(
    _ name: String, _ ingress: Ingress, _ reader: AnnotationReader, _ hosts: [String],
    _ listeners: [String], _ rules: [RuleDraft]
  ) -> JSON? {
    guard ["GRPC", "GRPCS"].contains(reader["backend-protocol"]?.uppercased() ?? "") else { return nil }
    func stays(_ reason: String) -> JSON? {
      plainCalls.insert(ingress.key)
      tell(
        ingress, .approximate, "backend-protocol", "\(reason), so its calls are routed by an HTTPRoute",
        "give calls a host of their own, with service and method as paths")
      return nil
    }
    // Of an HTTPRoute and a GRPCRoute for the same name only the older is accepted.
    let isShared = ingresses.contains { other in
      other.key != ingress.key && !CanaryPlan.isCanary(other)
        && other.rules.contains { hosts.contains($0.host) || $0.host.isEmpty && hosts.isEmpty }
        && !["GRPC", "GRPCS"].contains(other.nginx("backend-protocol")?.uppercased() ?? "")
    }
    if isShared { return stays("another Ingress has the host for other requests") }
    var calls: [RuleDraft] = []
    for rule in rules {
      guard let call = rule.asCalls else {
        return stays("a GRPCRoute has no place for all of its paths, filters and times")
      }
      calls.append(call)
    }
    var made = route(name, ingress, hosts, listeners, calls)
    made["kind"] = "GRPCRoute"
    return made
  }

  private func route(
    _ name: String, _ ingress: Ingress, _ hosts: [String], _ listeners: [String], _ rules: [RuleDraft]
  ) -> JSON {
    let parents = listeners.map { section -> JSON in
      ["name": JSON(GatewayDraft.name), "sectionName": JSON(section)]
    }
    var spec: JSON = ["parentRefs": .array(parents)]
    if !hosts.isEmpty { spec["hostnames"] = .array(hosts.map { JSON($0) }) }
    spec["rules"] = .array(rules.map(\.manifest))
    return [
      "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
      "metadata": ["name": JSON(name), "namespace": JSON(ingress.key.namespace)], "spec": spec,
    ]
  }

  private func match(_ path: Ingress.Path, _ host: String) -> JSON {
    if patterned[host] != nil, path.path != "/" {
      // Good for gateways that compare the whole path, and for those that look for a beginning.
      return ["type": "RegularExpression", "value": JSON("(?i)\(path.path).*")]
    }
    return ["type": path.kind == .exact ? "Exact" : "PathPrefix", "value": JSON(path.path)]
  }

  private mutating func backend(_ backend: Ingress.Backend, _ ingress: Ingress) -> JSON? {
    switch backend.port {
    case .number(let number): return ["name": JSON(backend.service.name), "port": .integer(Int64(number))]
    case .name(let name):
      if let port = input.services[backend.service]?.ports.first(where: { $0.name == name }) {
        return ["name": JSON(backend.service.name), "port": .integer(Int64(port.port))]
      }
      tell(
        ingress, .needsObject, "service \(backend.service)",
        "a route needs the number of port \(name), and the Service is not among what was read",
        "give its manifest too, or use --live")
      return nil
    }
  }

  private mutating func passThrough(_ ingress: Ingress) {
    for rule in ingress.rules where !rule.host.isEmpty {
      guard let path = rule.paths.first, let backend = backend(path.backend, ingress) else { continue }
      var section = ""
      gateway(ingress) { section = $0.passThrough(rule.host) }
      routes.append([
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "TLSRoute",
        "metadata": [
          "name": JSON("\(ingress.key.name)-\(GatewayDraft.label(rule.host))"),
          "namespace": JSON(ingress.key.namespace),
        ],
        "spec": [
          "parentRefs": [["name": JSON(GatewayDraft.name), "sectionName": JSON(section)]],
          "hostnames": [JSON(rule.host)], "rules": [["backendRefs": [backend]]],
        ],
      ])
    }
  }

  /// The rule of a path, with what a canary of the same host and path puts in front of it and beside it.
  private mutating func canaries(_ draft: RuleDraft, _ ingress: Ingress, _ host: String, _ path: Ingress.Path)
    -> [RuleDraft]
  {
    let found = ingresses.first { other in
      CanaryPlan.isCanary(other) && other.key.namespace == ingress.key.namespace
        && other.rules.contains { $0.host == host && $0.paths.contains { $0.path == path.path } }
    }
    guard let found, !draft.backends.isEmpty else { return [draft] }
    let target = found.rules.filter { $0.host == host }.flatMap(\.paths).first { $0.path == path.path }
    guard let target, let other = backend(target.backend, found) else { return [draft] }
    let reader = AnnotationReader(found.annotations)
    var rules: [RuleDraft] = []
    func add(_ header: JSON, _ backends: [JSON]) {
      var rule = draft
      rule.match["headers"] = [header]
      rule.backends = backends
      rules.append(rule)
    }
    if let header = reader["canary-by-header"] {
      if let value = reader["canary-by-header-value"] {
        add(["name": JSON(header), "value": JSON(value)], [other])
      } else if let pattern = reader["canary-by-header-pattern"] {
        add(["name": JSON(header), "type": "RegularExpression", "value": JSON(pattern)], [other])
      } else {
        add(["name": JSON(header), "value": "always"], [other])
        add(["name": JSON(header), "value": "never"], draft.backends)
      }
    }
    if let cookie = reader["canary-by-cookie"] {
      for (value, backends) in [("always", [other]), ("never", draft.backends)] {
        add(
          ["name": "Cookie", "type": "RegularExpression", "value": JSON("(.*; *)?\(cookie)=\(value)(;.*)?")],
          backends)
      }
    }
    var last = draft
    let total = reader["canary-weight-total"].flatMap { Int64($0) } ?? 100
    let weight = min(total, reader["canary-weight"].flatMap { Int64($0) } ?? 0)
    if weight > 0, var main = draft.backends.first {
      var split = other
      main["weight"] = .integer(total - weight)
      split["weight"] = .integer(weight)
      last.backends = [main, split]
    }
    return rules + [last]
  }
}
