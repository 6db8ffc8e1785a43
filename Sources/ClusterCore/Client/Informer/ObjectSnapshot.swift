// What an informer knows at one moment, as a value. Snapshots share storage: taking one is a reference
// count, and the next event copies a few nodes of a tree, not the ten thousand objects beside it.

import ClusterObjects
import HashTreeCollections

/// The objects of one resource at one revision. A value: reading it needs no lock, and it never changes
/// underneath.
public struct ObjectSnapshot: Sendable {
  var objects: TreeDictionary<ObjectKey, JSON>
  /// The revision that this state belongs to; empty before the first sync.
  public internal(set) var resourceVersion: String

  public init() {
    objects = [:]
    resourceVersion = ""
  }

  public init(_ objects: some Sequence<JSON>, resourceVersion: String = "") {
    self.init()
    for object in objects { self.objects[object.key] = object }
    self.resourceVersion = resourceVersion
  }

  public var count: Int { objects.count }
  public var isEmpty: Bool { objects.isEmpty }
  public var keys: [ObjectKey] { Array(objects.keys) }
  /// All objects, in no particular order. Costs an array of references.
  public var values: [JSON] { objects.map(\.value) }

  public subscript(_ key: ObjectKey) -> JSON? { objects[key] }
  public subscript(_ namespace: String, _ name: String) -> JSON? { objects[ObjectKey(namespace, name)] }

  /// Objects of one namespace, by a scan. `Informer.objects(_:_:)` does it by an index.
  public func inNamespace(_ namespace: String) -> [JSON] {
    objects.compactMap { $0.key.namespace == namespace ? $0.value : nil }
  }
}

/// One object's step from `old` to `new`. Added: no old. Deleted: no new.
public struct ObjectChange: Sendable {
  public var key: ObjectKey
  public var old: JSON?
  public var new: JSON?
  public init(key: ObjectKey, old: JSON?, new: JSON?) {
    self.key = key
    self.old = old
    self.new = new
  }
  /// The newest state known, whether it still exists or not.
  public var object: JSON { new ?? old ?? .null }
  public var isDeletion: Bool { new == nil }
}

/// A way to find objects without a scan: the values under which an object is filed.
public struct ObjectIndex: Sendable {
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
