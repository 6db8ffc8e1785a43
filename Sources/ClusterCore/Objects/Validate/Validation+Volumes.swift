// Persistent volumes and claims on them.

extension Validator {
  // MARK: - Claims

  static let persistentVolumeClaim = Rules(
    create: { validator, claim in validator.claimSpec(claim.spec, "spec") },
    update: { validator, new, old in
      let path: FieldPath = "spec"
      func fixed(_ claim: JSON) -> JSON {
        var spec = claim.spec
        // Binding names the volume, a default class may come late.
        if (old.spec["volumeName"]?.string ?? "").isEmpty { spec["volumeName"] = nil }
        if old.spec["storageClassName"] == nil { spec["storageClassName"] = nil }
        if old.status["phase"] == "Bound" { spec.set(nil, at: "resources", "requests") }
        spec["volumeAttributesClassName"] = nil
        return spec
      }
      if fixed(new) != fixed(old) {
        validator.add(
          .forbidden(
            path,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName "
              + "for bound claims"))
      }
      let given = Quantity(old.at("status", "capacity", "storage"))
      if let wanted = Quantity(new.at("spec", "resources", "requests", "storage")),
        let before = Quantity(old.at("spec", "resources", "requests", "storage")), wanted < before,
        given.map({ wanted < $0 }) ?? true
      {
        validator.add(
          .forbidden(
            path.child("resources", "requests", "storage"), "field can not be less than status.capacity"))
      }
    })

  mutating func claimSpec(_ spec: JSON, _ path: FieldPath) {
    if spec["accessModes"]?.elements.isEmpty ?? true {
      add(.required(path.child("accessModes"), "at least 1 access mode is required"))
    }
    oneAlone(spec, path)
    let place = path.child("resources").key("storage")
    if let amount = Quantity(spec.at("resources", "requests", "storage")) {
      if amount <= Quantity(0) {
        add(.invalid(place, .string(amount.description), "must be greater than zero"))
      }
    } else {
      add(.required(place))
    }
    if let selector = spec["selector"] { labelSelector(selector, path.child("selector")) }
    for field in ["storageClassName", "volumeAttributesClassName"] {
      if let name = spec[field]?.string, !name.isEmpty {
        check(name, at: path.child(field), Names.subdomainProblem)
      }
    }
  }

  private mutating func oneAlone(_ spec: JSON, _ path: FieldPath) {
    let modes = spec["accessModes"]?.elements ?? []
    if modes.contains("ReadWriteOncePod"), modes.count > 1 {
      add(
        .forbidden(
          path.child("accessModes"), "may not use ReadWriteOncePod with other access modes"))
    }
  }

  // MARK: - Volumes

  private static let volumeSources: Set<String> = {
    let schema = KindRegistry.builtin[GroupVersionKind("", "v1", "PersistentVolume")]?.schema
    let spec = schema?.type(at: ["spec"])?.schema
    return Set((spec?.inlined.values.first?.fields ?? []).map(\.name))
  }()

  static let persistentVolume = Rules(
    create: { validator, volume in
      let path: FieldPath = "spec"
      let spec = volume.spec
      if spec["accessModes"]?.elements.isEmpty ?? true { validator.add(.required(path.child("accessModes"))) }
      validator.oneAlone(spec, path)
      let capacity = spec["capacity"]?.object ?? [:]
      if capacity.isEmpty { validator.add(.required(path.child("capacity"))) }
      if !capacity.isEmpty, !capacity.contains("storage") || capacity.count > 1 {
        validator.add(.notSupported(path.child("capacity"), .object(capacity), ["storage"]))
      }
      for (name, amount) in capacity {
        if let value = Quantity(amount), value <= Quantity(0) {
          validator.add(.invalid(path.child("capacity").key(name), amount, "must be greater than zero"))
        }
      }
      let sources = (spec.object ?? [:]).keys.filter(volumeSources.contains)
      if sources.isEmpty { validator.add(.required(path, "must specify a volume type")) }
      for extra in sources.dropFirst() {
        validator.add(.forbidden(path.child(extra), "may not specify more than 1 volume type"))
      }
      if spec["local"] != nil, spec["nodeAffinity"] == nil {
        validator.add(.required(path.child("nodeAffinity"), "Local volume requires node affinity"))
      }
      for source in ["hostPath", "local"] {
        if let text = spec.at(source, "path")?.string {
          validator.noBackSteps(text, path.child(source, "path"))
        }
      }
      if let name = spec["storageClassName"]?.string, !name.isEmpty {
        validator.check(name, at: path.child("storageClassName"), Names.subdomainProblem)
      }
    },
    update: { validator, new, old in
      func source(_ volume: JSON) -> [String: JSON] {
        var found: [String: JSON] = [:]
        for (name, value) in volume.spec.object ?? [:] where volumeSources.contains(name) {
          found[name] = value
        }
        return found
      }
      if source(new) != source(old) {
        validator.add(
          .forbidden(
            "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"))
      }
      validator.immutable(new.spec["volumeMode"], old.spec["volumeMode"], "spec.volumeMode")
      if let before = old.spec["nodeAffinity"], before != new.spec["nodeAffinity"] {
        validator.add(
          .invalid("spec.nodeAffinity", new.spec["nodeAffinity"] ?? .null, "field is immutable"))
      }
    })
}
