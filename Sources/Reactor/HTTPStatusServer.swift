// The small HTTP server of every part: /metrics, /healthz and the like. One request a connection, no
// keep-alive.

import Addresses
import CLinux
import Glibc

/// Answers `GET /path` with bytes. For probes and scrapers, not for users' traffic.
public final class HTTPStatusServer {
  /// A request head longer than this is refused.
  public static let headBytesMax = 8192
  /// Connections open at once; further ones are closed at once.
  public static let connectionsMax = 256
  /// Time for one whole exchange.
  public static let exchangeNanosecondsMax: UInt64 = 10_000_000_000

  /// An answer. `body` is sent as it is.
  public struct Response: Sendable {
    public var status: Int
    public var contentType: String
    public var body: [UInt8]
    /// Further header fields, in order.
    public var headers: [(name: String, value: String)] = []
    public init(status: Int = 200, contentType: String = "text/plain; charset=utf-8", body: [UInt8]) {
      self.status = status
      self.contentType = contentType
      self.body = body
    }
    public init(status: Int = 200, contentType: String = "text/plain; charset=utf-8", text: String) {
      self.init(status: status, contentType: contentType, body: Array(text.utf8))
    }
    /// Prometheus text, as `Metrics.text()` writes it.
    public static func metrics(_ text: String) -> Response {
      Response(contentType: "text/plain; version=0.0.4; charset=utf-8", text: text)
    }
  }

  fileprivate let answer: (String) -> Response?
  fileprivate var open = 0
  private var listener: Listener?
  public var endpoint: SocketEndpoint? { listener?.endpoint }

  /// - Parameter answer: the answer for a path without its query, on the reactor's thread; nil means 404.
  public init(
    _ descriptor: consuming Descriptor, reactor: Reactor, answer: @escaping (String) -> Response?
  ) throws(SocketError) {
    self.answer = answer
    // The listener keeps the server alive for as long as it is registered.
    listener = try Listener(descriptor, reactor: reactor) { descriptor, _ in
      guard self.open < Self.connectionsMax else { return }
      _ = try? StatusConnection(descriptor, reactor: reactor, server: self)
    }
  }

  public func close() {
    listener?.close()
    listener = nil
  }
}

private final class StatusConnection: ReadinessHandler, TimerHandler {
  private var channel = Channel()
  private let reactor: Reactor
  private let server: HTTPStatusServer
  private var head: [UInt8] = []
  private var response: [UInt8] = []
  private var sent = 0
  private var timer = TimerToken.none

  init(_ descriptor: consuming Descriptor, reactor: Reactor, server: HTTPStatusServer) throws(SocketError) {
    self.reactor = reactor
    self.server = server
    channel = try reactor.register(descriptor, handler: self)
    server.open += 1
    timer = reactor.setTimer(after: HTTPStatusServer.exchangeNanosecondsMax, handler: self)
  }

  func timerEnded(tag: Int) { cancel() }
  func drain() {}

  func cancel() {
    guard channel.isOpen else { return }
    server.open -= 1
    reactor.cancelTimer(timer)
    channel.close()
  }

  func ready(_ readiness: Readiness) {
    while response.isEmpty {
      switch channel.receive(into: UnsafeMutableRawBufferPointer(rebasing: reactor.scratch[..<4096])) {
      case .bytes(let count):
        head.append(contentsOf: reactor.scratch[..<count])
        if let end = endOfHead() {
          respond(head[..<end])
        } else if head.count > HTTPStatusServer.headBytesMax {
          write(HTTPStatusServer.Response(status: 431, text: "request head too large\n"), isHead: false)
        }
      case .wouldBlock: return
      case .end, .failed: return cancel()
      }
    }
    while sent < response.count {
      let outcome = response.withUnsafeBytes { channel.send(UnsafeRawBufferPointer(rebasing: $0[sent...])) }
      switch outcome {
      case .bytes(let count): sent += count
      case .wouldBlock: return
      case .end, .failed: return cancel()
      }
    }
    channel.finishSending()
    cancel()
  }

  private func endOfHead() -> Int? {
    guard head.count >= 4 else { return nil }
    for index in 3..<head.count
    where head[index] == 10 && head[index - 1] == 13 && head[index - 2] == 10 && head[index - 3] == 13 {
      return index + 1
    }
    return nil
  }

  private func respond(_ head: ArraySlice<UInt8>) {
    let line = head.prefix { $0 != 13 }
    let words = line.split(separator: 32, omittingEmptySubsequences: false)
    guard words.count == 3, words[1].first == 47 else {
      return write(HTTPStatusServer.Response(status: 400, text: "bad request\n"), isHead: false)
    }
    let method = String(decoding: words[0], as: UTF8.self)
    guard method == "GET" || method == "HEAD" else {
      return write(HTTPStatusServer.Response(status: 405, text: "method not allowed\n"), isHead: false)
    }
    let path = String(decoding: words[1].prefix { $0 != 63 }, as: UTF8.self)
    let found = server.answer(path) ?? HTTPStatusServer.Response(status: 404, text: "not found\n")
    write(found, isHead: method == "HEAD")
  }

  private func write(_ answer: HTTPStatusServer.Response, isHead: Bool) {
    let reason = [200: "OK", 404: "Not Found", 503: "Service Unavailable"][answer.status] ?? "Status"
    var text = "HTTP/1.1 \(answer.status) \(reason)\r\nContent-Type: \(answer.contentType)\r\n"
    for (name, value) in answer.headers { text += "\(name): \(value)\r\n" }
    text += "Content-Length: \(answer.body.count)\r\nConnection: close\r\n\r\n"
    response = Array(text.utf8)
    if !isHead { response += answer.body }
  }
}
