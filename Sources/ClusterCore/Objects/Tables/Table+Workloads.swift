// Workloads, their autoscalers and budgets.

private let containers = TableColumn("Containers", priority: 1, "Names of the template's containers.")
private let images = TableColumn("Images", priority: 1, "Images of the template's containers.")
private let selector = TableColumn("Selector", priority: 1, "Which pods belong to it.")

extension TablePrinter {
  private static func template(_ object: JSON) -> [JSON] {
    let list = object.at("spec", "template", "spec", "containers")?.elements ?? []
    return [
      Cell.list(list.compactMap { $0["name"]?.string }), Cell.list(list.compactMap { $0["image"]?.string }),
      Cell.selector(object.at("spec", "selector")),
    ]
  }

  private static func integer(_ object: JSON, _ path: String...) -> JSON {
    JSON(object.at(path)?.integer ?? 0)
  }
  private static func number(_ object: JSON, _ path: String...) -> Int64 { object.at(path)?.integer ?? 0 }

  static let deployments = TablePrinter(columns: [
    name, TableColumn("Ready", "Pods that are ready, of those wanted."),
    TableColumn("Up-to-date", type: "integer", "Pods of the newest template."),
    TableColumn("Available", type: "integer", "Pods ready for long enough."), age, containers, images,
    selector,
  ]) { object, now in
    let ready = number(object, "status", "readyReplicas")
    return [
      JSON(object.name), JSON("\(ready)/\(number(object, "spec", "replicas"))"),
      JSON(number(object, "status", "updatedReplicas")), JSON(number(object, "status", "availableReplicas")),
      Cell.age(object, now),
    ] + template(object)
  }

  static let replicaSets = TablePrinter(columns: [
    name, TableColumn("Desired", type: "integer", "Pods wanted."),
    TableColumn("Current", type: "integer", "Pods there are."),
    TableColumn("Ready", type: "integer", "Pods that are ready."), age, containers, images, selector,
  ]) { object, now in
    [
      JSON(object.name), JSON(number(object, "spec", "replicas")), JSON(number(object, "status", "replicas")),
      JSON(number(object, "status", "readyReplicas")), Cell.age(object, now),
    ] + template(object)
  }

  static let scales = TablePrinter(columns: [
    name, TableColumn("Desired", type: "integer", "Replicas wanted."),
    TableColumn("Available", type: "integer", "Replicas there are."), age,
  ]) { object, now in
    [
      JSON(object.name), JSON(number(object, "spec", "replicas")), JSON(number(object, "status", "replicas")),
      Cell.age(object, now),
    ]
  }

  static let replicationControllers = TablePrinter(columns: [
    name, TableColumn("Desired", type: "integer", "Pods wanted."),
    TableColumn("Current", type: "integer", "Pods there are."),
    TableColumn("Ready", type: "integer", "Pods that are ready."), age, containers, images, selector,
  ]) { object, now in
    [
      JSON(object.name), integer(object, "spec", "replicas"), integer(object, "status", "replicas"),
      integer(object, "status", "readyReplicas"), Cell.age(object, now),
    ] + template(object).dropLast() + [Cell.labels(object.at("spec", "selector")?.stringMap ?? [:])]
  }

  static let statefulSets = TablePrinter(columns: [
    name, TableColumn("Ready", "Pods that are ready, of those wanted."), age, containers, images,
  ]) { object, now in
    let ready = number(object, "status", "readyReplicas")
    return [
      JSON(object.name), JSON("\(ready)/\(number(object, "spec", "replicas"))"), Cell.age(object, now),
    ] + template(object).dropLast()
  }

