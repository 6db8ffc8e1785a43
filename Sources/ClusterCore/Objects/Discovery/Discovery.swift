// What the server says it serves: aggregated discovery v2, and the legacy lists for older clients.

extension KindRegistry {
  /// `APIGroupDiscoveryList` (apidiscovery.k8s.io/v2) of the core group (`/api`) or of all others (`/apis`).
  /// `serves` leaves resources and subresources out that the server does not answer yet; it is given `pods`
  /// or `pods/log`.
  public func aggregatedDiscovery(
    core: Bool, serves: (ResourceKind, String) -> Bool = { _, _ in true }
  ) -> JSON {
    var groups: [JSON] = []
    for group in groupNames where group.isEmpty == core {
      let versions = versions(of: group).map { version -> JSON in
        let kinds = kinds(groupVersion: group.isEmpty ? version : "\(group)/\(version)")
        return [
          "version": .string(version), "freshness": "Current",
          "resources": .array(
            kinds.filter { serves($0, $0.plural) }.map { kind in Self.discoveryResource(kind, serves) }),
        ]
      }
      var metadata: JSON = [:]
      if !group.isEmpty { metadata["name"] = .string(group) }
      metadata["creationTimestamp"] = .null
      groups.append(["metadata": metadata, "versions": .array(versions)])
    }
    return [
      "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": [:],
      "items": .array(groups),
    ]
  }

  private static func responseKind(_ gvk: GroupVersionKind) -> JSON {
    ["group": .string(gvk.group), "version": .string(gvk.version), "kind": .string(gvk.kind)]
  }

  private static func discoveryResource(_ kind: ResourceKind, _ serves: (ResourceKind, String) -> Bool)
    -> JSON
  {
    var resource: JSON = [
      "resource": .string(kind.plural), "responseKind": responseKind(kind.gvk),
      "scope": kind.isNamespaced ? "Namespaced" : "Cluster", "singularResource": .string(kind.singular),
      "verbs": JSON(kind.verbs),
    ]
    if !kind.shortNames.isEmpty { resource["shortNames"] = JSON(kind.shortNames) }
    if !kind.categories.isEmpty { resource["categories"] = JSON(kind.categories) }
    let subresources = kind.subresources.filter { serves(kind, "\(kind.plural)/\($0.name)") }
    if !subresources.isEmpty {
      resource["subresources"] = .array(
        subresources.map { sub in
          [
            "subresource": .string(sub.name), "responseKind": responseKind(sub.kind),
            "verbs": JSON(sub.verbs),
          ]
        })
    }
    return resource
  }

  /// Groups in the order of their first kind; the core group is the empty text.
  public var groupNames: [String] {
    var seen: Set<String> = []
    return kinds.map(\.group).filter { seen.insert($0).inserted }
  }

  /// The preferred version first.
  public func versions(of group: String) -> [String] {
    var seen: Set<String> = []
    return kinds.filter { $0.group == group }.map(\.version).filter { seen.insert($0).inserted }
      .sorted { KubeVersion.isPreferred($0, to: $1) }
  }

  /// `APIVersions`, the legacy answer to `/api`.
  public func apiVersions(serverAddress: String) -> JSON {
    [
      "kind": "APIVersions", "versions": JSON(versions(of: "")),
      "serverAddressByClientCIDRs": [["clientCIDR": "0.0.0.0/0", "serverAddress": .string(serverAddress)]],
    ]
  }

  /// `APIGroupList`, the legacy answer to `/apis`.
  public func apiGroupList() -> JSON {
    [
      "kind": "APIGroupList", "apiVersion": "v1",
      "groups": .array(groupNames.filter { !$0.isEmpty }.map { apiGroupBody($0) }),
    ]
  }

  /// `APIGroup`, the answer to `/apis/GROUP`; nil for a group without kinds.
  public func apiGroup(_ group: String) -> JSON? {
    guard groupNames.contains(group), !group.isEmpty else { return nil }
    var body: JSON = ["kind": "APIGroup", "apiVersion": "v1"]
    for (name, value) in apiGroupBody(group).object ?? [:] { body[name] = value }
    return body
  }

  private func apiGroupBody(_ group: String) -> JSON {
    let versions = versions(of: group).map { version -> JSON in
      ["groupVersion": .string("\(group)/\(version)"), "version": .string(version)]
    }
    return ["name": .string(group), "versions": .array(versions), "preferredVersion": versions[0]]
  }

  /// `APIResourceList`, the legacy answer to `/api/v1` and `/apis/GROUP/VERSION`; nil for a version without
  /// kinds.
  public func apiResourceList(
    groupVersion: String, serves: (ResourceKind, String) -> Bool = { _, _ in true }
  ) -> JSON? {
    let kinds = kinds(groupVersion: groupVersion)
    guard !kinds.isEmpty else { return nil }
    var resources: [JSON] = []
    for kind in kinds where serves(kind, kind.plural) {
      var resource: JSON = [
        "name": .string(kind.plural), "singularName": .string(kind.singular),
        "namespaced": .bool(kind.isNamespaced), "kind": .string(kind.kind), "verbs": JSON(kind.verbs),
      ]
      if !kind.shortNames.isEmpty { resource["shortNames"] = JSON(kind.shortNames) }
      if !kind.categories.isEmpty { resource["categories"] = JSON(kind.categories) }
      resources.append(resource)
      for sub in kind.subresources where serves(kind, "\(kind.plural)/\(sub.name)") {
        var entry: JSON = [
          "name": .string("\(kind.plural)/\(sub.name)"), "singularName": "",
          "namespaced": .bool(kind.isNamespaced), "kind": .string(sub.kind.kind), "verbs": JSON(sub.verbs),
        ]
        if sub.kind.apiVersion != groupVersion {
          entry["group"] = .string(sub.kind.group)
          entry["version"] = .string(sub.kind.version)
        }
        resources.append(entry)
      }
    }
    return [
      "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": .string(groupVersion),
      "resources": .array(resources),
    ]
  }
}
