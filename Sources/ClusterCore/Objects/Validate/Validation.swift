// May this object be stored? Pure functions from an object (in normal form, defaults applied) to findings,
// with the paths and words that kubectl shows and people search for. What the schema knows (required,
// enumerated) is checked by a walk; what one kind knows is in a function of its own.

extension ResourceKind {
  /// Findings on an object that is to be created. Empty when it may be.
  public func validateCreate(_ object: JSON) -> [FieldError] {
    var validator = Validator()
    validator.metadata(object, self)
    if let custom = schema.custom { return validator.errors + custom.validate(object, old: nil) }
    validator.walk(object, schema)
    Validator.rules(for: gvk)?.create(&validator, object)
    return validator.errors
  }

  /// Findings on a change. With the subresource `status` only what may change there is looked at.
  public func validateUpdate(_ object: JSON, old: JSON, subresource: String? = nil) -> [FieldError] {
    var validator = Validator()
    validator.metadata(object, self)
    validator.metadataUpdate(object, old)
    if let custom = schema.custom { return validator.errors + custom.validate(object, old: old) }
    let rules = Validator.rules(for: gvk)
    guard subresource == nil || subresource == "scale" else {
      rules?.part?(&validator, object, old, subresource ?? "")
      return validator.errors
    }
    validator.walk(object, schema)
    // What was accepted before is not refused because it is touched: a stored pod must stay deletable.
    if object.spec != old.spec || rules?.checksAlways == true { rules?.create(&validator, object) }
    rules?.update(&validator, object, old)
    return validator.errors
  }
}

/// Collects findings.
struct Validator {
  /// Findings kept of one object: bounded, since the object is a stranger's.
  static let errorsMax = 100

  private(set) var errors: [FieldError] = []

  mutating func add(_ error: FieldError) {
    // That a field is required is told once, in the words that say most.
    if error.kind == .required,
      let position = errors.firstIndex(where: { $0.kind == .required && $0.field == error.field })
    {
      if errors[position].detail.isEmpty { errors[position].detail = error.detail }
      return
    }
    if errors.count < Self.errorsMax { errors.append(error) }
  }

  /// Adds an `Invalid value` when a rule of `Names` finds a problem.
  mutating func check(_ value: String, at path: FieldPath, _ rule: (String) -> String?) {
    if let problem = rule(value) { add(.invalid(path, .string(value), problem)) }
  }

  struct Rules: Sendable {
    var create: @Sendable (inout Validator, JSON) -> Void = { _, _ in }
    var update: @Sendable (inout Validator, JSON, JSON) -> Void = { _, _, _ in }
    /// What is checked of a part with a path of its own: its name comes last.
    var part: (@Sendable (inout Validator, JSON, JSON, String) -> Void)?
    /// Kinds without a spec, whose fields lie at the root.
    var checksAlways = false
  }

  static func rules(for gvk: GroupVersionKind) -> Rules? {
    switch (gvk.group, gvk.kind) {
    case ("", "Pod"): pod
    case ("", "Service"): service
    case ("", "ConfigMap"): configMap
    case ("", "Secret"): secret
    case ("", "Node"): node
    case ("apps", "Deployment"): deployment
    case ("apps", "ReplicaSet"): replicaSet
    case ("apps", "StatefulSet"): statefulSet
    case ("apps", "DaemonSet"): daemonSet
    case ("apps", "ControllerRevision"): controllerRevision
    case ("", "ReplicationController"): replicationController
    case ("", "PodTemplate"): podTemplateKind
    case ("batch", "Job"): job
    case ("batch", "CronJob"): cronJob
    case ("autoscaling", "HorizontalPodAutoscaler"): autoscaler
    case ("policy", "PodDisruptionBudget"): disruptionBudget
    case ("", "PersistentVolume"): persistentVolume
    case ("", "PersistentVolumeClaim"): persistentVolumeClaim
    case ("", "ResourceQuota"): resourceQuota
    case ("", "LimitRange"): limitRange
    case ("", "Endpoints"): endpoints
    case ("", "Event"): event
    case ("discovery.k8s.io", "EndpointSlice"): endpointSlice
    case ("coordination.k8s.io", "Lease"): lease
    case ("apiextensions.k8s.io", "CustomResourceDefinition"): customResourceDefinition
    case ("networking.k8s.io", "Ingress"): ingress
    case ("networking.k8s.io", "IngressClass"): ingressClass
    case ("networking.k8s.io", "NetworkPolicy"): networkPolicy
    default: rulesOfServices(for: gvk)
    }
  }

  // MARK: - What the schema knows

  /// Required texts and lists, and enumerations. Status is written by our own parts and not looked at.
  mutating func walk(_ object: JSON, _ schema: Schema) {
    for field in schema.fields where field.name != "metadata" && field.name != "status" {
      walk(object[field.name], field, FieldPath(field.name))
    }
  }

