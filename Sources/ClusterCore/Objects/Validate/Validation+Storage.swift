// Storage classes, CSI drivers, priorities, runtimes, ranges and addresses of Services.

extension Validator {
  private static let parametersMax = 512
  private static let parametersBytesMax = 256 * 1024
  private static let nodeIDBytesMax = 256

  // MARK: - Classes

  static let storageClass = Rules(
    create: { validator, object in
      validator.driverName(object["provisioner"], "provisioner")
      validator.parameters(object["parameters"], "parameters")
      validator.oneOf(object["reclaimPolicy"] ?? "Delete", "reclaimPolicy", ["Delete", "Retain"])
    },
    update: { validator, new, old in
      for field in ["parameters", "provisioner", "reclaimPolicy"] where new[field] != old[field] {
        validator.add(.forbidden(FieldPath(field), "updates to \(field) are forbidden."))
      }
      validator.immutable(new["volumeBindingMode"], old["volumeBindingMode"], "volumeBindingMode")
    }, checksAlways: true)

  static let volumeAttributesClass = Rules(
    create: { validator, object in
      validator.driverName(object["driverName"], "driverName")
      validator.parameters(object["parameters"], "parameters")
      if (object["parameters"]?.object ?? [:]).isEmpty {
        validator.add(.required("parameters", "must contain at least one key/value pair"))
      }
    },
    update: { validator, new, old in
      for field in ["driverName", "parameters"] where new[field] != old[field] {
        validator.add(.forbidden(FieldPath(field), "updates to \(field) are forbidden."))
      }
    }, checksAlways: true)

  private mutating func driverName(_ name: JSON?, _ path: FieldPath) {
    if let name = name?.string, !name.isEmpty {
      check(name, at: path) { Names.qualifiedNameProblem($0.lowercased()) }
    }
  }

  private mutating func parameters(_ parameters: JSON?, _ path: FieldPath) {
    let map = parameters?.object ?? [:]
    guard map.count <= Self.parametersMax else { return add(.tooLong(path, Self.parametersMax)) }
    var size = 0
    for (key, value) in map {
      if key.isEmpty { add(.invalid(path, "", "field can not be empty.")) }
      size += key.utf8.count + (value.string?.utf8.count ?? 0)
    }
    if size > Self.parametersBytesMax { add(.tooLong(path, Self.parametersBytesMax)) }
  }

  // MARK: - Drivers and what they attach

