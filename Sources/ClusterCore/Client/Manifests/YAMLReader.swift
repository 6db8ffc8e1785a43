// Trees out of libyaml's events, on a stack of our own. Yams' nodes are not used: it hashes whole keys, so that a few
// lines of anchors inside keys keep it busy for hours, and it follows nesting by recursion.
//
//   events -> frames (sequence | mapping with the key that waits) -> value -> anchor? -> frame below

import CYaml
import ClusterObjects
import Glibc

/// Reads the documents of one text. Owned by one call.
struct YAMLReader: ~Copyable {
  /// A sequence or mapping that is not closed yet. A class: its elements grow in place.
  private final class Open {
    let isMapping: Bool
    let anchor: String?
    let line: Int
    /// What had been spent before it.
    let spent: Int
    var elements: [JSON] = []
    var object = JSONObject()
    /// The name that waits for its value.
    var key: YAMLScalar?
    /// What `<<` brings in.
    var merged: [JSON] = []

    init(isMapping: Bool, anchor: String?, line: Int, spent: Int) {
      self.isMapping = isMapping
      self.anchor = anchor
      self.line = line
      self.spent = spent
    }

    func close() -> JSON {
      guard isMapping else { return .array(elements) }
      for source in merged {
        for (key, value) in source.object ?? [:] where !object.contains(key) { object[key] = value }
      }
      return .object(object)
    }
  }
  private struct Anchored {
    var value: JSON
    var cost: Int
  }
  private var parser = yaml_parser_t()
  private var anchors: [String: Anchored] = [:]
  private var stack: [Open] = []
  /// Values so far, and each 32 bytes of their texts: an alias costs what it stands for.
  private var spent = 0
  private var spentByAliases = 0
  /// What was spent when the value that is held now began.
  private var spentBefore = 0

  /// Hands every element of a document's `items` on by itself, as if it were a document, and the document without them.
  private let splitsLists: Bool
  private let found: (YAML.Document) -> Void

  private init(splitsLists: Bool, _ found: @escaping (YAML.Document) -> Void) {
    self.splitsLists = splitsLists
    self.found = found
  }

  /// The documents that are not null. Cost: one pass over the text.
  static func documents(_ text: String) throws(YAMLError) -> [YAML.Document] {
    let bytes = Array(text.utf8)
    var documents: [YAML.Document] = []
    let failure = bytes.withUnsafeBufferPointer { buffer in
      var reader = YAMLReader(splitsLists: false) { documents.append($0) }
      return reader.read { yaml_parser_set_input_string(&$0, buffer.baseAddress, buffer.count) }
    }
    if let failure { throw failure }
    return documents
  }

  /// Reads a file from its descriptor, holding one document at a time, of a list one item at a time.
  static func stream(_ file: Int32, _ found: @escaping (YAML.Document) -> Void) throws(YAMLError) {
    var source = file
    let failure = withUnsafeMutablePointer(to: &source) { source in
      var reader = YAMLReader(splitsLists: true, found)
      return reader.read {
        yaml_parser_set_input(
          &$0,
          { source, buffer, room, count in
            guard let source, let buffer, let count else { return 0 }
            while true {
              let got = Glibc.read(source.load(as: Int32.self), buffer, room)
              if got < 0, errno == EINTR { continue }
              count.pointee = max(0, got)
              return got < 0 ? 0 : 1
            }
          }, source)
      }
    }
    if let failure { throw failure }
  }

