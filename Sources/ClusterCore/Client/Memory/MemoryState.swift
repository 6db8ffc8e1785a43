// The state behind MemoryClusterAPI and the rules of each write.

import ClusterObjects
import Diagnostics
import Synchronization

struct MemoryState {
  /// Set when nobody listens any more; noticed with the next watcher or the next change.
  final class Ended: Sendable {
    let value = Atomic(false)
  }
  struct Watcher {
    var resource: GroupVersionResource
    var namespace: String
    var options: ListOptions
    var continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation
    let ended = Ended()
  }
  struct Entry {
    var revision: Int
    var resource: GroupVersionResource
    var old: JSON?
    var new: JSON?
  }

  /// Not 0 before the first write, as no server's is: a watch from "0" tells of what there is in any order, and not of each step.
  var revision = 1
  var objects: [GroupVersionResource: [ObjectKey: JSON]] = [:]
  var history: [Entry] = []
  var watchers: [Int: Watcher] = [:]
  private var nextWatcher = 0
  private var nextUID = 0
  /// Namespaces that are gone. Those that never were hold objects all the same: most tests need none.
  private var goneNamespaces: Set<String> = []

  func existing(_ resource: GroupVersionResource, _ key: ObjectKey) throws -> JSON {
    guard let object = objects[resource]?[key] else { throw APIStatusError.notFound(resource, key.name) }
    return object
  }

  /// Objects by namespace and name. Keys are compared as they are stored: to read them of an object each time costs ten times as much.
  func sorted(_ resource: GroupVersionResource, where isWanted: (JSON) -> Bool) -> [JSON] {
    objects[resource, default: [:]].filter { isWanted($0.value) }.sorted { $0.key < $1.key }.map(\.value)
  }

  // MARK: Writes

  mutating func create(_ resource: GroupVersionResource, _ input: JSON) throws -> JSON {
    var object = input
    nextUID += 1
    if object.name.isEmpty, let prefix = object.at("metadata", "generateName")?.string {
      object.set(JSON(prefix + Self.suffix(nextUID)), at: "metadata", "name")
    }
    if objects[resource]?[object.key] != nil {
      throw APIStatusError(
        code: 409, reason: "AlreadyExists", message: "\(resource) \"\(object.name)\" already exists")
    }
    try refuseWithoutNamespace(resource, object)
    if object.uid.isEmpty { object.set(JSON("uid-\(nextUID)"), at: "metadata", "uid") }
    object.set(JSON(Timestamp.nowText()), at: "metadata", "creationTimestamp")
    object.set(1, at: "metadata", "generation")
    if resource == .namespaces {
      goneNamespaces.remove(object.name)
      if object.at("spec", "finalizers") == nil { object.set(["kubernetes"], at: "spec", "finalizers") }
      object.set("Active", at: "status", "phase")
    }
    if resource == .pods, object.at("status", "phase") == nil { object.set("Pending", at: "status", "phase") }
    return store(resource, object)
  }

  /// As admission does: nothing new comes into a namespace that goes, or is gone.
  private func refuseWithoutNamespace(_ resource: GroupVersionResource, _ object: JSON) throws {
    let namespace = object.namespace
    guard !namespace.isEmpty else { return }
    if goneNamespaces.contains(namespace) { throw APIStatusError.notFound(.namespaces, namespace) }
    guard objects[.namespaces]?[ObjectKey("", namespace)]?.isTerminating == true else { return }
    throw APIStatusError(
      code: 403, reason: "Forbidden",
      message: "\(resource) \"\(object.name)\" is forbidden: unable to create new content in namespace "
        + "\(namespace) because it is being terminated")
  }

  mutating func update(_ resource: GroupVersionResource, _ input: JSON, subresource: String?) throws -> JSON {
    let old = try existing(resource, input.key)
    if !input.resourceVersion.isEmpty, input.resourceVersion != old.resourceVersion {
      throw APIStatusError(
        code: 409, reason: "Conflict",
        message:
          "Operation cannot be fulfilled on \(resource) \"\(input.name)\": the object has been modified; "
          + "please apply your changes to the latest version and try again")
    }
    var new = input
    switch subresource {
    case "status", "approval":
      new = old
      new["status"] = input["status"]
    case "scale":
      new = old
      new.set(input.at("spec", "replicas"), at: "spec", "replicas")
      if new["spec"] != old["spec"] { new.set(JSON(old.generation + 1), at: "metadata", "generation") }
    case "finalize":
      new = old
      new.set(input.at("spec", "finalizers"), at: "spec", "finalizers")
    default:
      if let status = old["status"] { new["status"] = status }
      for field in ["uid", "creationTimestamp", "deletionTimestamp", "generation"] {
        new.set(old.at("metadata", field), at: "metadata", field)
      }
      if new["spec"] != old["spec"] { new.set(JSON(old.generation + 1), at: "metadata", "generation") }
    }
    var compared = new
    compared.set(old.at("metadata", "resourceVersion"), at: "metadata", "resourceVersion")
    if compared == old { return old }
    if new.isTerminating, isDone(resource, new) {
      remove(resource, new.key)
      return new
    }
    return store(resource, new)
  }

  private func isDone(_ resource: GroupVersionResource, _ object: JSON) -> Bool {
    guard object.finalizers.isEmpty else { return false }
    if resource == .namespaces { return object.at("spec", "finalizers")?.elements.isEmpty ?? true }
    if resource == .pods { return (object.at("metadata", "deletionGracePeriodSeconds")?.int ?? 0) == 0 }
    return true
  }

