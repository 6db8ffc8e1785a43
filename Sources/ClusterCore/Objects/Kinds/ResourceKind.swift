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

/// A kind as it is served.
public struct ResourceKind: Sendable {
  public var gvk: GroupVersionKind
  public var gvr: GroupVersionResource
  /// `PodList`; a custom kind may name it otherwise.
  public var listKind: String
  public var singular: String
  public var shortNames: [String]
  public var categories: [String]
  public var isNamespaced: Bool
  /// In alphabetical order, as discovery lists them.
  public var verbs: [String]
  /// In alphabetical order.
  public var subresources: [Subresource]
  public var schema: Schema
  /// Set when the resource is served in other versions too, or kept as another kind's.
  public var versions: KindVersions?
  /// The name that its objects are stored under, the same for all versions of a resource.
  public var storageName: String
  /// What a CustomResourceDefinition says beyond the schema; nil for built-in kinds.
  public var custom: CustomKind?

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
    self.gvk = gvk
    self.gvr = GroupVersionResource(gvk.group, gvk.version, plural)
    self.singular = singular ?? gvk.kind.lowercased()
    self.shortNames = shortNames
    self.categories = categories
    self.isNamespaced = isNamespaced
    self.verbs = verbs
    self.subresources = subresources
    self.schema = schema
    // Two groups may use one plural.
    storageName = gvk.group.isEmpty ? plural : "\(plural).\(gvk.group)"
    listKind = gvk.kind + "List"
  }

  public static let allVerbs = [
    "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
  ]
}