  private static let mayBeEmpty: Set<String> = ["value", "involvedObject", "Port", "drivers", "limits"]

  private mutating func walk(_ value: JSON?, _ field: SchemaField, _ path: FieldPath) {
    if field.isRequired, !Self.mayBeEmpty.contains(field.name) {
      switch value {
      case nil where field.hasPresence, .string("")?, .array([])?:
        add(.required(path))
        return
      default: break
      }
    }
    guard let value else { return }
    if !field.enumeration.isEmpty {
      let texts = value.string.map { [$0] } ?? value.elements.compactMap(\.string)
      for (position, text) in texts.enumerated() where !text.isEmpty && !field.enumeration.contains(text) {
        let place = value.array == nil ? path : path.index(position)
        add(.notSupported(place, .string(text), field.enumeration.filter { !$0.isEmpty }))
      }
    }
    walk(value, field.type, path, listType: field.listType)
  }

  private mutating func walk(
    _ value: JSON, _ type: SchemaType, _ path: FieldPath, listType: SchemaListType? = nil
  ) {
    switch type {
    case .object(let schema):
      for field in schema.fields { walk(value[field.name], field, path.child(field.name)) }
    case .either(let schema, let other):
      walk(value, value.object != nil ? .object(schema) : other, path)
    case .list(let element) where element.schema != nil:
      var seen: Set<JSON> = []
      for (position, item) in value.elements.enumerated() {
        walk(item, element, path.index(position))
        // Elements told apart by one name must differ in it.
        if case .map(let keys) = listType, keys == ["name"], let name = item["name"], name != "",
          !seen.insert(name).inserted
        {
          add(.duplicate(path.index(position).child("name"), name))
        }
      }
    case .map(let element) where element.schema != nil:
      for (key, item) in value.object ?? [:] { walk(item, element, path.key(key)) }
    case .quantity:
      if let amount = Quantity(value), amount.isNegative {
        add(.invalid(path, value, "must be greater than or equal to 0"))
      }
    case .map(.quantity):
      for (key, item) in value.object ?? [:] { walk(item, .quantity, path.key(key)) }
    default: break
    }
  }

  // MARK: - Shared by kinds

  mutating func port(_ value: Int64, _ path: FieldPath) {
    if !(1...65535).contains(value) {
      add(.invalid(path, .integer(value), "must be between 1 and 65535, inclusive"))
    }
  }

  /// A number from 1 to 65535 or a port's name.
  mutating func portOrName(_ value: JSON?, _ path: FieldPath) {
    switch value {
    case .integer(let number)?: port(number, path)
    case .string(let name)?: check(name, at: path, Names.portNameProblem)
    default: add(.required(path))
    }
  }

  mutating func notNegative(_ value: JSON?, _ path: FieldPath) {
    if let number = value?.integer, number < 0 {
      add(.invalid(path, .integer(number), "must be greater than or equal to 0"))
    }
  }

  mutating func immutable(_ new: JSON?, _ old: JSON?, _ path: FieldPath) {
    if new != old { add(.invalid(path, new ?? .null, "field is immutable")) }
  }

  /// A number or a percentage, neither negative.
  mutating func intOrPercent(_ value: JSON?, _ path: FieldPath) {
    switch value {
    case .integer?: notNegative(value, path)
    case .string(let text)?:
      guard text.last == "%", let number = Int(text.dropLast()), number >= 0 else {
        add(
          .invalid(
            path, .string(text),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex "
              + "used for validation is '[0-9]+%')"))
        return
      }
    default: break
    }
  }

  mutating func labelSelector(_ selector: JSON, _ path: FieldPath) {
    labels(selector["matchLabels"], path.child("matchLabels"))
    for (position, expression) in (selector["matchExpressions"]?.elements ?? []).enumerated() {
      let place = path.child("matchExpressions").index(position)
      let count = expression["values"]?.elements.count ?? 0
      switch expression["operator"]?.string {
      case "In", "NotIn":
        if count == 0 {
          add(.required(place.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
        }
      case "Exists", "DoesNotExist":
        if count > 0 {
          add(
            .forbidden(
              place.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
        }
      case let other:
        add(.invalid(place.child("operator"), .string(other ?? ""), "not a valid selector operator"))
      }
      check(expression["key"]?.string ?? "", at: place.child("key"), Names.qualifiedNameProblem)
    }
  }

  mutating func labels(_ labels: JSON?, _ path: FieldPath) {
    for (key, value) in labels?.object ?? [:] {
      if let problem = Names.qualifiedNameProblem(key) { add(.invalid(path, .string(key), problem)) }
      if let text = value.string, let problem = Names.labelValueProblem(text) {
        add(.invalid(path, .string(text), problem))
      }
    }
  }
}
