// Calls to webhooks of every sort (admission, conversion): HTTPS POST of JSON, an exact time limit, kept
// connections, no redirects. Bounds: `callsMax` calls under way, `idleMax` kept connections a target,
// `answerBytesMax` bytes of an answer.

import ClusterObjects
import Diagnostics
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// Speaks to webhooks. Shared by all tasks; `shutdown` closes what is kept.
final class WebhookCaller: Sendable {
  /// An address for a port of a Service; throws `WebhookError` when there is none.
  typealias Resolve =
    @Sendable (_ namespace: String, _ name: String, _ port: Int) throws(WebhookError) -> (
      host: String, port: Int
    )

  static let callsMax = 1_024
  static let idleMax = 32
  static let answerBytesMax = 8 << 20
  /// Targets remembered with their TLS context; past it all are forgotten.
  static let targetsMax = 256

  private struct Pool {
    var tls: NIOSSLContext
    var idle: [any Channel] = []
  }
  private struct State {
    var pools: [WebhookTarget: Pool] = [:]
    var calls = 0
    var isClosed = false
  }
  private let state = Mutex(State())
  private let resolve: Resolve
  private let group = MultiThreadedEventLoopGroup.singleton

  init(resolve: @escaping Resolve) { self.resolve = resolve }

  /// Calls under way.
  var callCount: Int { state.withLock { $0.calls } }

  /// Sends `body` and gives the JSON of a 200 answer. All of it (finding the address, connecting, TLS, the
  /// answer) ends within `timeout`.
  func post(_ body: JSON, to target: WebhookTarget, timeout: Duration) async throws(WebhookError) -> JSON {
    let isTaken = state.withLock { state in
      if state.calls >= Self.callsMax || state.isClosed { return false }
      state.calls += 1
      return true
    }
    guard isTaken else { throw WebhookError(.overloaded, "too many calls of webhooks are under way") }
    defer { state.withLock { $0.calls -= 1 } }
    let deadline = NIODeadline.now() + TimeAmount(timeout)
    let seconds = timeout.components.seconds
    let place = "Post \"https://\(target.hostPort)\(Self.query(target.path, seconds))\": "
    let answer: WebhookAnswer
    do {
      answer = try await exchange(Array(body.bytes), target, seconds: seconds, deadline: deadline)
    } catch let error as WebhookError {
      throw WebhookError(error.kind, place + error.description)
    } catch {
      throw WebhookError(
        deadline <= .now() ? .timeout : .unreachable,
        place + (deadline <= .now() ? "context deadline exceeded" : Self.text(error)))
    }
    guard answer.status == 200 else { throw Self.refusal(answer.status) }
    do { return try JSON(parsing: answer.body) } catch {
      throw WebhookError(.badAnswer, "the answer is no JSON: \(error.description)")
    }
  }

  func shutdown() {
    let channels = state.withLock { state in
      state.isClosed = true
      defer { state.pools = [:] }
      return state.pools.values.flatMap(\.idle)
    }
    for channel in channels { channel.close(promise: nil) }
  }

  private static func query(_ path: String, _ seconds: Int64) -> String {
    "\(path)\(path.contains("?") ? "&" : "?")timeout=\(seconds)s"
  }

  private static func refusal(_ status: Int) -> WebhookError {
    let text =
      switch status {
      case 404: "the server could not find the requested resource"
      case 401: "the server has asked for the client to provide credentials"
      case 403: "forbidden"
      case 429: "the server has received too many requests and has asked us to try again later"
      case 500...599: "an error on the server has prevented the request from succeeding"
      default: "the server responded with the status code \(status) but did not return more information"
      }
    return WebhookError(.status(status), text)
  }

  // MARK: One call

  private func exchange(
    _ body: [UInt8], _ target: WebhookTarget, seconds: Int64, deadline: NIODeadline
  ) async throws -> WebhookAnswer {
    var headers = HTTPHeaders()
    headers.add(name: "Host", value: target.hostPort)
    headers.add(name: "User-Agent", value: "kube-apiserver-admission")
    headers.add(name: "Accept", value: "application/json, */*")
    headers.add(name: "Content-Type", value: "application/json")
    headers.add(name: "Content-Length", value: String(body.count))
    let head = HTTPRequestHead(
      version: .http1_1, method: .POST, uri: Self.query(target.path, seconds), headers: headers)
    while true {
      let kept = takeIdle(target)
      let channel: any Channel
      if let kept { channel = kept } else { channel = try await connect(target, deadline) }
      do {
        return try await exchange(on: channel, head, body, target, deadline)
      } catch is WebhookConnectionClosed where kept != nil {
        continue  // It closed while it was idle; nobody saw the call.
      } catch is IOError where kept != nil {
        continue
      } catch is ChannelError where kept != nil && deadline > .now() {
        continue
      }
    }
  }

