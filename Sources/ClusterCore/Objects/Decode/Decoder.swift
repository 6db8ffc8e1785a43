// From a request's body to an object in normal form: types checked, unknown fields told and dropped, empty
// optional fields left out and required ones written, amounts and times canonical. What upstream gets by
// reading into Go structs and writing them again, this gets by walking the tree with the schema.

/// What to do about unknown and duplicate fields (`fieldValidation=`).
public enum FieldValidation: String, Sendable {
  case ignore = "Ignore"
  case warn = "Warn"
  case strict = "Strict"
}

/// A body that cannot be read. All of them are answered with 400 BadRequest.
public struct DecodeError: Error, Sendable, Hashable, CustomStringConvertible {
  public var message: String
  /// The body nests past what is read: 422 rather than 400.
  public var isTooDeep = false
  /// Without the kind that was to be read: what is wrong alone.
  public var reason: String {
    let mark = " cannot be handled as a "
    guard let start = message.firstRange(of: mark),
      let end = message[start.upperBound...].firstRange(of: ": ")
    else { return message }
    return String(message[end.upperBound...])
  }
  public init(_ message: String, isTooDeep: Bool = false) {
    self.message = message
    self.isTooDeep = isTooDeep
  }
  public var description: String { message }
}

/// A body that was read.
public struct Decoded: Sendable {
  public var object: JSON
  /// For `Warning: 299 - "…"` headers, one each.
  public var warnings: [String] = []
  /// Paths of the fields that the schema does not have, such as `spec.containers[1].imagge`.
  public var unknown: [String] = []
}

extension Schema {
  /// Reads a JSON body. `gvk` fills `apiVersion` and `kind` in when they are absent and names the object in
  /// errors.
  public func decode(
    json bytes: [UInt8], as gvk: GroupVersionKind, validation: FieldValidation = .ignore,
    isIntent: Bool = false
  ) throws(DecodeError) -> Decoded {
    var duplicates: [String] = []
    let tree: JSON
    do {
      tree =
        validation == .ignore
        ? try JSON(parsing: bytes) : try JSON(parsing: bytes) { duplicates.append($0) }
    } catch {
      throw DecodeError(
        "the body of the request was in an unknown format: \(error.description)", isTooDeep: error.isTooDeep)
    }
    return try decode(tree: tree, as: gvk, validation: validation, duplicates: duplicates, isIntent: isIntent)
  }

  /// Brings a tree into normal form: from YAML, from a patch, from a decoder of other bytes. An intent (the
  /// body of a server-side apply) says only what its author wants: types are checked, nothing is filled in or
  /// left out.
  public func decode(
    tree: JSON, as gvk: GroupVersionKind, validation: FieldValidation = .ignore, duplicates: [String] = [],
    isIntent: Bool = false
  ) throws(DecodeError) -> Decoded {
    guard tree.object != nil else {
      throw DecodeError("couldn't get version/kind; json parse error: the body is no object")
    }
    var normalizer = Normalizer(gvk: gvk, isIntent: isIntent)
    var object =
      if let custom { try normalizer.customRoot(tree, custom) } else { try normalizer.root(tree, self) }
    if object.apiVersion.isEmpty { object["apiVersion"] = .string(gvk.apiVersion) }
    if object.kind.isEmpty { object["kind"] = .string(gvk.kind) }
    var findings = normalizer.unknown.map { (path: $0, text: "unknown field \"\($0)\"") }
    if !duplicates.isEmpty {
      findings += duplicates.map { (path: $0, text: "duplicate field \"\($0)\"") }
      let places = Self.places(of: Set(findings.map(\.path)), in: tree)
      findings.sort { places[$0.path] ?? 0 < places[$1.path] ?? 0 }
    }
    var decoded = Decoded(object: object, unknown: normalizer.unknown)
    switch validation {
    case .ignore: break
    case .warn: decoded.warnings = findings.prefix(Normalizer.findingsMax).map(\.text)
    case .strict:
      if !findings.isEmpty {
        throw DecodeError(
          "\(gvk.kind) in version \"\(gvk.version)\" cannot be handled as a \(gvk.kind): "
            + "strict decoding error: "
            + findings.prefix(Normalizer.findingsMax).map(\.text).joined(separator: ", "))
      }
    }
    return decoded
  }

