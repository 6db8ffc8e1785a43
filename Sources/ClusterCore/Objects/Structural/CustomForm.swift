// How objects of a custom kind are read and checked: their metadata as that of all objects, the rest by their
// own schema.

/// The root schema of one version of a custom kind. Immutable, shared by everything that serves it.
public final class CustomForm: Sendable {
  public let structural: StructuralSchema
  /// The schema as OpenAPI publishes it.
  public let published: JSON
  public let gvk: GroupVersionKind

  init(_ source: JSON?, gvk: GroupVersionKind) {
    self.gvk = gvk
    structural = StructuralSchema(source ?? ["type": "object", "x-kubernetes-preserve-unknown-fields": true])
    published = StructuralOpenAPI.tree(source, gvk: gvk)
  }

  /// Metadata of every object, as built-in kinds declare it.
  static let metadata: SchemaField = {
    let namespace = KindRegistry.builtin.bodySchema(GroupVersionKind("", "v1", "Namespace"))
    return namespace?.field("metadata") ?? SchemaField("metadata", .raw)
  }()
  static let metadataOnly = Schema(name: "Object", fields: [metadata])

  /// The schema that decoding, defaults, apply and OpenAPI share.
  func schema() -> Schema {
    let name = StructuralOpenAPI.name(gvk)
    let own = structural.fields(name).filter { !["apiVersion", "kind", "metadata"].contains($0.name) }
    var keeps = structural.preservesUnknown
    if case .anything = structural.additional { keeps = true }
    return Schema(name: name, fields: [Self.metadata] + own, preservesUnknown: keeps, custom: self)
  }

  /// An object of this version as it is read: from the store, whose schema may have been another, or from
  /// somebody who converted it.
  public func read(_ tree: JSON) -> JSON {
    var tree = tree
    structural.prune(&tree)
    structural.applyDefaults(&tree)
    return tree
  }

  func validate(_ object: JSON, old: JSON?) -> [FieldError] { structural.validate(object, old: old) }
}

extension Normalizer {
  /// A custom object: metadata in normal form, undeclared fields dropped and told, all else as it was sent.
  mutating func customRoot(_ tree: JSON, _ form: CustomForm) throws(DecodeError) -> JSON {
    var typed: JSON = [:]
    for name in ["kind", "apiVersion", "metadata"] { typed[name] = tree[name] }
    let root = try self.root(typed, CustomForm.metadataOnly)
    var object = tree
    for name in ["kind", "apiVersion", "metadata"] { object[name] = root[name] }
    var found: [String] = []
    form.structural.prune(&object) { found.append($0) }
    try form.structural.forEachEmbedded(&object) { (value, path) throws(DecodeError) in
      guard value.object != nil, let metadata = value["metadata"] else { return }
      var inner = Normalizer(gvk: gvk, isIntent: isIntent)
      let normal = try inner.root(["metadata": metadata], CustomForm.metadataOnly)
      value["metadata"] = normal["metadata"]
      let place = StructuralPath.text(path)
      found += inner.unknown.map { "\(place).\($0)" }
    }
    unknown += found.prefix(Self.findingsMax)
    return object
  }
}
