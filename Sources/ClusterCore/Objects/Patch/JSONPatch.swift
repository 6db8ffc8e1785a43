// JSON patch, RFC 6902, on pointers of RFC 6901. All operations or none.

extension JSON {
  /// Operations that one patch may hold, as upstream limits them.
  public static var jsonPatchOperationsMax: Int { 10_000 }
  /// Values that copies of one patch may add, in tree nodes: a short patch must not make a large object.
  static var jsonPatchCopiedNodesMax: Int { 1_000_000 }

  /// The document after every operation of the patch, or the error of the first that fails.
  public func applying(jsonPatch patch: JSON) throws(PatchError) -> JSON {
    guard let operations = patch.array else { throw PatchError("a JSON patch is an array of operations") }
    guard operations.count <= Self.jsonPatchOperationsMax else {
      throw PatchError(
        "The allowed maximum operations in a JSON patch is \(Self.jsonPatchOperationsMax), got \(operations.count)"
      )
    }
    var document = self
    var copied = 0
    for operation in operations {
      guard let name = operation["op"]?.string, let pathText = operation["path"]?.string else {
        throw PatchError("an operation of a JSON patch needs op and path")
      }
      let path = try Self.pointer(pathText)
      func value() throws(PatchError) -> JSON {
        guard let value = operation["value"] else { throw PatchError("\(name) operation without a value") }
        return value
      }
      func source() throws(PatchError) -> [String] {
        guard let from = operation["from"]?.string else {
          throw PatchError("\(name) operation without a source")
        }
        return try Self.pointer(from)
      }
      switch name {
      case "add": try document.add(try value(), at: path[...], pathText)
      case "remove": _ = try document.remove(at: path[...], pathText)
      case "replace":
        let value = try value()
        if path.isEmpty {
          document = value
        } else if value.isDeeper(than: JSON.depthMax - path.count) {
          throw PatchError(
            "the patch nests deeper than \(JSON.depthMax) levels at \(pathText)", isUnprocessable: true)
        } else {
          _ = try document.find(path[...], pathText)
          try document.replace(value, at: path[...], pathText)
        }
      case "move":
        let from = try source()
        if path.starts(with: from), path.count > from.count {
          throw PatchError("cannot move a value into itself: \(pathText)", isUnprocessable: true)
        }
        let value = try document.remove(at: from[...], pathText)
        try document.add(value, at: path[...], pathText)
      case "copy":
        let value = try document.find(try source()[...], pathText)
        copied += value.nodeCount(upTo: Self.jsonPatchCopiedNodesMax)
        guard copied <= Self.jsonPatchCopiedNodesMax else {
          throw PatchError("the copies of the patch are too large", isUnprocessable: true)
        }
        try document.add(value, at: path[...], pathText)
      case "test":
        let expected = operation["value"] ?? .null
        let found = try? document.find(path[...], pathText)
        guard (found ?? .null).isSameNumberOrValue(expected) else {
          throw PatchError("testing value \(pathText) failed", isUnprocessable: true)
        }
      default: throw PatchError("Unexpected kind: \(name)")
      }
    }
    return document
  }

  private static func pointer(_ text: String) throws(PatchError) -> [String] {
    if text.isEmpty { return [] }
    guard text.hasPrefix("/") else { throw PatchError("a JSON pointer begins with '/': \(text)") }
    return text.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map { part in
      var name = ""
      var isEscaped = false
      for character in part.unicodeScalars {
        if isEscaped {
          name.unicodeScalars.append(character == "1" ? "/" : "~")
          if character != "0", character != "1" { name.unicodeScalars.append(character) }
          isEscaped = false
        } else if character == "~" {
          isEscaped = true
        } else {
          name.unicodeScalars.append(character)
        }
      }
      return name
    }
  }

  private func missing(_ path: String) -> PatchError {
    PatchError("the path \(path) does not exist in the object", isUnprocessable: true)
  }

  private static func position(_ text: String, _ count: Int, _ path: String) throws(PatchError) -> Int {
    guard text.utf8.allSatisfy({ (48...57).contains($0) }), text == "0" || !text.hasPrefix("0"),
      let position = Int(text)
    else { throw PatchError("\(text) is no position in a list: \(path)", isUnprocessable: true) }
    guard position < count else {
      throw PatchError("\(path): position \(position) is outside of the list", isUnprocessable: true)
    }
    return position
  }

