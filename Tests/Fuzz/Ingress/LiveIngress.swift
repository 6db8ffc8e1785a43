// A whole ingress on loopback: the input is what a client sends it, or what an endpoint answers.

import Addresses
import Diagnostics
import FuzzDriver
import Glibc
import Reactor

@testable import Ingress

final class LiveIngress: InputTaker {
  enum Side {
    case client, endpoint, endpointHTTP2
    var sendsAsClient: Bool { self == .client }
  }

  /// An HTTP/2 connection's beginning: the client's, and a server's.
  private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + settings
  private static let settings: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]
  private static let request = Array(
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTE: trailers\r\n\r\nabc".utf8)
  private static let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".utf8)

  private let side: Side
  private let ingress: SocketEndpoint
  private let endpoint: Descriptor
  private let thread: ReactorThread

  init(_ side: Side) {
    self.side = side
    do {
      let loopback = SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 0)
      let listening = try Sockets.listenTCP(loopback, reusePort: false)
      var policy = BackendPolicy()
      if side == .endpointHTTP2 { policy.speech = .http2 }
      guard let target = Sockets.localEndpoint(listening) else { throw SetUp.noAddress }
      endpoint = listening
      var backend = RouteBackend(
        namespace: "a", ingress: "a", service: "a", servicePort: "80", endpoints: [target])
      backend.policy = policy
      let table = RouteTable(
        backends: [backend],
        hosts: [RouteHost(name: "", paths: [RoutePath(path: "/", isExact: false, backend: 0)])])
      let door = try Sockets.listenTCP(loopback)
      guard let address = Sockets.localEndpoint(door) else { throw SetUp.noAddress }
      ingress = address
      let raw = door.release()
      thread = try ReactorThread(name: "ingress")
      thread.reactor.submit { reactor in
        let worker = IngressWorker(reactor: reactor, limits: IngressLimits(), metrics: Metrics())
        worker.install(table)
        do { try worker.listen(Descriptor(owning: raw)) } catch { check(false, "\(error)") }
        kept = worker
      }
    } catch {
      check(false, "\(error)")
      exit(3)
    }
  }

  private enum SetUp: Error { case noAddress }

  func take(_ bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.first else { return }
    let input = Array(bytes[1...])
    guard let client = connected() else { return }
    defer { reset(client) }
    if side.sendsAsClient {
      send(client, first & 1 == 1 ? Self.preface + input : input)
      _ = shutdown(client, Int32(SHUT_WR))
      if let server = accepted(milliseconds: 0) {
        send(server, Self.answer)
        reset(server)
      }
      drain(client, milliseconds: 2)
    } else {
      send(client, Self.request)
      guard let server = accepted(milliseconds: 1000) else { return }
      defer { reset(server) }
      send(server, side == .endpointHTTP2 ? Self.settings + input : input)
      _ = shutdown(server, Int32(SHUT_WR))
      drain(client, milliseconds: 20)
    }
  }

  private func connected() -> Int32? {
    let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = ingress.port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let isOpen = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(client, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    if !isOpen { close(client) }
    return isOpen ? client : nil
  }

  private func isReady(_ descriptor: Int32, milliseconds: Int32) -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&wanted, 1, milliseconds) == 1
  }

  private func accepted(milliseconds: Int32) -> Int32? {
    guard isReady(endpoint.raw, milliseconds: milliseconds) else { return nil }
    let server = accept(endpoint.raw, nil, nil)
    return server < 0 ? nil : server
  }

  private func send(_ descriptor: Int32, _ bytes: [UInt8]) {
    _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  /// Reads until the end, or until nothing comes any more.
  private func drain(_ descriptor: Int32, milliseconds: Int32) {
    var space = [UInt8](repeating: 0, count: 1 << 16)
    while isReady(descriptor, milliseconds: milliseconds), recv(descriptor, &space, space.count, 0) > 0 {}
  }

  /// Closes without leaving a port behind that waits.
  private func reset(_ descriptor: Int32) {
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    close(descriptor)
  }
}

/// The reactor's alone.
nonisolated(unsafe) private var kept: IngressWorker?
