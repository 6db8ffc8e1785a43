// Our schema texts against the JSON schemas that are published for Kubernetes 1.37: every kind of every group version
// we serve, field by field, both ways. scripts/setup-tests.sh puts the definitions under `.tools`; without them the tests fail.

import ClusterObjects
import Glibc
import Testing

/// The published definitions, and ours, described in one vocabulary.
private struct Oracle {
  static let path =
    getenv("WEFT_KUBERNETES_SCHEMAS").map { String(cString: $0) }
    ?? ".tools/kubernetes-json-schema/v1.37.0/definitions.json"

  /// Read once.
  static let shared = Result { try Oracle() }

  var definitions: JSON
  /// Ours by their full names, those of every kind and body and whatever they refer to.
  var schemas: [String: Schema] = [:]

  init() throws {
    guard let file = fopen(Self.path, "r") else {
      throw Missing(description: "\(Self.path) is missing: scripts/setup-tests.sh installs it")
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
    definitions = try #require(try JSON(parsing: bytes)["$defs"])
    for gvk in Self.served { if let schema = KindRegistry.builtin.bodySchema(gvk) { collect(schema) } }
  }

  struct Missing: Error, CustomStringConvertible { var description: String }

  /// What is served: kinds of their own, and bodies of subresources and of deletions.
  static let served: [GroupVersionKind] =
    // What pods and nodes use is no part of what is published for Kubernetes itself.
    KindRegistry.builtin.kinds.map(\.gvk).filter { $0.group != "metrics.k8s.io" } + [
      GroupVersionKind("autoscaling", "v1", "Scale"), GroupVersionKind("policy", "v1", "Eviction"),
      GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest"),
      GroupVersionKind("", "v1", "DeleteOptions"), GroupVersionKind("", "v1", "Status"),
    ]

  private mutating func collect(_ schema: Schema) {
    guard schemas[schema.name] == nil else { return }
    schemas[schema.name] = schema
    for field in schema.fields { collect(field.type) }
  }

  private mutating func collect(_ type: SchemaType) {
    switch type {
    case .object(let schema): collect(schema)
    case .either(let schema, let other):
      collect(schema)
      collect(other)
    case .list(let element), .map(let element): collect(element)
    default: break
    }
  }

  // MARK: - One vocabulary

  /// `string`, `[integer/int32]`, `{Quantity}`, `io.k8s.api.core.v1.PodSpec`; then what merges lists and maps.
  static func describe(_ field: SchemaField, withListType: Bool = true) -> String {
    var parts = [describe(field.type)]
    switch withListType ? field.listType : nil {
    case .atomic: parts.append("list=atomic")
    case .set: parts.append("list=set")
    case .map(let keys): parts.append("list=map keys=\(keys.sorted().joined(separator: ","))")
    case nil: break
    }
    if field.isAtomic { parts.append("map=atomic") }
    if field.isGranular { parts.append("map=granular") }
    if field.patch.retainsKeys, !field.patch.isMerge { parts.append("patch=retainKeys") }
    if field.patch.isMerge { parts.append("patch=merge\(field.patch.retainsKeys ? ",retainKeys" : "")") }
    if let key = field.patch.mergeKey { parts.append("mergeKey=\(key)") }
    return parts.joined(separator: " ")
  }

  static func describe(_ type: SchemaType) -> String {
    switch type {
    case .string, .duration: "string"
    case .bool: "boolean"
    case .int32: "integer/int32"
    case .int64: "integer/int64"
    case .float: "number/double"
    case .quantity: "Quantity"
    case .intOrString: "IntOrString"
    case .time: "Time"
    case .microTime: "MicroTime"
    case .bytes: "string/byte"
    case .raw, .deduced: "any"
    case .fields: "FieldsV1"
    case .list(let element): "[\(describe(element))]"
    case .map(let element): "{\(describe(element))}"
    case .object(let schema): schema.name
    case .either(let schema, let other): "\(schema.name)|\(describe(other))"
    }
  }

  private static let props = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
  private static let scalars = [
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "IntOrString",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "Time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "MicroTime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "FieldsV1",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "any",
    "\(props)OrBool": "\(props)|boolean",
    "\(props)OrArray": "\(props)|[\(props)]",
    "\(props)OrStringArray": "\(props)|[string]",
  ]

  static func describeType(published tree: JSON) -> String {
    if let reference = tree["$ref"]?.string {
      let name = String(reference.dropFirst("#/$defs/".count))
      return scalars[name] ?? name
    }
    let type = tree["type"]?.string ?? tree["type"]?.elements.first?.string ?? "any"
    if type == "array" { return "[\(describeType(published: tree["items"] ?? [:]))]" }
    if type == "object", let element = tree["additionalProperties"] {
      return "{\(describeType(published: element))}"
    }
    return type + (tree["format"]?.string.map { "/\($0)" } ?? "")
  }

  static func describe(published tree: JSON) -> String {
    var parts = [describeType(published: tree)]
    // Byte strings carry a list type by accident of Go, where they are slices.
    if let type = tree["x-kubernetes-list-type"]?.string, tree["type"]?.elements.first == "array" {
      let keys = (tree["x-kubernetes-list-map-keys"]?.elements ?? []).compactMap(\.string).sorted()
      parts.append("list=\(type)" + (keys.isEmpty ? "" : " keys=\(keys.joined(separator: ","))"))
    }
    if let type = tree["x-kubernetes-map-type"]?.string { parts.append("map=\(type)") }
    if let strategy = tree["x-kubernetes-patch-strategy"]?.string, strategy != "replace" {
      parts.append("patch=\(strategy.replacing("merge,retainKeys", "retainKeys,merge"))")
    }
    if let key = tree["x-kubernetes-patch-merge-key"]?.string { parts.append("mergeKey=\(key)") }
    return parts.joined(separator: " ")
  }
}

extension String {
  fileprivate func replacing(_ wrong: String, _ right: String) -> String { self == right ? wrong : self }
}

/// Where ours differ on purpose, and why.
private let accepted: [String: String] = [:]

@Test func `every field of every kind is as it is published, and none is missing on either side`() throws {
  let oracle = try Oracle.shared.get()
  var differences: [String] = []
  var compared = 0
  func differ(_ what: String, _ text: String) {
    if accepted[what] == nil { differences.append("\(what): \(text)") }
  }
  for (name, schema) in oracle.schemas.sorted(by: { $0.key < $1.key }) {
    guard let published = oracle.definitions[name] else {
      differ(name, "not published")
      continue
    }
    let properties = published["properties"]?.object ?? [:]
    let required = Set((published["required"]?.elements ?? []).compactMap(\.string))
    let isKind = properties["apiVersion"] != nil && properties["kind"] != nil && schema.field("kind") == nil
    if schema.isDeclaredAtomic != (published["x-kubernetes-map-type"] == "atomic") {
      differ(name, "map type \(schema.isDeclaredAtomic ? "is atomic here only" : "is atomic upstream only")")
    }
    for property in properties where !(isKind && ["apiVersion", "kind"].contains(property.key)) {
      compared += 1
      let place = "\(name).\(property.key)"
      guard let field = schema.field(property.key) else {
        differ(place, "missing here")
        continue
      }
      let theirs = Oracle.describe(published: property.value)
      var ours = Oracle.describe(field)
      // The published form of a required list says nothing of its list type.
      if field.isRequired, !theirs.contains(" list=") { ours = Oracle.describe(field, withListType: false) }
      if ours != theirs { differ(place, "ours \(ours), theirs \(theirs)") }
      if field.isRequired != required.contains(property.key) {
        differ(place, field.isRequired ? "required here only" : "required upstream only")
      }
    }
    for field in schema.fields where properties[field.name] == nil {
      differ("\(name).\(field.name)", "not published")
    }
  }
  let text = differences.joined(separator: "\n")
  #expect(differences.isEmpty, "\(differences.count) differences\n\(text)")
  // A comparison of nothing would pass too.
  #expect(
    compared > 1900 && oracle.schemas.count > 450, "\(compared) fields of \(oracle.schemas.count) types")
}

