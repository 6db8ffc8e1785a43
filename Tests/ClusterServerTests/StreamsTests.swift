// logs, exec, attach, port-forward and proxies as the API server passes them on, to a node that is a few lines of test.

import ClusterClient
import ClusterObjects
import ClusterServer
import ClusterStreams
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
import Testing

extension InProcessClient {
  fileprivate func create(_ resource: GroupVersionResource, _ object: JSON) async throws -> JSON {
    try await create(resource, object, options: WriteOptions())
  }
}

/// A server, a fake node that it knows, and a pod that runs there.
private func withNode(
  annotation: String? = nil, _ body: (ClusterServer, FakeNode, String) async throws -> Void
) async throws {
  try await withServer { server, folder in
    let node = try await FakeNode.start(folder: folder + "/data/certificates")
    let api = server.client(user: "test")
    var metadata: JSON = ["name": "n1"]
    if let annotation { metadata["annotations"] = JSON(["weft.dev/kubelet-certificate-sha256": annotation]) }
    _ = try await api.create(.nodes, ["apiVersion": "v1", "kind": "Node", "metadata": metadata])
    let status: JSON = [
      "addresses": [["type": "InternalIP", "address": "127.0.0.1"]],
      "daemonEndpoints": ["kubeletEndpoint": ["Port": JSON(node.port)]],
    ]
    _ = try await api.patch(
      .nodes, namespace: "", name: "n1", patch: .merge(["status": status]), subresource: "status",
      options: WriteOptions())
    _ = try? await api.create(
      .serviceAccounts,
      [
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": ["name": "default", "namespace": "default"],
      ])
    for (name, containers) in [("one", ["a"]), ("two", ["a", "b"])] {
      let spec: JSON = [
        "nodeName": "n1",
        "containers": .array(containers.map { ["name": JSON($0), "image": "i"] }),
        "initContainers": name == "two" ? [["name": "first", "image": "i"]] : [],
      ]
      _ = try await api.create(
        .pods,
        [
          "apiVersion": "v1", "kind": "Pod", "metadata": ["name": JSON(name), "namespace": "default"],
          "spec": spec,
        ])
    }
    _ = try await api.patch(
      .pods, namespace: "default", name: "one", patch: .merge(["status": ["podIP": "127.0.0.1"]]),
      subresource: "status", options: WriteOptions())
    do { try await body(server, node, folder) } catch {
      await node.stop()
      throw error
    }
    await node.stop()
  }
}

/// A request on a connection of its own, with the admin's certificate or another's.
private func call(
  _ server: ClusterServer, _ folder: String, _ method: HTTPMethod, _ path: String,
  _ headers: HTTPHeaders = [:], bodyBytes: Int = 0, user: String = "admin"
) async throws -> HTTPCall {
  let keys = folder + "/data/certificates/"
  var tls = TLSConfiguration.makeClientConfiguration()
  tls.trustRoots = .file(keys + "ca.crt")
  tls.certificateChain = try NIOSSLCertificate.fromPEMFile(keys + user + ".crt").map { .certificate($0) }
  tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: keys + user + ".key", format: .pem))
  tls.applicationProtocols = ["http/1.1"]
  let context = try NIOSSLContext(configuration: tls)
  let call = try await HTTPCall.connect(
    .address("127.0.0.1", port: server.port), on: MultiThreadedEventLoopGroup.singleton.next()
  ) { try NIOSSLClientHandler(context: context, serverHostname: nil) }
  var headers = headers
  headers.add(name: "host", value: "127.0.0.1:\(server.port)")
  if bodyBytes > 0 { headers.add(name: "content-length", value: String(bodyBytes)) }
  call.begin(HTTPRequestHead(version: .http1_1, method: method, uri: path, headers: headers))
  var left = bodyBytes
  while left > 0 {
    call.send(ByteBuffer(repeating: 66, count: min(left, 1 << 20)))
    left -= 1 << 20
  }
  call.finish()
  return call
}

/// The body, with whether it came whole.
private func body(_ call: HTTPCall) async throws -> (text: String, isWhole: Bool) {
  let loop = call.channel.eventLoop
  let promise = loop.makePromise(of: (text: String, isWhole: Bool).self)
  loop.execute {
    var text = ByteBuffer()
    call.start(
      onBody: { text.writeImmutableBuffer($0) },
      onEnd: { isWhole in
        promise.succeed((String(buffer: text), isWhole))
        call.close()
      })
  }
  return try await promise.futureResult.get()
}

