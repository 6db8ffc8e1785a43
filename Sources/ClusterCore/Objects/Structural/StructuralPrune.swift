// Fields that a schema does not declare are dropped and told; defaults fill in what was not said. Both when an
// object is written and when it is read from the store, whose schema may have been another.

extension StructuralSchema {
  /// What every embedded object has, whatever its schema says.
  private static let typed: Set<String> = ["apiVersion", "kind", "metadata"]

  /// Drops undeclared fields. `onUnknown` is given their paths, such as `spec.list[0].colour`. The fields of a
  /// Kubernetes object's own (`apiVersion`, `kind`, `metadata`) stay at the root.
  public func prune(_ object: inout JSON, onUnknown: (String) -> Void = { _ in }) {
    var path: [String] = []
    prune(&object, isObject: true, &path, onUnknown)
  }

  private func prune(
    _ value: inout JSON, isObject: Bool, _ path: inout [String], _ onUnknown: (String) -> Void
  ) {
    switch value {
    case .object(var object):
      value = .null  // Changed in place: the only reference is ours.
      let keepsAll: Bool
      if case .anything = additional { keepsAll = true } else { keepsAll = preservesUnknown }
      var dropped: [String] = []
      for index in object.fields.indices {
        let name = object.fields[index].key
        if isObject || isEmbedded, Self.typed.contains(name) { continue }
        guard let schema = child(name) else {
          if !keepsAll { dropped.append(name) }
          continue
        }
        path.append(name)
        schema.prune(&object.fields[index].value, isObject: false, &path, onUnknown)
        path.removeLast()
      }
      for name in dropped {
        onUnknown(StructuralPath.text(path + [name]))
        object.removeValue(forKey: name)
      }
      value = .object(object)
    case .array(var elements):
      guard let items else { return }
      value = .null
      for index in elements.indices {
        path.append("[\(index)]")
        items.prune(&elements[index], isObject: false, &path, onUnknown)
        path.removeLast()
      }
      value = .array(elements)
    default: break
    }
  }

  /// Fills defaults in, parents before children. A null where none may be and a default is said counts as
  /// unsaid.
  public func applyDefaults(_ value: inout JSON) {
    guard hasDefaults else { return }
    switch value {
    case .object(var object):
      value = .null
      for (name, schema) in properties {
        if let fill = schema.defaultValue {
          if let present = object[name] {
            if present.isNull, !schema.isNullable { object[name] = fill }
          } else {
            object.append(name, fill)
          }
        }
        guard schema.hasDefaults, let position = object.position(of: name) else { continue }
        schema.applyDefaults(&object.fields[position].value)
      }
      if case .schema(let schema) = additional {
        for index in object.fields.indices where property(object.fields[index].key) == nil {
          if object.fields[index].value.isNull, !schema.isNullable, let fill = schema.defaultValue {
            object.fields[index].value = fill
          }
          schema.applyDefaults(&object.fields[index].value)
        }
      }
      value = .object(object)
    case .array(var elements):
      guard let items else { return }
      value = .null
      for index in elements.indices {
        if elements[index].isNull, !items.isNullable, let fill = items.defaultValue { elements[index] = fill }
        items.applyDefaults(&elements[index])
      }
      value = .array(elements)
    default: break
    }
  }

  /// The places of embedded Kubernetes objects in a value.
  func forEachEmbedded(
    _ value: inout JSON, _ path: [String] = [], _ body: (inout JSON, [String]) throws(DecodeError) -> Void
  ) throws(DecodeError) {
    guard holdsEmbedded else { return }
    switch value {
    case .object(var object):
      for index in object.fields.indices {
        guard let schema = child(object.fields[index].key) else { continue }
        let place = path + [object.fields[index].key]
        if schema.isEmbedded { try body(&object.fields[index].value, place) }
        try schema.forEachEmbedded(&object.fields[index].value, place, body)
      }
      value = .object(object)
    case .array(var elements):
      guard let items else { return }
      for index in elements.indices {
        let place = path + ["[\(index)]"]
        if items.isEmbedded { try body(&elements[index], place) }
        try items.forEachEmbedded(&elements[index], place, body)
      }
      value = .array(elements)
    default: break
    }
  }
}

/// Paths as messages write them: `spec.list[0].name`.
enum StructuralPath {
  static func text(_ path: [String]) -> String {
    var text = ""
    for part in path {
      if !text.isEmpty, part.utf8.first != UInt8(ascii: "[") { text += "." }
      text += part
    }
    return text
  }
}
