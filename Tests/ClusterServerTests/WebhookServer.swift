// A webhook of the tests' own: a real HTTPS server in this process, whose answers a closure decides.

import ClusterObjects
import ClusterServer
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// Answers admission reviews and conversion reviews on a free loopback port.
final class WebhookServer: Sendable {
  indirect enum Answer: Sendable {
    /// The `response` of a review; uid, kind and version are filled in.
    case response(JSON)
    case raw(status: Int, headers: [(String, String)], body: String)
    case after(TimeAmount, Answer)
    /// Nothing, ever.
    case silence
    /// The connection is cut.
    case cut

    static let allow = Answer.response(["allowed": true])
    static func deny(_ message: String, code: Int = 403) -> Answer {
      .response(["allowed": false, "status": ["code": JSON(code), "message": JSON(message)]])
    }
    static func patch(_ operations: JSON) -> Answer {
      .response([
        "allowed": true, "patchType": "JSONPatch", "patch": JSON(Base64.encode(operations.bytes)),
      ])
    }
  }
  struct Call: Sendable {
    var path: String
    var review: JSON
    var request: JSON { review["request"] ?? .null }
    var connection: ObjectIdentifier
    /// Calls that wait for their answer, this one among them.
    var waiting: Int
  }
  typealias Decide = @Sendable (_ path: String, _ request: JSON) -> Answer

  let port: Int
  /// PEM in base64, as `caBundle` takes it.
  let caBundle: String
  private let channel: any Channel
  fileprivate final class Log: Sendable {
    let calls = Mutex<[Call]>([])
    let waiting = Mutex(0)
  }
  private let shared: Log

  private init(port: Int, caBundle: String, channel: any Channel, shared: Log) {
    self.port = port
    self.caBundle = caBundle
    self.channel = channel
    self.shared = shared
  }

  /// What it was asked, in order.
  var calls: [Call] { shared.calls.withLock { $0 } }

  static func with<T>(
    _ folder: String, host: String = "127.0.0.1", names: [String] = ["localhost"],
    _ decide: @escaping Decide, _ body: (WebhookServer) async throws -> T
  ) async throws -> T {
    let authority = try CertificateAuthority(folder: folder + "/webhook-ca")
    let pair = try authority.server(names: names, addresses: [[127, 0, 0, 1]])
    var settings = TLSConfiguration.makeServerConfiguration(
      certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(pair.certificate.utf8)).map {
        .certificate($0)
      }, privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(pair.key.utf8), format: .pem)))
    settings.applicationProtocols = ["http/1.1"]
    let tls = try NIOSSLContext(configuration: settings)
    let shared = Log()
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .serverChannelOption(.backlog, value: 256)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          try pipeline.addHandler(NIOSSLServerHandler(context: tls))
          try pipeline.configureHTTPServerPipeline()
          try pipeline.addHandler(ReviewHandler(decide: decide, log: shared))
        }
      }.bind(host: host, port: 0).get()
    let server = WebhookServer(
      port: channel.localAddress?.port ?? 0, caBundle: Base64.encode(Array(authority.pem.utf8)),
      channel: channel, shared: shared)
    do {
      let value = try await body(server)
      try await channel.close().get()
      return value
    } catch {
      try? await channel.close().get()
      throw error
    }
  }

  /// A webhook of a configuration that calls this server.
  func webhook(
    _ name: String, path: String = "/", resources: [String] = ["configmaps"], groups: [String] = [""],
    operations: [String] = ["CREATE"], _ more: JSON = [:]
  ) -> JSON {
    var webhook: JSON = [
      "name": JSON(name), "clientConfig": ["url": JSON(url(path)), "caBundle": JSON(caBundle)],
      "rules": [
        [
          "operations": JSON(operations), "apiGroups": JSON(groups), "apiVersions": ["*"],
          "resources": JSON(resources),
        ]
      ], "sideEffects": "None", "admissionReviewVersions": ["v1"],
    ]
    for (key, value) in more.object ?? [:] { webhook[key] = value }
    return webhook
  }

  func url(_ path: String) -> String { "https://127.0.0.1:\(port)\(path)" }
}

private final class ReviewHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart
  private let decide: WebhookServer.Decide
  private let log: WebhookServer.Log
  private var path = ""
  private var body: [UInt8] = []

  init(decide: @escaping WebhookServer.Decide, log: WebhookServer.Log) {
    self.decide = decide
    self.log = log
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      path = String(head.uri.prefix { $0 != "?" })
      body = []
    case .body(let bytes): body += bytes.readableBytesView
    case .end:
      let review = (try? JSON(parsing: body)) ?? .null
      let request = review["request"] ?? .null
      let waiting = log.waiting.withLock {
        $0 += 1
        return $0
      }
      log.calls.withLock {
        $0.append(
          WebhookServer.Call(
            path: path, review: review, connection: ObjectIdentifier(context.channel), waiting: waiting))
      }
      answer(decide(path, request), review, context)
    }
  }

  private func answer(_ answer: WebhookServer.Answer, _ review: JSON, _ context: ChannelHandlerContext) {
    switch answer {
    case .silence: break
    case .cut: context.close(promise: nil)
    case .after(let delay, let later):
      let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
      context.eventLoop.scheduleTask(in: delay) {
        let (handler, context) = bound.value
        handler.answer(later, review, context)
      }
    case .response(let response):
      var response = response
      if response["uid"] == nil { response["uid"] = review.at("request", "uid") }
      let out: JSON = [
        "kind": "AdmissionReview", "apiVersion": JSON(review.apiVersion), "response": response,
      ]
      write(200, [("Content-Type", "application/json")], out.bytes, context)
    case .raw(let status, let headers, let text): write(status, headers, Array(text.utf8), context)
    }
  }

  private func write(
    _ status: Int, _ headers: [(String, String)], _ bytes: [UInt8], _ context: ChannelHandlerContext
  ) {
    log.waiting.withLock { $0 -= 1 }
    var all = HTTPHeaders(headers)
    all.add(name: "Content-Length", value: String(bytes.count))
    context.write(
      wrapOutboundOut(
        .head(
          HTTPResponseHead(version: .http1_1, status: HTTPResponseStatus(statusCode: status), headers: all))),
      promise: nil)
    context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: bytes)))), promise: nil)
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