/// Waits for something to hold, ten seconds at most.
private func eventually(_ condition: () -> Bool) async throws -> Bool {
  for _ in 0..<6000 {
    if condition() { return true }
    try await Task.sleep(for: .milliseconds(10))
  }
  return condition()
}

private let pods = "/api/v1/namespaces/default/pods/"
private let upgrade: HTTPHeaders = [
  "connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "v4.channel.k8s.io",
  "authorization": "Bearer secret", "x-remote-user": "somebody",
]

@Suite(.serialized, .timeLimit(.minutes(10))) struct StreamsTests {
  @Test func `a log is asked of the pod's node with the client's options`() async throws {
    try await withNode { server, node, folder in
      let call = try await call(
        server, folder, .GET, pods + "one/log?tailLines=5&timestamps=true&unknown=x&sinceTime=a%26b")
      #expect(try await call.answer().status == .ok)
      let text = try await body(call).text
      #expect(
        text == "GET /containerLogs/default/one/a?tailLines=5&timestamps=true&sinceTime=a%26b 0")
      #expect(node.book.requests.withLock { $0.map(\.user) } == ["kube-apiserver-kubelet-client"])
    }
  }

  @Test func `a followed log arrives line by line`() async throws {
    try await withNode { server, node, folder in
      let call = try await call(server, folder, .GET, pods + "one/log?follow=true")
      _ = try await call.answer()
      let text = Mutex(ByteBuffer())
      let isOver = Mutex(false)
      call.channel.eventLoop.execute {
        call.start(
          onBody: { bytes in text.withLock { _ = $0.writeImmutableBuffer(bytes) } },
          onEnd: { isWhole in isOver.withLock { $0 = isWhole } })
      }
      #expect(try await eventually { text.withLock { String(buffer: $0) } == "first\n" })
      #expect(!isOver.withLock { $0 })
      node.book.goesOn.withLock { $0 = true }
      #expect(try await eventually { isOver.withLock { $0 } })
      #expect(text.withLock { String(buffer: $0) } == "first\nsecond\n")
      call.close()
    }
  }

  @Test func `an upgraded connection carries bytes both ways, and no credentials go along`() async throws {
    try await withNode { server, node, folder in
      let call = try await call(
        server, folder, .POST, pods + "one/exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=1",
        upgrade)
      let answer = try await call.answer()
      #expect(answer.status == .switchingProtocols, "\(answer)")
      #expect(answer.headers["x-chosen"] == ["v4"] && answer.headers["upgrade"] == ["SPDY/3.1"])
      let echoed = Mutex(0)
      let loop = call.channel.eventLoop
      let link = try await loop.flatSubmit {
        do { return try call.takeOver() } catch { return loop.makeFailedFuture(error) }
      }.get()
      loop.execute {
        link.start(
          onRead: { bytes in echoed.withLock { $0 += bytes.readableBytes } }, onClose: {})
        for _ in 0..<64 { link.write(ByteBuffer(repeating: 1, count: 64 << 10)) }
      }
      #expect(try await eventually { echoed.withLock { $0 } == 4 << 20 })
      link.abort()
      let request = try #require(node.book.requests.withLock { $0.first })
      #expect(
        request.line == "POST /exec/default/one/a?command=sh&command=-c&command=a%20b&input=true&output=1")
      for name in ["authorization", "x-remote-user"] {
        #expect(!request.headers.contains(name: name), "\(name)")
      }
      #expect(request.headers["x-stream-protocol-version"] == ["v4.channel.k8s.io"])
    }
  }

  @Test func `what the node refuses is refused in its words`() async throws {
    try await withNode { server, _, folder in
      let call = try await call(server, folder, .POST, pods + "one/attach?stdout=true", upgrade)
      #expect(try await call.answer().status == .forbidden)
      #expect(try await body(call).text.contains("not today"))
    }
  }

  @Test(arguments: [
    ("two/log", "a container name must be specified for pod two, choose one of: [a b] or one of the init"),
    ("one/log?container=x", "container x is not valid for pod one"),
    ("one/log?tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
    ("one/log?sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
    ("one/exec?command=ls", "Upgrade request required"), ("none/log", "pods \\\"none\\\" not found"),
    ("one/proxy/", "address not allowed"), ("https:one:99999/proxy/", "invalid port"),
    ("a:b:c:d/proxy/", "invalid pod request"),
  ])
  func `refusals are worded as clients know them`(path: String, words: String) async throws {
    try await withNode { server, node, folder in
      let call = try await call(server, folder, .GET, pods + path)
      let answer = try await call.answer()
      let text = try await body(call).text
      #expect(answer.status.code >= 400 && text.contains(words), "\(answer.status) \(text)")
      #expect(node.book.requests.withLock { $0.isEmpty })
    }
  }

  @Test func `a node with another certificate than it said is not spoken to`() async throws {
    try await withNode(annotation: String(repeating: "0", count: 64)) { server, node, folder in
      let call = try await call(server, folder, .GET, pods + "one/log")
      #expect(try await call.answer().status == .serviceUnavailable)
      #expect(try await body(call).text.contains("the certificate is not the expected one"))
      #expect(node.book.requests.withLock { $0.isEmpty })
    }
  }

  @Test func `a node that is gone is named`() async throws {
    try await withNode { server, node, folder in
      let port = node.port
      await node.stop()
      let call = try await call(server, folder, .GET, pods + "one/log")
      #expect(try await call.answer().status == .serviceUnavailable)
      let text = try await body(call).text
      #expect(text.contains("error dialing backend: dial tcp 127.0.0.1:\(port): connect: connection refused"))
    }
  }

  @Test func `a node is proxied with any method, path, query and body`() async throws {
    try await withNode { server, node, folder in
      let path = "/api/v1/nodes/n1/proxy/a%2Fb//c/?x=1&y"
      let call = try await call(server, folder, .PUT, path, ["connection": "close"], bodyBytes: 8 << 20)
      let answer = try await call.answer()
      #expect(answer.headers["x-node"] == ["fake"])
      #expect(try await body(call).text == "PUT /a%2Fb//c/?x=1&y \(8 << 20)")
      let request = try #require(node.book.requests.withLock { $0.first })
      #expect(request.headers["x-forwarded-for"] == ["127.0.0.1"])
      #expect(request.headers["x-forwarded-proto"] == ["https"])
    }
  }

  @Test func `a proxy's root has a slash`() async throws {
    try await withNode { server, _, folder in
      let call = try await call(server, folder, .GET, "/api/v1/nodes/n1/proxy?a=b")
      let answer = try await call.answer()
      #expect(answer.status == .movedPermanently)
      #expect(answer.headers["location"] == ["/api/v1/nodes/n1/proxy/?a=b"])
      call.close()
    }
  }

  @Test func `an answer that breaks off does not look whole`() async throws {
    try await withNode { server, _, folder in
      let call = try await call(server, folder, .GET, "/api/v1/nodes/n1/proxy/logs/broken")
      #expect(try await call.answer().status == .ok)
      let (text, isWhole) = try await body(call)
      #expect(text == "half" && !isWhole)
    }
  }

  @Test func `a client that does not read holds up the node, not the server's memory`() async throws {
    try await withNode { server, node, folder in
      let call = try await call(server, folder, .GET, "/api/v1/nodes/n1/proxy/logs/endless")
      _ = try await call.answer()
      // Nobody takes the body: what is on the way is what sockets and watermarks hold.
      var before = -1
      for _ in 0..<200 {
        try await Task.sleep(for: .milliseconds(50))
        let now = node.book.sentBytes.withLock { $0 }
        if now > 0, now == before { break }
        before = now
      }
      #expect(before > 0 && before < 40 << 20, "\(before) bytes left the node")
      let whole = try await body(call)
      #expect(whole.isWhole && whole.text.utf8.count == 100 << 20)
    }
  }

  @Test func `who may only get does not open a WebSocket to exec`() async throws {
    try await withNode { server, node, folder in
      let api = server.client(user: "test")
      _ = try server.kubeconfig(name: "reader", user: "reader", groups: [])
      let rules: JSON = [
        [
          "apiGroups": [""], "resources": ["pods/exec", "pods/log"], "verbs": ["get"],
        ]
      ]
      _ = try await api.create(
        GroupVersionResource("rbac.authorization.k8s.io", "v1", "roles"),
        [
          "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
          "metadata": ["name": "reader", "namespace": "default"], "rules": rules,
        ])
      _ = try await api.create(
        GroupVersionResource("rbac.authorization.k8s.io", "v1", "rolebindings"),
        [
          "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
          "metadata": ["name": "reader", "namespace": "default"],
          "roleRef": ["apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"],
          "subjects": [["apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"]],
        ])
      let log = try await call(server, folder, .GET, pods + "one/log", user: "reader")
      #expect(try await log.answer().status == .ok)
      log.close()
      let exec = try await call(server, folder, .GET, pods + "one/exec?command=ls", upgrade, user: "reader")
      #expect(try await exec.answer().status == .forbidden)
      #expect(try await body(exec).text.contains("cannot create resource"))
      #expect(node.book.requests.withLock { $0.count } == 1)
    }
  }
}
