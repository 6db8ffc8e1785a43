// The page under `/weft/` needs no rights and holds browsers to itself; what it shows of nodes needs one right, and gives no other.

import ClusterClient
import ClusterObjects
import ClusterServer
import Crypto
import NIOCore
import NIOHTTP1
import StoreLab
import Synchronization
import Testing
import WebPage

private func create(_ server: ClusterServer, _ resource: GroupVersionResource, _ object: JSON) async throws {
  _ = try await server.client(user: "test").create(resource, object, options: WriteOptions())
}

private let bindings = GroupVersionResource("rbac.authorization.k8s.io", "v1", "clusterrolebindings")

/// A node with an agent, and a user who has role `weft:viewer` and nothing else.
private func withViewer(_ body: (ClusterServer, FakeNode, String, Credential) async throws -> Void)
  async throws
{
  try await withServer { server, folder in
    let node = try await FakeNode.start(folder: folder + "/data/certificates")
    try await create(server, .nodes, ["apiVersion": "v1", "kind": "Node", "metadata": ["name": "n1"]])
    let status: JSON = [
      "addresses": [["type": "InternalIP", "address": "127.0.0.1"]],
      "daemonEndpoints": ["kubeletEndpoint": ["Port": JSON(node.port)]],
    ]
    _ = try await server.client(user: "test").patch(
      .nodes, namespace: "", name: "n1", patch: .merge(["status": status]), subresource: "status",
      options: WriteOptions())
    _ = try server.kubeconfig(name: "looker", user: "looker", groups: [])
    try await create(
      server, bindings,
      [
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": ["name": "looker"],
        "roleRef": ["apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weft:viewer"],
        "subjects": [["apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "looker"]],
      ])
    try await body(server, node, folder, .certificate(folder + "/data/certificates/looker"))
    await node.stop()
  }
}

@Suite(.timeLimit(.minutes(5))) struct PageTests {
  @Test func `the page is given to everybody, and nothing beside it`() async throws {
    try await withServer { server, folder in
      let page = try await ask(server, folder, "/weft/", as: .none)
      #expect(page.code == 200 && page.body.hasPrefix("<!doctype html>"), "\(page.code)")
      #expect(page.header("content-type") == "text/html; charset=utf-8")
      // A wrong token does not keep anybody from the place where the right one is asked for.
      #expect(try await ask(server, folder, "/weft/", as: .bearer("nonsense")).code == 200)
      let redirect = try await ask(server, folder, "/weft", as: .none)
      #expect(redirect.code == 301 && redirect.header("location") == "/weft/")
      #expect(try await ask(server, folder, "/weft/page.html", as: .none).code == 403)
      #expect(try await ask(server, folder, "/weft/", "POST", as: .none).code == 403)
      let tag = page.header("etag")
      let again = try await ask(server, folder, "/weft/", as: .none, headers: ["if-none-match: \(tag)"])
      #expect(again.code == 304 && again.body.isEmpty && !tag.isEmpty)
    }
  }

  @Test func `browsers are told to take nothing from elsewhere, and run these two blocks alone`() async throws
  {
    try await withServer { server, folder in
      let page = try await ask(server, folder, "/weft/", as: .none)
      let policy = page.header("content-security-policy")
      for part in [
        "default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
        "form-action 'none'",
      ] { #expect(policy.contains(part), "\(policy)") }
      #expect(!policy.contains("unsafe") && !policy.contains("http"), "\(policy)")
      for tag in ["script", "style"] {
        let digest = Base64.encode(Array(SHA256.hash(data: WebPage.content(of: tag, in: WebPage.bytes))))
        #expect(policy.contains("\(tag)-src 'sha256-\(digest)'"), "\(tag): \(policy)")
      }
      #expect(page.header("x-content-type-options") == "nosniff")
      #expect(page.header("referrer-policy") == "no-referrer")
    }
  }

  @Test func `the file is small, by itself, and makes no markup of text`() {
    let text = String(decoding: WebPage.bytes, as: UTF8.self)
    #expect(text.utf8.count < 150_000)
    for banned in [
      "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "new Function", "localStorage",
      "sessionStorage", "document.cookie", " onclick=", " onload=", " onerror=", " style=",
      "<link rel=\"style",
      "src=\"http", "@import", "url(http", "import(",
    ] { #expect(!text.contains(banned), "\(banned)") }
    // One name of a namespace of shapes; nothing is fetched from it.
    #expect(text.components(separated: "http").count == 2 && text.contains("http://www.w3.org/2000/svg"))
    #expect(
      text.components(separated: "<script>").count == 2 && text.components(separated: "<style>").count == 2)
  }

  @Test func `who may look sees the pages of a node and may do nothing else there`() async throws {
    try await withViewer { server, node, folder, looker in
      let answer = try await ask(
        server, folder, "/weft/v1/nodes/n1/flows?limit=5&from=demo%2Fclient", as: looker)
      #expect(answer.code == 200, "\(answer)")
      #expect(answer.body == "GET /weft/v1/flows?limit=5&from=demo%2Fclient 0", "\(answer.body)")
      let request = try #require(node.book.requests.withLock { $0.last })
      #expect(request.user == "kube-apiserver-kubelet-client")
      #expect(request.headers["authorization"].isEmpty)
      for page in ["check", "dns", "edges", "rules", "status"] {
        #expect(try await ask(server, folder, "/weft/v1/nodes/n1/\(page)", as: looker).code == 200, "\(page)")
      }
      #expect(try await ask(server, folder, "/api/v1/services", as: looker).code == 200)
      let asked = node.book.requests.withLock { $0.count }
      for (path, method, code) in [
        ("/weft/v1/nodes/n1/capture", "GET", 404), ("/weft/v1/nodes/n1/flows", "POST", 403),
        ("/weft/v1/nodes/none/flows", "GET", 404), ("/weft/v1/nodes/n1/..%2Fpods", "GET", 404),
        ("/weft/v1/nodes/n1/flows/x", "GET", 404), ("/api/v1/nodes/n1/proxy/weft/v1/flows", "GET", 403),
        ("/api/v1/nodes/n1/proxy/pods", "GET", 403), ("/api/v1/pods", "GET", 403),
        ("/api/v1/secrets", "GET", 403),
      ] {
        let refused = try await ask(server, folder, path, method, as: looker)
        #expect(refused.code == code, "\(method) \(path): \(refused)")
      }
      #expect(node.book.requests.withLock { $0.count } == asked)
    }
  }

  @Test func `who has no right sees no node`() async throws {
    try await withViewer { server, node, folder, _ in
      _ = try server.kubeconfig(name: "nobody", user: "nobody", groups: [])
      let nobody = Credential.certificate(folder + "/data/certificates/nobody")
      for credential in [nobody, .none] {
        let refused = try await ask(server, folder, "/weft/v1/nodes/n1/flows", as: credential)
        #expect(refused.code == 403, "\(refused)")
      }
      #expect(try await ask(server, folder, "/weft/v1/nodes/n1/flows", as: .bearer("nonsense")).code == 401)
      #expect(node.book.requests.withLock { $0.isEmpty })
      // As for every path, an upgrade is nothing that a page has.
      let upgrade = try await ask(
        server, folder, "/weft/v1/nodes/n1/flows",
        headers: ["connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13"],
        more: ["--http1.1"])
      #expect(upgrade.code == 405, "\(upgrade)")
    }
  }
}

extension String {
  fileprivate func components(separated by: String) -> [Substring] {
    split(separator: by, omittingEmptySubsequences: false)
  }
}