@Test func `every published kind of a group version that is served is served`() throws {
  let oracle = try Oracle.shared.get()
  let groupVersions = Set(KindRegistry.builtin.groupVersions)
  let served = Set(Oracle.served)
  var missing: [String] = []
  var seen = 0
  for definition in oracle.definitions.object ?? [:] where !definition.key.contains(".meta.v1.") {
    for entry in definition.value["x-kubernetes-group-version-kind"]?.elements ?? [] {
      let gvk = GroupVersionKind(
        entry["group"]?.string ?? "", entry["version"]?.string ?? "", entry["kind"]?.string ?? "")
      guard groupVersions.contains(gvk.apiVersion), !gvk.kind.hasSuffix("List") else { continue }
      seen += 1
      if !served.contains(gvk) { missing.append(gvk.description) }
    }
  }
  #expect(missing.isEmpty, "\(missing.sorted().joined(separator: "\n"))")
  #expect(seen > 40)
}

@Test func `every field has a line of its own for explain`() throws {
  let oracle = try Oracle.shared.get()
  var missing: [String] = []
  for (name, schema) in oracle.schemas {
    if schema.doc.isEmpty { missing.append(name) }
    for field in schema.fields where field.doc.isEmpty { missing.append("\(name).\(field.name)") }
  }
  #expect(missing.isEmpty, "\(missing.sorted().joined(separator: "\n"))")
}

@Test func `no line of ours is a published one`() throws {
  let oracle = try Oracle.shared.get()
  func words(_ text: String) -> String { String(text.lowercased().filter { $0.isLetter || $0 == " " }) }
  var copied: [String] = []
  for (name, schema) in oracle.schemas {
    let properties = oracle.definitions[name]?["properties"]
    for field in schema.fields where field.doc.utf8.count > 24 {
      let published = words(properties?[field.name]?["description"]?.string ?? "")
      if published.contains(words(field.doc)) { copied.append("\(name).\(field.name)") }
    }
  }
  #expect(copied.isEmpty, "\(copied.sorted().joined(separator: "\n"))")
}
