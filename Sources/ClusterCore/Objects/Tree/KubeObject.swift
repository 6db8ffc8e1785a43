// The fields that every Kubernetes object has, as a view over its tree.

/// `namespace/name`, or the name alone for what has no namespace.
public struct ObjectKey: Hashable, Sendable, Comparable, CustomStringConvertible {
  public var namespace: String
  public var name: String
  public init(_ namespace: String, _ name: String) {
    self.namespace = namespace
    self.name = name
  }
  public var description: String { namespace.isEmpty ? name : "\(namespace)/\(name)" }
  public static func < (a: Self, b: Self) -> Bool { (a.namespace, a.name) < (b.namespace, b.name) }
}

/// Common metadata, read through the tree (metav1.ObjectMeta). Absent text reads as empty.
extension JSON {
  public var apiVersion: String { self["apiVersion"]?.string ?? "" }
  public var kind: String { self["kind"]?.string ?? "" }
  public var metadata: JSON { self["metadata"] ?? .null }
  public var name: String { at("metadata", "name")?.string ?? "" }
  public var namespace: String { at("metadata", "namespace")?.string ?? "" }
  public var key: ObjectKey { ObjectKey(namespace, name) }
  public var uid: String { at("metadata", "uid")?.string ?? "" }
  public var resourceVersion: String { at("metadata", "resourceVersion")?.string ?? "" }
  public var generation: Int64 { at("metadata", "generation")?.integer ?? 0 }
  public var labels: [String: String] { at("metadata", "labels")?.stringMap ?? [:] }
  public var annotations: [String: String] { at("metadata", "annotations")?.stringMap ?? [:] }
  public var ownerReferences: [JSON] { at("metadata", "ownerReferences")?.elements ?? [] }
  /// The owner whose reference says `controller: true`.
  public var controllerReference: JSON? { ownerReferences.first { $0["controller"]?.bool == true } }
  public var finalizers: [String] { at("metadata", "finalizers")?.elements.compactMap(\.string) ?? [] }
  public var creationTimestamp: String { at("metadata", "creationTimestamp")?.string ?? "" }
  public var deletionTimestamp: String? { at("metadata", "deletionTimestamp")?.string }
  public var isTerminating: Bool { deletionTimestamp != nil }
  public var spec: JSON { self["spec"] ?? .null }
  public var status: JSON { self["status"] ?? .null }
}
