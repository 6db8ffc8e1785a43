// The history of a StatefulSet's or DaemonSet's template, one ControllerRevision a state: what `kubectl
// rollout history` shows and `kubectl rollout undo` goes back to.

import ClusterClient
import ClusterObjects
import Diagnostics

/// What is written down of a template. `$patch` makes `kubectl rollout undo`, which applies this as a
/// strategic merge, take the template as a whole.
func revisionData(_ owner: JSON) -> JSON {
  var template = owner.at("spec", "template") ?? .object([:])
  template["$patch"] = "replace"
  return ["spec": ["template": template]]
}

/// The template in a ControllerRevision.
func revisionTemplate(_ revision: JSON) -> JSON {
  var template = revision.at("data", "spec", "template") ?? .object([:])
  template["$patch"] = nil
  return template
}

/// What the history lacks for today's template.
enum RevisionStep: Equatable {
  /// The newest revision is today's template.
  case upToDate(JSON)
  /// An older one is: it becomes the newest.
  case renumber(JSON)
  case create(JSON)
}

/// `revisions` are those of the owner. `hashLabel` is the label that carries the revision's hash.
func planRevision(_ owner: JSON, revisions: [JSON], hashLabel: String, collisions: Int?) -> RevisionStep {
  let data = revisionData(owner)
  let sorted = revisions.sorted(by: isOlderRevision)
  let next = (sorted.last?["revision"]?.integer ?? 0) + 1
  if let last = sorted.last, last["data"] == data { return .upToDate(last) }
  if var same = sorted.last(where: { $0["data"] == data }) {
    same["revision"] = .integer(next)
    return .renumber(same)
  }
  let hash = stableHash(data, collisions: collisions)
  var labels = owner.at("spec", "template", "metadata", "labels")?.stringMap ?? [:]
  labels[hashLabel] = hash
  var metadata: JSON = [
    "name": JSON("\(owner.name)-\(hash)"), "namespace": JSON(owner.namespace), "labels": JSON(labels),
    "ownerReferences": [owner.controllerReferenceToThis],
  ]
  let annotations = owner.annotations.filter { $0.key != "kubectl.kubernetes.io/last-applied-configuration" }
  if !annotations.isEmpty { metadata["annotations"] = JSON(annotations) }
  return .create([
    "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": data,
    "revision": .integer(next),
  ])
}

func isOlderRevision(_ a: JSON, _ b: JSON) -> Bool {
  (a["revision"]?.integer ?? 0, a.createdAt, a.name) < (b["revision"]?.integer ?? 0, b.createdAt, b.name)
}

/// Revisions past the limit, oldest first; those in `live` stay and do not count.
func planHistory(_ revisions: [JSON], live: Set<String>, limit: Int) -> [JSON] {
  let idle = revisions.filter { !live.contains($0.name) && !$0.isTerminating }.sorted(by: isOlderRevision)
  return Array(idle.prefix(max(0, idle.count - limit)))
}

/// Reads and writes the history of owners of one kind.
struct RevisionKeeper: Sendable {
  let context: ControllerContext
  let revisions: Informer
  let hashLabel: String

  /// The history, adopted where it has no owner, and the revision of today's template, made when there is
  /// none. `collisions` is the owner's count afterwards.
  func keep(_ owner: JSON) async throws -> (all: [JSON], update: JSON, collisions: Int?) {
    var owned: [JSON] = []
    let selector = SelectorMatch.selector(owner.at("spec", "selector"))
    for revision in revisions.objects(claimableBy: owner, selector: selector) {
      if revision.isControlled(by: owner) {
        owned.append(revision)
      } else if revision.controllerReference == nil, !revision.isTerminating,
        selector.matches(revision.labels)
      {
        var adopted = revision
        adopted.set(
          .array(revision.ownerReferences + [owner.controllerReferenceToThis]), at: "metadata",
          "ownerReferences")
        owned.append(
          try await context.api.update(
            .controllerRevisions, adopted, subresource: nil, options: context.options))
      }
    }
    var collisions = owner.at("status", "collisionCount")?.int
    while true {
      switch planRevision(owner, revisions: owned, hashLabel: hashLabel, collisions: collisions) {
      case .upToDate(let revision): return (owned, revision, collisions)
      case .renumber(let revision):
        let written = try await context.api.update(
          .controllerRevisions, revision, subresource: nil, options: context.options)
        return (owned.map { $0.name == written.name ? written : $0 }, written, collisions)
      case .create(let revision):
        do {
          let made = try await context.api.create(.controllerRevisions, revision, options: context.options)
          return (owned + [made], made, collisions)
        } catch let error as APIStatusError where error.isAlreadyExists {
          let existing = try await context.api.get(
            .controllerRevisions, namespace: revision.namespace, name: revision.name)
          // Ours, and the informer is behind.
          if existing["data"] == revision["data"], existing.isControlled(by: owner) {
            return (owned + [existing], existing, collisions)
          }
          // Another template with the same hash: count it, and the next name differs.
          collisions = (collisions ?? 0) + 1
        }
      }
    }
  }

  func truncate(_ owner: JSON, _ revisions: [JSON], live: Set<String>) async throws {
    let limit = owner.at("spec", "revisionHistoryLimit")?.int ?? 10
    for revision in planHistory(revisions, live: live, limit: limit) {
      try await context.api.deleteIfPresent(
        .controllerRevisions, revision.key, options: DeleteOptions(uid: revision.uid))
    }
  }
}
