// Versions of a custom kind that its author converts: a real webhook is asked, by every way of reading and writing.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private let hosts = ConvertedKind(
  group: "example.com", plural: "hosts", kind: "Host",
  versions: [
    .init(name: "v1", properties: ConvertedKind.spec(["hostPort": ["type": "string"]])),
    .init(
      name: "v2",
      properties: ConvertedKind.spec(["host": ["type": "string"], "port": ["type": "string"]])),
  ], stored: "v1")

/// `hostPort` of v1 is `host` and `port` of v2.
@Sendable private func convert(_ object: JSON, _ version: String) -> JSON {
  var result = object
  if version == "v2", let both = object.at("spec", "hostPort")?.string {
    let parts = both.split(separator: ":").map(String.init)
    result["spec"] = ["host": JSON(parts.first ?? ""), "port": JSON(parts.last ?? "")]
  } else if version == "v1", let host = object.at("spec", "host")?.string {
    result["spec"] = ["hostPort": JSON("\(host):\(object.at("spec", "port")?.string ?? "")")]
  }
  return result
}

private let v1 = GroupVersionResource("example.com", "v1", "hosts")
private let v2 = GroupVersionResource("example.com", "v2", "hosts")

@Suite(.serialized, .timeLimit(.minutes(10))) struct ConversionTests {
  @Test func `objects are read, listed, watched and written in each version`() async throws {
    try await withServer { server, folder in
      try await WebhookServer.with(folder, ConvertedKind.converting(convert)) { hook in
        try await server.install(crd: hosts.definition(hook))
        let api = server.client(user: "test")
        _ = try await api.create(
          v1, ["metadata": ["name": "a", "namespace": "default"], "spec": ["hostPort": "h:80"]],
          options: WriteOptions())
        let read = try await api.get(v2, namespace: "default", name: "a")
        #expect(read.at("spec", "host") == "h" && read.at("spec", "port") == "80", "\(read.text)")
        let events = try await api.watch(v2, namespace: "", options: ListOptions())
        _ = try await api.create(
          v2, ["metadata": ["name": "b", "namespace": "default"], "spec": ["host": "x", "port": "1"]],
          options: WriteOptions())
        #expect(try await api.get(v1, namespace: "default", name: "b").at("spec", "hostPort") == "x:1")
        _ = try await api.patch(
          v2, namespace: "default", name: "a", patch: .merge(["spec": ["port": "81"]]), subresource: nil,
          options: WriteOptions())
        #expect(try await api.get(v1, namespace: "default", name: "a").at("spec", "hostPort") == "h:81")
        let list = try await api.list(v2, namespace: "", options: ListOptions())
        #expect(list.items.map { $0.at("spec", "port")?.string } == ["81", "1"])
        #expect(list.items.allSatisfy { $0.apiVersion == "example.com/v2" })
        var seen: [String] = []
        for try await event in events {
          switch event {
          case .added(let object): seen.append("+\(object.name):\(object.at("spec", "port")?.string ?? "")")
          case .modified(let object):
            seen.append("~\(object.name):\(object.at("spec", "port")?.string ?? "")")
          default: break
          }
          if seen.count == 3 { break }
        }
        #expect(seen == ["+a:80", "+b:1", "~a:81"])
        #expect(hook.calls.allSatisfy { $0.review.kind == "ConversionReview" && $0.path == "/convert" })
      }
    }
  }

  @Test func `a webhook that fails, or changes what it may not, is an error in its own words`() async throws {
    try await withServer { server, folder in
      try await WebhookServer.with(folder) { _, request in
        guard request["objects"]?[0]?.name == "renamed" else {
          return .response(["result": ["status": "Failed", "message": "no such port"]])
        }
        var object = ConvertedKind.converted(
          request["objects"]?[0] ?? [:], to: "example.com/v2", convert)
        object.set("other", at: "metadata", "name")
        return .response(["result": ["status": "Success"], "convertedObjects": [object]])
      } _: { hook in
        try await server.install(crd: hosts.definition(hook))
        let api = server.client(user: "test")
        for name in ["a", "renamed"] {
          _ = try await api.create(
            v1, ["metadata": ["name": JSON(name), "namespace": "default"], "spec": ["hostPort": "h:80"]],
            options: WriteOptions())
        }
        for (name, text) in [
          ("a", "conversion webhook for example.com/v1, Kind=Host failed: no such port"),
          ("renamed", "name, namespace and uid must stay"),
        ] {
          do {
            _ = try await api.get(v2, namespace: "default", name: name)
            Issue.record("\(name) was converted")
          } catch let error as APIStatusError {
            #expect(error.code == 500 && error.message.contains(text), "\(error)")
          }
        }
      }
    }
  }
}
