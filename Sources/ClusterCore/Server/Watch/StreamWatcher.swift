// A watcher on the network: turns changes into the lines of its stream. What full objects need is
// serialized once and shared.

import ClusterObjects
import ClusterStore
import NIOCore
import Synchronization

/// How a client wants objects to look.
enum Representation: Sendable, Equatable {
  case full
  case table(TableObject)
  case partial
}

final class StreamWatcher: WatchSubscriber {
  private let writer: StreamWriter
  private let kind: ResourceKind
  private let filter: WatchFilter
  private let representation: Representation
  private let wantsBookmarks: Bool
  private let hasSentColumns = Mutex(false)

  init(
    writer: StreamWriter, kind: ResourceKind, filter: WatchFilter, representation: Representation,
    wantsBookmarks: Bool
  ) {
    self.writer = writer
    self.kind = kind
    self.filter = filter
    self.representation = representation
    self.wantsBookmarks = wantsBookmarks
  }

  func begin(_ objects: [CachedObject], end: Revision?) {
    writer.offer(objects.flatMap { line(.added, $0) })
    if let end { writer.offer([bookmarkLine(end, isInitialEnd: true)]) }
  }

  func offer(_ events: [CacheEvent]) { offer(events, shared: SharedLines()) }

  func offer(_ events: [CacheEvent], shared: SharedLines) {
    let lines: [ByteBuffer]
    switch representation {
    case .table: lines = events.flatMap { line($0) { object, kind in line(kind, object) } }
    case .full, .partial:
      let form = SharedLines.Form(apiVersion: kind.apiVersion, isPartial: representation == .partial)
      func made() -> [ByteBuffer] {
        events.flatMap { event in
          line(event) { object, kind in
            [shared.line(form, object, kind) { StreamWriter.joined(line(kind, object))[0] }]
          }
        }
      }
      if filter.labels.isEmpty, filter.fields.isEmpty {
        lines = shared.batch(form, namespace: filter.namespace) { StreamWriter.joined(made()) }
      } else {
        lines = made()
      }
    }
    if !lines.isEmpty { writer.offer(lines) }
  }

  /// What this watcher is told of an event, if anything.
  private func line(
    _ event: CacheEvent, _ make: (CachedObject, CacheEvent.Kind) -> [ByteBuffer]
  ) -> [ByteBuffer] {
    guard let seen = filter.seen(event) else { return [] }
    // An object that no longer matches is shown as it was when it did, at the revision of the change.
    if seen == .deleted, event.kind != .deleted, let previous = event.previous {
      return line(.deleted, CachedObject(key: previous.key, revision: event.revision, tree: previous.tree))
    }
    return make(event.object, seen)
  }

  func bookmark(_ revision: Revision) {
    if wantsBookmarks { writer.offer([bookmarkLine(revision, isInitialEnd: false)]) }
  }

  func finish() { writer.end() }

  func fail(_ status: JSON) {
    writer.offer([ByteBuffer(bytes: (["type": "ERROR", "object": status] as JSON).bytes + [0x0a])])
    writer.end()
  }

  private static let added = ByteBuffer(string: "{\"type\":\"ADDED\",\"object\":")
  private static let modified = ByteBuffer(string: "{\"type\":\"MODIFIED\",\"object\":")
  private static let deleted = ByteBuffer(string: "{\"type\":\"DELETED\",\"object\":")
  private static let end = ByteBuffer(string: "}\n")

  private func line(_ kind: CacheEvent.Kind, _ cached: CachedObject) -> [ByteBuffer] {
    let object = filter.served(cached)
    let head =
      switch kind {
      case .added: Self.added
      case .modified: Self.modified
      case .deleted: Self.deleted
      }
    switch representation {
    case .full: return [head, object.bytes, Self.end]
    case .partial: return [head, ByteBuffer(bytes: partialMetadata(of: object.tree).bytes), Self.end]
    case .table(let include):
      let first = hasSentColumns.withLock { sent in
        defer { sent = true }
        return !sent
      }
      let table = self.kind.printer.table(
        [object.tree], now: .now, include: include,
        listMetadata: ["resourceVersion": JSON(String(object.revision))],
        withColumns: first)
      return [head, ByteBuffer(bytes: table.bytes), Self.end]
    }
  }

  private func bookmarkLine(_ revision: Revision, isInitialEnd: Bool) -> ByteBuffer {
    var metadata: JSON = ["resourceVersion": JSON(String(revision)), "creationTimestamp": .null]
    if isInitialEnd { metadata["annotations"] = ["k8s.io/initial-events-end": "true"] }
    var object: JSON
    switch representation {
    case .full: object = ["kind": JSON(kind.kind), "apiVersion": JSON(kind.apiVersion), "metadata": metadata]
    case .partial:
      object = [
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
      ]
    case .table:
      object = [
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": ["resourceVersion": JSON(String(revision))], "columnDefinitions": .array([]),
        "rows": [
          [
            "cells": .array([]),
            "object": ["kind": JSON(kind.kind), "apiVersion": JSON(kind.apiVersion), "metadata": metadata],
          ]
        ],
      ]
    }
    let event: JSON = ["type": "BOOKMARK", "object": object]
    return ByteBuffer(bytes: event.bytes + [0x0a])
  }
}

extension KubeTime {
  /// This second.
  static var now: KubeTime { KubeTime(wallClock: ()) }
}
