// Protobuf bodies of typed clients, straight into the tree: the envelope names the kind, the schema's numbers
// name the fields. `k8s\0`, then Unknown{1: TypeMeta{1: apiVersion, 2: kind}, 2: raw, 3: contentEncoding, 4:
// contentType}.

/// The envelope of a protobuf body.
public struct ProtobufEnvelope: Sendable {
  public var gvk: GroupVersionKind
  let bytes: [UInt8]
  let raw: Range<Int>

  /// Reads the envelope. Throws when the bytes do not begin with `k8s\0` or are damaged.
  public init(_ bytes: [UInt8]) throws(DecodeError) {
    guard bytes.starts(with: [0x6b, 0x38, 0x73, 0]) else {
      throw DecodeError(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    }
    self.bytes = bytes
    (gvk, raw) = try bytes.withUnsafeBufferPointer { (bytes) throws(DecodeError) in
      var raw = 0..<0
      var apiVersion = ""
      var kind = ""
      var reader = ProtobufReader(bytes, 4..<bytes.count)
      while let (number, value) = try reader.next() {
        guard case .bytes(let range) = value else { continue }
        switch number {
        case 1:
          var meta = ProtobufReader(bytes, range)
          while let (number, value) = try meta.next() {
            guard case .bytes(let range) = value else { continue }
            let text = ProtobufDecoder.text(bytes, range)
            if number == 1 { apiVersion = text }
            if number == 2 { kind = text }
          }
        case 2: raw = range
        default: break
        }
      }
      return (GroupVersionKind(apiVersion: apiVersion, kind: kind), raw)
    }
  }
}

extension Schema {
  /// Reads a protobuf body into normal form. Fields that the schema does not know are skipped, as upstream
  /// does.
  public func decode(protobuf envelope: ProtobufEnvelope) throws(DecodeError) -> Decoded {
    var object = try envelope.bytes.withUnsafeBufferPointer { (bytes) throws(DecodeError) in
      var decoder = ProtobufDecoder(bytes: bytes)
      return try decoder.message(envelope.raw, self, depth: 0)
    }
    object["kind"] = .string(envelope.gvk.kind)
    object["apiVersion"] = .string(envelope.gvk.apiVersion)
    return try decode(tree: .object(object), as: envelope.gvk)
  }

  /// Reads a bare message: what `Unknown.raw` holds.
  public func decode(message bytes: [UInt8]) throws(DecodeError) -> JSON {
    try bytes.withUnsafeBufferPointer { (bytes) throws(DecodeError) in
      var decoder = ProtobufDecoder(bytes: bytes)
      return .object(try decoder.message(bytes.indices, self, depth: 0))
    }
  }
}

struct ProtobufDecoder {
  static let depthMax = 64
  /// Values that one body may hold: empty ones cost a byte or two each on the wire and much more in the tree.
  static let valuesMax = 2_000_000
  /// Room that an object has from the start; what is not needed goes when it is brought into normal form.
  private static let fieldsExpected = 8

  let bytes: UnsafeBufferPointer<UInt8>
  private var values = 0

