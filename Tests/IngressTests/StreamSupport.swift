// What the tests of streams stand on: servers of blocking connections, patterns that are checked as they are read, and a worker with
// ports for streams.

import Addresses
import CLinux
import Diagnostics
import Foundation
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

/// What stands behind a `StreamLab` and ends with it.
protocol EndpointServer: Sendable {
  var endpoint: SocketEndpoint { get }
  func stop()
}

/// Accepts connections and serves each on a thread of its own.
final class ThreadServer: EndpointServer {
  let endpoint: SocketEndpoint
  let accepted = Atomic<Int>(0)
  private let raw: Int32
  private let accepts: Bool

  init(backlog: Int32 = 512, accepts: Bool = true, _ serve: @escaping @Sendable (Client) -> Void) throws {
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0), reusePort: false, backlog: backlog)
    endpoint = try local(listening)
    raw = listening.release()
    self.accepts = accepts
    _ = fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) & ~O_NONBLOCK)
    guard accepts else { return }
    Thread.detachNewThread { [raw] in
      while true {
        let connection = accept(raw, nil, nil)
        // Closed by who accepts: its number is another listener's as soon as it is closed.
        guard connection >= 0 else {
          close(raw)
          return
        }
        self.accepted.add(1, ordering: .relaxed)
        let thread = Thread { serve(Client(accepted: connection)) }
        thread.stackSize = 512 << 10
        thread.start()
      }
    }
  }

  /// New connections are refused; those that run go on.
  func stop() {
    shutdown(raw, Int32(SHUT_RDWR))
    if !accepts { close(raw) }
  }

  /// Says its name and gives everything back until the client finishes.
  static func echo(_ name: String) throws -> ThreadServer {
    try ThreadServer { client in
      client.send(name)
      while case let bytes = client.some(), !bytes.isEmpty { client.send(bytes) }
    }
  }
}

extension Client {
  /// What one recv gives; empty at the end.
  func some() -> [UInt8] {
    var space = [UInt8](repeating: 0, count: 65_536)
    let count = recv(raw, &space, space.count, 0)
    return count > 0 ? Array(space[..<count]) : []
  }

  func finishSending() { shutdown(raw, Int32(SHUT_WR)) }

  /// Whether the connection ended with a reset.
  func isReset() -> Bool {
    var byte: UInt8 = 0
    return recv(raw, &byte, 1, 0) < 0 && errno == ECONNRESET
  }
}

/// Bytes that tell where they stand, in a period that no buffer's size is a multiple of.
enum Pattern {
  static let period = 65_521
  /// Two periods, so that any piece of one is in one place.
  static let bytes: [UInt8] = (0..<(2 * period)).map { UInt8(truncatingIfNeeded: $0 % period &* 167 >> 3) }

  static func send(_ count: Int, to raw: Int32) -> Bool {
    var done = 0
    while done < count {
      let start = done % period
      let piece = min(period, count - done)
      let sent = bytes.withUnsafeBytes { Glibc.send(raw, $0.baseAddress.map { $0 + start }, piece, 0x4000) }
      if sent <= 0 { return false }
      done += sent
    }
    return true
  }

  /// Bytes until the end; nil when one of them is another, or the connection breaks.
  static func read(from raw: Int32) -> Int? {
    var space = [UInt8](repeating: 0, count: period)
    var done = 0
    while true {
      let count = recv(raw, &space, space.count, 0)
      if count == 0 { return done }
      guard count > 0 else { return nil }
      let start = done % period
      let isRight = bytes.withUnsafeBytes { bytes in
        bytes.baseAddress.map { memcmp($0 + start, space, count) == 0 } ?? false
      }
      guard isRight else { return nil }
      done += count
    }
  }
}

/// Answers each datagram with its name, a blank and what came.
final class DatagramServer: EndpointServer {
  let endpoint: SocketEndpoint
  private let raw: Int32

  init(_ name: String) throws {
    let descriptor = try Sockets.bindUDP(SocketEndpoint(loopback, 0), reusePort: false)
    endpoint = try local(descriptor)
    raw = descriptor.release()
    _ = fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) & ~O_NONBLOCK)
    let raw = raw
    Thread.detachNewThread {
      var space = [UInt8](repeating: 0, count: 65_536)
      while true {
        var peer = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = withUnsafeMutablePointer(to: &peer) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            recvfrom(raw, &space, space.count, 0, $0, &length)
          }
        }
        // A datagram of no bytes is the end: `stop` sends it.
        guard count > 0 else { break }
        let answer = Array("\(name) ".utf8) + space[..<count]
        _ = withUnsafePointer(to: &peer) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            sendto(raw, answer, answer.count, 0, $0, length)
          }
        }
      }
      close(raw)
    }
  }

  func stop() { _ = DatagramClient(endpoint).send("") }
}

/// A connected UDP socket; waits twenty seconds for an answer at most.
final class DatagramClient {
  private let raw: Int32
  init(_ endpoint: SocketEndpoint) {
    raw = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let raw = raw
    _ = SocketAddress(endpoint).withSockaddr { connect(raw, $0, $1) }
  }
  deinit { close(raw) }

  func send(_ text: String) -> Bool { Glibc.send(raw, Array(text.utf8), text.utf8.count, 0) >= 0 }

