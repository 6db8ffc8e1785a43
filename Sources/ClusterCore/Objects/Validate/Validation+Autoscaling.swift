// Autoscalers and disruption budgets.

extension Validator {
  /// Both versions are judged as the one that is stored, so that one rule speaks of one path.
  static let autoscaler = Rules(create: { validator, object in
    let storage = KindVersions.autoscalers.storage
    let spec = KindVersions.autoscalers.convert(object, storage).spec
    let path: FieldPath = "spec"
    let least = spec["minReplicas"]?.integer ?? 1
    let most = spec["maxReplicas"]?.integer ?? 0
    if least < 1 {
      validator.add(
        .invalid(path.child("minReplicas"), .integer(least), "must be greater than or equal to 1"))
    }
    if most < 1 {
      validator.add(.invalid(path.child("maxReplicas"), .integer(most), "must be greater than 0"))
    } else if most < least {
      validator.add(
        .invalid(
          path.child("maxReplicas"), .integer(most), "must be greater than or equal to `minReplicas`"))
    }
    for (position, metric) in (spec["metrics"]?.elements ?? []).enumerated() {
      validator.metric(metric, path.child("metrics").index(position))
    }
    guard let behavior = spec["behavior"] else { return }
    for side in ["scaleUp", "scaleDown"] {
      if let rules = behavior[side] { validator.scalingRules(rules, path.child("behavior", side)) }
    }
  })

  private static let metricFields = [
    "Object": "object", "Pods": "pods", "Resource": "resource", "ContainerResource": "containerResource",
    "External": "external",
  ]

  private mutating func metric(_ metric: JSON, _ path: FieldPath) {
    let type = metric["type"]?.string ?? ""
    guard let field = Self.metricFields[type] else {
      if type.isEmpty {
        add(.required(path.child("type"), "must specify a metric source type"))
      } else {
        add(.notSupported(path.child("type"), .string(type), Self.metricFields.keys.sorted()))
      }
      return
    }
    guard let source = metric[field] else {
      add(.required(path.child(field), "must populate information for the given metric source"))
      return
    }
    for other in Self.metricFields.values.sorted() where other != field && metric[other] != nil {
      add(.forbidden(path.child(other), "must populate the given metric source only"))
    }
    let place = path.child(field)
    if field != "resource", field != "containerResource",
      (source.at("metric", "name")?.string ?? "").isEmpty
    {
      add(.required(place.child("metric", "name"), "must specify a metric name"))
    }
    target(source["target"] ?? [:], type, place)
  }

  private mutating func target(_ target: JSON, _ type: String, _ path: FieldPath) {
    let place = path.child("target")
    switch target["type"]?.string ?? "" {
    case "": add(.required(place.child("type"), "must specify a metric target type"))
    case "Utilization", "Value", "AverageValue": break
    case let other:
      add(.notSupported(place.child("type"), .string(other), ["AverageValue", "Utilization", "Value"]))
    }
    for field in ["value", "averageValue"] {
      if let amount = Quantity(target[field]), amount <= Quantity(0) {
        add(.invalid(place.child(field), .string(amount.description), "must be positive"))
      }
    }
    if let share = target["averageUtilization"]?.integer, share < 1 {
      add(.invalid(place.child("averageUtilization"), .integer(share), "must be greater than 0"))
    }
    let has = Set(["value", "averageValue", "averageUtilization"].filter { target[$0] != nil })
    switch type {
    case "Resource", "ContainerResource":
      if has.isDisjoint(with: ["averageValue", "averageUtilization"]) {
        add(
          .required(
            place.child("averageUtilization"), "must set either a target raw value or a target utilization"))
      } else if has.isSuperset(of: ["averageValue", "averageUtilization"]) {
        add(
          .forbidden(
            place.child("averageValue"), "may not set both a target raw value and a target utilization"))
      }
    case "Pods":
      if !has.contains("averageValue") {
        add(.required(place.child("averageValue"), "must specify a positive target averageValue"))
      }
    default:
      if has.isDisjoint(with: ["value", "averageValue"]) {
        add(
          .required(
            place.child("averageValue"), "must set either a target value for metric or a per-pod target"))
      }
    }
  }

  private mutating func scalingRules(_ rules: JSON, _ path: FieldPath) {
    if let window = rules["stabilizationWindowSeconds"]?.integer {
      let place = path.child("stabilizationWindowSeconds")
      if window < 0 { add(.invalid(place, .integer(window), "must be greater than or equal to zero")) }
      if window > 3600 { add(.invalid(place, .integer(window), "must be less than or equal to 3600")) }
    }
    let policies = rules["policies"]?.elements ?? []
    if policies.isEmpty { add(.required(path.child("policies"), "must specify at least one Policy")) }
    for (position, policy) in policies.enumerated() {
      let place = path.child("policies").index(position)
      let type = policy["type"]?.string ?? ""
      if type != "Pods", type != "Percent" {
        add(.notSupported(place.child("type"), .string(type), ["Percent", "Pods"]))
      }
      for field in ["value", "periodSeconds"] where policy[field]?.integer ?? 0 <= 0 {
        add(.invalid(place.child(field), policy[field] ?? 0, "must be greater than zero"))
      }
      if let period = policy["periodSeconds"]?.integer, period > 1800 {
        add(.invalid(place.child("periodSeconds"), .integer(period), "must be less than or equal to 1800"))
      }
    }
  }

  // MARK: - Budgets

  static let disruptionBudget = Rules(create: { validator, budget in
    let path: FieldPath = "spec"
    let spec = budget.spec
    if spec["minAvailable"] != nil, spec["maxUnavailable"] != nil {
      validator.add(.invalid(path, spec, "minAvailable and maxUnavailable cannot be both set"))
    }
    for field in ["minAvailable", "maxUnavailable"] {
      validator.intOrPercent(spec[field], path.child(field))
      validator.notOverAll(spec[field], path.child(field))
    }
    if let selector = spec["selector"] { validator.labelSelector(selector, path.child("selector")) }
  })
}
