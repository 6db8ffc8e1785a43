// When a ConfigMap or Secret that pods hold in files changes: one watch an object, however many pods of the namespace
// refer to it. A node may read nothing but single names, so each watch is of one (`fieldSelector=metadata.name=NAME`).

import ClusterObjects
import Diagnostics
import Logging

/// An object that a pod refers to.
struct ObjectReference: Hashable, Sendable {
  /// `configMap` or `secret`.
  var kind: String
  var namespace: String
  var name: String
}

/// Follows the objects of pods' volumes. At most `watchesMax` at once: those beyond wait for a place, and their pods are
/// brought up to date by the slow round, as are those whose watch cannot be had.
actor ObjectWatches {
  static let watchesMax = 256
  private static let retryMax: Duration = .seconds(30)

  /// Told of each state of an object: its resourceVersion, empty while there is none. Must return soon.
  typealias Listener = @Sendable (ObjectReference, _ version: String) async -> Void

  private struct Watched {
    var pods: [String: Listener] = [:]
    var task: Task<Void, Never>?
    /// What was last said of it; nil before the first answer and while the server cannot be reached.
    var version: String?
    /// It says of itself that it never changes, or there is nobody to follow it.
    var isSettled = false
  }

  private let objects: any PodObjects
  private let limit: Int
  private let open: Gauge
  private var watched: [ObjectReference: Watched] = [:]
  private var references: [String: Set<ObjectReference>] = [:]
  private var running = 0
  private let log = Logger(label: "node")

  init(_ objects: any PodObjects, metrics: Metrics, limit: Int = ObjectWatches.watchesMax) {
    self.objects = objects
    self.limit = limit
    open = metrics.gauge(
      "weft_node_object_watches", "Watches of ConfigMaps and Secrets in pods' volumes, at most 256."
    ).child()
  }

  /// From now on `listener` is told of these, and of no others that the pod had before.
  func follow(_ pod: String, _ wanted: Set<ObjectReference>, _ listener: @escaping Listener) {
    let before = references[pod] ?? []
    guard wanted != before else { return }
    references[pod] = wanted.isEmpty ? nil : wanted
    for reference in before.subtracting(wanted) { release(reference, pod) }
    for reference in wanted.subtracting(before) {
      watched[reference, default: Watched()].pods[pod] = listener
      begin(reference)
    }
  }

  /// The pod needs nothing any more.
  func forget(_ pod: String) {
    for reference in references.removeValue(forKey: pod) ?? [] { release(reference, pod) }
  }

  /// Whether every change of the pod's objects is told: nobody need look.
  func isFollowing(_ pod: String) -> Bool {
    (references[pod] ?? []).allSatisfy { watched[$0]?.version != nil }
  }

  func stop() {
    for entry in watched.values { entry.task?.cancel() }
    watched = [:]
    references = [:]
  }

  var count: Int { running }

  private func release(_ reference: ObjectReference, _ pod: String) {
    watched[reference]?.pods[pod] = nil
    guard let entry = watched[reference], entry.pods.isEmpty else { return }
    entry.task?.cancel()
    watched[reference] = nil
  }

  private func begin(_ reference: ObjectReference) {
    guard let entry = watched[reference], entry.task == nil, !entry.isSettled, running < limit else { return }
    running += 1
    open.set(Double(running))
    watched[reference]?.task = Task { await self.run(reference) }
  }

  private func run(_ reference: ObjectReference) async {
    var failures = 0
    while !Task.isCancelled, watched[reference]?.isSettled == false {
      do {
        try await objects.follow(reference.kind, namespace: reference.namespace, name: reference.name) {
          object in
          await self.take(reference, object)
        }
        failures = 0
      } catch is CannotFollow {
        watched[reference]?.isSettled = true
      } catch {
        if Task.isCancelled || watched[reference]?.isSettled != false { break }
        if watched[reference]?.version != nil { failures = 0 }
        watched[reference]?.version = nil
        failures += 1
        log.debug(
          "object cannot be followed, trying again",
          metadata: [
            "object": "\(reference.kind) \(reference.namespace)/\(reference.name)",
            "error": "\(runtimeMessage(error))",
          ])
      }
      // Spread, so that a server that comes back is not asked for everything at one moment.
      let delay = min(Self.retryMax, .milliseconds(20 << min(failures, 11)))
      try? await Task.sleep(for: delay * Double.random(in: 0.5...1))
    }
    running -= 1
    open.set(Double(running))
    if Task.isCancelled == false { watched[reference]?.task = nil }
    // Its place is free for one that waited.
    if let waiting = watched.first(where: {
      $0.value.task == nil && !$0.value.isSettled && $0.key != reference
    }) {
      begin(waiting.key)
    }
  }

  private func take(_ reference: ObjectReference, _ object: JSON?) async {
    guard !Task.isCancelled, watched[reference] != nil else { return }
    let version = object?.resourceVersion ?? ""
    if object?["immutable"]?.bool == true {
      watched[reference]?.isSettled = true
      watched[reference]?.task?.cancel()
    }
    guard watched[reference]?.version != version else { return }
    watched[reference]?.version = version
    for listener in (watched[reference]?.pods ?? [:]).values { await listener(reference, version) }
  }
}

/// This source of objects has no watches: the slow round has to do.
public struct CannotFollow: Error {
  public init() {}
}

/// Whether files made from `used` are older than `latest` says the object is. Versions are compared as numbers where they
/// are numbers; an empty one is an object that is not there.
func isVersion(_ used: String, before latest: String) -> Bool {
  guard let used = UInt64(used), let latest = UInt64(latest) else { return used != latest }
  return used < latest
}
