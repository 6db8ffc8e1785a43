// Autoscalers are stored as autoscaling/v2. In v1 there is one target, the cpu; whatever else v2 says travels
// in annotations under upstream's names, so that a client of v1 can read, change and write without loss.

extension KindVersions {
  static let autoscalers = KindVersions(
    storage: GroupVersionKind("autoscaling", "v2", "HorizontalPodAutoscaler")
  ) { object, to in
    switch (object.apiVersion, to.version) {
    case ("autoscaling/v1", "v2"): toV2(object)
    case ("autoscaling/v2", "v1"): toV1(object)
    default: object
    }
  }

  private static let metrics = "autoscaling.alpha.kubernetes.io/metrics"
  private static let behavior = "autoscaling.alpha.kubernetes.io/behavior"
  private static let currentMetrics = "autoscaling.alpha.kubernetes.io/current-metrics"
  private static let conditions = "autoscaling.alpha.kubernetes.io/conditions"

  // MARK: - To v1

  private static func toV1(_ autoscaler: JSON) -> JSON {
    var object = autoscaler
    object["apiVersion"] = "autoscaling/v1"
    var spec = autoscaler.spec.object ?? [:]
    let all = spec["metrics"]?.elements ?? []
    let position = all.firstIndex { cpuTarget($0) != nil }
    if let position { spec["targetCPUUtilizationPercentage"] = cpuTarget(all[position]) }
    // The one cpu comes first when v1 is read back; where it stands elsewhere the whole list is kept.
    let rest = Array(all.dropFirst())
    let others = position == 0 && !rest.contains { cpuTarget($0) != nil } ? rest : all
    if !others.isEmpty { note(&object, metrics, .array(others)) }
    if let rules = spec["behavior"] { note(&object, behavior, rules) }
    spec.removeValue(forKey: "metrics")
    spec.removeValue(forKey: "behavior")
    object["spec"] = .object(spec)

    guard var status = autoscaler["status"]?.object else { return object }
    if let current = status.removeValue(forKey: "currentMetrics"), !current.elements.isEmpty {
      if let value = current.elements.lazy.compactMap(cpuCurrent).first {
        status["currentCPUUtilizationPercentage"] = value
      }
      note(&object, currentMetrics, current)
    }
    if let list = status.removeValue(forKey: "conditions") { note(&object, conditions, list) }
    if !status.contains("currentReplicas") { status["currentReplicas"] = 0 }
    object["status"] = .object(status)
    return object
  }

  private static func cpuTarget(_ metric: JSON) -> JSON? {
    guard metric["type"] == "Resource", metric.at("resource", "name") == "cpu",
      metric.at("resource", "target", "type") == "Utilization"
    else { return nil }
    return metric.at("resource", "target", "averageUtilization")
  }

  private static func cpuCurrent(_ metric: JSON) -> JSON? {
    guard metric["type"] == "Resource", metric.at("resource", "name") == "cpu" else { return nil }
    return metric.at("resource", "current", "averageUtilization")
  }

  private static func note(_ object: inout JSON, _ name: String, _ value: JSON) {
    object.set(.string(value.text), at: "metadata", "annotations", name)
  }

  // MARK: - To v2

  private static func toV2(_ autoscaler: JSON) -> JSON {
    var object = autoscaler
    object["apiVersion"] = "autoscaling/v2"
    var spec = autoscaler.spec.object ?? [:]
    let target = spec.removeValue(forKey: "targetCPUUtilizationPercentage")
    var all = take(&object, metrics, "spec", "metrics")?.array ?? []
    if let target {
      let cpu = cpuMetric(target)
      if let position = all.firstIndex(where: { cpuTarget($0) != nil }) {
        all[position] = cpu
      } else {
        all.insert(cpu, at: 0)
      }
    }
    if !all.isEmpty { spec["metrics"] = .array(all) }
    if let rules = take(&object, behavior, "spec", "behavior") { spec["behavior"] = rules }
    object["spec"] = .object(spec)

    let current = take(&object, currentMetrics, "status", "currentMetrics")
    let list = take(&object, conditions, "status", "conditions")
    guard var status = autoscaler["status"]?.object else { return object }
    let percentage = status.removeValue(forKey: "currentCPUUtilizationPercentage")
    if let current {
      status["currentMetrics"] = current
    } else {
      status["currentMetrics"] = .array(
        percentage.map {
          [["type": "Resource", "resource": ["name": "cpu", "current": ["averageUtilization": $0]]]]
        } ?? [])
    }
    if let list { status["conditions"] = list }
    object["status"] = .object(status)
    return object
  }

  private static func cpuMetric(_ percentage: JSON) -> JSON {
    [
      "type": "Resource",
      "resource": [
        "name": "cpu", "target": ["type": "Utilization", "averageUtilization": percentage],
      ],
    ]
  }

  /// The value of an annotation, in the form of the field that it stands for.
  private static func take(
    _ object: inout JSON, _ name: String, _ part: String, _ field: String
  ) -> JSON? {
    guard let text = object.at("metadata", "annotations", name)?.string else { return nil }
    object.set(nil, at: "metadata", "annotations", name)
    if object.at("metadata", "annotations")?.object?.isEmpty == true {
      object.set(nil, at: "metadata", "annotations")
    }
    let gvk = GroupVersionKind("autoscaling", "v2", "HorizontalPodAutoscaler")
    guard let value = try? JSON(parsing: text), let schema = KindRegistry.builtin[gvk]?.schema else {
      return nil
    }
    // A stranger may have written it: only what the schema knows becomes a field.
    let decoded = try? schema.decode(tree: [part: [field: value]], as: gvk, isIntent: true)
    return decoded?.object.at(part, field)
  }
}
