// Every built-in kind with every field it has, made from its schema: nothing is lost between bytes and tree.

import Testing

@testable import ClusterObjects

/// A value for each field of a schema; what refers to itself ends there. `forProtobuf`: without the fields that only JSON has,
/// apiVersion and kind of objects within objects.
private func sample(
  _ schema: Schema, within path: Set<String> = [], forProtobuf: Bool = false
) -> JSON {
  let path = path.union([schema.name])
  var object = JSONObject([])
  for field in schema.fields {
    if forProtobuf, field.number == 0 { continue }
    if let inner = field.type.schema, path.contains(inner.name) { continue }
    object[field.name] = sample(field.type, field, path, forProtobuf)
  }
  return .object(object)
}

private func sample(
  _ type: SchemaType, _ field: SchemaField?, _ path: Set<String>, _ forProtobuf: Bool
) -> JSON {
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
  case .raw, .fields, .deduced: ["f:any": [:]]
  case .list(let element): [sample(element, field, path, forProtobuf)]
  case .map(let element): ["key": sample(element, nil, path, forProtobuf)]
  case .object(let schema), .either(let schema, _): sample(schema, within: path, forProtobuf: forProtobuf)
  }
}

/// The same values as typed clients send them: each field under its number.
private enum Message {
  static func write(_ object: JSON, _ schema: Schema, into out: inout ProtobufWriter) {
    for (number, inlined) in schema.inlined.sorted(by: { $0.key < $1.key }) {
      out.message(number) { write(object, inlined, into: &$0) }
    }
    for field in schema.fields {
      guard let number = field.number, number > 0, let value = object[field.name] else { continue }
      write(value, field.type, number, into: &out)
    }
  }

  private static func write(_ value: JSON, _ type: SchemaType, _ number: Int, into out: inout ProtobufWriter)
  {
    switch type {
    case .string: out.text(number, value.string ?? "")
    case .bool: out.integer(number, value.bool == true ? 1 : 0)
    case .int32, .int64: out.integer(number, value.integer ?? 0)
    case .float: out.double(number, 1)
    case .quantity: out.message(number) { $0.text(1, value.string ?? "") }
    case .intOrString:
      out.message(number) {
        $0.integer(1, 1)
        $0.text(3, value.string ?? "")
      }
    case .time, .microTime:
      let isMicro = if case .microTime = type { true } else { false }
      out.message(number) {
        $0.integer(1, 1_795_237_200)
        if isMicro { $0.integer(2, 1000) }
      }
    case .duration: out.message(number) { $0.integer(1, 3_600_000_000_000) }
    // Text is bytes, too: "aGk=" is "hi".
    case .bytes: out.text(number, "hi")
    case .raw, .fields, .deduced: out.message(number) { $0.text(1, value.text) }
    case .list(let element):
      for item in value.elements {
        if case .list(let inner) = element {
          out.message(number) { for part in item.elements { write(part, inner, 1, into: &$0) } }
        } else {
          write(item, element, number, into: &out)
        }
      }
    case .map(let element):
      for (key, item) in value.object ?? [:] {
        out.message(number) {
          $0.text(1, key)
          if case .list(let inner) = element {
            $0.message(2) { for part in item.elements { write(part, inner, 1, into: &$0) } }
          } else {
            write(item, element, 2, into: &$0)
          }
        }
      }
    case .object(let schema): out.message(number) { write(value, schema, into: &$0) }
    case .either(let schema, let other):
      let isFlag = if case .bool = other { true } else { false }
      out.message(number) { $0.message(isFlag ? 2 : 1) { write(value, schema, into: &$0) } }
    }
  }

  /// What a client posts: the kind and the object in an envelope.
  static func body(_ object: JSON, _ schema: Schema, _ gvk: GroupVersionKind) -> [UInt8] {
    var out = ProtobufWriter()
    out.message(1) {
      $0.text(1, gvk.apiVersion)
      $0.text(2, gvk.kind)
    }
    out.message(2) { write(object, schema, into: &$0) }
    return [0x6b, 0x38, 0x73, 0] + out.bytes
  }
}

/// All that is kept or asked, but for what only this server itself writes.
private let mine = KindRegistry.builtin.kinds.filter { $0.group != "metrics.k8s.io" }

/// Bodies of subresources and of deletions.
private let bodies = [
  GroupVersionKind("autoscaling", "v1", "Scale"), GroupVersionKind("policy", "v1", "Eviction"),
  GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest"),
  GroupVersionKind("", "v1", "DeleteOptions"),
]

@Test(arguments: mine.map(\.gvk) + bodies) func `a kind arrives from protobuf as it does from JSON`(
  gvk: GroupVersionKind
) throws {
  let schema = try #require(KindRegistry.builtin.bodySchema(gvk))
  var object = sample(schema, forProtobuf: true)
  let envelope = try ProtobufEnvelope(Message.body(object, schema, gvk))
  object["apiVersion"] = JSON(gvk.apiVersion)
  object["kind"] = JSON(gvk.kind)
  #expect(envelope.gvk == gvk)
  let fromJSON = try schema.decode(json: object.bytes, as: gvk, validation: .strict).object
  let fromProtobuf = try schema.decode(protobuf: envelope).object
  #expect(fromProtobuf == fromJSON, "\(fromProtobuf.text)")
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
