// Services, EndpointSlices, Ingresses and policies.

extension TablePrinter {
  static let services = TablePrinter(columns: [
    name, TableColumn("Type", "How it is reached."), TableColumn("Cluster-IP", "Its address in the cluster."),
    TableColumn("External-IP", "Its addresses outside."),
    TableColumn("Port(s)", "Its ports, with node ports after a colon."), age,
    TableColumn("Selector", priority: 1, "Which pods stand behind it."),
  ]) { service, now in
    let type = service.at("spec", "type")?.string ?? "ClusterIP"
    let ports = (service.at("spec", "ports")?.elements ?? []).map { port in
      let node = port["nodePort"]?.integer ?? 0
      return "\(port["port"]?.integer ?? 0)\(node > 0 ? ":\(node)" : "")/\(port["protocol"]?.string ?? "TCP")"
    }
    return [
      JSON(service.name), JSON(type), Cell.text(service.at("spec", "clusterIP")?.string),
      external(service, type), Cell.list(ports), Cell.age(service, now),
      Cell.labels(service.at("spec", "selector")?.stringMap ?? [:]),
    ]
  }

  private static func external(_ service: JSON, _ type: String) -> JSON {
    let own = (service.at("spec", "externalIPs")?.elements ?? []).compactMap(\.string)
    switch type {
    case "ExternalName": return Cell.text(service.at("spec", "externalName")?.string)
    case "LoadBalancer":
      let given = (service.at("status", "loadBalancer", "ingress")?.elements ?? [])
        .compactMap { $0["ip"]?.string ?? $0["hostname"]?.string }
      return Cell.list(given + own, or: "<pending>")
    default: return Cell.list(own)
    }
  }

  static let endpointSlices = TablePrinter(columns: [
    name, TableColumn("AddressType", "IPv4 or IPv6."), TableColumn("Ports", "Ports of its endpoints."),
    TableColumn("Endpoints", "Addresses of its endpoints."), age,
  ]) { slice, now in
    let ports = (slice["ports"]?.elements ?? []).map { $0["port"]?.integer.map(String.init) ?? "*" }
    let addresses = (slice["endpoints"]?.elements ?? []).flatMap {
      $0["addresses"]?.elements.compactMap(\.string) ?? []
    }
    return [
      JSON(slice.name), Cell.text(slice["addressType"]?.string, or: ""), Cell.few(ports), Cell.few(addresses),
      Cell.age(slice, now),
    ]
  }

  static let ingresses = TablePrinter(columns: [
    name, TableColumn("Class", "Who serves it."), TableColumn("Hosts", "Host names it answers to."),
    TableColumn("Address", "Where it is served."), TableColumn("Ports", "On which ports."), age,
  ]) { ingress, now in
    let hosts = (ingress.at("spec", "rules")?.elements ?? []).map { rule in
      rule["host"]?.string.flatMap { $0.isEmpty ? nil : $0 } ?? "*"
    }
    let addresses = (ingress.at("status", "loadBalancer", "ingress")?.elements ?? [])
      .compactMap { $0["ip"]?.string ?? $0["hostname"]?.string }
    return [
      JSON(ingress.name),
      Cell.text(
        ingress.at("spec", "ingressClassName")?.string ?? ingress.annotations["kubernetes.io/ingress.class"]),
      hosts.isEmpty ? "*" : Cell.few(hosts), JSON(addresses.joined(separator: ",")),
      JSON(ingress.at("spec", "tls")?.elements.isEmpty == false ? "80, 443" : "80"), Cell.age(ingress, now),
    ]
  }

  static let ingressClasses = TablePrinter(columns: [
    name, TableColumn("Controller", "Which controller serves the class."),
    TableColumn("Parameters", "Where its settings are."), age,
  ]) { object, now in
    let parameters = object.at("spec", "parameters").map {
      "\($0["kind"]?.string ?? "")\($0["apiGroup"]?.string.map { ".\($0)" } ?? "")/\($0["name"]?.string ?? "")"
    }
    return [
      JSON(object.name), Cell.text(object.at("spec", "controller")?.string), Cell.text(parameters),
      Cell.age(object, now),
    ]
  }

  static let networkPolicies = TablePrinter(columns: [
    name, TableColumn("Pod-Selector", "Which pods it isolates."), age,
  ]) { object, now in
    [JSON(object.name), Cell.selector(object.at("spec", "podSelector")), Cell.age(object, now)]
  }

  private static let endpointsShown = 3

  static let endpoints = TablePrinter(columns: [
    name, TableColumn("Endpoints", "Addresses and ports that are ready."), age,
  ]) { object, now in
    var texts: [String] = []
    for subset in object["subsets"]?.elements ?? [] {
      let addresses = (subset["addresses"]?.elements ?? []).compactMap { $0["ip"]?.string }
      let ports = (subset["ports"]?.elements ?? []).compactMap { $0["port"]?.integer }
      if ports.isEmpty { texts += addresses }
      for port in ports { texts += addresses.map { $0.contains(":") ? "[\($0)]:\(port)" : "\($0):\(port)" } }
    }
    let shown = texts.prefix(endpointsShown).joined(separator: ",")
    let rest = texts.count - endpointsShown
    let text = texts.isEmpty ? "<none>" : rest > 0 ? "\(shown) + \(rest) more..." : shown
    return [JSON(object.name), JSON(text), Cell.age(object, now)]
  }
}
