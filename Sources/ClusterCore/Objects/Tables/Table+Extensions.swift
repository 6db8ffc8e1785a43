// What extends the API, judges its requests, and shares it out.

extension TablePrinter {
  static let webhooks = TablePrinter(columns: [
    name, TableColumn("Webhooks", type: "integer", "How many webhooks it names."), age,
  ]) { object, now in
    [JSON(object.name), JSON(object["webhooks"]?.elements.count ?? 0), Cell.age(object, now)]
  }

  private static func policies(_ column: String, _ field: String, _ doc: String) -> TablePrinter {
    TablePrinter(columns: [
      name, TableColumn(column, type: "integer", doc),
      TableColumn("ParamKind", "The kind of objects that it takes settings from."), age,
    ]) { object, now in
      let kind = object.spec["paramKind"].map {
        "\($0["apiVersion"]?.string ?? "")/\($0["kind"]?.string ?? "")"
      }
      return [
        JSON(object.name), JSON(object.spec[field]?.elements.count ?? 0), Cell.text(kind, or: "<unset>"),
        Cell.age(object, now),
      ]
    }
  }

  static let validatingPolicies = policies("Validations", "validations", "How many rules it has.")
  static let mutatingPolicies = policies("Mutations", "mutations", "How many changes it makes.")

  static let policyBindings = TablePrinter(columns: [
    name, TableColumn("PolicyName", "The policy that it puts into force."),
    TableColumn("ParamRef", "The object whose settings are used."), age,
  ]) { object, now in
    let reference = object.spec["paramRef"]
    let name = reference?["name"]?.string ?? ""
    let namespace = reference?["namespace"]?.string ?? ""
    let text =
      name.isEmpty
      ? reference?["selector"].map { Cell.selector($0).string ?? "" }
      : namespace.isEmpty ? name : "\(namespace)/\(name)"
    return [
      JSON(object.name), JSON(object.spec["policyName"]?.string ?? ""), Cell.text(text, or: "<unset>"),
      Cell.age(object, now),
    ]
  }

  static let apiServices = TablePrinter(columns: [
    name, TableColumn("Service", "Who serves it."), TableColumn("Available", "Whether it answers."), age,
  ]) { object, now in
    let service = object.spec["service"].map {
      "\($0["namespace"]?.string ?? "")/\($0["name"]?.string ?? "")"
    }
    let condition = (object.at("status", "conditions")?.elements ?? [])
      .first { $0["type"]?.string == "Available" }
    var available = condition?["status"]?.string ?? "Unknown"
    if condition != nil, available != "True" { available += " (\(condition?["reason"]?.string ?? ""))" }
    return [JSON(object.name), JSON(service ?? "Local"), JSON(available), Cell.age(object, now)]
  }

  static let flowSchemas = TablePrinter(columns: [
    name, TableColumn("PriorityLevel", "The level its requests have."),
    TableColumn("MatchingPrecedence", "Which schema is tried first: the lowest number."),
    TableColumn("DistinguisherMethod", "What makes a flow of its own."), age,
    TableColumn("MissingPL", "Whether its level does not exist."),
  ]) { object, now in
    let dangling = (object.at("status", "conditions")?.elements ?? [])
      .first { $0["type"]?.string == "Dangling" }
    return [
      JSON(object.name), Cell.text(object.spec.at("priorityLevelConfiguration", "name")?.string),
      .integer(object.spec["matchingPrecedence"]?.integer ?? 0),
      Cell.text(object.spec.at("distinguisherMethod", "type")?.string), Cell.age(object, now),
      Cell.text(dangling?["status"]?.string, or: "?"),
    ]
  }

  static let priorityLevels = TablePrinter(columns: [
    name, TableColumn("Type", "Limited or Exempt."),
    TableColumn("NominalConcurrencyShares", "Its share of the server."),
    TableColumn("Queues", "How many queues it has."),
    TableColumn("HandSize", "How many queues a flow may use."),
    TableColumn("QueueLengthLimit", "How long a queue may get."), age,
  ]) { object, now in
    let limited = object.spec["limited"]
    let queuing = limited?.at("limitResponse", "queuing")
    func number(_ value: JSON?) -> JSON { value?.integer.map(JSON.integer) ?? "<none>" }
    return [
      JSON(object.name), Cell.text(object.spec["type"]?.string), number(limited?["nominalConcurrencyShares"]),
      number(queuing?["queues"]), number(queuing?["handSize"]), number(queuing?["queueLengthLimit"]),
      Cell.age(object, now),
    ]
  }

  /// The printers of kinds that serve the cluster itself; nil for others.
  static func ofServices(_ gvk: GroupVersionKind) -> TablePrinter? {
    switch (gvk.group, gvk.kind) {
    case ("rbac.authorization.k8s.io", "Role"), ("rbac.authorization.k8s.io", "ClusterRole"),
      ("apiextensions.k8s.io", "CustomResourceDefinition"):
      created
    case ("rbac.authorization.k8s.io", _): roleBindings
    case ("certificates.k8s.io", "CertificateSigningRequest"): certificateRequests
    case ("certificates.k8s.io", "ClusterTrustBundle"): trustBundles
    case ("certificates.k8s.io", "PodCertificateRequest"): podCertificateRequests
    case ("storage.k8s.io", "StorageClass"): storageClasses
    case ("storage.k8s.io", "VolumeAttributesClass"): volumeAttributesClasses
    case ("storage.k8s.io", "VolumeAttachment"): volumeAttachments
    case ("storage.k8s.io", "CSIDriver"): csiDrivers
    case ("storage.k8s.io", "CSINode"): csiNodes
    case ("storage.k8s.io", "CSIStorageCapacity"): storageCapacities
    case ("scheduling.k8s.io", "PriorityClass"): priorityClasses
    case ("node.k8s.io", "RuntimeClass"): runtimeClasses
    case ("networking.k8s.io", "ServiceCIDR"): serviceRanges
    case ("networking.k8s.io", "IPAddress"): serviceAddresses
    case ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
      ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"):
      webhooks
    case ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): validatingPolicies
    case ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): mutatingPolicies
    case ("admissionregistration.k8s.io", _): policyBindings
    case ("apiregistration.k8s.io", _): apiServices
    case ("flowcontrol.apiserver.k8s.io", "FlowSchema"): flowSchemas
    case ("flowcontrol.apiserver.k8s.io", _): priorityLevels
    default: nil
    }
  }
}
