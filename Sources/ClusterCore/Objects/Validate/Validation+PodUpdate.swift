// What may change of a pod that is there: little by itself, its resources and its containers for debugging by
// paths of their own.

extension Validator {
  /// The pod's own path: besides metadata only images, gates, deadlines and further tolerations.
  mutating func podUpdate(_ new: JSON, _ old: JSON) {
    let path: FieldPath = "spec"
    func fixed(_ pod: JSON) -> JSON {
      var spec = pod.spec
      for field in [
        "activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates",
      ] {
        spec[field] = nil
      }
      for list in ["containers", "initContainers"] {
        guard let containers = spec[list]?.array else { continue }
        spec[list] = .array(
          containers.map {
            var container = $0
            container["image"] = nil
            return container
          })
      }
      // Binding sets the node once.
      if old.spec["nodeName"] == nil { spec["nodeName"] = nil }
      // Where it may go is open while a gate holds it.
      if !(old.spec["schedulingGates"]?.elements.isEmpty ?? true) {
        spec["nodeSelector"] = nil
        spec.set(nil, at: "affinity", "nodeAffinity")
        if spec["affinity"] == [:] { spec["affinity"] = nil }
      }
      return spec
    }
    if fixed(new) != fixed(old) {
      add(
        .forbidden(
          path,
          "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            + "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            + "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"))
    }
    let kept = Set(new.spec["tolerations"]?.elements ?? [])
    if !(old.spec["tolerations"]?.elements ?? []).allSatisfy(kept.contains) {
      add(
        .forbidden(
          path.child("tolerations"), "existing toleration can not be modified except its tolerationSeconds"))
    }
    let gates = Set(old.spec["schedulingGates"]?.elements ?? [])
    for gate in new.spec["schedulingGates"]?.elements ?? [] where !gates.contains(gate) {
      add(
        .forbidden(
          path.child("schedulingGates"),
          "only deletion is allowed, but found new scheduling gate '\(gate["name"]?.string ?? "")'"))
    }
    deadline(new.spec["activeDeadlineSeconds"], old.spec["activeDeadlineSeconds"], path)
  }

  /// A deadline may be set or drawn nearer.
  private mutating func deadline(_ new: JSON?, _ old: JSON?, _ path: FieldPath) {
    guard let before = old?.integer else { return }
    let place = path.child("activeDeadlineSeconds")
    guard let after = new?.integer else {
      add(.invalid(place, .null, "must not update from a positive integer to nil value"))
      return
    }
    if after > before {
      add(.invalid(place, .integer(after), "must be less than or equal to previous value"))
    }
  }

  /// `/ephemeralcontainers`: containers are added, none goes and none changes.
  mutating func ephemeralContainersUpdate(_ new: JSON, _ old: JSON) {
    let path: FieldPath = "spec.ephemeralContainers"
    let list = new.spec["ephemeralContainers"]?.elements ?? []
    var taken = Set(
      ["containers", "initContainers"].flatMap { new.spec[$0]?.elements ?? [] }.compactMap {
        $0["name"]?.string
      })
    for (position, container) in list.enumerated() {
      let place = path.index(position)
      let name = container["name"]?.string ?? ""
      if name.isEmpty {
        add(.required(place.child("name")))
      } else {
        check(name, at: place.child("name"), Names.labelProblem)
        if !taken.insert(name).inserted { add(.duplicate(place.child("name"), .string(name))) }
      }
      if (container["image"]?.string ?? "").isEmpty { add(.required(place.child("image"))) }
      for field in [
        "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy",
      ] where container[field] != nil {
        add(.forbidden(place.child(field), "cannot be set for an Ephemeral Container"))
      }
      if container["resources"]?.object?.isEmpty == false {
        add(.forbidden(place.child("resources"), "cannot be set for an Ephemeral Container"))
      }
      if let target = container["targetContainerName"]?.string, !target.isEmpty, !taken.contains(target) {
        add(FieldError(.notFound, place.child("targetContainerName"), .string(target)))
      }
    }
    for before in old.spec["ephemeralContainers"]?.elements ?? [] {
      let name = before["name"]?.string ?? ""
      guard let now = list.first(where: { $0["name"]?.string == name }) else {
        add(.forbidden(path, "existing ephemeral containers \"\(name)\" may not be removed"))
        continue
      }
      if now != before {
        add(.forbidden(path, "existing ephemeral containers \"\(name)\" may not be changed"))
      }
    }
  }

  /// `/resize`: cpu and memory of containers, within the pod's quality of service.
  mutating func resizeUpdate(_ new: JSON, _ old: JSON) {
    func fixed(_ pod: JSON) -> JSON {
      var spec = pod.spec
      for list in ["containers", "initContainers"] {
        guard let containers = spec[list]?.array else { continue }
        spec[list] = .array(
          containers.map { container in
            var container = container
            container["resizePolicy"] = nil
            for side in ["limits", "requests"] {
              for name in ["cpu", "memory"] { container.set(nil, at: "resources", side, name) }
              if container.at("resources", side) == [:] { container.set(nil, at: "resources", side) }
            }
            return container
          })
      }
      for side in ["limits", "requests"] where spec.at("resources", side) != nil {
        for name in ["cpu", "memory"] { spec.set(nil, at: "resources", side, name) }
      }
      return spec
    }
    if fixed(new) != fixed(old) { add(.forbidden("spec", "only cpu and memory resources are mutable")) }
    let quality = PodQuality.of(new)
    if quality != old.at("status", "qosClass")?.string ?? PodQuality.of(old) {
      add(
        .invalid(
          "status.qosClass", .string(quality), "Pod QOS Class may not change as a result of resizing"))
    }
    podSpec(new.spec, "spec")
  }
}
