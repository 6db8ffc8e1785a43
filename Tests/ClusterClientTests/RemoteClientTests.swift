// RemoteClient against a small HTTP server of the test's own, which answers from an API in memory.

import ClusterObjects
import Diagnostics
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

@testable import ClusterClient

/// Serves lists, gets, creates and watches of pods on loopback, in chunks that split lines where it hurts.
final class TestServer: Sendable {
  let channel: any Channel
  let api: MemoryClusterAPI
  let connections = Atomic<Int>(0)
  let requests = Mutex<[String]>([])
  var port: Int { channel.localAddress?.port ?? 0 }

  private init(channel: any Channel, api: MemoryClusterAPI) {
    self.channel = channel
    self.api = api
  }

  static func start(_ api: MemoryClusterAPI) async throws -> TestServer {
    let shared = Box()
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(Handler(shared))
        }
      }.bind(host: "127.0.0.1", port: 0).get()
    let server = TestServer(channel: channel, api: api)
    shared.server.withLock { $0 = server }
    return server
  }

  final class Box: Sendable {
    let server = Mutex<TestServer?>(nil)
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    private let box: Box
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    init(_ box: Box) { self.box = box }

    func channelActive(context: ChannelHandlerContext) {
      box.server.withLock { _ = $0?.connections.add(1, ordering: .relaxed) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head): self.head = head
      case .body(let bytes): body += bytes.readableBytesView
      case .end:
        guard let head, let server = box.server.withLock({ $0 }) else { return }
        let body = body
        self.body = []
        let channel = context.channel
        Task { await server.answer(head, body, channel) }
      }
    }
  }

  private func answer(_ head: HTTPRequestHead, _ body: [UInt8], _ channel: any Channel) async {
    requests.withLock { $0.append("\(head.method) \(head.uri) \(head.headers["Authorization"].joined())") }
    if head.uri.contains("watch=true") {
      await watch(head, channel)
      return
    }
    var status = HTTPResponseStatus.ok
    var answer: JSON
    do {
      if head.method == .POST {
        answer = try await api.create(.pods, JSON(parsing: body), options: WriteOptions())
      } else if head.uri.hasPrefix("/api/v1/namespaces/demo/pods/") {
        let name = head.uri.split(separator: "/").last.map(String.init) ?? ""
        answer = try await api.get(.pods, namespace: "demo", name: name)
      } else {
        let list = try await api.list(.pods, namespace: "", options: ListOptions())
        answer = [
          "kind": "PodList", "apiVersion": "v1", "metadata": ["resourceVersion": JSON(list.resourceVersion)],
          "items": .array(list.items),
        ]
      }
    } catch let error as APIStatusError {
      status = HTTPResponseStatus(statusCode: error.code)
      answer = error.status
    } catch { answer = .null }
    let bytes = answer.bytes
    var headers = HTTPHeaders()
    headers.add(name: "Content-Length", value: "\(bytes.count)")
    channel.write(
      HTTPServerResponsePart.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers)),
      promise: nil)
    channel.write(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: bytes))), promise: nil)
    try? await channel.writeAndFlush(HTTPServerResponsePart.end(nil)).get()
  }

  private func watch(_ head: HTTPRequestHead, _ channel: any Channel) async {
    var options = ListOptions()
    options.sendInitialEvents = head.uri.contains("sendInitialEvents=true")
    if let range = head.uri.firstRange(of: "resourceVersion=") {
      options.resourceVersion = String(head.uri[range.upperBound...].prefix { $0 != "&" })
    }
    channel.writeAndFlush(
      HTTPServerResponsePart.head(HTTPResponseHead(version: .http1_1, status: .ok)), promise: nil)
    guard let stream = try? await api.watch(.pods, namespace: "", options: options) else { return }
    do {
      for try await event in stream {
        let bytes: [UInt8] =
          switch event {
          case .added(let object): (["type": "ADDED", "object": object] as JSON).bytes
          case .modified(let object): (["type": "MODIFIED", "object": object] as JSON).bytes
          case .deleted(let object): (["type": "DELETED", "object": object] as JSON).bytes
          case .bookmark(let revision, let isEnd):
            ([
              "type": "BOOKMARK",
              "object": [
                "kind": "Pod",
                "metadata": [
                  "resourceVersion": JSON(revision),
                  "annotations": isEnd ? ["k8s.io/initial-events-end": "true"] : [:],
                ],
              ],
            ] as JSON).bytes
          }
        // Two writes that meet in the middle of a line.
        for part in [bytes.prefix(bytes.count / 2), bytes.dropFirst(bytes.count / 2) + [10]] {
          try await channel.writeAndFlush(
            HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: part)))
          ).get()
        }
      }
      try await channel.writeAndFlush(HTTPServerResponsePart.end(nil)).get()
    } catch { try? await channel.close().get() }
  }
}

