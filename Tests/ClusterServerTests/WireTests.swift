// HTTP as it is on the wire: both versions, no certificate, too much of everything.

import ClusterClient
import ClusterObjects
import ClusterServer
import Glibc
import Testing

private func curl(
  _ server: ClusterServer, _ folder: String, _ path: String, _ more: [String] = [], admin: Bool = true
) async throws
  -> Program
{
  let keys = folder + "/data/certificates"
  var arguments = ["-sS", "--cacert", keys + "/ca.crt", "-w", "\n%{http_code} %{http_version}"]
  if admin { arguments += ["--cert", keys + "/admin.crt", "--key", keys + "/admin.key"] }
  return try await Program.run("/usr/bin/curl", arguments + more + [server.address + path])
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct WireTests {
  @Test(arguments: [("--http1.1", "200 1.1"), ("--http2", "200 2")])
  func `both versions of HTTP are spoken`(flag: String, end: String) async throws {
    try await withServer { server, folder in
      let run = try await curl(server, folder, "/api/v1/namespaces/default", [flag])
      #expect(run.output.hasSuffix(end), "\(run.output)\(run.errors)")
      #expect(run.output.contains("\"kind\":\"Namespace\""))
    }
  }

  @Test(arguments: [
    ("/healthz", "ok\n200"), ("/livez", "ok\n200"), ("/readyz", "ok\n200"), ("/version", "200"),
    ("/api", "403"), ("/metrics", "403"), ("/api/v1/secrets", "403"),
  ])
  func `without a certificate only health and version are told`(path: String, end: String) async throws {
    try await withServer { server, folder in
      let run = try await curl(server, folder, path, ["--http1.1"], admin: false)
      #expect(run.output.hasSuffix("\(end) 1.1"), "\(run.output)\(run.errors)")
    }
  }

  @Test func `the version is indented, for people ask for it as it is`() async throws {
    try await withServer { server, folder in
      let run = try await curl(server, folder, "/version")
      #expect(run.output.hasPrefix("{\n  \"major\": \"1\",\n  \"minor\": \"37\",\n"), "\(run.output)")
    }
  }

  @Test func `a body above three mebibytes is refused`() async throws {
    try await withServer { server, folder in
      let file = try #require(fopen(folder + "/big", "w"))
      for _ in 0..<4096 { fputs(String(repeating: "x", count: 1024), file) }
      fclose(file)
      let run = try await curl(
        server, folder, "/api/v1/namespaces/default/configmaps",
        ["-H", "content-type: application/json", "--data-binary", "@\(folder)/big"])
      #expect(run.output.contains("RequestEntityTooLarge"), "\(run.output)\(run.errors)")
    }
  }

  @Test(arguments: ["--http1.1", "--http2"])
  func `a list of megabytes is whole, also for who reads slowly`(flag: String) async throws {
    try await withServer { server, folder in
      let api = server.client(user: "test", groups: ["system:masters"])
      for number in 0..<12 {
        let map: JSON = [
          "apiVersion": "v1", "kind": "ConfigMap",
          "metadata": ["name": JSON("large-\(number)"), "namespace": "default"],
          "data": ["text": JSON(String(repeating: "\(number % 10)", count: 500_000))],
        ]
        _ = try await api.create(.configMaps, map, options: WriteOptions())
      }
      // The connection lives on afterwards: the second answer comes over it.
      let list = "\(server.address)/api/v1/namespaces/default/configmaps"
      let run = try await curl(
        server, folder, "/version",
        [flag, "--limit-rate", "6M", "-o", "\(folder)/list", list, "-o", "\(folder)/after"])
      #expect(run.errors.isEmpty && run.output.contains("200"), "\(run.output)\(run.errors)")
      let answer = try JSON(parsing: Program.read("\(folder)/list"))
      let texts = answer["items"]?.array?.filter {
        $0["metadata"]?["name"]?.string?.hasPrefix("large-") ?? false
      }
      #expect(texts?.count == 12)
      #expect(texts?.allSatisfy { $0["data"]?["text"]?.string?.utf8.count == 500_000 } ?? false)
      #expect(Program.read("\(folder)/after").contains("gitVersion"))
    }
  }

  @Test(arguments: [
    ("/api/v1/nope", [], "404"), ("/nope", [], "404"),
    ("/api/v1/pods?watch=true&sendInitialEvents=true", [], "422"),
    ("/api/v1/pods?limit=x", [], "400"), ("/api/v1/pods?continue=x", [], "400"),
    ("/api/v1/pods?resourceVersion=99999", [], "504"),
    ("/api/v1/pods", ["-H", "accept: application/vnd.kubernetes.protobuf"], "406"),
    ("/api/v1/namespaces/default/configmaps", ["-H", "content-type: application/cbor", "-d", "x"], "415"),
    ("/api/v1/namespaces/default/configmaps", ["-H", "content-type: application/json", "-d", "{"], "400"),
    ("/api/v1/namespaces/default/configmaps", ["-X", "PUT", "-d", "{}"], "405"),
    ("/%zz", [], "400"),
  ])
  func `what cannot be answered has the code that clients expect`(path: String, more: [String], code: String)
    async throws
  {
    try await withServer { server, folder in
      let run = try await curl(server, folder, path, more)
      #expect(run.output.split(separator: "\n").last?.hasPrefix(code) == true, "\(run.output)\(run.errors)")
    }
  }

  @Test func `a watch ends with its timeout and marks the end of initial events`() async throws {
    try await withServer { server, folder in
      let query =
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
      let run = try await curl(server, folder, "/api/v1/namespaces?\(query)")
      let lines = run.output.split(separator: "\n")
      #expect(lines.filter { $0.contains("\"ADDED\"") }.count == 4, "\(run.output)")
      #expect(lines.contains { $0.contains("\"BOOKMARK\"") && $0.contains("k8s.io/initial-events-end") })
    }
  }

  @Test func `OpenAPI documents are kept by their hash`() async throws {
    try await withServer { server, folder in
      let first = try await curl(server, folder, "/openapi/v3/api/v1", ["-o", "/dev/null", "-D", "-"])
      let tag = try #require(
        first.output.split(separator: "\r\n").first { $0.hasPrefix("etag: ") }?.dropFirst("etag: ".count))
      let second = try await curl(server, folder, "/openapi/v3/api/v1", ["-H", "if-none-match: \(tag)"])
      #expect(second.output.hasSuffix("304 2"), "\(second.output)")
    }
  }
}