  static let volumeAttachment = Rules(
    create: { validator, object in
      let spec = object.spec
      if let attacher = spec["attacher"]?.string, !attacher.isEmpty {
        validator.check(attacher, at: "spec.attacher", Names.subdomainProblem)
      }
      if let node = spec["nodeName"]?.string, !node.isEmpty {
        validator.check(node, at: "spec.nodeName", Names.subdomainProblem)
      }
      let path: FieldPath = "spec.source"
      let message = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
      switch (spec.at("source", "inlineVolumeSpec"), spec.at("source", "persistentVolumeName")?.string) {
      case (nil, nil): validator.add(.required(path, message))
      case (_?, _?): validator.add(.forbidden(path, message))
      case (nil, ""?):
        validator.add(
          .required(path.child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
      case (nil, let name?):
        validator.check(name, at: path.child("persistentVolumeName"), Names.subdomainProblem)
      case (_?, nil): break
      }
    },
    update: { $0.immutable($1["spec"], $2["spec"], "spec") })

  static let csiDriver = Rules(
    create: { $0.csiDriver($1.spec, "spec") },
    update: { validator, new, old in
      // The path is misspelt upstream, and people search for it.
      validator.immutable(new.spec["attachRequired"], old.spec["attachRequired"], "spec.attachedRequired")
      validator.immutable(
        new.spec["volumeLifecycleModes"], old.spec["volumeLifecycleModes"], "spec.volumeLifecycleModes")
    })

  private mutating func csiDriver(_ spec: JSON, _ path: FieldPath) {
    oneOf(
      spec["fsGroupPolicy"], path.child("fsGroupPolicy"), ["File", "None", "ReadWriteOnceWithFSType"])
    for mode in spec["volumeLifecycleModes"]?.elements ?? [] {
      oneOf(mode, path.child("volumeLifecycleModes"), ["Persistent", "Ephemeral"])
    }
    if let seconds = spec["nodeAllocatableUpdatePeriodSeconds"]?.integer, seconds < 10 {
      add(
        .invalid(
          path.child("nodeAllocatableUpdatePeriodSeconds"), .integer(seconds),
          "must be greater than or equal to 10 seconds"))
    }
    var seen: Set<String> = []
    for (position, request) in (spec["tokenRequests"]?.elements ?? []).enumerated() {
      let place = path.child("tokenRequests").index(position)
      let audience = request["audience"]?.string ?? ""
      if !seen.insert(audience).inserted { add(.duplicate(place.child("audience"), .string(audience))) }
      guard let seconds = request["expirationSeconds"]?.integer else { continue }
      if seconds < Self.secondsMin {
        add(
          .invalid(
            place.child("expirationSeconds"), .integer(seconds),
            "may not specify a duration less than 10 minutes"))
      } else if seconds > 1 << 32 {
        add(
          .invalid(
            place.child("expirationSeconds"), .integer(seconds),
            "may not specify a duration larger than 2^32 seconds"))
      }
    }
  }

  static let csiNode = Rules(
    create: { validator, node in
      for (position, driver) in (node.spec["drivers"]?.elements ?? []).enumerated() {
        let path = FieldPath("spec.drivers").index(position)
        if let name = driver["name"]?.string, !name.isEmpty {
          validator.check(name, at: path.child("name"), Names.subdomainProblem)
        }
        if let id = driver["nodeID"]?.string, id.utf8.count > Validator.nodeIDBytesMax {
          validator.add(
            .invalid(
              path.child("nodeID"), .string(id), "must be \(Validator.nodeIDBytesMax) characters or less"))
        }
        validator.notNegative(driver.at("allocatable", "count"), path.child("allocatable", "count"))
        let keys = driver["topologyKeys"]?.elements ?? []
        for key in keys { validator.check(key.string ?? "", at: path, Names.qualifiedNameProblem) }
        if Set(keys).count < keys.count { validator.add(.duplicate(path, .array(keys))) }
      }
    },
    update: { validator, new, old in
      let before = old.spec["drivers"]?.elements ?? []
      for driver in new.spec["drivers"]?.elements ?? [] {
        guard var same = before.first(where: { $0["name"] == driver["name"] }) else { continue }
        // How much a node can hold may change while it runs.
        var driver = driver
        driver["allocatable"] = nil
        same["allocatable"] = nil
        if driver != same { validator.add(.invalid("spec.drivers", driver, "field is immutable")) }
      }
    })

  static let storageCapacity = Rules(
    create: { validator, object in
      if let selector = object["nodeTopology"] { validator.labelSelector(selector, "nodeTopology") }
      if let name = object["storageClassName"]?.string, !name.isEmpty {
        validator.check(name, at: "storageClassName", Names.subdomainProblem)
      }
    },
    update: { validator, new, old in
      for field in ["nodeTopology", "storageClassName"] {
        validator.immutable(new[field], old[field], FieldPath(field))
      }
    }, checksAlways: true)

  // MARK: - Priorities and runtimes

  /// Above this only the system's own classes are.
  static let userPriorityMax: Int64 = 1_000_000_000
  private static let systemPriorities: [String: Int64] = [
    "system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000,
  ]

  static let priorityClass = Rules(
    create: { validator, object in
      let value = object["value"]?.integer ?? 0
      if object.name.hasPrefix("system-") {
        let problem: String? =
          switch Validator.systemPriorities[object.name] {
          case nil: "\(object.name) is not a known system priority class"
          case let wanted? where wanted != value:
            "value of \(object.name) PriorityClass must be \(wanted)"
          case _ where object["globalDefault"]?.bool == true:
            "globalDefault of \(object.name) PriorityClass must be false"
          default: nil
          }
        if let problem {
          validator.add(
            .forbidden(
              "metadata.name",
              "priority class names with 'system-' prefix are reserved for system use only. error: "
                + problem))
        }
      } else if value > Validator.userPriorityMax {
        validator.add(
          .forbidden(
            "value", "maximum allowed value of a user defined priority is \(Validator.userPriorityMax)"))
      }
    },
    update: { validator, new, old in
      if new["value"] != old["value"] {
        validator.add(.forbidden("value", "may not be changed in an update."))
      }
      validator.immutable(new["preemptionPolicy"], old["preemptionPolicy"], "preemptionPolicy")
    }, checksAlways: true)

  static let runtimeClass = Rules(
    create: { validator, object in
      if let handler = object["handler"]?.string, !handler.isEmpty {
        validator.check(handler, at: "handler", Names.labelProblem)
      }
      validator.labels(object.at("scheduling", "nodeSelector"), "scheduling.nodeSelector")
    },
    update: { $0.immutable($1["handler"], $2["handler"], "handler") }, checksAlways: true)

  // MARK: - Ranges and addresses of Services

  static let serviceCIDR = Rules(
    create: { validator, object in
      let path: FieldPath = "spec.cidrs"
      let ranges = (object.spec["cidrs"]?.elements ?? []).map { $0.string ?? "" }
      if ranges.isEmpty { return validator.add(.required(path, "at least one CIDR required")) }
      if ranges.count > 2 {
        return validator.add(.invalid(path, object.spec, "may only hold up to 2 values"))
      }
      if ranges.count == 2, ranges[0].contains(":") == ranges[1].contains(":") {
        return validator.add(
          .invalid(
            path, object.spec,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
      }
      for (position, range) in ranges.enumerated() where IPText.prefixFamily(range) == nil {
        validator.add(
          .invalid(
            path.index(position), .string(range),
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
      }
    },
    update: { $0.immutable($1.spec["cidrs"], $2.spec["cidrs"], "spec.cidrs") })

  static let ipAddress = Rules(
    create: { validator, object in
      let path: FieldPath = "spec.parentRef"
      guard let parent = object.spec["parentRef"] else { return }
      if let group = parent["group"]?.string, !group.isEmpty {
        validator.check(group, at: path.child("group"), Names.subdomainProblem)
      }
      for field in ["resource", "name", "namespace"] {
        if let text = parent[field]?.string, !text.isEmpty {
          validator.check(text, at: path.child(field), Names.pathSegmentProblem)
        }
      }
    },
    update: { $0.immutable($1.spec["parentRef"], $2.spec["parentRef"], "spec.parentRef") })
}
