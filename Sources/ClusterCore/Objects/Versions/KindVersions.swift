// One resource served in several versions, or under two groups, is stored once. A kind says where, and how an
// object of one of its versions becomes one of another; whoever reads and writes needs to know no more.

/// The versions of one resource: which of them is stored, and the way between them. A value on each of the
/// kinds, so that custom resources bring their own.
public struct KindVersions: Sendable {
  /// What stored objects are. An older object in the store may still be of another version.
  public var storage: GroupVersionKind
  /// An object of any of the versions, as one of `to`. Pure, and nothing is lost on the way there and back.
  /// Called with locks held: it must be quick.
  public var convert: @Sendable (_ object: JSON, _ to: GroupVersionKind) -> JSON

  public init(
    storage: GroupVersionKind, convert: @escaping @Sendable (_ object: JSON, _ to: GroupVersionKind) -> JSON
  ) {
    self.storage = storage
    self.convert = convert
  }

  /// Versions that differ in nothing but their name.
  public static func renaming(storage: GroupVersionKind) -> KindVersions {
    KindVersions(storage: storage) { object, to in
      var object = object
      object["apiVersion"] = .string(to.apiVersion)
      object["kind"] = .string(to.kind)
      return object
    }
  }

  /// Of the built-in kinds.
  static func builtin(_ gvk: GroupVersionKind) -> KindVersions? {
    switch (gvk.group, gvk.kind) {
    case ("autoscaling", "HorizontalPodAutoscaler"): autoscalers
    case ("", "Event"), ("events.k8s.io", "Event"): events
    default: nil
    }
  }
}

extension ResourceKind {
  /// Whether stored objects of this kind are always as it serves them.
  public var isStoredAsServed: Bool { versions == nil }

  /// A stored object, or one of another version, as this kind serves it.
  public func served(_ object: JSON) -> JSON {
    guard let versions, object.apiVersion != apiVersion else { return object }
    return versions.convert(object, gvk)
  }

  /// An object of this kind as it is stored.
  public func stored(_ object: JSON) -> JSON {
    guard let versions, versions.storage != gvk else { return object }
    return versions.convert(object, versions.storage)
  }
}