  /// In which order the body has these paths: mistakes are told as their author meets them.
  private static func places(of wanted: Set<String>, in tree: JSON) -> [String: Int] {
    var found: [String: Int] = [:]
    func walk(_ value: JSON, _ path: String) {
      if wanted.contains(path), found[path] == nil { found[path] = found.count }
      switch value {
      case .object(let object):
        for (key, value) in object { walk(value, path.isEmpty ? key : "\(path).\(key)") }
      case .array(let elements):
        for (index, value) in elements.enumerated() { walk(value, "\(path)[\(index)]") }
      default: break
      }
    }
    walk(tree, "")
    return found
  }
}

struct Normalizer {
  /// Findings told of one object; the rest would be noise.
  static let findingsMax = 32

  let gvk: GroupVersionKind
  let isIntent: Bool
  var unknown: [String] = []
  private var path: [String] = []

  init(gvk: GroupVersionKind, isIntent: Bool = false) {
    self.gvk = gvk
    self.isIntent = isIntent
  }

  mutating func root(_ tree: JSON, _ schema: Schema) throws(DecodeError) -> JSON {
    var object = JSONObject(capacity: (tree.object?.count ?? 0) + 2)
    // Type first, as the API writes it.
    for name in ["kind", "apiVersion"] {
      guard let value = tree[name], !value.isNull else { continue }
      guard value.string != nil else { throw mismatch(value, "string", in: schema, field: name) }
      object.append(name, value)
    }
    try fields(of: tree.object ?? [:], schema, isRoot: true, into: &object)
    return .object(object)
  }

  private mutating func fields(
    of source: JSONObject, _ schema: Schema, isRoot: Bool = false, into object: inout JSONObject
  ) throws(DecodeError) {
    for entry in source.fields {
      if isRoot, entry.key == "kind" || entry.key == "apiVersion" { continue }
      guard let known = schema.entry(entry.key) else {
        if schema.preservesUnknown {
          object.append(entry.key, entry.value)
        } else if unknown.count < Self.findingsMax {
          unknown.append((path + [entry.key]).joined(separator: "."))
        }
        continue
      }
      path.append(entry.key)
      if let value = try normal(entry.value, known, schema) { object.append(entry.key, value) }
      path.removeLast()
    }
    if isIntent { return }
    for entry in schema.always where !object.contains(entry.field.name) {
      if let zero = Self.zero(entry.field) { object.append(entry.field.name, zero) }
    }
  }

  /// An object with nothing but what is always written.
  static func empty(_ schema: Schema) -> JSON {
    var object = JSONObject()
    for entry in schema.always {
      if let value = zero(entry.field) { object.append(entry.field.name, value) }
    }
    return .object(object)
  }

  /// What a field that is always written holds when nothing was said; nil for what is better absent.
  private static func zero(_ field: SchemaField) -> JSON? {
    if field.hasPresence { return nil }
    switch field.type {
    case .string, .bytes: return ""
    case .bool: return false
    case .int32, .int64, .float: return 0
    case .quantity: return "0"
    case .intOrString: return 0
    case .list: return []
    case .map: return [:]
    case .object(let schema): return empty(schema)
    case .time, .microTime, .duration, .raw, .deduced, .fields, .either: return nil
    }
  }

  private mutating func normal(
    _ value: JSON, _ entry: SchemaEntry, _ owner: Schema
  ) throws(DecodeError) -> JSON? {
    if value.isNull { return nil }
    let result = try normal(value, entry.field.type, owner, entry.field.name)
    guard !entry.field.isAlways, !entry.field.hasPresence, !isIntent else { return result }
    // Zero and absent are one for such a field.
    switch result {
    case .string(""), .bool(false), .integer(0): return nil
    case .array(let elements) where elements.isEmpty: return nil
    case .object(let object) where object.isEmpty:
      if case .map = entry.field.type { return nil }
      return result
    default: return result
    }
  }

  private mutating func normal(
    _ value: JSON, _ type: SchemaType, _ owner: Schema, _ field: String
  ) throws(DecodeError) -> JSON {
    switch type {
    case .object(let schema):
      if value.isNull { return [:] }
      guard let source = value.object else {
        throw mismatch(value, shortName(schema), in: owner, field: field)
      }
      var object = JSONObject(capacity: source.count)
      try fields(of: source, schema, into: &object)
      return .object(object)
    case .either(let schema, let other):
      return try normal(value, value.object != nil ? .object(schema) : other, owner, field)
    case .list(let element):
      guard let source = value.array else {
        throw mismatch(value, "[]" + goName(element), in: owner, field: field)
      }
      var elements: [JSON] = []
      elements.reserveCapacity(source.count)
      let last = path.count - 1
      let name = path[last]
      for (position, item) in source.enumerated() {
        path[last] = "\(name)[\(position)]"
        elements.append(try normal(item, element, owner, field))
      }
      path[last] = name
      return .array(elements)
    case .map(let element):
      guard let source = value.object else {
        throw mismatch(value, "map[string]" + goName(element), in: owner, field: field)
      }
      // A free name holds text in most maps: nothing to rebuild there.
      if case .string = element, source.fields.allSatisfy({ $0.value.isString }) { return value }
      var object = JSONObject(capacity: source.count)
      for entry in source.fields {
        path.append(entry.key)
        object.append(
          entry.key, try normal(entry.value.isNull ? zeroScalar(element) : entry.value, element, owner, field)
        )
        path.removeLast()
      }
      return .object(object)
    default: return try scalar(value, type, owner, field)
    }
  }

