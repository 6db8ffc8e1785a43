// How a watch sees changes: which of them, in which form, as which lines. Watches with equal views share one.

import ClusterObjects
import ClusterStore
import NIOCore

/// How a client wants objects to look.
enum Representation: Sendable, Equatable {
  case full
  case table(TableObject)
  case partial
}

/// Immutable.
final class WatchView: Sendable {
  /// Watches of a resource with equal keys are sent the same bytes.
  struct Key: Hashable, Sendable {
    var form: SharedLines.Form
    var wantsBookmarks: Bool
    var namespace: String
    var labels: LabelSelector
    var fields: FieldSelector
  }
  let kind: ResourceKind
  let representation: Representation
  let wantsBookmarks: Bool
  private let filter: WatchFilter

  init(filter: WatchFilter, representation: Representation, wantsBookmarks: Bool) {
    kind = filter.kind
    self.filter = filter
    self.representation = representation
    self.wantsBookmarks = wantsBookmarks
  }

  /// Nil for tables: their first row carries the columns, so that each watch has lines of its own.
  var key: Key? {
    if case .table = representation { return nil }
    return Key(
      form: form, wantsBookmarks: wantsBookmarks, namespace: filter.namespace, labels: filter.labels,
      fields: filter.fields)
  }

  private var form: SharedLines.Form {
    SharedLines.Form(apiVersion: kind.apiVersion, isPartial: representation == .partial)
  }

  /// The state at the beginning, as parts of lines: objects' bytes are not copied.
  func initial(_ objects: [CachedObject], hasColumns: inout Bool) -> [ByteBuffer] {
    var parts: [ByteBuffer] = []
    parts.reserveCapacity(3 * objects.count)
    for object in objects { parts += line(.added, object, &hasColumns) }
    return parts
  }

  /// The lines of a batch of changes, one buffer each; empty when it sees none of them.
  func lines(_ events: [CacheEvent], shared: SharedLines, hasColumns: inout Bool) -> [ByteBuffer] {
    var lines: [ByteBuffer] = []
    for event in events {
      guard let (object, kind) = told(event) else { continue }
      if case .table = representation {
        lines.append(whole(kind, object, &hasColumns))
      } else {
        lines.append(shared.line(form, object, kind) { whole(kind, object, &hasColumns) })
      }
    }
    return lines
  }

  /// What a watch is told of an event, if anything.
  private func told(_ event: CacheEvent) -> (CachedObject, CacheEvent.Kind)? {
    guard let seen = filter.seen(event) else { return nil }
    // An object that no longer matches is shown as it was when it did, at the revision of the change.
    if seen == .deleted, event.kind != .deleted, let previous = event.previous {
      return (CachedObject(key: previous.key, revision: event.revision, tree: previous.tree), .deleted)
    }
    return (event.object, seen)
  }

  private static let added = ByteBuffer(string: "{\"type\":\"ADDED\",\"object\":")
  private static let modified = ByteBuffer(string: "{\"type\":\"MODIFIED\",\"object\":")
  private static let deleted = ByteBuffer(string: "{\"type\":\"DELETED\",\"object\":")
  private static let end = ByteBuffer(string: "}\n")

  private func whole(_ kind: CacheEvent.Kind, _ object: CachedObject, _ hasColumns: inout Bool) -> ByteBuffer
  {
    let parts = line(kind, object, &hasColumns)
    var whole = ByteBufferAllocator().buffer(capacity: parts.reduce(0) { $0 + $1.readableBytes })
    for part in parts { whole.writeImmutableBuffer(part) }
    return whole
  }

  private func line(
    _ kind: CacheEvent.Kind, _ cached: CachedObject, _ hasColumns: inout Bool
  ) -> [ByteBuffer] {
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
      let table = self.kind.printer.table(
        [object.tree], now: .now, include: include,
        listMetadata: ["resourceVersion": JSON(String(object.revision))], withColumns: !hasColumns)
      hasColumns = true
      return [head, ByteBuffer(bytes: table.bytes), Self.end]
    }
  }

  /// `isInitialEnd`: marks the end of the state at the beginning.
  func bookmark(_ revision: Revision, isInitialEnd: Bool = false) -> ByteBuffer {
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
