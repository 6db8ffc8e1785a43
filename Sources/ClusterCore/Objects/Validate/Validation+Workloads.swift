// Workloads that keep running: what their selectors, templates and strategies must be.

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

  static let replicationController = Rules(create: { validator, controller in
    let path: FieldPath = "spec"
    let spec = controller.spec
    validator.notNegative(spec["replicas"], path.child("replicas"))
    validator.notNegative(spec["minReadySeconds"], path.child("minReadySeconds"))
    let selector = spec["selector"]?.stringMap ?? [:]
    if selector.isEmpty { validator.add(.required(path.child("selector"))) }
    guard let template = spec["template"] else {
      validator.add(.required(path.child("template")))
      return
    }
    let labels = template.at("metadata", "labels")
    let given = labels?.stringMap ?? [:]
    if !selector.allSatisfy({ given[$0.key] == $0.value }) {
      validator.add(
        .invalid(
          path.child("template", "metadata", "labels"), labels ?? .null,
          "`selector` does not match template `labels`"))
    }
    validator.lastingPods(template, path.child("template"), "ReplicationController")
  })

  static let podTemplateKind = Rules(
    create: { validator, object in validator.podTemplate(object["template"] ?? [:], "template") },
    checksAlways: true)

  static let controllerRevision = Rules(
    create: { validator, revision in
      if revision["data"] == nil { validator.add(.required("data", "data is mandatory")) }
      validator.notNegative(revision["revision"], "revision")
    },
    update: { validator, new, old in validator.immutable(new["data"], old["data"], "data") },
    checksAlways: true)

  // MARK: - DaemonSets

  static let daemonSet = Rules(
    create: { validator, set in
      validator.workload(set)
      validator.notNegative(set.spec["revisionHistoryLimit"], "spec.revisionHistoryLimit")
      let strategy = set.spec["updateStrategy"] ?? [:]
      guard strategy["type"] != "OnDelete" else { return }
      let path: FieldPath = "spec.updateStrategy.rollingUpdate"
      guard let rolling = strategy["rollingUpdate"] else {
        validator.add(.required(path))
        return
      }
      for field in ["maxUnavailable", "maxSurge"] {
        validator.intOrPercent(rolling[field], path.child(field))
        validator.notOverAll(rolling[field], path.child(field))
      }
      switch (isZero(rolling["maxUnavailable"]), isZero(rolling["maxSurge"])) {
      case (true, true):
        validator.add(.required(path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
      case (false, false):
        validator.add(
          .invalid(
            path.child("maxSurge"), rolling["maxSurge"] ?? 0, "may not be set when maxUnavailable is non-zero"
          ))
      default: break
      }
    },
    update: { validator, new, old in
      validator.immutable(new.spec["selector"], old.spec["selector"], "spec.selector")
    })

  // MARK: - StatefulSets

  static let statefulSet = Rules(
    create: { validator, set in
      validator.workload(set)
      let path: FieldPath = "spec"
      let spec = set.spec
      validator.notNegative(spec["revisionHistoryLimit"], path.child("revisionHistoryLimit"))
      validator.notNegative(spec.at("ordinals", "start"), path.child("ordinals", "start"))
      let rolling = spec.at("updateStrategy", "rollingUpdate")
      let place = path.child("updateStrategy", "rollingUpdate")
      if let rolling, spec.at("updateStrategy", "type") != "RollingUpdate" {
        validator.add(.invalid(place, rolling, "only allowed for updateStrategy 'RollingUpdate'"))
      }
      validator.notNegative(rolling?["partition"], place.child("partition"))
      if let most = rolling?["maxUnavailable"] {
        validator.intOrPercent(most, place.child("maxUnavailable"))
        validator.notOverAll(most, place.child("maxUnavailable"))
        if isZero(most) { validator.add(.invalid(place.child("maxUnavailable"), most, "cannot be 0")) }
      }
    },
    update: { validator, new, old in
      let free = [
        "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
      ]
      func fixed(_ set: JSON) -> JSON {
        var spec = set.spec
        for field in free { spec[field] = nil }
        return spec
      }
      if fixed(new) != fixed(old) {
        let named = free.dropLast().map { "'\($0)'" }.joined(separator: ", ")
        validator.add(
          .forbidden(
            "spec",
            "updates to statefulset spec for fields other than \(named) and 'minReadySeconds' are forbidden"))
      }
    })

  // MARK: - Shared

  static func isZero(_ value: JSON?) -> Bool { value == nil || value == 0 || value == "0%" }

  mutating func notOverAll(_ value: JSON?, _ path: FieldPath) {
    if let text = value?.string, text.last == "%", (Int(text.dropLast()) ?? 0) > 100 {
      add(.invalid(path, .string(text), "must not be greater than 100%"))
    }
  }

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
    lastingPods(
      template.withVolumes(of: spec["volumeClaimTemplates"]?.elements ?? []), path.child("template"),
      object.kind)
  }

  /// A template whose pods are to run for ever.
  private mutating func lastingPods(_ template: JSON, _ path: FieldPath, _ kind: String) {
    podTemplate(template, path)
    if let policy = template.spec["restartPolicy"]?.string, policy != "Always" {
      add(.notSupported(path.child("spec", "restartPolicy"), .string(policy), ["Always"]))
    }
    if template.spec["activeDeadlineSeconds"] != nil {
      add(
        .forbidden(
          path.child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in \(kind) is not Supported"))
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
    if Self.isZero(rolling["maxUnavailable"]), Self.isZero(rolling["maxSurge"]) {
      add(
        .invalid(
          place.child("maxUnavailable"), rolling["maxUnavailable"] ?? 0, "may not be 0 when `maxSurge` is 0"))
    }
    notOverAll(rolling["maxUnavailable"], place.child("maxUnavailable"))
  }
}

extension JSON {
  /// A StatefulSet's template as its pods will be: each claim is a volume of its name, which containers mount.
  fileprivate func withVolumes(of claims: [JSON]) -> JSON {
    if claims.isEmpty { return self }
    var template = self
    let volumes = at("spec", "volumes")?.elements ?? []
    let taken = Set(volumes.compactMap { $0["name"]?.string })
    let added = claims.map(\.name).filter { !$0.isEmpty && !taken.contains($0) }
    template.set(
      .array(volumes + added.map { ["name": JSON($0), "persistentVolumeClaim": ["claimName": JSON($0)]] }),
      at: "spec", "volumes")
    return template
  }
}