@Suite(.timeLimit(.minutes(10))) struct RemoteClientTests {
  private func client(_ server: TestServer) throws -> RemoteClient {
    var config = Kubeconfig(server: "http://127.0.0.1:\(server.port)")
    config.token = "secret"
    return try RemoteClient(kubeconfig: config, metrics: Metrics())
  }

  @Test func `requests share a connection, carry the token, and refusals are Status errors`() async throws {
    let api = MemoryClusterAPI()
    let server = try await TestServer.start(api)
    let client = try client(server)
    let made = try await client.create(.pods, pod("a"), options: WriteOptions(fieldManager: "me"))
    #expect(made.resourceVersion == "2")
    #expect(try await client.get(.pods, namespace: "demo", name: "a").uid == made.uid)
    let list = try await client.list(.pods, namespace: "", options: ListOptions())
    #expect(list.items.map(\.name) == ["a"])
    let missing = await #expect(throws: APIStatusError.self) {
      try await client.get(.pods, namespace: "demo", name: "none")
    }
    #expect(missing?.isNotFound == true)
    let seen = server.requests.withLock { $0 }
    #expect(seen[0] == "POST /api/v1/namespaces/demo/pods?fieldManager=me Bearer secret")
    let connections = server.connections.load(ordering: .relaxed)
    #expect(connections == 1)
    try await server.channel.close().get()
  }

  @Test func `an informer follows a remote server through broken watches`() async throws {
    let api = MemoryClusterAPI()
    for number in 0..<500 { api.put(.pods, pod("p\(number)")) }
    let server = try await TestServer.start(api)
    let informers = SharedInformers(api: try client(server), settings: testSettings(), metrics: Metrics())
    let informer = informers.informer(.pods)
    try await informers.waitForSync()
    #expect(informer.snapshot.count == 500)
    for round in 0..<5 {
      api.dropWatches()
      api.put(.pods, pod("new\(round)"))
      api.remove(.pods, ObjectKey("demo", "p\(round)"))
    }
    #expect(
      await eventually { informer.snapshot.values.sorted { $0.key < $1.key } == api.objects(.pods) })
    await informers.stop()
    try await server.channel.close().get()
  }

  @Test(arguments: [true, false])
  func `a stream that takes objects as text hears what is there through broken watches`(usesWatchList: Bool)
    async throws
  {
    let api = MemoryClusterAPI()
    for number in 0..<500 { api.put(.pods, pod("p\(number)", labels: ["quoted": "a\"b"])) }
    let server = try await TestServer.start(api)
    let heard = HeardText()
    var settings = testSettings()
    settings.usesWatchList = usesWatchList
    let stream = ObjectStream.follow(
      InformerScope(.pods), of: try client(server), settings: settings, metrics: Metrics(),
      plain: { key, object in heard.take(key, object) }
    ) { heard.take($0) }
    try await ObjectStream.waitForSync([stream], timeout: .seconds(60))
    #expect(heard.objects == api.objects(.pods))
    for round in 0..<5 {
      api.dropWatches()
      api.put(.pods, pod("new\(round)"))
      api.put(.pods, pod("p\(100 + round)", labels: ["changed": "yes"]))
      api.remove(.pods, ObjectKey("demo", "p\(round)"))
    }
    #expect(await eventually { heard.objects == api.objects(.pods) })
    // Every second object was wanted as a tree.
    let (texts, trees) = heard.counts
    #expect(texts > 0 && trees > 0, "\(texts) \(trees)")
    await stream.stop()
    try await server.channel.close().get()
  }

  @Test func `a server that does not answer is named, with the next command and exit status 3`() async throws
  {
    // A port that was just given back: nothing listens there.
    let held = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .bind(host: "127.0.0.1", port: 0).get()
    let port = held.localAddress?.port ?? 1
    try await held.close().get()
    let client = try RemoteClient(
      kubeconfig: Kubeconfig(server: "https://127.0.0.1:\(port)"), metrics: Metrics())
    let error = await #expect(throws: WeftError.self) {
      try await client.get(.pods, namespace: "demo", name: "a")
    }
    #expect(error?.code == "API0100")
    #expect(error?.object == "127.0.0.1:\(port)")
    #expect(error?.cause == "connection refused")
    #expect(error?.exit == .unreachable)
  }

  @Test func `a kubeconfig's chosen context is resolved, and its mistakes are named`() throws {
    let folder = try Folder()
    folder.write("ca.crt", "CA")
    folder.write(
      "config",
      """
      apiVersion: v1
      kind: Config
      current-context: one
      contexts:
      - {name: one, context: {cluster: c, user: u, namespace: demo}}
      - {name: two, context: {cluster: gone, user: u}}
      clusters:
      - {name: c, cluster: {server: "https://h:6443", certificate-authority: ca.crt}}
      users:
      - {name: u, user: {token: t, client-certificate-data: QUJD}}
      """)
    let config = try Kubeconfig(path: "\(folder.path)/config")
    #expect(config.server == "https://h:6443" && config.namespace == "demo" && config.token == "t")
    #expect(config.certificateAuthority == Array("CA".utf8))
    #expect(config.clientCertificate == Array("ABC".utf8))
    let missing = #expect(throws: WeftError.self) {
      try Kubeconfig(path: "\(folder.path)/config", context: "two")
    }
    #expect(missing?.cause.contains("gone") == true)
    folder.write("config", "a: [")
    #expect(throws: WeftError.self) { try Kubeconfig(path: "\(folder.path)/config") }
  }

  @Test func `of several kubeconfigs the first that says something counts, and each one's files are its own`()
    throws
  {
    let folder = try Folder()
    for name in ["one", "two"] {
      mkdir("\(folder.path)/\(name)", 0o700)
      folder.write("\(name)/ca.crt", name)
    }
    folder.write(
      "one/config",
      """
      contexts:
      - {name: here, context: {cluster: c, user: u}}
      clusters:
      - {name: c, cluster: {server: "https://one:6443", certificate-authority: ca.crt}}
      """)
    folder.write(
      "two/config",
      """
      current-context: there
      contexts:
      - {name: there, context: {cluster: d, user: u, namespace: shop}}
      clusters:
      - {name: c, cluster: {server: "https://nobody:6443"}}
      - {name: d, cluster: {server: "https://two:6443", certificate-authority: ca.crt}}
      users:
      - {name: u, user: {token: t}}
      """)
    let paths = ["none/config", "one/config", "two/config"].map { "\(folder.path)/\($0)" }
    let current = try Kubeconfig(paths: paths)
    #expect(current.server == "https://two:6443" && current.namespace == "shop" && current.token == "t")
    #expect(current.certificateAuthority == Array("two".utf8))
    let other = try Kubeconfig(paths: paths, context: "here")
    #expect(other.server == "https://one:6443" && other.namespace == "default" && other.token == "t")
    #expect(other.certificateAuthority == Array("one".utf8))
    let missing = #expect(throws: WeftError.self) { try Kubeconfig(paths: paths, context: "gone") }
    #expect(missing?.code == "CLI0102" && missing?.cause.contains("here, there") == true)
    let nothing = #expect(throws: WeftError.self) { try Kubeconfig(paths: [paths[0]]) }
    #expect(nothing?.code == "CLI0100" && nothing?.object == paths[0])
  }
}

/// What a stream handed on, every second object as text.
private final class HeardText: Sendable {
  private let state = Mutex((objects: [ObjectKey: JSON](), texts: 0, trees: 0))
  var objects: [JSON] { state.withLock { $0.objects.values.sorted { $0.key < $1.key } } }
  var counts: (Int, Int) { state.withLock { ($0.texts, $0.trees) } }

  func take(_ key: ObjectKey, _ object: TapeValue) -> Bool {
    guard (key.name.utf8.last ?? 0) % 2 == 0, let tree = object.tree else { return false }
    state.withLock {
      $0.objects[key] = tree
      $0.texts += 1
    }
    return true
  }

  func take(_ step: ObjectStep) {
    state.withLock { state in
      switch step {
      case .object(let key, let tree):
        state.objects[key] = tree
        state.trees += 1
      case .gone(let key): state.objects[key] = nil
      case .listed(let keys): state.objects = state.objects.filter { keys.contains($0.key) }
      }
    }
  }
}
