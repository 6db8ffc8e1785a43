// A kind and how it is served: its names, scope, verbs, subresources, schema.

/// Group, version and kind: what `apiVersion` and `kind` of an object say.
public struct GroupVersionKind: Hashable, Sendable, CustomStringConvertible {
  public var group: String
  public var version: String
  public var kind: String
  public init(_ group: String, _ version: String, _ kind: String) {
    self.group = group
    self.version = version
    self.kind = kind
  }
  /// From the fields of an object: `apps/v1` and `Deployment`.
  public init(apiVersion: String, kind: String) {
    let parts = apiVersion.split(separator: "/", maxSplits: 1).map(String.init)
    self.init(parts.count == 2 ? parts[0] : "", parts.last ?? "", kind)
  }
  /// `v1` or `apps/v1`.
  public var apiVersion: String { group.isEmpty ? version : "\(group)/\(version)" }
  public var description: String { "\(apiVersion), Kind=\(kind)" }
}

/// A path below an object, such as `status` or `log`.
public struct Subresource: Sendable {
  public var name: String
  /// What it is read and written as; it may be of another group (`autoscaling/v1 Scale`).
  public var kind: GroupVersionKind
  public var verbs: [String]
}

/// A kind as it is served. A value whose copies share one storage: every request hands its kind on a dozen times.
public struct ResourceKind: Sendable {
  private var storage: Storage

  private final class Storage: @unchecked Sendable {
    // Changed only while one value alone holds it.
    var contents: Contents
    init(_ contents: Contents) { self.contents = contents }
  }

  private struct Contents {
    var gvk: GroupVersionKind
    var gvr: GroupVersionResource
    var listKind: String
    var singular: String
    var shortNames: [String]
    var categories: [String]
    var isNamespaced: Bool
    var verbs: [String]
    var subresources: [Subresource]
    var schema: Schema
    var versions: KindVersions?
    var storageName: String
    var custom: CustomKind?
  }

  private var contents: Contents {
    get { storage.contents }
    _modify {
      if !isKnownUniquelyReferenced(&storage) { storage = Storage(storage.contents) }
      yield &storage.contents
    }
  }

  public var gvk: GroupVersionKind {
    get { storage.contents.gvk }
    set { contents.gvk = newValue }
  }
  public var gvr: GroupVersionResource {
    get { storage.contents.gvr }
    set { contents.gvr = newValue }
  }
  /// `PodList`; a custom kind may name it otherwise.
  public var listKind: String {
    get { storage.contents.listKind }
    set { contents.listKind = newValue }
  }
  public var singular: String {
    get { storage.contents.singular }
    set { contents.singular = newValue }
  }
  public var shortNames: [String] {
    get { storage.contents.shortNames }
    set { contents.shortNames = newValue }
  }
  public var categories: [String] {
    get { storage.contents.categories }
    set { contents.categories = newValue }
  }
  public var isNamespaced: Bool {
    get { storage.contents.isNamespaced }
    set { contents.isNamespaced = newValue }
  }
  /// In alphabetical order, as discovery lists them.
  public var verbs: [String] {
    get { storage.contents.verbs }
    set { contents.verbs = newValue }
  }
  /// In alphabetical order.
  public var subresources: [Subresource] {
    get { storage.contents.subresources }
    set { contents.subresources = newValue }
  }
  public var schema: Schema {
    get { storage.contents.schema }
    set { contents.schema = newValue }
  }
  /// Set when the resource is served in other versions too, or kept as another kind's.
  public var versions: KindVersions? {
    get { storage.contents.versions }
    set { contents.versions = newValue }
  }
  /// The name that its objects are stored under, the same for all versions of a resource.
  public var storageName: String {
    get { storage.contents.storageName }
    set { contents.storageName = newValue }
  }
  /// What a CustomResourceDefinition says beyond the schema; nil for built-in kinds.
  public var custom: CustomKind? {
    get { storage.contents.custom }
    set { contents.custom = newValue }
  }

  public var group: String { gvk.group }
  public var version: String { gvk.version }
  public var kind: String { gvk.kind }
  public var apiVersion: String { gvk.apiVersion }
  public var plural: String { gvr.resource }
  /// `deployments.apps`; what messages of the API name.
  public var qualifiedResource: String { gvr.description }

  public func subresource(_ name: String) -> Subresource? { subresources.first { $0.name == name } }
  /// Questions and orders (`verbs=create`: reviews, bindings) are answered and not kept.
  public var isStored: Bool { verbs != ["create"] }
  public func supports(verb: String) -> Bool { verbs.contains(verb) }

  public init(
    gvk: GroupVersionKind, plural: String, singular: String? = nil, shortNames: [String] = [],
    categories: [String] = [], isNamespaced: Bool, verbs: [String] = ResourceKind.allVerbs,
    subresources: [Subresource] = [], schema: Schema
  ) {
    storage = Storage(
      Contents(
        gvk: gvk, gvr: GroupVersionResource(gvk.group, gvk.version, plural), listKind: gvk.kind + "List",
        singular: singular ?? gvk.kind.lowercased(), shortNames: shortNames, categories: categories,
        isNamespaced: isNamespaced, verbs: verbs, subresources: subresources, schema: schema,
        // Two groups may use one plural.
        storageName: gvk.group.isEmpty ? plural : "\(plural).\(gvk.group)"))
  }

  public static let allVerbs = [
    "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
  ]
}
