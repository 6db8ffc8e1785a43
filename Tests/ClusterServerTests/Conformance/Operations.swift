// What upstream's cases named "should support … API operations" have in common: a kind is found by discovery, and
// each verb does what it says.

import ClusterClient
import ClusterObjects
import Testing

/// A kind without namespace, and what its case changes.
struct OperationsCase {
  var resource: GroupVersionResource
  var hasStatus = true
  /// A spec, for the n-th object.
  var spec: (Int) -> JSON

  func run() async throws {
    let cluster = try Cluster.here
    let mark = "e2e-\(resource.resource)"
    func object(_ number: Int) -> JSON {
      [
        "metadata": ["generateName": JSON(mark + "-"), "labels": ["special-label": JSON(mark)]],
        "spec": spec(number),
      ]
    }
    let subresources = hasStatus ? [resource.resource + "/status"] : []
    try await expectDiscovered(cluster, resource, [resource.resource] + subresources)

    let first = try await cluster.create(resource, object(0))
    for number in 1..<3 { try await cluster.create(resource, object(number)) }
    #expect(first.name.hasPrefix(mark) && !first.uid.isEmpty)
    let read = try await cluster.get(resource, "", first.name)
    #expect(read == first)
    let list = try await cluster.api.list(
      resource, namespace: "", options: ListOptions(labelSelector: "special-label=\(mark)"))
    #expect(list.items.count == 3 && list.items.contains { $0.uid == first.uid })

    let watch = try await cluster.watch(
      resource, "", labels: "special-label=\(mark)", from: list.resourceVersion)
    let patched = try await cluster.merge(
      resource, "", first.name, ["metadata": ["annotations": ["patched": "true"]]])
    #expect(patched.annotations["patched"] == "true")
    #expect(try await watch.expect("MODIFIED") == patched)
    let updated = try await cluster.replace(resource, "", first.name) {
      $0.set("true", at: "metadata", "annotations", "updated")
      $0["spec"] = spec(1)
    }
    #expect(updated.annotations == ["patched": "true", "updated": "true"])
    for (key, value) in spec(1).object ?? [:] where value.object == nil && value.array == nil {
      #expect(updated.spec[key] == value, "\(key)")
    }
    #expect(updated.generation == first.generation + 1)
    #expect(try await watch.expect("MODIFIED") == updated)

    if hasStatus { try await status(cluster, first.name, watch) }

    try await cluster.delete(resource, "", first.name)
    #expect(try await cluster.find(resource, "", first.name) == nil)
    #expect(try await watch.expect("DELETED").uid == first.uid)
    #expect(try await cluster.list(resource, "", labels: "special-label=\(mark)").count == 2)
    try await cluster.deleteCollection(resource, labels: "special-label=\(mark)")
    #expect(try await cluster.list(resource, "", labels: "special-label=\(mark)").isEmpty)
  }

  private func status(_ cluster: Cluster, _ name: String, _ watch: Watching) async throws {
    let path = "/apis/\(resource.groupVersion)/\(resource.resource)/\(name)/status"
    let before = try await cluster.document(path)
    #expect(before.name == name)
    func condition(_ reason: String) -> JSON {
      [
        "type": "PatchStatusFailed", "status": "False", "reason": JSON(reason), "message": "for the test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
      ]
    }
    let patched = try await cluster.merge(
      resource, "", name, ["status": ["conditions": [condition("ByPatch")]]], subresource: "status")
    #expect(patched.condition("PatchStatusFailed")?["reason"] == "ByPatch", "\(patched.text)")
    #expect(patched.spec == before.spec && patched.generation == before.generation)
    let updated = try await cluster.replace(resource, "", name, subresource: "status") {
      $0.set([condition("ByUpdate")], at: "status", "conditions")
    }
    #expect(updated.condition("PatchStatusFailed")?["reason"] == "ByUpdate")
    #expect(try await cluster.document(path).condition("PatchStatusFailed")?["reason"] == "ByUpdate")
    for _ in 0..<2 { try await watch.expect("MODIFIED") }
  }
}

/// The group, its version and these resources are in `/apis`, `/apis/GROUP` and `/apis/GROUP/VERSION`.
func expectDiscovered(
  _ cluster: Cluster, _ resource: GroupVersionResource, _ names: [String],
  sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  func versions(_ group: JSON?) -> [String] {
    group?["versions"]?.elements.compactMap { $0["groupVersion"]?.string } ?? []
  }
  let groups = try await cluster.document("/apis")["groups"]?.elements ?? []
  let group = groups.first { $0["name"] == JSON(resource.group) }
  #expect(versions(group).contains(resource.groupVersion), sourceLocation: sourceLocation)
  let alone = try await cluster.document("/apis/\(resource.group)")
  #expect(alone.kind == "APIGroup", sourceLocation: sourceLocation)
  #expect(versions(alone).contains(resource.groupVersion), sourceLocation: sourceLocation)
  let list = try await cluster.document("/apis/\(resource.groupVersion)")
  #expect(
    list.kind == "APIResourceList" && list["groupVersion"] == JSON(resource.groupVersion),
    sourceLocation: sourceLocation)
  let found = Set(list["resources"]?.elements.compactMap { $0["name"]?.string } ?? [])
  #expect(found.isSuperset(of: names), "\(found)", sourceLocation: sourceLocation)
}
