// A node agent that is none: it says what it was asked, echoes what is upgraded, and sends as much as one likes.

import ClusterServer
import ClusterStreams
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import SwiftASN1
import Synchronization
import X509

final class FakeNode: Sendable {
  struct Request: Sendable {
    var line: String
    var headers: HTTPHeaders
    var user: String
    var bodyBytes = 0
  }

  final class Book: Sendable {
    let requests = Mutex<[Request]>([])
    /// Bytes of `/logs/endless` that have left.
    let sentBytes = Mutex(0)
    /// What `/stats/summary` answers, made anew for each question.
    let summary = Mutex<(@Sendable () -> String)?>(nil)
    /// Whether `/logs/follow` goes on after its first line.
    let goesOn = Mutex(false)
  }
  let book: Book
  private let channel: any Channel
  var port: Int { channel.localAddress?.port ?? 0 }

  private init(_ channel: any Channel, _ book: Book) {
    self.channel = channel
    self.book = book
  }

  /// Listens on loopback with a certificate of the server's authority in `folder`.
  static func start(folder: String) async throws -> FakeNode {
    let authority = try CertificateAuthority(folder: folder)
    let certificate = try authority.server(names: ["localhost"], addresses: [[127, 0, 0, 1]])
    var tls = TLSConfiguration.makeServerConfiguration(
      certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(certificate.certificate.utf8)).map {
        .certificate($0)
      }, privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(certificate.key.utf8), format: .pem)))
    tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.pem.utf8)))
    tls.certificateVerification = .noHostnameVerification
    let context = try NIOSSLContext(configuration: tls)
    let book = Book()
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
          try HTTPServerCodec.add(to: channel)
          try channel.pipeline.syncOperations.addHandler(Handler(book))
        }
      }.bind(host: "127.0.0.1", port: 0).get()
    return FakeNode(channel, book)
  }

  func stop() async { try? await channel.close().get() }

  private final class Handler: ChannelInboundHandler, RemovableChannelHandler, @unchecked Sendable {
    typealias InboundIn = HTTPServerRequestPart
    private let book: Book
    private var request = Request(line: "", headers: [:], user: "")

    init(_ book: Book) { self.book = book }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head):
        request = Request(
          line: "\(head.method) \(head.uri)", headers: head.headers, user: Self.user(context.channel))
      case .body(let bytes): request.bodyBytes += bytes.readableBytes
      case .end:
        book.requests.withLock { $0.append(request) }
        answer(context.channel)
      }
    }

    private static func user(_ channel: any Channel) -> String {
      let tls = try? channel.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self)
      guard let bytes = try? tls?.peerCertificate?.toDERBytes(),
        let shown = try? Certificate(derEncoded: bytes)
      else { return "" }
      return shown.subject.flatMap { $0 }.first { $0.type == .RDNAttributeType.commonName }
        .map { "\($0.value)" } ?? ""
    }

    private func head(_ channel: any Channel, _ status: HTTPResponseStatus, _ headers: HTTPHeaders) {
      channel.writeAndFlush(
        HTTPServerResponsePart.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers)),
        promise: nil)
    }

    private func text(_ channel: any Channel, _ text: String) {
      channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: text))), promise: nil)
    }

    private func end(_ channel: any Channel) {
      channel.writeAndFlush(HTTPServerResponsePart.end(nil)).whenComplete { _ in channel.close(promise: nil) }
    }

    private func answer(_ channel: any Channel) {
      let line = request.line
      if line.contains("/exec/") {
        head(
          channel, .switchingProtocols, ["connection": "Upgrade", "upgrade": "SPDY/3.1", "x-chosen": "v4"])
        channel.writeAndFlush(HTTPServerResponsePart.end(nil), promise: nil)
        try? HTTPServerCodec.remove(from: channel, self).whenSuccess { link in
          link.start(onRead: { link.write($0) }, onClose: {})
        }
      } else if line.contains("/attach/") {
        head(channel, .forbidden, ["content-type": "application/json"])
        text(channel, #"{"kind":"Status","status":"Failure","message":"not today","code":403}"#)
        end(channel)
      } else if line.contains("follow=true") {
        head(channel, .ok, ["content-type": "text/plain", "transfer-encoding": "chunked"])
        text(channel, "first\n")
        goOn(channel)
      } else if line.contains("/stats/summary"), let make = book.summary.withLock({ $0 }) {
        head(channel, .ok, ["content-type": "application/json", "transfer-encoding": "chunked"])
        text(channel, make())
        end(channel)
      } else if line.contains("/logs/endless") {
        head(channel, .ok, ["content-type": "text/plain", "transfer-encoding": "chunked"])
        pour(channel)
      } else if line.contains("/logs/broken") {
        head(channel, .ok, ["content-type": "text/plain", "content-length": "1000"])
        text(channel, "half")
        channel.eventLoop.scheduleTask(in: .milliseconds(50)) { channel.close(promise: nil) }
      } else if line.contains("/logs/elsewhere") {
        head(channel, .found, ["location": "/logs/here", "content-length": "0"])
        end(channel)
      } else {
        head(channel, .ok, ["content-type": "text/plain", "transfer-encoding": "chunked", "x-node": "fake"])
        text(channel, "\(line) \(request.bodyBytes)")
        end(channel)
      }
    }

    private func goOn(_ channel: any Channel) {
      if book.goesOn.withLock({ $0 }) {
        text(channel, "second\n")
        end(channel)
      } else if channel.isActive {
        channel.eventLoop.scheduleTask(in: .milliseconds(10)) { self.goOn(channel) }
      }
    }

    /// A hundred megabytes, each piece after the one before has left.
    private func pour(_ channel: any Channel) {
      let piece = ByteBuffer(repeating: 65, count: 64 << 10)
      if book.sentBytes.withLock({ $0 }) >= 100 << 20 { return end(channel) }
      channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(piece))).whenSuccess {
        self.book.sentBytes.withLock { $0 += piece.readableBytes }
        self.pour(channel)
      }
    }
  }
}
