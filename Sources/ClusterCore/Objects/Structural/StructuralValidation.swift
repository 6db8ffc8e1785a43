// Values of a custom resource against its schema, with the words of upstream's validator, which people and
// scripts know: `spec.replicas in body must be of type integer: "string"`.

extension StructuralSchema {
  /// Findings on a value. With `old`, what did not change is not looked at: a schema that became stricter
  /// must not keep people from touching other fields.
  public func validate(_ value: JSON, old: JSON? = nil, at path: [String] = []) -> [FieldError] {
    var validator = StructuralValidator(path: path)
    validator.check(value, old: old, self)
    return validator.errors
  }
}

struct StructuralValidator {
  /// Findings kept of one object; the rest would be noise.
  static let errorsMax = 100
  /// Looked at for one object: `anyOf` within `anyOf` multiplies.
  static let stepsMax = 2_000_000

  private(set) var errors: [FieldError] = []
  private var path: [String]
  private var steps = 0

  init(path: [String]) { self.path = path }

  private var place: FieldPath { FieldPath(StructuralPath.text(path)) }
  private var body: String { "\(StructuralPath.text(path)) in body" }

  private mutating func add(_ error: FieldError) {
    if errors.count < Self.errorsMax { errors.append(error) }
  }

  private mutating func invalid(_ value: JSON, _ text: String) {
    add(.invalid(place, value, "\(body) \(text)"))
  }

  mutating func check(_ value: JSON, old: JSON?, _ schema: StructuralSchema) {
    if let old, old == value { return }
    steps += 1
    guard steps < Self.stepsMax else {
      if steps == Self.stepsMax {
        add(FieldError(.internalError, place, nil, "the object takes too long to check"))
      }
      return
    }
    if value.isNull {
      if schema.isNullable { return }
      checkType(value, schema)
      checkEnumeration(value, schema.rules)
      return
    }
    checkType(value, schema)
    checkCombinations(value, schema)
    checkEnumeration(value, schema.rules)
    switch value {
    case .string(let text): checkText(text, schema.rules)
    case .integer, .number: checkNumber(value, schema.rules)
    case .array(let elements): checkList(elements, old, schema)
    case .object(let object): checkObject(object, old, schema)
    case .null, .bool: break
    }
  }

  // MARK: Type

  private static func typeName(_ value: JSON) -> String {
    switch value {
    case .null: "null"
    case .bool: "boolean"
    case .integer: "integer"
    case .number: value.isWhole ? "integer" : "number"
    case .string: "string"
    case .array: "array"
    case .object: "object"
    }
  }

  private mutating func checkType(_ value: JSON, _ schema: StructuralSchema) {
    let found = Self.typeName(value)
    let wanted: String
    if schema.isIntOrString {
      if found == "integer" || found == "string" { return }
      wanted = "integer,string"
    } else {
      guard let kind = schema.kind else { return }
      if found == kind.rawValue || (kind == .number && found == "integer") { return }
      wanted = kind.rawValue
    }
    add(
      FieldError(
        .typeInvalid, place, JSON(found), "\(body) must be of type \(wanted): \"\(found)\""))
  }

  private mutating func checkEnumeration(_ value: JSON, _ rules: StructuralSchema.ValueRules) {
    guard let allowed = rules.enumeration, !allowed.contains(where: { $0.isSameValue(as: value) }) else {
      return
    }
    add(.notSupported(place, value, allowed.map { $0.string ?? $0.text }))
  }

  // MARK: allOf, anyOf, oneOf, not

  /// Findings of a schema beside the main one.
  private mutating func findings(_ value: JSON, _ schema: StructuralSchema) -> [FieldError] {
    var inner = StructuralValidator(path: path)
    inner.steps = steps
    inner.check(value, old: nil, schema)
    steps = inner.steps
    return inner.errors
  }

  private mutating func checkCombinations(_ value: JSON, _ schema: StructuralSchema) {
    let quoted = "\"\(StructuralPath.text(path))\""
    func combined(_ text: String) -> FieldError {
      // Upstream tells no field here, and prints that as a nil path.
      FieldError(.invalid, "<nil>", "", "\(quoted) \(text)")
    }
    if !schema.anyOf.isEmpty {
      var best: [FieldError]?
      var isMet = false
      for alternative in schema.anyOf {
        let found = findings(value, alternative)
        if found.isEmpty {
          isMet = true
          break
        }
        if best == nil || found.count < best?.count ?? 0 { best = found }
      }
      if !isMet {
        add(combined("must validate at least one schema (anyOf)"))
        for error in best ?? [] { add(error) }
      }
    }
    if !schema.oneOf.isEmpty {
      var met = 0
      var best: [FieldError]?
      for alternative in schema.oneOf {
        let found = findings(value, alternative)
        if found.isEmpty {
          met += 1
        } else if best == nil || found.count < best?.count ?? 0 {
          best = found
        }
      }
      if met != 1 {
        add(
          combined(
            "must validate one and only one schema (oneOf). "
              + (met == 0 ? "Found none valid" : "Found \(met) valid alternatives")))
        if met == 0 { for error in best ?? [] { add(error) } }
      }
    }
    if !schema.allOf.isEmpty {
      var found: [FieldError] = []
      for part in schema.allOf { found += findings(value, part) }
      if !found.isEmpty {
        add(combined("must validate all the schemas (allOf)"))
        for error in found { add(error) }
      }
    }
    if let not = schema.not, findings(value, not).isEmpty {
      add(combined("must not validate the schema (not)"))
    }
  }

  // MARK: Scalars

