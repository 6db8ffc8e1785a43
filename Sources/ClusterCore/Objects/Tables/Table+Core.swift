// Core kinds that are neither pods nor network: nodes, configuration, storage, quotas, events.

extension TablePrinter {
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

  // MARK: - Storage

  private static func modes(_ list: JSON?) -> JSON {
    let short = [
      ("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"),
      ("ReadWriteOncePod", "RWOP"),
    ]
    let modes = Set((list?.elements ?? []).compactMap(\.string))
    return JSON(short.filter { modes.contains($0.0) }.map(\.1).joined(separator: ","))
  }

  private static func phase(_ object: JSON) -> JSON {
    object.isTerminating ? "Terminating" : Cell.text(object.at("status", "phase")?.string, or: "")
  }

  /// The old annotation still names a class where the field does not.
  private static func storageClass(_ object: JSON) -> JSON {
    Cell.text(
      object.annotations["volume.beta.kubernetes.io/storage-class"]
        ?? object.at("spec", "storageClassName")?.string, or: "")
  }

  private static let volumeMode = TableColumn("VolumeMode", priority: 1, "A file system or a bare device.")
  private static let accessModes = TableColumn("Access Modes", "How it may be mounted.")
  private static let className = TableColumn("StorageClass", "The class it is of.")
  private static let attributesClass = TableColumn(
    "VolumeAttributesClass", "The class its attributes are of.")

  static let persistentVolumes = TablePrinter(columns: [
    name, TableColumn("Capacity", "How much it holds."), accessModes,
    TableColumn("Reclaim Policy", "What becomes of it when its claim goes."),
    TableColumn("Status", "Whether it is free."), TableColumn("Claim", "Whose it is."), className,
    attributesClass, TableColumn("Reason", "Why it failed."), age, volumeMode,
  ]) { volume, now in
    let claim = volume.at("spec", "claimRef").map {
      "\($0["namespace"]?.string ?? "")/\($0["name"]?.string ?? "")"
    }
    return [
      JSON(volume.name), volume.at("spec", "capacity", "storage") ?? "0",
      modes(volume.at("spec", "accessModes")),
      Cell.text(volume.at("spec", "persistentVolumeReclaimPolicy")?.string, or: ""), phase(volume),
      JSON(claim ?? ""), storageClass(volume),
      Cell.text(volume.at("spec", "volumeAttributesClassName")?.string, or: "<unset>"),
      Cell.text(volume.at("status", "reason")?.string, or: ""), Cell.age(volume, now),
      Cell.text(volume.at("spec", "volumeMode")?.string, or: "<unset>"),
    ]
  }

  static let persistentVolumeClaims = TablePrinter(columns: [
    name, TableColumn("Status", "Whether it has a volume."), TableColumn("Volume", "Its volume."),
    TableColumn("Capacity", "How much it was given."), accessModes, className, attributesClass, age,
    volumeMode,
  ]) { claim, now in
    let volume = claim.at("spec", "volumeName")?.string ?? ""
    let isBound = !volume.isEmpty
    return [
      JSON(claim.name), phase(claim), JSON(volume),
      isBound ? claim.at("status", "capacity", "storage") ?? "0" : "",
      isBound ? modes(claim.at("status", "accessModes")) : "", storageClass(claim),
      Cell.text(claim.at("spec", "volumeAttributesClassName")?.string, or: "<unset>"), Cell.age(claim, now),
      Cell.text(claim.at("spec", "volumeMode")?.string, or: "<unset>"),
    ]
  }

  // MARK: - Limits

  static let resourceQuotas = TablePrinter(columns: [
    name, TableColumn("Request", "Used and allowed."), TableColumn("Limit", "Used and allowed, of limits."),
    age,
  ]) { quota, now in
    let hard = quota.at("status", "hard")?.stringMap ?? [:]
    let used = quota.at("status", "used")?.stringMap ?? [:]
    func texts(_ isLimit: Bool) -> JSON {
      JSON(
        hard.filter { $0.key.hasPrefix("limits.") == isLimit }.sorted { $0.key < $1.key }.map {
          "\($0.key): \(used[$0.key] ?? "0")/\($0.value)"
        }.joined(separator: ", "))
    }
    return [JSON(quota.name), texts(false), texts(true), Cell.age(quota, now)]
  }

  static let limitRanges = TablePrinter(columns: [name, TableColumn("Created At", "When it was made.")]) {
    object, _ in [JSON(object.name), JSON(object.creationTimestamp)]
  }

  static let podTemplates = TablePrinter(columns: [
    name, TableColumn("Containers", "Names of the template's containers."),
    TableColumn("Images", "Images of the template's containers."),
    TableColumn("Pod Labels", "Labels that its pods get."),
  ]) { object, _ in
    let list = object.at("template", "spec", "containers")?.elements ?? []
    return [
      JSON(object.name), JSON(list.compactMap { $0["name"]?.string }.joined(separator: ",")),
      JSON(list.compactMap { $0["image"]?.string }.joined(separator: ",")),
      Cell.labels(object.at("template", "metadata", "labels")?.stringMap ?? [:]),
    ]
  }

  static let componentStatuses = TablePrinter(columns: [
    name, TableColumn("Status", "Healthy or not."), TableColumn("Message", "What it says of itself."),
    TableColumn("Error", "What went wrong."),
  ]) { object, _ in
    let health = object["conditions"]?.elements.first { $0["type"] == "Healthy" }
    let status: JSON =
      switch health?["status"]?.string {
      case "True": "Healthy"
      case "False": "Unhealthy"
      default: "Unknown"
      }
    return [
      JSON(object.name), status, Cell.text(health?["message"]?.string, or: ""),
      Cell.text(health?["error"]?.string, or: ""),
    ]
  }
}
