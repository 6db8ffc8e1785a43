// ConfigMaps, Secrets, nodes, leases, quotas, limit ranges, Endpoints, events.

extension Validator {
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

  // MARK: - Quotas and limits

  /// A resource of a node, or a count of objects: `cpu`, `requests.cpu`, `count/jobs.batch`, `example.com/gpu`.
  mutating func resourceName(_ name: String, _ path: FieldPath) {
    check(name, at: path, Names.qualifiedNameProblem)
  }

  private static let countable: Set<String> = [
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
    "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
  ]
  private static let quotable: Set<String> = [
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage",
    "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
  ]

  static let resourceQuota = Rules(
    create: { validator, quota in
      for (name, amount) in quota.spec["hard"]?.object ?? [:] {
        let place = FieldPath("spec.hard").key(name)
        validator.resourceName(name, place)
        if !name.contains("/"), !name.hasPrefix("hugepages-"), !name.hasPrefix("requests.hugepages-"),
          !countable.contains(name), !quotable.contains(name)
        {
          validator.add(.invalid(place, .string(name), "must be a standard resource for quota"))
        }
        if countable.contains(name), let value = Quantity(amount), value.milliValue % 1000 != 0 {
          validator.add(.invalid(place, amount, "must be an integer"))
        }
      }
      for (position, term) in (quota.spec.at("scopeSelector", "matchExpressions")?.elements ?? [])
        .enumerated()
      {
        let place = FieldPath("spec.scopeSelector.matchExpressions").index(position)
        let count = term["values"]?.elements.count ?? 0
        switch term["operator"]?.string {
        case "In" where count == 0, "NotIn" where count == 0:
          validator.add(
            .required(
              place.child("values"),
              "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
        case "Exists" where count > 0, "DoesNotExist" where count > 0:
          validator.add(
            .invalid(
              place.child("values"), term["values"] ?? [],
              "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector"))
        default: break
        }
      }
    },
    update: { validator, new, old in
      for field in ["scopes", "scopeSelector"] {
        validator.immutable(new.spec[field], old.spec[field], FieldPath("spec").child(field))
      }
    })

  static let limitRange = Rules(create: { validator, range in
    var types: Set<String> = []
    for (position, item) in (range.spec["limits"]?.elements ?? []).enumerated() {
      let place = FieldPath("spec.limits").index(position)
      let type = item["type"]?.string ?? ""
      if !types.insert(type).inserted { validator.add(.duplicate(place.child("type"), .string(type))) }
      validator.limits(item, type, place)
    }
  })

  private mutating func limits(_ item: JSON, _ type: String, _ path: FieldPath) {
    let sides = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"]
    if type == "Pod" {
      for side in ["default", "defaultRequest"] where item[side]?.object?.isEmpty == false {
        add(.forbidden(path.child(side), "may not be specified when `type` is 'Pod'"))
      }
    }
    if type == "PersistentVolumeClaim", item.at("min", "storage") == nil, item.at("max", "storage") == nil {
      add(
        .required(
          path.child("limits"),
          "either minimum or maximum storage value is required, but neither was provided"))
    }
    var amounts: [String: ResourceList] = [:]
    for side in sides {
      amounts[side] = ResourceList(item[side])
      for name in (item[side]?.object ?? [:]).keys { resourceName(name, path.child(side).key(name)) }
    }
    func amount(_ side: String, _ name: String) -> Quantity? { amounts[side]?.amounts[name] }
    for name in Set(amounts.values.flatMap(\.amounts.keys)).sorted() {
      let order = [
        ("min", "max", "min", "max"), ("defaultRequest", "max", "default request", "max"),
        ("default", "max", "default", "max"),
        ("defaultRequest", "default", "default request", "default limit"),
      ]
      for (low, high, lowText, highText) in order {
        guard let a = amount(low, name), let b = amount(high, name), a > b else { continue }
        add(
          .invalid(
            path.child(low).key(name), .string(a.description),
            "\(lowText) value \(a) is greater than \(highText) value \(b)"))
      }
      for (side, text) in [("defaultRequest", "default request"), ("default", "default")] {
        guard let a = amount("min", name), let b = amount(side, name), a > b else { continue }
        add(
          .invalid(
            path.child(side).key(name), .string(b.description),
            "min value \(a) is greater than \(text) value \(b)"))
      }
      if let ratio = amount("maxLimitRequestRatio", name), ratio < Quantity(1) {
        add(
          .invalid(
            path.child("maxLimitRequestRatio").key(name), .string(ratio.description),
            "ratio \(ratio) is less than 1"))
      }
    }
  }

  // MARK: - Endpoints and events

  static let endpoints = Rules(
    create: { validator, object in
      for (position, subset) in (object["subsets"]?.elements ?? []).enumerated() {
        let place = FieldPath("subsets").index(position)
        let lists = ["addresses", "notReadyAddresses"]
        if lists.allSatisfy({ subset[$0]?.elements.isEmpty ?? true }) {
          validator.add(.required(place, "must specify `addresses` or `notReadyAddresses`"))
        }
        for list in lists {
          for (index, address) in (subset[list]?.elements ?? []).enumerated() {
            validator.endpointAddress(address, place.child(list).index(index))
          }
        }
        let ports = subset["ports"]?.elements ?? []
        for (index, port) in ports.enumerated() {
          let place = place.child("ports").index(index)
          let name = port["name"]?.string ?? ""
          if name.isEmpty, ports.count > 1 {
            validator.add(.required(place.child("name")))
          } else if !name.isEmpty {
            validator.check(name, at: place.child("name"), Names.labelProblem)
          }
          validator.port(port["port"]?.integer ?? 0, place.child("port"))
        }
      }
    }, checksAlways: true)

  private mutating func endpointAddress(_ address: JSON, _ path: FieldPath) {
    let ip = address["ip"]?.string ?? ""
    if IPText.family(ip) == nil {
      add(
        .invalid(
          path.child("ip"), .string(ip), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))
    } else if ip.hasPrefix("127.") || ip == "::1" {
      add(
        .invalid(
          path.child("ip"), .string(ip), "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    } else if ip.hasPrefix("169.254.") || ip.lowercased().hasPrefix("fe80:") {
      add(
        .invalid(
          path.child("ip"), .string(ip), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    }
    if let host = address["hostname"]?.string, !host.isEmpty {
      check(host, at: path.child("hostname"), Names.labelProblem)
    }
    if let node = address["nodeName"]?.string {
      check(node, at: path.child("nodeName"), Names.subdomainProblem)
    }
  }

  static let event = Rules(
    create: { validator, event in
      let about = event.at("involvedObject", "namespace")?.string ?? ""
      // What has no namespace is told of in default or in the system's.
      if about.isEmpty ? !["default", "kube-system"].contains(event.namespace) : about != event.namespace {
        validator.add(
          .invalid("involvedObject.namespace", .string(about), "does not match event.namespace"))
      }
    })
}