  static let daemonSets = TablePrinter(columns: [
    name, TableColumn("Desired", type: "integer", "Nodes that should run a pod."),
    TableColumn("Current", type: "integer", "Nodes that run one."),
    TableColumn("Ready", type: "integer", "Nodes whose pod is ready."),
    TableColumn("Up-to-date", type: "integer", "Nodes whose pod is of the newest template."),
    TableColumn("Available", type: "integer", "Nodes whose pod has been ready for long enough."),
    TableColumn("Node Selector", "Labels that the nodes must have."), age, containers, images, selector,
  ]) { object, now in
    [
      JSON(object.name), integer(object, "status", "desiredNumberScheduled"),
      integer(object, "status", "currentNumberScheduled"), integer(object, "status", "numberReady"),
      integer(object, "status", "updatedNumberScheduled"), integer(object, "status", "numberAvailable"),
      Cell.labels(object.at("spec", "template", "spec", "nodeSelector")?.stringMap ?? [:]),
      Cell.age(object, now),
    ] + template(object)
  }

  static let controllerRevisions = TablePrinter(columns: [
    name, TableColumn("Controller", "Whose revision it is."),
    TableColumn("Revision", "Its number; the highest is the newest."), age,
  ]) { object, now in
    var owner = "<none>"
    if let reference = object.controllerReference {
      let gvk = GroupVersionKind(
        apiVersion: reference.apiVersion, kind: reference.kind.lowercased())
      owner = gvk.kind + (gvk.group.isEmpty ? "" : ".\(gvk.group)") + "/\(reference["name"]?.string ?? "")"
    }
    return [JSON(object.name), JSON(owner), integer(object, "revision"), Cell.age(object, now)]
  }

  static let jobs = TablePrinter(columns: [
    name, TableColumn("Status", "How it stands."),
    TableColumn("Completions", "Pods that succeeded, of those needed."),
    TableColumn("Duration", "From its start to its end, or until now."), age, containers, images, selector,
  ]) { job, now in
    let done = number(job, "status", "succeeded")
    let completions: String
    if let needed = job.at("spec", "completions")?.integer {
      completions = "\(done)/\(needed)"
    } else {
      let parallelism = number(job, "spec", "parallelism")
      completions = parallelism > 1 ? "\(done)/1 of \(parallelism)" : "\(done)/1"
    }
    var duration = ""
    if let start = (job.at("status", "startTime")?.string).flatMap(KubeTime.init) {
      let end = (job.at("status", "completionTime")?.string).flatMap(KubeTime.init) ?? now
      duration = KubeTime.age(end.seconds - start.seconds)
    }
    return [
      JSON(job.name), JSON(jobStatus(job)), JSON(completions), JSON(duration), Cell.age(job, now),
    ] + template(job)
  }

  private static func jobStatus(_ job: JSON) -> String {
    let conditions = job.at("status", "conditions")?.elements ?? []
    func holds(_ type: String) -> Bool {
      conditions.contains { $0["type"]?.string == type && $0["status"] == "True" }
    }
    if holds("Complete") { return "Complete" }
    if holds("Failed") { return "Failed" }
    if job.isTerminating { return "Terminating" }
    return ["Suspended", "FailureTarget", "SuccessCriteriaMet"].first(where: holds) ?? "Running"
  }

  static let cronJobs = TablePrinter(columns: [
    name, TableColumn("Schedule", "When it runs, in the format of cron."),
    TableColumn("Timezone", "Whose clock the schedule means."),
    TableColumn("Suspend", "Whether it is held."),
    TableColumn("Active", type: "integer", "Jobs that run now."),
    TableColumn("Last Schedule", "Time since it last made a job."), age, containers, images, selector,
  ]) { object, now in
    let suspended = object.at("spec", "suspend")?.bool
    let job = object.at("spec", "jobTemplate") ?? .null
    return [
      JSON(object.name), Cell.text(object.at("spec", "schedule")?.string, or: ""),
      Cell.text(object.at("spec", "timeZone")?.string),
      JSON(suspended == nil ? "<unset>" : suspended == true ? "True" : "False"),
      JSON(object.at("status", "active")?.elements.count ?? 0),
      object.at("status", "lastScheduleTime") == nil
        ? "<none>" : JSON(KubeTime.age(of: object.at("status", "lastScheduleTime")?.string, now: now)),
      Cell.age(object, now),
    ] + template(job)
  }

