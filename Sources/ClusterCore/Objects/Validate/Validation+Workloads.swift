// Deployments, ReplicaSets, ConfigMaps, Secrets, nodes, leases.

extension Validator {
  static let deployment = Rules(
    create: { validator, deployment in
      validator.workload(deployment)
      let spec = deployment.spec
      let path: FieldPath = "spec"
      validator.notNegative(spec["revisionHistoryLimit"], path.child("revisionHistoryLimit"))
      validator.notNegative(spec["progressDeadlineSeconds"], path.child("progressDeadlineSeconds"))
      if let deadline = spec["progressDeadlineSeconds"]?.integer,
        deadline <= spec["minReadySeconds"]?.integer ?? 0
      {
        validator.add(
          .invalid(
            path.child("progressDeadlineSeconds"), .integer(deadline), "must be greater than minReadySeconds")
        )
      }
      validator.strategy(spec["strategy"] ?? [:], path.child("strategy"))
    },
    update: { validator, new, old in
      validator.immutable(new.spec["selector"], old.spec["selector"], "spec.selector")
    })

  static let replicaSet = Rules(
    create: { validator, set in validator.workload(set) },
    update: { validator, new, old in
      validator.immutable(new.spec["selector"], old.spec["selector"], "spec.selector")
    })

  private mutating func workload(_ object: JSON) {
    let path: FieldPath = "spec"
    let spec = object.spec
    notNegative(spec["replicas"], path.child("replicas"))
    notNegative(spec["minReadySeconds"], path.child("minReadySeconds"))
    let template = spec["template"] ?? [:]
    if let selector = spec["selector"] {
      labelSelector(selector, path.child("selector"))
      let parsed = try? LabelSelector(selector)
      if parsed?.isEmpty == true {
        add(
          .invalid(
            path.child("selector"), selector, "empty selector is invalid for \(object.kind.lowercased())"))
      }
      let labels = template.at("metadata", "labels")
      if let parsed, !parsed.matches(labels?.stringMap ?? [:]) {
        add(
          .invalid(
            path.child("template", "metadata", "labels"), labels ?? .null,
            "`selector` does not match template `labels`"))
      }
    }
    podTemplate(template, path.child("template"))
    if let policy = template.spec["restartPolicy"]?.string, policy != "Always" {
      add(.notSupported(path.child("template", "spec", "restartPolicy"), .string(policy), ["Always"]))
    }
    if template.spec["activeDeadlineSeconds"] != nil {
      add(
        .forbidden(
          path.child("template", "spec", "activeDeadlineSeconds"),
          "activeDeadlineSeconds in \(object.kind) is not Supported"))
    }
  }

  private mutating func strategy(_ strategy: JSON, _ path: FieldPath) {
    let rolling = strategy["rollingUpdate"]
    if strategy["type"]?.string == "Recreate", rolling != nil {
      add(.forbidden(path.child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'"))
      return
    }
    guard let rolling else { return }
    let place = path.child("rollingUpdate")
    for field in ["maxUnavailable", "maxSurge"] { intOrPercent(rolling[field], place.child(field)) }
    func isZero(_ value: JSON?) -> Bool { value == 0 || value == "0%" }
    if isZero(rolling["maxUnavailable"]), isZero(rolling["maxSurge"]) {
      add(
        .invalid(
          place.child("maxUnavailable"), rolling["maxUnavailable"] ?? 0, "may not be 0 when `maxSurge` is 0"))
    }
    if let text = rolling["maxUnavailable"]?.string, text.last == "%", (Int(text.dropLast()) ?? 0) > 100 {
      add(.invalid(place.child("maxUnavailable"), .string(text), "must not be greater than 100%"))
    }
  }

  // MARK: - Configuration

  /// Bytes that the values of one ConfigMap or Secret may have.
  static let dataBytesMax = 1024 * 1024

  static let configMap = Rules(
    create: { validator, map in
      var size = 0
      for field in ["data", "binaryData"] {
        for (key, value) in map[field]?.object ?? [:] {
          validator.check(key, at: FieldPath(field).key(key), Names.configKeyProblem)
          size += value.string?.utf8.count ?? 0
          if field == "binaryData", map["data"]?[key] != nil {
            validator.add(
              .invalid(FieldPath(field).key(key), .string(key), "duplicate of key present in data"))
          }
        }
      }
      if size > dataBytesMax { validator.add(.tooLong("", dataBytesMax)) }
    },
    update: { validator, new, old in validator.frozen(new, old, ["data", "binaryData"]) }, checksAlways: true)

  static let secret = Rules(
    create: { validator, secret in
      var size = 0
      for (key, value) in secret["data"]?.object ?? [:] {
        validator.check(key, at: FieldPath("data").key(key), Names.configKeyProblem)
        size += (value.string?.utf8.count ?? 0) / 4 * 3
      }
      if size > dataBytesMax { validator.add(.tooLong("data", dataBytesMax)) }
      let needed =
        switch secret["type"]?.string {
        case "kubernetes.io/tls": ["tls.crt", "tls.key"]
        case "kubernetes.io/dockerconfigjson": [".dockerconfigjson"]
        case "kubernetes.io/dockercfg": [".dockercfg"]
        case "kubernetes.io/ssh-auth": ["ssh-privatekey"]
        default: [String]()
        }
      for key in needed where secret["data"]?[key] == nil {
        validator.add(.required(FieldPath("data").key(key)))
      }
    },
    update: { validator, new, old in
      validator.immutable(new["type"], old["type"], "type")
      validator.frozen(new, old, ["data"])
    }, checksAlways: true)

  private mutating func frozen(_ new: JSON, _ old: JSON, _ fields: [String]) {
    guard old["immutable"]?.bool == true else { return }
    let reason = "field is immutable when `immutable` is set"
    if new["immutable"]?.bool != true { add(.forbidden("immutable", reason)) }
    for field in fields where new[field] != old[field] { add(.forbidden(FieldPath(field), reason)) }
  }

  // MARK: - Nodes and leases

  static let node = Rules(
    create: { validator, node in
      var seen: Set<String> = []
      for (position, taint) in (node.spec["taints"]?.elements ?? []).enumerated() {
        let place = FieldPath("spec.taints").index(position)
        validator.check(taint["key"]?.string ?? "", at: place.child("key"), Names.qualifiedNameProblem)
        if let value = taint["value"]?.string {
          validator.check(value, at: place.child("value"), Names.labelValueProblem)
        }
        if !seen.insert("\(taint["key"]?.string ?? ""):\(taint["effect"]?.string ?? "")").inserted {
          validator.add(FieldError(.duplicate, place, taint, "taints must be unique by key and effect pair"))
        }
      }
    },
    update: { validator, new, old in
      // Set once, by whoever gives addresses out.
      if let before = old.spec["podCIDRs"], before != new.spec["podCIDRs"] {
        validator.add(
          .forbidden(
            "spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid"))
      }
    })

  static let lease = Rules(create: { validator, lease in
    if let seconds = lease.spec["leaseDurationSeconds"]?.integer, seconds <= 0 {
      validator.add(.invalid("spec.leaseDurationSeconds", .integer(seconds), "must be greater than 0"))
    }
    validator.notNegative(lease.spec["leaseTransitions"], "spec.leaseTransitions")
    if lease.spec["strategy"] != nil {
      validator.oneOf(lease.spec["strategy"], "spec.strategy", ["OldestEmulationVersion"])
    } else if lease.spec["preferredHolder"]?.string?.isEmpty == false {
      validator.add(.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"))
    }
  })
}