  func ask(_ text: String) -> String {
    guard send(text) else { return "" }
    var space = [UInt8](repeating: 0, count: 65_536)
    let count = recv(raw, &space, space.count, 0)
    return String(decoding: space[..<max(0, count)], as: UTF8.self)
  }
}

/// A worker with ports for streams beside those for HTTP.
final class StreamLab: Sendable {
  let http: SocketEndpoint
  let https: SocketEndpoint
  /// Two for connections, one for datagrams.
  let ports: [SocketEndpoint]
  let udp: SocketEndpoint
  let thread: ReactorThread
  let metrics = Metrics()
  private struct Unsafe: @unchecked Sendable { var worker: IngressWorker }
  private let worker = Mutex<Unsafe?>(nil)
  private let servers: [any EndpointServer]

  /// - Parameters:
  ///   - servers: end with it.
  ///   - change: to the usual limits.
  init(
    _ servers: any EndpointServer..., limits change: (inout IngressLimits) -> Void = { _ in },
    routes: RouteTable = RouteTable(), tls: TLSTable = TLSTable(),
    proxy: ProxyAcceptance? = nil, log: AccessLog? = nil
  ) throws {
    self.servers = servers
    var usual = IngressLimits()
    change(&usual)
    let limits = usual
    func listen() throws -> (SocketEndpoint, Int32) {
      let descriptor = try Sockets.listenTCP(SocketEndpoint(loopback, 0), reusePort: false)
      return (try local(descriptor), descriptor.release())
    }
    let sockets = try (0..<4).map { _ in try listen() }
    (http, https) = (sockets[0].0, sockets[1].0)
    ports = sockets[2...].map(\.0)
    let datagrams = try Sockets.bindUDP(SocketEndpoint(loopback, 0), reusePort: false)
    udp = try local(datagrams)
    let raw = sockets.map(\.1) + [datagrams.release()]
    let certificates = try loaded(tls)
    thread = try ReactorThread(name: "streams")
    let metrics = metrics
    let flag = Flag()
    thread.reactor.submit { reactor in
      let worker = IngressWorker(reactor: reactor, limits: limits, metrics: metrics)
      worker.install(routes)
      worker.install(certificates)
      if let log { worker.tell(log) }
      try? worker.listen(Descriptor(owning: raw[0]), proxy: proxy)
      try? worker.listen(Descriptor(owning: raw[1]), isSecure: true, proxy: proxy)
      for port in raw[2...3] {
        try? worker.listenStreams(Descriptor(owning: port), proxy: proxy ?? ProxyAcceptance())
      }
      try? worker.serveDatagrams(Descriptor(owning: raw[4]))
      self.worker.withLock { $0 = Unsafe(worker: worker) }
      flag.raise()
    }
    guard eventually({ flag.isRaised }) else { throw SetUpFailed() }
  }

  /// Puts a table in force, as it comes out of its frame.
  func install(_ table: StreamTable) throws {
    let table = try StreamTable(encoded: table.encoded())
    _ = ask { $0.install(table) }
  }

  /// A worker that leads the first port to a server, which ends with it.
  static func plain(
    _ server: any EndpointServer, _ policy: BackendPolicy = BackendPolicy(),
    limits: (inout IngressLimits) -> Void = { _ in }
  ) throws -> StreamLab {
    let lab = try StreamLab(server, limits: limits)
    try lab.installPlain([server.endpoint], policy)
    return lab
  }

  /// Everything to these endpoints, at the first port.
  func installPlain(_ endpoints: [SocketEndpoint], _ policy: BackendPolicy = BackendPolicy()) throws {
    try install(
      StreamTable(
        backends: [backend(endpoints, policy)], listeners: [listener(.tcp, [StreamTarget(backend: 0)])]))
  }

  func listener(_ kind: StreamKind, _ targets: [StreamTarget], acceptsProxy: Bool = false) -> StreamListener {
    StreamListener(
      port: kind == .udp ? udp.port : ports[0].port, kind: kind, acceptsProxy: acceptsProxy,
      rules: [StreamRule(targets: targets)])
  }

  /// Runs on the worker's thread and waits for it.
  @discardableResult
  func ask<Value: Sendable>(_ body: @escaping @Sendable (IngressWorker) -> Value) -> Value? {
    let flag = Flag()
    let value = Mutex<Value?>(nil)
    thread.reactor.submit { _ in
      if let worker = self.worker.withLock({ $0 })?.worker {
        let found = body(worker)
        value.withLock { $0 = found }
      }
      flag.raise()
    }
    _ = eventually { flag.isRaised }
    return value.withLock { $0 }
  }

  /// The sum of a metric's children whose line begins so.
  func value(_ name: String) -> Double {
    metrics.text().split(separator: "\n").filter { $0.hasPrefix(name) && !$0.hasPrefix("#") }
      .compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }.reduce(0, +)
  }

  func stop() {
    thread.stop(draining: .milliseconds(100))
    worker.withLock { $0 = nil }
    for server in servers { server.stop() }
  }
}

func backend(_ endpoints: [SocketEndpoint], _ policy: BackendPolicy = BackendPolicy()) -> RouteBackend {
  var backend = RouteBackend(
    namespace: "demo", ingress: "route", service: "db", servicePort: "5432", endpoints: endpoints)
  backend.policy = policy
  return backend
}
