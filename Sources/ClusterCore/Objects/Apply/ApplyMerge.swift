// Merging for server-side apply: by the schema's list and map types, with no directives in the patch.

enum ApplyMerge {
  /// `patch` laid over `base`.
  static func merge(_ base: JSON?, _ patch: JSON, _ type: SchemaType, _ field: SchemaField? = nil) -> JSON {
    guard let base, field?.isAtomic != true else { return patch }
    switch (base, patch, type) {
    case (.object(var result), .object(let changes), .object(let schema)) where !schema.isAtomic:
      for (name, value) in changes {
        let child = schema.field(name)
        result[name] = merge(
          result[name], value, child?.type ?? (schema.preservesUnknown ? .deduced : .raw), child)
      }
      return .object(result)
    case (.object(var result), .object(let changes), .map(let element)):
      for (name, value) in changes { result[name] = merge(result[name], value, element) }
      return .object(result)
    case (.object(var result), .object(let changes), .deduced):
      for (name, value) in changes { result[name] = merge(result[name], value, .deduced) }
      return .object(result)
    case (.array(let old), .array(let new), .list(let element)):
      return .array(list(old, new, element, field?.listType))
    default: return patch
    }
  }

  private static func list(
    _ old: [JSON], _ new: [JSON], _ element: SchemaType, _ listType: SchemaListType?
  ) -> [JSON] {
    func identity(_ item: JSON) -> String {
      if case .map(let keys) = listType { return FieldSet.key(item, keys, element.schema) }
      return item.text
    }
    switch listType {
    case .map, .set:
      // The applier's order for its own; the others stay where they are relative to each other.
      var rest: [String: JSON] = [:]
      for item in old { rest[identity(item)] = item }
      let named = Set(new.map(identity))
      var pending = new.map { item in
        (identity(item), merge(rest[identity(item)], item, element))
      }[...]
      var result: [JSON] = []
      for item in old {
        let name = identity(item)
        if !named.contains(name) {
          result.append(item)
        } else if let position = pending.firstIndex(where: { $0.0 == name }) {
          result += pending[...position].map(\.1)
          pending = pending[(position + 1)...]
        }
      }
      return result + pending.map(\.1)
    default: return new
    }
  }

  /// `value` without the places in `gone`. Nil when nothing of it is left that was not a container only.
  static func remove(
    _ gone: FieldSet, from value: JSON, _ type: SchemaType, _ field: SchemaField? = nil
  ) -> JSON? {
    if gone.isEmpty { return value }
    if gone.children.isEmpty { return nil }
    switch value {
    case .object(var object):
      for (name, child) in gone.children where name.hasPrefix("f:") {
        let key = String(name.dropFirst(2))
        guard let old = object[key] else { continue }
        let (_, childType, _) = step(name, value, type, nil)
        var childField: SchemaField?
        if case .object(let schema) = type { childField = schema.field(key) }
        object[key] = remove(child, from: old, childType, childField)
      }
      // A container that only held what went, goes with it.
      if gone.isOwned, object.isEmpty { return nil }
      return .object(object)
    case .array(let elements):
      guard case .list(let element) = type else { return value }
      let kept = elements.compactMap { item -> JSON? in
        let name: String
        switch field?.listType {
        case .map(let keys): name = FieldSet.key(item, keys, element.schema)
        case .set: name = "v:\(item.text)"
        default: return item
        }
        guard let child = gone.children[name] else { return item }
        // An element that nobody else has goes whole; else it loses only what was this manager's.
        return child.isOwned ? nil : remove(child, from: item, element)
      }
      return kept.isEmpty ? nil : .array(kept)
    default: return nil
    }
  }

  /// One element of a path: the value there, its type, and how its list tells elements apart.
  static func step(
    _ name: String, _ value: JSON?, _ type: SchemaType, _ list: SchemaListType?
  ) -> (JSON?, SchemaType, SchemaListType?) {
    let text = String(name.dropFirst(2))
    switch (name.prefix(2), type) {
    case ("f:", .object(let schema)):
      guard let field = schema.field(text) else {
        return (value?[text], schema.preservesUnknown ? .deduced : .raw, nil)
      }
      return (value?[text], field.type, field.listType)
    case ("f:", .map(let element)): return (value?[text], element, nil)
    case ("f:", .deduced): return (value?[text], .deduced, nil)
    case ("k:", .list(let element)):
      guard case .map(let keys) = list else { return (nil, element, nil) }
      return (value?.array?.first { FieldSet.key($0, keys, element.schema) == name }, element, nil)
    case ("v:", .list(let element)): return (value?.array?.first { "v:\($0.text)" == name }, element, nil)
    default: return (nil, .raw, nil)
    }
  }
}
