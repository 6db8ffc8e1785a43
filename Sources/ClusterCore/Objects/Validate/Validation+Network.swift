// Services, EndpointSlices, NetworkPolicies.

extension Validator {
  // MARK: - Service

  static let service = Rules(
    create: { validator, service in validator.serviceSpec(service.spec, "spec") },
    update: { validator, new, old in
      let types = ["ClusterIP", "NodePort", "LoadBalancer"]
      guard types.contains(new.spec["type"]?.string ?? ""), types.contains(old.spec["type"]?.string ?? "")
      else {
        return
      }
      // The address is the Service's identity for everyone who looked it up.
      if let before = old.spec["clusterIP"]?.string, !before.isEmpty,
        new.spec["clusterIP"]?.string != before
      {
        validator.add(
          .invalid(
            FieldPath("spec.clusterIPs").index(0), new.spec["clusterIPs"] ?? new.spec["clusterIP"] ?? .null,
            "may not change once set"))
      }
    })

  private mutating func serviceSpec(_ spec: JSON, _ path: FieldPath) {
    let type = spec["type"]?.string ?? ""
    let ports = spec["ports"]?.elements ?? []
    let isHeadless = spec["clusterIP"]?.string == "None"
    if ports.isEmpty, !isHeadless, type != "ExternalName" { add(.required(path.child("ports"))) }
    if type == "LoadBalancer" || type == "NodePort", isHeadless {
      let article = type == "LoadBalancer" ? "LoadBalancer" : "NodePort"
      add(
        .invalid(
          path.child("clusterIPs").index(0), "None", "may not be set to 'None' for \(article) services"))
    }
    if type == "ExternalName" {
      let name = spec["externalName"]?.string ?? ""
      if !(spec["clusterIP"]?.string ?? "").isEmpty, !isHeadless {
        add(.forbidden(path.child("clusterIPs"), "may not be set when `type` is 'ExternalName'"))
      }
      if name.isEmpty {
        add(.required(path.child("externalName")))
      } else {
        check(name, at: path.child("externalName")) {
          Names.subdomainProblem($0.hasSuffix(".") ? String($0.dropLast()) : $0)
        }
      }
    }
    servicePorts(ports, path.child("ports"), type: type, isHeadless: isHeadless)
    labels(spec["selector"], path.child("selector"))
    serviceAddresses(spec, path)
    let timeout = path.child("sessionAffinityConfig", "clientIP", "timeoutSeconds")
    if spec["sessionAffinity"]?.string == "ClientIP" {
      if let seconds = spec.at("sessionAffinityConfig", "clientIP", "timeoutSeconds")?.integer,
        !(1...86400).contains(seconds)
      {
        add(.invalid(timeout, .integer(seconds), "must be greater than 0 and less than 86400"))
      }
    } else if spec["sessionAffinityConfig"] != nil {
      add(.forbidden(path.child("sessionAffinityConfig"), "must not be set when session affinity is None"))
    }
    let isExternal =
      type == "NodePort" || type == "LoadBalancer" || !(spec["externalIPs"]?.elements ?? []).isEmpty
    if spec["externalTrafficPolicy"] != nil, !isExternal {
      add(
        .invalid(
          path.child("externalTrafficPolicy"), spec["externalTrafficPolicy"] ?? .null,
          "may only be set for externally-accessible services"))
    }
    if let port = spec["healthCheckNodePort"]?.integer, port != 0,
      type != "LoadBalancer" || spec["externalTrafficPolicy"]?.string != "Local"
    {
      add(
        .invalid(
          path.child("healthCheckNodePort"), .integer(port),
          "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
    }
    if type != "LoadBalancer", spec["loadBalancerClass"] != nil {
      add(.forbidden(path.child("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'"))
    }
    if let choice = spec["trafficDistribution"]?.string,
      !["PreferClose", "PreferSameZone", "PreferSameNode"].contains(choice)
    {
      add(
        .notSupported(
          path.child("trafficDistribution"), .string(choice),
          ["PreferClose", "PreferSameNode", "PreferSameZone"]))
    }
  }

  private mutating func servicePorts(_ ports: [JSON], _ path: FieldPath, type: String, isHeadless: Bool) {
    var names: Set<String> = []
    var numbers: Set<String> = []
    var nodePorts: Set<String> = []
    for (position, port) in ports.enumerated() {
      let place = path.index(position)
      let name = port["name"]?.string ?? ""
      let transport = port["protocol"]?.string ?? "TCP"
      if name.isEmpty {
        if ports.count > 1 { add(.required(place.child("name"))) }
      } else {
        check(name, at: place.child("name"), Names.labelProblem)
        if !names.insert(name).inserted { add(.duplicate(place.child("name"), .string(name))) }
      }
      let number = port["port"]?.integer ?? 0
      self.port(number, place.child("port"))
      if !numbers.insert("\(transport)/\(number)").inserted {
        add(.duplicate(place, ["port": .integer(number), "protocol": .string(transport)]))
      }
      if let target = port["targetPort"] { portOrName(target, place.child("targetPort")) }
      if let application = port["appProtocol"]?.string {
        check(application, at: place.child("appProtocol"), Names.qualifiedNameProblem)
      }
      guard let node = port["nodePort"]?.integer, node != 0 else { continue }
      if type == "ClusterIP" || type == "ExternalName" {
        add(.forbidden(place.child("nodePort"), "may not be used when `type` is '\(type)'"))
      } else if !nodePorts.insert("\(transport)/\(node)").inserted {
        add(.duplicate(place.child("nodePort"), .integer(node)))
      } else {
        self.port(node, place.child("nodePort"))
      }
    }
  }

  private mutating func serviceAddresses(_ spec: JSON, _ path: FieldPath) {
    let addresses = spec["clusterIPs"]?.elements ?? []
    var families: [IPText.Family] = []
    for (position, address) in addresses.enumerated() where address != "None" {
      let place = path.child("clusterIPs").index(position)
      guard let family = IPText.family(address.string ?? "") else {
        add(.invalid(place, address, Self.addressRule))
        continue
      }
      families.append(family)
    }
    if addresses.count > 2 {
      add(
        .invalid(
          path.child("clusterIPs"), .array(addresses),
          "may only hold up to 2 values"))
    } else if families.count == 2, families[0] == families[1] {
      add(
        .invalid(
          path.child("clusterIPs"), .array(addresses),
          "may specify no more than one IP for each IP family"))
    }
    if let first = addresses.first, let single = spec["clusterIP"], first != single, single != "" {
      add(
        .invalid(
          path.child("clusterIPs"), .array(addresses), "first value must match `clusterIP`"))
    }
    for (position, address) in (spec["externalIPs"]?.elements ?? []).enumerated() {
      let place = path.child("externalIPs").index(position)
      let text = address.string ?? ""
      if IPText.family(text) == nil {
        add(.invalid(place, address, Self.addressRule))
      } else if text == "0.0.0.0" || text == "::" {
        add(.invalid(place, address, "may not be unspecified (\(text))"))
      } else if text.hasPrefix("127.") || text == "::1" {
        add(.invalid(place, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
      } else if text.hasPrefix("169.254.") || text.lowercased().hasPrefix("fe80:") {
        add(.invalid(place, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
      }
    }
    for (position, range) in (spec["loadBalancerSourceRanges"]?.elements ?? []).enumerated()
    where IPText.prefixFamily((range.string ?? "").filter { $0 != " " }) == nil {
      add(.invalid(path.child("loadBalancerSourceRanges").index(position), range, Self.prefixRule))
    }
  }

  static let addressRule = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
  static let prefixRule = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"

  // MARK: - EndpointSlice

  static let endpointsMax = 1000
  static let addressesMax = 100
  static let hintsMax = 8

  static let endpointSlice = Rules(
    create: { validator, slice in
      let type = slice["addressType"]?.string ?? ""
      if !type.isEmpty, !["IPv4", "IPv6", "FQDN"].contains(type) {
        validator.add(.notSupported("addressType", .string(type), ["FQDN", "IPv4", "IPv6"]))
      }
      let endpoints = slice["endpoints"]?.elements ?? []
      if endpoints.count > endpointsMax {
        validator.add(.tooMany("endpoints", endpoints.count, endpointsMax))
      }
      for (position, endpoint) in endpoints.prefix(endpointsMax).enumerated() {
        validator.endpoint(endpoint, FieldPath("endpoints").index(position), type)
      }
      var names: Set<String> = []
      for (position, port) in (slice["ports"]?.elements ?? []).enumerated() {
        let place = FieldPath("ports").index(position)
        let name = port["name"]?.string ?? ""
        if !name.isEmpty { validator.check(name, at: place.child("name"), Names.labelProblem) }
        if !names.insert(name).inserted { validator.add(.duplicate(place.child("name"), .string(name))) }
        if let number = port["port"]?.integer { validator.port(number, place.child("port")) }
        if let text = port["appProtocol"]?.string {
          validator.check(text, at: place.child("appProtocol"), Names.qualifiedNameProblem)
        }
      }
    },
    update: { validator, new, old in
      validator.immutable(new["addressType"], old["addressType"], "addressType")
    },
    checksAlways: true)

  private mutating func endpoint(_ endpoint: JSON, _ path: FieldPath, _ type: String) {
    let addresses = endpoint["addresses"]?.elements ?? []
    if addresses.count > Self.addressesMax {
      add(.tooMany(path.child("addresses"), addresses.count, Self.addressesMax))
    }
    for (position, address) in addresses.prefix(Self.addressesMax).enumerated() {
      let place = path.child("addresses").index(position)
      let text = address.string ?? ""
      switch type {
      case "IPv4" where IPText.family(text) != .v4:
        add(.invalid(place, address, "must be a valid IPv4 address"))
      case "IPv6" where IPText.family(text) != .v6:
        add(.invalid(place, address, "must be a valid IPv6 address"))
      case "FQDN": check(text, at: place, Names.subdomainProblem)
      default:
        if text.hasPrefix("127.") || text == "::1" {
          add(.invalid(place, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
        }
      }
    }
    if let host = endpoint["hostname"]?.string { check(host, at: path.child("hostname"), Names.labelProblem) }
    if let node = endpoint["nodeName"]?.string {
      check(node, at: path.child("nodeName"), Names.subdomainProblem)
    }
    for (field, rule) in [("forZones", Names.labelValueProblem), ("forNodes", Names.subdomainProblem)] {
      let place = path.child("hints", field)
      let hints = endpoint.at("hints", field)?.elements ?? []
      if hints.count > Self.hintsMax { add(.tooMany(place, hints.count, Self.hintsMax)) }
      var seen: Set<String> = []
      for (position, hint) in hints.prefix(Self.hintsMax).enumerated() {
        let name = hint["name"]?.string ?? ""
        if !seen.insert(name).inserted {
          add(.duplicate(place.index(position).child("name"), .string(name)))
        }
        check(name, at: place.index(position).child("name"), rule)
      }
    }
  }

  // MARK: - NetworkPolicy

  static let networkPolicy = Rules(create: { validator, policy in
    let spec = policy.spec
    let path: FieldPath = "spec"
    validator.labelSelector(spec["podSelector"] ?? [:], path.child("podSelector"))
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
      for (position, rule) in (spec[direction]?.elements ?? []).enumerated() {
        let place = path.child(direction).index(position)
        for (index, port) in (rule["ports"]?.elements ?? []).enumerated() {
          validator.policyPort(port, place.child("ports").index(index))
        }
        for (index, peer) in (rule[peers]?.elements ?? []).enumerated() {
          validator.peer(peer, place.child(peers).index(index))
        }
      }
    }
    if (spec["policyTypes"]?.elements.count ?? 0) > 2 {
      validator.add(
        .invalid(
          path.child("policyTypes"), spec["policyTypes"] ?? [], "may not specify more than two policyTypes"))
    }
  })

  private mutating func policyPort(_ port: JSON, _ path: FieldPath) {
    if let value = port["port"] { portOrName(value, path.child("port")) }
    guard let end = port["endPort"]?.integer else { return }
    switch port["port"] {
    case nil: add(.required(path.child("port"), "may not be empty when endPort is specified"))
    case .string?:
      add(.invalid(path.child("endPort"), .integer(end), "may not be specified when `port` is non-numeric"))
    case let start?:
      if end < start.integer ?? 0 {
        add(.invalid(path.child("endPort"), .integer(end), "must be greater than or equal to `port`"))
      } else {
        self.port(end, path.child("endPort"))
      }
    }
  }

  private mutating func peer(_ peer: JSON, _ path: FieldPath) {
    let count = peer.object?.count ?? 0
    if count == 0 { add(.required(path, "must specify a peer")) }
    for field in ["podSelector", "namespaceSelector"] {
      if let selector = peer[field] { labelSelector(selector, path.child(field)) }
    }
    guard let block = peer["ipBlock"] else { return }
    if count > 1 { add(.forbidden(path, "may not specify both ipBlock and another peer")) }
    let cidr = block["cidr"]?.string ?? ""
    let place = path.child("ipBlock")
    guard !cidr.isEmpty else { return }
    guard let family = IPText.prefixFamily(cidr) else {
      add(.invalid(place.child("cidr"), .string(cidr), Self.prefixRule))
      return
    }
    for (position, except) in (block["except"]?.elements ?? []).enumerated() {
      let place = place.child("except").index(position)
      guard let inner = IPText.prefixFamily(except.string ?? "") else {
        add(.invalid(place, except, Self.prefixRule))
        continue
      }
      if inner != family || !IPText.contains(cidr, strictly: except.string ?? "") {
        add(.invalid(place, except, "must be a strict subset of `cidr`"))
      }
    }
  }
}
