// Server-side apply: an applier says which fields it wants, the object remembers who set what. Setting a
// field that another manager set differently is a conflict; a field that its only owner no longer applies is
// removed.

/// Somebody who sets fields: a name, what kind of writes it makes, and on which path.
public struct FieldManager: Sendable, Hashable {
  public var name: String
  /// `Apply` or `Update`.
  public var operation: String
  /// Empty for the main path.
  public var subresource: String
  public init(_ name: String, operation: String, subresource: String = "") {
    self.name = name
    self.operation = operation
    self.subresource = subresource
  }
}

/// A field that another manager owns with another value.
public struct ApplyConflict: Sendable, Hashable {
  public var manager: FieldManager
  /// `.spec.replicas`.
  public var field: String
  var apiVersion: String
  var time: String

  /// An entry of the Status' `details.causes`.
  public var cause: JSON {
    ["reason": "FieldManagerConflict", "message": .string("conflict with \(owner)"), "field": .string(field)]
  }
  var owner: String {
    var text = "\"\(manager.name)\""
    if !manager.subresource.isEmpty { text += " with subresource \"\(manager.subresource)\"" }
    if manager.operation == "Update" { text += " using \(apiVersion)" }
    return text
  }
}

/// Why an apply was refused: answered with 409 Conflict.
public struct ApplyError: Error, Sendable, Hashable, CustomStringConvertible {
  public var conflicts: [ApplyConflict]
  public var description: String {
    // A single conflict is told on one line, several as a list for each owner.
    if conflicts.count == 1, let only = conflicts.first {
      return "Apply failed with 1 conflict: conflict with \(only.owner): \(only.field)"
    }
    let owners = Set(conflicts.map(\.owner)).sorted().map { owner -> String in
      "conflicts with \(owner):\n"
        + conflicts.filter { $0.owner == owner }.map { "- \($0.field)" }.joined(separator: "\n")
    }
    return "Apply failed with \(conflicts.count) conflicts: " + owners.joined(separator: "\n")
  }
}

extension ResourceKind {
  /// The object after `applied` was applied over `live` (nil creates it), with managed fields. `applied` is
  /// decoded with `isIntent: true`; the result is to be brought into normal form and defaulted.
  /// `managedFields` of `applied` are ignored.
  public func apply(
    _ applied: JSON, over live: JSON?, manager: String, subresource: String = "", force: Bool = false,
    now: KubeTime
  ) throws(ApplyError) -> JSON {
    let manager = FieldManager(manager, operation: "Apply", subresource: subresource)
    var wanted = applied
    for field in ManagedFields.serverFields { wanted.set(nil, at: "metadata", field) }
    let newSet = ManagedFields.owned(by: wanted, schema)
    var entries = ManagedFields.entries(live)
    let oldSet = entries[manager]?.set ?? FieldSet()
    let base = live ?? .object([:])

    // Others' fields that this apply would change.
    var conflicts: [ApplyConflict] = []
    let changed = ManagedFields.differing(newSet, wanted, base, .object(schema))
    for (other, entry) in entries.sorted(by: { $0.key.name < $1.key.name }) where other != manager {
      let common = entry.set.intersection(changed)
      guard !common.isEmpty else { continue }
      if force {
        let left = entry.set.subtracting(common)
        entries[other]?.set = other.operation == "Apply" ? left.withoutHollows(since: entry.set) : left
      } else {
        conflicts += common.paths.map {
          ApplyConflict(manager: other, field: $0, apiVersion: entry.apiVersion, time: entry.time)
        }
      }
    }
    guard conflicts.isEmpty else { throw ApplyError(conflicts: conflicts) }

    var merged = ApplyMerge.merge(base, wanted, .object(schema))
    // What this manager applied before and no longer does goes, unless somebody else has it too.
    var gone = oldSet.subtracting(newSet)
    for (other, entry) in entries where other != manager { gone = gone.subtracting(entry.set) }
    merged = ApplyMerge.remove(gone, from: merged, .object(schema)) ?? .object([:])
    for (name, value) in applied.object ?? [:] where name == "apiVersion" || name == "kind" {
      merged[name] = value
    }

    let previous = entries[manager]
    entries[manager] = ManagedFields.Entry(
      set: newSet, apiVersion: apiVersion,
      time: previous?.set == newSet && merged == live ? previous?.time ?? now.text : now.text)
    merged.set(ManagedFields.json(entries), at: "metadata", "managedFields")
    return merged
  }