  private func zeroScalar(_ type: SchemaType) -> JSON {
    switch type {
    case .string, .bytes: ""
    case .quantity: "0"
    case .object: [:]
    case .list: []
    default: .null
    }
  }

  private func scalar(
    _ value: JSON, _ type: SchemaType, _ owner: Schema, _ field: String
  ) throws(DecodeError) -> JSON {
    switch type {
    case .string:
      if value.isNull { return "" }
      guard value.isString else { throw mismatch(value, "string", in: owner, field: field) }
    case .bool:
      guard value.bool != nil else { throw mismatch(value, "bool", in: owner, field: field) }
    case .int32:
      guard let number = value.integer, Int32(exactly: number) != nil else {
        throw mismatch(value, "int32", in: owner, field: field)
      }
    case .int64:
      guard value.integer != nil else { throw mismatch(value, "int64", in: owner, field: field) }
    case .float:
      switch value {
      case .integer, .number: break
      default: throw mismatch(value, "float64", in: owner, field: field)
      }
    case .quantity:
      guard let amount = Quantity(value) else {
        throw failure(
          "quantities must match the regular expression "
            + "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
      }
      let canonical = amount.description
      return value.string == canonical ? value : .string(canonical)
    case .intOrString:
      if let number = value.integer, Int32(exactly: number) != nil { return value }
      guard value.string != nil else { throw mismatch(value, "int32", in: owner, field: field) }
    case .time, .microTime:
      guard let text = value.string else { throw mismatch(value, "string", in: owner, field: field) }
      guard let time = KubeTime(text) else {
        throw failure("parsing time \(value.text) as \"2006-01-02T15:04:05Z07:00\": cannot parse it")
      }
      if case .microTime = type { return .string(time.microText) }
      return text.utf8.count == 20 ? value : .string(time.text)
    case .bytes:
      guard let text = value.string else { throw mismatch(value, "[]uint8", in: owner, field: field) }
      guard let bytes = Base64.decode(text) else { throw failure("illegal base64 data") }
      if text.utf8.contains(10) || text.utf8.contains(13) { return .string(Base64.encode(bytes)) }
    case .duration:
      guard value.string != nil else { throw mismatch(value, "string", in: owner, field: field) }
    case .raw, .deduced, .fields, .list, .map, .object, .either: break
    }
    return value
  }

  func failure(_ reason: String) -> DecodeError {
    DecodeError(
      "\(gvk.kind) in version \"\(gvk.version)\" cannot be handled as a \(gvk.kind): "
        + "\(path.joined(separator: ".")): \(reason)")
  }

  private func mismatch(_ value: JSON, _ type: String, in owner: Schema, field: String) -> DecodeError {
    let found =
      switch value {
      case .null: "null"
      case .bool: "bool"
      case .integer, .number:
        switch type {
        case "int32", "int64": "number \(value.text)"
        default: "number"
        }
      case .string: "string"
      case .array: "array"
      case .object: "object"
      }
    let location = path.isEmpty ? field : path.map { $0.prefix { $0 != "[" } }.joined(separator: ".")
    return DecodeError(
      "\(gvk.kind) in version \"\(gvk.version)\" cannot be handled as a \(gvk.kind): json: cannot unmarshal "
        + "\(found) into Go struct field \(shortName(owner)).\(location) of type \(type)")
  }

  /// `PodSpec` of `io.k8s.api.core.v1.PodSpec`.
  private func shortName(_ schema: Schema) -> String {
    schema.name.split(separator: ".").last.map(String.init) ?? schema.name
  }

  private func goName(_ type: SchemaType) -> String {
    switch type {
    case .object(let schema): schema.name.split(separator: ".").suffix(2).joined(separator: ".")
    case .int32: "int32"
    case .int64: "int64"
    case .bool: "bool"
    case .bytes: "[]uint8"
    default: "string"
    }
  }
}
