// The grammar of the schema texts, and the compiler from text to Schema. One line, one fact:
//
//   group ALIAS GROUP VERSION PREFIX      the group version that follows; `-` is the core group
//   kind Pod pods short=po cat=all ns sub=status,log verbs=create nocollection
//   hidden Scale                          a kind that no resource is listed as
//   type PodSpec [atomic] "doc            atomic: one owner for all of it under server-side apply
//     name TYPE[?][!|+] #NUMBER [flags] "doc
//     ~ TYPE #NUMBER                      a message whose fields JSON flattens into this one
//
// TYPE is string bool int32 int64 float quantity intstr time microtime duration bytes raw fields, `[]T`,
// `map[T]`, `either[Type|T]`, a type of the same group (itself too), or `alias.Type` of another. `?` says
// that presence counts (a pointer upstream), `!` that it is required and always written, `+` that it is always
// written. Flags: `= value`, enum(a|b) where `_` is a space, merge(key) and merge and retain for strategic
// merge, map(keys) and set and atomic and granular for server-side apply. A field line is indented by two;
// one that is too long goes on after `\#`.

enum SchemaText {
  /// In the order in which upstream ranks the groups: discovery lists them so, and a short name that two kinds
  /// share means the first.
  static let all = [
    metaV1, coreBaseV1, coreServiceV1, coreNodeV1, corePodV1, corePodStatusV1, coreContainerV1, coreVolumeV1,
    coreStorageV1, corePersistentVolumeV1, apiregistrationV1, appsV1, eventsV1, authenticationV1,
    authorizationV1, autoscaling, batchV1, certificatesV1, networkingV1, policyV1, rbacV1, storageV1,
    admissionregistrationV1, apiextensionsV1, schedulingV1, coordinationV1, nodeV1, discoveryV1,
    flowcontrolV1, metricsV1beta1,
  ]
}

/// Compiles schema texts. Our own texts are the only input: a mistake in them stops the program at the first
/// start, which every test makes.
struct SchemaCompiler {
  struct Group {
    var alias = ""
    var group = ""
    var version = ""
    var prefix = ""
  }
  struct KindLine {
    var group: Group
    var words: [Substring]
    var isHidden: Bool
  }
  private struct TypeLines {
    var group: Group
    var isAtomic: Bool
    var doc: String
    var lines: [Substring]
  }

  private(set) var kinds: [KindLine] = []
  private(set) var typeNames: [String] = []
  private var types: [String: TypeLines] = [:]
  private var compiled: [String: Schema] = [:]
  /// Types that are being compiled, and those among them that refer to themselves.
  private var open: [String: SchemaKnot] = [:]

  init(_ texts: [String]) {
    for text in texts { read(text) }
  }

  private mutating func read(_ text: String) {
    var group = Group()
    var current = ""
    var pending: TypeLines?
    func finish(_ types: inout [String: TypeLines]) { if let done = pending { types[current] = done } }
    for line in Self.split(text[...], UInt8(ascii: "\n")) {
      if line.utf8.first == UInt8(ascii: " ") {
        pending?.lines.append(Self.unindented(line))
        continue
      }
      let (code, doc) = Self.splitDoc(line)
      let words = Self.split(code, UInt8(ascii: " "))
      switch words.first {
      case "group":
        group = Group(
          alias: String(words[1]), group: words[2] == "-" ? "" : String(words[2]),
          version: String(words[3]), prefix: String(words[4]))
      case "kind": kinds.append(KindLine(group: group, words: Array(words.dropFirst()), isHidden: false))
      case "hidden": kinds.append(KindLine(group: group, words: Array(words.dropFirst()), isHidden: true))
      case "type":
        finish(&types)
        current = "\(group.alias).\(words[1])"
        typeNames.append(current)
        pending = TypeLines(
          group: group, isAtomic: words.dropFirst(2).contains("atomic"), doc: doc, lines: [])
      default: preconditionFailure("schema text: \(line)")
      }
    }
    finish(&types)
  }

  // Bytes, not characters: there are thousands of lines, and the API waits for them at every start.

  private static func split(_ text: Substring, _ byte: UInt8) -> [Substring] {
    text.utf8.split(separator: byte).map { Substring($0) }
  }

  private static func unindented(_ line: Substring) -> Substring {
    Substring(line.utf8.drop { $0 == UInt8(ascii: " ") })
  }

  private static func splitDoc(_ line: Substring) -> (code: Substring, doc: String) {
    // An empty default is written `""`, so a doc begins at a quote that a letter follows.
    let bytes = line.utf8
    var position = bytes.startIndex
    while let quote = bytes[position...].firstIndex(of: UInt8(ascii: "\"")) {
      let next = bytes.index(after: quote)
      if next < bytes.endIndex, bytes[next] != UInt8(ascii: "\"") {
        return (line[..<quote], String(line[next...]))
      }
      position = next < bytes.endIndex ? bytes.index(after: next) : next
    }
    return (line, "")
  }