  private mutating func read(_ setInput: (inout yaml_parser_t) -> Void) -> YAMLError? {
    yaml_parser_initialize(&parser)
    defer { yaml_parser_delete(&parser) }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING)
    setInput(&parser)
    do throws(YAMLError) {
      try read()
      return nil
    } catch { return error }
  }

  private mutating func read() throws(YAMLError) {
    while true {
      var event = yaml_event_t()
      guard yaml_parser_parse(&parser, &event) == 1 else { throw problem() }
      defer { yaml_event_delete(&event) }
      let line = Int(event.start_mark.line) + 1
      switch event.type {
      case YAML_STREAM_END_EVENT, YAML_NO_EVENT: return
      case YAML_DOCUMENT_START_EVENT:
        anchors = [:]
        stack = []
        if splitsLists { spentBefore = spent }
      case YAML_SCALAR_EVENT, YAML_ALIAS_EVENT, YAML_SEQUENCE_START_EVENT, YAML_MAPPING_START_EVENT,
        YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT:
        if let root = try take(event, line), !root.value.isNull { found(root) }
      default: break
      }
    }
  }

  /// One event; the document when it was its last.
  private mutating func take(_ event: yaml_event_t, _ line: Int) throws(YAMLError) -> YAML.Document? {
    switch event.type {
    case YAML_SCALAR_EVENT:
      let scalar = YAMLScalar(event)
      try spend(scalar.cost, line)
      let anchor = Self.text(event.data.scalar.anchor)
      if takesKey {
        try place(key: scalar, anchor: anchor, line)
        return nil
      }
      return try place(try scalar.value(line: line), anchor: anchor, line, cost: scalar.cost)
    case YAML_ALIAS_EVENT:
      let name = Self.text(event.data.alias.anchor) ?? ""
      guard let anchored = anchors[name] else {
        throw YAMLError(reason: "unknown anchor '\(name)'", line: line)
      }
      try spend(anchored.cost, line)
      spentByAliases += anchored.cost
      guard spentByAliases <= YAML.aliasedMax else {
        throw YAMLError(reason: "document contains excessive aliasing", line: line)
      }
      if takesKey {
        guard let text = anchored.value.string else { throw Self.notPlain(line) }
        try place(key: YAMLScalar(text: text), anchor: nil, line)
        return nil
      }
      return try place(anchored.value, anchor: nil, line, cost: anchored.cost)
    case YAML_SEQUENCE_START_EVENT:
      try open(isMapping: false, Self.text(event.data.sequence_start.anchor), line)
    case YAML_MAPPING_START_EVENT:
      try open(isMapping: true, Self.text(event.data.mapping_start.anchor), line)
    default:
      guard let closed = stack.popLast() else { return nil }
      return try place(closed.close(), anchor: closed.anchor, closed.line, cost: spent - closed.spent)
    }
    return nil
  }

  private var takesKey: Bool { stack.last.map { $0.isMapping && $0.key == nil } ?? false }

  private mutating func open(isMapping: Bool, _ anchor: String?, _ line: Int) throws(YAMLError) {
    if takesKey { throw Self.notPlain(line) }
    guard stack.count < JSON.depthMax else {
      throw YAMLError(reason: "exceeded max depth of \(JSON.depthMax)", line: line, isTooDeep: true)
    }
    stack.append(Open(isMapping: isMapping, anchor: anchor, line: line, spent: spent))
    try spend(1, line)
  }

  private mutating func place(key: YAMLScalar, anchor: String?, _ line: Int) throws(YAMLError) {
    if let anchor { anchors[anchor] = Anchored(value: .string(key.text), cost: key.cost) }
    guard let top = stack.last else { return }
    if top.object.contains(key.text) {
      throw YAMLError(reason: "key \"\(key.text)\" already set in map", line: line, isDuplicate: true)
    }
    top.key = key
  }

  private mutating func place(
    _ value: JSON, anchor: String?, _ line: Int, cost: Int
  ) throws(YAMLError) -> YAML.Document? {
    if let anchor { anchors[anchor] = Anchored(value: value, cost: cost) }
    guard let top = stack.last else { return YAML.Document(value: value, line: line) }
    guard top.isMapping else {
      if splitsLists, stack.count == 2, stack[0].key?.text == "items" {
        found(YAML.Document(value: value, line: line))
        spentBefore = spent
      } else {
        top.elements.append(value)
      }
      return nil
    }
    guard let key = top.key else { return nil }
    top.key = nil
    if key.isPlain, key.text == "<<" {
      top.merged += value.array ?? [value]
    } else {
      top.object[key.text] = value
    }
    return nil
  }

  private mutating func spend(_ cost: Int, _ line: Int) throws(YAMLError) {
    spent += cost
    guard spent - spentBefore <= YAML.nodesMax else {
      throw YAMLError(reason: "more than \(YAML.nodesMax) values", line: line)
    }
  }

  private static func notPlain(_ line: Int) -> YAMLError {
    YAMLError(reason: "a field's name must be a plain value", line: line)
  }

  private func problem() -> YAMLError {
    let reason = parser.problem.map { String(cString: $0) } ?? "not readable as YAML"
    let isPlace = parser.error == YAML_SCANNER_ERROR || parser.error == YAML_PARSER_ERROR
    return YAMLError(reason: reason, line: isPlace ? Int(parser.problem_mark.line) + 1 : 0)
  }

  fileprivate static func text(_ pointer: UnsafeMutablePointer<yaml_char_t>?) -> String? {
    pointer.map { String(cString: $0) }
  }
}

/// A plain, quoted or block value, before it has a type.
struct YAMLScalar {
  var text: String
  var isPlain = true
  var tag: String?

  var cost: Int { 1 + text.utf8.count / 32 }

  init(text: String) { self.text = text }

  fileprivate init(_ event: yaml_event_t) {
    let scalar = event.data.scalar
    text = String(
      decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
    isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE || scalar.style == YAML_ANY_SCALAR_STYLE
    tag = YAMLReader.text(scalar.tag)
  }

  /// With the type kubectl gives it: `yes` is true, 0o17 and 017 are 15, a date stays text.
  func value(line: Int) throws(YAMLError) -> JSON {
    switch tag {
    case "tag:yaml.org,2002:binary": return .string(String(text.filter { !$0.isWhitespace }))
    case "tag:yaml.org,2002:str", "!": return .string(text)
    default: break
    }
    guard isPlain else { return .string(text) }
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y": return .bool(true)
    case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N": return .bool(false)
    case ".inf", ".Inf", ".INF", "+.inf", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN":
      throw YAMLError(reason: "\(text) is no number that JSON knows", line: line)
    default: return Self.number(text) ?? .string(text)
    }
  }

  private static func number(_ text: String) -> JSON? {
    guard let first = text.utf8.first, first < 0x3a, first != UInt8(ascii: "/"), text.utf8.count <= 64 else {
      return nil
    }
    let plain = text.filter { $0 != "_" }
    let isNegative = plain.hasPrefix("-")
    let digits = isNegative || plain.hasPrefix("+") ? String(plain.dropFirst()) : plain
    guard let lead = digits.utf8.first, (48...57).contains(lead) || lead == UInt8(ascii: ".") else {
      return nil
    }
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)]
    where digits.hasPrefix(prefix) && digits.utf8.count > prefix.utf8.count {
      if let value = Int64((isNegative ? "-" : "") + digits.dropFirst(prefix.utf8.count), radix: radix) {
        return .integer(value)
      }
    }
    if let value = Int64(plain) { return .integer(value) }
    guard digits.utf8.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }), let value = Double(plain),
      value.isFinite
    else { return nil }
    if value == value.rounded(), abs(value) < 9e15 { return .integer(Int64(value)) }
    return .number("\(value)")
  }
}
