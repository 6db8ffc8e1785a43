// Storage classes, CSI drivers, priorities and runtimes, ranges and addresses of Services.

extension TablePrinter {
  private static func flag(_ value: JSON?, or absent: Bool = false) -> JSON {
    .bool(value?.bool ?? absent)
  }

  /// The name, marked when the class is taken for those who name none.
  private static func className(_ object: JSON, _ annotations: String...) -> JSON {
    let isDefault = annotations.contains { object.annotations[$0] == "true" }
    return JSON(object.name + (isDefault ? " (default)" : ""))
  }

  static let storageClasses = TablePrinter(columns: [
    name, TableColumn("Provisioner", "Who makes the volumes."),
    TableColumn("ReclaimPolicy", "What becomes of a volume that nobody claims any more."),
    TableColumn("VolumeBindingMode", "When a volume is made."),
    TableColumn("AllowVolumeExpansion", type: "boolean", "Whether volumes may grow."), age,
  ]) { object, now in
    [
      className(
        object, "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class"),
      JSON(object["provisioner"]?.string ?? ""), JSON(object["reclaimPolicy"]?.string ?? "Delete"),
      JSON(object["volumeBindingMode"]?.string ?? "Immediate"), flag(object["allowVolumeExpansion"]),
      Cell.age(object, now),
    ]
  }

  static let volumeAttributesClasses = TablePrinter(columns: [
    name, TableColumn("DriverName", "The driver that knows the attributes."), age,
  ]) { object, now in
    [
      className(object, "storage.kubernetes.io/is-default-volume-attributes-class"),
      JSON(object["driverName"]?.string ?? ""), Cell.age(object, now),
    ]
  }

  static let volumeAttachments = TablePrinter(columns: [
    name, TableColumn("Attacher", format: "name", "The driver that attaches."),
    TableColumn("PV", "The volume."), TableColumn("Node", "The node it goes to."),
    TableColumn("Attached", type: "boolean", "Whether it is there."), age,
  ]) { object, now in
    [
      JSON(object.name), JSON(object.spec["attacher"]?.string ?? ""),
      JSON(object.spec.at("source", "persistentVolumeName")?.string ?? ""),
      JSON(object.spec["nodeName"]?.string ?? ""), flag(object.at("status", "attached")),
      Cell.age(object, now),
    ]
  }

  static let csiDrivers = TablePrinter(columns: [
    name, TableColumn("AttachRequired", type: "boolean", "Whether volumes are attached before use."),
    TableColumn("PodInfoOnMount", type: "boolean", "Whether the driver is told of the pod."),
    TableColumn("StorageCapacity", type: "boolean", "Whether it tells how much room is left."),
    TableColumn("TokenRequests", "Audiences of the tokens it gets."),
    TableColumn("RequiresRepublish", type: "boolean", "Whether mounts are renewed."),
    TableColumn("Modes", "Which volumes it serves."), age,
  ]) { object, now in
    let spec = object.spec
    let audiences = (spec["tokenRequests"]?.elements ?? []).map { $0["audience"]?.string ?? "" }
    return [
      JSON(object.name), flag(spec["attachRequired"], or: true), flag(spec["podInfoOnMount"]),
      flag(spec["storageCapacity"]), Cell.list(audiences, or: "<unset>"), flag(spec["requiresRepublish"]),
      Cell.list((spec["volumeLifecycleModes"]?.elements ?? []).compactMap(\.string)),
      Cell.age(object, now),
    ]
  }

  static let csiNodes = TablePrinter(columns: [
    name, TableColumn("Drivers", type: "integer", "How many drivers run there."), age,
  ]) { object, now in
    [JSON(object.name), JSON(object.spec["drivers"]?.elements.count ?? 0), Cell.age(object, now)]
  }

  static let storageCapacities = TablePrinter(columns: [
    name, TableColumn("StorageClassName", "The class it is of."),
    TableColumn("Capacity", "How much is left."),
  ]) { object, _ in
    [
      JSON(object.name), JSON(object["storageClassName"]?.string ?? ""),
      Cell.text(object["capacity"]?.string, or: "<unset>"),
    ]
  }

  static let priorityClasses = TablePrinter(columns: [
    name, TableColumn("Value", type: "integer", "The priority; more goes first."),
    TableColumn("Global-Default", type: "boolean", "Whether pods that name none have it."), age,
    TableColumn("PreemptionPolicy", "Whether its pods take others' places."),
  ]) { object, now in
    [
      JSON(object.name), .integer(object["value"]?.integer ?? 0), flag(object["globalDefault"]),
      Cell.age(object, now), Cell.text(object["preemptionPolicy"]?.string, or: ""),
    ]
  }

  static let runtimeClasses = TablePrinter(columns: [
    name, TableColumn("Handler", "What the runtime calls it."), age,
  ]) { object, now in
    [JSON(object.name), JSON(object["handler"]?.string ?? ""), Cell.age(object, now)]
  }

  static let serviceRanges = TablePrinter(columns: [
    name, TableColumn("CIDRs", "Ranges that addresses of Services come from."), age,
  ]) { object, now in
    let ranges = (object.spec["cidrs"]?.elements ?? []).compactMap(\.string)
    return [JSON(object.name), JSON(ranges.joined(separator: ",")), Cell.age(object, now)]
  }

  static let serviceAddresses = TablePrinter(columns: [
    name, TableColumn("ParentRef", "Whose address it is."), age,
  ]) { object, now in
    let parent = object.spec["parentRef"]
    func text(_ field: String) -> String { parent?[field]?.string ?? "" }
    let resource = text("group").isEmpty ? text("resource") : "\(text("resource")).\(text("group"))"
    let parts = [resource.lowercased(), text("namespace"), text("name")].filter { !$0.isEmpty }
    return [JSON(object.name), Cell.text(parts.joined(separator: "/")), Cell.age(object, now)]
  }
}
