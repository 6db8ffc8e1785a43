// What parameters of a request may say: a misspelt one must not do something else instead.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private let path = "/api/v1/namespaces/default/configmaps"
private let map: JSON = [
  "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "a"], "data": ["k": "v"],
]

@Suite(.serialized, .timeLimit(.minutes(10))) struct RequestOptionsTests {
  @Test func `a write with options that mean nothing is refused, and writes nothing`() async throws {
    try await withServer { server, folder in
      let cases: [(method: String, at: String, body: JSON, text: String)] = [
        (
          "POST", path + "?dryRun=all", map,
          "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"all\"]: supported values: \"All\""
        ),
        (
          "POST", path + "?dryRun=All&dryRun=Some", map,
          "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"All\",\"Some\"]: "
            + "supported values: \"All\""
        ),
        (
          "POST", path + "?fieldManager=" + String(repeating: "m", count: 129), map,
          "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes"
        ),
        (
          "PUT", path + "/kube-root-ca.crt?fieldManager=a%0Ab", map,
          "UpdateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\nb\": "
            + "should only contain printable characters"
        ),
        (
          "DELETE", path + "/kept?dryRun=yes", .null,
          "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"yes\"]: supported values: \"All\""
        ),
        (
          "DELETE", path + "/kept", ["kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["all"]],
          "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"all\"]: supported values: \"All\""
        ),
      ]
      let api = server.client(user: "test")
      _ = try await api.create(
        .configMaps, ["metadata": ["name": "kept", "namespace": "default"]], options: WriteOptions())
      for (method, at, body, text) in cases {
        let answer = try await ask(server, folder, at, method, body: body == .null ? nil : body)
        #expect(answer.code == 422 && answer.json["message"] == JSON(text), "\(method) \(at): \(answer)")
      }
      let patch = try await ask(
        server, folder, path + "/kept?force=true", "PATCH",
        headers: ["content-type: application/merge-patch+json"],
        more: ["--data-binary", "{\"data\":{\"x\":\"y\"}}"])
      #expect(
        patch.json["message"]
          == "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
        "\(patch)")
      let left = try await ask(server, folder, path)
      let names = left.json["items"]?.elements.map(\.name) ?? []
      #expect(names.contains("kept") && !names.contains("a"), "\(names)")
    }
  }

  @Test func `what a list may be asked to show is said in upstream's words`() async throws {
    try await withServer { server, folder in
      let cases = [
        (
          "?resourceVersionMatch=Exact", 422,
          "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: "
            + "resourceVersionMatch is forbidden unless resourceVersion is provided"
        ),
        (
          "?resourceVersionMatch=Exact&resourceVersion=0", 422,
          "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: "
            + "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""
        ),
        (
          "?resourceVersionMatch=Sometime&resourceVersion=1", 422,
          "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"Sometime\": "
            + "supported values: \"\", \"Exact\", \"NotOlderThan\""
        ),
        (
          "?resourceVersionMatch=Exact&resourceVersion=1&continue=abc", 422,
          "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: "
            + "resourceVersionMatch is forbidden when continue is provided"
        ),
        (
          "?resourceVersion=1&continue=abc", 400,
          "specifying resource version is not allowed when using continue"
        ),
      ]
      for (query, code, text) in cases {
        let answer = try await ask(server, folder, path + query)
        #expect(answer.code == code && answer.json["message"] == JSON(text), "\(query): \(answer)")
      }
    }
  }

  @Test func `across namespaces nothing is created or deleted`() async throws {
    try await withServer { server, folder in
      let created = try await ask(server, folder, "/api/v1/configmaps", "POST", body: map)
      #expect(created.code == 405, "\(created)")
      let deleted = try await ask(server, folder, "/api/v1/configmaps", "DELETE")
      #expect(deleted.code == 405, "\(deleted)")
      let all = try await ask(server, folder, "/api/v1/configmaps")
      #expect(all.json["items"]?.elements.isEmpty == false, "\(all)")
    }
  }

  @Test func `answers are indented when asked for, and for browsers`() async throws {
    try await withServer { server, folder in
      let at = "/api/v1/namespaces/default"
      let plain = try await ask(server, folder, at)
      #expect(plain.body.hasPrefix("{\"apiVersion\":\"v1\",\"kind\":\"Namespace\""), "\(plain)")
      for (query, headers) in [("?pretty=true", []), ("", ["user-agent: Mozilla/5.0 (X11)"])] {
        let indented = try await ask(server, folder, at + query, headers: headers)
        #expect(
          indented.body.hasPrefix(
            "{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Namespace\",\n  \"metadata\": {\n"),
          "\(indented)")
        #expect(indented.json == plain.json)
      }
      let refused = try await ask(
        server, folder, at + "?pretty=false", headers: ["user-agent: Mozilla/5.0 (X11)"])
      #expect(refused.body == plain.body)
    }
  }

  @Test func `who asks for YAML is given it, and no stream`() async throws {
    try await withServer { server, folder in
      let at = "/api/v1/namespaces/default"
      let yaml = try await ask(server, folder, at, headers: ["accept: application/yaml"])
      #expect(yaml.header("content-type") == "application/yaml", "\(yaml)")
      #expect(yaml.body.hasPrefix("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n"), "\(yaml)")
      #expect(try YAML.parse(yaml.body) == (try await ask(server, folder, at)).json)
      let list = try await ask(server, folder, path, headers: ["accept: application/yaml"])
      #expect(try YAML.parse(list.body)["kind"] == "ConfigMapList", "\(list)")
      let both = try await ask(
        server, folder, at, headers: ["accept: application/vnd.kubernetes.protobuf,application/json"])
      #expect(both.header("content-type") == "application/json", "\(both)")
      let watch = try await ask(
        server, folder, path + "?watch=true&timeoutSeconds=1", headers: ["accept: application/yaml"])
      #expect(watch.code == 406, "\(watch)")
    }
  }

  @Test func `the old path of a watch is a watch`() async throws {
    try await withServer { server, folder in
      let answer = try await ask(
        server, folder, "/api/v1/watch/namespaces?timeoutSeconds=1")
      #expect(answer.code == 200 && answer.body.contains("{\"type\":\"ADDED\",\"object\":{"), "\(answer)")
    }
  }
}
