// Ingresses and their classes.

extension Validator {
  // MARK: - Ingress

  static let ingress = Rules(create: { validator, ingress in
    let spec = ingress.spec
    let path: FieldPath = "spec"
    let rules = spec["rules"]?.elements ?? []
    if rules.isEmpty, spec["defaultBackend"] == nil {
      validator.add(
        .invalid(path, .array(rules), "either `defaultBackend` or `rules` must be specified"))
    }
    if let backend = spec["defaultBackend"] { validator.backend(backend, path.child("defaultBackend")) }
    if let name = spec["ingressClassName"]?.string {
      validator.check(name, at: path.child("ingressClassName"), Names.subdomainProblem)
    }
    for (position, rule) in rules.enumerated() {
      let place = path.child("rules").index(position)
      if let host = rule["host"]?.string, !host.isEmpty { validator.host(host, place.child("host")) }
      guard let http = rule["http"] else { continue }
      let paths = http["paths"]?.elements ?? []
      for (position, entry) in paths.enumerated() {
        validator.ingressPath(entry, place.child("http", "paths").index(position))
      }
    }
    for (position, tls) in (spec["tls"]?.elements ?? []).enumerated() {
      if let name = tls["secretName"]?.string, !name.isEmpty {
        let place = path.child("tls").index(position).child("secretName")
        validator.check(name, at: place, Names.subdomainProblem)
      }
      for (index, host) in (tls["hosts"]?.elements ?? []).enumerated() {
        validator.host(host.string ?? "", path.child("tls").index(position).child("hosts").index(index))
      }
    }
  })

  private mutating func host(_ host: String, _ path: FieldPath) {
    if IPText.family(host) != nil {
      add(.invalid(path, .string(host), "must be a DNS name, not an IP address"))
    } else {
      check(host, at: path, host.contains("*") ? Names.wildcardProblem : Names.subdomainProblem)
    }
  }

  private mutating func ingressPath(_ entry: JSON, _ path: FieldPath) {
    let text = entry["path"]?.string ?? ""
    switch entry["pathType"]?.string {
    case "Exact", "Prefix":
      if !text.hasPrefix("/") { add(.invalid(path.child("path"), .string(text), "must be an absolute path")) }
      for part in ["//", "/./", "/../", "%2f", "%2F"] where text.contains(part) {
        add(.invalid(path.child("path"), .string(text), "must not contain '\(part)'"))
      }
      for part in ["/..", "/."] where text.hasSuffix(part) {
        add(.invalid(path.child("path"), .string(text), "cannot end with '\(part)'"))
      }
    case "ImplementationSpecific":
      if !text.isEmpty, !text.hasPrefix("/") {
        add(.invalid(path.child("path"), .string(text), "must be an absolute path"))
      }
    case nil: break  // Told by the walk.
    case let other?:
      add(
        .notSupported(path.child("pathType"), .string(other), ["Exact", "ImplementationSpecific", "Prefix"]))
    }
    backend(entry["backend"] ?? [:], path.child("backend"))
  }

  private mutating func backend(_ backend: JSON, _ path: FieldPath) {
    switch (backend["service"], backend["resource"]) {
    case (nil, nil): add(.required(path, "resource or service backend is required"))
    case (_?, _?): add(.invalid(path, "", "cannot set both resource and service backends"))
    case (let service?, nil):
      let name = service["name"]?.string ?? ""
      if !name.isEmpty { check(name, at: path.child("service", "name"), Names.label1035Problem) }
      let portName = service.at("port", "name")?.string ?? ""
      let number = service.at("port", "number")?.integer ?? 0
      if !portName.isEmpty, number != 0 {
        add(.invalid(path, "", "cannot set both port name & port number"))
      } else if !portName.isEmpty {
        check(portName, at: path.child("service", "port", "name"), Names.portNameProblem)
      } else if number != 0 {
        port(number, path.child("service", "port", "number"))
      } else {
        add(.required(path, "port name or number is required"))
      }
    case (nil, _?): break
    }
  }

  static let ingressClass = Rules(
    create: { validator, object in
      let name = object.spec["controller"]?.string ?? ""
      if name.isEmpty {
        validator.add(.required("spec.controller"))
      } else if !name.contains("/") {
        validator.add(
          .invalid(
            "spec.controller", .string(name), "must be a domain-prefixed path (such as \"acme.io/foo\")"))
      }
      if let parameters = object.spec["parameters"] {
        validator.classParameters(parameters, "spec.parameters")
      }
    },
    update: { validator, new, old in
      validator.immutable(new.spec["controller"], old.spec["controller"], "spec.controller")
    })

  private mutating func classParameters(_ parameters: JSON, _ path: FieldPath) {
    if let group = parameters["apiGroup"]?.string, !group.isEmpty {
      check(group, at: path.child("apiGroup"), Names.subdomainProblem)
    }
    for field in ["kind", "name"] {
      if let text = parameters[field]?.string, !text.isEmpty {
        check(text, at: path.child(field), Names.pathSegmentProblem)
      }
    }
    let namespace = parameters["namespace"]?.string
    switch parameters["scope"]?.string {
    case "Namespace":
      if let namespace {
        check(namespace, at: path.child("namespace"), Names.labelProblem)
      } else {
        add(.required(path.child("namespace"), "`parameters.scope` is set to 'Namespace'"))
      }
    case "Cluster":
      if namespace != nil {
        add(.forbidden(path.child("namespace"), "`parameters.scope` is set to 'Cluster'"))
      }
    default: oneOf(parameters["scope"], path.child("scope"), ["Cluster", "Namespace"])
    }
  }
}
