// Which fields someone owns: a tree of path elements, written as FieldsV1 in `metadata.managedFields`.
//
//   f:name          a field or a map's entry        k:{"name":"c"}   a list's element by its keys
//   v:"x"           an element of a set             .                the thing itself, beside its children

/// A set of paths into an object.
public struct FieldSet: Sendable, Hashable {
  /// The thing at this place is owned itself.
  public var isOwned = false
  public var children: [String: FieldSet] = [:]

  public init() {}
  public var isEmpty: Bool { !isOwned && children.isEmpty }

  /// From FieldsV1. What is malformed owns nothing.
  public init(fieldsV1 json: JSON?) {
    for (name, child) in json?.object ?? [:] {
      if name == "." {
        isOwned = true
      } else {
        var set = FieldSet(fieldsV1: child)
        if set.children.isEmpty { set.isOwned = true }
        children[name] = set
      }
    }
  }

  /// FieldsV1, names in byte order so that equal sets are equal bytes.
  public var fieldsV1: JSON {
    var object = JSONObject()
    if isOwned, !children.isEmpty { object["."] = [:] }
    for (name, child) in children.sorted(by: { $0.key < $1.key }) { object[name] = child.fieldsV1 }
    return .object(object)
  }

  public func union(_ other: FieldSet) -> FieldSet {
    var result = self
    result.isOwned = isOwned || other.isOwned
    for (name, child) in other.children {
      result.children[name] = result.children[name]?.union(child) ?? child
    }
    return result
  }

  public func subtracting(_ other: FieldSet) -> FieldSet {
    var result = FieldSet()
    result.isOwned = isOwned && !other.isOwned
    for (name, child) in children {
      let rest = other.children[name].map { child.subtracting($0) } ?? child
      if !rest.isEmpty { result.children[name] = rest }
    }
    return result
  }

  public func intersection(_ other: FieldSet) -> FieldSet {
    var result = FieldSet()
    result.isOwned = isOwned && other.isOwned
    for (name, child) in children {
      guard let common = other.children[name].map({ child.intersection($0) }), !common.isEmpty else {
        continue
      }
      result.children[name] = common
    }
    return result
  }

  /// Without the maps that lost all they had since `before`: an applier owns a map through what it sets in it.
  func withoutHollows(since before: FieldSet) -> FieldSet {
    var result = self
    for (name, child) in children {
      guard let was = before.children[name] else { continue }
      let kept = child.withoutHollows(since: was)
      let isHollow = name.hasPrefix("f:") && kept.children.isEmpty && !was.children.isEmpty
      result.children[name] = isHollow || kept.isEmpty ? nil : kept
    }
    return result
  }

  /// Every owned place, as messages name it: `.spec.containers[name="c"].image`.
  public var paths: [String] {
    var result: [String] = []
    collect("", &result)
    return result
  }

  private func collect(_ prefix: String, _ result: inout [String]) {
    if isOwned, !prefix.isEmpty { result.append(prefix) }
    for (name, child) in children.sorted(by: { $0.key < $1.key }) {
      child.collect(prefix + Self.step(name), &result)
    }
  }

  private static func step(_ name: String) -> String {
    let text = String(name.dropFirst(2))
    switch name.prefix(2) {
    case "f:": return ".\(text)"
    case "v:": return "[=\(text)]"
    case "k:":
      guard let keys = (try? JSON(parsing: text))?.object else { return "[\(text)]" }
      return "[" + keys.map { "\($0.key)=\($0.value.text)" }.joined(separator: ",") + "]"
    default: return "[\(text)]"
    }
  }
}

extension FieldSet {
  /// The fields that an object sets, as its schema divides it: atomic things are one, others by their parts.
  public init(of object: JSON, schema: Schema) { self.init(object, .object(schema), isRoot: true) }

  private init(_ value: JSON, _ type: SchemaType, isRoot: Bool = false) {
    switch (value, type) {
    case (.object(let object), .object(let schema)) where !schema.isAtomic || isRoot:
      for (name, child) in object {
        if isRoot, name == "apiVersion" || name == "kind" { continue }
        guard let field = schema.field(name) else {
          children["f:\(name)"] = schema.preservesUnknown ? FieldSet(child, .deduced) : .leaf
          continue
        }
        children["f:\(name)"] = FieldSet(child, field)
      }
      isOwned = !isRoot && object.isEmpty
    case (.object(let object), .map(let element)):
      for (name, child) in object { children["f:\(name)"] = FieldSet(child, element) }
      isOwned = true
    case (.object(let object), .deduced):
      for (name, child) in object { children["f:\(name)"] = FieldSet(child, .deduced) }
      isOwned = true
    default: isOwned = true
    }
  }

  static let leaf: FieldSet = {
    var set = FieldSet()
    set.isOwned = true
    return set
  }()

  private init(_ value: JSON, _ field: SchemaField) {
    if field.isAtomic {
      self = .leaf
      return
    }
    guard case .list(let element) = field.type, let elements = value.array else {
      self = FieldSet(value, field.type)
      return
    }
    self.init()
    isOwned = true
    switch field.listType {
    case .map(let keys):
      for item in elements {
        var set = FieldSet(item, element)
        set.isOwned = true
        children[Self.key(item, keys, element.schema)] = set
      }
    case .set:
      for item in elements { children["v:\(item.text)"] = .leaf }
    default: break
    }
  }

  /// `k:{"containerPort":80,"protocol":"TCP"}`; an absent key has the schema's default.
  static func key(_ item: JSON, _ keys: [String], _ schema: Schema?) -> String {
    var object = JSONObject()
    for key in keys.sorted() {
      if let value = item[key] ?? schema?.field(key)?.defaultValue { object[key] = value }
    }
    return "k:\(JSON.object(object).text)"
  }
}
