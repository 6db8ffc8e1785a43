// The kinds that are known, by what URLs and bodies call them. A value: the built-in one is compiled once,
// the server adds custom resources to its copy.

/// Kinds by group-version-kind and by group-version-resource.
public struct KindRegistry: Sendable {
  /// In the order in which groups and kinds were declared.
  public private(set) var kinds: [ResourceKind] = []
  private var byGVK: [GroupVersionKind: ResourceKind] = [:]
  private var byGVR: [GroupVersionResource: ResourceKind] = [:]
  /// Schemas of bodies that are no resource: DeleteOptions, Status, Scale, Binding, Eviction.
  private var bodies: [GroupVersionKind: Schema] = [:]

  /// The kinds built in, compiled from their texts on first use (milliseconds).
  public static let builtin = KindRegistry(texts: SchemaText.all)

  public init() {}

  init(texts: [String]) {
    var compiler = SchemaCompiler(texts)
    for line in compiler.kinds {
      let group = line.group
      let gvk = GroupVersionKind(group.group, group.version, String(line.words[0]))
      let schema = compiler.schema("\(group.alias).\(line.words[0])")
      bodies[gvk] = schema
      if !line.isHidden { add(Self.resource(gvk, line.words, schema)) }
    }
    for name in ["Status", "DeleteOptions"] {
      bodies[GroupVersionKind("", "v1", name)] = compiler.schema("meta.\(name)")
    }
    for name in ["DeleteOptions"] {
      for groupVersion in groupVersions {
        bodies[GroupVersionKind(apiVersion: groupVersion, kind: name)] = compiler.schema("meta.\(name)")
      }
      bodies[GroupVersionKind("meta.k8s.io", "v1", name)] = compiler.schema("meta.\(name)")
    }
  }

  private static func resource(_ gvk: GroupVersionKind, _ words: [Substring], _ schema: Schema)
    -> ResourceKind
  {
    var kind = ResourceKind(gvk: gvk, plural: String(words[1]), isNamespaced: false, schema: schema)
    for word in words.dropFirst(2) {
      let parts = word.split(separator: "=", maxSplits: 1)
      let values = parts.count > 1 ? parts[1].split(separator: ",").map(String.init) : []
      switch parts[0] {
      case "ns": kind.isNamespaced = true
      case "short": kind.shortNames = values
      case "cat": kind.categories = values
      case "verbs": kind.verbs = values
      case "nocollection": kind.verbs.removeAll { $0 == "deletecollection" }
      case "sub": kind.subresources = values.sorted().map { subresource($0, of: gvk) }
      default: preconditionFailure("schema text: unknown word \(word)")
      }
    }
    // No two groups of ours use one plural but for events, which are one resource, and for what pods and nodes use.
    kind.storageName = gvk.group == "metrics.k8s.io" ? "\(kind.plural).\(gvk.group)" : kind.plural
    kind.versions = KindVersions.builtin(gvk)
    return kind
  }

  private static func subresource(_ name: String, of gvk: GroupVersionKind) -> Subresource {
    let change = ["get", "patch", "update"]
    let connect = ["create", "get"]
    func core(_ kind: String) -> GroupVersionKind { GroupVersionKind("", "v1", kind) }
    return switch name {
    case "scale":
      Subresource(name: name, kind: GroupVersionKind("autoscaling", "v1", "Scale"), verbs: change)
    case "eviction":
      Subresource(name: name, kind: GroupVersionKind("policy", "v1", "Eviction"), verbs: ["create"])
    case "token":
      Subresource(
        name: name, kind: GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest"), verbs: ["create"])
    case "binding": Subresource(name: name, kind: core("Binding"), verbs: ["create"])
    case "finalize": Subresource(name: name, kind: gvk, verbs: ["update"])
    case "log": Subresource(name: name, kind: gvk, verbs: ["get"])
    case "exec": Subresource(name: name, kind: core("PodExecOptions"), verbs: connect)
    case "attach": Subresource(name: name, kind: core("PodAttachOptions"), verbs: connect)
    case "portforward": Subresource(name: name, kind: core("PodPortForwardOptions"), verbs: connect)
    case "proxy":
      Subresource(
        name: name, kind: core("\(gvk.kind)ProxyOptions"),
        verbs: ["create", "delete", "get", "patch", "update"])
    // `approval`, `status` and the like: the object itself, of which one part is taken.
    default: Subresource(name: name, kind: gvk, verbs: change)
    }
  }

  /// Adds a kind, or replaces the one of the same name.
  public mutating func add(_ kind: ResourceKind) {
    if byGVR[kind.gvr] != nil { kinds.removeAll { $0.gvr == kind.gvr } }
    kinds.append(kind)
    byGVK[kind.gvk] = kind
    byGVR[kind.gvr] = kind
    bodies[kind.gvk] = kind.schema
  }

  public mutating func remove(_ gvr: GroupVersionResource) {
    guard let kind = byGVR.removeValue(forKey: gvr) else { return }
    byGVK[kind.gvk] = nil
    bodies[kind.gvk] = nil
    kinds.removeAll { $0.gvr == gvr }
  }

  public subscript(_ gvk: GroupVersionKind) -> ResourceKind? { byGVK[gvk] }
  public subscript(_ gvr: GroupVersionResource) -> ResourceKind? { byGVR[gvr] }
  public func kind(apiVersion: String, kind: String) -> ResourceKind? {
    byGVK[GroupVersionKind(apiVersion: apiVersion, kind: kind)]
  }

  /// The schema of a request's body: a kind's own, or that of an option or subresource such as
  /// `DeleteOptions`.
  public func bodySchema(_ gvk: GroupVersionKind) -> Schema? { bodies[gvk] }

  /// `v1`, `apps/v1`, … in the order of their first kind.
  public var groupVersions: [String] {
    var seen: Set<String> = []
    return kinds.map(\.apiVersion).filter { seen.insert($0).inserted }
  }

  public func kinds(groupVersion: String) -> [ResourceKind] { kinds.filter { $0.apiVersion == groupVersion } }
}
