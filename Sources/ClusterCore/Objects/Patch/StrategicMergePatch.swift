// Strategic merge patch: a merge patch that knows from the schema which lists are merged, by which key. What
// kubectl sends for `apply`, `edit`, `set image`, `rollout restart` and `taint`.
//
//   $patch: replace | delete | merge         what to do with the object that carries it
//   $deleteFromPrimitiveList/F: [a]          scalars to take out of list F
//   $setElementOrder/F: [...]                how list F is to be ordered afterwards
//   $retainKeys: [a, b]                      fields to keep; the others of the object go

extension Schema {
  /// The object after a strategic merge patch.
  public func applying(strategicMergePatch patch: JSON, to object: JSON) throws(PatchError) -> JSON {
    guard case .object(let changes) = patch else { throw PatchError("a strategic merge patch is an object") }
    return .object(try StrategicMerge.object(object.object ?? [:], changes, .object(self)) ?? [:])
  }
}

private enum StrategicMerge {
  static let order = "$setElementOrder/"
  static let deletion = "$deleteFromPrimitiveList/"

  static func directive(_ patch: JSONObject) throws(PatchError) -> String? {
    guard let directive = patch["$patch"] else { return nil }
    guard let text = directive.string, ["replace", "delete", "merge"].contains(text) else {
      throw PatchError("Unknown patch type \(directive.text) in the patch map: unrecognized value of $patch")
    }
    return text
  }

  /// Nil when the patch deletes the object.
  static func object(
    _ original: JSONObject, _ patch: JSONObject, _ type: SchemaType
  ) throws(PatchError) -> JSONObject? {
    switch try directive(patch) {
    case "replace":
      var whole = patch
      whole.removeValue(forKey: "$patch")
      return whole
    case "delete": return nil
    default: break
    }
    var result = original
    if let retained = patch["$retainKeys"] {
      guard let names = retained.array?.compactMap(\.string) else {
        throw PatchError("$retainKeys holds a list of field names")
      }
      for (name, value) in patch where !name.hasPrefix("$") && !value.isNull {
        guard names.contains(name) else {
          throw PatchError(
            "the field \(name) of the patch is not in its $retainKeys", isUnprocessable: true)
        }
      }
      for name in result.keys where !names.contains(name) { result.removeValue(forKey: name) }
    }
    for (name, change) in patch {
      if name == "$patch" || name == "$retainKeys" || name.hasPrefix(order) { continue }
      if name.hasPrefix(deletion) {
        let field = String(name.dropFirst(deletion.count))
        guard let gone = change.array else { throw PatchError("\(name) holds a list") }
        if let list = result[field]?.array {
          result[field] = .array(list.filter { !gone.contains($0) })
        }
        continue
      }
      if change.isNull {
        result.removeValue(forKey: name)
        continue
      }
      let (fieldType, strategy) = field(name, of: type)
      switch change {
      case .object(let child):
        let original = result[name]?.object ?? [:]
        result[name] = try object(original, child, fieldType).map(JSON.object)
      case .array(let elements) where strategy.isMerge:
        let order = patch[order + name]?.array
        let original = result[name]?.array ?? []
        let list = try list(original, elements, fieldType, strategy.mergeKey, name)
        result[name] = .array(
          sorted(list, by: order, patch: elements, original: original, key: strategy.mergeKey))
      default: result[name] = change
      }
    }
    // An order alone still orders what is there.
    for (name, change) in patch where name.hasPrefix(order) {
      let field = String(name.dropFirst(order.count))
      guard patch[field] == nil, let list = result[field]?.array else { continue }
      let strategy = Self.field(field, of: type).1
      result[field] = .array(
        sorted(list, by: change.array, patch: [], original: list, key: strategy.mergeKey))
    }
    return result
  }

  private static func field(_ name: String, of type: SchemaType) -> (SchemaType, SchemaPatch) {
    switch type {
    case .object(let schema): schema.field(name).map { ($0.type, $0.patch) } ?? (.raw, SchemaPatch())
    case .map(let element): (element, SchemaPatch())
    default: (.raw, SchemaPatch())
    }
  }

  private static func list(
    _ original: [JSON], _ patch: [JSON], _ type: SchemaType, _ mergeKey: String?, _ name: String
  ) throws(PatchError) -> [JSON] {
    guard let mergeKey else {
      // Scalars: united.
      var seen = Set(original)
      return original + patch.filter { seen.insert($0).inserted }
    }
    guard case .list(let elementType) = type else { return patch }
    if patch.contains(where: { $0["$patch"]?.string == "replace" }) {
      return patch.filter { $0["$patch"]?.string != "replace" }
    }
    var changes: [(key: JSON, change: JSONObject)] = []
    var deleted: Set<JSON> = []
    for element in patch {
      guard case .object(let change) = element else { throw PatchError("elements of \(name) are objects") }
      guard let key = change[mergeKey], !key.isNull else {
        throw PatchError("map: \(element.text) does not contain declared merge key: \(mergeKey)")
      }
      if try directive(change) == "delete" { deleted.insert(key) } else { changes.append((key, change)) }
    }
    var result = original.filter { element in element[mergeKey].map { !deleted.contains($0) } ?? true }
    var places = firstPlaces(of: result) { $0[mergeKey] }
    for (key, change) in changes {
      let place = places[key]
      let before = place.flatMap { result[$0].object } ?? [:]
      guard let merged = try object(before, change, elementType) else { continue }
      if let place {
        result[place] = .object(merged)
      } else {
        places[key] = result.count
        result.append(.object(merged))
      }
    }
    return result
  }

  private static func firstPlaces(of list: [JSON], _ identity: (JSON) -> JSON?) -> [JSON: Int] {
    var places: [JSON: Int] = [:]
    for (place, element) in list.enumerated() {
      if let name = identity(element), places[name] == nil { places[name] = place }
    }
    return places
  }

  /// Elements named by the order, or without one by the patch, come in that order. Those that only the server knows
  /// keep theirs, and stand before a named one where they did so already: what is new goes to the front.
  private static func sorted(
    _ list: [JSON], by order: [JSON]?, patch: [JSON], original: [JSON], key: String?
  ) -> [JSON] {
    func identity(_ element: JSON) -> JSON { key.flatMap { element[$0] } ?? element }
    let wanted = firstPlaces(of: order ?? patch, identity)
    if wanted.isEmpty { return list }
    let places = firstPlaces(of: original, identity)
    // Two elements may have one name, as a Service's ports of TCP and UDP do: neither is lost.
    let named = list.enumerated().compactMap { offset, element in
      wanted[identity(element)].map { (element: element, rank: ($0, offset)) }
    }.sorted { $0.rank < $1.rank }.map(\.element)
    var result: [JSON] = []
    result.reserveCapacity(list.count)
    var next = 0
    for element in list where wanted[identity(element)] == nil {
      let place = places[identity(element)]
      while next < named.count {
        if let place, let other = places[identity(named[next])], place < other { break }
        result.append(named[next])
        next += 1
      }
      result.append(element)
    }
    return result + named[next...]
  }
}