  private mutating func checkText(_ text: String, _ rules: StructuralSchema.ValueRules) {
    let value = JSON(text)
    if rules.lengthLeast != nil || rules.lengthMost != nil {
      let length = text.unicodeScalars.count
      if let most = rules.lengthMost, length > most { add(.tooLong(place, most)) }
      if let least = rules.lengthLeast, length < least {
        invalid(value, "should be at least \(least) chars long")
      }
    }
    if let pattern = rules.pattern {
      switch pattern.matches(text) {
      case true?: break
      case false?: invalid(value, "should match '\(rules.patternText)'")
      case nil:
        add(FieldError(.internalError, place, nil, "the text takes too long to match '\(rules.patternText)'"))
      }
    }
    if !rules.format.isEmpty, let isRight = ValueFormat.check(text, rules.format), !isRight {
      add(FieldError(.invalid, place, value, "\(body) must be of type \(rules.format): \(value.text)"))
    }
  }

  private mutating func checkNumber(_ value: JSON, _ rules: StructuralSchema.ValueRules) {
    guard let number = value.double else { return }
    if let most = rules.maximum {
      if rules.excludesMaximum {
        if number >= most { invalid(value, "should be less than \(rules.maximumText)") }
      } else if number > most {
        invalid(value, "should be less than or equal to \(rules.maximumText)")
      }
    }
    if let least = rules.minimum {
      if rules.excludesMinimum {
        if number <= least { invalid(value, "should be greater than \(rules.minimumText)") }
      } else if number < least {
        invalid(value, "should be greater than or equal to \(rules.minimumText)")
      }
    }
    if let factor = rules.multipleOf, factor > 0 {
      let quotient = number / factor
      if quotient.isFinite, abs(quotient - quotient.rounded()) > 1e-9 * max(1, abs(quotient)) {
        invalid(value, "should be a multiple of \(rules.multipleOfText)")
      }
    }
    if rules.format == "int32", value.isWhole, !(-2_147_483_648.0...2_147_483_647.0).contains(number) {
      add(FieldError(.invalid, place, value, "\(body) must be of type int32: \"\(value.text)\""))
    }
  }

  // MARK: Lists and objects

  private mutating func tooMany(_ actual: Int, _ most: Int) {
    add(
      FieldError(.tooMany, place, JSON(actual), "must have at most \(most) item\(most == 1 ? "" : "s")"))
  }

  private mutating func checkList(_ elements: [JSON], _ old: JSON?, _ schema: StructuralSchema) {
    let rules = schema.rules
    if let least = rules.itemsLeast, elements.count < least {
      invalid(JSON(elements.count), "should have at least \(least) items")
    }
    if let most = rules.itemsMost, elements.count > most { tooMany(elements.count, most) }
    checkUnique(elements, schema)
    guard let items = schema.items else { return }
    // Only elements with keys of their own can be told to be the same as before.
    var before: [String: JSON] = [:]
    var keys: [String] = []
    if case .map(let names) = schema.listType, let old = old?.array {
      keys = names
      for element in old { before[items.identity(element, names)] = element }
    }
    for (index, element) in elements.enumerated() {
      path.append("[\(index)]")
      check(element, old: keys.isEmpty ? nil : before[items.identity(element, keys)], items)
      if items.isEmbedded { checkEmbedded(element) }
      path.removeLast()
    }
  }

  private mutating func checkUnique(_ elements: [JSON], _ schema: StructuralSchema) {
    switch schema.listType {
    case .map(let keys):
      guard let items = schema.items else { return }
      var seen: Set<String> = []
      for (index, element) in elements.enumerated()
      where !seen.insert(items.identity(element, keys)).inserted {
        var key: JSON = [:]
        for name in keys { key[name] = element[name] ?? items.property(name)?.defaultValue }
        add(.duplicate(place.index(index), key))
      }
    case .set:
      var seen: Set<JSON> = []
      for (index, element) in elements.enumerated() where !seen.insert(element).inserted {
        add(.duplicate(place.index(index), element))
      }
    default:
      if schema.rules.hasUniqueItems, Set(elements).count != elements.count {
        invalid("", "shouldn't contain duplicates")
      }
    }
  }

  private mutating func checkObject(_ object: JSONObject, _ old: JSON?, _ schema: StructuralSchema) {
    let rules = schema.rules
    if let least = rules.propertiesLeast, object.count < least {
      invalid(JSON(object.count), "should have at least \(least) properties")
    }
    if let most = rules.propertiesMost, object.count > most { tooMany(object.count, most) }
    for name in rules.required where !object.contains(name) {
      path.append(name)
      add(.required(place))
      path.removeLast()
    }
    let before = old?.object
    for field in object.fields {
      guard let child = schema.child(field.key) else { continue }
      path.append(field.key)
      check(field.value, old: before?[field.key], child)
      if child.isEmbedded, before?[field.key] != field.value { checkEmbedded(field.value) }
      path.removeLast()
    }
  }

  private mutating func checkEmbedded(_ value: JSON) {
    guard value.object != nil else { return }
    for name in ["apiVersion", "kind"] where (value[name]?.string ?? "").isEmpty {
      path.append(name)
      add(.required(place, "must not be empty"))
      path.removeLast()
    }
  }
}

extension StructuralSchema {
  /// What tells an element from others of a list of the type `map`.
  func identity(_ element: JSON, _ keys: [String]) -> String {
    keys.map { (element[$0] ?? property($0)?.defaultValue ?? .null).text }.joined(separator: "\u{1f}")
  }
}

extension JSON {
  /// A number without a fraction, however it is written.
  var isWhole: Bool {
    switch self {
    case .integer: true
    case .number: double.map { $0.isFinite && $0 == $0.rounded(.towardZero) } ?? false
    default: false
    }
  }

  /// Equal, with `1` and `1.0` the same.
  func isSameValue(as other: JSON) -> Bool {
    if self == other { return true }
    guard let a = double, let b = other.double else { return false }
    return a == b
  }
}
