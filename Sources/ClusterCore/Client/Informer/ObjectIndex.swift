// Finding objects without looking at all of them: under which words each is filed, and what is filed under a word.

import ClusterObjects

/// A way to find objects without a scan: the values under which an object is filed.
public struct ObjectIndex: Sendable {
  /// One informer keeps one index of a name.
  public let name: String
  let values: @Sendable (JSON) -> [String]
  public init(_ name: String, values: @escaping @Sendable (JSON) -> [String]) {
    self.name = name
    self.values = values
  }

  public static let namespace = ObjectIndex("namespace") { [$0.namespace] }
  /// `spec.nodeName`; unbound pods are filed under the empty name.
  public static let node = ObjectIndex("node") { [$0.at("spec", "nodeName")?.string ?? ""] }
  /// The uid of the owner that controls it.
  public static let controller = ObjectIndex("controller") {
    $0.controllerReference?["uid"]?.string.map { [$0] } ?? []
  }
  /// The uids of all owners.
  public static let owner = ObjectIndex("owner") { $0.ownerReferences.compactMap { $0["uid"]?.string } }
  /// EndpointSlices by `namespace/service`.
  public static let service = ObjectIndex("service") { object in
    object.labels["kubernetes.io/service-name"].map { ["\(object.namespace)/\($0)"] } ?? []
  }
  /// Objects by one label's value.
  public static func label(_ key: String) -> ObjectIndex {
    ObjectIndex("label:\(key)") { object in object.labels[key].map { [$0] } ?? [] }
  }
}

/// What one index knows of the objects of an informer.
struct FiledKeys {
  let index: ObjectIndex
  private var keys: [String: Set<ObjectKey>] = [:]

  init(_ index: ObjectIndex) { self.index = index }

  mutating func file(_ key: ObjectKey, old: JSON?, new: JSON?) {
    let before = old.map(index.values) ?? []
    let after = new.map(index.values) ?? []
    if before == after { return }
    for value in before {
      keys[value]?.remove(key)
      if keys[value]?.isEmpty == true { keys[value] = nil }
    }
    for value in after { keys[value, default: []].insert(key) }
  }

  /// How many words have something filed under them.
  var count: Int { keys.count }

  /// What is filed under at least one of these, each key once.
  func filed(underAny values: [String]) -> Set<ObjectKey> {
    var found: Set<ObjectKey> = []
    for value in values {
      guard let more = keys[value] else { continue }
      // A set that is alone is shared and not copied.
      if found.isEmpty { found = more } else { found.formUnion(more) }
    }
    return found
  }

  /// How many are filed under these, those under several of them counted again.
  func count(underAny values: [String]) -> Int { values.reduce(0) { $0 + (keys[$1]?.count ?? 0) } }
}
