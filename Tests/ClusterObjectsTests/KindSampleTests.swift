// Every built-in kind with every field it has, made from its schema: nothing is lost between bytes and tree.

import ClusterObjects
import Testing

/// A value for each field of a schema, a few levels deep; what refers to itself ends there.
private func sample(_ schema: Schema, depth: Int = 40) -> JSON {
  var object = JSONObject([])
  guard depth > 0 else { return .object(object) }
  for field in schema.fields { object[field.name] = sample(field.type, field, depth) }
  return .object(object)
}

private func sample(_ type: SchemaType, _ field: SchemaField?, _ depth: Int) -> JSON {
  switch type {
  case .string: field?.enumeration.first { !$0.isEmpty }.map { JSON($0) } ?? "text"
  case .bool: true
  case .int32, .int64: 7
  case .float: 1
  case .quantity: "3Gi"
  case .intOrString: "25%"
  case .time: "2026-11-21T05:00:00Z"
  case .microTime: "2026-11-21T05:00:00.000001Z"
  case .duration: "1h0m0s"
  case .bytes: "aGk="
  case .raw, .fields: ["f:any": [:]]
  case .list(let element): [sample(element, field, depth - 1)]
  case .map(let element): ["key": sample(element, nil, depth - 1)]
  case .object(let schema): sample(schema, depth: depth - 1)
  default: "text"
  }
}

private let mine = KindRegistry.builtin.kinds.filter {
  ["", "apps", "batch", "autoscaling", "policy"].contains($0.group)
}

@Test(arguments: mine.map(\.gvk)) func `a kind keeps every field it has`(gvk: GroupVersionKind) throws {
  let kind = try #require(KindRegistry.builtin[gvk])
  var object = sample(kind.schema)
  object["apiVersion"] = JSON(gvk.apiVersion)
  object["kind"] = JSON(gvk.kind)
  let once = try kind.schema.decode(json: object.bytes, as: gvk, validation: .strict).object
  #expect(once == object)
  var defaulted = once
  kind.applyDefaults(&defaulted)
  var twice = defaulted
  kind.applyDefaults(&twice)
  #expect(twice == defaulted, "defaults change nothing the second time")
}

@Test func `no two fields of a type share a name or a number`() {
  var seen: Set<String> = []
  func check(_ schema: Schema) {
    guard seen.insert(schema.name).inserted else { return }
    var names: Set<String> = []
    var numbers: Set<Int> = []
    for field in schema.fields {
      #expect(names.insert(field.name).inserted, "\(schema.name).\(field.name)")
      if let number = field.number, number > 0 {
        #expect(numbers.insert(number).inserted, "\(schema.name) #\(number)")
        #expect(schema.inlined[number] == nil, "\(schema.name) #\(number)")
      }
      if let inner = field.type.schema { check(inner) }
    }
  }
  for kind in mine { check(kind.schema) }
  #expect(seen.count > 290)
}

@Test func `every kind and every field says what it is for`() {
  var seen: Set<String> = []
  var silent: [String] = []
  func check(_ schema: Schema) {
    guard seen.insert(schema.name).inserted else { return }
    if schema.doc.isEmpty { silent.append(schema.name) }
    for field in schema.fields {
      if field.doc.isEmpty { silent.append("\(schema.name).\(field.name)") }
      if let inner = field.type.schema { check(inner) }
    }
  }
  for kind in mine { check(kind.schema) }
  #expect(silent.isEmpty, "\(silent.count): \(silent.prefix(20).joined(separator: " "))")
}