  /// The schema of `alias.Type`, compiled once.
  mutating func schema(_ name: String) -> Schema {
    if let done = compiled[name] { return done }
    guard let lines = types[name] else { preconditionFailure("schema text: unknown type \(name)") }
    let typeName = Substring(name.utf8.drop { $0 != UInt8(ascii: ".") }.dropFirst())
    let fullName = "\(lines.group.prefix).\(typeName)"
    if let knot = open[name] { return Schema(name: fullName, knot: knot) }
    let knot = SchemaKnot()
    open[name] = knot
    defer { open[name] = nil }
    var fields: [SchemaField] = []
    var inlined: [Int: Schema] = [:]
    for line in lines.lines {
      let (code, doc) = Self.splitDoc(line)
      let words = Self.split(code, UInt8(ascii: " "))
      if words[0] == "~" {
        inlined[Int(words[2].dropFirst())!] = type(words[1], in: lines.group).schema!
      } else {
        fields.append(field(words, doc: doc, in: lines.group))
      }
    }
    // Selectors and references are replaced as wholes: half of one selects something nobody asked for.
    let schema = Schema(
      name: fullName, doc: lines.doc, fields: fields, inlined: inlined, isAtomic: lines.isAtomic)
    knot.tie(schema)
    compiled[name] = schema
    return schema
  }

  private mutating func field(_ words: [Substring], doc: String, in group: Group) -> SchemaField {
    var typeText = words[1]
    var hasPresence = false
    var isAlways = false
    var isRequired = false
    marks: while let mark = typeText.utf8.last {
      switch mark {
      case UInt8(ascii: "?"): hasPresence = true
      case UInt8(ascii: "!"):
        isRequired = true
        isAlways = true
      case UInt8(ascii: "+"): isAlways = true
      default: break marks
      }
      typeText = Substring(typeText.utf8.dropLast())
    }
    var field = SchemaField(String(words[0]), type(typeText, in: group), number: Int(words[2].dropFirst())!)
    field.hasPresence = hasPresence
    field.isAlways = isAlways
    field.isRequired = isRequired
    field.doc = doc
    var index = 3
    while index < words.count {
      let word = words[index]
      index += 1
      if word == "=" {
        field.defaultValue = Self.value(words[index], field.type)
        index += 1
        continue
      }
      let open = word.utf8.firstIndex(of: UInt8(ascii: "("))
      let argument = open.map { word[word.index(after: $0)...].dropLast() } ?? ""
      switch open.map({ word[..<$0] }) ?? word {
      case "enum":
        field.enumeration = argument.split(separator: "|", omittingEmptySubsequences: false)
          .map { String($0.map { $0 == "_" ? " " : $0 }) }
      case "merge":
        field.patch.isMerge = true
        field.patch.mergeKey = argument.isEmpty ? nil : String(argument)
      case "granular":
        field.isGranular = true
        if case .object(let schema) = field.type { field.type = .object(schema.granular()) }
      case "retain": field.patch.retainsKeys = true
      case "map": field.listType = .map(argument.split(separator: ",").map(String.init))
      case "set": field.listType = .set
      case "atomic":
        if case .list = field.type { field.listType = .atomic } else { field.isAtomic = true }
      default: preconditionFailure("schema text: unknown flag \(word) of \(field.name)")
      }
    }
    return field
  }

  private static func value(_ text: Substring, _ type: SchemaType) -> JSON {
    if text == "{}" { return [:] }
    if text == "\"\"" { return "" }
    switch type {
    case .int32, .int64: return .integer(Int64(text)!)
    case .bool: return .bool(text == "true")
    case .list: return .array(text.split(separator: ",").map { .string(String($0)) })
    default: return .string(String(text))
    }
  }

  private mutating func type(_ text: Substring, in group: Group) -> SchemaType {
    switch text {
    case "string": return .string
    case "bool": return .bool
    case "int32": return .int32
    case "int64": return .int64
    case "float": return .float
    case "quantity": return .quantity
    case "intstr": return .intOrString
    case "time": return .time
    case "microtime": return .microTime
    case "duration": return .duration
    case "bytes": return .bytes
    case "raw": return .raw
    case "fields": return .fields
    default: break
    }
    if text.hasPrefix("either[") {
      let parts = text.dropFirst(7).dropLast().split(separator: "|")
      return .either(type(parts[0], in: group).schema!, or: type(parts[1], in: group))
    }
    if text.hasPrefix("[]") { return .list(type(text.dropFirst(2), in: group)) }
    if text.hasPrefix("map[") { return .map(type(text.dropFirst(4).dropLast(), in: group)) }
    return .object(schema(text.utf8.contains(UInt8(ascii: ".")) ? String(text) : "\(group.alias).\(text)"))
  }
}
