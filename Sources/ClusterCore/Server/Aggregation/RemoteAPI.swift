// A group version that another server answers: where it is, whether it answers, what it said it serves.

import ClusterObjects

/// An APIService with a service, as it is known now. A value.
struct RemoteAPI: Sendable {
  var name: String
  var group: String
  var version: String
  var namespace: String
  var service: String
  var port: Int
  /// PEM; empty for the roots that the system trusts.
  var authority: [UInt8] = []
  var isInsecure = false
  var isAvailable = false
  /// Entries of aggregated discovery; what was said last while nothing newer is known.
  var resources: [JSON] = []
  var isFresh = false
  /// The hash of its OpenAPI v3 document; nil when it has none.
  var openAPIHash: String?

  static let resource = GroupVersionResource("apiregistration.k8s.io", "v1", "apiservices")

  /// Nil for a local one.
  init?(_ object: JSON) {
    guard let service = object.spec["service"], service.object != nil else { return nil }
    name = object.name
    group = object.spec["group"]?.string ?? ""
    version = object.spec["version"]?.string ?? ""
    namespace = service["namespace"]?.string ?? ""
    self.service = service["name"]?.string ?? ""
    port = service["port"]?.int ?? 443
    authority = object.spec["caBundle"]?.string.flatMap { Base64.decode($0) } ?? []
    isInsecure = object.spec["insecureSkipTLSVerify"]?.bool ?? false
    isAvailable =
      object.status["conditions"]?.elements.contains {
        $0["type"] == "Available" && $0["status"] == "True"
      } ?? false
  }

  var groupVersion: String { "\(group)/\(version)" }
  /// The name in its certificate.
  var host: String { "\(service).\(namespace).svc" }

  /// Whether both say the same place and trust.
  func isSamePlace(as other: RemoteAPI) -> Bool {
    namespace == other.namespace && service == other.service && port == other.port
      && authority == other.authority && isInsecure == other.isInsecure
  }

  // MARK: Discovery

  /// The group version's entries of an `APIGroupDiscoveryList`; nil when it is not among them.
  func resources(ofAggregated list: JSON) -> [JSON]? {
    for item in list["items"]?.elements ?? [] where item.name == group {
      for entry in item["versions"]?.elements ?? [] where entry["version"]?.string == version {
        return entry["resources"]?.elements ?? []
      }
    }
    return nil
  }

  /// An `APIResourceList` in the form of aggregated discovery.
  func resources(ofLegacy list: JSON) -> [JSON] {
    var made: [(name: String, entry: JSON)] = []
    func responseKind(_ resource: JSON) -> JSON {
      func said(_ field: String, else other: String) -> JSON {
        let text = resource[field]?.string ?? ""
        return JSON(text.isEmpty ? other : text)
      }
      return [
        "group": said("group", else: group), "version": said("version", else: version),
        "kind": resource["kind"] ?? "",
      ]
    }
    for resource in list["resources"]?.elements ?? [] {
      let name = resource["name"]?.string ?? ""
      let parts = name.split(separator: "/", maxSplits: 1).map(String.init)
      guard let first = parts.first else { continue }
      let kind = responseKind(resource)
      let verbs = resource["verbs"] ?? []
      if parts.count == 2 {
        guard let index = made.firstIndex(where: { $0.name == first }) else { continue }
        var subresources = made[index].entry["subresources"]?.elements ?? []
        subresources.append(["subresource": JSON(parts[1]), "responseKind": kind, "verbs": verbs])
        made[index].entry["subresources"] = .array(subresources)
        continue
      }
      var entry: JSON = [
        "resource": JSON(first), "responseKind": kind,
        "scope": resource["namespaced"]?.bool == true ? "Namespaced" : "Cluster",
        "singularResource": resource["singularName"] ?? "", "verbs": verbs,
      ]
      for field in ["shortNames", "categories"] {
        if let value = resource[field], !value.elements.isEmpty { entry[field] = value }
      }
      made.append((first, entry))
    }
    return made.map(\.entry)
  }
}

/// Adds what other servers serve to what this one says of itself.
enum RemoteDiscovery {
  /// To an `APIGroupDiscoveryList`.
  static func add(_ remotes: [RemoteAPI], toAggregated list: inout JSON) {
    var items = list["items"]?.elements ?? []
    for remote in remotes {
      let entry: JSON = [
        "version": JSON(remote.version), "freshness": remote.isFresh ? "Current" : "Stale",
        "resources": .array(remote.resources),
      ]
      add(entry, named: remote.version, field: "version", to: &items) {
        $0.name == remote.group
      } make: {
        ["metadata": ["name": JSON(remote.group), "creationTimestamp": .null]]
      }
    }
    list["items"] = .array(items)
  }

  /// To an `APIGroupList`.
  static func add(_ remotes: [RemoteAPI], toLegacy list: inout JSON) {
    var groups = list["groups"]?.elements ?? []
    for remote in remotes {
      add(self.version(remote), named: remote.version, field: "version", to: &groups) {
        $0["name"]?.string == remote.group
      } make: {
        ["name": JSON(remote.group), "versions": [], "preferredVersion": self.version(remote)]
      }
    }
    for index in groups.indices { groups[index]["preferredVersion"] = groups[index]["versions"]?[0] }
    list["groups"] = .array(groups)
  }

  private static func version(_ remote: RemoteAPI) -> JSON {
    ["groupVersion": JSON(remote.groupVersion), "version": JSON(remote.version)]
  }

  private static func add(
    _ entry: JSON, named name: String, field: String, to groups: inout [JSON], where isIt: (JSON) -> Bool,
    make: () -> JSON
  ) {
    let index =
      groups.firstIndex(where: isIt)
      ?? {
        groups.append(make())
        return groups.count - 1
      }()
    var versions = (groups[index]["versions"]?.elements ?? []).filter { $0[field]?.string != name }
    versions.append(entry)
    versions.sort { KubeVersion.isPreferred($0[field]?.string ?? "", to: $1[field]?.string ?? "") }
    groups[index]["versions"] = .array(versions)
  }
}
