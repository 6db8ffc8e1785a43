// Whom the node agent answers, and what it gives of its files: without a runtime, by asking the agent itself.

import Addresses
import CLinux
import ClusterClient
import ClusterStreams
import Glibc
import NIOCore
import NIOEmbedded
import NIOHTTP1
import SoakLab
import Testing

@testable import ClusterNode

private func agent(logs: String = "/nonexistent", pages: NodePages? = nil) -> NodeAgent {
  var settings = NodeSettings(
    nodeName: "n1", addresses: [], dataDirectory: "/nonexistent", runDirectory: "/nonexistent")
  settings.logDirectory = logs
  let cluster = FakeCluster()
  return NodeAgent(
    settings, source: cluster, sink: cluster, objects: cluster, record: { _ in }, pages: pages)
}

private let server = NodeRequest.Peer(user: "kube-apiserver-kubelet-client", groups: ["system:masters"])

private func ask(
  _ agent: NodeAgent, _ uri: String, _ method: HTTPMethod = .GET, _ headers: HTTPHeaders = [:],
  peer: NodeRequest.Peer? = server
) async throws -> (code: Int, text: String) {
  let target = try #require(RequestTarget(uri))
  let request = NodeRequest(
    method: method, target: target, headers: headers, peer: peer, channel: EmbeddedChannel())
  switch await agent.answer(request) {
  case .bytes(let code, _, let bytes): return (code, String(buffer: bytes))
  case .body: return (200, "(a stream)")
  case .upgrade: return (101, "")
  }
}

