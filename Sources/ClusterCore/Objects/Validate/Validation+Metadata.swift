// Names, labels, annotations, owners, finalizers: the rules of every kind.

extension Validator {
  static let annotationsBytesMax = 256 * 1024

  /// The rule for a kind's names.
  private static func nameRule(_ gvk: GroupVersionKind) -> (String) -> String? {
    switch (gvk.group, gvk.kind) {
    case ("", "Namespace"): Names.labelProblem
    case ("", "Service"): Names.label1035Problem
    case ("rbac.authorization.k8s.io", _), ("apiregistration.k8s.io", _), ("certificates.k8s.io", _):
      Names.pathSegmentProblem
    case ("networking.k8s.io", "IPAddress"):
      { IPText.family($0) == nil ? "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)" : nil }
    default: Names.subdomainProblem
    }
  }

  mutating func metadata(_ object: JSON, _ kind: ResourceKind) {
    let path: FieldPath = "metadata"
    let metadata = object.metadata
    let rule = Self.nameRule(kind.gvk)
    if let base = metadata["generateName"]?.string, !base.isEmpty {
      // The suffix ends it, so a hyphen at its end is right.
      let sample = base.hasSuffix("-") || base.hasSuffix(".") ? base + "a" : base
      check(sample, at: path.child("generateName"), rule)
    }
    if object.name.isEmpty {
      add(.required(path.child("name"), "name or generateName is required"))
    } else {
      check(object.name, at: path.child("name"), rule)
    }
    if kind.isNamespaced {
      if object.namespace.isEmpty {
        add(.required(path.child("namespace")))
      } else {
        check(object.namespace, at: path.child("namespace"), Names.labelProblem)
      }
    } else if !object.namespace.isEmpty {
      add(.forbidden(path.child("namespace"), "not allowed on this type"))
    }
    if let generation = metadata["generation"]?.integer, generation < 0 {
      add(.invalid(path.child("generation"), .integer(generation), "must be greater than or equal to 0"))
    }
    labels(metadata["labels"], path.child("labels"))
    annotations(metadata["annotations"], path.child("annotations"))
    owners(object.ownerReferences, path.child("ownerReferences"))
    for (position, finalizer) in object.finalizers.enumerated() {
      let place = path.child("finalizers").index(position)
      if let problem = Names.qualifiedNameProblem(finalizer) {
        add(.invalid(place, .string(finalizer), problem))
      } else if kind.custom == nil, kind.gvk != CustomResourceDefinition.gvk, !finalizer.contains("/"),
        !["orphan", "foregroundDeletion", "kubernetes"].contains(finalizer)
      {
        add(
          .invalid(
            place, .string(finalizer),
            "name is neither a standard finalizer name nor is it fully qualified"))
      }
    }
  }

  private mutating func annotations(_ annotations: JSON?, _ path: FieldPath) {
    var size = 0
    for (key, value) in annotations?.object ?? [:] {
      size += key.utf8.count + (value.string?.utf8.count ?? 0)
      if let problem = Names.qualifiedNameProblem(key.lowercased()) {
        add(.invalid(path, .string(key), problem))
      }
    }
    if size > Self.annotationsBytesMax { add(.tooLong(path, Self.annotationsBytesMax)) }
  }

  private mutating func owners(_ owners: [JSON], _ path: FieldPath) {
    var controllers = 0
    for (position, owner) in owners.enumerated() {
      let place = path.index(position)
      for (field, text) in [
        ("apiVersion", "version must not be empty"), ("kind", "must not be empty"),
        ("name", "must not be empty"),
        ("uid", "must not be empty"),
      ] where (owner[field]?.string ?? "").isEmpty {
        add(.invalid(place.child(field), "", text))
      }
      if owner["apiVersion"]?.string == "v1", owner["kind"]?.string == "Event" {
        add(.invalid(place, owner, "v1, Kind=Event is disallowed from being an owner"))
      }
      if owner["controller"]?.bool == true { controllers += 1 }
    }
    if controllers > 1 {
      add(
        .invalid(
          path, .array(owners), "Only one reference can have Controller set to true. Found \(controllers)"))
    }
  }

  mutating func metadataUpdate(_ object: JSON, _ old: JSON) {
    let path: FieldPath = "metadata"
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
      immutable(object.metadata[field], old.metadata[field], path.child(field))
    }
    if old.isTerminating {
      immutable(
        object.metadata["deletionTimestamp"], old.metadata["deletionTimestamp"],
        path.child("deletionTimestamp"))
      // Once deletion began, nobody may hold it up with a new finalizer.
      let added = Set(object.finalizers).subtracting(old.finalizers)
      if !added.isEmpty {
        add(
          .forbidden(
            path.child("finalizers"),
            "no new finalizers can be added if the object is being deleted, found new finalizers "
              + "[\(added.sorted().map { "\"\($0)\"" }.joined(separator: ", "))]"))
      }
    }
  }
}
