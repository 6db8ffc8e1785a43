// Pods, and the pod templates of workloads.

extension Validator {
  static let pod = Rules(
    create: { validator, pod in validator.podSpec(pod.spec, "spec") },
    update: { validator, new, old in validator.podUpdate(new, old) },
    part: { validator, new, old, subresource in
      switch subresource {
      case "ephemeralcontainers": validator.ephemeralContainersUpdate(new, old)
      case "resize": validator.resizeUpdate(new, old)
      default: break
      }
    })

  mutating func podTemplate(_ template: JSON, _ path: FieldPath) {
    labels(template.at("metadata", "labels"), path.child("metadata", "labels"))
    podSpec(template.spec, path.child("spec"))
  }

  mutating func podSpec(_ spec: JSON, _ path: FieldPath) {
    let volumes = volumes(spec, path.child("volumes"))
    var names: Set<String> = []
    for list in ["initContainers", "containers"] {
      for (position, container) in (spec[list]?.elements ?? []).enumerated() {
        let place = path.child(list).index(position)
        let name = container["name"]?.string ?? ""
        // Within one list the schema's walk finds duplicates; here those across lists.
        if list == "containers", names.contains(name) {
          add(.duplicate(place.child("name"), .string(name)))
        }
        if list == "initContainers" { names.insert(name) }
        self.container(container, place, volumes: volumes, isInit: list == "initContainers")
        stopSignal(container, place, system: spec.at("os", "name")?.string ?? "")
      }
    }
    hostPorts(spec, path.child("containers"))
    for field in ["terminationGracePeriodSeconds"] { notNegative(spec[field], path.child(field)) }
    if let seconds = spec["activeDeadlineSeconds"]?.integer, seconds < 1 {
      add(
        .invalid(
          path.child("activeDeadlineSeconds"), .integer(seconds),
          "must be between 1 and 2147483647, inclusive"))
    }
    for (field, rule) in [
      ("nodeName", Names.subdomainProblem), ("serviceAccountName", Names.subdomainProblem),
      ("hostname", Names.labelProblem), ("subdomain", Names.labelProblem),
    ] {
      if let name = spec[field]?.string, !name.isEmpty { check(name, at: path.child(field), rule) }
    }
    labels(spec["nodeSelector"], path.child("nodeSelector"))
    if spec["dnsPolicy"]?.string == "None", (spec.at("dnsConfig", "nameservers")?.elements ?? []).isEmpty {
      add(
        .required(
          path.child("dnsConfig", "nameservers"),
          "must provide at least one DNS nameserver when `dnsPolicy` is None"))
    }
    for (position, toleration) in (spec["tolerations"]?.elements ?? []).enumerated() {
      self.toleration(toleration, path.child("tolerations").index(position))
    }
    if let selector = spec.at(
      "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
      selector.elements.isEmpty
    {
      add(
        .required(
          path.child(
            "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
          "must have at least one node selector term"))
    }
  }

  private mutating func toleration(_ toleration: JSON, _ path: FieldPath) {
    let key = toleration["key"]?.string ?? ""
    let `operator` = toleration["operator"]?.string ?? "Equal"
    if !key.isEmpty { check(key, at: path.child("key"), Names.qualifiedNameProblem) }
    if key.isEmpty, `operator` != "Exists" {
      add(
        .invalid(
          path.child("operator"), .string(`operator`),
          "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
    }
    if `operator` == "Exists", let value = toleration["value"]?.string, !value.isEmpty {
      add(.invalid(path.child("operator"), toleration, "value must be empty when `operator` is 'Exists'"))
    }
    if toleration["tolerationSeconds"] != nil, toleration["effect"]?.string != "NoExecute" {
      add(
        .invalid(
          path.child("effect"), toleration["effect"] ?? "",
          "effect must be 'NoExecute' when `tolerationSeconds` is set"
        ))
    }
  }

  /// Returns the names of the volumes.
  private mutating func volumes(_ spec: JSON, _ path: FieldPath) -> Set<String> {
    var names: Set<String> = []
    for (position, volume) in (spec["volumes"]?.elements ?? []).enumerated() {
      let place = path.index(position)
      let name = volume["name"]?.string ?? ""
      names.insert(name)
      if !name.isEmpty { check(name, at: place.child("name"), Names.labelProblem) }
      let sources = (volume.object ?? [:]).keys.filter { $0 != "name" }
      if sources.isEmpty { add(.required(place, "must specify a volume type")) }
      for extra in sources.dropFirst() {
        add(.forbidden(place.child(extra), "may not specify more than 1 volume type"))
      }
      if volume["secret"] != nil, (volume.at("secret", "secretName")?.string ?? "").isEmpty {
        add(.required(place.child("secret", "secretName")))
      }
      if volume["configMap"] != nil, (volume.at("configMap", "name")?.string ?? "").isEmpty {
        add(.required(place.child("configMap", "name")))
      }
      for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let mode = volume.at(source, "defaultMode")?.integer, !(0...0o777).contains(mode) {
          add(
            .invalid(
              place.child(source, "defaultMode"), .integer(mode),
              "must be a number between 0 and 0777 (octal), both inclusive"))
        }
      }
      if let ephemeral = volume["ephemeral"] {
        let place = place.child("ephemeral", "volumeClaimTemplate")
        if let template = ephemeral["volumeClaimTemplate"] {
          claimSpec(template.spec, place.child("spec"))
        } else {
          add(.required(place))
        }
      }
      if let hostPath = volume.at("hostPath", "path")?.string {
        noBackSteps(hostPath, place.child("hostPath", "path"))
      }
    }
    return names
  }

  mutating func noBackSteps(_ path: String, _ place: FieldPath) {
    if path.split(separator: "/").contains("..") {
      add(.invalid(place, .string(path), "must not contain '..'"))
    }
  }

  private mutating func container(_ container: JSON, _ path: FieldPath, volumes: Set<String>, isInit: Bool) {
    let name = container["name"]?.string ?? ""
    if !name.isEmpty { check(name, at: path.child("name"), Names.labelProblem) }
    let image = container["image"]?.string ?? ""
    if image.isEmpty {
      add(.required(path.child("image")))
    } else if image.first?.isWhitespace == true || image.last?.isWhitespace == true {
      add(.invalid(path.child("image"), .string(image), "must not have leading or trailing whitespace"))
    }
    ports(container["ports"]?.elements ?? [], path.child("ports"))
    environment(container, path)
    var mountPaths: Set<String> = []
    for (position, mount) in (container["volumeMounts"]?.elements ?? []).enumerated() {
      let place = path.child("volumeMounts").index(position)
      let name = mount["name"]?.string ?? ""
      if !name.isEmpty, !volumes.contains(name) {
        add(FieldError(.notFound, place.child("name"), .string(name)))
      }
      let mountPath = mount["mountPath"]?.string ?? ""
      if !mountPaths.insert(mountPath).inserted {
        add(.invalid(place.child("mountPath"), .string(mountPath), "must be unique"))
      }
      if let sub = mount["subPath"]?.string {
        if sub.hasPrefix("/") {
          add(.invalid(place.child("subPath"), .string(sub), "must be a relative path"))
        }
        noBackSteps(sub, place.child("subPath"))
      }
    }
    let isSidecar = container["restartPolicy"]?.string == "Always"
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
      guard let value = container[probe] else { continue }
      if isInit, !isSidecar {
        add(.forbidden(path.child(probe), "may not be set for init containers without restartPolicy=Always"))
      }
      self.probe(value, path.child(probe), isReadiness: probe == "readinessProbe")
    }
    resources(container["resources"], path.child("resources"))
    if isInit, !isSidecar, container["lifecycle"] != nil {
      add(
        .forbidden(path.child("lifecycle"), "may not be set for init containers without restartPolicy=Always")
      )
    }
  }

  private mutating func ports(_ ports: [JSON], _ path: FieldPath) {
    var names: Set<String> = []
    for (position, port) in ports.enumerated() {
      let place = path.index(position)
      if let name = port["name"]?.string, !name.isEmpty {
        check(name, at: place.child("name"), Names.portNameProblem)
        if !names.insert(name).inserted { add(.duplicate(place.child("name"), .string(name))) }
      }
      let number = port["containerPort"]?.integer ?? 0
      if number == 0 {
        add(.required(place.child("containerPort")))
      } else {
        self.port(number, place.child("containerPort"))
      }
      if let host = port["hostPort"]?.integer, host != 0 { self.port(host, place.child("hostPort")) }
    }
  }

  private mutating func hostPorts(_ spec: JSON, _ path: FieldPath) {
    var used: Set<String> = []
    for (index, container) in (spec["containers"]?.elements ?? []).enumerated() {
      for (position, port) in (container["ports"]?.elements ?? []).enumerated() {
        let place = path.index(index).child("ports").index(position).child("hostPort")
        let number = port["containerPort"]?.integer ?? 0
        guard let host = port["hostPort"]?.integer, host != 0 else { continue }
        if spec["hostNetwork"]?.bool == true, host != number {
          add(.invalid(place, .integer(host), "must match `containerPort` when `hostNetwork` is true"))
        }
        let identity = "\(port["protocol"]?.string ?? "TCP")/\(port["hostIP"]?.string ?? "")/\(host)"
        if !used.insert(identity).inserted { add(.duplicate(place, .string(identity))) }
      }
    }
  }

  private mutating func environment(_ container: JSON, _ path: FieldPath) {
    for (position, variable) in (container["env"]?.elements ?? []).enumerated() {
      let place = path.child("env").index(position)
      let name = variable["name"]?.string ?? ""
      if name.contains("=") || name.utf8.contains(where: { $0 < 0x20 || $0 > 0x7e }) {
        add(
          .invalid(
            place.child("name"), .string(name),
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
          ))
      }
      guard let source = variable["valueFrom"]?.object else { continue }
      if source.isEmpty {
        add(
          .invalid(
            place.child("valueFrom"), "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
          ))
      }
      if source.count > 1 {
        add(.invalid(place.child("valueFrom"), "", "may not have more than one field specified at a time"))
      }
      if let value = variable["value"]?.string, !value.isEmpty {
        add(.invalid(place.child("valueFrom"), "", "may not be specified when `value` is not empty"))
      }
    }
  }

  private mutating func probe(_ probe: JSON, _ path: FieldPath, isReadiness: Bool) {
    handler(probe, path)
    for field in [
      "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold",
    ] {
      notNegative(probe[field], path.child(field))
    }
    if !isReadiness, let successes = probe["successThreshold"]?.integer, successes > 1 {
      add(.invalid(path.child("successThreshold"), .integer(successes), "must be 1"))
    }
  }

  private mutating func handler(_ probe: JSON, _ path: FieldPath) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc"].filter { probe[$0] != nil }
    if kinds.isEmpty { add(.required(path, "must specify a handler type")) }
    for extra in kinds.dropFirst() {
      add(.forbidden(path.child(extra), "may not specify more than 1 handler type"))
    }
    if let exec = probe["exec"], (exec["command"]?.elements ?? []).isEmpty {
      add(.required(path.child("exec", "command")))
    }
    if let get = probe["httpGet"] { portOrName(get["port"], path.child("httpGet", "port")) }
    if let socket = probe["tcpSocket"] { portOrName(socket["port"], path.child("tcpSocket", "port")) }
    if let grpc = probe["grpc"] { port(grpc["port"]?.integer ?? 0, path.child("grpc", "port")) }
  }

  private mutating func resources(_ resources: JSON?, _ path: FieldPath) {
    let limits = ResourceList(resources?["limits"])
    for (name, request) in ResourceList(resources?["requests"]).amounts.sorted(by: { $0.key < $1.key }) {
      guard let limit = limits.amounts[name], request > limit else { continue }
      add(
        .invalid(
          path.child("requests"), .string(request.description),
          "must be less than or equal to \(name) limit of \(limit)"))
    }
  }
}