@Suite(.timeLimit(.minutes(10))) struct NodeAnswerTests {
  @Test(arguments: ["/healthz", "/pods", "/exec/a/b/c?command=ls&output=1", "/logs/", "/metrics"])
  func `without a certificate of the cluster nothing is told`(uri: String) async throws {
    #expect(try await ask(agent(), uri, peer: nil).code == 401)
  }

  @Test func `another node's certificate opens nothing`() async throws {
    let other = NodeRequest.Peer(user: "system:node:n2", groups: ["system:nodes"])
    let answer = try await ask(agent(), "/pods", peer: other)
    #expect(answer.code == 403)
    #expect(
      answer.text == "Forbidden (user=system:node:n2, verb=get, resource=nodes, subresource(s)=[pods proxy])")
  }

  @Test func `pages of the network are for those whom the agent obeys`() async throws {
    let agent = agent { request in
      switch request.path {
      case ["v1", "echo"]:
        .bytes(200, contentType: "application/json", Array("\"\(request.parameter("word") ?? "")\"".utf8))
      case ["v1", "stream"]: .stream(contentType: "text/plain") { write in try await write([65]) }
      case ["v1", "refused"]: throw APIStatusError(code: 409, reason: "Conflict", message: "not now")
      default: nil
      }
    }
    #expect(try await ask(agent, "/weft/v1/echo?word=a%20b") == (200, "\"a b\""))
    #expect(try await ask(agent, "/weft/v1/stream") == (200, "(a stream)"))
    let refused = try await ask(agent, "/weft/v1/refused")
    #expect(refused.code == 409 && refused.text.contains("not now"), "\(refused)")
    #expect(try await ask(agent, "/weft/v1/nothing").code == 404)
    #expect(try await ask(agent, "/weft/v1/echo", .POST).code == 405)
    #expect(try await ask(agent, "/weft/v1/echo", peer: nil).code == 401)
    let user = NodeRequest.Peer(user: "jane", groups: ["system:authenticated"])
    #expect(try await ask(agent, "/weft/v1/echo", peer: user).code == 403)
    let other = NodeRequest.Peer(user: "system:node:n2", groups: ["system:nodes"])
    #expect(try await ask(agent, "/weft/v1/echo", peer: other).code == 403)
    // Without a network there is nothing to show.
    #expect(try await ask(self.agentWithoutPages, "/weft/v1/echo").code == 404)
  }

  private var agentWithoutPages: NodeAgent { agent() }

  @Test(arguments: [
    ("/exec/a/b/c?command=ls", HTTPMethod.POST, "you must specify at least 1 of stdin, stdout, stderr", 400),
    ("/exec/a/b/c?command=ls&output=1", .POST, "Upgrade request required", 400),
    ("/exec/a/b/c?command=ls&output=1", .DELETE, "method not allowed", 405),
    ("/portForward/a/b", .POST, "Upgrade request required", 400), ("/nope", .GET, "404 page not found", 404),
    ("/exec/a", .GET, "404 page not found", 404), ("/healthz", .PUT, "method not allowed", 405),
    ("/containerLogs/a/b/c?tailLines=x", .GET, "invalid tailLines", 400),
    ("/containerLogs/a/b/c", .GET, "the node agent is not running", 503), ("/healthz", .GET, "ok", 200),
    ("/configz", .GET, "\"kubeletconfig\"", 200), ("/metrics/probes", .GET, "", 200),
    ("/stats/summary", .GET, "the node agent is not running", 503),
    ("/metrics/resource", .GET, "the node agent is not running", 503),
    ("/runningpods", .GET, "the node agent is not running", 503),
  ])
  func `each path has its answer`(uri: String, method: HTTPMethod, words: String, code: Int) async throws {
    let answer = try await ask(agent(), uri, method)
    #expect(answer.code == code && answer.text.contains(words), "\(answer)")
  }

  @Test func `a subprotocol that nobody speaks is refused with those that are spoken`() async throws {
    let headers: HTTPHeaders = [
      "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-protocol": "v9.channel.k8s.io",
    ]
    let exec = try await ask(agent(), "/exec/a/b/c?command=ls&output=1", .GET, headers)
    #expect(exec.code == 403 && exec.text.contains("v5.channel.k8s.io"), "\(exec)")
    let forward = try await ask(agent(), "/portForward/a/b", .GET, headers)
    #expect(forward.code == 403 && forward.text.contains("SPDY/3.1+portforward.k8s.io"), "\(forward)")
    var channels = headers
    channels.replaceOrAdd(name: "sec-websocket-protocol", value: "v5.channel.k8s.io,v4.channel.k8s.io")
    let bare = try await ask(agent(), "/portForward/a/b", .GET, channels)
    #expect(bare.code == 400 && bare.text.contains("query parameter \\\"port\\\" is required"), "\(bare)")
    for ports in ["0", "70000", "80,x", (1...200).map { "\($0)" }.joined(separator: ",")] {
      let wrong = try await ask(agent(), "/portForward/a/b?port=\(ports)", .GET, channels)
      #expect(wrong.code == 400, "\(wrong)")
    }
  }

  @Test func `log files are read below their folder only`() async throws {
    let folder = try ScratchFolder.make("logs")
    defer { ScratchFolder.remove(folder) }
    mkdir(folder + "/pods", 0o755)
    let file = fopen(folder + "/pods/a&b.log", "w")
    fputs("text", file)
    fclose(file)
    symlink("/etc", folder + "/pods/etc")
    symlink("/etc/passwd", folder + "/pods/passwd")
    mkfifo(folder + "/pods/pipe", 0o600)
    let agent = agent(logs: folder)
    #expect(try await ask(agent, "/logs/").text == "<pre>\n<a href=\"pods/\">pods/</a>\n</pre>\n")
    #expect(try await ask(agent, "/logs/pods").text.contains("a&amp;b.log"))
    #expect(try await ask(agent, "/logs/pods/a%26b.log").text == "(a stream)")
    for path in [
      "/logs/../etc/passwd", "/logs/..%2f..%2fetc%2fpasswd", "/logs/pods/etc/passwd", "/logs/pods/passwd",
      "/logs/pods/pipe", "/logs/%2fetc/passwd", "/logs/pods/./a%26b.log", "/logs/a%00b",
      "/logs/" + String(repeating: "x/", count: 100),
    ] {
      #expect(try await ask(agent, path).code == 404, "\(path)")
    }
  }
}
