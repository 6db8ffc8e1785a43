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