  /// Used as long as the bytes are valid.
  init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  static func text(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> String {
    String(decoding: UnsafeBufferPointer(rebasing: bytes[range]), as: UTF8.self)
  }

  mutating func message(_ range: Range<Int>, _ schema: Schema, depth: Int) throws(DecodeError) -> JSONObject {
    var object = JSONObject(capacity: Self.fieldsExpected)
    try message(range, schema, depth: depth, into: &object)
    return object
  }

  private mutating func message(
    _ range: Range<Int>, _ schema: Schema, depth: Int, into object: inout JSONObject
  ) throws(DecodeError) {
    guard depth < Self.depthMax else {
      throw DecodeError("the protobuf body is nested too deeply", isTooDeep: true)
    }
    let hasInlined = schema.hasInlined
    var reader = ProtobufReader(bytes, range)
    while let (number, value) = try reader.next() {
      values += 1
      guard values <= Self.valuesMax else { throw DecodeError("the protobuf body holds too many values") }
      if hasInlined, let inlined = schema.inlined[number] {
        guard case .bytes(let range) = value else { throw wrongForm(schema, number) }
        try message(range, inlined, depth: depth + 1, into: &object)
        continue
      }
      guard let entry = schema.entry(number: number) else { continue }
      let name = entry.field.name
      let position = object.position(of: name)
      switch entry.field.type {
      case .list(let element):
        let position = position ?? object.appendNull(name)
        try append(value, element, schema, depth, to: &object, at: position)
      case .map(let element):
        guard case .bytes(let range) = value else { throw wrongForm(schema, number) }
        let (key, value) = try self.entry(range, element, depth)
        let position = position ?? object.appendNull(name)
        var map = object.take(position).object ?? [:]
        map[key] = value
        object.fields[position].value = .object(map)
      case .object(let child):
        guard case .bytes(let range) = value else { throw wrongForm(schema, number) }
        // The same message twice is one message, merged (proto2).
        let position = position ?? object.appendNull(name)
        var existing = object.take(position).object ?? JSONObject(capacity: Self.fieldsExpected)
        try message(range, child, depth: depth + 1, into: &existing)
        object.fields[position].value = .object(existing)
      case .either(let child, let other):
        guard case .bytes(let range) = value else { throw wrongForm(schema, number) }
        object[name] = try either(range, child, other, depth)
      case let type:
        let value = try scalar(value, type, schema, number)
        if let position { object.fields[position].value = value } else { object.append(name, value) }
      }
    }
  }

  private func wrongForm(_ schema: Schema, _ number: Int) -> DecodeError {
    DecodeError("the protobuf body is damaged: field \(number) of \(schema.name) has the wrong form")
  }

  private mutating func append(
    _ value: ProtobufReader.Value, _ element: SchemaType, _ schema: Schema, _ depth: Int,
    to object: inout JSONObject, at position: Int
  ) throws(DecodeError) {
    // The list is ours alone while it grows.
    var list = object.take(position).array ?? []
    switch (element, value) {
    case (.int32, .bytes(let range)), (.int64, .bytes(let range)), (.bool, .bytes(let range)):
      var packed = ProtobufReader(bytes, range)
      while !packed.isAtEnd {
        values += 1
        guard values <= Self.valuesMax else { throw DecodeError("the protobuf body holds too many values") }
        list.append(try scalar(.varint(try packed.varint()), element, schema, 0))
      }
    case (.object(let child), .bytes(let range)):
      list.append(.object(try message(range, child, depth: depth + 1)))
    case (.list, .bytes(let range)):
      // A list of lists is a message with the items as field 1.
      list.append(try items(range, element, depth))
    default: list.append(try scalar(value, element, schema, 0))
    }
    object.fields[position].value = .array(list)
  }

  private mutating func items(_ range: Range<Int>, _ type: SchemaType, _ depth: Int) throws(DecodeError)
    -> JSON
  {
    guard case .list(let element) = type else { return .null }
    let wrapper = Schema(name: "items", fields: [SchemaField("items", .list(element), number: 1)])
    return try message(range, wrapper, depth: depth + 1)["items"] ?? []
  }

  private mutating func either(
    _ range: Range<Int>, _ schema: Schema, _ other: SchemaType, _ depth: Int
  ) throws(DecodeError) -> JSON {
    let isFlag = if case .bool = other { true } else { false }
    let wrapper = Schema(
      name: "either",
      fields: [
        SchemaField("object", .object(schema), number: isFlag ? 2 : 1),
        SchemaField("other", other, number: isFlag ? 1 : 2),
      ])
    let parts = try message(range, wrapper, depth: depth + 1)
    return parts["object"] ?? parts["other"] ?? (isFlag ? false : [:])
  }

  private mutating func entry(
    _ range: Range<Int>, _ element: SchemaType, _ depth: Int
  ) throws(DecodeError) -> (String, JSON) {
    guard depth < Self.depthMax else {
      throw DecodeError("the protobuf body is nested too deeply", isTooDeep: true)
    }
    var key = ""
    var value: JSON?
    var reader = ProtobufReader(bytes, range)
    while let (number, field) = try reader.next() {
      switch (number, field) {
      case (1, .bytes(let range)): key = Self.text(bytes, range)
      case (2, .bytes(let range)):
        switch element {
        case .object(let schema): value = .object(try message(range, schema, depth: depth + 1))
        case .list: value = try items(range, element, depth)
        case .either(let schema, let other): value = try either(range, schema, other, depth)
        default: value = try scalar(field, element, nil, 2)
        }
      case (2, let field): value = try scalar(field, element, nil, 2)
      default: break
      }
    }
    if let value { return (key, value) }
    return switch element {
    case .object: (key, [:])
    case .list: (key, [])
    case .int32, .int64: (key, 0)
    case .bool: (key, false)
    case .quantity: (key, "0")
    default: (key, "")
    }
  }

  private mutating func scalar(
    _ value: ProtobufReader.Value, _ type: SchemaType, _ schema: Schema?, _ number: Int
  ) throws(DecodeError) -> JSON {
    switch (type, value) {
    case (.string, .bytes(let range)): return .string(Self.text(bytes, range))
    case (.bool, .varint(let value)): return .bool(value != 0)
    case (.int32, .varint(let value)): return .integer(Int64(Int32(truncatingIfNeeded: value)))
    case (.int64, .varint(let value)): return .integer(Int64(bitPattern: value))
    case (.float, .fixed64(let value)):
      let double = Double(bitPattern: value)
      // A whole number is written as one, as JSON from Go has it.
      if let whole = Int64(exactly: double), abs(whole) < 1 << 53 { return .integer(whole) }
      return double.isFinite ? .number(double.description) : .null
    case (.bytes, .bytes(let range)): return .string(Base64.encode(bytes[range]))
    case (.quantity, .bytes(let range)):
      var text = "0"
      var reader = ProtobufReader(bytes, range)
      while let (number, value) = try reader.next() {
        if number == 1, case .bytes(let range) = value {
          text = Self.text(bytes, range)
        }
      }
      return .string(text.isEmpty ? "0" : text)
    case (.intOrString, .bytes(let range)): return try intOrString(range)
    case (.time, .bytes(let range)), (.microTime, .bytes(let range)):
      let (seconds, nanoseconds) = try pair(range)
      // Go's zero time is written as a message too; it means that there is none.
      if seconds == 0 && nanoseconds == 0 || seconds == -62_135_596_800 { return .null }
      let time = KubeTime(
        seconds: seconds, nanoseconds: Int32(clamping: max(0, min(nanoseconds, 999_999_999))))
      if case .microTime = type { return .string(time.microText) }
      return .string(time.text)
    case (.duration, .bytes(let range)): return .string("\(try pair(range).0 / 1_000_000_000)s")
    case (.fields, .bytes(let range)), (.raw, .bytes(let range)):
      var reader = ProtobufReader(bytes, range)
      while let (number, value) = try reader.next() {
        guard number == 1, case .bytes(let range) = value, !range.isEmpty else { continue }
        do { return try JSON(parsing: Array(bytes[range])) } catch {
          throw DecodeError("the protobuf body carries JSON that is damaged: \(error.description)")
        }
      }
      return .null
    default:
      throw DecodeError(
        "the protobuf body is damaged: field \(number) of \(schema?.name ?? "a map") has the wrong form")
    }
  }

  private func intOrString(_ range: Range<Int>) throws(DecodeError) -> JSON {
    var isText = false
    var number: Int64 = 0
    var text = ""
    var reader = ProtobufReader(bytes, range)
    while let (field, value) = try reader.next() {
      switch (field, value) {
      case (1, .varint(let kind)): isText = kind == 1
      case (2, .varint(let value)): number = Int64(Int32(truncatingIfNeeded: value))
      case (3, .bytes(let range)): text = Self.text(bytes, range)
      default: break
      }
    }
    return isText ? .string(text) : .integer(number)
  }

  /// Two varints: seconds and nanoseconds.
  private func pair(_ range: Range<Int>) throws(DecodeError) -> (Int64, Int64) {
    var first: Int64 = 0
    var second: Int64 = 0
    var reader = ProtobufReader(bytes, range)
    while let (number, value) = try reader.next() {
      guard case .varint(let value) = value else { continue }
      if number == 1 { first = Int64(bitPattern: value) }
      if number == 2 { second = Int64(bitPattern: value) }
    }
    return (first, second)
  }
}
