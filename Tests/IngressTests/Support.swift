// What the tests of the relay stand on: a backend on a reactor, an ingress on another, a blocking client.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

let loopback = IPAddress("127.0.0.1")!

struct SetUpFailed: Error {}

func local(_ descriptor: borrowing Descriptor) throws -> SocketEndpoint {
  guard let endpoint = Sockets.localEndpoint(descriptor) else { throw SetUpFailed() }
  return endpoint
}

/// Asks again until it holds, at most half a minute.
func eventually(_ condition: () -> Bool) -> Bool {
  for _ in 0..<30_000 {
    if condition() { return true }
    usleep(1000)
  }
  return false
}

/// A backend that answers by path: `/` its name, `/head` the head it got, `/large/N` N bytes, `/chunked`,
/// `/until-close`, `/never`, `/ws` an upgrade that echoes; a request with a body gets the body's length and
/// sum.
final class Backend: Sendable {
  let name: String
  let endpoint: SocketEndpoint
  let thread: ReactorThread
  let served = Atomic<Int>(0)
  let connections = Atomic<Int>(0)

  init(_ name: String) throws {
    self.name = name
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0), reusePort: false)
    endpoint = try local(listening)
    let raw = listening.release()
    thread = try ReactorThread(name: name)
    thread.reactor.submit { reactor in
      _ = try? Listener(Descriptor(owning: raw), reactor: reactor) { descriptor, _ in
        self.connections.add(1, ordering: .relaxed)
        _ = try? BackendConnection(descriptor, reactor, self)
      }
    }
  }

  /// Dies at once, as a deleted pod does: connections break, new ones are refused.
  func kill() { thread.stop() }
}

private final class BackendConnection: ReadinessHandler {
  var channel = Channel()
  let reactor: Reactor
  let backend: Backend
  var input: [UInt8] = []
  var output: [UInt8] = []
  var sent = 0
  var body: BodyScanner?
  var bodyHead: [UInt8] = []
  var bodyPath = ""
  var bodyBytes = 0
  var bodySum = 0
  var isEcho = false
  var closes = false

  init(_ descriptor: consuming Descriptor, _ reactor: Reactor, _ backend: Backend) throws {
    self.reactor = reactor
    self.backend = backend
    channel = try reactor.register(descriptor, handler: self)
  }

  func cancel() { channel.close() }

  func ready(_ readiness: Readiness) {
    flush()
    while channel.isOpen {
      switch channel.receive(into: reactor.scratch) {
      case .bytes(let count):
        input += reactor.scratch[..<count]
        process()
        flush()
      case .wouldBlock: return
      case .end, .failed: return cancel()
      }
    }
  }

  private func flush() {
    while channel.isOpen, sent < output.count {
      guard
        case .bytes(let count) = output.withUnsafeBytes({
          channel.send(UnsafeRawBufferPointer(rebasing: $0[sent...]))
        })
      else { return }
      sent += count
    }
    output = []
    sent = 0
    if closes { cancel() }
  }

  private func process() {
    while !input.isEmpty {
      if isEcho {
        output += input
        input = []
        return
      }
      if body == nil {
        let reader = HeadReader()
        let end = input.withUnsafeBytes { try? HeadReader.end(of: $0) }
        guard let end else { return }
        let head = Array(input[..<end])
        input.removeFirst(end)
        do { try head.withUnsafeBytes { bytes throws in try reader.readRequest(bytes) } } catch {
          return cancel()
        }
        backend.served.add(1, ordering: .relaxed)
        let path = String(decoding: head[reader.path], as: UTF8.self)
        if reader.facts.framing != .none {
          body = BodyScanner(reader.facts.framing)
          (bodyBytes, bodySum) = (0, 0)
          (bodyPath, bodyHead) = (path, head)
        } else {
          answer(path, head)
        }
      }
      if var scanner = body {
        let used = input.withUnsafeBytes { bytes in
          try? scanner.take(bytes) { range in
            bodyBytes += range.count
            for byte in bytes[range] { bodySum &+= Int(byte) }
          }
        }
        guard let used else { return cancel() }
        input.removeFirst(used)
        body = scanner
        if scanner.isDone {
          body = nil
          if isTelling {
            say("\(backend.name)\n\(String(decoding: bodyHead, as: UTF8.self))\(bodyBytes)")
          } else if bodyPath.hasPrefix("/verdict/5") {
            answer(bodyPath, bodyHead)
          } else {
            say("\(bodyBytes) \(bodySum)")
          }
        } else {
          return
        }
      }
    }
  }

  private func say(_ text: String) {
    output += Array("HTTP/1.1 200 OK\r\nContent-Length: \(text.utf8.count)\r\n\r\n\(text)".utf8)
  }

