// Upstream's cases of watches, by their names. Where upstream waits to see that nothing comes, a change that must
// come next is made instead.

import ClusterClient
import ClusterObjects
import Testing

private let labelA = "multiple-watchers-A"
private let labelB = "multiple-watchers-B"

private func map(_ namespace: String, _ name: String, _ value: String) -> JSON {
  [
    "metadata": [
      "name": JSON(name), "namespace": JSON(namespace), "labels": ["watch-this-configmap": JSON(value)],
    ]
  ]
}

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct WatcherConformance {
  private func mutate(_ cluster: Cluster, _ namespace: String, _ name: String, _ number: Int) async throws
    -> JSON
  {
    try await cluster.merge(.configMaps, namespace, name, ["data": ["mutation": JSON("\(number)")]])
  }

  @Test func `should observe add, update, and delete watch notifications on configmaps`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("watch")
    let onlyA = try await cluster.watch(.configMaps, space, labels: "watch-this-configmap=\(labelA)")
    let onlyB = try await cluster.watch(.configMaps, space, labels: "watch-this-configmap=\(labelB)")
    let both = try await cluster.watch(
      .configMaps, space, labels: "watch-this-configmap in (\(labelA),\(labelB))")
    func seen(_ type: String, _ object: JSON, by watches: Watching...) async throws {
      for watch in watches {
        let event = try await watch.expect(type)
        #expect(event.name == object.name)
        if type != "DELETED" { #expect(event == object) }
      }
    }
    try await seen("ADDED", try await cluster.create(.configMaps, map(space, "a", labelA)), by: onlyA, both)
    for number in 1...2 {
      try await seen("MODIFIED", try await mutate(cluster, space, "a", number), by: onlyA, both)
    }
    let last = try await cluster.get(.configMaps, space, "a")
    try await cluster.delete(.configMaps, space, "a")
    try await seen("DELETED", last, by: onlyA, both)
    // What comes next to the watch of B is B: nothing of A came before.
    let other = try await cluster.create(.configMaps, map(space, "b", labelB))
    try await seen("ADDED", other, by: onlyB, both)
    try await cluster.delete(.configMaps, space, "b")
    try await seen("DELETED", other, by: onlyB, both)
    try await seen("ADDED", try await cluster.create(.configMaps, map(space, "a2", labelA)), by: onlyA, both)
  }

  @Test func `should be able to start watching from a specific resource version`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("watch")
    try await cluster.create(.configMaps, map(space, "m", "from-resource-version"))
    let first = try await mutate(cluster, space, "m", 1)
    let second = try await mutate(cluster, space, "m", 2)
    try await cluster.delete(.configMaps, space, "m")
    let watch = try await cluster.watch(
      .configMaps, space, labels: "watch-this-configmap=from-resource-version", from: first.resourceVersion)
    #expect(try await watch.expect("MODIFIED") == second)
    let deleted = try await watch.expect("DELETED")
    #expect(deleted.at("data", "mutation") == "2")
  }

  @Test
  func `should be able to restart watching from the last resource version observed by the previous watch`()
    async throws
  {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("watch")
    let labels = "watch-this-configmap=watch-closed-and-restarted"
    var version = ""
    do {
      let watch = try await cluster.watch(.configMaps, space, labels: labels)
      let made = try await cluster.create(.configMaps, map(space, "m", "watch-closed-and-restarted"))
      let changed = try await mutate(cluster, space, "m", 1)
      #expect(try await watch.expect("ADDED") == made)
      let event = try await watch.expect("MODIFIED")
      #expect(event == changed)
      version = event.resourceVersion
    }
    // While nobody watches.
    let missed = try await mutate(cluster, space, "m", 2)
    let again = try await cluster.watch(.configMaps, space, labels: labels, from: version)
    try await cluster.delete(.configMaps, space, "m")
    #expect(try await again.expect("MODIFIED") == missed)
    try await again.expect("DELETED")
  }

  @Test func `should observe an object deletion if it stops meeting the requirements of the selector`()
    async throws
  {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("watch")
    let value = "label-changed-and-restored"
    func relabel(_ value: String) async throws -> JSON {
      try await cluster.merge(
        .configMaps, space, "m", ["metadata": ["labels": ["watch-this-configmap": JSON(value)]]])
    }
    let watch = try await cluster.watch(.configMaps, space, labels: "watch-this-configmap=\(value)")
    let made = try await cluster.create(.configMaps, map(space, "m", value))
    let changed = try await mutate(cluster, space, "m", 1)
    _ = try await relabel("wrong-value")
    #expect(try await watch.expect("ADDED") == made)
    #expect(try await watch.expect("MODIFIED") == changed)
    #expect(try await watch.expect("DELETED").at("data", "mutation") == "1")
    // A change outside the selection is not told; the next event is the return.
    _ = try await mutate(cluster, space, "m", 2)
    let restored = try await relabel(value)
    let third = try await mutate(cluster, space, "m", 3)
    try await cluster.delete(.configMaps, space, "m")
    #expect(try await watch.expect("ADDED") == restored)
    #expect(try await watch.expect("MODIFIED") == third)
    #expect(try await watch.expect("DELETED").at("data", "mutation") == "3")
  }

  @Test func `should receive events on concurrent watches in same order`() async throws {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("watch")
    let start = try await cluster.api.list(.configMaps, namespace: space, options: ListOptions())
    let first = try await cluster.watch(.configMaps, space, from: start.resourceVersion)
    let writer = Task {
      // Creations, updates and deletions in turn, until the watches have seen enough.
      for number in 0..<10_000 {
        let name = "cm-\(number % 7)"
        switch number / 7 % 3 {
        case 0: try await cluster.create(.configMaps, map(space, name, "x"))
        case 1: try await cluster.merge(.configMaps, space, name, ["data": ["n": JSON("\(number)")]])
        default: try await cluster.delete(.configMaps, space, name)
        }
      }
    }
    defer { writer.cancel() }
    var watches = [first]
    for _ in 0..<20 {
      var seen: [String] = []
      for watch in watches { seen.append(try await watch.next().object.resourceVersion) }
      #expect(Set(seen).count == 1, "every watch shows the same change: \(seen)")
      watches.append(try await cluster.watch(.configMaps, space, from: seen[0]))
    }
  }
}