  private func find(_ path: ArraySlice<String>, _ text: String) throws(PatchError) -> JSON {
    var value = self
    for name in path {
      switch value {
      case .object(let object):
        guard let next = object[name] else { throw missing(text) }
        value = next
      case .array(let elements): value = elements[try Self.position(name, elements.count, text)]
      default: throw missing(text)
      }
    }
    return value
  }

  private mutating func change(
    _ path: ArraySlice<String>, _ text: String, _ last: (inout JSON, String) throws(PatchError) -> Void
  ) throws(PatchError) {
    guard let name = path.first else { throw missing(text) }
    if path.count == 1 { return try last(&self, name) }
    switch self {
    case .object(var object):
      guard var child = object[name] else { throw missing(text) }
      try child.change(path.dropFirst(), text, last)
      object[name] = child
      self = .object(object)
    case .array(var elements):
      let position = try Self.position(name, elements.count, text)
      try elements[position].change(path.dropFirst(), text, last)
      self = .array(elements)
    default: throw missing(text)
    }
  }

  private mutating func add(_ value: JSON, at path: ArraySlice<String>, _ text: String) throws(PatchError) {
    // A copy of the whole into itself doubles the depth: twenty of them would end the stack of whoever reads it.
    guard path.count <= JSON.depthMax, !value.isDeeper(than: JSON.depthMax - path.count) else {
      throw PatchError(
        "the patch nests deeper than \(JSON.depthMax) levels at \(text)", isUnprocessable: true)
    }
    if path.isEmpty {
      self = value
      return
    }
    try change(path, text) { (parent: inout JSON, name: String) throws(PatchError) in
      switch parent {
      case .object: parent[name] = value
      case .array(var elements):
        let position = name == "-" ? elements.count : try Self.position(name, elements.count + 1, text)
        elements.insert(value, at: position)
        parent = .array(elements)
      default: throw PatchError("the path \(text) does not exist in the object", isUnprocessable: true)
      }
    }
  }

  private mutating func replace(_ value: JSON, at path: ArraySlice<String>, _ text: String) throws(PatchError)
  {
    try change(path, text) { (parent: inout JSON, name: String) throws(PatchError) in
      switch parent {
      case .array(var elements):
        elements[try Self.position(name, elements.count, text)] = value
        parent = .array(elements)
      default: parent[name] = value
      }
    }
  }

  private mutating func remove(at path: ArraySlice<String>, _ text: String) throws(PatchError) -> JSON {
    var removed = JSON.null
    try change(path, text) { (parent: inout JSON, name: String) throws(PatchError) in
      switch parent {
      case .object(var object):
        guard let value = object.removeValue(forKey: name) else {
          throw PatchError("the path \(text) does not exist in the object", isUnprocessable: true)
        }
        removed = value
        parent = .object(object)
      case .array(var elements):
        removed = elements.remove(at: try Self.position(name, elements.count, text))
        parent = .array(elements)
      default: throw PatchError("the path \(text) does not exist in the object", isUnprocessable: true)
      }
    }
    return removed
  }

  private func nodeCount(upTo most: Int) -> Int {
    var count = 1
    switch self {
    case .array(let elements):
      for element in elements where count <= most { count += element.nodeCount(upTo: most - count) }
    case .object(let object):
      for (_, value) in object where count <= most { count += value.nodeCount(upTo: most - count) }
    default: break
    }
    return count
  }

  /// Numbers are equal by value: `1.0` is `1`.
  private func isSameNumberOrValue(_ other: JSON) -> Bool {
    switch (self, other) {
    case (.integer(let a), .number(let b)), (.number(let b), .integer(let a)): Double(a) == Double(b)
    case (.number(let a), .number(let b)): Double(a) == Double(b)
    case (.array(let a), .array(let b)):
      a.count == b.count && zip(a, b).allSatisfy { $0.isSameNumberOrValue($1) }
    case (.object(let a), .object(let b)):
      a.count == b.count && a.allSatisfy { key, value in b[key]?.isSameNumberOrValue(value) ?? false }
    default: self == other
    }
  }
}