  /// After an ordinary write: what `manager` changed is its own now, and no longer anybody else's.
  public func trackUpdate(
    _ object: inout JSON, old: JSON?, manager: String, subresource: String = "", now: KubeTime
  ) {
    let manager = FieldManager(manager, operation: "Update", subresource: subresource)
    // A writer that empties the list starts it anew, and one that sends a list means it: so `kubectl apply
    // --server-side` takes over what it applied client-side. Without one the stored list is the truth.
    let sent = object.at("metadata", "managedFields")
    let isReset = sent == [] || sent == [[:]]
    var entries =
      isReset
      ? [:] : ManagedFields.areWellFormed(sent) ? ManagedFields.entries(object) : ManagedFields.entries(old)
    let newSet = ManagedFields.owned(by: object, schema)
    // Of a new object everything is new.
    let changed = old.map { ManagedFields.differing(newSet, object, $0, .object(schema)) } ?? newSet
    for (other, entry) in entries {
      // Fields that are gone are nobody's.
      var set = entry.set.intersection(newSet)
      if other != manager {
        let left = set.subtracting(changed)
        set = other.operation == "Apply" ? left.withoutHollows(since: set) : left
      }
      entries[other]?.set = set
    }
    if !changed.isEmpty {
      let set = (entries[manager]?.set ?? FieldSet()).union(changed)
      entries[manager] = ManagedFields.Entry(set: set, apiVersion: apiVersion, time: now.text)
    }
    let list = ManagedFields.json(entries.filter { !$0.value.set.isEmpty })
    object.set(list.elements.isEmpty ? nil : list, at: "metadata", "managedFields")
  }
}

enum ManagedFields {
  struct Entry: Hashable {
    var set: FieldSet
    var apiVersion: String
    var time: String
  }

  /// Managers kept of one object; the oldest updaters beyond it become one.
  static let managersMax = 10

  /// Fields that only the server sets and nobody owns.
  static let serverFields = [
    "managedFields", "creationTimestamp", "uid", "resourceVersion", "generation", "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
  ]

  private static let unowned = Set(serverFields + ["name", "namespace", "generateName"])

  static func owned(by object: JSON, _ schema: Schema) -> FieldSet {
    var object = object
    if let metadata = object["metadata"]?.object {
      let owned = JSONObject(fields: metadata.fields.filter { !unowned.contains($0.key) })
      object["metadata"] = owned.isEmpty ? nil : .object(owned)
    }
    var set = FieldSet(of: object, schema: schema)
    // Empty containers that normal form writes are nobody's wish.
    for name in ["f:status", "f:spec"] where set.children[name]?.children.isEmpty == true {
      set.children[name] = nil
    }
    return set
  }

  static func entries(_ object: JSON?) -> [FieldManager: Entry] {
    var result: [FieldManager: Entry] = [:]
    for entry in object?.at("metadata", "managedFields")?.elements ?? [] {
      let manager = FieldManager(
        entry["manager"]?.string ?? "", operation: entry["operation"]?.string ?? "Update",
        subresource: entry["subresource"]?.string ?? "")
      let set = FieldSet(fieldsV1: entry["fieldsV1"])
      result[manager] = Entry(
        set: result[manager].map { $0.set.union(set) } ?? set, apiVersion: entry["apiVersion"]?.string ?? "",
        time: entry["time"]?.string ?? "")
    }
    return result
  }

  /// Whether a client's list can be taken: one that is empty or damaged tells nothing.
  static func areWellFormed(_ list: JSON?) -> Bool {
    guard let list = list?.elements, !list.isEmpty else { return false }
    return list.allSatisfy { entry in
      ["Apply", "Update"].contains(entry["operation"]?.string) && entry["fieldsType"] == "FieldsV1"
        && entry["apiVersion"]?.string?.isEmpty == false && entry["fieldsV1"]?.object != nil
    }
  }

  static func json(_ entries: [FieldManager: Entry]) -> JSON {
    var list = entries.filter { !$0.value.set.isEmpty }.sorted {
      ($0.key.operation, $0.value.time, $0.key.name, $0.key.subresource)
        < ($1.key.operation, $1.value.time, $1.key.name, $1.key.subresource)
    }
    let updaters = list.filter { $0.key.operation == "Update" }
    if updaters.count > managersMax {
      let old = updaters.prefix(updaters.count - managersMax + 1)
      list.removeAll { entry in old.contains { $0.key == entry.key } }
      var merged = old.last!
      merged.key = FieldManager("ancient-changes", operation: "Update")
      merged.value.set = old.reduce(FieldSet()) { $0.union($1.value.set) }
      list.append(merged)
    }
    return .array(
      list.map { manager, entry in
        var json: JSON = [
          "manager": .string(manager.name), "operation": .string(manager.operation),
          "apiVersion": .string(entry.apiVersion), "time": .string(entry.time), "fieldsType": "FieldsV1",
          "fieldsV1": entry.set.fieldsV1,
        ]
        if !manager.subresource.isEmpty { json["subresource"] = .string(manager.subresource) }
        return json
      })
  }

  /// The part of `set` whose value in `new` is not the one in `old`.
  static func differing(
    _ set: FieldSet, _ new: JSON?, _ old: JSON?, _ type: SchemaType, _ list: SchemaListType? = nil
  )
    -> FieldSet
  {
    var result = FieldSet()
    if set.children.isEmpty {
      result.isOwned = set.isOwned && new != old
      return result
    }
    // A container is changed itself only when it appears.
    result.isOwned = set.isOwned && old == nil
    for (name, child) in set.children {
      let (a, nextType, nextList) = ApplyMerge.step(name, new, type, list)
      let (b, _, _) = ApplyMerge.step(name, old, type, list)
      let difference = differing(child, a, b, nextType, nextList)
      if !difference.isEmpty { result.children[name] = difference }
    }
    return result
  }
}