  private func exchange(
    on channel: any Channel, _ head: HTTPRequestHead, _ body: [UInt8], _ target: WebhookTarget,
    _ deadline: NIODeadline
  ) async throws -> WebhookAnswer {
    let promise = channel.eventLoop.makePromise(of: WebhookAnswer.self)
    let timer = channel.eventLoop.scheduleTask(deadline: deadline) {
      promise.fail(WebhookError(.timeout, "context deadline exceeded"))
      channel.close(promise: nil)
    }
    let exchange = WebhookExchange(
      head: head, body: channel.allocator.buffer(bytes: body), answer: promise)
    channel.writeAndFlush(exchange).whenFailure { promise.fail($0) }
    let answer = try await withTaskCancellationHandler {
      defer { timer.cancel() }
      return try await promise.futureResult.get()
    } onCancel: {
      promise.fail(CancellationError())
      channel.close(promise: nil)
    }
    if answer.keepsAlive { keep(channel, target) }
    return answer
  }

  // MARK: Connections

  private func takeIdle(_ target: WebhookTarget) -> (any Channel)? {
    state.withLock { state in
      while let channel = state.pools[target]?.idle.popLast() { if channel.isActive { return channel } }
      return nil
    }
  }

  private func keep(_ channel: any Channel, _ target: WebhookTarget) {
    let isKept = state.withLock { state in
      guard channel.isActive, !state.isClosed, let count = state.pools[target]?.idle.count,
        count < Self.idleMax
      else { return false }
      state.pools[target]?.idle.append(channel)
      return true
    }
    if !isKept { channel.close(promise: nil) }
  }

  private func context(_ target: WebhookTarget) throws -> NIOSSLContext {
    if let tls = state.withLock({ $0.pools[target]?.tls }) { return tls }
    var settings = TLSConfiguration.makeClientConfiguration()
    settings.applicationProtocols = ["http/1.1"]
    if !target.authority.isEmpty {
      do {
        settings.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(target.authority))
      } catch {
        throw WebhookError(
          .unreachable, "unable to load root certificates: unable to parse bytes as PEM block")
      }
    }
    let tls = try NIOSSLContext(configuration: settings)
    let forgotten = state.withLock { state in
      var forgotten: [any Channel] = []
      if state.pools.count >= Self.targetsMax {
        forgotten = state.pools.values.flatMap(\.idle)
        state.pools = [:]
      }
      state.pools[target] = Pool(tls: tls)
      return forgotten
    }
    for channel in forgotten { channel.close(promise: nil) }
    return tls
  }

  private func connect(_ target: WebhookTarget, _ deadline: NIODeadline) async throws -> any Channel {
    let tls = try context(target)
    let (host, port) =
      switch target.place {
      case .url(let host, let port): (host, port)
      case .service(let namespace, let name, let port): try resolve(namespace, name, port)
      }
    let name = (try? SocketAddress(ipAddress: target.host, port: 0)) == nil ? target.host : nil
    let left = deadline - .now()
    guard left > .zero else { throw WebhookError(.timeout, "context deadline exceeded") }
    do {
      return try await ClientBootstrap(group: group)
        .connectTimeout(left)
        .channelOption(.tcpOption(.tcp_nodelay), value: 1)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: name))
            try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .fireError)
            try pipeline.addHandler(WebhookHandler(bytesMax: Self.answerBytesMax))
          }
        }.connect(host: host, port: port).get()
    } catch {
      if deadline <= .now() { throw WebhookError(.timeout, "context deadline exceeded") }
      throw WebhookError(.unreachable, "dial tcp \(host):\(port): connect: \(Self.text(error))")
    }
  }

  private static func text(_ error: any Error) -> String {
    switch error {
    case is WebhookConnectionClosed: "EOF"
    case is WebhookAnswerTooLarge: "the answer is larger than \(answerBytesMax) bytes"
    case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
      "tls: failed to verify certificate: \(error)"
    case let error as IOError where error.errnoCode == 111: "connection refused"
    case let error as NIOConnectionError:
      error.connectionErrors.first.map { text($0.error) } ?? "no such host"
    case is HTTPParserError: "malformed HTTP response"
    default: "\(error)"
    }
  }
}