  /// It says what it got, whatever the path.
  private var isTelling: Bool { backend.name.hasPrefix("echo") }

  private func answer(_ path: String, _ head: [UInt8]) {
    if isTelling, path != "/never", !path.hasPrefix("/verdict/") {
      return say("\(backend.name)\n\(String(decoding: head, as: UTF8.self))")
    }
    if path.hasPrefix("/large/"), let count = Int(path.dropFirst(7)) {
      output += Array("HTTP/1.1 200 OK\r\nContent-Length: \(count)\r\n\r\n".utf8)
      // By the piece: byte by byte it takes seconds of a busy machine, in which nobody else is answered.
      let piece = (0..<251).map { UInt8($0) }
      for _ in 0..<(count / 251) { output += piece }
      output += piece[..<(count % 251)]
      return
    }
    if path.hasPrefix("/verdict/") {
      output += Array(
        "HTTP/1.1 \(path.dropFirst(9)) Verdict\r\nX-User: alice\r\nSet-Cookie: asked=\(path.dropFirst(9)); Path=/\r\n\(path.hasSuffix("204") ? "" : "Content-Length: 2\r\n")\r\n"
          .utf8)
      if !path.hasSuffix("204") { output += Array("no".utf8) }
      return
    }
    switch path {
    case "/head": say(String(decoding: head, as: UTF8.self))
    case "/chunked":
      output += Array(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n".utf8)
    case "/trailers":
      output += Array(
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\n"
          + "X-Sum: 5\r\nx-more: a b\r\n\r\n").utf8)
    case "/until-close":
      output += Array("HTTP/1.1 200 OK\r\n\r\nuntil the end".utf8)
      closes = true
    case "/204": output += Array("HTTP/1.1 204 No Content\r\n\r\n".utf8)
    case "/304": output += Array("HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n".utf8)
    case "/options":
      output += Array(
        "HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n"
          .utf8)
    case "/early":
      output += Array(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".utf8)
    case "/two-lengths":
      output += Array("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok".utf8)
    case "/never": break
    case "/maybe" where backend.name == "bad":
      output += Array("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".utf8)
    case "/hang-up": cancel()
    case "/ws":
      output += Array(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".utf8)
      isEcho = true
    default:
      // What a backend for errors is told.
      let text = String(decoding: head, as: UTF8.self)
      if text.contains("X-Code: ") {
        say(text)
      } else if head.starts(with: Array("HEAD ".utf8)) {
        output += Array("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".utf8)
      } else {
        say(backend.name)
      }
    }
  }
}

/// An address that refuses every connection for as long as this lives: the port is taken, and nobody listens on it. A port that was
/// given back may be the next listener's.
final class RefusingEndpoint: Sendable {
  let endpoint: SocketEndpoint
  private let held: Descriptor

  init() throws {
    held = Descriptor(owning: socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
    let raw = held.raw
    guard SocketAddress(SocketEndpoint(loopback, 0)).withSockaddr({ bind(raw, $0, $1) }) == 0 else {
      throw SetUpFailed()
    }
    endpoint = try local(held)
  }
}

/// An ingress worker on a thread of its own.
final class TestIngress: Sendable {
  let endpoint: SocketEndpoint
  /// For HTTPS.
  let secure: SocketEndpoint
  let thread: ReactorThread
  let metrics = Metrics()
  private struct Unsafe: @unchecked Sendable { var worker: IngressWorker }
  private let worker = Mutex<Unsafe?>(nil)
  let log: AccessLog?

  init(
    _ table: RouteTable, limits: IngressLimits = IngressLimits(), tls: TLSTable = TLSTable(),
    log: AccessLogConfiguration? = nil
  ) throws {
    let certificates = try loaded(tls)
    let securely = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    secure = try local(securely)
    let rawSecurely = securely.release()
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    endpoint = try local(listening)
    let raw = listening.release()
    thread = try ReactorThread(name: "ingress")
    let metrics = metrics
    let log = try log.map { try AccessLog($0, metrics: metrics) }
    self.log = log
    thread.reactor.submit { reactor in
      let worker = IngressWorker(reactor: reactor, limits: limits, metrics: metrics)
      worker.install(table)
      if let log { worker.tell(log) }
      try? worker.listen(Descriptor(owning: raw))
      worker.install(certificates)
      try? worker.listen(Descriptor(owning: rawSecurely), isSecure: true)
      self.worker.withLock { $0 = Unsafe(worker: worker) }
    }
  }

  func install(_ table: RouteTable) {
    thread.reactor.submit { _ in self.worker.withLock { $0 }?.worker.install(table) }
  }

  func install(_ tls: TLSTable) throws {
    let certificates = try loaded(tls)
    thread.reactor.submit { _ in self.worker.withLock { $0 }?.worker.install(certificates) }
  }

  /// Waits until the reactor has done everything submitted before.
  func settle() {
    let flag = Flag()
    thread.reactor.submit { _ in flag.raise() }
    _ = eventually { flag.isRaised }
  }

  func value(_ name: String) -> Double {
    for line in metrics.text().split(separator: "\n") where line.hasPrefix(name) && !line.hasPrefix("#") {
      if let text = line.split(separator: " ").last, let value = Double(text) { return value }
    }
    return 0
  }

  func stop() {
    thread.stop(draining: .milliseconds(200))
    worker.withLock { $0 = nil }
    log?.stop()
  }
}

final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isRaised: Bool { value.load(ordering: .acquiring) }
  func raise() { value.store(true, ordering: .releasing) }
}

/// One route for every host and path.
func everything(to endpoints: [SocketEndpoint]) -> RouteTable {
  RouteTable(
    backends: [
      RouteBackend(namespace: "demo", ingress: "web", service: "web", servicePort: "80", endpoints: endpoints)
    ], hosts: [RouteHost(name: "", paths: [RoutePath(path: "/", isExact: false, backend: 0)])])
}

/// A blocking client; every call gives up after twenty seconds: machines are busy.
final class Client {
  let raw: Int32
  private var buffer: [UInt8] = []
  init(_ endpoint: SocketEndpoint) {
    raw = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(raw, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    let raw = raw
    _ = SocketAddress(endpoint).withSockaddr { connect(raw, $0, $1) }
  }
  /// A connection that was accepted.
  init(accepted raw: Int32) {
    self.raw = raw
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }
  deinit { close(raw) }

  /// Has the connection end with a reset.
  func breakOff() {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(raw, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  func send(_ text: String) { send(Array(text.utf8)) }
  func send(_ bytes: [UInt8]) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(raw, $0.baseAddress.map { $0 + done }, bytes.count - done, 0x4000)
      }
      if count <= 0 { return }
      done += count
    }
  }

  private func fill() -> Bool {
    var space = [UInt8](repeating: 0, count: 65536)
    let count = recv(raw, &space, space.count, 0)
    if count > 0 { buffer += space[..<count] }
    return count > 0
  }

  func readAll() -> String {
    while fill() {}
    defer { buffer = [] }
    return String(decoding: buffer, as: UTF8.self)
  }

  func read(_ count: Int) -> [UInt8] {
    while buffer.count < count, fill() {}
    defer { buffer.removeFirst(min(count, buffer.count)) }
    return Array(buffer.prefix(count))
  }

  /// One response; nil when the connection ended first. Knows Content-Length and chunks with one scanner of
  /// its own.
  func response(toHead: Bool = false) -> (status: Int, head: String, body: [UInt8])? {
    while true {
      if let end = firstEnd() {
        let head = String(decoding: buffer[..<end], as: UTF8.self)
        buffer.removeFirst(end)
        let status = Int(head.dropFirst(9).prefix(3)) ?? 0
        if status == 100 || status == 103 { return (status, head, []) }
        var length: Int?
        for line in head.split(separator: "\r\n") where line.lowercased().hasPrefix("content-length: ") {
          length = Int(line.dropFirst(16))
        }
        if toHead || status == 204 || status == 304 || status == 101 { return (status, head, []) }
        if head.lowercased().contains("transfer-encoding: chunked") {
          while !contains("\r\n0\r\n\r\n"), fill() {}
          defer { buffer = [] }
          return (status, head, buffer)
        }
        if let length { return (status, head, read(length)) }
        while fill() {}
        defer { buffer = [] }
        return (status, head, buffer)
      }
      if !fill() { return nil }
    }
  }

  private func contains(_ text: String) -> Bool { String(decoding: buffer, as: UTF8.self).contains(text) }
  private func firstEnd() -> Int? {
    guard buffer.count >= 4 else { return nil }
    for index in 3..<buffer.count
    where buffer[index] == 10 && buffer[index - 1] == 13 && buffer[index - 2] == 10 && buffer[index - 3] == 13
    {
      return index + 1
    }
    return nil
  }

  func get(_ path: String = "/", host: String = "web.demo", more: String = "") -> (
    status: Int, head: String, body: [UInt8]
  )? {
    send("GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\(more)\r\n")
    return response()
  }
}

func text(_ bytes: [UInt8]?) -> String { String(decoding: bytes ?? [], as: UTF8.self) }

/// Whether an answer's body, with its framing, has this text in it.
func says(_ answer: (status: Int, head: String, body: [UInt8])?, _ part: String) -> Bool {
  text(answer?.body).contains(part)
}
