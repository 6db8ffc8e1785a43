// Upstream's cases of lists in pages, by their names.

import ClusterClient
import ClusterObjects
import NIOHTTP1
import Testing

@testable import ClusterServer

private let count = 40
private let limit = 12

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct ChunkingConformance {
  private func templates(_ cluster: Cluster) async throws -> String {
    let space = try await cluster.namespace("chunking")
    for number in 0..<count {
      let padded = number < 10 ? "0\(number)" : "\(number)"
      try await cluster.create(
        .podTemplates,
        [
          "metadata": ["name": JSON("template-\(padded)"), "namespace": JSON(space)],
          "template": ["spec": ["containers": [["name": "test", "image": "test2"]]]],
        ])
    }
    return space
  }

  private func page(_ cluster: Cluster, _ space: String, _ token: String = "") async throws -> Cluster.Reply {
    let escaped = token.replacing("+", with: "%2B").replacing("/", with: "%2F").replacing("=", with: "%3D")
    return try await cluster.send(
      .GET, "/api/v1/namespaces/\(space)/podtemplates?limit=\(limit)&continue=\(escaped)")
  }

  /// Reads on from a page; `found` is how many came before.
  private func rest(
    _ cluster: Cluster, _ space: String, after first: JSON, found: Int
  ) async throws -> [JSON] {
    var items: [JSON] = []
    var list = first
    while let token = list.at("metadata", "continue")?.string, !token.isEmpty {
      let left = count - found - items.count
      #expect(list.at("metadata", "remainingItemCount")?.int == left)
      let reply = try await page(cluster, space, token)
      try #require(reply.code == 200, "\(reply.text)")
      list = reply.json
      #expect(list.resourceVersion == first.resourceVersion, "all pages show one moment")
      let got = list["items"]?.elements ?? []
      #expect(got.count == min(limit, left))
      items += got
    }
    #expect(list.at("metadata", "remainingItemCount") == nil)
    return items
  }

  private func names(_ items: [JSON]) -> [String] { items.map(\.name) }

  @Test func `should return chunks of results for list calls`() async throws {
    let cluster = try Cluster.here
    let space = try await templates(cluster)
    let first = try await page(cluster, space).json
    let head = first["items"]?.elements ?? []
    #expect(head.count == limit)
    let all = head + (try await rest(cluster, space, after: first, found: head.count))
    let whole = try await cluster.api.list(.podTemplates, namespace: space, options: ListOptions())
    #expect(whole.items.count == count && whole.continueToken == nil)
    #expect(names(all) == names(whole.items))
  }

  @Test
  func
    `should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent`()
    async throws
  {
    let cluster = try Cluster.here
    let space = try await templates(cluster)
    let first = try await page(cluster, space).json
    let head = first["items"]?.elements ?? []
    let token = try #require(first.at("metadata", "continue")?.string)
    // A change after it, so that the first page's revision is a past one, and the history is forgotten.
    try await cluster.create(
      .podTemplates,
      [
        "metadata": ["name": "template-00-later", "namespace": JSON(space)],
        "template": ["spec": ["containers": [["name": "test", "image": "test2"]]]],
      ])
    try await cluster.server.forgetHistory()
    let expired = try await page(cluster, space, token)
    #expect(expired.code == 410 && expired.json["reason"] == "Expired", "\(expired.text)")
    let next = try #require(expired.json.at("metadata", "continue")?.string, "\(expired.text)")
    #expect(!next.isEmpty)
    let reply = try await page(cluster, space, next)
    try #require(reply.code == 200, "\(reply.text)")
    let second = reply.json
    let body = second["items"]?.elements ?? []
    #expect(body.count == limit)
    #expect(second.resourceVersion != first.resourceVersion, "what follows is of another moment")
    let all =
      head + body + (try await rest(cluster, space, after: second, found: head.count + body.count))
    // What was made behind the first page's end is not seen; nothing else is missing or twice.
    #expect(names(all) == (0..<count).map { $0 < 10 ? "template-0\($0)" : "template-\($0)" })
  }
}
