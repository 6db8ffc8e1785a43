// Deployments, ReplicaSets and what stands around pods.

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

  static let nodes = TablePrinter(columns: [
    name, TableColumn("Status", "Ready or not, and whether it takes pods."),
    TableColumn("Roles", "What it is labelled as."), age,
    TableColumn("Version", "The node agent's."),
    TableColumn("Internal-IP", priority: 1, "Its address in the cluster."),
    TableColumn("External-IP", priority: 1, "Its address outside."),
    TableColumn("OS-Image", priority: 1, "Its system."),
    TableColumn("Kernel-Version", priority: 1, "Its kernel."),
    TableColumn("Container-Runtime", priority: 1, "What runs its containers."),
  ]) { node, now in
    let ready = node.at("status", "conditions")?.elements.first { $0["type"] == "Ready" }?["status"]?.string
    var status = ready == "True" ? "Ready" : ready == nil ? "Unknown" : "NotReady"
    if node.at("spec", "unschedulable") == true { status += ",SchedulingDisabled" }
    let prefix = "node-role.kubernetes.io/"
    let roles = node.labels.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
      .sorted()
    func address(_ type: String) -> String? {
      node.at("status", "addresses")?.elements.first { $0["type"]?.string == type }?["address"]?.string
    }
    func info(_ field: String) -> JSON {
      Cell.text(node.at("status", "nodeInfo", field)?.string, or: "<unknown>")
    }
    return [
      JSON(node.name), JSON(status), Cell.list(roles), Cell.age(node, now), info("kubeletVersion"),
      Cell.text(address("InternalIP")), Cell.text(address("ExternalIP")), info("osImage"),
      info("kernelVersion"),
      info("containerRuntimeVersion"),
    ]
  }

  static let namespaces = TablePrinter(columns: [name, TableColumn("Status", "Active or Terminating."), age])
  { object, now in
    [JSON(object.name), Cell.text(object.at("status", "phase")?.string, or: ""), Cell.age(object, now)]
  }

  static let configMaps = TablePrinter(columns: [
    name, TableColumn("Data", type: "integer", "How many entries."), age,
  ]) { object, now in
    let count = (object["data"]?.object?.count ?? 0) + (object["binaryData"]?.object?.count ?? 0)
    return [JSON(object.name), JSON(count), Cell.age(object, now)]
  }

  static let secrets = TablePrinter(columns: [
    name, TableColumn("Type", "What it is for."), TableColumn("Data", type: "integer", "How many entries."),
    age,
  ]) { object, now in
    [
      JSON(object.name), Cell.text(object["type"]?.string, or: ""), JSON(object["data"]?.object?.count ?? 0),
      Cell.age(object, now),
    ]
  }

  static let serviceAccounts = TablePrinter(columns: [
    name, TableColumn("Secrets", type: "integer", "Secrets named by it."), age,
  ]) { object, now in
    [JSON(object.name), JSON(object["secrets"]?.elements.count ?? 0), Cell.age(object, now)]
  }

  static let leases = TablePrinter(columns: [name, TableColumn("Holder", "Who holds it."), age]) {
    object, now in
    [
      JSON(object.name), Cell.text(object.at("spec", "holderIdentity")?.string, or: ""),
      Cell.age(object, now),
    ]
  }

  static let events = TablePrinter(columns: [
    TableColumn("Last Seen", "When it last happened."), TableColumn("Type", "Normal or Warning."),
    TableColumn("Reason", "One word."),
    TableColumn("Object", "What it is about."), TableColumn("Subobject", priority: 1, "Which part of it."),
    TableColumn("Source", priority: 1, "Who says so."), TableColumn("Message", "What happened."),
    TableColumn("First Seen", priority: 1, "When it first happened."),
    TableColumn("Count", type: "integer", priority: 1, "How often."),
    TableColumn("Name", format: "name", priority: 1, "The event's own name."),
  ]) { event, now in
    let object = event["involvedObject"] ?? event["regarding"] ?? .null
    func time(_ paths: [[String]]) -> String? {
      paths.lazy.compactMap { event.at($0)?.string }.first { !$0.isEmpty }
    }
    let last = time([
      ["series", "lastObservedTime"], ["lastTimestamp"], ["deprecatedLastTimestamp"], ["eventTime"],
    ])
    let first = time([["firstTimestamp"], ["deprecatedFirstTimestamp"], ["eventTime"]])
    let count =
      event.at("series", "count")?.integer ?? event["count"]?.integer ?? event["deprecatedCount"]?.integer
      ?? 1
    let source = [
      event.at("source", "component")?.string ?? event["reportingComponent"]?.string ?? event[
        "reportingController"]?.string ?? "",
      event.at("source", "host")?.string ?? event["reportingInstance"]?.string ?? "",
    ].filter { !$0.isEmpty }.joined(separator: ", ")
    return [
      JSON(KubeTime.age(of: last, now: now)), JSON(event["type"]?.string ?? ""),
      JSON(event["reason"]?.string ?? ""),
      JSON("\((object["kind"]?.string ?? "").lowercased())/\(object["name"]?.string ?? "")"),
      JSON(object["fieldPath"]?.string ?? ""),
      JSON(source), JSON((event["message"] ?? event["note"])?.string ?? ""),
      JSON(KubeTime.age(of: first, now: now)), JSON(count),
      JSON(event.name),
    ]
  }
}