  static let disruptionBudgets = TablePrinter(columns: [
    name, TableColumn("Min Available", "Pods that must stay available."),
    TableColumn("Max Unavailable", "Pods that may be unavailable."),
    TableColumn("Allowed Disruptions", type: "integer", "Pods that may be evicted now."), age,
  ]) { object, now in
    func amount(_ field: String) -> JSON {
      guard let value = object.at("spec", field) else { return "N/A" }
      return value.string == nil ? JSON(value.text) : value
    }
    return [
      JSON(object.name), amount("minAvailable"), amount("maxUnavailable"),
      integer(object, "status", "disruptionsAllowed"), Cell.age(object, now),
    ]
  }

  // MARK: - Autoscalers

  static let autoscalers = TablePrinter(columns: [
    name, TableColumn("Reference", "What is scaled."),
    TableColumn("Targets", "Each metric: what it is, of what it should be."),
    TableColumn("MinPods", "The least pods."), TableColumn("MaxPods", type: "integer", "The most pods."),
    TableColumn("Replicas", type: "integer", "Pods there are."), age,
  ]) { object, now in
    // Version 1 keeps most of it in annotations.
    let autoscaler = KindVersions.autoscalers.convert(object, KindVersions.autoscalers.storage)
    let target = autoscaler.at("spec", "scaleTargetRef") ?? [:]
    let least = autoscaler.at("spec", "minReplicas")?.integer
    return [
      JSON(object.name), JSON("\(target["kind"]?.string ?? "")/\(target["name"]?.string ?? "")"),
      JSON(metrics(autoscaler)), JSON(least.map(String.init) ?? "<unset>"),
      integer(autoscaler, "spec", "maxReplicas"), integer(autoscaler, "status", "currentReplicas"),
      Cell.age(object, now),
    ]
  }

  private static let metricsShown = 2

  private static func metrics(_ autoscaler: JSON) -> String {
    let current = autoscaler.at("status", "currentMetrics")?.elements ?? []
    let texts = (autoscaler.at("spec", "metrics")?.elements ?? []).enumerated().map { position, metric in
      metricText(metric, position < current.count ? current[position] : .null)
    }
    if texts.isEmpty { return "<none>" }
    let shown = texts.prefix(metricsShown).joined(separator: ", ")
    return texts.count > metricsShown ? "\(shown) + \(texts.count - metricsShown) more..." : shown
  }

  private static func metricText(_ metric: JSON, _ status: JSON) -> String {
    let sources = [
      "Object": "object", "Pods": "pods", "Resource": "resource",
      "ContainerResource": "containerResource", "External": "external",
    ]
    guard let field = sources[metric["type"]?.string ?? ""], let source = metric[field] else {
      return "<unknown type>"
    }
    func now(_ name: String) -> String? {
      let value = status.at(field, "current", name)
      return value?.string ?? value?.integer.map(String.init)
    }
    let isResource = field == "resource" || field == "containerResource"
    let label = isResource ? "\(source["name"]?.string ?? ""): " : ""
    if let average = source.at("target", "averageValue")?.string {
      let mark = field == "object" || field == "external" ? " (avg)" : ""
      return "\(label)\(now("averageValue") ?? "<unknown>")/\(average)\(mark)"
    }
    if isResource {
      let wanted = source.at("target", "averageUtilization")?.integer.map { "\($0)%" } ?? "<auto>"
      return "\(label)\(now("averageUtilization").map { "\($0)%" } ?? "<unknown>")/\(wanted)"
    }
    return "\(now("value") ?? "<unknown>")/\(source.at("target", "value")?.string ?? "")"
  }
}