  mutating func delete(_ resource: GroupVersionResource, _ key: ObjectKey, _ options: DeleteOptions) throws {
    var object = try existing(resource, key)
    if let uid = options.uid, uid != object.uid {
      throw APIStatusError(
        code: 409, reason: "Conflict", message: "uid of \(key) is \(object.uid), not \(uid)")
    }
    if let version = options.resourceVersion, version != object.resourceVersion {
      throw APIStatusError(
        code: 409, reason: "Conflict",
        message: "version of \(key) is \(object.resourceVersion), not \(version)")
    }
    var finalizers = object.finalizers
    if options.propagationPolicy == "Foreground" { finalizers.append("foregroundDeletion") }
    if options.propagationPolicy == "Orphan" { finalizers.append("orphan") }
    if finalizers != object.finalizers { object.set(JSON(finalizers), at: "metadata", "finalizers") }
    var grace = 0
    if resource == .pods, object.at("spec", "nodeName") != nil {
      grace = options.gracePeriodSeconds ?? object.at("spec", "terminationGracePeriodSeconds")?.int ?? 30
    }
    if object.isTerminating {
      let earlier = object.at("metadata", "deletionGracePeriodSeconds")?.int ?? 0
      object.set(JSON(min(earlier, grace)), at: "metadata", "deletionGracePeriodSeconds")
    } else {
      object.set(JSON(Timestamp.nowText()), at: "metadata", "deletionTimestamp")
      object.set(JSON(grace), at: "metadata", "deletionGracePeriodSeconds")
      if resource == .namespaces { object.set("Terminating", at: "status", "phase") }
    }
    if isDone(resource, object) {
      remove(resource, key)
    } else {
      store(resource, object)
    }
  }

  @discardableResult mutating func store(_ resource: GroupVersionResource, _ input: JSON) -> JSON {
    var object = input
    revision += 1
    object.set(JSON("\(revision)"), at: "metadata", "resourceVersion")
    let old = objects[resource]?[object.key]
    objects[resource, default: [:]][object.key] = object
    record(resource, old: old, new: object)
    return object
  }

  mutating func remove(_ resource: GroupVersionResource, _ key: ObjectKey) {
    if resource == .namespaces { goneNamespaces.insert(key.name) }
    guard var old = objects[resource]?.removeValue(forKey: key) else { return }
    revision += 1
    old.set(JSON("\(revision)"), at: "metadata", "resourceVersion")
    record(resource, old: old, new: nil)
  }

  private static func suffix(_ number: Int) -> String {
    let alphabet = Array("bcdfghjklmnpqrstvwxz2456789")
    var rest = number
    return String(
      (0..<5).map { _ in
        defer { rest /= alphabet.count }
        return alphabet[rest % alphabet.count]
      })
  }

  // MARK: Watches

  private mutating func record(_ resource: GroupVersionResource, old: JSON?, new: JSON?) {
    let entry = Entry(revision: revision, resource: resource, old: old, new: new)
    history.append(entry)
    if history.count > MemoryClusterAPI.historyMax { history.removeFirst(history.count / 2) }
    for (id, watcher) in watchers where watcher.resource == resource {
      guard let event = Self.event(entry, watcher) else { continue }
      if case .dropped = watcher.continuation.yield(event) {
        watchers[id] = nil
        watcher.continuation.finish()
      }
    }
  }

  /// What a watcher sees of a step: leaving its selector reads as a deletion, entering it as an addition.
  private static func event(_ entry: Entry, _ watcher: Watcher) -> WatchEvent? {
    let before = entry.old.map { watcher.options.selects($0, namespace: watcher.namespace) } ?? false
    let after = entry.new.map { watcher.options.selects($0, namespace: watcher.namespace) } ?? false
    switch (before, after) {
    case (false, true): return entry.new.map { .added($0) }
    case (true, true): return entry.new.map { .modified($0) }
    case (true, false):
      guard var last = entry.old else { return nil }
      last.set(JSON("\(entry.revision)"), at: "metadata", "resourceVersion")
      return .deleted(last)
    case (false, false): return nil
    }
  }

  mutating func addWatcher(
    _ resource: GroupVersionResource, namespace: String, options: ListOptions,
    _ continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation
  ) throws -> Ended {
    for (id, watcher) in watchers where watcher.ended.value.load(ordering: .relaxed) { watchers[id] = nil }
    let watcher = Watcher(
      resource: resource, namespace: namespace, options: options, continuation: continuation)
    if options.sendInitialEvents || options.resourceVersion == nil || options.resourceVersion == "0" {
      for object in sorted(resource, where: { options.selects($0, namespace: namespace) }) {
        continuation.yield(.added(object))
      }
      if options.sendInitialEvents {
        continuation.yield(.bookmark(resourceVersion: "\(revision)", isInitialEventsEnd: true))
      }
    } else {
      let from = options.resourceVersion.flatMap { Int($0) } ?? 0
      if from < revision, (history.first?.revision ?? revision + 1) > from + 1 {
        throw APIStatusError(code: 410, reason: "Expired", message: "too old resource version: \(from)")
      }
      for entry in history where entry.revision > from && entry.resource == resource {
        if let event = Self.event(entry, watcher) { continuation.yield(event) }
      }
    }
    nextWatcher += 1
    watchers[nextWatcher] = watcher
    return watcher.ended
  }
}
