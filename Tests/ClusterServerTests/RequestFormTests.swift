// What a request may ask for beside the object: metadata alone, a table, and that the object is still the one that was seen.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct RequestFormTests {
  private static let maps = "/api/v1/namespaces/default/configmaps"
  private static let metadataOnly = "accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
  private static let metadataLists =
    "accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"

  private func withMaps(_ body: (ClusterServer, String, InProcessClient) async throws -> Void) async throws {
    try await withServer { server, folder in
      let api = server.client(user: "test")
      for name in ["a", "b"] {
        _ = try await api.create(
          .configMaps,
          [
            "metadata": ["name": JSON(name), "namespace": "default", "labels": ["app": JSON(name)]],
            "data": ["large": "secret"],
          ], options: WriteOptions())
      }
      try await body(server, folder, api)
    }
  }

  /// The events of a watch that ends by itself after a second.
  private func events(_ text: String) -> [JSON] {
    text.split(separator: "\n").compactMap { try? JSON(parsing: String($0)) }
  }

  @Test func `metadata alone is answered, listed and watched for who asks for it`() async throws {
    try await withMaps { server, folder, _ in
      let one = try await ask(server, folder, Self.maps + "/a", headers: [Self.metadataOnly])
      #expect(one.code == 200 && one.json.kind == "PartialObjectMetadata")
      #expect(one.json.apiVersion == "meta.k8s.io/v1")
      #expect(one.json.name == "a" && one.json.labels["app"] == "a" && one.json["data"] == nil)
      let list = try await ask(
        server, folder, Self.maps + "?labelSelector=app%3Db", headers: [Self.metadataLists])
      #expect(list.json.kind == "PartialObjectMetadataList")
      #expect(list.json["items"]?.elements.map(\.name) == ["b"])
      #expect(list.json.resourceVersion.isEmpty == false)
      #expect(!list.body.contains("secret"))
      let watch = try await ask(
        server, folder, Self.maps + "?watch=true&timeoutSeconds=1&labelSelector=app",
        headers: [Self.metadataOnly])
      let seen = events(watch.body).compactMap { $0["object"] }
      #expect(seen.map(\.kind) == ["PartialObjectMetadata", "PartialObjectMetadata"])
      #expect(Set(seen.map(\.name)) == ["a", "b"] && !watch.body.contains("secret"))
    }
  }

  @Test func `a table is answered, listed and watched, with as much of each object as was asked`()
    async throws
  {
    let table = "accept: application/json;as=Table;v=v1;g=meta.k8s.io"
    try await withMaps { server, folder, _ in
      for (include, kind) in [
        ("", "PartialObjectMetadata"), ("&includeObject=None", ""), ("&includeObject=Object", "ConfigMap"),
      ] {
        let list = try await ask(
          server, folder, Self.maps + "?labelSelector=app" + include, headers: [table])
        #expect(list.json.kind == "Table" && list.json["rows"]?.elements.count == 2)
        #expect(list.json["rows"]?[0]?["object"]?.kind == kind, "\(include)")
        #expect(list.json["columnDefinitions"]?[0]?["name"] == "Name")
      }
      let one = try await ask(server, folder, Self.maps + "/b", headers: [table])
      #expect(one.json["rows"]?[0]?["cells"]?[0] == "b")
      let watch = try await ask(
        server, folder, Self.maps + "?watch=true&timeoutSeconds=1&labelSelector=app", headers: [table])
      let tables = events(watch.body).compactMap { $0["object"] }
      #expect(tables.allSatisfy { $0.kind == "Table" && $0["rows"]?.elements.count == 1 })
      #expect(tables.count == 2)
      #expect(tables.first?["columnDefinitions"]?.elements.isEmpty == false)
    }
  }

  @Test func `a deletion that was meant for another object or an older state is a conflict`() async throws {
    try await withMaps { server, folder, api in
      let map = try await api.get(.configMaps, namespace: "default", name: "a")
      func delete(_ preconditions: JSON, _ more: JSON = [:]) async throws -> HTTPAnswer {
        var body: JSON = ["apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions]
        for (key, value) in more.object ?? [:] { body[key] = value }
        return try await ask(server, folder, Self.maps + "/a", "DELETE", body: body)
      }
      let other = try await delete(["uid": "another"])
      #expect(other.code == 409 && other.json["reason"] == "Conflict")
      #expect(
        other.json["message"]?.string?.hasSuffix(
          "Precondition failed: UID in precondition: another, UID in object meta: \(map.uid)") == true,
        "\(other.body)")
      let older = try await delete(["uid": JSON(map.uid), "resourceVersion": "1"])
      #expect(older.code == 409)
      #expect(
        older.json["message"]?.string?.hasSuffix(
          "Precondition failed: ResourceVersion in precondition: 1, ResourceVersion in object meta: "
            + map.resourceVersion) == true, "\(older.body)")
      let tried = try await delete(["uid": JSON(map.uid)], ["dryRun": ["All"]])
      #expect(tried.code == 200)
      #expect(try await api.get(.configMaps, namespace: "default", name: "a") == map)
      let right: JSON = ["uid": JSON(map.uid), "resourceVersion": JSON(map.resourceVersion)]
      let gone = try await delete(right)
      #expect(gone.code == 200 && gone.json["status"] == "Success")
      #expect(try await ask(server, folder, Self.maps + "/a").code == 404)
    }
  }

  @Test func `an update that names another uid is a conflict`() async throws {
    try await withMaps { _, _, api in
      var map = try await api.get(.configMaps, namespace: "default", name: "a")
      map.set("another", at: "metadata", "uid")
      map.set(nil, at: "metadata", "resourceVersion")
      let error = await refusal {
        _ = try await api.update(.configMaps, map, subresource: nil, options: WriteOptions())
      }
      #expect(error?.code == 409 && error?.message.contains("Precondition failed: UID") == true)
    }
  }

  @Test func `a watch is told how far it has come though nothing it selects happens`() async throws {
    try await withMaps { server, folder, api in
      let start = try await api.list(.configMaps, namespace: "default", options: ListOptions())
        .resourceVersion
      for _ in 0..<3 {
        _ = try await api.create(
          .configMaps, ["metadata": ["generateName": "other-", "namespace": "default"]],
          options: WriteOptions())
      }
      let now = try await api.list(.configMaps, namespace: "default", options: ListOptions()).resourceVersion
      let watch = try await ask(
        server, folder,
        Self.maps + "?watch=true&timeoutSeconds=1&labelSelector=app&allowWatchBookmarks=true&resourceVersion="
          + start)
      let seen = events(watch.body)
      #expect(seen.map { $0["type"]?.string } == ["BOOKMARK"], "\(watch.body)")
      let told = seen.last?["object"]?.resourceVersion ?? ""
      #expect(Int(told) ?? 0 >= Int(now) ?? .max, "\(told) of \(now)")
    }
  }
}
