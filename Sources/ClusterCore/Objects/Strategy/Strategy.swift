// What the server does to an object besides checking it: fields that a writer may not set on this path are
// dropped or kept, and the generation counts changes of what is asked for.

extension ResourceKind {
  /// Kinds whose status is written through its own path only.
  public var hasStatus: Bool { subresource("status") != nil }

  /// Kinds whose `metadata.generation` counts changes of the spec.
  public var countsGenerations: Bool {
    if custom != nil { return true }
    return switch (group, kind) {
    case ("apps", "ControllerRevision"): false
    case ("apps", _), ("batch", _), ("policy", _), ("", "ReplicationController"),
      ("apiextensions.k8s.io", _), ("networking.k8s.io", "Ingress"), ("networking.k8s.io", "NetworkPolicy"),
      ("networking.k8s.io", "IngressClass"), ("discovery.k8s.io", "EndpointSlice"), ("", "Pod"),
      ("admissionregistration.k8s.io", _), ("flowcontrol.apiserver.k8s.io", _):
      true
    default: group.contains(".") && !group.hasSuffix(".k8s.io")
    }
  }

  /// Before a create, after defaults: drops the status a writer may not give and starts the generation.
  /// Names, uid, timestamps and versions are the server's own business.
  public func prepareForCreate(_ object: inout JSON) {
    if hasStatus, !keepsStatusOnCreate { object["status"] = initialStatus(object) }
    object.set(countsGenerations ? 1 : nil, at: "metadata", "generation")
    if kind == "Namespace", group.isEmpty {
      var finalizers = object.at("spec", "finalizers")?.array ?? []
      if !finalizers.contains("kubernetes") { finalizers.append("kubernetes") }
      object.set(.array(finalizers), at: "spec", "finalizers")
    }
    if kind == "Job", group == "batch" { JobStrategy.prepareForCreate(&object) }
    if gvk == CustomResourceDefinition.gvk { CustomResourceDefinition.prepareForCreate(&object) }
  }

  /// Kinds whose status a create may bring along: a node tells of itself in one request.
  public var keepsStatusOnCreate: Bool { kind == "Node" && group.isEmpty }

  /// What is always written of a status, before anything is known.
  private func initialStatus(_ object: JSON) -> JSON? {
    if custom != nil { return nil }
    guard let type = schema.field("status")?.type.schema else { return [:] }
    var status = Normalizer.empty(type)
    type.applyDefaults(&status)
    if kind == "Pod", group.isEmpty { status["qosClass"] = .string(PodQuality.of(object)) }
    return status
  }

  /// Before an update, after defaults. The main path keeps the old status; the path `status` keeps everything
  /// but the status and a few fields of the metadata.
  public func prepareForUpdate(_ object: inout JSON, old: JSON, subresource: String? = nil) {
    switch subresource {
    case "status":
      let status = object["status"]
      let metadata = object.metadata
      var result = old
      result["status"] = status
      // Conditions' writers leave marks of their own; labels and the rest stay.
      result.set(metadata["resourceVersion"], at: "metadata", "resourceVersion")
      if let managed = metadata["managedFields"] { result.set(managed, at: "metadata", "managedFields") }
      if kind != "Pod" || !group.isEmpty, let annotations = metadata["annotations"] {
        result.set(annotations, at: "metadata", "annotations")
      }
      object = result
    default:
      if hasStatus { object["status"] = old["status"] }
      if gvk == CustomResourceDefinition.gvk { CustomResourceDefinition.prepareForUpdate(&object) }
      // Addresses once given stay when a writer leaves them out.
      if kind == "Service", group.isEmpty { keepServiceAddresses(&object, old) }
    }
    // What the server gave is not a writer's to change.
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
      object.set(old.metadata[field], at: "metadata", field)
    }
    guard countsGenerations else { return }
    var generation = old.generation
    if subresource != "status", isChanged(object, old) { generation += 1 }
    object.set(.integer(generation), at: "metadata", "generation")
  }

  private func isChanged(_ new: JSON, _ old: JSON) -> Bool {
    var a = new
    var b = old
    // A custom kind without the path `status` has no status of its own: all is what was asked for.
    for field in custom == nil || hasStatus ? ["metadata", "status"] : ["metadata"] {
      a[field] = nil
      b[field] = nil
    }
    return a != b
  }

  private func keepServiceAddresses(_ object: inout JSON, _ old: JSON) {
    guard object.spec["type"]?.string != "ExternalName", old.spec["type"]?.string != "ExternalName" else {
      return
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
      if object.spec[field] == nil || object.spec[field] == "", let value = old.spec[field] {
        object.set(value, at: "spec", field)
      }
    }
    guard ["NodePort", "LoadBalancer"].contains(object.spec["type"]?.string ?? ""),
      var ports = object.spec["ports"]?.array
    else { return }
    let before = old.spec["ports"]?.elements ?? []
    for index in ports.indices where ports[index]["nodePort"] == nil {
      let same = before.first {
        $0["port"] == ports[index]["port"] && $0["protocol"] == ports[index]["protocol"]
      }
      if let node = same?["nodePort"] { ports[index]["nodePort"] = node }
    }
    object.set(.array(ports), at: "spec", "ports")
  }
}

/// Quality of service: who is evicted last.
public enum PodQuality {
  /// `Guaranteed`, `Burstable` or `BestEffort`.
  public static func of(_ pod: JSON) -> String {
    let containers = ["containers", "initContainers"].flatMap { pod.spec[$0]?.elements ?? [] }
    var isGuaranteed = true
    var asksNothing = true
    for container in containers {
      let limits = ResourceList(container.at("resources", "limits"))
      let requests = ResourceList(container.at("resources", "requests"))
      for name in ["cpu", "memory"] {
        if !limits[name].isZero || !requests[name].isZero { asksNothing = false }
        if limits[name].isZero || (requests.amounts[name] ?? limits[name]) != limits[name] {
          isGuaranteed = false
        }
      }
    }
    return asksNothing ? "BestEffort" : isGuaranteed ? "Guaranteed" : "Burstable"
  }
}
